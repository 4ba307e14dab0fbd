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

"""Unmodified pypowervm against the simulator, over HTTP."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import fixtures
from oslotest import base
from pypowervm import adapter as pvm_adapter
from pypowervm import exceptions as pvm_exc
from pypowervm.helpers import vios_busy
from pypowervm.tasks import cluster_ssp
from pypowervm.tasks import partition
from pypowervm.tasks import power
from pypowervm.tasks import scsi_mapper
from pypowervm.tasks import storage as pvm_storage
from pypowervm.utils import lpar_builder
from pypowervm.wrappers import cluster
from pypowervm.wrappers import logical_partition
from pypowervm.wrappers import managed_system
from pypowervm.wrappers import storage as storage_wrappers
from pypowervm.wrappers import vios_file
from pypowervm.wrappers import virtual_io_server

from pvm_imagecache import simulator as simulator_package
from pvm_imagecache.simulator import control as control_module
from pvm_imagecache.simulator import control_api

GIB = 1 << 30
MIB = 1 << 20
# Bounds a wait that should end at once; never a figure that is tested.
PATIENCE = 60


def log_on(case, url, **kwargs):
    """An Adapter that is logged off when the test case ends."""
    host, port = url.rpartition('/')[2].split(':')
    session = pvm_adapter.Session(host=host, port=int(port), **kwargs)
    case.addCleanup(session._logoff)
    return pvm_adapter.Adapter(session)


def eventually(check):
    """Wait until check() returns something, and return that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError('it did not happen')


class SimulatorCase(base.BaseTestCase):
    """A simulator in this process, a pypowervm client and a VG."""

    def setUp(self):
        super().setUp()
        self.state_dir = self.useFixture(fixtures.TempDir()).path
        self.sim = simulator_package.Simulator(
            self.state_dir, cluster=('cluster1', 100)
        )
        self.sim.start()
        self.addCleanup(self.sim.stop)
        self.control = self.sim.control
        self.adapter = log_on(self, self.sim.url)
        self.vios, self.vg = pvm_storage.find_vg(self.adapter, 'cachevg')
        self.control.clear_requests()

    def fresh_vg(self):
        return storage_wrappers.VG.get(
            self.adapter, self.vg.uuid, parent=self.vios
        )

    def create(self, name, gb=1, base_image=None, **kwargs):
        """Create a disk the safe way: with If-Match."""
        vg = self.fresh_vg()
        vg.virtual_disks.append(
            storage_wrappers.VDisk.bld(
                self.adapter, name, gb, base_image=base_image, **kwargs
            )
        )
        return self.pick(vg.update(), name)

    def pick(self, vg, name):
        return next(disk for disk in vg.virtual_disks if disk.name == name)

    def names(self):
        return [disk.name for disk in self.fresh_vg().virtual_disks]

    def path(self, udid):
        return next(
            disk['path']
            for disk in self.control.disks()
            if disk['udid'] == udid
        )

    def head(self, udid, size):
        with open(self.path(udid), 'rb') as disk:
            return disk.read(size)

    def file_for(self, disk, **kwargs):
        return vios_file.File.bld(
            self.adapter,
            disk.name,
            vios_file.FileType.DISK_IMAGE,
            self.vios.uuid,
            tdev_udid=disk.udid,
            **kwargs,
        ).create()

    def files(self):
        return vios_file.File.get(self.adapter, service='web')

    def kinds(self):
        return [row['type'] for row in self.control.requests()]

    def refused(self, status, function, *args, **kwargs):
        """The HttpErrorResponse wrapper that a call is answered with."""
        error = self.assertRaises(pvm_exc.HttpError, function, *args, **kwargs)
        self.assertEqual(status, error.response.status)
        wrapper = error.her_wrap
        self.assertEqual(status, wrapper.status)
        return wrapper


class SessionTestCase(SimulatorCase):
    def test_a_token_file_logs_on(self):
        tokens = os.path.join(self.state_dir, 'sessions')
        [token] = os.listdir(tokens)
        self.assertEqual(
            0o600, os.stat(os.path.join(tokens, token)).st_mode & 0o777
        )
        self.assertEqual('PVM', self.adapter.session.mc_type)
        self.assertEqual('V1_3_0', self.adapter.session.schema_version)
        self.assertTrue(self.adapter.traits.local_api)
        self.adapter.session._logoff()
        self.assertEqual([], os.listdir(tokens))

    def test_a_password_logs_on(self):
        adapter = log_on(
            self,
            self.sim.url,
            protocol='http',
            username='pvmadmin',
            password='pvmadmin',
        )
        self.assertEqual(self.adapter.sys_uuid, adapter.sys_uuid)

    def test_a_wrong_password_is_refused(self):
        self.assertRaises(
            pvm_exc.HttpUnauth,
            log_on,
            self,
            self.sim.url,
            protocol='http',
            username='pvmadmin',
            password='guess',
        )

    def test_expired_session_logs_on_again(self):
        self.assertEqual(1, self.control.expire_sessions())
        self.assertEqual([], self.names())
        self.assertEqual(
            ['VolumeGroup.get', 'Logon.create', 'VolumeGroup.get'],
            self.kinds(),
        )

    def test_an_unknown_path_is_not_found(self):
        error = self.assertRaises(
            pvm_exc.HttpNotFound, self.adapter.read, 'NoSuchThing'
        )
        self.assertEqual(404, error.her_wrap.status)


