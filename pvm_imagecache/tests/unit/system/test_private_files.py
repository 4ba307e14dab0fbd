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

import errno
import os
import socket
import stat

from pvm_imagecache import exceptions
from pvm_imagecache.system import identity
from pvm_imagecache.system import private_files
from pvm_imagecache.tests.unit import base

UMASKS = (0o000, 0o022, 0o077, 0o777)
UID, GID = 12345, 54321


def _mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class PrivateFilesTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.state = self.path('state')

    def _create(self, name='file', path=None):
        with private_files.opened(path or self.state, create=True) as opened:
            descriptor = opened.open(name, os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def test_modes_do_not_depend_on_the_umask(self):
        for umask in UMASKS:
            self.addCleanup(os.umask, os.umask(umask))
            directory = self.path(f'{umask:o}', 'below')
            self._create(path=directory)
            self.assertEqual(0o750, _mode(directory))
            self.assertEqual(0o750, _mode(os.path.dirname(directory)))
            self.assertEqual(0o640, _mode(os.path.join(directory, 'file')))

    def test_existing_files_keep_mode_and_content(self):
        os.mkdir(self.state, 0o700)
        with open(self.path('state', 'file'), 'w') as file:
            file.write('kept')
        os.chmod(self.path('state', 'file'), 0o600)
        descriptor = self._create()
        self.assertEqual(b'kept', os.read(descriptor, 100))
        self.assertEqual(0o600, _mode(self.path('state', 'file')))
        self.assertEqual(0o700, _mode(self.state))

    def test_child_processes_do_not_inherit_descriptors(self):
        self.assertFalse(os.get_inheritable(self._create()))
        self.assertFalse(os.get_inheritable(self._create()))

    def test_what_is_not_a_regular_file_with_one_name_is_refused(self):
        os.mkdir(self.state)
        for name in ('target', 'file'):
            with open(self.path(name), 'w') as file:
                file.write('of another user')
        at = self.path
        os.symlink(at('target'), at('state', 'link'))
        os.symlink(at('nowhere'), at('state', 'dangling'))
        os.link(at('target'), at('state', 'hard link'))
        os.mkdir(at('state', 'directory'))
        os.mkfifo(at('state', 'fifo'))
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(at('state', 'socket'))
        for name in os.listdir(self.state):
            for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT):
                with private_files.opened(self.state) as opened:
                    error = self.assertRaises(
                        exceptions.StateRefused, opened.open, name, flags
                    )
                self.assertIn(at('state', name), str(error))
        self.assertFalse(os.path.exists(self.path('nowhere')))
        with open(self.path('target')) as file:
            self.assertEqual('of another user', file.read())

    def test_a_link_instead_of_the_directory_is_refused(self):
        os.mkdir(self.path('elsewhere'))
        os.symlink(self.path('elsewhere'), self.state)
        self.assertRaises(exceptions.StateRefused, self._create)
        self.assertEqual([], os.listdir(self.path('elsewhere')))

    def test_a_link_of_root_or_of_the_owner_may_be_on_the_way(self):
        os.mkdir(self.path('elsewhere'))
        os.symlink('elsewhere', self.path('link'))
        os.symlink(self.path('link'), self.path('absolute'))
        os.mkdir(self.path('below'))
        os.symlink('../absolute', self.path('below', 'up'))
        self._create(path=self.path('below', 'up', 'state'))
        self.assertTrue(os.path.exists(self.path('elsewhere/state/file')))

    def test_a_directory_that_every_user_can_write_is_refused(self):
        os.mkdir(self.state)
        for mode in (0o777, 0o1777, 0o703):
            os.chmod(self.state, mode)
            self.assertRaises(exceptions.StateRefused, self._create)
        os.chmod(self.state, 0o770)
        self._create()

    def test_a_directory_that_every_user_can_replace_is_refused(self):
        os.mkdir(self.path('open'))
        os.mkdir(self.path('open', 'state'))
        os.chmod(self.path('open'), 0o777)
        error = self.assertRaises(
            exceptions.StateRefused,
            self._create,
            path=self.path('open', 'state'),
        )
        self.assertIn('chmod o-w', str(error))
        # As in /tmp, only the owner can replace it.
        os.chmod(self.path('open'), 0o1777)
        self._create(path=self.path('open', 'state'))

    def test_loops_of_links_and_relative_paths_are_refused(self):
        def open_directory(path):
            with private_files.opened(path):
                self.fail(path)

        os.symlink('loop', self.path('loop'))
        for path in (self.path('loop', 'x'), 'relative', '', '/x/../y'):
            self.assertRaises(exceptions.StateRefused, open_directory, path)

    def test_a_file_instead_of_the_directory_is_an_error(self):
        with open(self.state, 'w'):
            error = self.assertRaises(OSError, self._create)
        self.assertEqual(errno.ENOTDIR, error.errno)

    def test_threads_can_create_the_same_file(self):
        path = self.path('a', 'b', 'c')
        self.in_threads(*[lambda: self._create(path=path)] * 8)
        self.assertEqual(0o640, _mode(self.path('a', 'b', 'c', 'file')))

    def test_the_group_can_be_kept_from_a_file(self):
        descriptor = self._create()
        os.fchmod(descriptor, 0o664)
        with private_files.opened(self.state) as opened:
            opened.keep_from_group('file')
            opened.keep_from_group('missing')
            opened.restrict()
        self.assertEqual(0o600, _mode(self.path('state', 'file')))
        self.assertEqual(0o700, _mode(self.state))

    def test_no_descriptor_is_left_open(self):
        def count():
            return len(os.listdir('/proc/self/fd'))

        os.mkdir(self.state)
        os.symlink('x', self.path('state', 'link'))
        before = count()
        for _ in range(3):
            with private_files.opened(self.state) as opened:
                self.assertRaises(exceptions.StateRefused, opened.open, 'link')
                opened.check('missing')
        self.assertEqual(before, count())

    def test_the_user_namespace_is_read_only_if_an_owner_is_unknown(self):
        # A lock opens its directory, and a cleanup run takes hundreds.
        read = []
        self.patch(
            identity, 'unmapped_users', lambda: read.append(1) or frozenset()
        )
        with private_files.opened(self.state, create=True):
            pass
        self.assertEqual([], read)


