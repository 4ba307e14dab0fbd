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

import contextlib
import os
import sqlite3
from unittest import mock

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.catalog import schema
from pvm_imagecache.catalog import trust
from pvm_imagecache.tests.unit import base

#: What a database can contain that this project never makes.
FOREIGN = (
    'CREATE TRIGGER t AFTER DELETE ON history BEGIN DELETE FROM pins; END',
    'CREATE VIEW v AS SELECT * FROM history',
    'CREATE TABLE more (a)',
    'CREATE INDEX more ON history (abs(at))',
    'CREATE VIRTUAL TABLE more USING fts5 (a)',
    'ALTER TABLE history ADD COLUMN more GENERATED ALWAYS AS (abs(at))',
    'DROP TABLE in_use',
    'DROP INDEX base_images_by_image',
    'ALTER TABLE pins RENAME COLUMN note TO notes',
)


class TrustTest(base.TestCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path('state'))
        self.database = self.path('state', 'c.sqlite')
        with contextlib.closing(facade.Catalog(self.database)) as catalog:
            catalog.pools.record_name('name', 'pool')

    def run_sql(self, *statements):
        with contextlib.closing(sqlite3.connect(self.database)) as file:
            for statement in statements:
                file.execute(statement)
            file.commit()

    def use(self, read_only=False):
        with contextlib.closing(
            facade.Catalog(self.database, read_only=read_only)
        ) as catalog:
            return catalog.pools.id_of('name')

    def test_a_foreign_schema_is_refused_and_kept(self):
        with open(self.database, 'rb') as file:
            ours = file.read()
        for statement in FOREIGN:
            with open(self.database, 'wb') as file:
                file.write(ours)
            try:
                self.run_sql(statement)
            except sqlite3.OperationalError:
                # This SQLite has no such tables.
                continue
            for read_only in (True, False):
                error = self.assertRaises(
                    exceptions.CatalogRefused, self.use, read_only
                )
                self.assertIn('move the file away', str(error))
        self.assertEqual(
            [],
            [
                each
                for each in os.listdir(self.path('state'))
                if 'corrupt' in each
            ],
        )

    def test_a_foreign_schema_of_an_older_version_is_not_upgraded(self):
        os.unlink(self.database)
        self.run_sql(
            *schema.STEPS[1].strip().rstrip(';').split(';'),
            FOREIGN[0].replace('DELETE FROM pins', 'SELECT 1'),
            'PRAGMA user_version = 1',
        )
        self.assertRaises(exceptions.CatalogRefused, self.use)

    def test_a_database_of_another_program_is_refused(self):
        os.unlink(self.database)
        self.run_sql('CREATE TABLE t (a)')
        self.assertRaises(exceptions.CatalogRefused, self.use)

    def test_a_journal_that_names_another_file_is_refused(self):
        victim = self.path('victim')
        with open(victim, 'w'):
            name = victim.encode()
        with open(f'{self.database}-journal', 'wb') as file:
            file.write(bytes.fromhex('d9d505f920a163d7') + bytes(1000))
            file.write(name + len(name).to_bytes(4))
            file.write(sum(name).to_bytes(4))
            file.write(bytes.fromhex('d9d505f920a163d7'))
        self.assertRaises(exceptions.StateRefused, self.use)
        self.assertTrue(os.path.exists(victim))
        # A reader uses no journal.
        self.assertEqual('pool', self.use(read_only=True))

    def test_the_journal_of_a_crash_is_used(self):
        with open(f'{self.database}-journal', 'wb'):
            pass
        self.assertEqual('pool', self.use())

    def test_nothing_beside_the_catalog_may_be_a_link(self):
        for ending in ('-journal', '-wal', '-shm'):
            path = self.database + ending
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.symlink(self.path('victim'), path)
            self.assertRaises(exceptions.StateRefused, self.use)
            self.assertFalse(os.path.exists(self.path('victim')))
            os.unlink(path)
        self.assertEqual('pool', self.use())

    def test_each_version_is_expected_to_have_its_tables(self):
        for version in range(1, schema.VERSION + 1):
            self.assertTrue(trust._expected(version))

    def test_the_tables_of_this_version_are_known_without_creating_them(self):
        with mock.patch.object(trust, '_expected', autospec=True) as create:
            self.assertEqual('pool', self.use())
        create.assert_not_called()

    def test_tables_that_sqlite_stores_differently_are_compared(self):
        with mock.patch.object(trust, '_CURRENT_TABLES', ''):
            self.assertEqual('pool', self.use())

    def test_values_have_their_types_and_forms(self):
        for table, column, value in (
            ('base_images', 'fill_id', "'/etc/passwd'"),
            ('base_images', 'fill_id', "'../../x'"),
            ('base_images', 'disk_name', "'a/b'"),
            ('base_images', 'image_id', "'../x'"),
            ('base_images', 'size', '-1'),
            ('base_images', 'size', "x'00'"),
            ('base_images', 'created_at', '9e999'),
            ('base_images', 'created_at', '1e300'),
            ('base_images', 'state', "x'ff'"),
            ('base_images', 'state', "'sound'"),
            ('base_images', 'image_name', "x'ff'"),
            ('base_images', 'image_name', "CAST(x'ff' AS TEXT)"),
            ('base_images', 'image_name', "printf('%.*c', 200000, 'x')"),
            ('instance_disks', 'fill_id', "'/etc/passwd'"),
            ('failed_downloads', 'error', "x'ff'"),
            ('identity', 'catalog_id', "'../../x'"),
            ('identity', 'catalog_id', "x'ff'"),
            ('base_images', 'image_created_at', "x'ff'"),
            ('former_catalogs', 'catalog_id', "'../../x'"),
            ('other_catalogs', 'catalog_id', "'../../x'"),
            ('other_catalogs', 'base_images', "'x'"),
            ('pins', 'image_id', "x'ff'"),
            ('in_use', 'seen_at', "'x'"),
            ('history', 'action', "x'ff'"),
            ('history', 'at', "'x'"),
            ('totals', 'times', "'x'"),
        ):
            self._fill()
            self.run_sql(f'UPDATE {table} SET {column} = {value}')
            for read_only in (True, False):
                self.assertRaises(
                    exceptions.CatalogError, self._read_all, read_only
                )

    def _fill(self):
        os.unlink(self.database)
        with contextlib.closing(facade.Catalog(self.database)) as catalog:
            catalog.base_images.start_fill('p', 'd', base.image_of(b'content'))
            catalog.instance_disks.start('p', 'i', 1)
            catalog.pins.pin('p', 'i', '', None)
            catalog.pins.set_in_use('p', ['i'])
            catalog.history.add('p', 'hit')
            catalog.failed_downloads.record('p', 'd', 'data', 'error')
            catalog.identity.take_over('0a1b2c3d')
            catalog.identity.record_others(
                'p', [models.OtherCatalog('5e1f0c2a', 1)]
            )
            catalog.platform_facts.record('p', {'keeps_labels': True}, {}, '')
            self.assertEqual(1, len(catalog.base_images.list('p')))

    def _read_all(self, read_only):
        with contextlib.closing(
            facade.Catalog(self.database, read_only=read_only)
        ) as catalog:
            catalog.base_images.list('p')
            catalog.instance_disks.list('p')
            catalog.pins.list('p')
            catalog.pins.in_use('p')
            catalog.history.list('p')
            catalog.history.totals('p')
            catalog.failed_downloads.get('p', 'd')
            catalog.platform_facts.read('p')
            self.assertTrue(catalog.catalog_id)
            catalog.identity.own()
            catalog.identity.others('p')
