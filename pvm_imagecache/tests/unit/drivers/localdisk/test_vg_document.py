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

import dataclasses

from oslo_utils import units
from pypowervm import const as pvm_const
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import vg_document
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

GIB = base.GIB
_UOM = f'{{{pvm_const.UOM_NS}}}'


class DocumentTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()

    def _document(self):
        return vg_document.Document(self.wrapper)

    def test_all_disks_of_a_real_host_are_listed(self):
        document = self._document()
        self.assertEqual(
            [
                (disk.name, disk.udid, int(disk.capacity * GIB))
                for disk in self.wrapper.virtual_disks
            ],
            [(disk.name, disk.udid, disk.capacity) for disk in document.disks],
        )
        self.assertEqual(32, len(document.udids))
        self.assertEqual(
            (1063 * GIB, 997 * GIB), (document.capacity, document.free)
        )

    def test_the_smaller_value_of_free_space_counts(self):
        element = self.wrapper.entry.element.element
        for tag, free in (('AvailableSize', 5), ('FreeSpace', 3)):
            element.find(f'{_UOM}{tag}').text = str(free)
            self.assertEqual(free * GIB, self._document().free)
        element.remove(element.find(f'{_UOM}FreeSpace'))
        self.assertEqual(5 * GIB, self._document().free)
        element.remove(element.find(f'{_UOM}AvailableSize'))
        self.assertEqual(0, self._document().free)

    def test_the_limit_of_logical_volumes_may_be_unknown(self):
        element = self.wrapper.entry.element.element.find(
            f'{_UOM}MaximumLogicalVolumes'
        )
        for text, limit in (
            ('256', 256),
            ('0', None),
            ('', None),
            ('x', None),
        ):
            element.text = text
            self.assertEqual(limit, self._document().max_disks)
        element.getparent().remove(element)
        self.assertIsNone(self._document().max_disks)
        self.assertEqual(32, self._document().disk_count)

    def test_file_backed_disks_are_named_by_their_last_component(self):
        volume_groups.change(self.wrapper, 'asdf', DiskName=' /var/vio/a ')
        document = self._document()
        self.assertEqual([], document.named('asdf'))
        (disk,) = document.named('a')
        self.assertTrue(document.has(disk))
        document.delete(disk)
        self.assertEqual(31, len(volume_groups.elements(self.wrapper)))

    def test_several_disks_of_one_name_are_distinguished(self):
        volume_groups.change(self.wrapper, 'asdf', DiskName='asdf2')
        document = self._document()
        one, other = document.named('asdf2')
        self.assertNotEqual(one.udid, other.udid)
        document.delete(one)
        self.assertEqual([other], document.named('asdf2'))
        self.assertFalse(document.has(one))
        self.assertTrue(document.has(other))

    def test_a_disk_is_known_by_name_and_udid(self):
        document = self._document()
        (disk,) = document.named('asdf')
        self.assertTrue(document.has(disk))
        for name, udid in (('asdf2', disk.udid), ('asdf', 'other')):
            self.assertFalse(
                document.has(driver_base.Disk(name, udid, disk.capacity))
            )

    def test_a_disk_with_another_label_is_another_disk(self):
        ours, theirs = (f'imagecache_{each * 10}_5e1f0c2a' for each in 'ab')
        volume_groups.change(self.wrapper, 'asdf', DiskLabel=ours)
        document = self._document()
        (disk,) = document.named('asdf')
        for label, same in (
            (ours, True),
            (theirs, False),
            ('', True),
        ):
            wanted = dataclasses.replace(disk, label=label)
            self.assertEqual(same, document.has(wanted))

    def test_a_label_that_the_platform_changed_says_nothing(self):
        ours = 'imagecache_aaaaaaaaaa_5e1f0c2a'
        for label in ('None', '', ours[:-1], ours.upper(), 'theirs'):
            volume_groups.change(self.wrapper, 'asdf', DiskLabel=label)
            document = self._document()
            (disk,) = document.named('asdf')
            self.assertTrue(
                document.has(dataclasses.replace(disk, label=ours))
            )

    def test_delete_removes_one_element(self):
        document = self._document()
        before = [disk.udid for disk in self.wrapper.virtual_disks]
        (disk,) = document.named('asdf')
        document.delete(disk)
        before.remove(disk.udid)
        self.assertEqual(
            before, [disk.udid for disk in self.wrapper.virtual_disks]
        )
        self.assertEqual(set(before), document.udids)
        self.assertEqual([], document.named('asdf'))

    def test_nothing_handed_out_is_part_of_the_document(self):
        """Appending it elsewhere must not delete a disk (poaching)."""
        document = self._document()
        for disk in document.disks:
            self.assertIs(driver_base.Disk, type(disk))
            self.assertEqual(
                {'name', 'udid', 'capacity', 'label'}, set(vars(disk))
            )
        document.disks.clear()
        document.udids.clear()
        self.assertEqual(32, len(document.disks))
        self.assertEqual(32, len(volume_groups.elements(self.wrapper)))

    def test_base_images_are_the_disks_with_such_names(self):
        volume_groups.change(
            self.wrapper, 'asdf', DiskName=' /var/vio/i_0123abcd_4567 '
        )
        volume_groups.change(self.wrapper, 'asdf2', DiskName='i_asdf')
        document = self._document()
        (disk,) = document.named('i_0123abcd_4567')
        self.assertEqual([disk], document.base_images())
        document.delete(disk)
        self.assertEqual([], document.base_images())

    def test_a_new_disk_does_not_exist_yet(self):
        document = self._document()
        document.append(pvm_storage.VDisk.bld(None, 'new', 1))
        self.assertEqual(32, len(document.udids))
        self.assertNotIn('', document.udids)

    def test_a_group_without_disks_is_empty(self):
        for element in volume_groups.elements(self.wrapper):
            element.getparent().remove(element)
        self.assertEqual([], self._document().disks)
        self.assertEqual([], self._document().base_images())

    def test_a_disk_without_properties_is_listed(self):
        element = volume_groups.elements(self.wrapper)[0]
        for child in list(element):
            element.remove(child)
        self.assertIn(driver_base.Disk('', '', 0), self._document().disks)


