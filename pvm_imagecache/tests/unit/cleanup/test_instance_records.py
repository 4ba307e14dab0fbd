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

"""Tests of the records of instance disks while they are created."""

import dataclasses
import threading

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.cleanup import instance_records
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes
from pvm_imagecache.tests.unit.glance import responses

GIB = base.GIB


class InstanceRecordsTestCase(base.CacheTestCase):
    def recorded(self, name='disk', settled=True, cache=None):
        return instance_records.recorded(
            cache or self.cache, name, GIB, lambda: settled
        )

    def entries(self):
        return self.catalog.instance_disks.list('pool')

    def start(self, name='disk'):
        """The record of a process that crashes."""
        return self.catalog.instance_disks.start('pool', name, GIB)

    def appear(self, entry, content=b'half of it'):
        return self.driver.add(
            entry.disk_name,
            content=content,
            label=ownership.label(entry.fill_id),
        )

    def is_locked(self, name='disk'):
        return not self.locks.is_free(f'disk-pool-{name}')


class RecordedTest(InstanceRecordsTestCase):
    def test_the_record_and_the_lock_last_as_long_as_the_block(self):
        with self.recorded() as entry:
            self.assertEqual([entry], self.entries())
            self.assertTrue(self.is_locked())
        self.assertEqual([], self.entries())
        self.assertFalse(self.is_locked())

    def test_the_record_has_the_requested_name_and_size(self):
        with self.recorded('x') as entry:
            self.assertEqual(
                ('pool', 'x', GIB), (entry.pool, entry.disk_name, entry.size)
            )

    def test_the_record_is_removed_if_the_block_fails_without_a_disk(self):
        def fail():
            with self.recorded():
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertEqual([], self.entries())
        self.assertFalse(self.is_locked())

    def test_the_record_stays_if_the_disk_is_neither_complete_nor_deleted(
        self,
    ):
        with self.recorded(settled=False) as entry:
            pass
        self.assertEqual([entry], self.entries())
        self.assertFalse(self.is_locked())

    def test_only_one_block_at_a_time_has_a_disk_name(self):
        with self.recorded() as entry:
            self.assertRaises(
                exceptions.LockTimeout, self.recorded().__enter__
            )
            with self.recorded('other'):
                pass
            self.assertEqual([entry], self.entries())

    def test_a_stale_disk_of_the_name_is_deleted_first(self):
        stale = self.start()
        self.appear(stale)
        self.driver.add('other')
        with self.recorded() as entry:
            self.assertNotEqual(stale.fill_id, entry.fill_id)
            self.assertEqual(['other'], self.driver.names())
            self.assertEqual([entry], self.entries())

    def test_records_of_other_names_are_not_touched(self):
        other = self.start('other')
        disk = self.appear(other)
        with self.recorded() as entry:
            self.assertCountEqual([other, entry], self.entries())
        self.assertEqual([other], self.entries())
        self.assertEqual(disk, self.driver.find_disk('other'))

    def test_the_record_of_a_mapped_disk_is_replaced(self):
        self.catalog.pools.record_labels('pool', True)
        stale = self.start()
        disk = self.appear(stale)
        self.driver.taken = {'disk'}
        with self.recorded() as entry:
            self.assertNotEqual(stale.fill_id, entry.fill_id)
        self.assertEqual([], self.entries())
        self.assertEqual(disk, self.driver.find_disk('disk'))

    def test_nothing_is_recorded_if_a_stale_disk_cannot_be_deleted(self):
        stale = self.start()
        self.appear(stale)
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.recorded().__enter__
        )
        self.assertEqual([stale], self.entries())
        self.assertFalse(self.is_locked())


class UnknownLabelsTest(InstanceRecordsTestCase):
    """Nothing is known of labels: name and size identify a disk too."""

    def setUp(self):
        super().setUp()
        self.driver.keeps_labels = False

    def test_a_foreign_disk_of_the_name_survives_a_crash(self):
        theirs = self.driver.add('disk', content=b'theirs')
        self.assertRaises(
            exceptions.DiskExists, self.recorded(settled=False).__enter__
        )
        self.assertEqual([], self.entries())
        self.assertEqual((), reconciler.reconcile(self.cache).removed)
        self.assertEqual(theirs, self.driver.find_disk('disk'))

    def test_the_record_of_a_crashed_process_stays_beside_a_foreign_disk(
        self,
    ):
        stale = self.start()
        self.driver.add('disk', 7)
        self.assertRaises(exceptions.DiskExists, self.recorded().__enter__)
        self.assertEqual([stale], self.entries())

    def test_an_incomplete_disk_is_still_replaced(self):
        self.appear(self.start())
        self.check(self.deploy(), instance_disk.Outcome.MISS)
        self.assertEqual([], self.entries())

    def test_an_unused_name_is_recorded(self):
        with self.recorded() as entry:
            self.assertEqual([entry], self.entries())


