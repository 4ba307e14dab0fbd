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

"""Tests of the disposal of disks that crashed processes left incomplete."""

import dataclasses

import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

GIB = base.GIB
DELETED, ABSENT = disposal.Disposal.DELETED, disposal.Disposal.ABSENT
MAY_APPEAR, FOREIGN = disposal.Disposal.MAY_APPEAR, disposal.Disposal.FOREIGN
MAPPED = disposal.Disposal.MAPPED


class DisposalTestCase(base.CacheTestCase):
    """Records of both kinds, as a process leaves them that crashes."""

    def begin_base_image(self, udid=None):
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        if udid is not None:
            self.catalog.base_images.set_disk(record, udid, GIB)
        return self.record()

    def begin_instance_disk(self, udid=None):
        entry = self.catalog.instance_disks.start('pool', 'disk', GIB)
        if udid is not None:
            self.catalog.instance_disks.set_udid(entry, udid)
        (entry,) = self.catalog.instance_disks.list('pool')
        return entry

    def dispose(self, record):
        return disposal.dispose(self.cache, record)

    def let_time_pass(self):
        """No request of a crashed process is still running."""
        self.patch(ownership, 'LONGEST_REQUEST', 0)


class BaseImageTest(DisposalTestCase):
    """What dispose() does with a base image; pools that keep labels."""

    keeps_labels = True

    def setUp(self):
        super().setUp()
        self.driver.keeps_labels = self.keeps_labels
        if not self.keeps_labels:
            self.catalog.pools.record_labels('pool', False)
        self.other = self.driver.add('other')

    def begin(self, udid=None):
        return self.begin_base_image(udid)

    def add_ours(self, record, gib=1):
        return self.driver.add(
            record.disk_name,
            gib,
            b'half',
            ownership.label(record.fill_id),
        )

    def add_foreign(self, record):
        return self.driver.add(record.disk_name, 7, label='theirs')

    def check(self, expected, record, disk=None):
        """Dispose of a record; the disk of the name is ``disk`` then."""
        self.assertIs(expected, self.dispose(record))
        self.assertEqual(disk, self.driver.find_disk(record.disk_name))
        self.assertEqual(self.other, self.driver.find_disk('other'))

    def test_our_disk_is_deleted_if_its_udid_is_not_known(self):
        record = self.begin()
        self.add_ours(record)
        self.check(DELETED, record)

    def test_our_disk_is_deleted_if_its_udid_is_known(self):
        record = self.begin('udid2')
        self.assertEqual('udid2', self.add_ours(record).udid)
        self.check(DELETED, record)

    def test_our_disk_is_deleted_also_after_an_hour(self):
        record = self.begin()
        self.add_ours(record)
        self.let_time_pass()
        self.check(DELETED, record)

    def test_uploads_to_our_disk_are_removed_with_it(self):
        record = self.begin()
        self.driver.uploads = {self.add_ours(record).udid, self.other.udid}
        self.check(DELETED, record)
        self.assertEqual({self.other.udid}, self.driver.uploads)

    def test_a_disk_that_is_not_there_may_still_appear(self):
        self.check(MAY_APPEAR, self.begin())

    def test_a_disk_does_not_appear_after_an_hour(self):
        record = self.begin()
        self.let_time_pass()
        self.check(ABSENT, record)

    def test_a_disk_whose_udid_is_known_does_not_appear_again(self):
        self.check(ABSENT, self.begin('udid9'))

    def test_our_disk_may_appear_while_a_foreign_disk_has_the_name(self):
        record = self.begin()
        self.check(MAY_APPEAR, record, self.add_foreign(record))

    def test_a_foreign_disk_is_kept_after_an_hour(self):
        record = self.begin()
        disk = self.add_foreign(record)
        self.let_time_pass()
        self.check(FOREIGN, record, disk)

    def test_a_foreign_disk_is_kept_if_our_udid_is_known(self):
        record = self.begin('udid9')
        self.check(FOREIGN, record, self.add_foreign(record))

    def test_our_disk_is_kept_while_it_is_mapped(self):
        record = self.begin()
        disk = self.add_ours(record)
        self.driver.taken = {record.disk_name}
        self.check(MAPPED, record, disk)
        self.let_time_pass()
        self.check(MAPPED, record, disk)

    def test_a_foreign_disk_is_not_reported_as_mapped(self):
        record = self.begin('udid9')
        disk = self.add_foreign(record)
        self.driver.taken = {record.disk_name}
        self.check(FOREIGN, record, disk)

    def test_a_disk_that_cannot_be_deleted_is_an_error(self):
        record = self.begin()
        disk = self.add_ours(record)
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.dispose, record
        )
        self.assertEqual(disk, self.driver.find_disk(record.disk_name))

    def test_nothing_is_deleted_if_the_mappings_cannot_be_read(self):
        record = self.begin()
        disk = self.add_ours(record)
        self.driver.before['mapped'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.dispose, record
        )
        self.assertEqual(disk, self.driver.find_disk(record.disk_name))

    def test_a_pool_that_cannot_be_read_is_an_error(self):
        record = self.begin()
        self.driver.before['snapshot'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.dispose, record
        )

    def test_the_record_itself_is_not_changed(self):
        record = self.begin()
        self.add_ours(record)
        self.dispose(record)
        self.assertIn(
            record,
            [
                *self.catalog.base_images.list('pool'),
                *self.catalog.instance_disks.list('pool'),
            ],
        )