class ReadingTestCase(SimulatorCase):
    def test_the_managed_system_is_read(self):
        [system] = managed_system.System.get(self.adapter)
        self.assertEqual(self.adapter.sys_uuid, system.uuid)
        self.assertEqual('operating', system.system_state)
        self.assertEqual(system.uuid, self.vios.assoc_sys_uuid)

    def test_the_vios_is_read(self):
        self.assertEqual('vios1', self.vios.name)
        self.assertEqual('active', self.vios.rmc_state)
        self.assertIn(self.vios.uuid[0], '01234567')
        for found in (
            virtual_io_server.VIOS.search(self.adapter, name='vios1'),
            virtual_io_server.VIOS.search(self.adapter, id=1),
            virtual_io_server.VIOS.get(
                self.adapter,
                parent_type=managed_system.System,
                parent_uuid=self.adapter.sys_uuid,
            ),
        ):
            self.assertEqual([self.vios.uuid], [vios.uuid for vios in found])
        self.assertEqual(
            [], virtual_io_server.VIOS.search(self.adapter, name='vios2')
        )

    def test_ambiguous_volume_group(self):
        self.control.add_vios('vios2')
        self.control.add_volume_group('vios2', 'cachevg', 10 * GIB)
        found, vg = pvm_storage.find_vg(self.adapter, 'cachevg', 'vios2')
        self.assertEqual(('vios2', 10.0), (found.name, vg.capacity))
        self.assertNotEqual(self.vg.uuid, vg.uuid)
        self.assertRaises(
            control_module.ControlError,
            self.control.plant_disk,
            'cachevg',
            'which',
            GIB,
        )

    def test_etags_change_with_the_content(self):
        vg = self.fresh_vg()
        self.assertEqual(self.vg.etag, vg.etag)
        self.assertIs(vg, vg.refresh())
        self.assertEqual(304, self.control.requests()[-1]['status'])
        self.create('disk')
        self.assertNotEqual(vg.etag, vg.refresh().etag)
        self.assertTrue(vg.href.endswith('?group=None'), vg.href)

    def test_etag_depends_on_group(self):
        plain = virtual_io_server.VIOS.get(self.adapter, uuid=self.vios.uuid)
        mapped = virtual_io_server.VIOS.get(
            self.adapter, uuid=self.vios.uuid, xag=['ViosSCSIMapping']
        )
        self.assertNotEqual(plain.etag, mapped.etag)
        self.assertTrue(mapped.href.endswith('?group=ViosSCSIMapping'))

    def test_quick_reads_answer_json(self):
        for name, text in (
            ('PartitionID', '1'),
            ('PartitionName', '"vios1"'),
            ('PartitionState', '"running"'),
        ):
            self.assertEqual(
                text,
                self.adapter.read(
                    'VirtualIOServer',
                    self.vios.uuid,
                    suffix_type='quick',
                    suffix_parm=name,
                ).body,
            )

    def test_an_empty_feed_has_no_content(self):
        self.assertEqual([], self.files())
        self.assertEqual(204, self.control.requests()[-1]['status'])


class DisksTestCase(SimulatorCase):
    def test_create_and_delete(self):
        disk = self.create('disk', 2.5, label='mine', file_format='raw')
        self.assertEqual(
            (2.5, 'mine', 'raw'), (disk.capacity, disk.label, disk.file_format)
        )
        self.assertRegex(disk.udid, r'^0300f8d6de00004b[0-9a-f]+\.1$')
        self.assertEqual(997.5, self.fresh_vg().free_space)
        path = self.path(disk.udid)
        self.assertEqual(5 * GIB // 2, os.stat(path).st_size)
        self.assertEqual(0o600, os.stat(path).st_mode & 0o777)
        pvm_storage.rm_vg_storage(self.fresh_vg(), vdisks=[disk])
        self.assertEqual([], self.names())
        self.assertFalse(os.path.exists(path))
        # UDIDs are never used again.
        self.assertTrue(self.create('disk').udid.endswith('.2'))

    def test_a_copy_holds_the_same_bytes(self):
        base = self.create('base')
        data = os.urandom(5 * MIB)
        with open(self.path(base.udid), 'r+b') as file:
            file.write(data)
            file.seek(900 * MIB)
            file.write(data)
        copy = pvm_storage.crt_copy_vdisk(
            self.adapter,
            self.vios.uuid,
            self.vg.uuid,
            base.udid,
            GIB,
            'copy',
            d_size=2 * GIB,
        )
        self.assertEqual(2.0, copy.capacity)
        with open(self.path(copy.udid), 'rb') as file:
            self.assertEqual(data, file.read(5 * MIB))
            self.assertEqual(bytes(MIB), file.read(MIB))
            file.seek(900 * MIB)
            self.assertEqual(data, file.read(5 * MIB))
        described = {disk['name']: disk for disk in self.control.disks()}
        self.assertLess(described['copy']['allocated_bytes'], 100 * MIB)

    def test_copies_side_by_side(self):
        self.control.change_settings(copies='parallel')
        base = self.create('base')
        with open(self.path(base.udid), 'r+b') as file:
            file.write(b'bytes of the base')
        vg = self.fresh_vg()
        vg.virtual_disks.extend(
            [
                storage_wrappers.VDisk.bld(
                    self.adapter, f'copy{number}', 1, base_image=base.udid
                )
                for number in range(5)
            ]
        )
        for disk in vg.update().virtual_disks:
            self.assertEqual(b'bytes of the base', self.head(disk.udid, 17))

    def test_a_disk_can_grow(self):
        disk = self.create('disk')
        vg = self.fresh_vg()
        vg.virtual_disks[0].capacity = 3
        [disk] = vg.update().virtual_disks
        self.assertEqual(3.0, disk.capacity)
        self.assertEqual(3 * GIB, os.stat(self.path(disk.udid)).st_size)

    def test_missing_space_is_refused(self):
        vg = self.fresh_vg()
        for name, gb in (('fits', 600), ('fits_not', 500)):
            vg.virtual_disks.append(
                storage_wrappers.VDisk.bld(self.adapter, name, gb)
            )
        error = self.refused(500, vg.update)
        self.assertIn('not have enough free space', error.message)
        # All or nothing.
        self.assertEqual([], self.names())
        self.assertEqual(1000.0, self.fresh_vg().free_space)
        self.assertEqual([], os.listdir(os.path.join(self.state_dir, 'disks')))

    def test_invalid_disk_names_are_refused(self):
        self.create('taken')
        for name in (
            'taken',
            '/dev/taken',
            'sixteen_letters_',
            'a-b',
            'a b',
            'x/',
        ):
            self.refused(400, self.create, name)
        self.create('/dev/fifteen_letters')
        self.assertEqual(['taken', '/dev/fifteen_letters'], self.names())

    def test_invalid_base_images_are_refused(self):
        base = self.create('base', 2)
        self.refused(400, self.create, 'copy', 3, base_image='nonsense')
        self.refused(400, self.create, 'copy', 1, base_image=base.udid)
        self.assertEqual(['base'], self.names())

    def test_a_stale_update_is_refused(self):
        vg = self.fresh_vg()
        self.create('other')
        vg.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'mine', 1)
        )
        self.refused(412, vg.update)
        self.assertEqual(['other'], self.names())

    def test_update_with_unknown_udid(self):
        disk = self.create('disk')
        vg = self.fresh_vg()
        pvm_storage.rm_vg_storage(self.fresh_vg(), vdisks=[disk])
        vg._etag = None
        self.refused(400, vg.update)

    def test_an_unconditional_update_can_overwrite(self):
        vg = self.fresh_vg()
        self.create('other')
        vg._etag = None
        vg.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'mine', 1)
        )
        vg.update()
        self.assertEqual(['mine'], self.names())

    def test_an_unconditional_update_can_merge(self):
        self.control.change_settings(unconditional_update='merge')
        vg = self.fresh_vg()
        self.create('other')
        vg._etag = None
        vg.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'mine', 1)
        )
        vg.update()
        self.assertEqual(['other', 'mine'], self.names())

    def test_update_waits_for_the_one_before(self):
        base = self.create('base')
        stale = self.fresh_vg()
        self.control.change_settings(copy_rate=256 * MIB)
        copying = threading.Thread(
            target=self.create,
            args=('copy',),
            kwargs={'base_image': base.udid},
        )
        copying.start()
        eventually(
            lambda: len(os.listdir(os.path.join(self.state_dir, 'disks'))) == 2
        )
        # Reads show the state before; the update waits, then is stale.
        self.assertEqual(['base'], self.names())
        self.assertIs(stale, stale.refresh())
        stale.virtual_disks.append(
            storage_wrappers.VDisk.bld(self.adapter, 'late', 1)
        )
        self.refused(412, stale.update)
        copying.join()
        self.assertEqual(['base', 'copy'], self.names())

    def test_a_planted_disk_is_listed(self):
        content = os.path.join(self.state_dir, 'content')
        with open(content, 'wb') as file:
            file.write(b'foreign bytes')
        self.control.plant_disk('cachevg', 'foreign', 3 * GIB, content)
        [disk] = self.fresh_vg().virtual_disks
        self.assertEqual(('foreign', 3.0), (disk.name, disk.capacity))
        self.assertEqual(b'foreign bytes', self.head(disk.udid, 13))


