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

"""Which catalog this is, and which others have disks in its pools."""

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import identity
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit.catalog import base

OTHER = models.OtherCatalog


class IdentityTest(base.ClockTestCase):
    def setUp(self):
        super().setUp()
        self.identity = self.catalog.identity

    def test_the_id_is_that_of_the_file_and_stays(self):
        found = self.identity.id
        self.assertRegex(found, '^[0-9a-f]{32}$')
        self.assertEqual(found, self.open().identity.id)
        self.assertEqual(found, self.catalog.catalog_id)

    def test_two_catalogs_have_different_ids(self):
        other = facade.Catalog(self.path('two', 'c.sqlite'))
        self.addCleanup(other.close)
        self.assertNotEqual(self.identity.id, other.identity.id)

    def test_a_catalog_without_id_is_an_error(self):
        self.assertTrue(self.identity.id)
        for change in (
            "UPDATE identity SET catalog_id = '../x'",
            'DELETE FROM identity',
        ):
            self.sql(change)
            for read in (lambda: self.identity.id, self.identity.own):
                self.assertRaises(exceptions.CatalogError, read)

    def test_own_catalogs_are_this_one_and_those_taken_over(self):
        own = self.identity.id[:8]
        self.assertEqual({own}, self.identity.own())
        for _ in range(2):
            self.identity.take_over('0a1b2c3d')
        self.assertEqual({own, '0a1b2c3d'}, self.open().identity.own())

    def test_a_malformed_catalog_that_was_taken_over_is_an_error(self):
        self.identity.take_over('0a1b2c3d')
        self.sql("UPDATE former_catalogs SET catalog_id = 'x'")
        self.assertRaises(exceptions.CatalogError, self.identity.own)

    def test_other_catalogs_are_recorded_by_pool(self):
        found = [OTHER('0a1b2c3d', 2), OTHER('ffffffff', 1)]
        self.identity.record_others('pool', found)
        self.identity.record_others('other', found[:1])
        self.assertEqual(found, self.open().identity.others('pool'))
        self.identity.record_others('pool', [OTHER('ffffffff', 3)])
        self.assertEqual([OTHER('ffffffff', 3)], self.identity.others('pool'))
        self.assertEqual(found[:1], self.identity.others('other'))

    def test_catalogs_without_base_images_are_not_recorded(self):
        self.identity.record_others('pool', [OTHER('ffffffff', 0, 5)])
        self.assertEqual([], self.identity.others('pool'))

    def test_nothing_is_written_if_nothing_changed(self):
        found = [OTHER('0a1b2c3d', 2)]
        self.identity.record_others('pool', found)
        before = self.sql('PRAGMA data_version'), self.modified()
        self.identity.record_others('pool', [OTHER('0a1b2c3d', 2, 7)])
        self.assertEqual(
            before, (self.sql('PRAGMA data_version'), self.modified())
        )

    def modified(self):
        with open(f'{self.catalog_path}-wal', 'rb') as file:
            return file.read()

    def test_a_catalog_that_was_taken_over_is_no_other_one(self):
        self.identity.record_others('pool', [OTHER('0a1b2c3d', 2)])
        self.identity.take_over('0a1b2c3d')
        self.assertEqual([], self.identity.others('pool'))


class FillIdTest(base.ClockTestCase):
    """Fill IDs name the catalog that has the record."""

    def test_fills_and_instance_disks_name_the_catalog(self):
        image = base.image_of(b'x')
        for wiped in (False, True):
            record = self.catalog.base_images.start_fill(
                'pool', f'i_{wiped}', image, wiped=wiped
            )
            self.assertEqual(
                self.catalog.catalog_id[:8], models.catalog_of(record.fill_id)
            )
            self.assertEqual(wiped, models.is_wiped(record.fill_id))
        entry = self.catalog.instance_disks.start('pool', 'vm', 1)
        self.assertEqual(
            self.catalog.catalog_id[:8], models.catalog_of(entry.fill_id)
        )

    def test_an_adopted_disk_without_label_names_none(self):
        record = self.catalog.base_images.adopt(
            'pool', 'disk', base.image_of(b'x'), 'udid', 1
        )
        self.assertEqual('', models.catalog_of(record.fill_id))

    def test_without_id_no_disk_is_recorded(self):
        self.assertTrue(identity.read_id(self.catalog._file))
        self.sql('DELETE FROM identity')
        self.assertRaises(
            exceptions.CatalogError,
            self.catalog.instance_disks.start,
            'pool',
            'vm',
            1,
        )
