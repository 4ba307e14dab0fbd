#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Loading of drivers and policies, built in and of other distributions."""

import contextlib
import itertools
import pathlib
import sys
import textwrap
import threading

import fixtures

from pvm_imagecache import exceptions
from pvm_imagecache import plugins
from pvm_imagecache.drivers.localdisk import driver as localdisk
from pvm_imagecache.drivers.ssp import driver as ssp
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.system import entry_points
from pvm_imagecache.tests.unit import base

_SERIAL = itertools.count()

POLICY = """
    from pvm_imagecache.eviction import base

    class Plugin(base.EvictionPolicy):
        api_version = base.API_VERSION

        @classmethod
        def from_conf(cls, conf):
            return cls()

        def choose(self, view):
            return ()
"""

DRIVER = """
    from pvm_imagecache.drivers import base

    class Plugin(base.DiskDriver):
        api_version = base.API_VERSION

        @classmethod
        def from_conf(cls, conf):
            return cls()

        def pool(self):
            pass

        def find_disk(self, name):
            pass

        def delete_disks(self, disks):
            pass
"""


class PluginsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.conf = self.make_conf()

    def install(
        self,
        code,
        name='mine',
        namespace=plugins.EVICTION,
        distribution='their-package',
        attribute='Plugin',
    ):
        """Install a distribution with one plugin, for this test."""
        number = next(_SERIAL)
        module = f'pvm_imagecache_test_plugin_{number}'
        root = self.path(f'site{number}')
        info = f'{root}/{distribution.replace("-", "_")}-1.5.dist-info'
        self.create(
            f'{info}/METADATA',
            f'Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n',
        )
        self.create(
            f'{info}/entry_points.txt',
            f'[{namespace}]\n{name} = {module}:{attribute}\n',
        )
        self.create(f'{root}/{module}.py', textwrap.dedent(code))
        self.patch(sys, 'path', [root, *sys.path])
        self.addCleanup(sys.modules.pop, module, None)

    @contextlib.contextmanager
    def uninstalled_afterwards(self):
        """Uninstall what is installed in the block."""
        before = sys.path
        try:
            yield
        finally:
            sys.path = before

    def create(self, path, content):
        self.useFixture(base.TextFile(path, content))

    def policy(self, name='mine'):
        self.conf.set_override('eviction_policies', [name], 'pvm_imagecache')
        return plugins.load_policies(self.conf)[0]

    def driver(self, name='mine'):
        self.conf.set_override('disk_driver', name, 'pvm_imagecache')
        return plugins.load_driver(self.conf)

    def refused(self, call, *words):
        error = self.assertRaises(exceptions.PluginInvalid, call)
        for word in ('"mine"', 'their-package 1.5', *words):
            self.assertIn(word, str(error))
        return str(error)

    def _changed(self, code, old, new):
        self.assertIn(old, code)
        return code.replace(old, new)


