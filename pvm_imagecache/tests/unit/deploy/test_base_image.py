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

"""Tests of the fill of a base image."""

import contextlib
import dataclasses

import fixtures

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.deploy import base_image
from pvm_imagecache.deploy import checks
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import new_disks
from pvm_imagecache.deploy import steps
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

CHUNK = image_stream.CHUNK_SIZE
HIT = instance_disk.Outcome.HIT
MISS = instance_disk.Outcome.MISS
BYPASS = instance_disk.Outcome.BYPASS
POPULATING = models.State.POPULATING
READY = models.State.READY
#: An instance disk that is created in the same request.
INSTANCE = driver_base.NewDisk('disk', base.GIB, 'raw')


def _nothing():
    """There is nothing to do before a wait."""


class FillTestCase(base.CacheTestCase):
    """One fill of one image, without a deploy around it."""

    def setUp(self):
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        self.reports = []
        self.steps = steps.Steps(
            self.size, lambda *args: self.reports.append(args)
        )
        self.disks = new_disks.NewDisks(self.cache, self.steps)
        self.fill = self.new_fill()

    def new_fill(self):
        return base_image.BaseImageFill(
            self.cache,
            self.image,
            self.steps,
            self.disks,
            self.verification(),
        )

    def write(self, others=()):
        with self.source.open(self.image) as stream:
            return self.fill.write(stream, others)

    def crash(self):
        """Leave the record of a process that crashed without a UDID."""
        return self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        ).fill_id

    def check_only(self, *names):
        self.assertEqual(sorted(names), self.driver.names())

    def check_carried(self, fill_id):
        """The record waits for the disk of the crashed process."""
        record = self.record()
        self.assertEqual(
            (POPULATING, fill_id, None),
            (record.state, record.fill_id, record.udid),
        )


class ClaimTest(FillTestCase):
    def lock_is_free(self):
        return self.locks.is_free(f'image-pool-{self.base_name}')

    def test_claim_holds_the_fill_lock(self):
        with self.fill.claim(_nothing):
            self.assertFalse(self.lock_is_free())
        self.assertTrue(self.lock_is_free())

    def test_closed_stack_releases_the_lock_early(self):
        with self.fill.claim(_nothing) as held:
            held.close()
            self.assertTrue(self.lock_is_free())

    def test_free_lock_means_no_wait(self):
        with self.fill.claim(lambda: self.fail('there is no wait')):
            self.assertFalse(self.lock_is_free())

    def test_function_is_called_before_a_wait(self):
        held = contextlib.ExitStack()
        held.enter_context(self.cache.fill_lock(self.base_name, 0))
        with self.fill.claim(held.close):
            self.assertFalse(self.lock_is_free())

    def test_error_before_a_wait_is_raised(self):
        def claim():
            with self.fill.claim(fakes.refusal):
                self.fail('it did not wait')

        with self.cache.fill_lock(self.base_name, 0):
            self.assertRaises(exceptions.PowerVMRequestFailed, claim)

    def test_failed_block_releases_the_lock(self):
        def fail():
            with self.fill.claim(_nothing):
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, fail)
        self.assertTrue(self.lock_is_free())

    def test_duration_of_the_wait_is_measured(self):
        with self.fill.claim(_nothing):
            self.assertIn('wait', self.steps.seconds())


