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

"""Limits that are not bytes: disks of a volume group, and File entries.

Incident 50: the limit of logical volumes is reached while bytes are free.
"""

import types
from typing import Any
from unittest import mock

from oslo_utils import units
from pypowervm.wrappers import vios_file as pvm_file
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import simulator
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests.functional import incidents

SIZE = 2 * units.Mi + 17


class Incident50TooManyDisksTestCase(incidents.IncidentTestCase):
    """At the limit, evicting one base image helps each deploy."""

    volume_groups = (simulator.Group('cachevg', 100),)
    options = 'minimum_age = 0\neviction_policies = lru\n'

    def setUp(self) -> None:
        super().setUp()
        self.cached = [self.store_raw(SIZE, each) for each in (1, 2, 3)]
        for each in self.cached:
            self.manager.prefetch(self.image(each))
        self.new = self.store_raw(SIZE, 4)
        self.limit(0)

    def limit(self, left: int) -> None:
        """Let the volume group take so many more disks."""
        self.powervm.control.change_settings(
            logical_volume_limit=len(self.disks()) + left
        )

    def outcome(self, image_id: str, name: str, **kwargs: Any) -> str:
        return self.deploy(image_id, name, **kwargs).value

    def test_a_miss(self) -> None:
        # Two disks are needed.
        self.assertEqual('miss', self.outcome(self.new, 'vm1'))
        self.assert_cached(self.cached[2], self.new)

    def test_a_miss_while_there_is_one_left(self) -> None:
        self.limit(1)
        self.assertEqual('miss', self.outcome(self.new, 'vm1'))
        self.assert_cached(*self.cached[1:], self.new)

    def test_a_hit(self) -> None:
        self.assertEqual('hit', self.outcome(self.cached[0], 'vm1'))
        self.assert_cached(self.cached[0], self.cached[2])

    def test_a_bypass(self) -> None:
        self.manager = self.other_manager(self.options + 'enabled = false\n')
        self.assertEqual('bypass', self.outcome(self.new, 'vm1'))
        self.assert_cached(*self.cached[1:])

    def test_a_prefetch(self) -> None:
        self.limit(1)
        self.manager.prefetch(self.image(self.new))
        self.assert_cached(*self.cached, self.new)

    def test_the_last_disk_is_for_the_instance(self) -> None:
        for each in self.cached:
            self.manager.pin(each)
        self.limit(1)
        self.assertEqual('bypass', self.outcome(self.new, 'vm1'))
        error = self.assertRaises(
            exceptions.TooManyDisks, self.deploy, self.new, 'vm2'
        )
        # The numbers, and what PowerVM says.
        self.assertIn('4 virtual disks and can have 4', str(error))
        self.assertIn('0516-822', str(error))
        self.assert_cached(*self.cached)

    def test_the_last_image_makes_room_for_its_own_instance(self) -> None:
        self.manager.purge(
            [
                each
                for each in self.manager.list()
                if each.image.id != self.cached[0]
            ]
        )
        self.limit(0)
        self.assertEqual('bypass', self.outcome(self.cached[0], 'vm1'))
        self.assert_cached()

    def test_words_that_are_not_known(self) -> None:
        # The number of disks decides, and not the words.
        self.powervm.control.add_fault(
            'status',
            kind='VolumeGroup.update',
            message='0516-822 mklv: Kein logischer Datentr\u00e4ger.',
            count=1,
        )
        self.assertEqual('miss', self.outcome(self.new, 'vm1'))

    def test_an_unexplained_refusal_far_from_the_limit(self) -> None:
        self.powervm.control.change_settings(logical_volume_limit=255)
        self.powervm.control.add_fault(
            'status',
            kind='VolumeGroup.update',
            message='0516-822 mklv: Unable to create logical volume.',
            count=1,
        )
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.deploy, self.new, 'vm1'
        )
        self.assert_cached(*self.cached)

    def test_usage_shows_it(self) -> None:
        found = self.shell_json('usage')
        self.assertEqual(
            (3, 3), (found['pool_disks'], found['pool_max_disks'])
        )
        self.powervm.control.change_settings(logical_volume_limit=0)
        found = self.shell_json('usage')
        self.assertEqual(
            (3, None), (found['pool_disks'], found['pool_max_disks'])
        )

    def test_the_watermark_policy_respects_it(self) -> None:
        self.manager = self.other_manager(
            'minimum_age = 0\neviction_policies = watermark\n'
            '[pvm_imagecache_watermark]\nhigh = 60\nlow = 40\n'
        )
        self.powervm.control.change_settings(logical_volume_limit=5)
        self.manager.run_cleanup(())
        self.assert_cached(*self.cached)
        self.powervm.control.change_settings(logical_volume_limit=4)
        done = self.manager.run_cleanup(())
        assert done.eviction is not None
        self.assertIn(
            '3 of at most 4 disks', done.eviction.plan.choices[0].reason
        )
        self.assert_cached(self.cached[2])


