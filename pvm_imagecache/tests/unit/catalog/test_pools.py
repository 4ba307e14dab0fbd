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


"""What is known of each pool."""

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit.catalog import base


class PoolsTest(base.ClockTestCase):
    def setUp(self):
        super().setUp()
        self.pools = self.catalog.pools

    def test_labels_are_kept_once_a_disk_is_seen_with_its_own(self):
        # One that is seen with its label outweighs those without.
        self.assertFalse(self.pools.keeps_labels('pool'))
        for seen, kept in (
            (False, False),
            (False, False),
            (True, True),
            (False, True),
        ):
            self.pools.record_labels('pool', seen)
            self.assertEqual(kept, self.open().pools.keeps_labels('pool'))
        self.assertFalse(self.pools.keeps_labels('other'))

    def test_a_measurement_outweighs_what_was_seen_before(self):
        for seen, measured, kept in (
            (True, False, True),
            (False, False, True),
            (False, True, False),
            (False, True, False),
            (False, False, False),
            (True, True, True),
            (False, True, False),
            (True, False, True),
        ):
            self.pools.record_labels('pool', seen, measured=measured)
            self.assertEqual(kept, self.open().pools.keeps_labels('pool'))

    def test_uploads_are_clean_only_if_that_is_recorded(self):
        self.assertFalse(self.pools.uploads_are_clean('pool'))
        for clean in (True, True, False, True):
            self.pools.record_uploads('pool', clean)
            self.assertEqual(
                clean, self.open().pools.uploads_are_clean('pool')
            )
        self.assertFalse(self.pools.uploads_are_clean('other'))

    def test_record_run_returns_whether_the_error_differs(self):
        self.pools.record_labels('pool', False)
        self.assertIsNone(self.pools.last_run('pool'))
        for error, differs in (
            ('', False),
            ('x', True),
            ('x', False),
            ('y', True),
            ('', True),
            ('', False),
        ):
            self.later(10)
            self.assertEqual(differs, self.pools.record_run('pool', error))
            self.assertEqual(
                models.LastRun(self.now, error),
                self.open().pools.last_run('pool'),
            )
        self.assertFalse(self.pools.keeps_labels('pool'))
        self.assertIsNone(self.pools.last_run('other'))

    def test_an_error_in_the_first_run_differs(self):
        self.assertTrue(self.pools.record_run('pool', 'x'))

    def test_the_last_pool_that_was_found_under_a_name_counts(self):
        self.assertIsNone(self.pools.id_of('vg'))
        for pool in ('one', 'one', 'two'):
            self.pools.record_name('vg', pool)
            self.assertEqual(pool, self.pools.id_of('vg'))
        self.assertIsNone(self.pools.id_of('other'))

    def test_a_known_name_is_not_written_again(self):
        self.pools.record_name('vg', 'one')
        self.catalog.close()
        self.open(read_only=True).pools.record_name('vg', 'one')

    def test_malformed_values_are_catalog_errors(self):
        self.pools.record_run('pool')
        self.pools.record_name('vg', 'pool')
        self.sql("UPDATE pools SET last_run_at = 'x'")
        self.sql('UPDATE pool_names SET pool = ?', (b'x',))
        self.assertRaises(exceptions.CatalogError, self.pools.last_run, 'pool')
        self.assertRaises(exceptions.CatalogError, self.pools.id_of, 'vg')