class TakenNameTest(FillTestCase):
    """The disk name of the image is that of another image, too.

    Users choose the IDs of their images.
    """

    def setUp(self):
        super().setUp()
        self.other = dataclasses.replace(
            self.image, id=self.image.id[:-4] + 'ffff'
        )
        self.source.put(self.other, *fakes.chunks(self.content))
        self.second_name = naming.second_base_image_name(self.image.id, 'pool')

    def occupy(self):
        self.prefetch(self.other)
        self.assertEqual(self.other.id, self.record().image.id)

    def names(self):
        return {
            each.image.id: each.disk_name
            for each in self.catalog.base_images.list('pool')
        }

    def remove(self, image):
        record = self.catalog.base_images.of_image('pool', image.id)
        self.driver.vanish(record.disk_name)
        self.catalog.base_images.remove(record)

    def test_the_image_is_cached_under_its_second_name(self):
        self.occupy()
        self.check(self.deploy('one'), MISS)
        self.check(self.deploy('two'), HIT)
        self.check(self.deploy('three', self.other), HIT)
        self.assertEqual(
            {
                self.other.id: self.base_name,
                self.image.id: self.second_name,
            },
            self.names(),
        )

    def test_the_image_keeps_its_second_name_while_it_is_cached(self):
        self.occupy()
        self.prefetch()
        self.remove(self.other)
        self.check(self.deploy('one'), HIT)
        self.remove(self.image)
        self.check(self.deploy('two'), MISS)
        self.assertEqual({self.image.id: self.base_name}, self.names())

    def test_a_fetch_of_the_other_image_is_not_waited_for(self):
        fill = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.other
        )
        with self.cache.fill_lock(self.base_name, 0):
            self.check(self.deploy('one'), MISS)
            self.check(self.deploy('two'), HIT)
        self.assertEqual(fill, self.record())

    def test_a_wait_ends_when_the_other_image_is_seen(self):
        # It has the lock, and no record so far.
        with self.cache.fill_lock(self.base_name, 0):
            fill = self.new_fill()
            with fill.claim(
                lambda: self.catalog.base_images.start_fill(
                    'pool', self.base_name, self.other
                )
            ):
                self.assertEqual(self.second_name, fill.name)

    def test_an_image_is_never_cached_under_both_names(self):
        self.occupy()
        with self.fill.claim(_nothing):
            self.assertEqual(self.second_name, self.fill.name)
            self.remove(self.other)
            fill = self.new_fill()
            with fill.claim(_nothing):
                self.assertEqual(self.base_name, fill.name)
                fill.create(self.image)
                self.assertRaises(
                    exceptions.CatalogConflict, self.fill.create, self.image
                )
        self.assertEqual({self.image.id: self.base_name}, self.names())

    def test_an_image_with_a_second_name_cannot_be_adopted(self):
        self.occupy()
        self.prefetch()
        self.remove(self.other)
        self.driver.add(self.base_name)
        self.assertRaises(
            exceptions.ImageNotAdoptable,
            adoption.adopt,
            self.cache,
            self.image,
        )

    def test_both_images_are_evicted_and_purged(self):
        self.occupy()
        self.prefetch()
        done = removal.remove(
            self.cache, self.catalog.base_images.list('pool')
        )
        self.assertEqual([True, True], [each.removed for each in done])
        self.check_nothing_left()


