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

"""Files that only their owner and group can read."""

import errno
import os
import stat

from pvm_imagecache.system import private_files
from pvm_imagecache.tests.unit import base

UMASKS = (0o000, 0o022, 0o077, 0o777)


def _mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class PrivateFilesTest(base.TestCase):
    def _with_umask(self, umask):
        self.addCleanup(os.umask, os.umask(umask))

    def _open(self, path):
        descriptor = private_files.open_for_update(path)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def test_modes_do_not_depend_on_the_umask(self):
        for umask in UMASKS:
            if umask & 0o700 and os.geteuid():
                # Only root can open what its owner may not read.
                continue
            self._with_umask(umask)
            directory = self.path(f'{umask:o}', 'below')
            private_files.make_directory(directory)
            self.assertEqual(0o750, _mode(directory))
            self.assertEqual(0o750, _mode(os.path.dirname(directory)))
            self._open(os.path.join(directory, 'file'))
            self.assertEqual(0o640, _mode(os.path.join(directory, 'file')))

    def test_existing_files_keep_their_mode(self):
        os.chmod(self.directory, 0o700)
        private_files.make_directory(self.directory)
        self.assertEqual(0o700, _mode(self.directory))
        os.close(os.open(self.path('file'), os.O_CREAT, 0o600))
        self._open(self.path('file'))
        self.assertEqual(0o600, _mode(self.path('file')))

    def test_existing_content_is_kept(self):
        with open(self.path('file'), 'w') as file:
            file.write('kept')
        descriptor = self._open(self.path('file'))
        self.assertEqual(b'kept', os.read(descriptor, 100))
        os.pwrite(descriptor, b'l', 0)
        self.assertEqual(b'lept', os.pread(descriptor, 100, 0))

    def test_child_processes_do_not_inherit_descriptors(self):
        self.assertFalse(os.get_inheritable(self._open(self.path('new'))))
        self.assertFalse(os.get_inheritable(self._open(self.path('new'))))

    def test_links_are_refused(self):
        with open(self.path('target'), 'w') as file:
            file.write('of another user')
        os.symlink(self.path('target'), self.path('link'))
        os.symlink(self.path('nowhere'), self.path('dangling'))
        for name in ('link', 'dangling'):
            error = self.assertRaises(
                OSError, private_files.open_for_update, self.path(name)
            )
            self.assertEqual(errno.ELOOP, error.errno)
        self.assertFalse(os.path.exists(self.path('nowhere')))

    def test_a_file_that_appears_meanwhile_is_opened(self):
        real = os.open

        def beaten(path, flags, *mode):
            if flags & os.O_CREAT:
                os.close(real(path, flags, 0o600))
            return real(path, flags, *mode)

        self.patch(private_files.os, 'open', beaten)
        self._open(self.path('file'))
        # The other one's, as it was made.
        self.assertEqual(0o600, _mode(self.path('file')))

    def test_a_directory_that_appears_meanwhile_is_used(self):
        real = os.mkdir

        def beaten(path, mode):
            real(path, 0o700)
            real(path, mode)

        self.patch(private_files.os, 'mkdir', beaten)
        private_files.make_directory(self.path('new'))
        self.assertEqual(0o700, _mode(self.path('new')))

    def test_threads_can_create_the_same_file(self):
        def make():
            private_files.make_directory(self.path('a', 'b', 'c'))
            os.close(
                private_files.open_for_update(self.path('a', 'b', 'c', 'file'))
            )

        self.in_threads(*[make] * 8)
        self.assertEqual(0o640, _mode(self.path('a', 'b', 'c', 'file')))

    def test_files_of_root_get_the_owner_of_the_directory(self):
        if os.geteuid():
            self.skipTest('only root can give files away')
        os.chown(self.directory, 12345, 54321)
        private_files.make_directory(self.path('a', 'b'))
        self._open(self.path('a', 'b', 'file'))
        for names in (('a',), ('a', 'b'), ('a', 'b', 'file')):
            found = os.stat(self.path(*names))
            self.assertEqual((12345, 54321), (found.st_uid, found.st_gid))

    def test_existing_files_keep_their_owner(self):
        if os.geteuid():
            self.skipTest('only root can give files away')
        os.close(os.open(self.path('file'), os.O_CREAT, 0o600))
        os.chown(self.directory, 12345, 54321)
        self._open(self.path('file'))
        self.assertEqual(0, os.stat(self.path('file')).st_uid)
