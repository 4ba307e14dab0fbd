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

import types

from oslotest import base

from pvm_imagecache.simulator import jobs
from pvm_imagecache.simulator import operations


class FakePartitions:
    """Partitions of which one is known, and whether it runs."""

    def __init__(self):
        self.running = False

    def get(self, uuid):
        return types.SimpleNamespace(running=self.running)

    def power(self, uuid, *, running):
        self.running = running


class OperationsTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.partitions = FakePartitions()
        self.table = operations.Operations(
            self.partitions, lambda udid: udid == 'known'
        ).table()

    def do(self, kind, name, **parameters):
        return self.table[kind, name]('uuid', parameters)

    def refused(self, kind, name, **parameters):
        """Do what must fail; returns the results."""
        return self.assertRaises(
            jobs.JobFailed, self.do, kind, name, **parameters
        ).results

    def test_power_on_starts_a_partition(self):
        self.assertEqual(
            {'returnCode': '0'}, self.do('LogicalPartition', 'PowerOn')
        )
        self.assertTrue(self.partitions.running)

    def test_power_on_fails_for_a_running_partition(self):
        self.partitions.running = True
        results = self.refused('LogicalPartition', 'PowerOn')
        self.assertIn('HSCL3681', results['result'])

    def test_power_off_stops_a_partition(self):
        self.partitions.running = True
        self.do('LogicalPartition', 'PowerOff')
        self.assertFalse(self.partitions.running)

    def test_a_restart_leaves_the_partition_running(self):
        self.partitions.running = True
        self.do('LogicalPartition', 'PowerOff', restart='true')
        self.assertTrue(self.partitions.running)

    def test_power_off_fails_for_a_stopped_partition(self):
        results = self.refused('LogicalPartition', 'PowerOff')
        self.assertIn('HSCL1558', results['result'])

    def test_a_rescan_finds_a_known_disk(self):
        rescan = ('VirtualIOServer', 'RescanVirtualDisk')
        self.assertEqual(
            {'RETURN_CODE': '0'}, self.do(*rescan, VirtualDiskUDID='known')
        )
        self.refused(*rescan, VirtualDiskUDID='unknown')
        self.refused(*rescan)

    def test_closing_a_terminal_always_succeeds(self):
        self.assertEqual(
            {'returnCode': '0'}, self.do('LogicalPartition', 'CloseVterm')
        )