class BuiltInTest(PluginsTest):
    def test_built_in_drivers_are_loaded(self):
        self.conf.set_override('volume_group_name', 'vg', 'pvm_imagecache')
        self.assertIsInstance(
            self.driver('localdisk'), localdisk.LocalDiskDriver
        )
        self.assertIsInstance(self.driver('ssp'), ssp.SSPDriver)

    def test_built_in_policies_are_loaded(self):
        names = ['lru', 'none', 'watermark', 'age']
        self.conf.set_override('eviction_policies', names, 'pvm_imagecache')
        made = plugins.load_policies(self.conf)
        self.assertEqual(names, [each.name for each in made])
        self.assertIsInstance(made[1].policy, none.NonePolicy)
        for each in made:
            self.assertEqual(
                [],
                list(
                    each.policy.choose(
                        eviction_base.CacheView(
                            now=1.0,
                            pool_capacity=1,
                            pool_free=0,
                            demand=1,
                            images=(),
                        )
                    )
                ),
            )

    def test_a_policy_that_is_named_twice_is_refused(self):
        self.conf.set_override(
            'eviction_policies', ['age', 'lru', 'age'], 'pvm_imagecache'
        )
        error = self.assertRaises(
            exceptions.ConfigurationError, plugins.load_policies, self.conf
        )
        self.assertIn('age more than once', str(error))

    def test_an_invalid_option_is_a_configuration_error(self):
        self.conf.set_override(
            'eviction_policies', ['watermark'], 'pvm_imagecache'
        )
        plugins.load_policies(self.conf)
        self.conf.set_override('low', 95, 'pvm_imagecache_watermark')
        error = self.assertRaises(
            exceptions.ConfigurationError, plugins.load_policies, self.conf
        )
        self.assertIn('low (95) is above high (90)', str(error))

    def test_an_empty_list_loads_no_policies(self):
        self.conf.set_override('eviction_policies', [], 'pvm_imagecache')
        self.assertEqual([], plugins.load_policies(self.conf))

    def test_installed_plugins_are_listed(self):
        found = {
            (each.namespace, each.name): each for each in plugins.installed()
        }
        self.assertEqual(
            {
                (plugins.DRIVERS, 'localdisk'),
                (plugins.DRIVERS, 'ssp'),
                (plugins.EVICTION, 'age'),
                (plugins.EVICTION, 'lru'),
                (plugins.EVICTION, 'none'),
                (plugins.EVICTION, 'watermark'),
                (plugins.LISTENERS, 'metrics'),
                (plugins.LISTENERS, 'notifications'),
            },
            set(found),
        )
        for each in found.values():
            self.assertIsNone(each.error)
            self.assertTrue(each.distribution.startswith('pvm_imagecache '))
        self.assertEqual(
            'pvm_imagecache.drivers.ssp.driver:SSPDriver',
            found[plugins.DRIVERS, 'ssp'].module,
        )