class UploadsTestCase(SimulatorCase):
    def setUp(self):
        super().setUp()
        self.data = os.urandom(3 * MIB + 17)
        self.sha256 = hashlib.sha256(self.data).hexdigest()

    def upload(self, file, data=None, **kwargs):
        return self.adapter.upload_file(
            file.element,
            io.BytesIO(self.data if data is None else data),
            **kwargs,
        )

    def test_an_upload_task_fills_a_disk(self):
        disk, leaked = pvm_storage.upload_new_vdisk(
            self.adapter,
            self.vios.uuid,
            self.vg.uuid,
            io.BytesIO(self.data),
            'disk',
            len(self.data),
            sha_chksum=self.sha256,
            file_format='raw',
        )
        self.assertIsNone(leaked)
        self.assertEqual(self.data, self.head(disk.udid, len(self.data)))
        self.assertEqual(
            [
                'VolumeGroup.get',
                'VolumeGroup.update',
                'File.create',
                'File.upload',
                'File.delete',
            ],
            self.kinds(),
        )
        with open(self.path(disk.udid), 'rb') as file:
            file.seek(len(self.data))
            self.assertEqual(bytes(MIB), file.read(MIB))

    def test_sizes_of_chunks(self):
        disk = self.create('disk')
        file = self.file_for(
            disk, f_size=len(self.data), sha_chksum=self.sha256
        )
        for size in (4093, 65536, MIB, len(self.data)):
            self.upload(file, chunksize=size)
            self.assertEqual(self.data, self.head(disk.udid, len(self.data)))
        pieces = [self.data[at : at + 7] for at in range(0, 70000, 7)]
        file = self.file_for(disk)
        self.adapter.upload_file(file.element, iter(pieces), replacing=True)
        self.assertEqual(self.data[:70000], self.head(disk.udid, 70000))

    def test_a_file_entry_describes_its_upload(self):
        disk = self.create('disk')
        self.upload(
            self.file_for(disk, f_size=len(self.data), sha_chksum=self.sha256)
        )
        [file] = self.files()
        self.assertEqual(
            (
                'disk',
                len(self.data),
                len(self.data),
                disk.udid,
                self.vios.uuid,
                'BROKERED_DISK_IMAGE',
            ),
            (
                file.file_name,
                file.expected_file_size,
                file.current_file_size,
                file.tdev_udid,
                file.vios_uuid,
                file.enum_type,
            ),
        )
        got = io.BytesIO()
        self.adapter.download_file(file.element, got)
        self.assertEqual(self.data, got.getvalue())

    def test_an_upload_of_wrong_size_fails(self):
        disk = self.create('disk')
        for expected in (len(self.data) + 1, len(self.data) - 1):
            file = self.file_for(disk, f_size=expected)
            self.refused(400, self.upload, file)
            # Nothing on the disk tells.
            self.assertEqual(self.data, self.head(disk.udid, len(self.data)))

    def test_an_upload_of_wrong_hash_fails(self):
        disk = self.create('disk')
        file = self.file_for(disk, sha_chksum=self.sha256)
        self.refused(400, self.upload, file, self.data[:-1] + b'.')

    def test_larger_than_disk(self):
        disk = self.create('disk', 2 / 1024 - 0.0001)
        self.refused(400, self.file_for, disk, f_size=3 * MIB)
        file = self.file_for(disk)
        self.refused(400, self.upload, file)
        self.assertEqual(2 * MIB, os.stat(self.path(disk.udid)).st_size)

    def test_an_unknown_target_is_refused(self):
        disk = self.create('disk')
        pvm_storage.rm_vg_storage(self.fresh_vg(), vdisks=[disk])
        self.refused(400, self.file_for, disk)

    def test_the_limit_of_files_is_kept(self):
        self.control.change_settings(file_limit=3)
        disk = self.create('disk')
        files = [self.file_for(disk) for _ in range(3)]
        self.refused(400, self.file_for, disk)
        self.adapter.delete('File', root_id=files[0].uuid, service='web')
        self.file_for(disk)
        self.assertEqual(3, len(self.files()))

    def test_a_broken_upload_keeps_its_bytes(self):
        disk = self.create('disk')
        file = self.file_for(disk, f_size=len(self.data))

        def pieces():
            yield self.data[:MIB]
            raise RuntimeError('the source failed')

        self.assertRaises(
            pvm_exc.Error, self.adapter.upload_file, file.element, pieces()
        )
        eventually(lambda: self.files()[0].current_file_size == MIB)
        self.assertEqual(
            self.data[:MIB] + bytes(MIB), self.head(disk.udid, 2 * MIB)
        )

    def test_session_expires_within(self):
        self.control.add_fault(
            'expire_after_bytes', kind='File.upload', bytes=MIB, count=1
        )
        disk = self.create('disk')
        file = self.file_for(disk, f_size=len(self.data))
        # pypowervm repeats the upload with an empty body.
        self.refused(400, self.upload, file)
        uploads = [
            row
            for row in self.control.requests()
            if row['type'] == 'File.upload'
        ]
        self.assertEqual(
            [(401, MIB), (400, 0)],
            [(row['status'], row['bytes_in']) for row in uploads],
        )


