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

"""Each behavior of the platform that the simulator can be set to."""

import io
import os
import threading

from pypowervm import exceptions as pvm_exc
from pypowervm.tasks import storage as pvm_storage
from pypowervm.wrappers import storage as storage_wrappers
from pypowervm.wrappers import virtual_io_server

from pvm_imagecache.simulator import control as control_module
from pvm_imagecache.simulator import wordings
from pvm_imagecache.tests.functional import test_simulator

GIB = test_simulator.GIB
MIB = test_simulator.MIB


class SettingsCase(test_simulator.SimulatorCase):
    def setUp(self):
        super().setUp()
        self.set = self.control.change_settings

    def words(self, status, function, *args, **kwargs):
        """The message that a call is refused with."""
        return self.refused(status, function, *args, **kwargs).message

    def other_group(self):
        self.control.add_volume_group('vios1', 'othervg', 10 * GIB)


class CapacitiesTestCase(SettingsCase):
    def test_capacities_are_rounded_up_to_the_granularity(self):
        self.set(granularity=64 * MIB)
        disk = self.create('disk', 1.001)
        self.assertEqual(1.0625, disk.capacity)
        self.assertEqual(GIB + 64 * MIB, os.stat(self.path(disk.udid)).st_size)
        self.assertEqual(2.0, self.create('whole', 2).capacity)

    def test_a_granularity_can_be_as_small_as_a_sector(self):
        self.set(granularity=512)
        # 1,073.7 bytes.
        self.assertEqual(3 * 512 / GIB, self.create('disk', 1e-6).capacity)

    def test_a_change_of_granularity_leaves_disks_as_they_are(self):
        self.create('before', 1.001)
        self.set(granularity=GIB, fractions='refused')
        self.create('after', 1)
        before = self.pick(self.fresh_vg(), 'before')
        self.assertEqual(1026 / 1024, before.capacity)

    def test_fractions_can_be_refused(self):
        self.set(fractions='refused')
        self.assertIn('1.5', self.words(400, self.create, 'disk', 1.5))
        self.assertEqual(2.0, self.create('disk', 2).capacity)

    def test_fractions_can_be_rounded_up(self):
        self.set(fractions='rounded')
        self.assertEqual(2.0, self.create('disk', 1.5).capacity)


class DisksTestCase(SettingsCase):
    def test_labels_can_be_dropped(self):
        self.assertEqual('mine', self.create('kept', label='mine').label)
        self.set(labels='dropped')
        self.assertEqual('None', self.create('dropped', label='mine').label)
        self.assertEqual('mine', self.pick(self.fresh_vg(), 'kept').label)

    def test_labels_can_be_shortened(self):
        label = 'imagecache_0123456789_01234567'
        self.create('kept', label=label)
        self.set(labels='shortened')
        self.assertEqual(label[:16], self.create('cut', label=label).label)
        self.assertEqual('mine', self.create('short', label='mine').label)
        self.assertEqual(label, self.pick(self.fresh_vg(), 'kept').label)

    def test_file_formats_can_be_refused(self):
        self.assertEqual(
            'qcow2', self.create('disk', file_format='qcow2').file_format
        )
        self.set(file_formats='refused')
        self.assertIn(
            'qcow2', self.words(400, self.create, 'new', file_format='qcow2')
        )
        self.create('raw', file_format='raw')
        self.create('none')

    def test_logical_volumes_have_a_limit(self):
        self.assertEqual(0, self.limit())
        self.create('disk0')
        self.set(logical_volume_limit=2)
        self.assertEqual(2, self.limit())
        disk = self.create('disk1')
        words = self.words(500, self.create, 'disk2')
        self.assertIn('maximum number of logical volumes, 2', words)
        pvm_storage.rm_vg_storage(self.fresh_vg(), vdisks=[disk])
        self.create('disk2')
        # A group that has more already only takes no more.
        self.set(logical_volume_limit=1)
        pvm_storage.rm_vg_storage(
            self.fresh_vg(), vdisks=[self.pick(self.fresh_vg(), 'disk2')]
        )

    def limit(self):
        return self.fresh_vg()._get_val_int('MaximumLogicalVolumes')

    def test_copies_to_larger_disks_can_be_refused(self):
        base = self.create('base').udid
        self.create('larger', 2, base_image=base)
        self.set(copy_larger='refused')
        words = self.words(400, self.create, 'again', 2, base_image=base)
        self.assertIn('size of the base image base', words)
        self.create('same', 1, base_image=base)

    def test_names_can_be_unique_for_their_group_only(self):
        self.other_group()
        self.control.plant_disk('othervg', 'disk', GIB)
        self.assertIn('0516-360', self.words(500, self.create, 'disk'))
        self.set(name_scope='vg')
        self.create('disk')
        self.refused(400, self.create, 'disk')