class ThirdPartyTest(PluginsTest):
    def test_a_correct_policy_is_loaded(self):
        self.install(POLICY)
        self.assertEqual('Plugin', type(self.policy().policy).__name__)

    def test_a_correct_driver_is_loaded(self):
        self.install(DRIVER, namespace=plugins.DRIVERS)
        self.assertEqual('Plugin', type(self.driver()).__name__)

    def test_a_driver_with_all_capabilities_is_loaded(self):
        self.install(
            DRIVER
            + """
        capabilities = frozenset(base.Capability)
        upload = copy_disk = create_disk_from_image = pool
        snapshot = create_disks = remove_uploads = pool

        def mapped(self, disks):
            pass
        """.replace('= pool', '= lambda *args: None'),
            namespace=plugins.DRIVERS,
        )
        self.driver()

    def test_policies_are_made_in_the_order_of_the_option(self):
        self.install(POLICY)
        for order in (['mine', 'none'], ['none', 'mine']):
            self.conf.set_override(
                'eviction_policies', order, 'pvm_imagecache'
            )
            made = plugins.load_policies(self.conf)
            self.assertEqual(
                order,
                [
                    'none'
                    if isinstance(each.policy, none.NonePolicy)
                    else 'mine'
                    for each in made
                ],
            )
            self.assertEqual(order, [each.name for each in made])

    def test_a_missing_plugin_is_reported_with_the_installed_ones(self):
        self.install(POLICY)
        error = self.assertRaises(
            exceptions.PluginNotFound, self.policy, 'theirs'
        )
        self.assertIn('"theirs"', str(error))
        self.assertIn('mine, none', str(error))
        # A driver of that name is no policy.
        self.install(DRIVER, 'theirs', plugins.DRIVERS, 'another-package')
        self.assertRaises(exceptions.PluginNotFound, self.policy, 'theirs')

    def test_a_name_that_is_installed_twice_is_refused(self):
        self.install(POLICY)
        self.install(POLICY, distribution='another-package')
        self.refused(
            self.policy, 'another-package 1.5', 'Uninstall all but one'
        )

    def test_a_built_in_plugin_stays_when_its_name_is_used_again(self):
        self.install(POLICY, 'none')
        log = self.useFixture(fixtures.FakeLogger())
        self.assertIsInstance(self.policy('none').policy, none.NonePolicy)
        self.assertIn('their-package 1.5', log.output)
        self.assertIn('the name of a built-in plugin', log.output)
        found = [each for each in plugins.installed() if each.name == 'none']
        self.assertEqual(
            [('pvm_imagecache', False), ('their-package', True)],
            [(each.package, each.conflict) for each in found],
        )
        self.assertIsNone(found[0].error)
        self.assertIn('their-package 1.5', found[1].error)

    def test_the_policy_of_the_core_cannot_be_replaced(self):
        self.install(POLICY, 'core')
        error = self.assertRaises(
            exceptions.PluginInvalid, self.policy, 'core'
        )
        self.assertIn('the name of a built-in plugin', str(error))

    def test_the_version_before_is_accepted_with_a_warning(self):
        self.install(
            self._changed(POLICY, 'base.API_VERSION', str(1)),
        )
        self.patch(plugins.eviction_base, 'API_VERSION', 2)
        log = self.useFixture(fixtures.FakeLogger())
        self.policy()
        for words in (
            'Plugin "mine" of pvm_imagecache.eviction (from their-package '
            '1.5) is deprecated',
            'version 1 of the contract',
            'Upgrade their-package.',
        ):
            self.assertIn(words, log.output)
        self.patch(plugins.eviction_base, 'API_VERSION', 3)
        self.refused(self.policy, 'version 1', 'accepts version 2 and 3')

    def test_a_plugin_that_is_installed_later_is_found(self):
        self.install('', name='another', distribution='another')
        self.assertRaises(exceptions.PluginNotFound, self.policy)
        directory, path = sys.path[0], sys.path
        self.install(POLICY)
        # As pip does: into a directory that was on the path before.
        for each in pathlib.Path(sys.path[0]).iterdir():
            each.rename(pathlib.Path(directory, each.name))
        self.patch(sys, 'path', path)
        self.policy()

    def test_installed_packages_are_read_once(self):
        self.install(POLICY)
        self.policy()
        self.patch(
            entry_points.metadata,
            'entry_points',
            lambda **group: self.fail(group),
        )
        self.policy()

    def test_an_error_of_from_conf_is_reported(self):
        for body, *words in (
            ('raise KeyError("keep")', 'from_conf raised KeyError'),
            ('raise SystemExit(7)', 'raised SystemExit'),
            ('return None', 'from_conf returned None'),
            ('return "x"', "from_conf returned 'x'"),
            (
                'return type("Bad", (), {"__repr__": lambda self: 1 / 0})()',
                'from_conf returned an object of Bad',
            ),
        ):
            for code, install, make in (
                (POLICY, plugins.EVICTION, self.policy),
                (DRIVER, plugins.DRIVERS, self.driver),
            ):
                with self.uninstalled_afterwards():
                    self.install(
                        self._changed(code, 'return cls()', body),
                        namespace=install,
                    )
                    self.refused(make, *words)

    def test_the_text_of_an_invalid_option_is_printable(self):
        for body, words in (
            (
                'raise type("Bad", (ValueError,), '
                '{"__str__": lambda self: 1 / 0})()',
                'Bad.',
            ),
            (r'raise ValueError("\x1b[31m")', r'\x1b[31m.'),
        ):
            with self.uninstalled_afterwards():
                self.install(self._changed(POLICY, 'return cls()', body))
                error = self.assertRaises(
                    exceptions.ConfigurationError, self.policy
                )
                self.assertIn('Invalid option of plugin "mine"', str(error))
                self.assertTrue(str(error).endswith(words), str(error))

    def test_an_error_of_the_class_itself_is_reported(self):
        self.install(
            POLICY
            + """
    class Meta(type(Plugin)):
        @property
        def api_version(cls):
            raise RuntimeError('why')

    class Plugin(Plugin, metaclass=Meta):
        pass
"""
        )
        self.refused(self.policy, 'its class raised', 'why')

    def test_a_from_conf_that_does_not_return_is_refused(self):
        self.patch(time_limit, 'TIME_LIMIT', 0.2)
        self.install(
            self._changed(
                POLICY,
                'return cls()',
                'return conf.end.wait()',
            )
        )
        self.conf.end = threading.Event()
        self.addCleanup(self.conf.end.set)
        self.refused(self.policy, 'from_conf: no result within 0.2 s')

    def test_the_origin_of_a_policy_is_known(self):
        self.install(POLICY)
        self.assertEqual('their-package 1.5', self.policy().origin)

    def test_an_import_error_is_reported(self):
        self.install('import no_such_module')
        self.refused(self.policy, 'ModuleNotFoundError', 'no_such_module')

    def test_a_syntax_error_is_reported(self):
        self.install('class')
        self.refused(self.policy, 'SyntaxError')

    def test_an_error_at_import_is_reported(self):
        self.install('raise RuntimeError("too hot")')
        self.refused(self.policy, 'RuntimeError: too hot')

    def test_a_missing_class_is_reported(self):
        self.install(POLICY, attribute='Other')
        self.refused(self.policy, 'Other')

    def test_a_class_of_another_kind_is_refused(self):
        for code in (
            'class Plugin:\n    pass',
            'Plugin = 42',
            'def Plugin(conf):\n    pass',
            DRIVER,
        ):
            self.install(code)
            self.refused(
                self.policy,
                'not a subclass of pvm_imagecache.eviction.base.'
                'EvictionPolicy',
            )
            self.patch(sys, 'path', sys.path[1:])

    def test_another_version_of_the_contract_is_refused(self):
        self.install(
            self._changed(
                POLICY, 'api_version = base.API_VERSION', 'api_version = 2'
            )
        )
        self.refused(self.policy, 'version 2', 'version 1')

    def test_a_plugin_without_a_version_is_refused(self):
        self.install(
            self._changed(POLICY, 'api_version = base.API_VERSION', 'pass')
        )
        self.refused(self.policy, 'does not declare a contract version')

    def test_missing_methods_are_reported(self):
        self.install(
            self._changed(DRIVER, 'def delete_disks', 'def remove_disks'),
            namespace=plugins.DRIVERS,
        )
        self.refused(self.driver, 'it lacks delete_disks')

    def test_wrong_parameters_are_reported(self):
        for signature in ('self', 'self, view, more', 'self, *, view', 'view'):
            self.install(
                self._changed(
                    POLICY, 'choose(self, view)', f'choose({signature})'
                )
            )
            self.refused(self.policy, 'choose must accept (self, view)')
            self.patch(sys, 'path', sys.path[1:])

    def test_compatible_parameters_are_accepted(self):
        for signature in (
            'self, other',
            'self, view, more=None',
            '*args',
            'self, *views, **more',
        ):
            self.install(
                self._changed(
                    POLICY, 'choose(self, view)', f'choose({signature})'
                )
            )
            self.policy()
            self.patch(sys, 'path', sys.path[1:])

    def test_parameters_of_an_optional_method_are_checked(self):
        self.install(
            DRIVER
            + """
        def copy_disk(self, source, new):
            pass
        """,
            namespace=plugins.DRIVERS,
        )
        self.refused(
            self.driver,
            'copy_disk must accept (self, source, new, still_valid)',
        )

    def test_a_capability_requires_its_methods(self):
        self.install(
            DRIVER
            + """
        capabilities = frozenset(base.Capability)
        """,
            namespace=plugins.DRIVERS,
        )
        text = self.refused(self.driver)
        for method in (
            'snapshot',
            'create_disks',
            'upload',
            'copy_disk',
            'remove_uploads',
        ):
            self.assertIn(f'declares image_cache but lacks {method}', text)
        self.assertIn(
            'declares own_image_cache but lacks create_disk_from_image', text
        )

    def test_all_violations_are_reported_together(self):
        self.install(
            self._changed(
                self._changed(
                    POLICY, 'api_version = base.API_VERSION', 'api_version = 2'
                ),
                'choose(self, view)',
                'choose(self)',
            )
        )
        self.refused(self.policy, 'version 2', 'choose must accept')

    def test_a_method_without_a_signature_is_accepted(self):
        self.install(
            self._changed(
                POLICY,
                'def choose(self, view):\n            return ()',
                'choose = dict',
            )
        )
        self.policy()

    def test_unusable_policies_are_left_out_and_logged(self):
        self.install(POLICY)
        self.install(
            'import no_such_module', 'broken', distribution='broken-package'
        )
        log = self.useFixture(fixtures.FakeLogger())
        self.conf.set_override(
            'eviction_policies',
            ['absent', 'mine', 'broken', 'mine', 'age'],
            'pvm_imagecache',
        )
        self.assertEqual(
            ['mine', 'age'],
            [each.name for each in plugins.load_usable_policies(self.conf)],
        )
        for name in ('absent', 'broken'):
            self.assertIn(
                f'Continuing without eviction policy {name}: ', log.output
            )

    def test_a_policy_with_an_invalid_option_is_left_out(self):
        self.install(
            POLICY.replace('return cls()', "raise ValueError('no luck')")
        )
        self.conf.set_override(
            'eviction_policies', ['mine', 'age'], 'pvm_imagecache'
        )
        self.assertEqual(
            ['age'],
            [each.name for each in plugins.load_usable_policies(self.conf)],
        )

    def test_installed_plugins_are_listed_with_their_errors(self):
        self.install(POLICY)
        self.install(
            'import no_such_module', 'broken', distribution='broken-package'
        )
        found = {each.name: each for each in plugins.installed()}
        self.assertIn('no_such_module', found['broken'].error)
        self.assertEqual('broken-package 1.5', found['broken'].distribution)
        self.assertIsNone(found['mine'].error)
        self.assertIsNone(found['none'].error)

    def test_what_is_made_to_list_plugins_is_closed(self):
        closings = self.path('closings')
        for number, ends in enumerate(
            (f'open({closings!r}, "a").write("x")', '1 / 0')
        ):
            self.install(
                DRIVER
                + f"""
        def close(self):
            {ends}
""",
                name := f'mine{number}',
                plugins.DRIVERS,
            )
            self.conf = self.make_conf(disk_driver=name)
            log = self.useFixture(fixtures.FakeLogger())
            (found,) = [
                each
                for each in plugins.installed(self.conf)
                if each.name == name
            ]
            self.assertIsNone(found.error)
        self.assertEqual('x', pathlib.Path(closings).read_text())
        self.assertIn('Could not close Plugin: ZeroDivisionError', log.output)

    def test_each_optional_method_belongs_to_a_capability(self):
        contract = plugins.driver_base.DiskDriver
        optional = {
            name
            for name in vars(contract)
            if not name.startswith('_')
            and callable(getattr(contract, name))
            and name not in contract.__abstractmethods__
        }
        owned = {
            name for names in plugins._METHODS_OF.values() for name in names
        }
        self.assertEqual(
            {
                'base_image_snapshot',
                'close',
                'disks_elsewhere',
                'has_stale_uploads',
                'mappable',
                'platform_access',
                'pool_id',
                'servers',
                'upload_targets',
                'use_facts',
            },
            optional - owned,
        )
        self.assertEqual(set(), owned - optional)
        self.assertEqual(
            set(plugins.driver_base.Capability), set(plugins._METHODS_OF)
        )