class FaultsTestCase(SimulatorCase):
    def read(self):
        return self.fresh_vg()

    def test_a_status_is_injected(self):
        rule = self.control.add_fault(
            'status',
            status=503,
            message='later',
            kind='VolumeGroup.get',
            skip=1,
            count=2,
        )
        self.read()
        self.assertEqual('later', self.refused(503, self.read).message)
        self.refused(503, self.read)
        self.read()
        [state] = self.control.faults()
        self.assertEqual(
            (rule, 2, 4), (state['id'], state['hits'], state['matched'])
        )
        self.assertEqual(
            [None, 'status', 'status', None],
            [row['fault'] for row in self.control.requests()],
        )

    def test_a_rule_matches_method_and_path(self):
        self.control.add_fault(
            'status', method='POST', path_regex='/VolumeGroup/'
        )
        self.read()
        self.refused(500, self.create, 'disk')
        self.control.clear_faults()
        self.create('disk')

    def test_a_busy_vios_is_injected(self):
        self.control.add_fault('vios_busy', kind='VolumeGroup.get', count=1)
        self.useFixture(
            fixtures.MockPatchObject(vios_busy, 'SLEEP', lambda seconds: None)
        )
        self.assertTrue(self.refused(500, self.read).is_vios_busy())
        self.control.add_fault('vios_busy', kind='VolumeGroup.get', count=2)
        adapter = pvm_adapter.Adapter(
            self.adapter.session, helpers=[vios_busy.vios_busy_retry_helper]
        )
        storage_wrappers.VG.get(adapter, self.vg.uuid, parent=self.vios)

    def test_an_injected_412_is_retried(self):
        disk = self.create('disk')
        self.control.add_fault(
            'precondition', kind='VolumeGroup.update', count=1
        )
        pvm_storage.rm_vg_storage(self.fresh_vg(), vdisks=[disk])
        self.assertEqual([], self.names())

    def test_a_full_group_is_injected(self):
        self.control.add_fault('no_space', kind='VolumeGroup.update')
        error = self.refused(500, self.create, 'disk')
        self.assertIn('not have enough free space', error.message)

    def test_a_reset_prevents_the_change(self):
        self.control.add_fault('reset_before', kind='VolumeGroup.update')
        self.assertRaises(pvm_exc.ConnectionError, self.create, 'disk')
        self.assertEqual([], self.names())

    def test_a_lost_answer_keeps_the_change(self):
        self.control.add_fault('lose_answer', kind='VolumeGroup.update')
        self.assertRaises(pvm_exc.ConnectionError, self.create, 'disk')
        self.assertEqual(['disk'], self.names())
        row = self.control.requests()[1]
        self.assertIsNone(row['status'])

    def test_a_hanging_request_times_out(self):
        self.control.add_fault('hang', kind='VolumeGroup.get', seconds=0.1)
        self.assertRaises(pvm_exc.ConnectionError, self.read)
        self.control.clear_faults()
        self.control.add_fault(
            'hang', kind='VolumeGroup.get', seconds=PATIENCE
        )
        self.assertRaises(
            pvm_exc.TimeoutError,
            self.adapter.read,
            'VirtualIOServer',
            self.vios.uuid,
            'VolumeGroup',
            self.vg.uuid,
            timeout=0.2,
        )

    def test_latency_adds_to_other_faults(self):
        self.control.add_fault('latency', seconds=0.01)
        self.control.add_fault('status', kind='VolumeGroup.get')
        self.refused(500, self.read)
        self.assertEqual(
            [1, 1], [rule['hits'] for rule in self.control.faults()]
        )

    def test_an_expired_session_is_renewed(self):
        self.control.add_fault(
            'expire_session', kind='VolumeGroup.update', count=1
        )
        self.create('disk')
        self.assertEqual(['disk'], self.names())
        self.assertIn('Logon.create', self.kinds())

    def test_faults_break_off_an_upload(self):
        disk = self.create('disk')
        data = os.urandom(5 * MIB)
        file = self.file_for(disk, f_size=len(data))
        self.control.add_fault(
            'reset_after_bytes', bytes=3 * MIB + 1, kind='File.upload', count=1
        )
        self.assertRaises(
            pvm_exc.ConnectionError,
            self.adapter.upload_file,
            file.element,
            io.BytesIO(data),
        )
        self.assertEqual(
            3 * MIB + 1, eventually(lambda: self.files()[0]).current_file_size
        )
        self.assertEqual(
            data[: 3 * MIB + 1] + bytes(9), self.head(disk.udid, 3 * MIB + 10)
        )
        self.control.add_fault(
            'stall_after_bytes', bytes=MIB, seconds=0.1, kind='File.upload'
        )
        self.adapter.upload_file(file.element, io.BytesIO(data))
        self.assertEqual(data, self.head(disk.udid, len(data)))

    def test_invalid_fault_rules_are_refused(self):
        for action, wanted in (
            ('nonsense', {}),
            ('status', {'statu': 1}),
            ('status', {'path_regex': '('}),
        ):
            self.assertRaises(
                control_module.ControlError,
                self.control.add_fault,
                action,
                **wanted,
            )
        self.assertEqual([], self.control.faults())