class CreateTest(FillTestCase):
    def test_record_is_written_before_the_disk(self):
        seen = []
        self.driver.before['create_disks'] = lambda new: seen.append(
            self.record()
        )
        self.fill.create(self.image)
        (record,) = seen
        self.assertEqual((POPULATING, None), (record.state, record.udid))

    def test_disk_is_recorded_with_its_label(self):
        (disk,) = self.fill.create(self.image)
        record = self.record()
        self.assertEqual(
            (disk.udid, disk.capacity), (record.udid, record.capacity)
        )
        self.assertEqual(ownership.label(record.fill_id), disk.label)
        self.assertTrue(self.catalog.pools.keeps_labels('pool'))

    def test_lost_label_is_recorded(self):
        self.driver.keeps_labels = False
        self.fill.create(self.image)
        self.assertFalse(self.catalog.pools.keeps_labels('pool'))

    def test_other_disks_are_created_in_the_same_request(self):
        disks = self.fill.create(self.image, [INSTANCE])
        self.assertEqual(
            [self.base_name, 'disk'], [each.name for each in disks]
        )
        self.assertEqual(1, self.driver.calls.count('create_disks'))

    def test_failed_create_deletes_all_its_disks_and_the_record(self):
        self.catalog.broken = {'base_images.set_disk'}
        self.assertRaises(
            exceptions.CatalogError, self.fill.create, self.image, [INSTANCE]
        )
        self.check_nothing_left()
        self.assertFalse(self.disks.may_exist('disk'))
        self.assertEqual(2, self.driver.calls.count('delete'))

    def test_failure_to_record_labels_deletes_all_its_disks(self):
        self.catalog.broken = {'pools.record_labels'}
        self.assertRaises(
            exceptions.CatalogError, self.fill.create, self.image, [INSTANCE]
        )
        self.check_nothing_left()

    def test_unwritten_record_prevents_the_request(self):
        self.catalog.broken = {'base_images.start_fill'}
        self.assertRaises(
            exceptions.CatalogError, self.fill.create, self.image
        )
        self.assertNotIn('create_disks', self.driver.calls)

    def test_refused_create_removes_the_record(self):
        self.driver.before['create_disks'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.fill.create, self.image
        )
        self.check_nothing_left()

    def test_record_stays_if_the_disk_may_exist(self):
        for error in (
            exceptions.PowerVMUnreachable(url='u', reason='r', hint=''),
            exceptions.DiskUnclear(name='n', reason='r'),
            KeyboardInterrupt(),
        ):

            def fail(new, error=error):
                raise error

            self.driver.before['create_disks'] = fail
            self.assertRaises(type(error), self.fill.create, self.image)
            self.assertIs(POPULATING, self.record().state)
            self.catalog.base_images.remove(self.record())

    def test_existing_instance_disk_is_kept(self):
        foreign = self.driver.add('disk')
        error = self.assertRaises(
            exceptions.DiskExists, self.fill.create, self.image, [INSTANCE]
        )
        self.assertEqual('disk', error.name)
        self.check_only('disk')
        self.assertEqual(foreign, self.driver.find_disk('disk'))
        self.assertIsNone(self.record())

    def test_name_that_is_taken_again_is_occupied(self):
        self.driver.add(self.base_name)

        def take_again(new):
            if self.driver.find_disk(self.base_name) is None:
                self.driver.add(self.base_name)

        self.driver.before['create_disks'] = take_again
        error = self.assertRaises(
            exceptions.BaseImageOccupied, self.fill.create, self.image
        )
        self.assertIn('another process', str(error))
        self.assertEqual(2, self.driver.calls.count('create_disks'))
        self.assertIsNone(self.record())


class CommitTest(FillTestCase):
    def test_committed_image_is_servable(self):
        self.fill.create(self.image)
        self.assertEqual([None], self.write())
        self.assertIsNone(self.fill.servable())
        committed = self.fill.commit(self.image)
        self.check_cached()
        self.assertTrue(checks.is_servable(committed, self.image))
        found = self.fill.servable()
        self.assertEqual(
            (found.fill_id, found.udid, found.capacity),
            (committed.fill_id, committed.udid, committed.capacity),
        )

    def test_base_image_known_to_be_missing_is_not_servable(self):
        self.prefetch()
        record = self.fill.servable()
        self.assertIsNone(self.fill.servable(record.fill_id))
        self.assertIsNotNone(self.fill.servable('another'))

    def test_committed_disk_is_complete(self):
        self.fill.create(self.image)
        self.write()
        self.assertTrue(self.disks.may_exist(self.base_name))
        self.fill.commit(self.image)
        self.assertFalse(self.disks.may_exist(self.base_name))

    def test_replaced_record_is_not_committed(self):
        self.fill.create(self.image)
        self.write()
        self.catalog.base_images.remove(self.record())
        self.assertRaises(
            exceptions.CatalogConflict, self.fill.commit, self.image
        )
        self.assertTrue(self.disks.may_exist(self.base_name))

    def test_progress_is_recorded_and_reported(self):
        self.fill.create(self.image)
        self.write()
        self.assertEqual(self.size, self.record().bytes_done)
        self.assertEqual(('fetch', self.size, self.size), self.reports[-1])

    def test_failure_to_record_progress_is_logged(self):
        self.fill.create(self.image)
        self.catalog.broken = {'base_images.set_progress'}
        self.assertEqual([None], self.write())
        self.assertIn('Could not record the progress', self.logger.output)

    def test_errors_are_returned_in_the_order_of_the_disks(self):
        disks = self.fill.create(self.image, [INSTANCE])

        def refuse_the_instance_disk(disk):
            if disk.name == 'disk':
                fakes.refusal()

        self.driver.before['upload'] = refuse_the_instance_disk
        base_error, error = self.write(disks[1:])
        self.assertIsNone(base_error)
        self.assertIsInstance(error, exceptions.PowerVMRequestFailed)


