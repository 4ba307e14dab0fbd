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

from unittest import mock

from pypowervm import exceptions as pvm_exceptions

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import driver
from pvm_imagecache.drivers.localdisk import volume_group
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

GIB = base.GIB
new = volume_groups.new


class FromConfTest(base.TestCase):
    def test_a_volume_group_is_required(self):
        error = self.assertRaises(
            exceptions.ConfigurationError,
            driver.LocalDiskDriver.from_conf,
            self.make_conf(),
        )
        self.assertIn('volume_group_name', str(error))

    def test_a_driver_is_made_without_a_request(self):
        made = driver.LocalDiskDriver.from_conf(
            self.make_conf(
                volume_group_name='vg', vios_name='v', host='nowhere.invalid'
            )
        )
        made.close()
        self.assertEqual(
            {driver_base.Capability.IMAGE_CACHE}, made.capabilities
        )
        self.assertEqual(15, made.max_name_length)


class LocalDiskDriverTest(base.TestCase):
    def setUp(self):
        super().setUp()
        lock_directory = locks.LockDirectory(self.path('locks'))
        self.powervm = volume_groups.MemoryPowerVM()
        group = self.powervm.group(lock_directory)
        self.patch(
            volume_group, 'find', mock.Mock(spec=[], return_value=group)
        )
        self.driver = driver.LocalDiskDriver(
            self.powervm, 'image_pool', None, lock_directory
        )

    def _names(self):
        return {disk.name for disk in self.driver.snapshot().disks}

    def test_the_pool_has_the_space_of_the_group(self):
        pool = self.driver.pool()
        self.assertEqual(
            ('vg', 'image_pool', 1063 * GIB, 997 * GIB, 66 * GIB),
            (pool.id, pool.name, pool.capacity, pool.free, pool.used),
        )
        self.assertEqual('vg', self.driver.pool_id())
        snapshot = self.driver.snapshot()
        found, disks = snapshot.pool, snapshot.disks
        self.assertEqual(pool, found)
        self.assertEqual(32, len(disks))

    def test_the_id_of_the_pool_needs_no_request(self):
        self.driver.pool_id()
        self.assertEqual([], self.powervm.requests)

    def test_disks_are_found_by_name(self):
        self.assertEqual(10 * GIB, self.driver.find_disk('aix_disk1').capacity)
        self.assertIsNone(self.driver.find_disk('none'))

    def test_disks_are_created_and_deleted(self):
        disks = self.driver.create_disks([new('a'), new('b', 2)])
        self.assertEqual([['a', 'b']], self.powervm.updates)
        self.assertEqual(
            disks, [self.driver.find_disk('a'), self.driver.find_disk('b')]
        )
        self.assertEqual(
            [driver_base.Deletion(disk) for disk in disks],
            self.driver.delete_disks(disks),
        )
        self.assertEqual(32, len(self._names()))

    def test_a_copy_is_never_smaller_than_its_source(self):
        source = self.driver.find_disk('aix_disk1')
        self.assertEqual(
            10 * GIB, self.driver.copy_disk(source, new('a')).capacity
        )
        self.assertEqual(
            12 * GIB, self.driver.copy_disk(source, new('b', 12)).capacity
        )

    def test_an_invalid_source_is_not_copied(self):
        source = self.driver.find_disk('asdf')
        self.assertRaises(
            exceptions.BaseImageGone,
            self.driver.copy_disk,
            source,
            new('a'),
            lambda: False,
        )
        self.assertNotIn('a', self._names())

    def test_deleting_nothing_needs_no_request(self):
        self.assertEqual([], self.driver.delete_disks([]))
        self.assertEqual([], self.powervm.requests)

    def test_deleting_a_missing_disk_is_no_error(self):
        gone = driver_base.Disk('gone', 'u', GIB)
        asdf = self.driver.find_disk('asdf')
        self.assertEqual(
            [driver_base.Deletion(gone), driver_base.Deletion(asdf)],
            self.driver.delete_disks([gone, asdf]),
        )
        self.assertNotIn('asdf', self._names())

    def _refuse(self, status, name):
        def refuse(created, deleted):
            if name in deleted:
                raise volume_groups.refusal(status)

        self.powervm.before_update = refuse

    def test_a_disk_that_cannot_be_deleted_stays_alone(self):
        disks = [
            self.driver.find_disk(name)
            for name in ('asdf', 'asdf2', 'aix_disk1')
        ]
        for status, kind in (
            (400, exceptions.PowerVMRequestFailed),
            (503, exceptions.PowerVMBusy),
        ):
            self._refuse(status, 'asdf2')
            deletions = self.driver.delete_disks(disks)
            self.assertEqual(disks, [each.disk for each in deletions])
            self.assertIsNone(deletions[0].error)
            self.assertIsInstance(deletions[1].error, kind)
            self.assertIsNone(deletions[2].error)
        self.assertIn('asdf2', self._names())
        self.assertEqual(30, len(self._names()))

    def test_nothing_is_deleted_alone_while_powervm_is_away(self):
        tries = []

        def away(created, deleted):
            tries.append(deleted)
            raise pvm_exceptions.TimeoutError('timed out')

        disks = self.driver.snapshot().disks[:3]
        self.powervm.before_update = away
        self.assertRaises(
            exceptions.PowerVMUnreachable, self.driver.delete_disks, disks
        )
        self.assertEqual([[each.name for each in disks]], tries)

    def test_a_deletion_after_a_snapshot_needs_no_read(self):
        for snapshot in (
            self.driver.snapshot,
            self.driver.base_image_snapshot,
        ):
            disk = self.driver.find_disk(self.powervm.names()[0])
            snapshot()
            self.powervm.requests.clear()
            self.driver.delete_disks([disk])
            self.assertEqual(['POST'], self.powervm.requests)
            self.assertNotIn(disk.name, self.powervm.names())

    def test_no_disks_are_mapped_without_a_request(self):
        self.assertEqual(set(), self.driver.mapped([]))
        self.assertEqual([], self.powervm.requests)

    def test_the_group_is_looked_for_again_when_it_is_gone(self):
        self.driver.pool()
        self.driver.pool()
        self.assertEqual(1, volume_group.find.call_count)
        group = volume_group.find.return_value
        group.gone = True
        self.driver.pool_id()
        self.assertEqual(2, volume_group.find.call_count)