class ControlTestCase(SimulatorCase):
    def test_requests_are_logged_in_order(self):
        vg = self.fresh_vg()
        self.create('disk')
        rows = self.control.requests()
        self.assertEqual(
            ['VolumeGroup.get', 'VolumeGroup.get', 'VolumeGroup.update'],
            [row['type'] for row in rows],
        )
        update = rows[2]
        self.assertEqual(vg.etag, update['if_match'])
        self.assertEqual(('POST', 200), (update['method'], update['status']))
        self.assertTrue(update['path'].endswith('?group=None'))
        self.assertTrue(update['bytes_in'] and update['bytes_out'])
        self.assertEqual(1, len({row['session'] for row in rows}))
        self.assertEqual(rows[1:], self.control.requests(rows[0]['seq']))
        counters = self.control.counters()
        self.assertEqual(2, counters['kinds']['VolumeGroup.get']['requests'])
        self.assertEqual(3, counters['total']['requests'])
        self.control.clear_requests()
        self.assertEqual([], self.control.requests())

    def test_settings_change_all_or_nothing(self):
        before = self.control.settings()
        for wrong in (
            {'copy_rate': -1},
            {'nonsense': 1},
            {'copies': 'sometimes'},
            {'file_limit': 'x'},
        ):
            self.assertRaises(
                control_module.ControlError,
                self.control.change_settings,
                upload_rate=5,
                **wrong,
            )
        self.assertEqual(before, self.control.settings())
        self.control.change_settings(copies='parallel', upload_rate=7)
        self.assertEqual(7, self.control.settings()['upload_rate'])

    def refused(self, path, data=None, method='GET', **headers):
        error = self.assertRaises(
            urllib.error.HTTPError,
            urllib.request.urlopen,
            urllib.request.Request(
                self.sim.url + path,
                data=data,
                method=method,
                headers={
                    name.replace('_', '-'): value
                    for name, value in headers.items()
                },
            ),
        )
        with error:
            return error.code

    def test_an_unknown_request_is_refused(self):
        self.assertEqual(
            404,
            self.refused(
                f'{control_api.PREFIX}nonsense', X_Simulator_Control='1'
            ),
        )

    def test_a_page_in_a_browser_controls_nothing(self):
        before = self.control.settings()
        path = f'{control_api.PREFIX}settings'
        changes = b'{"upload_rate": 1}'
        for headers in (
            {},
            {'X_Simulator_Control': '1', 'Origin': 'http://evil.example'},
            {'X_Simulator_Control': '1', 'Origin': self.sim.url},
            {'X_Simulator_Control': '1', 'Host': 'evil.example'},
            {'X_Simulator_Control': '1', 'Sec_Fetch_Site': 'same-origin'},
        ):
            for method in ('GET', 'PATCH', 'POST'):
                self.assertEqual(
                    403, self.refused(path, changes, method, **headers)
                )
        self.assertEqual(
            501, self.refused(path, method='OPTIONS', Origin='http://evil')
        )
        self.assertEqual(before, self.control.settings())

    def test_a_page_in_a_browser_cannot_log_on(self):
        for headers in (
            {'Origin': 'http://evil.example'},
            {'Host': 'evil.example:12080'},
        ):
            self.assertEqual(
                403,
                self.refused('/rest/api/web/Logon', b'<a/>', 'PUT', **headers),
            )

    def test_control_requests_have_bounds(self):
        self.assertRaises(
            (urllib.error.URLError, OSError),
            urllib.request.urlopen,
            urllib.request.Request(
                f'{self.sim.url}{control_api.PREFIX}faults',
                data=b' ' * (2 << 20),
                headers={'X-Simulator-Control': '1'},
            ),
        )
        for content in ('/dev/zero', '/proc/self/fd'):
            self.assertRaises(
                control_module.ControlError,
                self.control.plant_disk,
                'cachevg',
                'planted',
                1 << 30,
                content,
            )

    def test_the_file_system_is_not_filled(self):
        self.useFixture(
            fixtures.MonkeyPatch(
                'pvm_imagecache.simulator.disks._RESERVE', 1 << 60
            )
        )
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'data')
        with open(path, 'wb') as file:
            file.write(b'data')
        error = self.assertRaises(
            control_module.ControlError,
            self.control.plant_disk,
            'cachevg',
            'planted',
            1 << 30,
            path,
        )
        self.assertIn('file system of the simulator', str(error))

    def test_stops_without_leftovers(self):
        threads = threading.active_count()
        handles = len(os.listdir('/proc/self/fd'))
        state_dir = self.useFixture(fixtures.TempDir()).path
        with simulator_package.Simulator(state_dir) as sim:
            adapter = log_on(self, sim.url)
            vios, vg = pvm_storage.find_vg(adapter, 'cachevg')
            sim.control.add_fault('hang', kind='VolumeGroup.get', seconds=900)
            hanging = threading.Thread(
                target=self.assertRaises,
                args=(
                    pvm_exc.Error,
                    storage_wrappers.VG.get,
                    adapter,
                    vg.uuid,
                ),
                kwargs={'parent': vios},
            )
            hanging.start()
            eventually(lambda: sim.control.faults()[0]['hits'])
            adapter.session._logoff()
        hanging.join()
        # Threads of other tests in this process may end meanwhile.
        eventually(lambda: threading.active_count() <= threads)
        eventually(lambda: len(os.listdir('/proc/self/fd')) <= handles)


class PartitionCase(SimulatorCase):
    """Can make partitions."""

    UUID = '12345678-90AB-4CDE-8F01-234567890ABC'

    def lpar(self, **attributes):
        return self.built(**attributes).create(
            parent_type=managed_system.System,
            parent_uuid=self.adapter.sys_uuid,
        )

    def built(self, name='vm1', uuid=UUID, **attributes):
        [system] = managed_system.System.get(self.adapter)
        wanted = {
            'name': name,
            'uuid': uuid,
            'memory': 2048,
            'vcpu': 2,
            'env': 'AIX/Linux',
            **attributes,
        }
        return lpar_builder.LPARBuilder(
            self.adapter,
            wanted,
            lpar_builder.DefaultStandardize(system, proc_units_factor=0.1),
        ).build()