class BaseImageWithoutLabelsTest(BaseImageTest):
    """The same in pools that drop labels: the size identifies a disk."""

    keeps_labels = False


class InstanceDiskTest(BaseImageTest):
    """The same with instance disks."""

    def begin(self, udid=None):
        return self.begin_instance_disk(udid)


class InstanceDiskWithoutLabelsTest(InstanceDiskTest):
    keeps_labels = False


class UnknownLabelsTest(DisposalTestCase):
    """It is not known yet whether the pool keeps labels.

    The process that created the first disk crashed before it saw its label.
    """

    def setUp(self):
        super().setUp()
        self.driver.keeps_labels = False

    def test_a_disk_without_label_of_that_name_and_size_is_ours(self):
        record = self.begin_base_image()
        entry = self.begin_instance_disk()
        self.driver.add(self.base_name)
        self.driver.add('disk')
        self.assertIs(DELETED, self.dispose(record))
        self.assertIs(DELETED, self.dispose(entry))
        self.assertEqual([], self.driver.names())

    def test_one_of_another_size_is_foreign(self):
        record = self.begin_base_image()
        entry = self.begin_instance_disk()
        self.driver.add(self.base_name, 5)
        self.driver.add('disk', 5)
        self.let_time_pass()
        self.assertIs(FOREIGN, self.dispose(record))
        self.assertIs(FOREIGN, self.dispose(entry))
        self.assertEqual({self.base_name, 'disk'}, set(self.driver.names()))

    def test_a_disk_without_label_is_foreign_in_a_pool_that_keeps_them(self):
        self.catalog.pools.record_labels('pool', True)
        entry = self.begin_instance_disk()
        self.driver.add('disk')
        self.let_time_pass()
        self.assertIs(FOREIGN, self.dispose(entry))
        self.assertEqual(['disk'], self.driver.names())

    def test_a_disk_without_label_is_ours_once_our_labels_were_dropped(self):
        disposal.record_labels(self.cache, [self.driver.add('other')])
        self.deploy()
        self.assertFalse(self.catalog.pools.keeps_labels('pool'))
        self.driver.vanish('disk')
        entry = self.begin_instance_disk()
        self.driver.add('disk')
        self.assertIs(DELETED, self.dispose(entry))

    def test_one_disk_with_a_label_shows_that_the_pool_keeps_labels(self):
        self.catalog.pools.record_labels('pool', False)
        entry = self.begin_instance_disk()
        disk = self.driver.add('disk')
        self.driver.keeps_labels = True
        self.driver.add('other', label='theirs')
        self.let_time_pass()
        self.assertIs(FOREIGN, self.dispose(entry))
        self.assertEqual(disk, self.driver.find_disk('disk'))

    def test_record_labels_writes_nothing_that_the_disks_do_not_show(self):
        self.catalog.broken = {'pools.record_labels'}
        disposal.record_labels(self.cache, [self.driver.add('other')])
        self.assertRaises(
            exceptions.CatalogError,
            disposal.record_labels,
            self.cache,
            [self.driver.add('new')],
            created_with=['label'],
        )


class UpgradedPlatformTest(DisposalTestCase):
    """A platform that kept labels, and drops them now."""

    def setUp(self):
        super().setUp()
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        self.deploy()
        self.assertTrue(self.catalog.pools.keeps_labels('pool'))
        self.driver.keeps_labels = False
        self.entry = self.catalog.instance_disks.start('pool', 'new', GIB)
        self.driver.add('new')

    def measure(self):
        """What the platform check records."""
        self.catalog.pools.record_labels('pool', False, measured=True)
        self.catalog.platform_facts.record(
            'pool', {'keeps_labels': False}, {}, ''
        )

    def test_a_disk_without_label_is_foreign_until_that_is_measured(self):
        self.assertIs(FOREIGN, self.dispose(self.entry))

    def test_a_disk_without_label_is_ours_afterwards(self):
        self.measure()
        # The disks of before have their labels still.
        disposal.record_labels(self.cache, self.driver.snapshot().disks)
        self.assertFalse(self.catalog.pools.keeps_labels('pool'))
        self.assertIs(DELETED, self.dispose(self.entry))

    def test_a_new_disk_with_its_label_outweighs_the_measurement(self):
        self.measure()
        self.driver.keeps_labels = True
        image, _ = self.another('e3a5d5b6-8a1f-4f0f-9d0a-5d9b1b0c7e11')
        self.deploy('vm2', image)
        self.assertTrue(self.catalog.pools.keeps_labels('pool'))
        self.assertIs(FOREIGN, self.dispose(self.entry))