class FullFileListTestCase(incidents.IncidentTestCase):
    """PowerVM keeps a File entry for each upload, and a hundred of them."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_raw(SIZE)

    def _occupy(self, count: int) -> list[Any]:
        """Make entries of uploads of other software, and no room left."""
        adapter = self.adapter()
        (vios,) = pvm_vios.VIOS.get(adapter)
        self.plant('theirs')
        udid = self.manager.driver.find_disk('theirs').udid
        entries = [
            pvm_file.File.bld(
                adapter,
                f'theirs{number}',
                pvm_file.FileType.DISK_IMAGE,
                vios.uuid,
                f_size=5,
                tdev_udid=udid,
            ).create()
            for number in range(count)
        ]
        self.powervm.control.change_settings(file_limit=count)
        return entries

    def test_it_is_awaited(self) -> None:
        entries = self._occupy(2)
        waits = []

        def end_uploads(seconds: float) -> None:
            waits.append(seconds)
            for each in entries:
                self.adapter().delete(
                    each.schema_type, root_id=each.uuid, service='web'
                )
            entries.clear()

        clock = types.SimpleNamespace(sleep=end_uploads)
        with mock.patch.object(instance_disk, 'time', clock):
            self.assertEqual('miss', self.deploy(self.image_id, 'vm1').value)
        self.assertEqual(1, len(waits))
        self.assertEqual(0, self.file_entries())

    def test_one_entry_is_enough(self) -> None:
        entries = self._occupy(2)
        self.adapter().delete(
            entries[0].schema_type, root_id=entries[0].uuid, service='web'
        )
        self.assertIn(
            self.deploy(self.image_id, 'vm1').value, ('miss', 'bypass')
        )
        self.assertEqual(1, self.file_entries())

    def test_entries_of_others_are_kept(self) -> None:
        self._occupy(1)
        error = self.assertRaises(
            exceptions.FileListFull, self.deploy, self.image_id, 'vm1'
        )
        self.assertIn('no room for another File entry beside 1', str(error))
        self.assertEqual(1, self.file_entries())
        self.assertEqual({'theirs'}, set(self.disks()))

    def test_entries_of_a_crashed_upload_are_removed(self) -> None:
        other = self.store_raw(incidents.HELD_SIZE, 2)
        self.kill_in_the_middle(other, 'vm0')
        # The instance disk may not have had its entry yet.
        entries = self.file_entries()
        self.assertGreater(entries, 0)
        self.powervm.control.change_settings(file_limit=entries)
        self.assertIn(
            self.deploy(self.image_id, 'vm1').value, ('miss', 'bypass')
        )
        self.assertEqual(0, self.file_entries())


class NamesInOtherGroupsTestCase(incidents.IncidentTestCase):
    """verify shows disks of other volume groups that are in the way."""

    volume_groups = (
        simulator.Group('cachevg', 100),
        simulator.Group('datavg', 100),
    )

    def test_verify_names_the_disk_and_its_group(self) -> None:
        image_id = self.store_raw(SIZE)
        name = naming.base_image_name(image_id)
        for each in (name, 'vm1', 'other'):
            self.powervm.control.plant_disk('datavg', each, units.Gi)
        self.assertEqual('bypass', self.deploy(image_id, 'vm0').value)
        self.assertRaises(
            exceptions.DiskExistsElsewhere, self.deploy, image_id, 'vm1'
        )
        done = self.run_shell('verify', '--no-glance', '-f', 'value')
        self.assertEqual(1, done.returncode, done.stderr)
        for each in (name, 'vm1'):
            self.assertIn(
                f'{each} name taken by a disk in volume group datavg',
                done.stdout,
            )
        self.assertNotIn('other', done.stdout)