class ReadTest(base.TestCase):
    """All disks are read in one iteration, whatever they lack."""

    def setUp(self):
        super().setUp()
        self.wrapper = volume_groups.recorded()

    def check(self):
        """Compare the disks with a search in each element."""
        self.assertEqual(
            [
                (
                    element.findtext(f'{_UOM}DiskName') or '',
                    element.findtext(f'{_UOM}UniqueDeviceID') or '',
                    round(
                        float(element.findtext(f'{_UOM}DiskCapacity') or 0)
                        * units.Gi
                    ),
                    element.findtext(f'{_UOM}DiskLabel') or '',
                )
                for element in volume_groups.elements(self.wrapper)
            ],
            [
                (disk.name, disk.udid, disk.capacity, disk.label)
                for disk in vg_document.Document(self.wrapper).disks
            ],
        )

    def drop(self, position, tag):
        element = volume_groups.elements(self.wrapper)[position]
        element.remove(element.find(f'{_UOM}{tag}'))

    def test_a_recorded_answer_is_read(self):
        self.check()
        self.assertEqual(32, len(vg_document.Document(self.wrapper).disks))

    def test_a_disk_without_label_is_read(self):
        self.drop(3, 'DiskLabel')
        self.check()

    def test_disks_that_lack_different_elements_are_read(self):
        # As many elements of each kind as if one disk were missing.
        for position, tag in enumerate(
            ('DiskLabel', 'DiskCapacity', 'DiskName', 'DiskLabel')
        ):
            self.drop(position, tag)
        self.check()

    def test_elements_in_another_order_are_read(self):
        for element in volume_groups.elements(self.wrapper):
            element[:] = reversed(element)
        self.check()

    def test_a_group_without_disks_is_read(self):
        for element in volume_groups.elements(self.wrapper):
            element.getparent().remove(element)
        self.check()
