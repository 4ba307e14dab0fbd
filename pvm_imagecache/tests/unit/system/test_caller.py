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

"""The user behind a process, and files with the rights of that user."""

import os

from pvm_imagecache.system import caller
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base

_SIGNS = ('SUDO_UID', 'SUDO_GID', 'PKEXEC_UID', 'DOAS_USER')
_USER = 12345


class CallerTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        for name in _SIGNS:
            self.useFixture(base.environment(name, None))
        self.patch(identity, '_LOGIN_UID', self.path('loginuid'))

    def as_user(self, real, effective=None, **signs):
        self.patch(os, 'getuid', lambda: real)
        self.patch(
            os, 'geteuid', lambda: real if effective is None else effective
        )
        for name, value in signs.items():
            self.useFixture(base.environment(name, value))
        return caller.current()

    def uids(self, *users, **signs):
        found = self.as_user(*users, **signs)
        return () if found is None else found.uids


class SignTest(CallerTestCase):
    def test_without_a_sign_there_is_no_other_user(self):
        for uid in (0, 1001):
            self.assertIsNone(self.as_user(uid))

    def test_programs_that_change_the_user_are_recognized(self):
        self.assertEqual((1001,), self.uids(0, SUDO_UID='1001'))
        self.assertEqual((1001,), self.uids(64055, SUDO_UID='1001'))

    def test_pkexec_and_doas_are_recognized(self):
        self.assertEqual((1002,), self.uids(0, PKEXEC_UID='1002'))
        self.useFixture(base.environment('PKEXEC_UID', None))
        self.assertEqual((65534,), self.uids(0, DOAS_USER='no such user'))

    def test_the_login_user_is_recognized_in_processes_of_root(self):
        self.useFixture(base.TextFile(self.path('loginuid'), '1003'))
        self.assertEqual((1003,), self.uids(0))
        self.assertEqual((), self.uids(1001))

    def test_a_changed_effective_user_is_recognized(self):
        self.assertEqual((1001,), self.uids(1001, 0))

    def test_a_forged_sign_removes_no_other_one(self):
        self.useFixture(base.TextFile(self.path('loginuid'), '1003'))
        self.assertEqual((1001, 1003), self.uids(0, SUDO_UID='1001'))
        self.assertEqual((1003,), self.uids(0, SUDO_UID='0'))

    def test_root_behind_another_user_is_no_restriction(self):
        self.assertIsNone(self.as_user(64055, SUDO_UID='0'))

    def test_what_is_no_user_id_is_the_least_privileged_user(self):
        for value in ('x', '-1', '4294967295'):
            self.assertEqual((65534,), self.uids(0, SUDO_UID=value))