class PartitionsTestCase(PartitionCase):
    def job_sleeps(self):
        self.useFixture(
            fixtures.MockPatch('pypowervm.wrappers.job.time.sleep')
        )

    def test_a_partition_can_be_powered(self):
        self.job_sleeps()
        lpar = self.lpar()
        self.assertEqual(self.UUID, lpar.uuid)
        self.assertEqual('not activated', lpar.state)
        self.assertEqual(2048, lpar.mem_config.desired)
        self.assertEqual(2, lpar.proc_config.shared_proc_cfg.desired_virtual)
        power.power_on(lpar, None)
        lpar = lpar.refresh()
        self.assertEqual(('running', 'active'), (lpar.state, lpar.rmc_state))
        self.refused(400, lpar.delete)
        # Already on is not an error for the client.
        power.power_on(lpar, None)
        power.power_off(lpar, None, force_immediate=power.Force.NO_RETRY)
        lpar = lpar.refresh()
        self.assertEqual('not activated', lpar.state)
        power.power_off(lpar, None)
        lpar.delete()
        self.assertEqual(
            [], logical_partition.LPAR.search(self.adapter, name='vm1')
        )
        self.assertIn('Job.delete', self.kinds())

    def test_a_running_job_times_out(self):
        self.control.change_settings(job_milliseconds=1000 * PATIENCE)
        self.job_sleeps()
        self.assertRaises(
            pvm_exc.VMPowerOnTimeout,
            power.PowerOp.start,
            self.lpar(),
            timeout=0.01,
        )

    def test_dedicated_processors_are_kept(self):
        lpar = self.lpar(dedicated_proc='true', vcpu=3)
        self.assertTrue(lpar.proc_config.has_dedicated)
        self.assertEqual(3, lpar.proc_config.dedicated_proc_cfg.desired)

    def test_a_stale_update_is_refused(self):
        lpar = self.lpar()
        stale = logical_partition.LPAR.get(self.adapter, uuid=lpar.uuid)
        lpar.mem_config.desired = 1024
        lpar.mem_config.min = 512
        lpar.name = 'renamed'
        lpar = lpar.update()
        self.assertEqual(
            ('renamed', 1024, 512),
            (lpar.name, lpar.mem_config.desired, lpar.mem_config.min),
        )
        stale.name = 'late'
        self.refused(412, stale.update)

    def test_invalid_partitions_are_refused(self):
        # pypowervm itself does not let such a UUID pass.
        lpar = self.built()
        lpar.element.find('PartitionUUID').text = '8' + self.UUID[1:]
        self.refused(
            400,
            lpar.create,
            parent_type=managed_system.System,
            parent_uuid=self.adapter.sys_uuid,
        )
        self.lpar()
        self.refused(400, self.lpar, name='vm2')
        self.refused(
            400, self.lpar, uuid='22345678-90AB-4CDE-8F01-234567890ABC'
        )

    def test_the_management_partition_is_found(self):
        found = partition.get_mgmt_partition(self.adapter)
        self.assertEqual('novalink', found.name)
        self.assertTrue(found.is_mgmt_partition)

    def test_disks_can_be_mapped(self):
        lpar = self.lpar()
        disks = [self.create(f'disk{number}') for number in range(3)]
        for disk in disks:
            scsi_mapper.add_vscsi_mapping(
                None, self.vios.uuid, lpar.uuid, disk
            )
        vios = virtual_io_server.VIOS.get(
            self.adapter, uuid=self.vios.uuid, xag=['ViosSCSIMapping']
        )
        maps = vios.scsi_mappings
        self.assertEqual(
            [disk.udid for disk in disks],
            [item.backing_storage.udid for item in maps],
        )
        # One pair of adapters for all, a target device for each.
        self.assertEqual(1, len({item.server_adapter.udid for item in maps}))
        self.assertEqual(3, len({item.target_dev.name for item in maps}))
        self.assertEqual(
            ['0x8100000000000000', '0x8101000000000000', '0x8102000000000000'],
            [item.target_dev.lua for item in maps],
        )
        self.assertEqual(
            {lpar.id}, {item.server_adapter.lpar_id for item in maps}
        )
        self.assertEqual(
            {lpar.id}, {item.client_adapter.lpar_id for item in maps}
        )
        self.assertEqual(['vm1'], self.control.disks()[0]['mapped_to'])
        self.refused(
            400, pvm_storage.rm_vg_storage, self.fresh_vg(), vdisks=disks
        )
        _, removed = scsi_mapper.remove_vdisk_mapping(
            self.adapter, self.vios.uuid, lpar.id, udids=[disks[1].udid]
        )
        self.assertEqual([disks[1].udid], [disk.udid for disk in removed])
        pvm_storage.rm_vg_storage(self.fresh_vg(), vdisks=[disks[1]])
        self.assertEqual(['disk0', 'disk2'], self.names())

    def test_mapping_by_name(self):
        lpar = self.lpar()
        self.create('disk')
        scsi_mapper.add_vscsi_mapping(
            None,
            self.vios.uuid,
            lpar.uuid,
            storage_wrappers.VDisk.bld_ref(self.adapter, 'disk'),
        )
        self.assertEqual(['vm1'], self.control.disks()[0]['mapped_to'])
        self.refused(
            400,
            scsi_mapper.add_vscsi_mapping,
            None,
            self.vios.uuid,
            lpar.uuid,
            storage_wrappers.VDisk.bld_ref(self.adapter, 'none'),
        )

    def test_update_of_other_group_keeps_mappings(self):
        lpar = self.lpar()
        scsi_mapper.add_vscsi_mapping(
            None, self.vios.uuid, lpar.uuid, self.create('disk')
        )
        virtual_io_server.VIOS.get(self.adapter, uuid=self.vios.uuid).update()
        self.assertEqual(['vm1'], self.control.disks()[0]['mapped_to'])

    def test_a_feed_task_maps_a_disk(self):
        lpar = self.lpar()
        disk = self.create('disk')
        task = partition.build_active_vio_feed_task(self.adapter)

        def add(vios):
            return scsi_mapper.add_map(
                vios,
                scsi_mapper.build_vscsi_mapping(None, vios, lpar.uuid, disk),
            )

        task.add_functor_subtask(add)
        task.execute()
        self.assertEqual(['vm1'], self.control.disks()[0]['mapped_to'])

    def test_orphans_are_scrubbed(self):
        lpar = self.lpar()
        scsi_mapper.add_vscsi_mapping(
            None, self.vios.uuid, lpar.uuid, self.create('disk')
        )
        lpar.delete()
        self.assertEqual(
            [f'id {lpar.id}'], self.control.disks()[0]['mapped_to']
        )
        pvm_storage.ComprehensiveScrub(self.adapter).execute()
        self.assertEqual([], self.names())

    def test_a_rescan_finds_no_deleted_disk(self):
        self.job_sleeps()
        disk = self.create('disk')
        pvm_storage.rescan_vstor(self.vios, disk)
        pvm_storage.rm_vg_storage(self.fresh_vg(), vdisks=[disk])
        self.assertRaises(
            pvm_exc.VstorNotFound, pvm_storage.rescan_vstor, self.vios, disk
        )