class WordingsTestCase(SettingsCase):
    def test_missing_space_is_worded_as_set(self):
        for wording in wordings.SPACE:
            self.set(space_wording=wording)
            words = self.words(500, self.create, 'disk', 2000)
            self.assertEqual(
                wordings.text(
                    wordings.SPACE,
                    wording,
                    group='cachevg',
                    wanted=2000 * GIB,
                    free=1000 * GIB,
                ),
                words,
            )
            self.assertNotIn('{', words)
        self.set(space_wording='No room in {group} for {wanted}: {free}.')
        self.assertEqual(
            f'No room in cachevg for {2000 * GIB}: {1000 * GIB}.',
            self.words(500, self.create, 'disk', 2000),
        )

    def test_a_name_in_use_is_worded_as_set(self):
        self.other_group()
        self.control.plant_disk('othervg', 'there', GIB)
        self.create('here')
        for name, group in (('here', 'cachevg'), ('there', 'othervg')):
            for wording in wordings.NAME:
                self.set(name_wording=wording)
                words = self.words(
                    400 if wording == 'rest' else 500, self.create, name
                )
                self.assertEqual(
                    wordings.text(
                        wordings.NAME, wording, name=name, group=group
                    ),
                    words,
                )
            self.set(name_wording='Disk {name} is in {group}.')
            self.assertEqual(
                f'Disk {name} is in {group}.',
                self.words(500, self.create, name),
            )

    def test_a_misspelled_wording_is_refused(self):
        for name in ('space_wording', 'name_wording'):
            error = self.assertRaises(
                control_module.ControlError, self.set, **{name: 'mlkv'}
            )
            self.assertIn('mlkv', str(error))
        self.assertEqual('mixed', self.control.settings()['name_wording'])


class UpdatesTestCase(SettingsCase):
    """An update while a copy of another one runs."""

    def setUp(self):
        super().setUp()
        self.base = self.create('base').udid

    def copy(self):
        """Start a copy that takes a few seconds; its thread."""
        self.set(copy_rate=256 * MIB)
        copying = threading.Thread(
            target=self.create,
            args=('copy',),
            kwargs={'base_image': self.base},
        )
        copying.start()
        self.addCleanup(copying.join)
        test_simulator.eventually(
            lambda: len(os.listdir(os.path.join(self.state_dir, 'disks'))) == 2
        )
        return copying

    def end(self, copying):
        self.set(copy_rate=0)
        copying.join()

    def test_an_update_can_be_refused_by_another_one(self):
        self.set(concurrent_updates='refused')
        self.other_group()
        other = next(
            group
            for group in storage_wrappers.VG.get(
                self.adapter, parent=self.vios
            )
            if group.name == 'othervg'
        )
        copying = self.copy()
        self.refused(412, self.create, 'disk')
        # It is of this volume group only.
        other.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'elsewhere', 1)
        )
        other.update()
        self.end(copying)
        self.create('disk')
        self.assertEqual(['base', 'copy', 'disk'], self.names())

    def test_an_update_can_find_the_vios_busy(self):
        self.set(concurrent_updates='busy')
        self.other_group()
        other = next(
            group
            for group in storage_wrappers.VG.get(
                self.adapter, parent=self.vios
            )
            if group.name == 'othervg'
        )
        copying = self.copy()
        error = self.refused(500, self.create, 'disk')
        self.assertTrue(error.is_vios_busy())
        # It is of all volume groups of the VIOS.
        other.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'elsewhere', 1)
        )
        self.assertTrue(self.refused(500, other.update).is_vios_busy())
        self.end(copying)
        self.create('disk')
        self.assertEqual(['base', 'copy', 'disk'], self.names())

    def test_a_stale_condition_can_be_ignored(self):
        self.set(if_match='ignored')
        stale = self.fresh_vg()
        self.create('lost')
        stale.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'disk', 1)
        )
        stale.update()
        self.assertEqual(['base', 'disk'], self.names())
        self.set(unconditional_update='merge')
        stale = self.fresh_vg()
        self.create('kept')
        stale.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'other', 1)
        )
        stale.update()
        self.assertEqual(['base', 'disk', 'kept', 'other'], self.names())