class RootTest(PrivateFilesTest):
    """Root acts as the owner of the directory."""

    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest('only root acts as another user')
        self.let_others_reach(self.state)
        os.chown(self.directory, UID, GID)

    def test_what_is_created_belongs_to_the_owner(self):
        self._create(path=self.path('a', 'b'))
        for names in (('a',), ('a', 'b'), ('a', 'b', 'file')):
            found = os.stat(self.path(*names))
            self.assertEqual((UID, GID), (found.st_uid, found.st_gid))

    def test_a_file_of_another_user_is_refused(self):
        os.close(self._create_of(0))
        self.assertRaises(exceptions.StateRefused, self._create)

    def _create_of(self, uid):
        os.mkdir(self.state)
        os.chown(self.state, UID, GID)
        descriptor = os.open(
            self.path('state', 'file'), os.O_CREAT | os.O_RDWR, 0o666
        )
        os.fchown(descriptor, uid, 0)
        os.fchmod(descriptor, 0o666)
        return descriptor

    def test_a_directory_of_root_in_one_of_the_owner_is_refused(self):
        # It was somewhere else, and was moved to this place.
        os.mkdir(self.state)
        error = self.assertRaises(exceptions.StateRefused, self._create)
        self.assertIn(str(UID), str(error))
        self.assertEqual([], os.listdir(self.state))

    def test_a_link_of_the_owner_to_a_directory_of_root_is_refused(self):
        os.mkdir(self.path('of root'))
        os.mkdir(self.path('of root', 'state'))
        os.symlink('of root', self.path('link'))
        os.lchown(self.path('link'), UID, GID)
        self.assertRaises(
            exceptions.StateRefused,
            self._create,
            path=self.path('link', 'state'),
        )

    def test_a_file_is_removed_only_with_permission_of_the_owner(self):
        os.mkdir(self.state)
        os.chown(self.state, UID, GID)
        self._create()
        os.chmod(self.state, 0o500)
        with private_files.opened(self.state) as opened:
            self.assertRaises(PermissionError, opened.unlink, 'file')
            self.assertRaises(PermissionError, opened.rename, 'file', 'x')

    # The links in them belong to root, which is not the owner.
    def test_what_is_not_a_regular_file_with_one_name_is_refused(self):
        os.chown(self.directory, 0, 0)
        super().test_what_is_not_a_regular_file_with_one_name_is_refused()

    def test_existing_files_keep_mode_and_content(self):
        os.chown(self.directory, 0, 0)
        super().test_existing_files_keep_mode_and_content()

    def test_a_directory_that_every_user_can_write_is_refused(self):
        os.chown(self.directory, 0, 0)
        super().test_a_directory_that_every_user_can_write_is_refused()

    def test_a_directory_that_every_user_can_replace_is_refused(self):
        os.chown(self.directory, 0, 0)
        super().test_a_directory_that_every_user_can_replace_is_refused()

    def test_no_descriptor_is_left_open(self):
        os.chown(self.directory, 0, 0)
        super().test_no_descriptor_is_left_open()

    def test_a_link_of_root_or_of_the_owner_may_be_on_the_way(self):
        os.chown(self.directory, 0, 0)
        super().test_a_link_of_root_or_of_the_owner_may_be_on_the_way()