class SharedStoragePoolTestCase(PartitionCase):
    def setUp(self):
        super().setUp()
        [self.cluster] = cluster.Cluster.get(self.adapter)
        [self.ssp] = storage_wrappers.SSP.get(self.adapter)
        self.tier = pvm_storage.default_tier_for_ssp(self.ssp)
        self.data = os.urandom(2 * MIB + 5)

    def image(self, name='image'):
        return cluster_ssp.get_or_upload_image_lu(
            self.tier,
            name,
            self.vios.uuid,
            lambda: io.BytesIO(self.data),
            len(self.data),
        )

    def units(self):
        return storage_wrappers.LUEnt.get(self.adapter, parent=self.tier)

    def test_the_cluster_is_read(self):
        self.assertEqual('cluster1', self.cluster.name)
        self.assertEqual(
            [self.vios.uuid], [node.vios_uuid for node in self.cluster.nodes]
        )
        self.assertEqual(self.ssp.uuid, self.cluster.ssp_uuid)
        self.assertEqual(100.0, self.ssp.capacity)
        self.assertEqual(self.ssp.uuid, self.tier.ssp_uuid)
        self.assertEqual(
            self.cluster.uuid,
            cluster.Cluster.search(self.adapter, name='cluster1')[0].uuid,
        )
        self.assertEqual(
            self.ssp.uuid,
            storage_wrappers.SSP.search(self.adapter, name='cluster1')[0].uuid,
        )

    def test_an_image_is_uploaded_as_lu(self):
        image = self.image()
        self.assertEqual(
            [
                'LogicalUnit.feed',
                'LogicalUnit.create',
                'LogicalUnit.feed',
                'LogicalUnit.create',
                'File.create',
                'File.upload',
                'File.delete',
                'LogicalUnit.delete',
            ],
            self.kinds()[-8:],
        )
        self.assertEqual(self.data, self.head(image.udid, len(self.data)))
        self.control.clear_requests()
        self.assertEqual(image.udid, self.image().udid)
        self.assertEqual(['LogicalUnit.feed'], self.kinds())
        self.assertEqual(
            [image.udid],
            [
                found.udid
                for found in storage_wrappers.LUEnt.search(
                    self.adapter,
                    parent=self.tier,
                    lu_type=storage_wrappers.LUType.IMAGE,
                )
            ],
        )

    def test_a_clone_holds_its_image(self):
        image = self.image()
        _, clone = pvm_storage.crt_lu(self.tier, 'boot', 3, clone=image)
        self.assertEqual(
            (3.0, image.udid), (clone.capacity, clone.cloned_from_udid)
        )
        self.assertEqual('27', clone.udid[:2])
        self.assertEqual(self.data, self.head(clone.udid, len(self.data)))
        # A clone is never smaller than its image, and keeps it there.
        _, small = pvm_storage.crt_lu(self.tier, 'small', 0.001, clone=image)
        self.assertEqual(image.capacity, small.capacity)
        self.refused(400, image.delete)
        pvm_storage.rm_tier_storage([clone], tier=self.tier)
        self.assertEqual(
            ['image', 'small'], [unit.name for unit in self.units()]
        )
        pvm_storage.rm_tier_storage([small], tier=self.tier)
        self.assertEqual([], self.units())
        self.assertEqual([], os.listdir(os.path.join(self.state_dir, 'disks')))

    def test_invalid_units_are_refused(self):
        _, unit = pvm_storage.crt_lu(self.tier, 'unit', 1, thin=True)
        self.refused(400, pvm_storage.crt_lu, self.tier, 'unit', 1)
        error = self.refused(
            500, pvm_storage.crt_lu, self.tier, 'thick', 200, thin=False
        )
        self.assertIn('not have enough free space', error.message)
        unit.delete()
        self.refused(
            400, pvm_storage.crt_lu, self.tier, 'clone', 1, clone=unit
        )

    def test_a_thick_unit_takes_its_space(self):
        ssp, unit = pvm_storage.crt_lu(self.ssp, 'thick', 60, thin=False)
        self.assertEqual(40.0, ssp.free_space)
        self.assertFalse(unit.is_thin)
        self.assertEqual(['thick'], [unit.name for unit in ssp.logical_units])

    def test_a_mapped_unit_is_not_deleted(self):
        _, unit = pvm_storage.crt_lu(self.tier, 'unit', 1)
        lpar = self.lpar()
        scsi_mapper.add_vscsi_mapping(None, self.vios.uuid, lpar.uuid, unit)
        [unit] = self.units()
        self.assertTrue(unit.in_use)
        self.refused(400, unit.delete)
        scsi_mapper.remove_lu_mapping(self.adapter, self.vios.uuid, lpar.id)
        unit.refresh().delete()