class RollBackTest(FillTestCase):
    def test_base_image_and_record_are_removed(self):
        self.fill.create(self.image)
        self.fill.roll_back()
        self.check_nothing_left()

    def test_instance_disk_is_kept(self):
        self.fill.create(self.image, [INSTANCE])
        self.fill.roll_back()
        self.check_not_cached('disk')
        self.assertTrue(self.disks.may_exist('disk'))

    def test_failed_stream_deletes_each_disk_once(self):
        disks = self.fill.create(self.image, [INSTANCE])
        self.source.put(self.image, self.content[:CHUNK], KeyboardInterrupt())

        def write():
            with self.fill.undone_on_error():
                self.write(disks[1:])

        self.assertRaises(KeyboardInterrupt, write)
        self.check_nothing_left()
        self.assertEqual(2, self.driver.calls.count('delete'))

    def test_successful_block_is_not_rolled_back(self):
        with self.fill.undone_on_error():
            self.fill.create(self.image)
        self.check_only(self.base_name)
        self.assertIs(POPULATING, self.record().state)

    def test_record_stays_if_the_disk_cannot_be_deleted(self):
        (disk,) = self.fill.create(self.image)
        self.driver.before['delete'] = fakes.refusal
        self.fill.roll_back()
        self.assertEqual(
            (POPULATING, disk.udid), (self.record().state, self.record().udid)
        )
        self.assertIn('Could not delete incomplete disk', self.logger.output)

    def test_record_that_cannot_be_removed_is_logged(self):
        self.fill.create(self.image)
        self.catalog.broken = {'base_images.remove'}
        self.fill.roll_back()
        self.check_only()
        self.assertIn('Could not remove the record', self.logger.output)

    def test_nothing_is_done_before_the_first_create(self):
        self.fill.roll_back()
        self.assertEqual([], self.driver.calls)


class CarriedFillIdTest(FillTestCase):
    """A crashed process requested a disk that may still appear."""

    def test_new_record_carries_the_fill_id(self):
        carried = self.crash()
        self.fill.clear_previous(None, _nothing)
        self.fill.create(self.image)
        self.assertEqual(carried, self.record().fill_id)
        self.write()
        self.fill.commit(self.image)
        self.check_cached()

    def test_record_is_replaced_only_by_create(self):
        carried = self.crash()
        self.fill.clear_previous(None, _nothing)
        self.check_carried(carried)

    def test_fill_id_survives_a_refused_create(self):
        carried = self.crash()
        self.fill.clear_previous(None, _nothing)
        self.driver.before['create_disks'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.fill.create, self.image
        )
        self.check_carried(carried)

    def test_fill_id_survives_a_rolled_back_write(self):
        carried = self.crash()
        self.fill.clear_previous(None, _nothing)
        self.fill.create(self.image)
        self.fill.roll_back()
        # The UDID was that of our disk.
        self.check_carried(carried)
        self.check_only()

    def test_fill_id_survives_several_attempts(self):
        carried = self.crash()
        for _ in range(3):
            self.fill.clear_previous(None, _nothing)
            self.fill.create(self.image)
            self.fill.roll_back()
        self.check_carried(carried)

    def test_late_disk_is_deleted_when_it_has_the_name(self):
        carried = self.crash()
        self.fill.clear_previous(None, _nothing)
        # Only its label identifies it; its size may be any.
        late = self.driver.add(
            self.base_name, 7, label=ownership.label(carried)
        )
        (disk,) = self.fill.create(self.image)
        self.assertNotEqual(late.udid, disk.udid)
        self.check_only(self.base_name)

    def test_mapped_late_disk_is_kept(self):
        carried = self.crash()
        self.fill.clear_previous(None, _nothing)
        late = self.driver.add(self.base_name, label=ownership.label(carried))
        self.driver.taken = {self.base_name}
        self.assertRaises(
            exceptions.BaseImageOccupied, self.fill.create, self.image
        )
        self.assertEqual(late, self.driver.find_disk(self.base_name))
        self.check_carried(carried)

    def test_fill_id_is_dropped_when_its_disk_was_deleted(self):
        carried = self.crash()
        self.fill.clear_previous(None, _nothing)
        self.driver.add(self.base_name, label=ownership.label(carried))
        self.fill.clear_previous(None, _nothing)
        self.check_only()
        self.fill.create(self.image)
        self.assertNotEqual(carried, self.record().fill_id)
        self.fill.roll_back()
        self.check_nothing_left()


