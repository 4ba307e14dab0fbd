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

"""The driver for volume groups, without a server."""

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import driver
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

GIB = base.GIB
new = volume_groups.new


class FromConfTest(base.TestCase):
    def test_needs_a_volume_group(self):
        error = self.assertRaises(
            exceptions.ConfigurationError,
            driver.LocalDiskDriver.from_conf,
            self.make_conf(),
        )
        self.assertIn('volume_group_name', str(error))

    def test_made_without_a_request(self):
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


class LocalDiskTest(base.TestCase):
    def setUp(self):
        super().setUp()
        lock_directory = locks.LockDirectory(self.path('locks'))
        self.group = volume_groups.MemoryGroup(lock_directory)
        self.driver = driver.LocalDiskDriver(
            None, 'image_pool', None, lock_directory
        )
        self.driver._found = self.group

    def _names(self):
        return {disk.name for disk in self.driver.snapshot().disks}

    def test_pool(self):
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
        self.assertEqual(0, self.group.reads)

    def test_find(self):
        self.assertEqual(10 * GIB, self.driver.find_disk('aix_disk1').capacity)
        self.assertIsNone(self.driver.find_disk('none'))

    def test_create_and_delete(self):
        disks = self.driver.create_disks([new('a'), new('b', 2)])
        self.assertEqual([['a', 'b']], self.group.updates)
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

    def test_a_copy_of_what_is_not_valid(self):
        source = self.driver.find_disk('asdf')
        self.assertRaises(
            exceptions.BaseImageGone,
            self.driver.copy_disk,
            source,
            new('a'),
            lambda: False,
        )
        self.assertNotIn('a', self._names())

    def test_nothing_to_delete(self):
        self.assertEqual([], self.driver.delete_disks([]))
        self.assertEqual(0, self.group.reads)

    def test_deletion_of_what_is_gone_is_no_error(self):
        gone = driver_base.Disk('gone', 'u', GIB)
        asdf = self.driver.find_disk('asdf')
        self.assertEqual(
            [driver_base.Deletion(gone), driver_base.Deletion(asdf)],
            self.driver.delete_disks([gone, asdf]),
        )
        self.assertNotIn('asdf', self._names())

    def _refuse(self, kind, name):
        def refuse(batch):
            if any(
                operation.disk.name == name
                for request in batch
                for operation in request.operations
            ):
                raise kind(action='delete it', reason='it is in use')

        self.group.before_update = refuse

    def test_one_that_can_not_be_deleted_stays_alone(self):
        disks = [
            self.driver.find_disk(name)
            for name in ('asdf', 'asdf2', 'aix_disk1')
        ]
        for kind in (exceptions.PowerVMRequestFailed, exceptions.PowerVMBusy):
            self._refuse(kind, 'asdf2')
            removals = self.driver.delete_disks(disks)
            self.assertEqual(disks, [each.disk for each in removals])
            self.assertIsNone(removals[0].error)
            self.assertIsInstance(removals[1].error, kind)
            self.assertIsNone(removals[2].error)
        self.assertIn('asdf2', self._names())
        self.assertEqual(30, len(self._names()))

    def test_where_powervm_is_away_nothing_is_tried_alone(self):
        tries = []

        def away(batch):
            tries.append(batch)
            raise exceptions.PowerVMUnreachable(url='u', reason='r', hint='')

        disks = self.driver.snapshot().disks[:3]
        self.group.before_update = away
        self.assertRaises(
            exceptions.PowerVMUnreachable, self.driver.delete_disks, disks
        )
        self.assertEqual(1, len(tries))
