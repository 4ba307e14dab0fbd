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

"""Drivers and policies of other distributions."""

import contextlib
import itertools
import sys
import textwrap

import fixtures
from stevedore import _cache
from stevedore import extension

from pvm_imagecache import exceptions
from pvm_imagecache import plugins
from pvm_imagecache.drivers.localdisk import driver as localdisk
from pvm_imagecache.drivers.ssp import driver as ssp
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import time_limit
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
        self._forget_plugins()

    def _forget_plugins(self):
        """stevedore keeps what it found, in the process and on disk."""
        self.patch(_cache, '_c', _cache.Cache(self.path('cache')))
        self.patch(extension.ExtensionManager, 'ENTRY_POINT_CACHE', {})

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
        self._forget_plugins()

    @contextlib.contextmanager
    def undone(self):
        """What is installed in the block is there no more after it."""
        before = sys.path
        try:
            yield
        finally:
            sys.path = before
            self._forget_plugins()

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


class OwnTest(PluginsTest):
    def test_our_drivers(self):
        self.conf.set_override('volume_group_name', 'vg', 'pvm_imagecache')
        self.assertIsInstance(
            self.driver('localdisk'), localdisk.LocalDiskDriver
        )
        self.assertIsInstance(self.driver('ssp'), ssp.SSPDriver)

    def test_our_policies(self):
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

    def test_one_policy_twice(self):
        self.conf.set_override(
            'eviction_policies', ['age', 'lru', 'age'], 'pvm_imagecache'
        )
        error = self.assertRaises(
            exceptions.ConfigurationError, plugins.load_policies, self.conf
        )
        self.assertIn('age more than once', str(error))

    def test_an_option_that_is_not_right(self):
        self.conf.set_override(
            'eviction_policies', ['watermark'], 'pvm_imagecache'
        )
        plugins.load_policies(self.conf)
        self.conf.set_override('low', 95, 'pvm_imagecache_watermark')
        error = self.assertRaises(
            exceptions.ConfigurationError, plugins.load_policies, self.conf
        )
        self.assertIn('low (95) is above high (90)', str(error))

    def test_no_policies(self):
        self.conf.set_override('eviction_policies', [], 'pvm_imagecache')
        self.assertEqual([], plugins.load_policies(self.conf))

    def test_installed(self):
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