class DroppedLabelsTest(UnknownLabelsTest):
    """The pool drops labels."""

    def setUp(self):
        super().setUp()
        self.catalog.pools.record_labels('pool', False)


class CarriedFillIdTest(InstanceRecordsTestCase):
    """The fill ID of a crashed process whose disk may still appear."""

    def setUp(self):
        super().setUp()
        self.stale = self.start()

    def fail(self):
        with self.recorded():
            raise ZeroDivisionError

    def test_the_fill_id_is_carried_on_by_the_new_record(self):
        with self.recorded() as entry:
            self.assertEqual(self.stale.fill_id, entry.fill_id)
            self.assertEqual([entry], self.entries())

    def test_the_record_is_removed_when_the_disk_is_complete(self):
        with self.recorded():
            pass
        self.assertEqual([], self.entries())

    def test_the_record_stays_if_the_block_fails(self):
        self.assertRaises(ZeroDivisionError, self.fail)
        (entry,) = self.entries()
        self.assertEqual(self.stale.fill_id, entry.fill_id)

    def test_the_record_stays_while_a_foreign_disk_has_the_name(self):
        self.catalog.pools.record_labels('pool', True)
        theirs = self.driver.add('disk', 7, label='theirs')
        self.assertRaises(ZeroDivisionError, self.fail)
        (entry,) = self.entries()
        self.assertEqual(self.stale.fill_id, entry.fill_id)
        self.assertEqual(theirs, self.driver.find_disk('disk'))

    def test_its_disk_may_appear_before_it_is_known_whether_labels_are_kept(
        self,
    ):
        # After the stale disk was looked for.
        self.patch(
            self.driver,
            'find_disk',
            self._appearing_before(self.driver.find_disk),
        )
        self.assertIs(instance_disk.Outcome.MISS, self.deploy().outcome)
        self.assert_bytes(self.content, self.driver.content('disk', self.size))
        self.assertEqual([], self.entries())

    def _appearing_before(self, find):
        pending = [self.stale]

        def find_disk(name):
            if pending and name == 'disk':
                self.appear(pending.pop())
            return find(name)

        return find_disk

    def test_no_fill_id_is_carried_on_after_an_hour(self):
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        self.assertRaises(ZeroDivisionError, self.fail)
        self.assertEqual([], self.entries())

    def test_a_failed_deploy_keeps_the_fill_id_for_the_late_disk(self):
        self.source.put(self.image, responses.refused(403))
        self.assertRaises(exceptions.ImageForbidden, self.deploy)
        (entry,) = self.entries()
        self.assertEqual(self.stale.fill_id, entry.fill_id)
        self.appear(self.stale)
        self.assertEqual(('disk',), reconciler.reconcile(self.cache).removed)
        self.check_nothing_left()

    def test_a_deploy_replaces_a_disk_that_appears_meanwhile(self):
        def appear(new):
            del self.driver.before['create_disks']
            self.appear(self.stale)

        self.driver.before['create_disks'] = appear
        self.assertIs(instance_disk.Outcome.MISS, self.deploy().outcome)
        self.assert_bytes(self.content, self.driver.content('disk', self.size))
        self.assertEqual([], self.entries())


class DeployTest(InstanceRecordsTestCase):
    """The records of whole deploys."""

    def test_a_deploy_replaces_the_disk_of_a_crashed_process(self):
        self.appear(self.start())
        self.check(self.deploy(), instance_disk.Outcome.MISS)
        self.assertEqual([], self.entries())

    def test_a_deploy_works_without_a_record(self):
        for name, step in (
            ('list', 'instance_disks.list'),
            ('start', 'instance_disks.start'),
        ):
            self.catalog.broken = {step}
            self.deploy(name)
            self.assertEqual(
                self.content, self.driver.content(name, self.size)
            )

    def test_a_miss_and_a_hit_are_recorded_before_the_disk_is_created(self):
        seen = []
        self.driver.before['create_disks'] = lambda new: seen.append(
            [entry.disk_name for entry in self.entries()]
        )
        self.deploy()
        self.deploy('hit')
        self.assertEqual([['disk'], ['hit']], seen)
        self.assertEqual([], self.entries())

    def test_a_foreign_disk_of_the_name_is_kept(self):
        theirs = self.driver.add('disk', content=b'theirs')
        self.assertRaises(exceptions.DiskExists, self.deploy)
        self.assertEqual(theirs, self.driver.find_disk('disk'))
        self.assertEqual([], self.entries())


