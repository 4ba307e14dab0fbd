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

"""What is done about the work of dead processes."""

from glanceclient import exc as glance_exceptions
import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import instance_records
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

GIB = base.GIB
LEASE = 'ab' * 16


class IsOursTest(base.TestCase):
    """Whether a disk was made under a lease."""

    def _disk(self, label='', udid='udid', capacity=GIB):
        return driver_base.Disk('disk', udid, capacity, label)

    def test_labels(self):
        label = ownership.label(LEASE)
        self.assertTrue(
            ownership.is_ours(self._disk(label), None, LEASE, 5 * GIB, True)
        )
        for other in (
            ownership.label('cd' * 16),
            'of somebody',
            label[:-1],
            'None',
            '',
        ):
            self.assertFalse(
                ownership.is_ours(self._disk(other), None, LEASE, GIB, True)
            )

    def test_labels_of_leases_differ(self):
        self.assertNotEqual(ownership.label(LEASE), ownership.label('cd' * 16))
        self.assertIn(LEASE[:16], ownership.label(LEASE))

    def test_without_labels_the_udid_tells(self):
        for none in ('', 'None'):
            self.assertTrue(
                ownership.is_ours(
                    self._disk(none), 'udid', LEASE, 5 * GIB, False
                )
            )
            self.assertFalse(
                ownership.is_ours(self._disk(none), 'other', LEASE, GIB, False)
            )

    def test_without_both_the_size_tells(self):
        for gib, size, ours in (
            (1, 1, True),
            (1, GIB, True),
            (1, GIB + 1, False),
            (2, GIB, False),
            (2, GIB + 1, True),
        ):
            self.assertEqual(
                ours,
                ownership.is_ours(
                    self._disk(capacity=gib * GIB), None, LEASE, size, False
                ),
            )

    @base.generated
    @hypothesis.given(
        strategies.sampled_from(['', 'None', 'theirs']),
        strategies.sampled_from([None, 'udid', 'other']),
        strategies.integers(1, 4 * GIB),
    )
    def test_a_disk_with_anothers_label_never_is(self, label, udid, size):
        ours = ownership.is_ours(
            self._disk(label), udid, LEASE, size, label == 'theirs'
        )
        if udid == 'other' or (label == 'theirs' and udid is None):
            self.assertFalse(ours)