class ListenersTest(PluginsTest):
    LISTENER = """
        from pvm_imagecache import events

        class Plugin(events.EventListener):
            api_version = 1

            @classmethod
            def from_conf(cls, conf):
                return cls()

            def notify(self, event):
                pass
    """

    def loaded(self, *names):
        self.conf.set_override('listeners', list(names), 'pvm_imagecache')
        return plugins.load_usable_listeners(self.conf)

    def test_they_are_made_in_the_order_of_the_option(self):
        self.install(self.LISTENER, namespace=plugins.LISTENERS)
        found = self.loaded('metrics', 'mine', 'notifications', 'mine')
        self.assertEqual(
            [
                ('metrics', True),
                ('mine', False),
                ('notifications', True),
            ],
            [(each.name, each.built_in) for each in found],
        )
        self.assertEqual('their-package 1.5', found[1].origin)

    def test_one_that_cannot_be_used_is_left_out(self):
        self.install(
            self.LISTENER.replace('api_version = 1', 'api_version = 9'),
            namespace=plugins.LISTENERS,
        )
        log = self.useFixture(fixtures.FakeLogger())
        self.assertEqual(
            ['metrics'],
            [each.name for each in self.loaded('mine', 'absent', 'metrics')],
        )
        for words in ('their-package 1.5', 'version 9', 'absent'):
            self.assertIn(words, log.output)
        self.assertEqual([], self.loaded())