class DisposePropertyTest(DisposalTestCase):
    """dispose() never deletes what is not certain to be the record's disk."""

    def setUp(self):
        super().setUp()
        # Restored afterwards; the examples set it.
        self.patch(ownership, 'LONGEST_REQUEST', 3600.0)

    @base.generated
    @hypothesis.given(
        is_base_image=strategies.booleans(),
        label=strategies.sampled_from(
            ['ours', 'other fill', 'theirs', 'None', '']
        ),
        udid=strategies.sampled_from([None, 'udid1', 'udid9']),
        gib=strategies.integers(1, 3),
        mapped=strategies.booleans(),
        keeps_labels=strategies.booleans(),
        expired=strategies.booleans(),
    )
    def test_only_the_disk_of_the_record_is_deleted(
        self, is_base_image, label, udid, gib, mapped, keeps_labels, expired
    ):
        begin = (
            self.begin_base_image
            if is_base_image
            else self.begin_instance_disk
        )
        record = begin(udid)
        ownership.LONGEST_REQUEST = 0 if expired else 3600.0
        self.catalog.pools.keeps_labels = lambda pool: keeps_labels
        self.driver = fakes.FakeDriver()
        disk = self.driver.add(
            record.disk_name,
            gib,
            label={
                'ours': ownership.label(record.fill_id),
                'other fill': ownership.label('0' * 32),
            }.get(label, label),
        )
        self.driver.add('other')
        self.driver.taken = {record.disk_name, 'other'} if mapped else set()
        try:
            result = self.dispose(record)
        finally:
            if is_base_image:
                self.catalog.base_images.remove(record)
            else:
                self.catalog.instance_disks.finish(record)
        deleted = record.disk_name not in self.driver.names()
        self.assertIn('other', self.driver.names())
        self.assertEqual(result is DELETED, deleted)
        if deleted:
            self.assertFalse(mapped)
            self.assertNotEqual('other fill', label)
            if label != 'ours':
                self.assertIn(udid, (None, disk.udid))
                if udid is None:
                    self.assertIn(label, driver_base.NO_LABEL)
                    self.assertFalse(keeps_labels)
                    self.assertEqual(1, gib)
        if result is MAPPED:
            self.assertTrue(mapped)
        if result is MAY_APPEAR:
            self.assertEqual((None, False), (udid, expired))
        self.assertIsNot(ABSENT, result)


class LongRequestTest(DisposalTestCase):
    """How long a disk may appear that was requested with its size."""

    def dispose_later(self, name, hours):
        self.catalog.instance_disks.start('pool', name, 1 << 50)
        (record,) = self.catalog.instance_disks.list('pool')
        later = record.started_clock + hours * 3600
        self.patch(self.catalog.clock, 'now', lambda: later)
        return self.dispose(record)

    def test_a_large_copy_may_appear_after_hours(self):
        self.assertEqual(MAY_APPEAR, self.dispose_later('disk', 5))

    def test_a_disk_of_a_platform_check_appears_within_an_hour(self):
        # It asks for a disk that is larger than the pool.
        name = naming.CHECK_DISK_PREFIX + 'ab12'
        self.assertEqual(ABSENT, self.dispose_later(name, 1.01))

    def test_a_disk_of_a_platform_check_is_awaited_for_an_hour(self):
        name = naming.CHECK_DISK_PREFIX + 'ab12'
        self.assertEqual(MAY_APPEAR, self.dispose_later(name, 0.9))