class UnrecordedTest(InstanceRecordsTestCase):
    """A disk is complete, but the catalog could not be written."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.retry)

    def retry(self):
        self.catalog.broken = set()
        instance_records.retry_unrecorded()

    def deploy_unrecorded(self, name='disk'):
        self.catalog.broken = {'instance_disks.finish'}
        return self.deploy(name)

    def is_unrecorded(self, name='disk', cache=None):
        return instance_records.is_unrecorded(cache or self.cache, name)

    def test_a_disk_that_is_recorded_is_not_unrecorded(self):
        with self.recorded():
            self.assertFalse(self.is_unrecorded())
        self.assertFalse(self.is_unrecorded())

    def test_the_lock_of_the_disk_stays_held(self):
        self.deploy_unrecorded()
        self.assertTrue(self.is_unrecorded())
        self.assertTrue(self.is_locked())

    def test_the_lock_stays_held_when_the_catalog_is_closed(self):
        self.deploy_unrecorded()
        self.catalog.close()
        self.assertTrue(self.is_locked())

    def test_the_lock_stays_held_while_a_retry_fails(self):
        self.deploy_unrecorded()
        instance_records.retry_unrecorded()
        self.assertTrue(self.is_unrecorded())
        self.assertTrue(self.is_locked())

    def test_a_cleanup_run_does_not_delete_the_disk(self):
        disk = self.deploy_unrecorded().disk
        found = reconciler.reconcile(self.cache)
        self.assertEqual((), found.removed)
        self.assertEqual(disk, self.driver.find_disk('disk'))

    def test_a_cleanup_run_records_the_disk_later(self):
        disk = self.deploy_unrecorded().disk
        self.catalog.broken = set()
        found = reconciler.reconcile(self.cache)
        self.assertEqual(((), ()), (found.removed, found.failed))
        self.assertEqual(disk, self.driver.find_disk('disk'))
        self.assertEqual([], self.entries())
        self.assertFalse(self.is_unrecorded())
        self.assertFalse(self.is_locked())

    def test_the_next_deploy_records_the_disk(self):
        self.deploy_unrecorded()
        self.catalog.broken = set()
        self.check(self.deploy('next'), instance_disk.Outcome.HIT)
        self.assertEqual([], self.entries())
        self.assertFalse(self.is_locked())

    def test_the_error_is_logged_with_the_disk_and_the_catalog(self):
        with self.assertLogs('pvm_imagecache', 'ERROR') as logs:
            self.deploy_unrecorded()
        (message,) = logs.output
        self.assertIn('Disk disk is complete', message)
        self.assertIn(self.catalog.path, message)

    def test_a_deploy_of_the_name_works_after_the_disk_was_deleted(self):
        self.deploy_unrecorded()
        self.driver.vanish('disk')
        self.check(self.deploy(), instance_disk.Outcome.HIT)
        self.assertTrue(self.is_locked())

    def test_another_disk_of_the_pool_is_not_affected(self):
        self.deploy_unrecorded()
        self.assertFalse(self.is_unrecorded('other'))
        self.assertFalse(self.is_locked('other'))

    def test_a_disk_of_the_name_in_another_catalog_is_not_affected(self):
        self.deploy_unrecorded()
        other = facade.Catalog(self.path('other', 'c.sqlite'))
        self.addCleanup(other.close)
        cache = dataclasses.replace(self.cache, catalog=other)
        self.assertFalse(self.is_unrecorded(cache=cache))

    def test_another_catalog_object_of_the_same_file_is_affected(self):
        self.deploy_unrecorded()
        other = facade.Catalog(self.catalog.path)
        self.addCleanup(other.close)
        cache = dataclasses.replace(self.cache, catalog=other)
        self.assertTrue(self.is_unrecorded(cache=cache))

    def test_a_disk_of_the_name_in_another_pool_is_not_affected(self):
        self.deploy_unrecorded()
        driver = fakes.FakeDriver()
        driver.pool_id = lambda: 'other'
        cache = dataclasses.replace(self.cache, driver=driver)
        self.assertFalse(self.is_unrecorded(cache=cache))
        self.catalog.broken = set()
        with self.recorded(cache=cache) as entry:
            self.assertEqual('other', entry.pool)

    def test_several_disks_are_retried_independently(self):
        for name in ('one', 'two'):
            self.deploy_unrecorded(name)
        finish = self.catalog.instance_disks.finish

        def refuse_one(entry):
            self.catalog.broken = (
                {'instance_disks.finish'} if entry.disk_name == 'one' else ()
            )
            finish(entry)

        self.catalog.instance_disks.finish = refuse_one
        instance_records.retry_unrecorded()
        self.assertTrue(self.is_unrecorded('one'))
        self.assertFalse(self.is_unrecorded('two'))
        self.assertTrue(self.is_locked('one'))
        self.assertFalse(self.is_locked('two'))
        self.catalog.instance_disks.finish = finish

    def test_two_threads_may_retry_at_the_same_time(self):
        self.deploy_unrecorded()
        self.catalog.broken = set()
        finish = self.catalog.instance_disks.finish
        both = threading.Barrier(2, timeout=base.PATIENCE)

        def finish_together(entry):
            both.wait()
            finish(entry)

        self.catalog.instance_disks.finish = finish_together
        self.in_threads(*[instance_records.retry_unrecorded] * 2)
        self.assertFalse(self.is_unrecorded())
        self.assertFalse(self.is_locked())
