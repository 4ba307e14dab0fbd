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

"""The command ``pvm-imagecache-status``."""

import contextlib
from importlib import metadata
import io
import logging
import sqlite3

from oslo_upgradecheck import upgradecheck

from pvm_imagecache import exceptions
from pvm_imagecache import plugins
from pvm_imagecache.catalog import facade
from pvm_imagecache.cmd import status
from pvm_imagecache.conf import access
from pvm_imagecache.conf import cache
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes
from pvm_imagecache.tests.unit.cmd import cases
from pvm_imagecache.tests.unit.platform_check import platforms

_SUCCESS = upgradecheck.Code.SUCCESS
_WARNING = upgradecheck.Code.WARNING
_FAILURE = upgradecheck.Code.FAILURE


class ChecksTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.driver = fakes.FakeDriver()
        self.patch(plugins, 'load_driver', lambda conf: self.driver)
        self.conf = self.make_conf(state_path=self.directory)
        access.register(self.conf)
        self.conf.set_override(
            'policy_file', self.path('policy.yaml'), cache.GROUP.name
        )

    def _check(self, name):
        """Run the checks up to one; returns its code and details."""
        checks = status.Checks(self.conf)
        for each, function in checks._upgrade_checks:
            result = function(checks)
            if each == name:
                return result.code, result.details or ''
        raise AssertionError(name)

    def test_a_missing_policy_file_means_defaults(self):
        code, details = self._check('Policy file')
        self.assertEqual(_SUCCESS, code)
        self.assertIn('defaults in use', details)

    def test_the_environment_overrides_no_option(self):
        self.patch(
            status.Checks,
            '_upgrade_checks',
            (('Policy file', status.Checks._policy_file),),
        )
        self.useFixture(
            base.environment('OS_PVM_IMAGECACHE__POLICY_FILE', 'relative')
        )
        path = self.useFixture(
            base.TextFile(
                self.path('c.conf'),
                f'[pvm_imagecache]\npolicy_file = {self.path("p.yaml")}\n',
            )
        ).path
        # The command does it for its process.
        self.addCleanup(logging.disable, logging.NOTSET)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = status.main(['--config-file', path, 'upgrade', 'check'])
        self.assertIn('defaults in use', output.getvalue())
        self.assertEqual(0, code)

    def test_an_unknown_rule_is_a_warning(self):
        self.useFixture(
            base.TextFile(
                self.path('policy.yaml'),
                '"pvm_imagecache:lisst": "role:admin"',
            )
        )
        code, details = self._check('Policy file')
        self.assertEqual(_WARNING, code)
        self.assertIn('unknown rules: pvm_imagecache:lisst', details)

    def test_an_invalid_policy_file_is_a_failure(self):
        self.useFixture(base.TextFile(self.path('policy.yaml'), '['))
        self.assertEqual(_FAILURE, self._check('Policy file')[0])

    def test_the_releases_of_nova_and_pypowervm_are_checked(self):
        for name, versions in (
            ('nova', {'31.1.0': 0, '34.0.0': 0, '30.0.0': 2, '35.0.0': 1}),
            ('pypowervm', {'1.1.27': 0, '1.1.26': 2, '1.2.0': 1}),
        ):
            for version, code in versions.items():
                self.patch(
                    metadata,
                    'distributions',
                    lambda name, version=version: [
                        packages.Distribution(version)
                    ],
                )
                found, details = self._check(name)
                self.assertEqual(code, found.value, version)
                self.assertIn(f'{name} {version}', details)
                self.assertEqual(code > 0, 'supports' in details)

    def test_a_host_without_nova_or_pypowervm_is_reported(self):
        self.patch(metadata, 'distributions', lambda name: [])
        self.assertEqual(
            (
                _SUCCESS,
                'nova is not installed in the Python environment of this '
                'command.',
            ),
            self._check('nova'),
        )
        self.assertEqual(
            (_FAILURE, 'pypowervm is not installed.'),
            self._check('pypowervm'),
        )

    def test_an_unexpected_error_is_the_result_of_its_check(self):
        def fail(*args):
            raise TypeError("'X' is not subscriptable")

        self.patch(plugins, 'load_driver', fail)
        self.assertEqual(
            (_FAILURE, "Not checked: TypeError: 'X' is not subscriptable."),
            self._check('Plugins'),
        )
        self.assertEqual(_FAILURE, self._check('Pool')[0])

    def test_libraries_below_their_bounds_are_a_failure(self):
        self.assertEqual((_SUCCESS, ''), self._check('Libraries'))
        self.patch(metadata, 'requires', lambda name: ['pbr>=999'])
        code, details = self._check('Libraries')
        self.assertEqual(_FAILURE, code)
        self.assertIn('is not >=999. Install the versions', details)

    def test_the_version_of_the_catalog_is_checked(self):
        path = cache.catalog_path(self.conf)
        self.assertEqual(_SUCCESS, self._check('Catalog')[0])
        for version, code in ((2, _WARNING), (99, _FAILURE)):
            connection = sqlite3.connect(path)
            connection.execute(f'PRAGMA user_version = {version}')
            connection.close()
            found, details = self._check('Catalog')
            self.assertEqual(code, found)
            self.assertIn(f'has version {version}', details)

    def test_checks_that_depend_on_the_driver_are_not_made_without(self):
        def fail(conf):
            raise exceptions.PluginNotFound(name='x', namespace='y', known='z')

        self.patch(plugins, 'load_driver', fail)
        self.assertEqual(_FAILURE, self._check('Plugins')[0])
        for name in ('Pool', 'Untracked disks'):
            self.assertEqual(
                (_FAILURE, 'Not checked: driver failed to load'),
                self._check(name),
            )

    def test_a_pool_that_cannot_be_read_is_a_failure(self):
        def fail():
            raise exceptions.PowerVMError(reason='down')

        self.driver.pool = fail
        self.assertEqual((_FAILURE, 'PowerVM: down'), self._check('Pool'))
        self.assertEqual(
            (_WARNING, 'Not checked: PowerVM: down'),
            self._check('Untracked disks'),
        )

    def test_an_untracked_disk_is_a_warning(self):
        self.assertEqual(_SUCCESS, self._check('Untracked disks')[0])
        self.driver.add('i_12345678_1234')
        code, details = self._check('Untracked disks')
        self.assertEqual(_WARNING, code)
        self.assertIn('i_12345678_1234: untracked disks', details)

    def test_disks_of_another_catalog_are_a_warning(self):
        self.assertEqual((_SUCCESS, ''), self._check('Other catalogs'))
        self.driver.add('i_12345678_1234', label=cases.LABEL_OF_OTHER)
        self.assertEqual((_SUCCESS, ''), self._check('Untracked disks'))
        code, details = self._check('Other catalogs')
        self.assertEqual(_WARNING, code)
        self.assertIn('5e1f0c2a (base images: 1, other disks: 0)', details)

    def test_other_catalogs_are_not_checked_without_the_disks(self):
        self.driver = fakes.FakePool()
        code, details = self._check('Other catalogs')
        self.assertEqual(_SUCCESS, code)
        self.assertIn('Not checked', details)

    def test_a_pool_that_caches_itself_has_no_untracked_disks(self):
        self.driver = fakes.FakePool()
        self.assertEqual(
            (_SUCCESS, 'The pool caches images itself.'),
            self._check('Untracked disks'),
        )

    def test_facts_of_another_level_are_a_warning(self):
        self.driver = platforms.Platform()
        self.assertEqual(_SUCCESS, self._check('Platform facts')[0])
        path = cache.catalog_path(self.conf)
        with contextlib.closing(facade.Catalog(path)) as catalog:
            for level, code in (
                (str(self.driver.platform_access().levels()), _SUCCESS),
                ('another', _WARNING),
            ):
                catalog.platform_facts.record(
                    'pool', {'granularity': 5}, {}, level
                )
                self.assertEqual(code, self._check('Platform facts')[0])
        self.driver = fakes.FakeDriver()
        code, details = self._check('Platform facts')
        self.assertEqual(_SUCCESS, code)
        self.assertIn('cannot measure', details)

    def test_the_session_is_closed(self):
        checks = status.Checks(self.conf)
        checks.close()
        checks._plugins()
        checks.close()
        self.assertTrue(self.driver.closed)
