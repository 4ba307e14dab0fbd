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

"""The ID of the catalog in a file beside it."""

import os

from pvm_imagecache.catalog import identity_file
from pvm_imagecache.system import private_files
from pvm_imagecache.tests.unit.catalog import base


class IdentityFileTest(base.ClockTestCase):
    def setUp(self):
        super().setUp()
        self.first_id = self.catalog.catalog_id
        self.file = self.path('state', identity_file.NAME)

    def replace(self, content=b'x' * 8192):
        """Damage the catalog, or delete it; return the ID of the next one."""
        self.catalog.close()
        for ending in ('', '-wal', '-shm'):
            if os.path.exists(self.catalog_path + ending):
                os.remove(self.catalog_path + ending)
        if content:
            with open(self.catalog_path, 'wb') as file:
                file.write(content)
        return self.catalog.catalog_id

    def test_a_corrupt_catalog_is_replaced_by_one_with_its_id(self):
        self.assertEqual(self.first_id, self.replace())
        self.assertEqual(self.first_id, self.replace(b''))

    def test_a_new_state_directory_has_a_new_id(self):
        os.remove(self.file)
        found = self.replace(b'')
        self.assertNotEqual(self.first_id, found)
        with open(self.file, encoding='ascii') as file:
            self.assertEqual(f'{found}\n', file.read())

    def test_a_file_that_is_no_id_is_replaced(self):
        for content in (b'', b'x', b'../..', b'a' * 33, b'\xff' * 32):
            with open(self.file, 'wb') as file:
                file.write(content)
            found = self.replace(b'')
            self.assertRegex(found, '^[0-9a-f]{32}$')
            self.assertEqual(found, self.replace(b''))

    def test_the_catalog_decides_if_both_are_there(self):
        with open(self.file, 'w', encoding='ascii') as file:
            file.write('0' * 32)
        self.catalog.close()
        self.assertEqual(self.first_id, self.catalog.catalog_id)
        with open(self.file, encoding='ascii') as file:
            self.assertEqual(self.first_id, file.read().strip())

    def test_what_is_no_file_of_the_owner_is_ignored(self):
        victim = self.path('victim')
        with open(victim, 'w', encoding='ascii') as file:
            file.write('1' * 32)
        os.remove(self.file)
        os.symlink(victim, self.file)
        found = self.replace(b'')
        self.assertNotIn(found, (self.first_id, '1' * 32))
        with open(victim, encoding='ascii') as file:
            self.assertEqual('1' * 32, file.read())
        with private_files.opened(self.path('state')) as directory:
            self.assertIsNone(identity_file.read(directory))
            identity_file.keep(directory, found)
            self.assertIsNone(identity_file.read(directory))
