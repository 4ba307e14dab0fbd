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
import os
import pathlib
import time
import unittest

import fixtures

from pvm_imagecache.drivers import token_file
from pvm_imagecache.tests.unit import base

_SECRET = 'Root-Secret-1234'
_NOBODY = 65534


class TokenFileTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path
        ).resolve()
        self.began = time.time()
        self.file = self.directory / 'token'
        self.file.write_text(_SECRET + '\n')

    def read(self, path=None, directory='', owners=None):
        return token_file.read(
            str(self.file if path is None else path),
            str(directory),
            self.began,
            {0, os.getuid()} if owners is None else owners,
        )

    def assert_refused(self, sign, *arguments, **kwargs):
        error = self.assertRaises(
            token_file.Refused, self.read, *arguments, **kwargs
        )
        self.assertIn(sign, error.reason)
        self.assertNotIn(_SECRET, str(error))

    def test_a_token_of_this_logon_is_read(self):
        self.assertEqual(_SECRET, self.read())

    def test_a_file_below_the_configured_directory_is_read(self):
        os.utime(self.file, (0, 0))
        self.assertEqual(_SECRET, self.read(directory=self.directory))
        self.assertEqual(_SECRET, self.read(directory=self.directory.parent))
        link = self.directory / 'link'
        link.symlink_to(self.directory)
        self.assertEqual(_SECRET, self.read(directory=link))
        self.assertEqual(_SECRET, self.read(link / 'token', link))

    def test_a_file_outside_the_configured_directory_is_refused(self):
        other = self.directory / 'other'
        other.mkdir()
        self.assert_refused('not below', directory=other)
        # A name that only begins like the directory is another one.
        self.assert_refused(
            'not below', self.directory / 'others', directory=other
        )

    def test_a_path_that_is_not_plain_is_refused(self):
        for path in (
            f'{self.directory}/../{self.directory.name}/token',
            f'{self.directory}/./token',
            f'{self.directory}//token',
            f'{self.directory}/',
            f'{self.file}\0',
        ):
            self.assert_refused('plain', path)
            self.assert_refused('plain', path, directory=self.directory)
        self.assert_refused('relative', 'token')
        self.assert_refused('relative', '')

    @unittest.skipIf(os.geteuid(), 'only root makes links of root')
    def test_links_of_root_are_followed_where_nothing_is_configured(self):
        (self.directory / 'run').symlink_to(self.directory)
        path = self.directory / 'run/token'
        self.assertEqual(_SECRET, self.read(path))
        self.assertRaises(token_file.Refused, self.read, path, self.directory)
        self.directory.chmod(0o1777)
        self.assertRaises(token_file.Refused, self.read, path)

    def test_the_clock_of_the_host_counts(self):
        self.patch(time, 'time', lambda: 0.0)
        self.assertEqual(_SECRET, self.read())

    def test_a_file_from_before_the_logon_is_refused(self):
        self.began = time.time() + 1
        self.assert_refused('for this logon')

    def test_files_of_the_kernel_are_refused(self):
        # They are as new as this process, and look like tokens. Of root,
        # that is true for the key in /proc/sys/net/ipv4/tcp_fastopen_key.
        self.began = 0
        for name in ('comm', 'sessionid'):
            self.assert_refused('its size', f'/proc/{os.getpid()}/{name}')

    def test_links_are_not_followed(self):
        (self.directory / 'a').symlink_to(self.file)
        (self.directory / 'b').symlink_to(self.directory)
        if not os.geteuid():
            os.lchown(self.directory / 'b', 12345, 12345)
        for path in ('a', 'b/token'):
            for directory in ('', self.directory):
                error = self.assertRaises(
                    token_file.Refused,
                    self.read,
                    self.directory / path,
                    directory,
                )
                self.assertNotIn(_SECRET, str(error))

    def test_only_a_regular_file_is_opened(self):
        os.mkfifo(self.directory / 'fifo')
        (self.directory / 'sub').mkdir()
        for path in (
            self.directory / 'fifo',
            self.directory / 'sub',
            '/dev/zero',
            '/dev/tty',
        ):
            self.assert_refused('regular', path)

    def test_what_other_users_can_change_is_refused(self):
        os.link(self.file, self.directory / 'second')
        self.assert_refused('several names')
        (self.directory / 'second').unlink()
        self.file.chmod(0o666)
        self.assert_refused('can write')
        self.file.chmod(0o600)
        self.directory.chmod(0o777)
        self.assert_refused('writable by all')
        self.directory.chmod(0o1777)
        self.assertEqual(_SECRET, self.read())

    def test_a_file_of_another_owner_is_refused(self):
        self.assert_refused(
            'belongs to', directory=self.directory, owners={_NOBODY}
        )
        self.assert_refused('belongs to', owners={_NOBODY})

    @unittest.skipUnless(os.getuid() == 0, 'needs root')
    def test_a_file_that_belongs_to_nobody_is_refused(self):
        os.chown(self.file, _NOBODY, -1)
        self.assert_refused('user ID 65534')

    def test_a_content_that_is_no_token_is_refused(self):
        for content in (
            f'root:{_SECRET}:0:0\ndaemon:*:1:1\n',
            f'{_SECRET} {_SECRET}',
            f'{_SECRET}\r\nX-Header: 1',
            f'{_SECRET}\0',
            f'{_SECRET}é',
            '',
            '\n',
        ):
            self.file.write_text(content)
            self.assert_refused('not a token')

    def test_a_token_has_at_most_four_kib(self):
        self.file.write_text('t' * 4096)
        self.assertEqual('t' * 4096, self.read())
        self.file.write_text('t' * 4097)
        self.assert_refused('4096')

    def test_what_does_not_exist_is_refused(self):
        self.assert_refused('No such file', self.directory / 'gone')
        self.assert_refused('', self.directory / ('n' * 300))

    @unittest.skipUnless(os.getuid() == 0, 'needs root')
    def test_no_permission_is_reported(self):
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setuid(_NOBODY)
                try:
                    self.read()
                except token_file.Refused as error:
                    os._exit(0 if 'permission' in error.reason else 2)
            finally:
                os._exit(1)
        self.assertEqual(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
