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

"""Tests of the access to the platform of a volume group."""

from oslo_utils import units
from pypowervm import const as pvm_const

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import access
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups


class AccessTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.powervm = volume_groups.MemoryPowerVM()
        self.group = self.powervm.group(
            locks.LockDirectory(self.path('locks'))
        )
        self.access = access.VolumeGroupAccess(
            self.powervm, self.group, lambda other: other.name
        )

    def new(self, name='a', size=units.Gi):
        return driver_base.NewDisk(name, size, 'raw', 'a_label')

    def test_an_update_is_sent_as_it_is_and_once(self):
        update = self.access.prepare(
            [self.new(size=units.Gi // 64), self.new('b')]
        )
        (first, second) = update.send()
        self.assertEqual(
            ('a', 'b', 'a_label'), (first.name, second.name, first.label)
        )
        self.assertEqual(units.Gi // 64, first.capacity)
        self.assertEqual(['GET', 'POST'], self.powervm.requests)
        self.assertEqual(32 + 2, len(self.powervm.names()))

    def test_an_outdated_etag_is_a_conflict(self):
        update = self.access.prepare([self.new()])
        self.powervm.touch()
        error = self.assertRaises(exceptions.PowerVMRequestFailed, update.send)
        self.assertTrue(self.access.is_conflict(error))
        update = self.access.prepare([self.new()])
        error = self.assertRaises(
            exceptions.PowerVMRequestFailed, update.send, 'etag of before'
        )
        self.assertTrue(self.access.is_conflict(error))
        self.assertEqual(32, len(self.powervm.names()))
        self.assertFalse(
            self.access.is_conflict(exceptions.PowerVMError(reason='x'))
        )
        for status, expected in ((409, True), (412, True), (400, False)):
            failed = exceptions.PowerVMRequestFailed(action='a', reason='b')
            failed.__cause__ = volume_groups.refusal(status)
            self.assertIs(expected, self.access.is_conflict(failed))

    def test_a_copy_has_more_time(self):
        source = driver_base.Disk('s', 'udid', units.Gi)
        self.access.prepare([self.new()], source).send()
        self.access.prepare([self.new('b')]).send()
        self.assertEqual([3600, 1200], self.powervm.timeouts)

    def test_levels_that_are_not_known_are_empty(self):
        for level, expected in (
            ('VIOS 3.1', 'VIOS 3.1'),
            ('Unknown', ''),
            ('', ''),
        ):
            self.group.vios_level = level
            found = self.access.levels()
            self.assertEqual(expected, found.vios)
            self.assertEqual('NovaLink REST API V1_9_0', found.platform)
        self.powervm().session.schema_version = None
        self.assertEqual('', self.access.levels().platform)

    def test_the_limit_of_logical_volumes_is_read(self):
        self.assertEqual(1024, self.access.logical_volume_limit())
        element = self.powervm.wrapper.entry.element.element
        tag = f'{{{pvm_const.UOM_NS}}}MaximumLogicalVolumes'
        for text, expected in (('0', None), ('', None), ('x', None)):
            element.find(tag).text = text
            self.assertEqual(expected, self.access.logical_volume_limit())

    def test_siblings_are_found_by_name_and_id(self):
        self.powervm.others = [self.powervm.wrapper]
        name, uuid = self.powervm.wrapper.name, self.powervm.wrapper.uuid
        self.assertEqual(name, self.access.sibling(name))
        self.assertEqual(name, self.access.sibling_with_id(uuid))
        error = self.assertRaises(
            exceptions.VolumeGroupNotFound, self.access.sibling, 'nope'
        )
        self.assertIn(name, str(error))
