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

"""Tests of the adoption and replacement of untracked base disks."""

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

#: The beginning of the ID of this catalog, for what does not open it.
OWN = '0a1b2c3d'


def of_other():
    """Return a label of another catalog."""
    return ownership.label(models.new_fill_id(catalog_id='5e1f0c2a'))


class AdoptTest(base.CacheTestCase):
    def add(self, **values):
        return self.driver.add(
            self.base_name, **({'content': self.content} | values)
        )

    def adopt(self):
        return adoption.adopt(self.cache, self.image)

    def refused(self, word):
        error = self.assertRaises(exceptions.ImageNotAdoptable, self.adopt)
        self.assertIn(word, str(error))

    def test_deploys_are_served_from_an_adopted_disk(self):
        disk = self.add()
        record = self.adopt()
        self.assertEqual(
            (disk.udid, disk.capacity, models.State.READY),
            (record.udid, record.capacity, record.state),
        )
        self.check(self.deploy(), instance_disk.Outcome.HIT)
        self.assertEqual([], self.source.opened)

    def test_a_disk_with_any_label_can_be_adopted(self):
        # The operator knows more than the label says.
        self.add(label='theirs')
        self.adopt()
        self.check(self.deploy(), instance_disk.Outcome.HIT)

    def test_a_disk_of_another_catalog_is_adopted_only_if_told_so(self):
        disk = self.add(label=of_other())
        error = self.assertRaises(exceptions.DiskOfOtherCatalog, self.adopt)
        self.assertIn('(5e1f0c2a)', str(error))
        self.assertEqual([], self.catalog.base_images.list('pool'))
        record = adoption.adopt(self.cache, self.image, take_over=True)
        self.assertEqual(disk.label, ownership.certain_label(record.fill_id))
        self.check(self.deploy(), instance_disk.Outcome.HIT)
        self.assertEqual(disk.udid, self.record().udid)

    def test_a_disk_of_a_catalog_that_was_taken_over_is_adopted(self):
        self.add(label=of_other())
        self.catalog.identity.take_over('5e1f0c2a')
        self.adopt()
        self.check(self.deploy(), instance_disk.Outcome.HIT)

    def test_an_adopted_disk_of_another_catalog_is_evicted_and_replaced(self):
        self.add(label=of_other())
        record = adoption.adopt(self.cache, self.image, take_over=True)
        self.catalog.base_images.start_eviction(record)
        self.check(self.deploy(), instance_disk.Outcome.MISS)
        self.check_cached()
        self.assertEqual(
            self.catalog.catalog_id[:8],
            models.catalog_of(self.record().fill_id),
        )

    def test_a_deploy_bypasses_the_cache_for_a_disk_of_another_catalog(self):
        disk = self.add(label=of_other())
        for _ in range(2):
            done = self.deploy()
            self.check(done, instance_disk.Outcome.BYPASS)
            self.assertIn('another catalog (5e1f0c2a)', done.reason)
            self.driver.vanish(done.disk.name)
        self.assertIn(disk, self.driver.snapshot().disks)
        self.assertEqual(
            self.content, self.driver.content(disk.name, len(self.content))
        )

    def test_an_adopted_disk_is_evicted_as_any_other(self):
        self.add(label='theirs')
        record = self.adopt()
        self.catalog.base_images.start_eviction(record)
        self.check(self.deploy(), instance_disk.Outcome.MISS)
        self.check_cached()

    def test_a_missing_disk_is_not_adoptable(self):
        self.refused('no such disk')

    def test_a_disk_of_another_size_is_not_adoptable(self):
        for gib in (2, 7):
            self.add(gib=gib)
            self.refused('bytes')

    def test_a_disk_smaller_than_the_image_is_not_adoptable(self):
        self.image = base.image_of(self.content, size=base.GIB + 1)
        self.add()
        self.refused('bytes')

    def _qcow2(self, **values):
        self.content = images.qcow2_bytes(3 * base.GIB)
        self.image = base.image_of(self.content, disk_format='qcow2', **values)
        self.source.put(self.image, *fakes.chunks(self.content))

    def test_an_image_of_unknown_virtual_size_is_not_adoptable(self):
        self._qcow2()
        self.add()
        self.refused('virtual size')

    def test_copies_of_an_adopted_disk_have_the_virtual_size(self):
        self._qcow2(virtual_size=3 * base.GIB)
        self.add()
        self.adopt()
        done = self.deploy()
        self.check(done, instance_disk.Outcome.HIT)
        self.assertEqual(3 * base.GIB, done.disk.capacity)

    def test_an_adopted_disk_of_unknown_virtual_size_is_not_served(self):
        self._qcow2()
        disk = self.add()
        self.catalog.base_images.adopt(
            'pool', self.base_name, self.image, disk.udid, disk.capacity
        )
        done = self.deploy()
        self.check(done, instance_disk.Outcome.MISS)
        self.assertEqual(3 * base.GIB, done.disk.capacity)

    def test_a_mapped_disk_is_not_adoptable(self):
        self.add()
        self.driver.taken = {self.base_name}
        self.refused('mapped')

    def test_the_target_of_an_upload_is_not_adoptable(self):
        self.driver.uploads = {self.add().udid}
        self.refused('upload')

    def test_a_cached_image_is_not_adoptable(self):
        self.prefetch()
        self.refused('the cache has it')

    def test_a_disk_is_not_adopted_while_the_image_is_fetched(self):
        self.add()
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.assertRaises(exceptions.LockTimeout, self.adopt)
        self.assertEqual([], self.catalog.base_images.list('pool'))