class ProcessCase(base.BaseTestCase):
    """A simulator in a process of its own, to be killed."""

    def setUp(self):
        super().setUp()
        self.work = self.useFixture(fixtures.TempDir()).path
        self.state_dir = os.path.join(self.work, 'state')

    def start(self, *options, **kwargs):
        ready = os.path.join(self.work, 'ready')
        if os.path.exists(ready):
            os.unlink(ready)
        process = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'pvm_imagecache.simulator',
                '--state-dir',
                self.state_dir,
                '--ready-file',
                ready,
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **kwargs,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        url = process.stdout.readline().strip()
        with open(ready) as file:
            self.assertEqual(url, file.read().strip())
        return process, url

    def connect(self, url):
        adapter = log_on(self, url)
        self.addCleanup(setattr, adapter.session, '_logged_in', False)
        return adapter, *pvm_storage.find_vg(adapter, 'cachevg')


class ProcessTestCase(ProcessCase):
    def test_sigterm_ends_it_quietly(self):
        process, _ = self.start()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(PATIENCE))
        self.assertEqual(
            ('', ''), (process.stdout.read(), process.stderr.read())
        )

    def test_it_ends_with_its_parent(self):
        process, _ = self.start('--watch-stdin', stdin=subprocess.PIPE)
        process.stdin.write('anything')
        process.stdin.flush()
        self.assertIsNone(process.poll())
        process.stdin.close()
        self.assertEqual(0, process.wait(PATIENCE))

    def test_refuses_to_listen_to_others(self):
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pvm_imagecache.simulator',
                '--state-dir',
                self.state_dir,
                '--bind',
                '0.0.0.0',
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(1, done.returncode)
        self.assertIn('not a loopback address', done.stderr)

    def test_a_second_process_is_refused(self):
        self.start()
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pvm_imagecache.simulator',
                '--state-dir',
                self.state_dir,
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(1, done.returncode)
        self.assertIn('locked by another simulator', done.stderr)

    def test_options_shape_the_system(self):
        _, url = self.start(
            '--vios',
            'a',
            '--vios',
            'b',
            '--volume-group',
            'cachevg=7',
            '--volume-group',
            'b/other=0.5',
            '--copy-rate',
            '250m',
            '--copies',
            'parallel',
            '--unconditional-update',
            'merge',
        )
        adapter, vios, vg = self.connect(url)
        self.assertEqual(('a', 7.0), (vios.name, vg.capacity))
        vios, vg = pvm_storage.find_vg(adapter, 'other')
        self.assertEqual(('b', 0.5), (vios.name, vg.capacity))
        settings = control_module.Control(url).settings()
        self.assertEqual(250 * MIB, settings['copy_rate'])
        self.assertEqual('merge', settings['unconditional_update'])

    def test_killed_within_an_upload(self):
        process, url = self.start()
        adapter, vios, vg = self.connect(url)
        disk = pvm_storage.crt_vdisk(adapter, vios.uuid, vg.uuid, 'disk', 1)
        file = vios_file.File.bld(
            adapter,
            'disk',
            vios_file.FileType.DISK_IMAGE,
            vios.uuid,
            f_size=GIB,
            tdev_udid=disk.udid,
        ).create()
        data = os.urandom(MIB)

        def pieces():
            for _ in range(70):
                yield data
            eventually(
                lambda: (
                    vios_file.File.get(adapter, service='web')[
                        0
                    ].current_file_size
                    >= 64 * MIB
                )
            )
            process.kill()
            while True:
                yield data

        self.assertRaises(
            pvm_exc.ConnectionError,
            adapter.upload_file,
            file.element,
            pieces(),
        )
        process.wait()
        process, url = self.start()
        adapter, vios, vg = self.connect(url)
        self.assertEqual(
            [(disk.name, disk.udid)],
            [(found.name, found.udid) for found in vg.virtual_disks],
        )
        [file] = vios_file.File.get(adapter, service='web')
        self.assertGreaterEqual(file.current_file_size, 64 * MIB)
        self.assertEqual(disk.udid, file.tdev_udid)
        [described] = control_module.Control(url).disks()
        with open(described['path'], 'rb') as got:
            self.assertEqual(data * 64, got.read(64 * MIB))

    def test_killed_within_a_copy(self):
        process, url = self.start('--copy-rate', '32m')
        adapter, vios, vg = self.connect(url)
        base_disk = pvm_storage.crt_vdisk(
            adapter, vios.uuid, vg.uuid, 'base', 1
        )
        copying = threading.Thread(
            target=self.assertRaises,
            args=(
                pvm_exc.ConnectionError,
                pvm_storage.crt_vdisk,
                adapter,
                vios.uuid,
                vg.uuid,
                'copy',
                1,
                base_disk.udid,
            ),
        )
        copying.start()
        disks = os.path.join(self.state_dir, 'disks')
        eventually(lambda: len(os.listdir(disks)) == 2)
        process.kill()
        copying.join()
        process, url = self.start()
        adapter, vios, vg = self.connect(url)
        self.assertEqual(['base'], [disk.name for disk in vg.virtual_disks])
        self.assertEqual(1, len(os.listdir(disks)))
        pvm_storage.crt_vdisk(
            adapter, vios.uuid, vg.uuid, 'copy', 1, base_disk.udid
        )


_CREATOR = """
import sys
from concurrent import futures
from pypowervm import adapter
from pypowervm.tasks import storage
port, name = int(sys.argv[1]), sys.argv[2]
client = adapter.Adapter(adapter.Session(host='127.0.0.1', port=port))
vios, vg = storage.find_vg(client, 'cachevg')
def create(number):
    try:
        storage.crt_vdisk(client, vios.uuid, vg.uuid, name + str(number), 1)
    except Exception:
        return 0
    return 1
with futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(create, range(20))))
"""


class TwoProcessesTestCase(ProcessCase):
    """Hazard 1: creating disks without If-Match from two processes."""

    def create(self, *options):
        _, url = self.start(*options)
        port = url.rpartition(':')[2]
        creators = [
            subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', _CREATOR, port, name],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for name in 'ab'
        ]
        told = sum(int(creator.communicate()[0]) for creator in creators)
        names = [disk['name'] for disk in control_module.Control(url).disks()]
        self.assertEqual(len(names), len(set(names)))
        return told, len(names)

    def test_merging_updates_lose_no_disk(self):
        self.assertEqual(
            (40, 40), self.create('--unconditional-update', 'merge')
        )

    def test_overwriting_updates_may_lose_disks(self):
        told, there = self.create('--unconditional-update', 'overwrite')
        self.assertLessEqual(there, told)