class ShortenedLabelsTest(base.CacheTestCase):
    """A pool that keeps only the beginning of a label."""

    def setUp(self):
        super().setUp()
        self.driver.label_length = 24

    def test_images_are_served_and_removed(self):
        self.check(self.deploy(), instance_disk.Outcome.MISS)
        self.check(self.deploy('vm2'), instance_disk.Outcome.HIT)
        self.assertEqual((), reconciler.reconcile(self.cache).of_others)
        self.check(self.deploy('vm3'), instance_disk.Outcome.HIT)
        (result,) = removal.remove(self.cache, [self.record()])
        self.assertTrue(result.removed)
        self.assertEqual(['disk', 'vm2', 'vm3'], self.driver.names())

    def test_a_shortened_label_is_not_kept(self):
        self.deploy()
        self.assertEqual(24, len(self.driver.find_disk('disk').label))
        reconciler.reconcile(self.cache)
        self.assertFalse(self.catalog.pools.keeps_labels('pool'))

    def test_the_disk_of_a_process_that_knew_no_udid_is_removed(self):
        for length in (1, 10, 11, 24, 29):
            self.driver.label_length = length
            record = self.catalog.base_images.start_fill(
                'pool', self.base_name, self.image
            )
            self.driver.add(
                self.base_name, label=ownership.label(record.fill_id)
            )
            self.assertIs(DELETED, disposal.dispose(self.cache, record))
            self.assertEqual([], self.driver.names())
            self.catalog.base_images.remove(record)

    def test_one_with_the_rest_of_another_label_is_foreign(self):
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        for label in ('theirs', ownership.label('0' * 32)):
            self.driver.add(self.base_name, label=label)
            self.assertIs(FOREIGN, disposal.dispose(self.cache, record))
            self.driver.vanish(self.base_name)

    def test_one_is_foreign_where_another_disk_has_its_whole_label(self):
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        self.driver.add(self.base_name, label=ownership.label(record.fill_id))
        self.driver.label_length = None
        self.driver.add('other', label=ownership.label('0' * 32))
        self.assertIs(FOREIGN, disposal.dispose(self.cache, record))

    def test_a_disk_of_another_catalog_is_not_replaced(self):
        theirs = self.driver.add(
            self.base_name,
            label=ownership.label(models.with_catalog('0' * 32, '0a1b2c3d')),
        )
        self.check(self.deploy(), instance_disk.Outcome.BYPASS)
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_an_incomplete_disk_is_known_by_its_udid(self):
        self.leave_behind()
        found = reconciler.reconcile(self.cache)
        self.assertEqual((self.base_name,), found.removed)
        self.assertEqual([], self.driver.names())


class NameTest(DisposalTestCase):
    """Records that the owner of the state directory wrote."""

    def test_a_disk_that_is_not_named_like_a_base_image_is_foreign(self):
        record = self.begin_base_image()
        disk = self.driver.add('vm1', label=ownership.label(record.fill_id))
        forged = dataclasses.replace(
            record, disk_name='vm1', udid=disk.udid, capacity=disk.capacity
        )
        self.assertIs(FOREIGN, self.dispose(forged))
        self.assertEqual(disk, self.driver.find_disk('vm1'))
        self.driver.vanish('vm1')
        self.assertIs(ABSENT, self.dispose(forged))


class NameTakenTest(DisposalTestCase):
    def test_the_error_names_the_disk_and_the_image(self):
        error = disposal.name_taken(self.cache, self.begin_base_image())
        self.assertIsInstance(error, exceptions.BaseImageOccupied)
        self.assertIn(self.base_name, str(error))
        self.assertIn(self.image.id, str(error))
        self.assertIn('the cache did not create', str(error))


class DeleteLateDiskTest(DisposalTestCase):
    """A disk that a crashed process requested, and that appears later."""

    def setUp(self):
        super().setUp()
        self.entry = self.begin_instance_disk()
        self.disk = self.driver.add(
            'disk', label=ownership.label(self.entry.fill_id)
        )
        self.driver.add('other', label=ownership.label(self.entry.fill_id))

    def delete(self, fill_id=None):
        return disposal.delete_late_disk(
            self.driver, 'disk', fill_id or self.entry.fill_id
        )

    def test_a_late_disk_is_deleted_with_its_uploads(self):
        self.driver.uploads = {self.disk.udid}
        self.assertTrue(self.delete())
        self.assertEqual(['other'], self.driver.names())
        self.assertEqual(set(), self.driver.uploads)
        self.assertFalse(self.delete())

    def test_a_mapped_late_disk_is_kept(self):
        self.driver.taken = {'disk'}
        self.assertFalse(self.delete())
        self.assertEqual(['disk', 'other'], self.driver.names())

    def test_a_disk_of_another_fill_is_kept(self):
        self.assertFalse(self.delete('0' * 32))
        self.assertEqual(['disk', 'other'], self.driver.names())

    def test_a_disk_without_label_is_kept(self):
        self.driver.vanish('disk')
        self.driver.add('disk')
        self.assertFalse(self.delete())
        self.assertEqual(['disk', 'other'], self.driver.names())

    def test_a_late_disk_that_cannot_be_deleted_is_an_error(self):
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.delete)


class FakeDriverTest(base.TestCase):
    def test_the_fake_pool_keeps_labels_as_the_contract_says(self):
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
