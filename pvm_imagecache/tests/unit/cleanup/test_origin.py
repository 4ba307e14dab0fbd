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

"""What is known of a disk before an operator deletes it."""

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import origin
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.tests.unit import base


class FindTest(base.CacheTestCase):
    def find(self, name='vm1'):
        return origin.find(self.cache, name)

    def record(self, action, name='vm1'):
        self.catalog.history.add(
            'pool',
            action,
            image_id='an-id',
            image_name='debian',
            disk_name=name,
            who='ann\x1b',
        )

    def test_a_missing_disk_is_refused(self):
        self.assertRaises(exceptions.DiskNotFound, self.find)

    def test_a_disk_of_another_program_is_not_known(self):
        self.driver.add('vm1')
        found = self.find()
        self.assertFalse(found.known)
        self.assertIn('unknown origin', found.description)

    def test_a_disk_in_the_history_is_known(self):
        self.driver.add('vm1', 3)
        for action in ('hit', 'miss', 'bypass', 'shared-pool'):
            self.record(action)
            found = self.find()
            self.assertTrue(found.known)
            self.assertIn('vm1 (3 GiB', found.description)
            self.assertIn('image debian (an-id) at ', found.description)
            self.assertNotIn('\x1b', found.description)

    def test_a_name_that_was_deleted_and_created_by_others_is_not_known(self):
        self.driver.add('vm1')
        self.record('miss')
        self.record('delete')
        self.assertFalse(self.find().known)

    def test_a_disk_of_the_catalog_is_known(self):
        self.driver.add('vm1')
        self.catalog.instance_disks.start('pool', 'vm1', base.GIB)
        found = self.find()
        self.assertTrue(found.known)
        self.assertIn('is creating it, or has crashed', found.description)

    def test_a_label_of_the_cache_makes_a_disk_known(self):
        self.driver.add('vm1', label=ownership.label('a' * 32))
        self.assertTrue(self.find().known)

    def test_a_disk_of_another_catalog_is_said_to_be_its(self):
        fill_id = models.new_fill_id(catalog_id='5e1f0c2a')
        for name in ('vm1', self.base_name):
            self.driver.add(name, label=ownership.label(fill_id))
            # What this host knows is of another disk.
            self.record('miss', name)
            found = self.find(name)
            self.assertTrue(found.known)
            self.assertEqual('5e1f0c2a', found.catalog)
            self.assertIn('another catalog (5e1f0c2a)', found.description)
            self.assertNotIn('debian', found.description)

    def test_a_disk_of_this_catalog_is_of_no_other(self):
        entry = self.catalog.instance_disks.start('pool', 'vm1', base.GIB)
        self.driver.add('vm1', label=ownership.label(entry.fill_id))
        self.assertEqual('', self.find().catalog)
        self.catalog.identity.take_over('5e1f0c2a')
        fill_id = models.new_fill_id(catalog_id='5e1f0c2a')
        self.driver.add('vm2', label=ownership.label(fill_id))
        self.assertEqual('', self.find('vm2').catalog)

    def test_a_label_of_another_program_contradicts_the_history(self):
        self.driver.add('vm1', label='theirs\n')
        self.record('miss')
        found = self.find()
        self.assertFalse(found.known)
        self.assertIn('the label "theirs', found.description)
        self.assertNotIn('\n', found.description)

    def test_a_cached_image_is_refused(self):
        self.prefetch()
        self.assertRaises(exceptions.DiskNotOurs, self.find, self.base_name)

    def test_an_untracked_base_image_with_our_label_is_known(self):
        self.driver.add('i_12345678_1234', label=ownership.label('b' * 32))
        self.assertTrue(self.find('i_12345678_1234').known)