class ClearPreviousTest(FillTestCase):
    def test_mapped_stale_disk_is_kept_on_record(self):
        stale = self.leave_behind()
        self.driver.taken = {self.base_name}
        self.assertRaises(
            exceptions.BaseImageOccupied,
            self.fill.clear_previous,
            None,
            _nothing,
        )
        self.check_only(self.base_name)
        self.assertEqual(stale, self.record())

    def test_stale_disk_that_cannot_be_deleted_is_kept_on_record(self):
        stale = self.leave_behind()
        self.driver.before['delete'] = fakes.refusal
        error = self.assertRaises(
            exceptions.BaseImageOccupied,
            self.fill.clear_previous,
            None,
            _nothing,
        )
        self.assertIn('could not be removed', str(error))
        self.assertEqual(stale, self.record())

    def test_record_of_a_foreign_disk_is_removed(self):
        self.leave_behind()
        self.driver.vanish(self.base_name)
        foreign = self.driver.add(self.base_name)
        self.assertRaises(
            exceptions.BaseImageOccupied,
            self.fill.clear_previous,
            None,
            _nothing,
        )
        self.assertEqual(foreign, self.driver.find_disk(self.base_name))
        self.assertIsNone(self.record())

    def test_missing_base_image_is_removed_from_the_catalog(self):
        self.prefetch()
        self.driver.vanish(self.base_name)
        self.fill.clear_previous(self.record().fill_id, _nothing)
        self.assertIsNone(self.record())

    def test_no_record_needs_no_request(self):
        self.fill.clear_previous(None, _nothing)
        self.assertEqual([], self.driver.calls)


class StaleBaseImageTest(base.CacheTestCase):
    """A process crashed while it filled a base image."""

    def test_stale_disk_is_deleted_and_fetched_again(self):
        left = self.leave_behind()
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertNotEqual(left.udid, self.record().udid)
        self.assertEqual(set(), self.driver.uploads)

    def test_stale_disk_without_a_recorded_udid_is_deleted(self):
        self.leave_behind(udid=False)
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertEqual(set(), self.driver.uploads)

    def test_stale_record_without_a_disk_is_replaced(self):
        self.catalog.base_images.start_fill('pool', self.base_name, self.image)
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_disk_of_another_size_is_kept(self):
        self.leave_behind(udid=False, gib=7, label='')
        foreign = self.driver.find_disk(self.base_name)
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn('untracked disk', done.reason)
        self.assertIn('7 GiB', done.reason)
        self.assertEqual(foreign, self.driver.find_disk(self.base_name))

    def test_untracked_disk_beside_a_stale_record_is_replaced(self):
        # It has no label, so it does not belong to the stale record.
        self.catalog.base_images.start_fill('pool', self.base_name, self.image)
        old = self.driver.add(self.base_name)
        self.check(self.deploy(), MISS)
        self.check_cached()
        self.assertNotEqual(old.udid, self.record().udid)

    def test_disk_with_another_udid_is_kept(self):
        self.leave_behind()
        self.driver.vanish(self.base_name)
        foreign = self.driver.add(self.base_name)
        self.check(self.deploy(), BYPASS)
        self.assertEqual(foreign, self.driver.find_disk(self.base_name))

    def test_stale_base_image_is_never_served(self):
        self.leave_behind(written=self.size)
        self.assertFalse(checks.is_servable(self.record(), self.image))

    def test_stale_fill_of_an_image_with_the_same_disk_name_is_left(self):
        left = self.leave_behind()
        image = dataclasses.replace(self.image, id=self.image.id[:-4] + 'ffff')
        self.source.put(image, *fakes.chunks(self.content))
        self.check(self.deploy('one', image), MISS)
        self.check(self.deploy('two', image), HIT)
        self.assertEqual(left, self.record())

    def test_record_stays_until_the_stale_disk_is_deleted(self):
        self.leave_behind()
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(exceptions.PVMImageCacheError, self.prefetch)
        self.assertIs(POPULATING, self.record().state)
        del self.driver.before['delete']
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_fill_in_progress_is_left_alone(self):
        left = self.leave_behind()
        self.settings = cache_module.Settings(fetch_timeout=0)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.check(self.deploy(), BYPASS)
        self.assertEqual(left, self.record())
        self.assertIn(left.udid, self.driver.uploads)


