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

import fixtures
import hypothesis
from hypothesis import strategies
from oslotest import base

from pvm_imagecache.simulator import disks
from pvm_imagecache.tests.unit import base as unit_base

MIB = 1 << 20


class DiskFilesTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).join('disks')
        self.files = disks.DiskFiles(self.directory)

    def read(self, name):
        with open(self.files.path(name), 'rb') as file:
            return file.read()

    def write(self, name, at, data):
        with open(self.files.path(name), 'r+b') as file:
            file.seek(at)
            file.write(data)

    def test_private_and_sparse(self):
        name = self.files.create(1 << 40)
        self.assertEqual(0, self.files.allocated(name))
        self.assertEqual(0o700, os.stat(self.directory).st_mode & 0o777)
        self.assertEqual(0o600, os.stat(self.files.path(name)).st_mode & 0o777)

    @hypothesis.settings(unit_base.generated, max_examples=25)
    @hypothesis.given(
        strategies.integers(1, 12 * MIB),
        strategies.lists(
            strategies.tuples(
                strategies.integers(0, 12 * MIB), strategies.integers(1, MIB)
            ),
            max_size=5,
        ),
        strategies.integers(0, MIB),
        strategies.booleans(),
    )
    def test_a_copy_is_followed_by_zeros(self, size, writes, larger, fallback):
        source = self.files.create(size)
        for at, length in writes:
            if at + length <= size:
                self.write(source, at, os.urandom(length))
        target = self.files.create(size + larger)
        spent = []
        with fixtures.MockPatchObject(
            os,
            'copy_file_range',
            side_effect=OSError(errno.EXDEV, '')
            if fallback
            else os.copy_file_range,
        ):
            self.files.copy(source, target, spent.append)
        self.assertEqual(self.read(source) + bytes(larger), self.read(target))
        # Holes count: real hardware moves every byte.
        self.assertEqual(size, sum(spent))
        self.assertTrue(all(piece <= 4 * MIB for piece in spent))
        self.files.remove(source)
        self.files.remove(target)

    def test_a_full_disk_is_copied_whole(self):
        size = 9 * MIB + 5
        source, target = self.files.create(size), self.files.create(size)
        self.write(source, 0, os.urandom(size))
        self.files.copy(source, target, lambda size: None)
        self.assertEqual(self.read(source), self.read(target))

    def test_copy_keeps_holes(self):
        source = self.files.create(100 * MIB)
        self.write(source, 50 * MIB, os.urandom(MIB))
        target = self.files.create(100 * MIB)
        self.files.copy(source, target, lambda size: None)
        self.assertLess(self.files.allocated(target), 2 * MIB)

    def test_an_error_of_a_copy_is_raised(self):
        source = self.files.create(MIB)
        self.write(source, 0, b'x')
        target = self.files.create(MIB)
        self.useFixture(
            fixtures.MockPatchObject(
                os, 'copy_file_range', side_effect=OSError(errno.EIO, '')
            )
        )
        self.assertRaises(OSError, self.files.copy, source, target, len)

    def test_reconcile_makes_files_match_the_state(self):
        kept, gone = self.files.create(5), self.files.create(6)
        self.write(kept, 0, b'hello')
        self.files.reconcile({kept: 5, 'lost': 7})
        self.assertFalse(os.path.exists(self.files.path(gone)))
        self.assertEqual(b'hello', self.read(kept))
        self.assertEqual(bytes(7), self.read('lost'))

    def test_grow_and_remove(self):
        name = self.files.create(1)
        self.files.grow(name, 3)
        self.assertEqual(bytes(3), self.read(name))
        self.files.remove(name)
        self.files.remove(name)
