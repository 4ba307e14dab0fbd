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

"""Tests of the reconciliation of the catalog with the disks of a pool."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes
from pvm_imagecache.tests.unit.glance import responses
from pvm_imagecache.tests.unit.platform_check import platforms

GIB = base.GIB
QUARANTINED = models.State.QUARANTINED
HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS = instance_disk.Outcome.BYPASS
LOGGER = 'pvm_imagecache'


class ReconcilerTestCase(base.CacheTestCase):
    def reconcile(self):
        return reconciler.reconcile(self.cache)

    def check_found(self, forgotten=(), removed=(), failed=()):
        found = self.reconcile()
        self.assertEqual(
            (forgotten, removed, failed),
            (
                found.forgotten,
                found.removed,
                tuple(name for name, _ in found.failed),
            ),
        )
        return found

    def start_instance_disk(self):
        """What a process leaves that crashes while it fills a disk."""
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        disk = self.driver.add('disk', label=ownership.label(entry.fill_id))
        return entry, disk

    def start_fill(self, name=None):
        return self.catalog.base_images.start_fill(
            'pool', name or self.base_name, self.image
        )

    def entries(self):
        return self.catalog.instance_disks.list('pool')

    def let_time_pass(self):
        """No request of a crashed process is still running."""
        self.patch(ownership, 'LONGEST_REQUEST', 0)


class ReconcileTest(ReconcilerTestCase):
    def test_an_empty_catalog_is_reconciled_with_an_empty_pool(self):
        self.check_found()

    def test_complete_and_untracked_disks_are_not_touched(self):
        self.deploy()
        self.driver.add('untracked')
        before = self.driver.names()
        self.check_found()
        self.assertEqual(before, self.driver.names())
        self.check_cached()

    def test_a_second_reconciliation_finds_nothing(self):
        self.deploy()
        self.start_fill('i_00000000_0000')
        self.reconcile()
        self.check_found()

    def test_disks_named_like_base_images_are_reported_as_untracked(self):
        self.deploy()
        self.driver.add('i_00000000_0000')
        self.assertIn('i_00000000_0000', self.reconcile().untracked)
        self.assertNotIn(self.base_name, self.reconcile().untracked)

    def test_a_disk_whose_fill_began_meanwhile_is_not_untracked(self):
        snapshot = self.driver.base_image_snapshot

        def begin():
            self.driver.add(self.base_name)
            self.start_fill()
            return snapshot()

        self.driver.base_image_snapshot = begin
        self.assertEqual((), self.reconcile().untracked)

    def test_an_unreadable_pool_is_an_error(self):
        self.driver.before['snapshot'] = fakes.refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.reconcile)

    def test_an_unreadable_catalog_is_an_error(self):
        self.catalog.broken = {'base_images.list'}
        self.assertRaises(exceptions.CatalogError, self.reconcile)

    def test_a_failure_is_logged_as_a_warning_once(self):
        self.leave_behind()
        self.driver.before['delete'] = fakes.refusal
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            for _ in range(3):
                self.check_found(failed=(self.base_name,))
        self.assertEqual(1, len(logs.records))

    def test_one_disk_that_cannot_be_deleted_keeps_no_other(self):
        self.leave_behind()
        self.start_instance_disk()

        def refuse_one(disk):
            if disk.name == self.base_name:
                fakes.refusal()

        self.driver.before['delete'] = refuse_one
        self.check_found(removed=('disk',), failed=(self.base_name,))
        self.assertIs(models.State.POPULATING, self.record().state)
        del self.driver.before['delete']
        self.assertEqual((self.base_name,), self.reconcile().removed)


def of_other(catalog):
    """Return a label of another catalog."""
    return ownership.label(models.new_fill_id(catalog_id=catalog))


class OtherCatalogTest(ReconcilerTestCase):
    """Base images of another catalog in the same pool."""

    def test_they_are_reported_recorded_and_not_touched(self):
        self.deploy()
        disks = [
            self.driver.add('i_00000000_0000', label=of_other('5e1f0c2a')),
            self.driver.add('i_11111111_0000', label=of_other('0a1b2c3d')),
            self.driver.add('i_22222222_0000', label=of_other('5e1f0c2a')),
        ]
        self.driver.add('i_33333333_0000')
        self.driver.add('vm', label=of_other('5e1f0c2a'))
        before = self.driver.names()
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            for _ in range(3):
                found = self.reconcile()
        self.assertEqual(2, len(logs.records))
        self.assertIn(
            '2 base image(s) of another catalog (5e1f0c2a', str(logs)
        )
        self.assertEqual(('i_33333333_0000',), found.untracked)
        self.assertEqual(
            tuple((disk.name, ownership.catalog_of(disk)) for disk in disks),
            found.of_others,
        )
        self.assertEqual(before, self.driver.names())
        self.assertEqual(
            [
                models.OtherCatalog('0a1b2c3d', 1),
                models.OtherCatalog('5e1f0c2a', 2),
            ],
            self.catalog.identity.others('pool'),
        )

    def test_they_are_no_longer_reported_when_they_are_gone(self):
        self.driver.add('i_00000000_0000', label=of_other('5e1f0c2a'))
        self.assertEqual(1, len(self.reconcile().of_others))
        self.driver.vanish('i_00000000_0000')
        self.assertEqual((), self.reconcile().of_others)
        self.assertEqual([], self.catalog.identity.others('pool'))

    def test_an_adopted_one_is_not_reported(self):
        disk = self.driver.add(self.base_name, label=of_other('5e1f0c2a'))
        adoption.adopt(self.cache, self.image, take_over=True)
        self.assertEqual((), self.reconcile().of_others)
        self.assertEqual([], self.catalog.identity.others('pool'))
        self.assertEqual(disk, self.driver.find_disk(self.base_name))

    def test_a_record_without_disk_does_not_claim_one_of_another(self):
        for udid in (None, 'gone'):
            record = self.start_fill()
            if udid:
                self.catalog.base_images.set_disk(record, udid, base.GIB)
            disk = self.driver.add(self.base_name, label=of_other('5e1f0c2a'))
            self.let_time_pass()
            self.reconcile()
            self.assertIsNone(self.record())
            self.assertEqual(disk, self.driver.find_disk(self.base_name))
            self.driver.vanish(self.base_name)

    def test_a_udid_that_another_catalog_got_again_is_not_ours(self):
        self.deploy()
        record = self.record()
        self.driver.vanish(self.base_name)
        disk = dataclasses.replace(
            self.driver.add(self.base_name, label=of_other('5e1f0c2a')),
            udid=record.udid,
        )
        self.driver._disks[self.base_name] = disk
        self.assertEqual((self.base_name,), self.reconcile().forgotten)
        self.assertIsNone(self.record())
        self.assertEqual(disk, self.driver.find_disk(self.base_name))

    def test_an_instance_disk_of_another_catalog_is_kept(self):
        self.catalog.instance_disks.start('pool', 'vm', base.GIB)
        disk = self.driver.add('vm', label=of_other('5e1f0c2a'))
        self.let_time_pass()
        self.reconcile()
        self.assertEqual([], self.entries())
        self.assertEqual(disk, self.driver.find_disk('vm'))


class BaseImageTest(ReconcilerTestCase):
    def test_the_record_of_a_missing_disk_is_removed(self):
        self.deploy()
        self.driver.vanish(self.base_name)
        self.check_found(forgotten=(self.base_name,))
        self.assertEqual([], self.catalog.base_images.list('pool'))
        self.check(self.deploy('again'), MISS)

    def test_a_foreign_disk_that_replaced_ours_is_kept(self):
        self.deploy()
        self.driver.vanish(self.base_name)
        theirs = self.driver.add(self.base_name, label='theirs')
        self.check_found(forgotten=(self.base_name,))
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_the_record_stays_if_the_missing_disk_is_there_again(self):
        self.deploy()
        disk = self.driver.find_disk(self.base_name)
        found = dataclasses.replace(self.driver.snapshot(), disks=[])
        self.driver.base_image_snapshot = lambda: found
        self.check_found()
        self.assertEqual(disk.udid, self.record().udid)
        self.check(self.deploy('again'), HIT)

    def test_an_incomplete_base_image_is_removed(self):
        for udid in (True, False):
            self.leave_behind(udid=udid)
            self.check_found((self.base_name,), (self.base_name,))
            self.check_nothing_left()
            self.assertEqual(set(), self.driver.uploads)

    def test_an_interrupted_eviction_is_finished(self):
        self.deploy()
        self.catalog.base_images.start_eviction(self.record())
        self.check_found((self.base_name,), (self.base_name,))
        self.check_not_cached('disk')

    def test_a_fill_in_progress_is_not_touched(self):
        record = self.leave_behind()
        with self.cache.fill_lock(self.base_name, 0):
            self.check_found()
        self.assertEqual([self.base_name], self.driver.names())
        self.assertEqual(record, self.record())

    def test_a_fill_that_was_finished_meanwhile_is_not_touched(self):
        left = self.leave_behind()
        real = self.catalog.base_images.list

        def finish_meanwhile(pool):
            found = real(pool)
            self.catalog.base_images.list = real
            self.catalog.base_images.remove(left)
            self.driver.vanish(self.base_name)
            self.prefetch()
            return found

        self.catalog.base_images.list = finish_meanwhile
        self.check_found()
        self.check_cached()

    def test_a_record_is_kept_while_its_disk_may_appear(self):
        record = self.start_fill()
        self.check_found()
        self.assertEqual(record, self.record())

    def test_a_record_is_removed_when_its_disk_cannot_appear(self):
        self.start_fill()
        self.let_time_pass()
        self.check_found(forgotten=(self.base_name,))
        self.assertIsNone(self.record())

    def test_a_record_is_kept_for_an_hour_beside_a_foreign_disk(self):
        record = self.leave_behind(udid=False, gib=7, label='theirs')
        self.check_found()
        self.assertEqual(record, self.record())
        self.assertEqual([self.base_name], self.driver.names())

    def test_a_foreign_disk_is_kept_and_the_record_removed_with_a_warning(
        self,
    ):
        self.leave_behind(udid=False, gib=7, label='theirs')
        self.let_time_pass()
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            self.check_found(forgotten=(self.base_name,))
        self.assertIn('the cache did not create', logs.output[0])
        self.assertEqual([self.base_name], self.driver.names())
        self.assertIsNone(self.record())
        self.check_found()

    def test_a_late_disk_is_deleted_after_failed_fetches(self):
        crashed = self.start_fill()
        for parts in (
            (responses.refused(403),),
            (self.content[: 1 << 20], responses.refused(403)),
        ):
            self.source.put(self.image, *parts)
            self.assertRaises(exceptions.ImageForbidden, self.prefetch)
            self.assertRaises(exceptions.ImageForbidden, self.deploy)
            self.assertEqual(crashed.fill_id, self.record().fill_id)
        self.driver.add(
            self.base_name,
            content=b'half',
            label=ownership.label(crashed.fill_id),
        )
        self.check_found((self.base_name,), (self.base_name,))
        self.check_nothing_left()

    def test_a_deploy_replaces_a_late_disk_that_appears_meanwhile(self):
        crashed = self.start_fill()

        def appear(new):
            del self.driver.before['create_disks']
            self.driver.add(
                self.base_name,
                content=b'half',
                label=ownership.label(crashed.fill_id),
            )

        self.driver.before['create_disks'] = appear
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_a_mapped_incomplete_base_image_is_a_failure(self):
        record = self.leave_behind()
        self.driver.taken = {self.base_name}
        found = self.check_found(failed=(self.base_name,))
        self.assertIn('mapped', found.failed[0][1])
        self.assertEqual(record, self.record())
        self.assertEqual([self.base_name], self.driver.names())
        self.driver.taken = set()
        self.check_found((self.base_name,), (self.base_name,))


class InstanceDiskTest(ReconcilerTestCase):
    def test_an_incomplete_instance_disk_is_removed(self):
        self.start_instance_disk()
        self.check_found(removed=('disk',))
        self.check_nothing_left()

    def test_a_disk_in_progress_is_not_touched(self):
        entry, disk = self.start_instance_disk()
        with self.cache.instance_disk_lock('disk'):
            self.check_found()
        self.assertEqual(disk, self.driver.find_disk('disk'))
        self.assertEqual([entry], self.entries())

    def test_a_disk_that_was_finished_meanwhile_is_not_touched(self):
        entry, disk = self.start_instance_disk()
        real = self.catalog.instance_disks.list

        def finish_meanwhile(pool):
            found = real(pool)
            self.catalog.instance_disks.finish(entry)
            return found

        self.catalog.instance_disks.list = finish_meanwhile
        self.check_found()
        self.assertEqual(disk, self.driver.find_disk('disk'))

    def test_a_mapped_disk_is_kept_and_its_record_removed(self):
        # As after a backup of the catalog was restored.
        entry, disk = self.start_instance_disk()
        self.catalog.instance_disks.set_udid(entry, disk.udid)
        self.driver.taken = {'disk'}
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            self.check_found()
        self.assertIn('is mapped to a partition', logs.output[0])
        self.assertEqual(disk, self.driver.find_disk('disk'))
        self.assertEqual([], self.entries())

    def test_a_record_is_kept_while_its_disk_may_appear(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.check_found()
        self.assertEqual([entry], self.entries())
        self.driver.add('disk', label=ownership.label(entry.fill_id))
        self.check_found(removed=('disk',))

    def test_a_record_is_removed_without_warning_if_its_disk_is_gone(self):
        self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.let_time_pass()
        with self.assertNoLogs(LOGGER, 'WARNING'):
            self.check_found()
        self.assertEqual([], self.entries())

    def test_a_foreign_disk_is_kept_and_the_record_removed_after_an_hour(
        self,
    ):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        theirs = self.driver.add('disk', 7, label='theirs')
        self.check_found()
        self.assertEqual([entry], self.entries())
        self.let_time_pass()
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            self.check_found()
        self.assertIn('cannot be verified as ours', logs.output[0])
        self.assertIn(entry.holder, logs.output[0])
        self.assertEqual(theirs, self.driver.find_disk('disk'))
        self.assertEqual([], self.entries())


class OtherPoolTest(ReconcilerTestCase):
    """A platform check was killed while it had a disk in another pool."""

    def setUp(self):
        super().setUp()
        self.driver = platforms.Platform()
        self.driver.other = platforms.Platform()
        self.driver.other.pool_id = lambda: 'other'
        self.disks = self.catalog.instance_disks

    def plant(self, name):
        entry = self.disks.start('other', name, 5)
        disk = self.driver.other.add(
            name, label=ownership.label(entry.fill_id)
        )
        self.disks.set_udid(entry, disk.udid)
        return entry

    def test_its_disk_is_deleted_and_no_other_one(self):
        self.plant('pvmic_chk_0001')
        self.plant('b_vm1')
        self.driver.other.add('pvmic_chk_0002')
        found = reconciler.reconcile(self.cache)
        self.assertEqual(('pvmic_chk_0001',), found.removed)
        self.assertEqual(
            ['b_vm1', 'pvmic_chk_0002'], self.driver.other.names()
        )
        self.assertEqual(
            ['b_vm1'], [each.disk_name for each in self.disks.list('other')]
        )

    def find_no(self, error):
        """Let no pool but "other" be found."""
        find = platforms.Access.sibling_with_id

        def sibling_with_id(access, pool):
            if pool != 'other':
                raise error
            return find(access, pool)

        self.patch(platforms.Access, 'sibling_with_id', sibling_with_id)
        self.disks.start('a pool', 'pvmic_chk_0003', 5)
        self.disks.start('a pool', 'b_vm2', 5)
        self.plant('pvmic_chk_0001')

    def names_in_a_pool(self):
        return [each.disk_name for each in self.disks.list('a pool')]

    def test_a_record_is_dropped_with_its_pool(self):
        self.find_no(
            exceptions.VolumeGroupNotFound(name='', where='', known='')
        )
        found = reconciler.reconcile(self.cache)
        self.assertEqual((), tuple(found.failed))
        self.assertEqual(('pvmic_chk_0001',), found.removed)
        self.assertEqual(['b_vm2'], self.names_in_a_pool())

    def test_a_pool_of_another_vios_is_no_failure(self):
        self.find_no(exceptions.VolumeGroupElsewhere(name='vg2', vios='vios2'))
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            found = reconciler.reconcile(self.cache)
            reconciler.reconcile(self.cache)
        (message,) = logs.output
        self.assertIn('vios2', message)
        self.assertIn('pvmic_chk_0003', message)
        self.assertEqual((), tuple(found.failed))
        self.assertEqual(('pvmic_chk_0001',), found.removed)
        self.assertEqual(2, len(self.names_in_a_pool()))

    def test_a_pool_that_cannot_be_searched_stops_no_other_one(self):
        self.find_no(exceptions.PowerVMError(reason='down'))
        found = reconciler.reconcile(self.cache)
        self.assertEqual(
            [('pvmic_chk_* in a pool', 'PowerVM: down')], list(found.failed)
        )
        self.assertEqual(('pvmic_chk_0001',), found.removed)
        self.assertEqual(2, len(self.names_in_a_pool()))

    def test_a_pool_that_cannot_be_read_is_a_failure_of_its_own(self):
        self.plant('pvmic_chk_0001')

        def fail():
            raise exceptions.PowerVMError(reason='down')

        self.driver.other.snapshot = fail
        found = reconciler.reconcile(self.cache)
        self.assertEqual(
            [('pvmic_chk_0001', 'PowerVM: down')], list(found.failed)
        )


class QuarantineTest(ReconcilerTestCase):
    """Base images that another user of the pool may have changed."""

    def setUp(self):
        super().setUp()
        self.deploy('earlier')

    def grow(self, gib=2):
        """Another user extends the disk, which keeps its UDID."""
        disk = self.driver.find_disk(self.base_name)
        snapshot = self.driver.snapshot()
        grown = dataclasses.replace(
            snapshot,
            disks=[dataclasses.replace(disk, capacity=gib * GIB)],
        )
        self.driver.base_image_snapshot = lambda: grown

    def take(self):
        self.driver.taken = {self.base_name}

    def test_a_mapped_base_image_is_quarantined(self):
        self.take()
        ((name, reason),) = self.reconcile().quarantined
        self.assertEqual(self.base_name, name)
        self.assertIn('mapped', reason)
        self.assertEqual(
            (QUARANTINED, reason), (self.record().state, self.record().reason)
        )

    def test_a_quarantined_base_image_is_not_served(self):
        self.take()
        self.reconcile()
        self.check(self.deploy(), BYPASS)

    def test_a_quarantined_base_image_is_kept_while_it_is_mapped(self):
        self.take()
        self.reconcile()
        found = self.check_found(failed=(self.base_name,))
        self.assertEqual((), found.quarantined)
        self.assertIn(self.base_name, self.driver.names())
        self.assertIs(QUARANTINED, self.record().state)

    def test_a_quarantined_base_image_is_removed_when_it_is_unmapped(self):
        self.take()
        self.reconcile()
        self.driver.taken = set()
        self.check_found((self.base_name,), (self.base_name,))
        self.assertIsNone(self.record())
        self.check(self.deploy(), MISS)

    def test_a_deploy_replaces_a_quarantined_base_image(self):
        self.take()
        self.reconcile()
        self.driver.taken = set()
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_a_base_image_of_another_capacity_is_quarantined(self):
        self.grow()
        ((_, reason),) = self.reconcile().quarantined
        self.assertIn('bytes', reason)
        self.check(self.deploy(), MISS)

    def test_a_quarantine_is_logged_once(self):
        self.take()
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            for _ in range(5):
                self.reconcile()
        self.assertEqual(2, len(logs.records))

    def test_unreadable_mappings_quarantine_nothing(self):
        self.driver.before['mapped'] = fakes.refusal
        self.check_found(failed=('mappings',))
        self.check(self.deploy(), HIT)

    def test_a_base_image_that_is_evicted_meanwhile_is_not_quarantined(self):
        self.take()
        record = self.record()
        real = self.driver.mapped

        def evict_meanwhile(disks):
            found = real(disks)
            if self.record().state is models.State.READY:
                self.catalog.base_images.start_eviction(record)
            return found

        self.driver.mapped = evict_meanwhile
        self.assertEqual((), self.reconcile().quarantined)
        self.assertIs(models.State.EVICTING, self.record().state)

    def test_only_a_ready_base_image_can_be_quarantined(self):
        record = self.record()
        self.catalog.base_images.start_eviction(record)
        self.assertRaises(
            exceptions.CatalogConflict,
            self.catalog.base_images.quarantine,
            record,
            'why',
        )


class StaleUploadsTest(ReconcilerTestCase):
    """File entries that uploads could not remove."""

    def setUp(self):
        super().setUp()
        self.asked = []
        targets = self.driver.upload_targets
        self.driver.upload_targets = lambda: self.asked.append(1) or targets()

    def leave_upload(self):
        self.driver.left = True
        self.deploy()
        self.driver.left = False
        self.driver.uploads.add(self.record().udid)

    def test_a_new_catalog_looks_for_stale_uploads_once(self):
        self.check_found()
        self.check_found()
        self.assertEqual(1, len(self.asked))

    def test_a_stale_upload_is_removed_by_the_next_run(self):
        self.check_found()
        self.leave_upload()
        self.check_found()
        self.assertEqual(set(), self.driver.uploads)
        self.assertEqual(2, len(self.asked))
        self.check_found()
        self.assertEqual(2, len(self.asked))

    def test_an_upload_in_progress_is_looked_at_again_later(self):
        self.leave_upload()
        with self.cache.fill_lock(self.base_name, 0):
            self.check_found()
        self.assertEqual(1, len(self.driver.uploads))
        self.check_found()
        self.assertEqual(set(), self.driver.uploads)

    def test_an_upload_to_an_instance_disk_in_progress_is_kept(self):
        self.deploy()
        udid = self.driver.find_disk('disk').udid
        self.driver.uploads.add(udid)
        with self.cache.instance_disk_lock('disk'):
            self.check_found()
        self.assertEqual({udid}, self.driver.uploads)
        self.check_found()
        self.assertEqual(set(), self.driver.uploads)

    def test_an_upload_to_a_foreign_disk_is_kept(self):
        udid = self.driver.add('foreign', label='theirs').udid
        self.driver.uploads.add(udid)
        self.check_found()
        self.assertEqual({udid}, self.driver.uploads)

    def test_an_upload_to_a_disk_of_another_catalog_is_kept(self):
        # No lock says that it is in progress on another host.
        udid = self.driver.add(self.base_name, label=of_other('5e1f0c2a')).udid
        self.driver.uploads.add(udid)
        self.check_found()
        self.assertEqual({udid}, self.driver.uploads)
        self.catalog.identity.take_over('5e1f0c2a')
        self.catalog.pools.record_uploads('pool', clean=False)
        self.check_found()
        self.assertEqual(set(), self.driver.uploads)

    def test_stale_uploads_of_this_process_are_always_looked_for(self):
        self.check_found()
        self.driver.left = True
        self.check_found()
        self.assertEqual(2, len(self.asked))

    def test_a_failure_is_reported_as_one_of_the_file_entries(self):
        self.driver.upload_targets = fakes.refusal
        self.check_found(failed=('web/File',))


class SnapshotTest(ReconcilerTestCase):
    """The pool as it was found, which saves requests of the eviction."""

    def test_the_snapshot_has_the_pool_and_the_records(self):
        self.deploy()
        found = self.reconcile().snapshot
        self.assertEqual(self.driver.pool(), found.pool)
        self.assertEqual(frozenset(), found.mapped)
        self.assertEqual(self.catalog.base_images.list('pool'), found.records)

    def test_the_snapshot_has_the_names_of_mapped_base_images(self):
        self.deploy()
        self.driver.taken = {self.base_name}
        self.assertEqual(
            frozenset({self.base_name}), self.reconcile().snapshot.mapped
        )

    def test_a_snapshot_is_current_until_a_fill_begins(self):
        self.deploy()
        found = self.reconcile().snapshot
        self.assertTrue(found.is_current(self.catalog))
        self.start_fill('i_00000000_0000')
        self.assertFalse(found.is_current(self.catalog))

    def test_a_snapshot_is_current_until_a_state_changes(self):
        self.deploy()
        found = self.reconcile().snapshot
        self.catalog.base_images.start_eviction(self.record())
        self.assertFalse(found.is_current(self.catalog))

    def test_a_snapshot_is_current_until_an_image_is_fetched_again(self):
        self.deploy()
        found = self.reconcile().snapshot
        self.catalog.base_images.remove(self.record())
        self.driver.vanish(self.base_name)
        self.prefetch()
        self.assertFalse(found.is_current(self.catalog))

    def test_there_is_no_snapshot_if_disks_were_deleted(self):
        self.leave_behind()
        self.assertIsNone(self.reconcile().snapshot)

    def test_there_is_no_snapshot_if_the_mappings_are_unreadable(self):
        self.driver.before['mapped'] = fakes.refusal
        self.assertIsNone(self.reconcile().snapshot)