class OthersTest(PluginsTest):
    def test_a_good_policy(self):
        self.install(POLICY)
        self.assertEqual('Plugin', type(self.policy().policy).__name__)

    def test_a_good_driver(self):
        self.install(DRIVER, namespace=plugins.DRIVERS)
        self.assertEqual('Plugin', type(self.driver()).__name__)

    def test_a_driver_of_every_capability(self):
        self.install(
            DRIVER
            + """
        capabilities = frozenset(base.Capability)
        upload = copy_disk = create_disk_from_image = pool
        disks = create_disks = remove_uploads = pool

        def mapped(self, disks):
            pass
        """.replace('= pool', '= lambda *args: None'),
            namespace=plugins.DRIVERS,
        )
        self.driver()

    def test_policies_are_made_in_order(self):
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

    def test_missing(self):
        self.install(POLICY)
        error = self.assertRaises(
            exceptions.PluginNotFound, self.policy, 'theirs'
        )
        self.assertIn('"theirs"', str(error))
        self.assertIn('mine, none', str(error))
        # A driver of that name does not help.
        self.install(DRIVER, 'theirs', plugins.DRIVERS, 'another-package')
        self.assertRaises(exceptions.PluginNotFound, self.policy, 'theirs')

    def test_one_name_twice(self):
        self.install(POLICY)
        self.install(POLICY, distribution='another-package')
        self.refused(self.policy, 'another-package 1.5', 'several')

    def test_the_name_of_one_of_ours(self):
        self.install(POLICY, 'none')
        error = self.assertRaises(
            exceptions.PluginInvalid, self.policy, 'none'
        )
        self.assertIn('pvm_imagecache', str(error))
        self.assertIn('their-package 1.5', str(error))

    def test_making_it_fails(self):
        for body, *words in (
            ('raise KeyError("keep")', 'from_conf raised KeyError'),
            ('raise SystemExit(7)', 'raised SystemExit'),
            ('return None', 'from_conf returned None'),
            ('return "x"', "from_conf returned 'x'"),
        ):
            for code, install, make in (
                (POLICY, plugins.EVICTION, self.policy),
                (DRIVER, plugins.DRIVERS, self.driver),
            ):
                with self.undone():
                    self.install(
                        self._changed(code, 'return cls()', body),
                        namespace=install,
                    )
                    self.refused(make, *words)

    def test_making_it_never_ends(self):
        self.patch(time_limit.BoundedCall.__init__, '__defaults__', (0.2,))
        self.install(self._changed(POLICY, 'return cls()', 'while True: pass'))
        self.refused(self.policy, 'from_conf', 'did not end')

    def test_where_it_comes_from_is_known(self):
        self.install(POLICY)
        self.assertEqual('their-package 1.5', self.policy().origin)

    def test_import_error(self):
        self.install('import no_such_module')
        self.refused(self.policy, 'ModuleNotFoundError', 'no_such_module')

    def test_syntax_error(self):
        self.install('class')
        self.refused(self.policy, 'SyntaxError')

    def test_error_while_it_is_imported(self):
        self.install('raise RuntimeError("too hot")')
        self.refused(self.policy, 'RuntimeError: too hot')

    def test_no_such_class(self):
        self.install(POLICY, attribute='Other')
        self.refused(self.policy, 'Other')

    def test_not_of_the_contract(self):
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

    def test_another_version_of_the_contract(self):
        self.install(
            self._changed(
                POLICY, 'api_version = base.API_VERSION', 'api_version = 2'
            )
        )
        self.refused(self.policy, 'version 2', 'version 1')

    def test_no_version_of_the_contract(self):
        self.install(
            self._changed(POLICY, 'api_version = base.API_VERSION', 'pass')
        )
        self.refused(self.policy, 'version 0')

    def test_missing_methods(self):
        self.install(
            self._changed(DRIVER, 'def delete_disks', 'def remove_disks'),
            namespace=plugins.DRIVERS,
        )
        self.refused(self.driver, 'it lacks delete_disks')

    def test_wrong_signature(self):
        for signature in ('self', 'self, view, more', 'self, *, view', 'view'):
            self.install(
                self._changed(
                    POLICY, 'choose(self, view)', f'choose({signature})'
                )
            )
            self.refused(self.policy, 'choose must take (self, view)')
            self.patch(sys, 'path', sys.path[1:])

    def test_other_signatures_that_do(self):
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

    def test_signature_of_an_optional_method(self):
        self.install(
            DRIVER
            + """
        def copy_disk(self, source, new):
            pass
        """,
            namespace=plugins.DRIVERS,
        )
        self.refused(
            self.driver, 'copy_disk must take (self, source, new, still_valid)'
        )

    def test_a_capability_without_its_methods(self):
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
            self.assertIn(f'declares image_cache, but lacks {method}', text)
        self.assertIn(
            'declares own_image_cache, but lacks create_disk_from_image', text
        )

    def test_all_faults_are_told_at_once(self):
        self.install(
            self._changed(
                self._changed(
                    POLICY, 'api_version = base.API_VERSION', 'api_version = 2'
                ),
                'choose(self, view)',
                'choose(self)',
            )
        )
        self.refused(self.policy, 'version 2', 'choose must take')

    def test_a_method_without_a_signature(self):
        self.install(
            self._changed(
                POLICY,
                'def choose(self, view):\n            return ()',
                'choose = dict',
            )
        )
        self.policy()

    def test_those_that_are_usable(self):
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
                f'Going on without the eviction policy {name}: ', log.output
            )

    def test_an_option_that_makes_no_sense(self):
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

    def test_installed_tells_all_that_is_wrong(self):
        self.install(POLICY)
        self.install(
            'import no_such_module', 'broken', distribution='broken-package'
        )
        found = {each.name: each for each in plugins.installed()}
        self.assertIn('no_such_module', found['broken'].error)
        self.assertEqual('broken-package 1.5', found['broken'].distribution)
        self.assertIsNone(found['mine'].error)
        self.assertIsNone(found['none'].error)

    def test_contract_of_capabilities_is_complete(self):
        """Each optional method of the contract belongs to a capability."""
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
                'has_stale_uploads',
                'mappable',
                'pool_id',
                'servers',
                'upload_targets',
            },
            optional - owned,
        )
        self.assertEqual(set(), owned - optional)
        self.assertEqual(
            set(plugins.driver_base.Capability), set(plugins._METHODS_OF)
        )