class CandidateTest(base.CacheTestCase):
    """What adopt() would register."""

    def test_the_candidate_is_the_disk_and_nothing_is_recorded(self):
        disk = self.driver.add(self.base_name, content=self.content)
        self.assertEqual(disk, adoption.candidate(self.cache, self.image))
        self.assertIsNone(self.record())

    def test_an_incomplete_fill_is_no_candidate(self):
        self.leave_behind()
        error = self.assertRaises(
            exceptions.ImageNotAdoptable,
            adoption.candidate,
            self.cache,
            self.image,
        )
        self.assertIn('populating', str(error))

    def test_an_unreadable_pool_is_an_error(self):
        self.driver.before['snapshot'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            adoption.candidate,
            self.cache,
            self.image,
        )


class DeleteUntrackedTest(base.CacheTestCase):
    """The disk that has the name of a base image which is to be created."""

    def delete(self):
        adoption.delete_untracked(
            self.driver, self.image, self.base_name, {OWN}
        )

    def check_occupied(self, word):
        error = self.assertRaises(exceptions.BaseImageOccupied, self.delete)
        self.assertIn(word, str(error))
        self.assertEqual([self.base_name], self.driver.names())

    def test_a_stale_base_image_is_deleted_with_a_warning(self):
        self.driver.add('other')
        for label in (
            '',
            'None',
            ownership.label('0' * 32),
            ownership.label(models.new_fill_id(catalog_id=OWN)),
        ):
            self.driver.add(self.base_name, label=label)
            with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
                self.delete()
            self.assertIn(self.base_name, logs.output[0])
            self.assertEqual(['other'], self.driver.names())

    def test_nothing_is_deleted_if_there_is_no_such_disk(self):
        self.driver.add('other')
        with self.assertNoLogs('pvm_imagecache', 'WARNING'):
            self.delete()
        self.assertEqual(['other'], self.driver.names())

    def test_a_disk_with_a_foreign_label_is_kept(self):
        self.driver.add(self.base_name, label='theirs')
        self.check_occupied('label "theirs"')

    def test_a_disk_of_another_catalog_is_kept(self):
        # Whatever else speaks against it.
        for gib in (1, 2):
            self.driver.add(self.base_name, gib, label=of_other())
            self.check_occupied('another catalog (5e1f0c2a)')

    def test_a_disk_of_another_size_is_kept(self):
        self.driver.add(self.base_name, 2)
        self.check_occupied('bytes')

    def test_a_mapped_disk_is_kept(self):
        self.driver.add(self.base_name)
        self.driver.taken = {self.base_name}
        self.check_occupied('mapped')

    def test_the_target_of_an_upload_is_kept(self):
        self.driver.uploads = {self.driver.add(self.base_name).udid}
        self.check_occupied('upload')

    def test_a_disk_that_cannot_be_deleted_is_an_error(self):
        self.driver.add(self.base_name)
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.delete)