class AdoptedBaseImageTest(base.CacheTestCase):
    """Its disk has the label of a catalog that was lost."""

    def setUp(self):
        super().setUp()
        self.prefetch()
        self.lost = self.record()
        self.catalog.base_images.remove(self.lost)
        adoption.adopt(self.cache, self.image)

    def test_adopted_disk_belongs_to_its_new_record(self):
        record = self.record()
        self.assertNotEqual(self.lost.fill_id, record.fill_id)
        self.assertEqual(
            ownership.label(record.fill_id),
            self.driver.find_disk(self.base_name).label,
        )

    def test_changed_content_replaces_the_adopted_disk(self):
        self.content = self.content[::-1]
        self.image = base.image_of(self.content)
        self.source.put(self.image, *fakes.chunks(self.content))
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_interrupted_eviction_deletes_the_adopted_disk(self):
        self.catalog.base_images.start_eviction(self.record())
        reconciler.reconcile(self.cache)
        self.check_nothing_left()


class _Clock:
    """A clock that a test sets."""

    now = 100.0

    def monotonic(self):
        return self.now


class _PolledLocks(locks.LockDirectory):
    """Locks that are waited for, and keep what bounds the wait."""

    seconds_left = None

    @contextlib.contextmanager
    def hold(self, name, timeout):
        if not timeout:
            raise exceptions.LockTimeout(seconds=0, what=name, holder='h')
        self.seconds_left = timeout
        yield


class ProgressDeadlineTest(FillTestCase):
    """A wait for another fetch is bounded by its progress."""

    def setUp(self):
        super().setUp()
        self.clock = _Clock()
        self.patch(base_image, 'time', self.clock)
        self.locks = _PolledLocks(self.path('unused'))
        self.settings = cache_module.Settings(fetch_timeout=60)
        with self.new_fill().claim(_nothing):
            pass

    def _left(self, seconds, done=None):
        """Return the seconds that are left, after a time and progress."""
        self.clock.now += seconds
        if done is not None:
            self.catalog.base_images.set_progress(self.record(), done)
        return self.locks.seconds_left()

    def test_wait_ends_without_a_fetch(self):
        self.assertEqual(60, self._left(0))
        self.assertEqual(50, self._left(10))
        self.assertEqual(0, self._left(50))

    def test_progress_extends_the_wait(self):
        self.crash()
        self.assertEqual(60, self._left(10, 1))
        self.assertEqual(50, self._left(10, 1))
        self.assertEqual(60, self._left(40, 2))
        self.assertEqual(
            [('wait', done, self.size) for done in (1, 1, 2)], self.reports
        )

    def test_new_fetch_extends_the_wait(self):
        self.crash()
        self.assertEqual(60, self._left(10, 1))
        self.catalog.base_images.remove(self.record())
        self.crash()
        self.assertEqual(60, self._left(50, 1))

    def test_catalog_is_read_twice_a_second_at_most(self):
        self.crash()
        self._left(10, 1)
        self._left(0.1, 2)
        self.assertEqual(1, len(self.reports))
        self._left(0.4)
        self.assertEqual(2, len(self.reports))
