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

"""Configuration files that the caller of a command under sudo names."""

import os

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import shell
from pvm_imagecache.system import caller
from pvm_imagecache.tests.unit import base

_CALLER = caller.Caller((12345,), {12345: (12345,)})


class ChosenFilesTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.patch(shell, 'DEFAULT_FILES', (self.path('default.conf'),))

    def write(self, name, text):
        path = self.useFixture(base.TextFile(self.path(name), text)).path
        os.chmod(path, 0o640)
        return path

    def read(self, *files, directories=()):
        return shell.read_configuration(files, directories, _CALLER)

    def refused(self, *files, directories=()):
        return str(
            self.assertRaises(
                exceptions.ConfigurationRefused,
                self.read,
                *files,
                directories=directories,
            )
        )

    def test_a_configuration_of_root_is_accepted(self):
        path = self.write('a.conf', '[pvm_imagecache]\nport = 1\n')
        self.assertEqual(1, self.read(path).pvm_imagecache.port)

    def test_a_file_that_others_can_change_is_refused(self):
        path = self.write('a.conf', '[pvm_imagecache]\nport = 1\n')
        os.chmod(path, 0o666)
        self.assertIn('mode 0666', self.refused(path))

    def test_files_of_a_directory_are_checked(self):
        os.mkdir(self.path('d'))
        path = self.write('d/a.conf', '[pvm_imagecache]\nport = 1\n')
        self.read(directories=[self.path('d')])
        os.chmod(path, 0o666)
        self.assertIn('mode 0666', self.refused(directories=[self.path('d')]))

    def test_the_file_that_is_checked_is_the_one_that_is_read(self):
        os.makedirs(self.path('d', 'e'))
        os.symlink('d/e', self.path('link'))
        self.write('a.conf', '[pvm_imagecache]\nport = 1\n')
        other = self.write('d/a.conf', '[pvm_imagecache]\nport = 2\n')
        os.chmod(other, 0o666)
        read = []
        real = shell._read_configuration
        self.patch(
            shell,
            '_read_configuration',
            lambda *paths: read.append(paths) or real(*paths),
        )
        conf = self.read(
            self.path('link', '..', 'a.conf'),
            directories=[self.path('link', '..', 'link')],
        )
        self.assertEqual(1, conf.pvm_imagecache.port)
        self.assertEqual([([self.path('a.conf')], [self.path('link')])], read)

    def test_a_device_is_refused(self):
        self.refused('/dev/zero')

    def test_a_file_without_our_options_is_refused(self):
        for text in ('', '# a\n', '[pvm_imagecache]\n', '[glance]\na = b\n'):
            self.assertIn(
                'sets no option', self.refused(self.write('a.conf', text))
            )

    def test_the_default_files_decide_the_access(self):
        self.write(
            'default.conf', '[pvm_imagecache]\nauth_strategy = keystone\n'
        )
        for text in (
            'auth_strategy = local',
            'port = 1',
            'auth_strategy = keystone\nkeystone_auth_urls = http://x',
            'auth_strategy = keystone\npolicy_file = /x',
            'auth_strategy = keystone\nkeystone_domains = x',
            'auth_strategy = keystone\n[glance]\nauth_type = v3password\n'
            'auth_url = http://x',
        ):
            path = self.write('a.conf', f'[pvm_imagecache]\n{text}\n')
            self.assertIn('not the same', self.refused(path))
        path = self.write(
            'a.conf', '[pvm_imagecache]\nauth_strategy = keystone\nport = 1\n'
        )
        self.assertEqual(1, self.read(path).pvm_imagecache.port)

    def test_no_line_of_another_file_is_shown(self):
        path = self.write('key', 'first line\nhush: hush\n')
        error = self.assertRaises(
            exceptions.ConfigurationError, self.read, path
        )
        self.assertIn(f'{path}:1', str(error))
        self.assertNotIn('first line', str(error))

    def test_the_environment_overrides_nothing(self):
        path = self.write('a.conf', '[pvm_imagecache]\nport = 1\n')
        self.useFixture(base.environment('OS_PVM_IMAGECACHE__PORT', '2'))
        for reader in (None, _CALLER):
            conf = shell.read_configuration([path], [], reader)
            self.assertEqual(1, conf.pvm_imagecache.port)
