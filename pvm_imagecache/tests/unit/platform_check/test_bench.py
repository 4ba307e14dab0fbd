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

"""Tests of the disks of a platform check."""

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.platform_check import bench as bench_module
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.platform_check import platforms


class BenchTest(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.driver = platforms.Platform()
        self.bench = bench_module.Bench(
            self.cache, self.driver.platform_access()
        )

    def recorded(self):
        return {
            each.disk_name: each.udid
            for each in self.catalog.instance_disks.list('pool')
        }

    def test_disks_have_names_and_labels_of_their_own_and_are_on_record(self):
        seen = []
        self.driver.make, make = (
            lambda *args: (seen.append(self.recorded()), make(*args))[1],
            self.driver.make,
        )
        disks = self.bench.create(count=3)
        names = {each.name for each in disks}
        self.assertEqual(3, len(names))
        for name in names:
            self.assertRegex(name, '^pvmic_chk_[0-9a-f]{4}$')
            naming.check_disk_name(name)
        # Before they exist, and with their UDIDs after that.
        self.assertEqual([dict.fromkeys(names)], seen)
        self.assertEqual(
            {each.name: each.udid for each in disks}, self.recorded()
        )
        self.assertEqual(3, len({each.label for each in disks}))
        self.bench.close()
        self.assertEqual({}, self.recorded())
        self.assertEqual([], self.driver.names())

    def test_a_refused_disk_leaves_no_record(self):
        self.driver.qcow2 = False
        self.assertRaises(
            exceptions.PowerVMRequestFailed,
            self.bench.create,
            file_format='qcow2',
        )
        self.assertEqual({}, self.recorded())

    def test_an_update_is_repeated_after_a_change_of_others(self):
        sends = []
        send = platforms.Update.send

        def changed(update, etag=None):
            sends.append(update)
            if len(sends) == 1:
                self.driver.version += 1
            return send(update, etag)

        self.patch(platforms.Update, 'send', changed)
        self.bench.create()
        self.assertEqual(2, len(sends))

    def test_a_lost_answer_keeps_the_record_unless_the_disk_is_there(self):
        self.driver.unanswered = 1
        self.assertRaises(exceptions.PowerVMTimedOut, self.bench.create)
        self.assertEqual(([], {}), (self.driver.names(), self.recorded()))

        def lose(*args):
            raise exceptions.PowerVMTimedOut(url='u', reason='r', hint='')

        self.driver.make = lose
        self.assertRaises(exceptions.PowerVMTimedOut, self.bench.create)
        # It may still appear: the next cleanup runs look for it.
        self.assertEqual(1, len(self.recorded()))

    def test_a_disk_that_cannot_be_identified_is_reported(self):
        def create_foreign(new, source):
            self.driver.add(new[0].name, label='theirs')
            raise exceptions.PowerVMTimedOut(url='u', reason='r', hint='')

        self.driver.make = create_foreign
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            self.assertRaises(exceptions.PowerVMTimedOut, self.bench.create)
        (name,) = self.driver.names()
        self.assertEqual([name], self.bench.left)
        self.assertIn(name, logs.output[-1])
        # The next cleanup run decides again.
        self.assertEqual([name], list(self.recorded()))

    def test_the_limits_hold_at_any_time(self):
        self.bench.create(count=6)
        for count in (3, 9):
            error = self.assertRaises(
                exceptions.FactNotMeasured, self.bench.create, count=count
            )
            self.assertIn('at most 8 GiB', str(error))
        self.bench.granularity = 4 * units.Gi
        self.assertRaises(exceptions.FactNotMeasured, self.bench.create)
        self.bench.close()
        self.driver.add('big', 97)
        error = self.assertRaises(
            exceptions.FactNotMeasured, self.bench.create, count=2
        )
        self.assertIn('only 3 GiB are free', str(error))
        self.assertEqual({}, self.recorded())

    def test_a_second_disk_of_a_name_is_deleted_again(self):
        (disk,) = self.bench.create()
        self.assertIsNotNone(self.bench.attempt(units.Gi, disk.name))
        self.assertEqual([disk.name], self.driver.names())

        def accept(new, source):
            raise exceptions.DiskUnclear(name='x', reason='there are two')

        self.driver.make = accept
        self.assertIsNone(self.bench.attempt(units.Gi, disk.name))
        self.assertEqual([disk.name], self.driver.names())

    def test_a_disk_that_was_not_refused_is_deleted_again(self):
        self.assertIsNone(self.bench.attempt(units.Gi))
        self.assertEqual(([], {}), (self.driver.names(), self.recorded()))

    def test_an_outdated_etag_is_sent_with_all_disks(self):
        self.driver.add('b_vm1')
        self.assertTrue(self.bench.refuses_stale_etag())
        self.driver.enforced = False
        self.assertFalse(self.bench.refuses_stale_etag())
        self.assertEqual(
            (['b_vm1'], {}), (self.driver.names(), self.recorded())
        )

    def test_prepared_updates_leave_nothing(self):
        with self.bench.prepared(units.Gi, (1, 2)) as (one, two):
            one()
            self.assertRaises(exceptions.PowerVMRequestFailed, two)
        self.assertEqual(([], {}), (self.driver.names(), self.recorded()))
        # Nor if they are not sent.
        with self.bench.prepared(units.Gi, (1,)):
            self.assertEqual(1, len(self.recorded()))
        self.assertEqual({}, self.recorded())

    def test_a_read_may_show_a_new_disk_later(self):
        disks = self.bench.create(count=2)
        snapshot, reads = self.driver.snapshot, []

        def late():
            reads.append(1)
            found = snapshot()
            return driver_base.PoolSnapshot(
                found.pool, found.disks if len(reads) > 2 else []
            )

        self.driver.snapshot = late
        self.bench.delete(*disks)
        self.assertEqual(3, len(reads))
        self.assertEqual([], self.driver.names())

    def test_busy_is_no_refusal(self):
        for error, expected in (
            (exceptions.PowerVMBusy(action='a', reason='b'), False),
            (exceptions.DiskUnclear(name='a', reason='b'), False),
            (platforms.refusal('no'), True),
        ):
            self.assertIs(expected, bench_module.is_refusal(error))