class RemoveTest(base.CacheTestCase):
    keeps_labels = True

    def setUp(self):
        super().setUp()
        self.driver.keeps_labels = self.keeps_labels
        if not self.keeps_labels:
            self.catalog.pools.record_labels('pool', False)

    def _begun(self):
        """A base image of which the record is all there is."""
        return self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )

    def _made(self, record, **values):
        return self.driver.add(
            record.disk_name, label=ownership.label(record.fill_id), **values
        )

    def test_a_base_image(self):
        record = self._begun()
        disk = self._made(record)
        self.driver.add('other')
        self.driver.uploads.add(disk.udid)
        disposal.dispose(self.cache, record)
        self.assertEqual(['other'], self.driver.names())
        self.assertEqual(set(), self.driver.uploads)

    def test_a_base_image_that_is_gone(self):
        self.driver.add('other')
        disposal.dispose(self.cache, self._begun())
        self.assertEqual(['other'], self.driver.names())

    def test_a_base_image_of_somebody_else(self):
        record = self._begun()
        self.driver.add(self.base_name, 7, label='theirs')
        self.assertRaises(
            exceptions.BaseImageOccupied,
            disposal.dispose,
            self.cache,
            record,
        )
        self.assertEqual([self.base_name], self.driver.names())

    def test_a_base_image_that_can_not_be_removed(self):
        record = self._begun()
        self._made(record)
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            disposal.dispose,
            self.cache,
            record,
        )

    def test_an_instance_disk(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add('other', label=ownership.label(entry.fill_id))
        self.assertIsNone(disposal.dispose(self.cache, entry))
        self._made(entry)
        self.assertEqual('disk', disposal.dispose(self.cache, entry))
        self.assertEqual(['other'], self.driver.names())

    def test_an_instance_disk_of_somebody_else(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add('disk', 7, label='theirs')
        self.assertIsNone(disposal.dispose(self.cache, entry))
        self.assertEqual(['disk'], self.driver.names())

    def test_an_instance_disk_that_a_partition_has(self):
        # As where a backup of the catalogue was put back.
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        disk = self._made(entry)
        self.catalog.instance_disks.set_udid(entry, disk.udid)
        self.driver.taken = {'disk'}
        reconciler.reconcile(self.cache)
        self.assertEqual(disk, self.driver.find_disk('disk'))
        # It is whole: nobody is to look at it again.
        self.assertEqual([], self.catalog.instance_disks.list('pool'))


class LateTest(base.CacheTestCase):
    """What a dead process has asked for comes after all."""

    def comes(self, name, record):
        return self.driver.add(
            name, content=b'half', label=ownership.label(record.fill_id)
        )

    def test_after_a_fetch_that_failed(self):
        dead = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        for parts in (
            (glance_exceptions.HTTPForbidden(),),
            (
                self.content[: 1 << 20],
                glance_exceptions.HTTPForbidden(),
            ),
        ):
            self.source.put(self.image, *parts)
            self.assertRaises(exceptions.ImageForbidden, self.prefetch)
            self.assertRaises(exceptions.ImageForbidden, self.deploy)
            self.assertEqual(dead.fill_id, self.record().fill_id)
        self.comes(self.base_name, dead)
        self.assertEqual(
            (self.base_name,), reconciler.reconcile(self.cache).removed
        )
        self.check_nothing_left()

    def test_after_a_deploy_that_failed(self):
        dead = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.source.put(self.image, glance_exceptions.HTTPForbidden())
        self.assertRaises(exceptions.ImageForbidden, self.deploy)
        (entry,) = self.catalog.instance_disks.list('pool')
        self.assertEqual(dead.fill_id, entry.fill_id)
        self.comes('disk', dead)
        self.assertEqual(('disk',), reconciler.reconcile(self.cache).removed)
        self.check_nothing_left()

    def test_while_it_is_made_again(self):
        for name, begin in (
            (
                self.base_name,
                lambda: self.catalog.base_images.start_fill(
                    'pool', self.base_name, self.image
                ),
            ),
            (
                'disk',
                lambda: self.catalog.instance_disks.start('pool', 'disk', GIB),
            ),
        ):
            dead = begin()

            def appear(new, name=name, dead=dead):
                del self.driver.before['create_disks']
                self.comes(name, dead)

            self.driver.before['create_disks'] = appear
            self.assertIs(instance_disk.Outcome.MISS, self.deploy().outcome)
            self.assert_bytes(
                self.content, self.driver.content('disk', self.size)
            )
            self.check_cached()
            self.driver.vanish('disk')
            self.driver.vanish(self.base_name)
            reconciler.reconcile(self.cache)

    def test_unless_a_partition_has_it(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.comes('disk', entry)
        self.driver.taken = {'disk'}
        self.assertFalse(
            disposal.delete_late_disk(self.driver, 'disk', entry.fill_id)
        )
        self.driver.taken = set()
        self.assertFalse(
            disposal.delete_late_disk(self.driver, 'disk', 'of somebody else')
        )
        self.assertTrue(
            disposal.delete_late_disk(self.driver, 'disk', entry.fill_id)
        )
        self.assertEqual([], self.driver.names())


class RemoveWithoutLabelsTest(RemoveTest):
    keeps_labels = False


class NoLabelSeenTest(base.CacheTestCase):
    """Nobody knows yet whether the pool keeps labels.

    A disk without one, of the right name and size, may be anybody's.
    """

    def setUp(self):
        super().setUp()
        self.driver.keeps_labels = False

    def test_a_disk_is_somebody_elses(self):
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add(self.base_name)
        self.driver.add('disk')
        self.assertRaises(
            exceptions.BaseImageOccupied,
            disposal.dispose,
            self.cache,
            record,
        )
        self.assertIsNone(disposal.dispose(self.cache, entry))
        self.assertEqual({self.base_name, 'disk'}, set(self.driver.names()))

    def test_until_one_of_ours_has_lost_its_own(self):
        disposal.record_labels(self.cache, [self.driver.add('other')])
        self.assertTrue(self.catalog.pools.keeps_labels('pool'))
        self.deploy()
        self.assertFalse(self.catalog.pools.keeps_labels('pool'))
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add('disk')
        self.assertEqual('disk', disposal.dispose(self.cache, entry))


class OnRecordTest(base.CacheTestCase):
    def _on_record(self, name='disk', certain=True):
        return instance_records.recorded(
            self.cache, name, GIB, lambda: certain
        )

    def _entries(self):
        return self.catalog.instance_disks.list('pool')

    def test_as_long_as_it_is_made(self):
        with self._on_record() as entry:
            self.assertEqual([entry], self._entries())
            self.assertFalse(self.locks.is_free('disk-pool-disk'))
        self.assertEqual([], self._entries())
        self.assertTrue(self.locks.is_free('disk-pool-disk'))

    def test_not_when_making_it_has_failed(self):
        def fail():
            with self._on_record():
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertEqual([], self._entries())

    def test_for_longer_where_nobody_knows_what_became_of_it(self):
        with self._on_record(certain=False) as entry:
            pass
        self.assertEqual([entry], self._entries())
        self.assertTrue(self.locks.is_free('disk-pool-disk'))

    def test_by_one_only(self):
        with self._on_record() as entry:
            self.assertRaises(
                exceptions.LockTimeout, self._on_record().__enter__
            )
            with self._on_record('other'):
                pass
            self.assertEqual([entry], self._entries())

    def test_what_is_left_of_it_is_removed_first(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add('disk', label=ownership.label(entry.fill_id))
        self.driver.add('other')
        with self._on_record() as new:
            self.assertNotEqual(entry.fill_id, new.fill_id)
            self.assertEqual(['other'], self.driver.names())

    def test_a_deploy_takes_what_a_dead_one_has_left(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add(
            'disk', content=b'half of it', label=ownership.label(entry.fill_id)
        )
        self.check(self.deploy(), instance_disk.Outcome.MISS)
        self.assertEqual([], self._entries())

    def test_without_a_catalogue_a_deploy_goes_on(self):
        for step in ('instance_disks.list', 'instance_disks.start'):
            self.catalog.broken = {step}
            self.deploy(step[:15])
            self.assertEqual(
                self.content, self.driver.content(step[:15], self.size)
            )

    def test_it_is_on_record_whatever_becomes_of_it(self):
        seen = []
        self.driver.before['create_disks'] = lambda new: seen.append(
            [entry.disk_name for entry in self._entries()]
        )
        self.deploy()
        self.deploy('hit')
        self.assertEqual([['disk'], ['hit']], seen)
        self.assertEqual([], self._entries())

    def test_a_name_that_somebody_else_has_is_left_alone(self):
        theirs = self.driver.add('disk', content=b'theirs')
        self.assertRaises(exceptions.DiskExists, self.deploy)
        self.assertEqual(theirs, self.driver.find_disk('disk'))
        self.assertEqual([], self._entries())


class ReconcileTest(base.CacheTestCase):
    def _reconciled(self, forgotten=(), removed=(), failed=()):
        found = reconciler.reconcile(self.cache)
        self.assertEqual(
            (forgotten, removed, failed),
            (
                found.forgotten,
                found.removed,
                tuple(name for name, _ in found.failed),
            ),
        )

    def test_nothing_to_do(self):
        self._reconciled()
        self.deploy()
        self.driver.add('untracked')
        before = self.driver.names()
        self._reconciled()
        self.assertEqual(before, self.driver.names())
        self.check_cached()

    def test_a_disk_that_vanished(self):
        self.deploy()
        self.driver.vanish(self.base_name)
        self._reconciled(forgotten=(self.base_name,))
        self.assertEqual([], self.catalog.base_images.list('pool'))
        self.check(self.deploy('again'), instance_disk.Outcome.MISS)

    def test_a_disk_that_was_replaced(self):
        self.deploy()
        self.driver.vanish(self.base_name)
        theirs = self.driver.add(self.base_name, label='theirs')
        self._reconciled(forgotten=(self.base_name,))
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_a_base_image_that_was_left_behind(self):
        for udid in (True, False):
            self.leave_behind(udid=udid)
            found = reconciler.reconcile(self.cache)
            self.assertEqual((self.base_name,), found.removed)
            self.check_nothing_left()
            self.assertEqual(set(), self.driver.uploads)

    def test_an_eviction_that_was_left_behind(self):
        self.deploy()
        self.catalog.base_images.start_eviction(self.record())
        reconciler.reconcile(self.cache)
        self.check_not_cached('disk')

    def test_an_instance_disk_that_was_left_behind(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add('disk', label=ownership.label(entry.fill_id))
        self._reconciled(removed=('disk',))
        self.check_nothing_left()

    def test_what_the_living_are_at_is_left_alone(self):
        self.leave_behind()
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add('disk', label=ownership.label(entry.fill_id))
        with (
            self.cache.hold(self.base_name, 0),
            self.cache.instance_disk_lock('disk'),
        ):
            self._reconciled()
        self.assertEqual(2, len(self.driver.names()))
        self.assertEqual([entry], self.catalog.instance_disks.list('pool'))

    def test_what_the_living_have_finished_meanwhile(self):
        left = self.leave_behind()

        def finish():
            self.catalog.images = real
            self.catalog.base_images.remove(left)
            self.driver.vanish(self.base_name)
            self.prefetch()

        real = self.catalog.images

        def images(pool):
            found = real(pool)
            finish()
            return found

        self.catalog.images = images
        self._reconciled()
        self.check_cached()

    def test_an_instance_disk_that_the_living_have_finished_meanwhile(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        disk = self.driver.add('disk', label=ownership.label(entry.fill_id))
        real = self.catalog.instance_disks

        def finish(pool):
            found = real(pool)
            self.catalog.instance_disks.finish(entry)
            return found

        self.catalog.instance_disks = finish
        self._reconciled()
        self.assertEqual(disk, self.driver.find_disk('disk'))

    def test_one_that_can_not_be_tidied_stops_no_other(self):
        self.leave_behind()
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        self.driver.add('disk', label=ownership.label(entry.fill_id))

        def refuse_one(disk):
            if disk.name == self.base_name:
                fakes.refusal()

        self.driver.before['delete'] = refuse_one
        self._reconciled(removed=('disk',), failed=(self.base_name,))
        self.assertIs(models.State.POPULATING, self.record().state)
        del self.driver.before['delete']
        found = reconciler.reconcile(self.cache)
        self.assertEqual((self.base_name,), found.removed)

    def test_a_disk_that_is_not_ours_stays(self):
        self.leave_behind(udid=False, gib=7, label='')
        self._reconciled(forgotten=(self.base_name,))
        self._reconciled()
        self.assertEqual([self.base_name], self.driver.names())

    def test_again_and_again(self):
        self.deploy()
        self.leave_behind_as('i_00000000_0000')
        reconciler.reconcile(self.cache)
        self._reconciled()

    def leave_behind_as(self, name):
        self.catalog.base_images.start_fill('pool', name, self.image)

    def test_what_uploads_left_is_looked_for_where_there_may_be_any(self):
        asked = []
        targets = self.driver.upload_targets
        self.driver.upload_targets = lambda: asked.append(1) or targets()
        # A catalogue that is new knows of none.
        self._reconciled()
        self._reconciled()
        self.assertEqual(1, len(asked))

        self.driver.left = True
        self.deploy()
        self.driver.left = False
        self.driver.uploads.add(self.record().udid)
        with self.cache.hold(self.base_name, 0):
            # It may be just being written.
            self._reconciled()
        self.assertEqual(1, len(self.driver.uploads))
        self._reconciled()
        self.assertEqual(set(), self.driver.uploads)
        self._reconciled()
        self.assertEqual(3, len(asked))

        self.driver.left = True
        self._reconciled()
        self.assertEqual(4, len(asked))

    def test_a_snapshot_for_who_comes_next(self):
        self.deploy()
        found = reconciler.reconcile(self.cache).snapshot
        self.assertEqual(self.driver.pool(), found.pool)
        self.assertEqual(frozenset(), found.mapped)
        self.assertEqual(self.catalog.base_images.list('pool'), found.records)
        self.assertTrue(found.is_current(self.catalog))
        self.leave_behind_as('i_00000000_0000')
        self.assertFalse(found.is_current(self.catalog))

    def test_no_snapshot_of_what_is_not_so_any_more(self):
        self.leave_behind()
        self.assertIsNone(reconciler.reconcile(self.cache).snapshot)
        self.driver.before['mapped'] = fakes.refusal
        self.assertIsNone(reconciler.reconcile(self.cache).snapshot)


class EntriesTest(base.TestCase):
    """Instance disks in the catalogue."""

    def setUp(self):
        super().setUp()
        self.catalog = facade.Catalog(self.path('c.sqlite'))
        self.addCleanup(self.catalog.close)

    def test_life(self):
        self.assertEqual([], self.catalog.instance_disks.list('pool'))
        entry = self.catalog.instance_disks.start('pool', 'disk', 5)
        self.assertEqual([entry], self.catalog.instance_disks.list('pool'))
        self.assertEqual([], self.catalog.instance_disks.list('other'))
        self.catalog.instance_disks.set_udid(entry, 'udid')
        (found,) = self.catalog.instance_disks.list('pool')
        self.assertEqual(
            ('udid', 5, entry.fill_id), (found.udid, found.size, found.fill_id)
        )
        self.catalog.instance_disks.finish(entry)
        self.catalog.instance_disks.finish(entry)
        self.assertEqual([], self.catalog.instance_disks.list('pool'))

    def test_once(self):
        entry = self.catalog.instance_disks.start('pool', 'disk', 5)
        self.assertRaises(
            exceptions.CatalogConflict,
            self.catalog.begin_instance_disk,
            'pool',
            'disk',
            6,
        )
        self.assertEqual([entry], self.catalog.instance_disks.list('pool'))

    def test_a_stale_lease_changes_nothing(self):
        stale = self.catalog.instance_disks.start('pool', 'disk', 5)
        self.catalog.instance_disks.finish(stale)
        entry = self.catalog.instance_disks.start('pool', 'disk', 5)
        self.catalog.instance_disks.set_udid(stale, 'udid')
        self.catalog.instance_disks.finish(stale)
        self.assertEqual([entry], self.catalog.instance_disks.list('pool'))


class FakesTest(base.TestCase):
    def test_the_fake_keeps_labels_as_the_contract_says(self):
        driver = fakes.FakeDriver()
        (disk,) = driver.create_disks(
            [driver_base.NewDisk('a', 1, 'raw', 'label')]
        )
        self.assertEqual('label', disk.label)
        driver.keeps_labels = False
        (disk,) = driver.create_disks(
            [driver_base.NewDisk('b', 1, 'raw', 'label')]
        )
        self.assertEqual('', disk.label)
