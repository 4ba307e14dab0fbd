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

"""The command ``evict``."""

from pvm_imagecache.conf import lru
from pvm_imagecache.tests.unit.cmd import cases


class EvictTest(cases.CommandTestCase):
    options = {'eviction_policies': ['lru'], 'minimum_age': 0}

    def setUp(self):
        super().setUp()
        lru.limits(self.conf)
        self.conf.set_override('max_images', 1, lru.GROUP.name)
        self.old, self.new = self.cache('debian-12', 'debian-13')

    def test_a_dry_run_removes_nothing(self):
        (row,) = self.json('evict', '--dry-run')
        self.assertEqual(
            ('debian-12', 'lru', 'too-many', 'would be evicted'),
            (row['Name'], row['Policy'], row['Code'], row['Result']),
        )
        self.assertEqual(2, len(self.json('list')))

    def test_evict_removes_what_the_policies_select(self):
        self.assertEqual({'debian-12': 'evicted'}, self.results('evict'))
        self.assertEqual([], self.json('evict'))
        (row,) = self.json('history', '--action', 'evict')
        self.assertEqual(
            (self.old.id, 'too-many'), (row['Image'], row['Code'])
        )

    def test_an_image_that_cannot_be_removed_is_kept(self):
        self.driver.taken.update(self.driver.names())
        (row,) = self.json('evict', code=1)
        self.assertTrue(row['Result'].startswith('kept: Disk "'), row)

    def test_a_table_hides_the_code(self):
        self.assertNotIn('too-many', self.run_command('evict', '--dry-run'))
        self.assertIn(
            'too-many', self.run_command('evict', '--dry-run', '-c', 'code')
        )
