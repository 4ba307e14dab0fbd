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

"""The application: configuration, access and errors."""

import os

from pvm_imagecache import exceptions
from pvm_imagecache import plugins
from pvm_imagecache.cmd import shell
from pvm_imagecache.cmd import wait_notice
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases


class ReadConfigurationTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.patch(shell, 'DEFAULT_FILES', ())

    def _file(self, text, name='nova.conf'):
        return self.useFixture(base.TextFile(self.path(name), text)).path

    def _refused(self, *files, directories=()):
        return str(
            self.assertRaises(
                exceptions.ConfigurationError,
                shell.read_configuration,
                files,
                directories,
            )
        )

    def test_no_file_means_defaults(self):
        conf = shell.read_configuration([], [])
        self.assertEqual('localdisk', conf.pvm_imagecache.disk_driver)

    def test_the_last_file_wins(self):
        files = [
            self._file(f'[pvm_imagecache]\nvolume_group_name = {name}\n', name)
            for name in ('one', 'two')
        ]
        conf = shell.read_configuration(files, [])
        self.assertEqual('two', conf.pvm_imagecache.volume_group_name)

    def test_directories_come_after_files(self):
        path = self._file('[pvm_imagecache]\nvolume_group_name = one\n')
        self._file(
            '[pvm_imagecache]\nvolume_group_name = two\n', 'more/b.conf'
        )
        conf = shell.read_configuration([path], [self.path('more')])
        self.assertEqual('two', conf.pvm_imagecache.volume_group_name)

    def test_default_files_that_are_there(self):
        path = self._file('[pvm_imagecache]\nvolume_group_name = vg\n')
        self.patch(shell, 'DEFAULT_FILES', (self.path('nowhere'), path))
        conf = shell.read_configuration([], [])
        self.assertEqual('vg', conf.pvm_imagecache.volume_group_name)
        other = self._file('', 'other')
        conf = shell.read_configuration([other], [])
        self.assertEqual('', conf.pvm_imagecache.volume_group_name)

    def test_a_missing_file_is_refused(self):
        text = self._refused(self._file('', 'a'), self.path('nowhere'))
        self.assertIn(self.path('nowhere'), text)
        self.assertIn('No such file', text)

    def test_a_directory_in_place_of_a_file(self):
        self.assertIn(self.directory, self._refused(self.directory))

    def test_a_file_that_may_not_be_read(self):
        path = self._file('')
        os.chmod(path, 0)
        if os.access(path, os.R_OK):
            self.skipTest('root may read every file')
        self.assertIn(path, self._refused(path))

    def test_a_missing_directory_is_refused(self):
        self.assertIn(
            self.path('nowhere'),
            self._refused(directories=[self.path('nowhere')]),
        )

    def test_a_file_that_is_no_configuration_is_refused(self):
        self.assertIn(
            'Invalid configuration', self._refused(self._file('nonsense'))
        )

    def test_an_option_that_refers_to_itself_is_refused(self):
        path = self._file('[pvm_imagecache]\nstate_path = /x$state_path\n')
        self.assertIn('refers to the option itself', self._refused(path))

    def test_a_large_file_is_refused(self):
        self.patch(shell, '_MAX_CONFIGURATION', 100)
        self.assertIn(
            'more than 100 characters', self._refused(self._file('#' * 101))
        )

    def test_invalid_values_are_refused(self):
        for text in (
            'port = 70000',
            'enabled = perhaps',
            'protocol = gopher',
            'stall_timeout = soon',
        ):
            path = self._file(f'[pvm_imagecache]\n{text}\n')
            self.assertIn(text.split()[0], self._refused(path))

    def test_a_default_of_oslo_config_is_not_read(self):
        """Only what the user named, or the documented defaults."""
        self.useFixture(base.environment('HOME', self.directory))
        self._file(
            '[pvm_imagecache]\nvolume_group_name = home\n',
            '.pvm_imagecache/pvm_imagecache.conf',
        )
        conf = shell.read_configuration([], [])
        self.assertEqual('', conf.pvm_imagecache.volume_group_name)


class RunTest(cases.CommandTestCase):
    def test_an_unexpected_error_asks_for_a_report(self):
        def fail(conf):
            raise ZeroDivisionError

        self.patch(plugins, 'load_driver', fail)
        message = self.refused('usage')
        self.assertIn('This should not have happened (ZeroDiv', message)
        self.assertNotIn('Traceback', message)

    def test_the_manager_works_for_the_user(self):
        self.cache('debian-13')
        self.run_command('pin', 'debian-13')
        self.assertEqual('ann', self.json('history')[0]['User'])

    def test_the_notices_end_with_the_command(self):
        self.patch(shell.Shell, 'quiet', property(lambda application: False))
        self.run_command('list')
        self.assertIsNone(wait_notice._State.watch)

    def test_keystone_requires_a_trusted_url(self):
        self.user = None
        self.conf.set_override('auth_strategy', 'keystone', 'pvm_imagecache')
        self.assertIn(
            'set keystone_auth_urls in [pvm_imagecache]', self.refused('list')
        )

    def test_keystone_requires_credentials(self):
        self.user = None
        self.conf.set_override('auth_strategy', 'keystone', 'pvm_imagecache')
        self.conf.set_override(
            'keystone_auth_urls', ['http://k/v3'], 'pvm_imagecache'
        )
        self.useFixture(base.environment('OS_AUTH_URL', None))
        self.assertIn(
            'Authentication required: use --os-cloud or OS_* variables.',
            self.refused('list'),
        )