class UploadsTestCase(SettingsCase):
    """An upload while another one runs."""

    def setUp(self):
        super().setUp()
        self.set(upload_limit=1)
        self.first = self.file_for(self.create('first'))
        self.second_disk = self.create('second')
        self.second = self.file_for(self.second_disk)
        self.more = threading.Event()

    def pieces(self):
        """The data of the first upload, which waits within it."""
        yield b'x' * MIB
        self.more.wait(test_simulator.PATIENCE)
        yield b'x' * MIB

    def start(self):
        uploading = threading.Thread(
            target=self.adapter.upload_file,
            args=(self.first.element, self.pieces()),
        )
        uploading.start()
        self.addCleanup(uploading.join)
        self.addCleanup(self.more.set)
        test_simulator.eventually(
            lambda: (
                'File.upload' in self.kinds()
                and any(
                    disk['name'] == 'first' and disk['allocated_bytes']
                    for disk in self.control.disks()
                )
            )
        )
        return uploading

    def upload_second(self):
        self.adapter.upload_file(self.second.element, io.BytesIO(b'second'))

    def test_an_upload_over_the_limit_can_be_refused(self):
        uploading = self.start()
        self.refused(503, self.upload_second)
        self.more.set()
        uploading.join()
        self.upload_second()
        self.assertEqual(b'second', self.head(self.second_disk.udid, 6))

    def test_an_upload_over_the_limit_can_wait(self):
        self.set(uploads_over_limit='queued')
        uploading = self.start()
        waiting = threading.Thread(target=self.upload_second)
        waiting.start()
        self.addCleanup(waiting.join)
        test_simulator.eventually(
            lambda: self.kinds().count('File.upload') == 2
        )
        self.assertEqual(bytes(6), self.head(self.second_disk.udid, 6))
        self.assertTrue(waiting.is_alive())
        self.more.set()
        uploading.join()
        waiting.join()
        self.assertEqual(b'second', self.head(self.second_disk.udid, 6))

    def test_a_raised_limit_applies_to_waiting_uploads(self):
        self.set(uploads_over_limit='queued')
        self.start()
        waiting = threading.Thread(target=self.upload_second)
        waiting.start()
        test_simulator.eventually(
            lambda: self.kinds().count('File.upload') == 2
        )
        self.set(upload_limit=2)
        waiting.join()
        self.assertEqual(b'second', self.head(self.second_disk.udid, 6))


class LevelsTestCase(SettingsCase):
    def test_levels_of_vios_and_platform_are_as_set(self):
        self.set(vios_level='VIOS 4.1.0.10', platform_level='V1_9_0')
        vios = virtual_io_server.VIOS.get(self.adapter, uuid=self.vios.uuid)
        self.assertEqual(
            'VIOS 4.1.0.10', vios._get_val_str('OperatingSystemVersion')
        )
        adapter = test_simulator.log_on(self, self.sim.url)
        self.assertEqual('V1_9_0', adapter.session.schema_version)


class CommandLineTestCase(test_simulator.ProcessCase):
    """Each setting is an option, too."""

    SETTINGS = {
        'labels': 'dropped',
        'granularity': 64 * MIB,
        'fractions': 'refused',
        'copy_larger': 'refused',
        'copies': 'parallel',
        'concurrent_updates': 'busy',
        'if_match': 'ignored',
        'unconditional_update': 'merge',
        'copy_rate': 1,
        'total_copy_rate': 2,
        'upload_rate': 3,
        'total_upload_rate': 4,
        'upload_limit': 3,
        'uploads_over_limit': 'queued',
        'space_wording': 'mklv-only',
        'name_wording': 'The name {name} is taken',
        'name_scope': 'vg',
        'file_formats': 'refused',
        'new_disks': 'stale',
        'logical_volume_limit': 255,
        'file_limit': 50,
        'vios_level': 'VIOS 3.1',
        'platform_level': 'V1_8_0',
    }

    def test_options_set_every_behavior(self):
        options = [
            part
            for name, value in self.SETTINGS.items()
            for part in (f'--{name.replace("_", "-")}', str(value))
        ]
        _, url = self.start(*options)
        settings = control_module.Control(url).settings()
        del settings['job_milliseconds']
        self.assertEqual(self.SETTINGS, settings)


class RebootTestCase(SettingsCase):
    """A VIOS that is rebooted while it copies."""

    def setUp(self):
        super().setUp()
        self.base = self.create('base').udid
        with open(self.path(self.base), 'r+b') as file:
            file.write(b'x' * MIB)

    def copy_broken(self, action, **fault):
        self.control.add_fault(
            'break_copies', kind='VolumeGroup.update', bytes=1000, count=1
        )
        self.control.add_fault(
            action, kind='VolumeGroup.update', count=1, **fault
        )
        return self.assertRaises(
            pvm_exc.Error, self.create, 'copy', base_image=self.base
        )

    def check_partly_copied(self):
        copy = self.pick(self.fresh_vg(), 'copy')
        self.assertEqual(1.0, copy.capacity)
        self.assertEqual(b'x' * 1000 + bytes(1000), self.head(copy.udid, 2000))

    def test_a_part_of_a_copy_is_left_without_an_answer(self):
        self.copy_broken('lose_answer')
        self.check_partly_copied()

    def test_a_part_of_a_copy_is_left_by_an_error(self):
        for copies in ('serial', 'parallel'):
            self.set(copies=copies)
            error = self.copy_broken(
                'fail_after', status=500, message='The VIOS is down.'
            )
            self.assertIn('The VIOS is down.', str(error))
            self.check_partly_copied()
            pvm_storage.rm_vg_storage(
                self.fresh_vg(), vdisks=[self.pick(self.fresh_vg(), 'copy')]
            )

    def test_an_error_can_follow_the_work(self):
        self.control.add_fault(
            'fail_after', kind='VolumeGroup.update', count=1
        )
        self.refused(500, self.create, 'whole', base_image=self.base)
        whole = self.pick(self.fresh_vg(), 'whole')
        self.assertEqual(b'x' * MIB, self.head(whole.udid, MIB))
