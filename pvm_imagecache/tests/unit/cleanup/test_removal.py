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

"""Tests of the removal of cached images."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

HIT = instance_disk.Outcome.HIT
EVICTING, READY = models.State.EVICTING, models.State.READY
POPULATING = models.State.POPULATING
QUARANTINED = models.State.QUARANTINED


class RemovalTestCase(base.CacheTestCase):
    def remove(self, *args, record=None, **kwargs):
        (result,) = removal.remove(
            self.cache, [record or self.record()], *args, **kwargs
        )
        return result

    def check_kept(self, result, word):
        self.assertFalse(result.removed)
        self.assertIn(word, result.reason)


class CompleteImageTest(RemovalTestCase):
    def setUp(self):
        super().setUp()
        self.prefetch()

    def test_an_image_is_removed_with_its_disk(self):
        record = self.record()
        self.assertEqual(
            removal.RemovalResult(record, True), self.remove(record=record)
        )
        self.check_nothing_left()

    def test_a_disk_that_is_not_named_like_a_base_image_is_kept(self):
        # As the owner of the state directory can write it.
        disk = self.driver.add('vm1')
        forged = dataclasses.replace(
            self.record(), disk_name='vm1', udid=disk.udid
        )
        self.check_kept(self.remove(record=forged), 'vm1')
        self.assertEqual(disk, self.driver.find_disk('vm1'))

    def test_nothing_is_removed_of_no_records(self):
        self.assertEqual([], removal.remove(self.cache, []))
        self.check_cached()

    def test_an_image_whose_deletion_is_uncertain_is_not_served(self):
        def unreachable(disk):
            raise exceptions.PowerVMTimedOut(url='', reason='', hint='')

        self.driver.before['delete'] = unreachable
        self.assertFalse(self.remove().removed)
        self.assertIs(EVICTING, self.record().state)

    def test_an_image_whose_deletion_is_refused_is_served_again(self):
        self.driver.before['delete'] = fakes.refusal
        self.check_kept(self.remove(), 'no')
        self.check(self.deploy(), HIT)

    def test_the_same_refusal_is_one_warning(self):
        self.driver.before['delete'] = fakes.refusal
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            for _ in range(5):
                self.remove()
        self.assertEqual(1, len(logs.records))

    def test_an_image_is_kept_if_the_mappings_cannot_be_read(self):
        self.driver.before['mapped'] = fakes.refusal
        self.assertFalse(self.remove().removed)
        self.assertIn(self.base_name, self.driver.names())
        self.check(self.deploy(), HIT)

    def test_a_mapped_image_is_kept_and_served(self):
        self.driver.taken = {self.base_name}
        self.check_kept(self.remove(), 'mapped')
        self.check_cached()

    def test_known_mappings_are_not_read_again(self):
        self.driver.calls = []
        self.check_kept(self.remove(mapped={self.base_name}), 'mapped')
        self.assertTrue(self.remove(mapped=()).removed)
        self.assertNotIn('mapped', self.driver.calls)

    def test_an_image_that_a_check_refuses_is_kept(self):
        def refuse(current):
            raise exceptions.ImageInUse(image=current.image.id)

        self.check_kept(self.remove(refuse), self.image.id)
        self.check_cached()

    def test_a_check_is_given_the_record_of_now(self):
        stale, seen = self.record(), []
        self.catalog.base_images.record_hit(stale)
        self.remove(seen.append, record=stale)
        self.assertEqual([1], [each.hits for each in seen])

    def test_a_pinned_image_is_kept_in_the_cache(self):
        self.catalog.pins.pin('pool', self.image.id, '', None)
        self.check_kept(self.remove(), 'pinned')
        self.check_cached()

    def test_an_image_is_kept_while_another_process_works_on_it(self):
        with self.cache.fill_lock(self.base_name, 0):
            result = self.remove()
        self.assertEqual(
            (False, removal.BUSY), (result.removed, result.reason)
        )
        self.check_cached()

    def test_an_image_that_was_fetched_again_is_kept(self):
        stale = self.record()
        self.remove()
        self.prefetch()
        self.check_kept(self.remove(record=stale), removal.BUSY)
        self.check_cached()

    def test_the_lock_is_released_after_the_removal(self):
        for error in (None, fakes.refusal):
            if error:
                self.driver.before['delete'] = error
            self.remove()
            self.assertTrue(self.locks.is_free(f'image-pool-{self.base_name}'))
            self.prefetch()

    def test_the_locks_are_held_while_the_disks_are_deleted(self):
        free = []
        self.driver.before['delete'] = lambda disk: free.append(
            self.locks.is_free(f'image-pool-{disk.name}')
        )
        self.remove()
        self.assertEqual([False], free)

    def test_a_catalog_that_cannot_be_written_is_an_error(self):
        self.catalog.broken = {'base_images.remove'}
        self.assertRaises(exceptions.CatalogError, self.remove)

    def test_a_pool_that_cannot_be_changed_keeps_all_images(self):
        self.driver.delete_disks = fakes.refusal
        self.check_kept(self.remove(), 'no')
        self.check_cached()


class QuarantinedImageTest(RemovalTestCase):
    def setUp(self):
        super().setUp()
        self.prefetch()
        self.driver.taken = {self.base_name}
        reconciler.reconcile(self.cache)

    def test_a_quarantined_image_is_kept_while_it_is_mapped(self):
        for _ in range(2):
            self.check_kept(self.remove(), 'mapped')
            self.assertIs(QUARANTINED, self.record().state)

    def test_a_quarantined_image_is_removed_when_it_is_unmapped(self):
        self.driver.taken = set()
        self.assertTrue(self.remove().removed)
        self.check_nothing_left()


class IncompleteImageTest(RemovalTestCase):
    """Fills and evictions of processes that crashed."""

    def test_an_incomplete_image_is_removed_with_its_uploads(self):
        for udid in (True, False):
            self.leave_behind(udid=udid)
            self.assertTrue(self.remove().removed)
            self.check_nothing_left()
            self.assertEqual(set(), self.driver.uploads)

    def test_an_interrupted_eviction_is_finished(self):
        self.prefetch()
        self.catalog.base_images.start_eviction(self.record())
        self.assertTrue(self.remove().removed)
        self.check_nothing_left()

    def test_a_record_is_kept_while_its_disk_may_appear(self):
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        self.check_kept(self.remove(), removal.MAY_APPEAR)
        self.assertEqual(record, self.record())

    def test_a_record_is_kept_for_an_hour_beside_a_foreign_disk(self):
        record = self.leave_behind(udid=False, label='theirs')
        self.check_kept(self.remove(), removal.MAY_APPEAR)
        self.assertEqual(record, self.record())
        self.assertEqual([self.base_name], self.driver.names())

    def test_a_record_is_removed_when_its_disk_cannot_appear(self):
        self.catalog.base_images.start_fill('pool', self.base_name, self.image)
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        self.assertTrue(self.remove().removed)
        self.assertIsNone(self.record())

    def test_a_foreign_disk_of_the_name_is_the_reason_after_an_hour(self):
        self.leave_behind(udid=False, label='theirs')
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        self.check_kept(self.remove(), 'the cache did not create')
        self.assertEqual([self.base_name], self.driver.names())
        self.assertIs(POPULATING, self.record().state)

    def test_a_mapped_incomplete_image_is_kept(self):
        record = self.leave_behind()
        self.driver.taken = {self.base_name}
        self.check_kept(self.remove(), 'mapped')
        self.assertEqual(record, self.record())
        self.assertEqual([self.base_name], self.driver.names())

    def test_a_fill_in_progress_is_kept(self):
        record = self.leave_behind()
        with self.cache.fill_lock(self.base_name, 0):
            self.check_kept(self.remove(), removal.BUSY)
        self.assertEqual(record, self.record())

    def test_an_incomplete_image_whose_deletion_fails_is_kept(self):
        self.leave_behind()
        self.driver.before['delete'] = fakes.refusal
        self.check_kept(self.remove(), 'no')
        self.assertIs(POPULATING, self.record().state)


class SeveralImagesTest(RemovalTestCase):
    def setUp(self):
        super().setUp()
        self.prefetch()
        self.other, _ = self.another('ffffffff-0000-0000-0000-000000000000')
        self.prefetch(self.other)
        self.other_name = naming.base_image_name(self.other.id)

    def remove_both(self, **kwargs):
        return {
            each.base_image.image.id: each.removed
            for each in removal.remove(
                self.cache, self.catalog.base_images.list('pool'), **kwargs
            )
        }

    def check_other_removed(self, removed):
        self.assertEqual({self.image.id: False, self.other.id: True}, removed)
        self.assertEqual([self.base_name], self.driver.names())
        self.assertIs(READY, self.record().state)

    def test_an_image_that_is_busy_keeps_no_other(self):
        with self.cache.fill_lock(self.base_name, 0):
            removed = self.remove_both()
        self.check_other_removed(removed)

    def test_an_image_that_is_mapped_keeps_no_other(self):
        self.driver.taken = {self.base_name}
        self.check_other_removed(self.remove_both())

    def test_an_image_that_is_pinned_keeps_no_other(self):
        self.catalog.pins.pin('pool', self.image.id, '', None)
        self.check_other_removed(self.remove_both())

    def test_an_image_whose_deletion_is_refused_keeps_no_other(self):
        def refuse_one(disk):
            if disk.name == self.base_name:
                fakes.refusal()

        self.driver.before['delete'] = refuse_one
        self.check_other_removed(self.remove_both())

    def test_an_incomplete_image_is_removed_beside_a_complete_one(self):
        self.catalog.base_images.remove(self.record())
        self.driver.vanish(self.base_name)
        self.leave_behind()
        self.assertEqual(
            {self.image.id: True, self.other.id: True}, self.remove_both()
        )
        self.check_nothing_left()

    def test_disks_are_deleted_in_one_request(self):
        requests = []
        delete = self.driver.delete_disks
        self.driver.delete_disks = lambda disks: (
            requests.append(sorted(disk.name for disk in disks))
            or delete(disks)
        )
        self.remove_both()
        self.assertEqual([sorted([self.base_name, self.other_name])], requests)

    def test_a_disk_that_was_replaced_is_kept(self):
        self.driver.vanish(self.base_name)
        theirs = self.driver.add(self.base_name)
        self.assertEqual(
            {self.image.id: True, self.other.id: True}, self.remove_both()
        )
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_results_have_the_records_of_the_caller(self):
        record = dataclasses.replace(self.record(), hits=99)
        result = self.remove(
            lambda current: exceptions.ImageInUse(image=''), record=record
        )
        self.assertEqual(record.fill_id, result.base_image.fill_id)