class OpenTest(CallerTestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('only root can take the rights of another user')
        os.chmod(self.directory, 0o755)
        # The directory of all tests of this process.
        os.chmod(os.path.dirname(self.directory), 0o755)
        self.file = self.useFixture(
            base.TextFile(self.path('file'), 'text')
        ).path
        self.caller = caller.Caller((_USER,), {_USER: (_USER,)})

    def read(self, **kwargs):
        return caller.read(self.file, kwargs.get('caller', self.caller), 10)

    def test_a_file_of_the_user_is_read(self):
        os.chown(self.file, _USER, -1)
        os.chmod(self.file, 0o600)
        self.assertEqual(b'text', self.read())

    def test_a_file_of_root_is_not_read(self):
        os.chmod(self.file, 0o600)
        self.assertRaises(PermissionError, self.read)
        self.assertEqual(b'text', self.read(caller=None))

    def test_groups_of_root_do_not_count(self):
        os.chmod(self.file, 0o640)
        self.assertRaises(PermissionError, self.read)

    def test_each_of_several_users_must_have_the_right(self):
        both = caller.Caller((_USER, 2), {_USER: (_USER,), 2: (2,)})
        os.chmod(self.file, 0o644)
        self.assertEqual(b'text', self.read(caller=both))
        os.chown(self.file, _USER, -1)
        os.chmod(self.file, 0o600)
        self.assertRaises(PermissionError, self.read, caller=both)

    def test_a_fifo_blocks_nothing(self):
        os.unlink(self.file)
        os.mkfifo(self.file)
        os.chmod(self.file, 0o666)
        self.assertRaises(OSError, self.read)

    def test_a_large_file_is_refused(self):
        with open(self.file, 'w') as file:
            file.write('x' * 11)
        os.chmod(self.file, 0o644)
        self.assertRaises(OSError, self.read)

    def test_the_rights_of_root_come_back(self):
        before = os.geteuid(), os.getegid(), os.getgroups()
        with self.caller.rights():
            self.assertEqual(
                (_USER, _USER, [_USER]),
                (os.geteuid(), os.getegid(), os.getgroups()),
            )
        self.assertEqual(before, (os.geteuid(), os.getegid(), os.getgroups()))

    def test_several_users_have_no_common_rights(self):
        both = caller.Caller((_USER, 2), {_USER: (_USER,), 2: (2,)})

        def take():
            with both.rights():
                pass

        self.assertRaises(PermissionError, take)


class OpenWithoutRootTest(CallerTestCase):
    """A process of nova, called with sudo."""

    def setUp(self):
        super().setUp()
        self.file = self.useFixture(
            base.TextFile(self.path('file'), 'text')
        ).path
        mine = os.geteuid()
        self.patch(os, 'geteuid', lambda: mine or 64055)
        self.caller = caller.Caller((_USER,), {_USER: (_USER,)})

    def test_files_are_read_that_are_open_to_all(self):
        self.assertRaises(
            PermissionError, caller.read, self.file, self.caller, 9
        )
        self.assertTrue(caller.read('/etc/passwd', self.caller, 1 << 20))

    def test_a_forged_sign_opens_no_file_of_that_user(self):
        os.chmod(self.file, 0o640)
        owner = os.stat(self.file).st_uid
        for users in ((_USER,), (_USER, owner), (owner, _USER)):
            made = caller.Caller(users, {each: (each,) for each in users})
            self.assertRaises(PermissionError, caller.read, self.file, made, 9)
        made = caller.Caller((owner,), {owner: (owner,)})
        self.assertEqual(b'text', caller.read(self.file, made, 9))

    def test_nothing_is_written(self):
        self.assertRaises(
            PermissionError, self.caller.open, self.file, os.O_WRONLY
        )


class TrustedTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.owners = (0, os.geteuid())
        self.file = self.useFixture(
            base.TextFile(self.path('file'), 'text')
        ).path
        os.chmod(self.file, 0o644)

    def refused(self, path, owners=None):
        return str(
            self.assertRaises(
                PermissionError,
                caller.check_trusted,
                path,
                owners or self.owners,
            )
        )

    def test_a_file_of_the_user_is_trusted(self):
        caller.check_trusted(self.file, self.owners)
        os.symlink(self.file, self.path('link'))
        caller.check_trusted(self.path('link'), self.owners)

    def test_a_writable_file_is_refused(self):
        for mode in (0o646, 0o666):
            os.chmod(self.file, mode)
            self.assertIn(f'mode {mode:04o}', self.refused(self.file))

    def test_a_writable_directory_on_the_way_is_refused(self):
        os.mkdir(self.path('open'))
        os.chmod(self.path('open'), 0o777)
        os.mkdir(self.path('open', 'inner'))
        inner = self.path('open', 'inner', 'file')
        os.link(self.file, inner)
        self.assertIn('mode 0777', self.refused(inner))
        # And through a link from a trusted directory.
        os.symlink(inner, self.path('link'))
        self.assertIn('mode 0777', self.refused(self.path('link')))
        os.chmod(self.path('open'), 0o1777)
        caller.check_trusted(inner, self.owners)

    def test_the_file_of_another_user_is_refused(self):
        if os.geteuid() != 0:
            self.skipTest('only root can give a file away')
        os.chown(self.file, _USER, -1)
        self.assertIn(f'belongs to uid {_USER}', self.refused(self.file))

    def test_in_a_user_namespace_users_of_the_host_are_trusted(self):
        owner = _USER if os.geteuid() == 0 else os.geteuid()
        if os.geteuid() == 0:
            os.chown(self.file, owner, -1)
        self.useFixture(base.TextFile(self.path('overflow'), f'{owner}\n'))
        self.patch(identity, '_OVERFLOW_UID', self.path('overflow'))
        for uid_map, is_trusted in (
            ('0 1001 1', True),
            ('0 0 4294967295', False),
        ):
            map_file = self.path(f'map-{is_trusted}')
            self.useFixture(base.TextFile(map_file, uid_map))
            self.patch(identity, '_UID_MAP', map_file)
            if is_trusted:
                caller.check_trusted(self.file, (0,))
            else:
                self.refused(self.file, (0,))

    def test_a_loop_of_links_ends(self):
        os.symlink('loop', self.path('loop'))
        self.assertRaises(
            OSError, caller.check_trusted, self.path('loop'), self.owners
        )
