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

"""What can go wrong between Glance and PowerVM, one fault at a time.

Whatever it is: the bytes are right, or the deploy raises; nothing wrong is
cached, no disk and no web/File entry is left.
"""

import itertools
import sqlite3
from typing import Any
from unittest import mock

import fixtures
from keystoneauth1 import token_endpoint
from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import instance_disks as catalog_disks
from pvm_imagecache.cmd import shell
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as base_module
from pvm_imagecache.drivers.localdisk import changes
from pvm_imagecache.system import retry
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import seams
from pvm_imagecache.tests import unusable_answers

SIZE = 6 * units.Mi + 17


class _Base(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.manager = self.make_manager()
        self.image_id = self.store_raw(SIZE)

    def deploy(self, name: str = 'vm1') -> instance_disk.Outcome:
        """Make a disk and compare it."""
        done = self.manager.create_disk(self.image(self.image_id), name)
        self.assert_holds(name, self.image_id, SIZE)
        self.assertEqual(0, self.file_entries())
        return done.outcome

    def assert_nothing_left(self) -> None:
        self.assertEqual({}, self.disks())
        self.assertEqual([], list(self.manager.list()))
        self.assertEqual(0, self.file_entries())


class GlanceFaultsTestCase(_Base):
    """The stream is not the image."""

    def refused(self, error: type[Exception]) -> None:
        image = self.image(self.image_id)
        for call in (
            lambda: self.manager.create_disk(image, 'vm1'),
            lambda: self.manager.prefetch(image),
        ):
            self.assertRaises(error, call)
            self.assert_nothing_left()

    def test_flipped_bytes_are_refused(self) -> None:
        path = self.glance.data_path(self.image_id)
        data = bytearray(path.read_bytes())
        for place in (0, len(data) // 2, -1):
            changed = bytearray(data)
            changed[place] ^= 1
            path.write_bytes(changed)
            self.refused(exceptions.ImageCorrupt)
        path.write_bytes(data)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy())

    def test_truncated_data_is_refused(self) -> None:
        path = self.glance.data_path(self.image_id)
        path.write_bytes(path.read_bytes()[:-1])
        self.refused(exceptions.ImageTruncated)

    def test_no_more_than_the_promised_size_is_written(self) -> None:
        path = self.glance.data_path(self.image_id)
        with path.open('ab') as file:
            file.write(b'more')
        # Glance sends as many bytes as it has promised.
        self.assertEqual(SIZE + 4, path.stat().st_size)
        try:
            self.manager.create_disk(self.image(self.image_id), 'vm1')
        except exceptions.ImageError:
            self.assert_nothing_left()
        else:
            self.assertEqual(
                path.read_bytes()[:SIZE],
                self.disks()['vm1'].read_bytes()[:SIZE],
            )

    def test_an_image_without_data_is_refused(self) -> None:
        self.glance.data_path(self.image_id).unlink()
        error = self.assertRaises(
            exceptions.ImageHasNoData,
            self.manager.create_disk,
            self.image(self.image_id),
            'vm1',
        )
        self.assertIn(self.image_id, str(error))
        self.assert_nothing_left()

    def test_a_reset_download_is_resumed(self) -> None:
        # It goes on where it was; a reset may take what was on its way.
        for number, place in enumerate((1, units.Mi, SIZE - 1)):
            self.glance.inject(self.image_id, reset_after=place, count=2)
            self.glance.reset_downloads()
            self.assertEqual(
                instance_disk.Outcome.MISS, self.deploy(f'vm{number}')
            )
            self.assertLess(self.fetched(), SIZE + max(2 * place, 10))
            self.manager.purge(self.manager.list())

    def test_reset_again_and_again(self) -> None:
        self.glance.inject(self.image_id, reset_after=1, count=1000)
        self.addCleanup(self.glance.clear_faults)
        self.refused(exceptions.ImageTruncated)

    def test_a_503_of_glance_is_retried(self) -> None:
        self.glance.inject(self.image_id, status=503, count=2)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy())

    def test_unavailable_again_and_again(self) -> None:
        self.glance.inject(self.image_id, status=503, count=1000)
        self.addCleanup(self.glance.clear_faults)
        self.refused(exceptions.GlanceUnreachable)

    def test_no_right_to_the_data_of_a_cached_image(self) -> None:
        self.deploy()
        reader = self.make_manager(
            self.write_conf(
                f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
                'volume_group_name = cachevg',
                'reader.conf',
                token=self.glance.token('u', 'other', ('member', 'reader')),
            )
        )
        private = self.glance.create_image(
            'private', images.raw_bytes(10), visibility='private'
        )
        self.assertRaises(exceptions.ImageNotFound, self.source.get, private)
        self.assertEqual(1, len(reader.list()))

    def test_the_user_of_a_request_has_to_be_allowed_to(self) -> None:
        # As nova's request contexts are; the configured user may read all.
        class Context:
            global_id = 'req-aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'

            def __init__(self, token: str, url: str) -> None:
                self._plugin = token_endpoint.Token(url, token)

            def get_auth_plugin(self) -> Any:
                return self._plugin

        private = self.store(images.raw_bytes(SIZE), visibility='private')
        image = self.image(private)
        for token, error in (
            (
                self.glance.token('u', 'other', ('member', 'reader')),
                exceptions.ImageNotFound,
            ),
            (
                self.glance.token('u', 'demo', ('reader',)),
                exceptions.ImageForbidden,
            ),
        ):
            self.assertRaises(
                error,
                self.manager.create_disk,
                image,
                'vm1',
                context=Context(token, self.glance.url),
            )
            self.assert_nothing_left()
        done = self.manager.create_disk(
            image,
            'vm1',
            context=Context(
                self.glance.token('u', 'demo', ('member', 'reader')),
                self.glance.url,
            ),
        )
        self.assertEqual(instance_disk.Outcome.MISS, done.outcome)
        self.assert_holds('vm1', private, SIZE)

    def test_qcow2_that_names_another_file(self) -> None:
        image_id = self.store(images.qcow2_bytes(units.Gi), 'qcow2')
        self.glance.replace_data(
            image_id, images.qcow2_bytes(units.Gi, backing_file='/etc/passwd')
        )
        self.assertRaises(
            exceptions.ImageUnsafe,
            self.manager.create_disk,
            self.image(image_id),
            'vm1',
        )
        self.assert_nothing_left()

    def test_qcow2_that_is_none(self) -> None:
        image_id = self.store(images.qcow2_bytes(units.Gi), 'qcow2')
        self.glance.replace_data(image_id, images.raw_bytes(units.Mi))
        self.assertRaises(
            exceptions.ImageUnsafe,
            self.manager.create_disk,
            self.image(image_id),
            'vm1',
        )
        self.assert_nothing_left()


class PowerVMFaultsTestCase(_Base):
    """PowerVM refuses, breaks off, or keeps its answer."""

    def fault(self, action: str, kind: str, **kwargs: object) -> None:
        self.powervm.control.add_fault(
            action, kind=kind, **{'count': 1} | kwargs
        )

    def test_a_broken_upload_does_not_spoil_the_other_disk(self) -> None:
        # Whichever leg it is: of the cached disk (the deploy bypasses) or
        # of the instance's (it is copied from the cached one).
        for number, action in enumerate(
            (
                'reset_before',
                'reset_after_bytes',
                'expire_after_bytes',
                'status',
                'vios_busy',
                'lose_answer',
            )
        ):
            self.fault(action, 'File.upload', bytes=units.Mi, status=500)
            outcome = self.deploy(f'vm{number}')
            self.assertIn(
                outcome,
                (instance_disk.Outcome.MISS, instance_disk.Outcome.BYPASS),
                action,
            )
            self.powervm.control.clear_faults()
            cached = self.manager.list()
            self.assertEqual(
                outcome is instance_disk.Outcome.MISS, bool(cached), action
            )
            for each in cached:
                self.assert_holds(each.disk_name, self.image_id, SIZE)
            self.manager.purge(cached)
            self.assertNotIn('i_' + self.image_id[:8], ' '.join(self.disks()))

    def _refuse_uploads(self, count: int) -> None:
        self.powervm.control.add_fault(
            'status',
            kind='File.upload',
            status=500,
            message='Upload failed: 0 bytes written to the disk.',
            count=count,
        )

    def test_uploads_that_wrote_nothing_are_repeated_once(self) -> None:
        # Incident 49: one in a thousand ends with "0 bytes written".
        self._refuse_uploads(2)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm1'))
        self.manager.purge(self.manager.list())
        self._refuse_uploads(1)
        self.manager.prefetch(self.image(self.image_id))
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm2'))
        self.manager.purge(self.manager.list())
        self.powervm.control.plant_disk(
            'cachevg', naming.base_image_name(self.image_id), 7 * units.Gi
        )
        self._refuse_uploads(1)
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy('vm3'))

    def test_both_uploads_break(self) -> None:
        self._refuse_uploads(4)
        self.assertRaises(
            exceptions.UploadFailed,
            self.manager.create_disk,
            self.image(self.image_id),
            'vm1',
        )
        self.powervm.control.clear_faults()
        self.assert_nothing_left()
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy())

    def test_both_uploads_break_in_passing(self) -> None:
        for number, action in enumerate(
            ('reset_after_bytes', 'expire_after_bytes')
        ):
            self.fault(action, 'File.upload', bytes=units.Mi, count=2)
            self.assertIn(
                self.deploy(f'vm{number}'),
                (instance_disk.Outcome.MISS, instance_disk.Outcome.BYPASS),
            )
            self.manager.purge(self.manager.list())
            self.powervm.control.clear_faults()

    def test_both_uploads_break_again_and_again(self) -> None:
        self.fault(
            'reset_after_bytes', 'File.upload', bytes=units.Mi, count=100
        )
        self.assertRaises(
            exceptions.PowerVMUnreachable,
            self.manager.create_disk,
            self.image(self.image_id),
            'vm1',
        )
        self.assert_nothing_left()

    def test_a_refused_file_entry_does_not_fail_a_deploy(self) -> None:
        self.powervm.control.change_settings(file_limit=1)
        self.assertIn(
            self.deploy(),
            (instance_disk.Outcome.MISS, instance_disk.Outcome.BYPASS),
        )

    def test_lost_answer_of_an_update(self) -> None:
        self.manager.usage()
        self.fault('lose_answer', 'VolumeGroup.update')
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm1'))
        # Nothing shows that a copy is complete: it is deleted.
        self.fault('lose_answer', 'VolumeGroup.update')
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy('vm2'))
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm3'))
        self.assertEqual(4, len(self.disks()))

    def test_an_unusable_answer_to_a_change_leaves_nothing_behind(
        self,
    ) -> None:
        disabled = self.directory / 'disabled.conf'
        disabled.write_text(
            self.conf_file.read_text().replace(
                'volume_group_name', 'enabled = false\nvolume_group_name'
            )
        )
        for number, (kind, answer) in enumerate(
            itertools.product(
                ('VolumeGroup.update', 'File.create', 'File.upload'),
                (
                    *unusable_answers.ANSWERS,
                    unusable_answers.entry(
                        'VolumeGroup', unusable_answers.NAN_DISK
                    ),
                ),
            )
        ):
            for conf_file in (self.conf_file, disabled):
                manager = self.make_manager(conf_file)
                name = f'vm{number}'
                self.fault('replace_answer', kind, message=answer)
                try:
                    manager.create_disk(self.image(self.image_id), name)
                except exceptions.PVMImageCacheError:
                    pass
                else:
                    self.assert_holds(name, self.image_id, SIZE)
                    manager.delete_disk(name)
                self.powervm.control.clear_faults()
                manager.run_cleanup(())
                manager.purge(manager.list())
                remaining = (sorted(self.disks()), self.file_entries())
                self.assertEqual(([], 0), remaining, (kind, answer))

    def check_that_a_foreign_disk_is_kept(self) -> None:
        theirs = self.directory / 'theirs'
        theirs.write_bytes(b'precious')

        def others(attempt: int) -> None:
            self.powervm.control.plant_disk(
                'cachevg', 'vm2', units.Gi, str(theirs)
            )

        self.fault('reset_before', 'VolumeGroup.update')
        with mock.patch.object(retry, 'back_off', others):
            self.assertRaises(
                exceptions.DiskExists,
                self.manager.create_disk,
                self.image(self.image_id),
                'vm2',
            )
        self.manager.run_cleanup(())
        with self.disks()['vm2'].open('rb') as disk:
            self.assertEqual(b'precious', disk.read(8))

    def test_a_foreign_disk_is_kept_after_a_lost_request(self) -> None:
        self.deploy('vm1')
        self.check_that_a_foreign_disk_is_kept()

    def test_a_foreign_disk_is_kept_among_disks_without_labels(self) -> None:
        # No disk shows that labels are kept; the catalog knows it.
        self.deploy('vm1')
        self.manager.delete_disk('vm1')
        self.manager.purge(self.manager.list())
        self.assert_nothing_left()
        self.check_that_a_foreign_disk_is_kept()

    def test_an_answer_that_does_not_show_the_disks(self) -> None:
        confirm = changes.confirm

        def blind(after: Any, pending: Any, before: set[str]) -> None:
            confirm(after, pending, after.udids)

        for name in ('vm1', 'vm2'):
            with mock.patch.object(changes, 'confirm', blind):
                error = self.assertRaises(
                    exceptions.PowerVMRequestFailed,
                    self.manager.create_disk,
                    self.image(self.image_id),
                    name,
                )
            self.assertIn('does not show', str(error))
            # They are there, and whoever comes next knows of them.
            self.assertIn(name, self.disks())
            self.manager.run_cleanup(())
            self.assertNotIn(name, self.disks())
            self.assertEqual(len(self.manager.list()), len(self.disks()))
            self.deploy('other_' + name)
            self.manager.delete_disk('other_' + name)

    def test_an_update_is_retried_after_412(self) -> None:
        self.fault('precondition', 'VolumeGroup.update', count=3)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm1'))
        self.fault('precondition', 'VolumeGroup.update', count=3)
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm2'))

    def test_a_volume_group_that_another_server_has_by_now(self) -> None:
        self.deploy('vm1')
        before = self.manager.driver.pool_id()
        self.powervm.control.remove_volume_group('cachevg')
        self.powervm.control.add_vios('vios2')
        self.powervm.control.add_volume_group(
            'vios2', 'cachevg', 100 * units.Gi
        )
        # One that finds out may fail; nobody has to restart anything.
        self.assertRaises(exceptions.PowerVMRequestFailed, self.manager.usage)
        self.assertEqual(
            [instance_disk.Outcome.MISS, instance_disk.Outcome.HIT],
            [self.deploy('vm2'), self.deploy('vm3')],
        )
        after = self.manager.driver.pool_id()
        self.assertNotEqual(before, after)
        # Who does not ask PowerVM looks there, too.
        self.assertEqual(
            after,
            seams.remembered_pool(
                self.catalog(),
                shell.read_configuration([str(self.conf_file)], []),
            ),
        )
        self.manager.run_cleanup(())

    def test_an_expired_session_is_renewed(self) -> None:
        self.manager.usage()
        self.powervm.control.expire_sessions()
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm1'))
        self.powervm.control.expire_sessions()
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm2'))

    def test_a_full_group_bypasses_the_cache_or_fails_the_deploy(self) -> None:
        self.fault('no_space', 'VolumeGroup.update')
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy('vm1'))
        self.fault('no_space', 'VolumeGroup.update', count=2)
        self.assertRaises(
            exceptions.NotEnoughSpace,
            self.manager.create_disk,
            self.image(self.image_id),
            'vm2',
        )

    def test_an_undeletable_disk_is_removed_later(self) -> None:
        self.deploy()
        self.fault('status', 'VolumeGroup.update', status=500, count=1)
        (result,) = self.manager.purge(self.manager.list())
        self.assertFalse(result.removed)
        (again,) = self.manager.purge(self.manager.list())
        self.assertTrue(again.removed)

    def test_a_disk_that_takes_no_data(self) -> None:
        manager = self.make_manager(
            self.write_conf(
                f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
                'volume_group_name = cachevg\nstall_timeout = 1\n'
                'request_timeout = 5',
                'stall.conf',
            )
        )
        self.image_id = self.store_raw(40 * units.Mi)
        self.fault(
            'stall_after_bytes', 'File.upload', bytes=units.Mi, seconds=8
        )
        done = manager.create_disk(self.image(self.image_id), 'vm1')
        self.assertIn(
            done.outcome,
            (instance_disk.Outcome.MISS, instance_disk.Outcome.BYPASS),
        )
        self.assert_holds('vm1', self.image_id, SIZE)


class CatalogFaultsTestCase(_Base):
    """The cache's own files are broken: deploys go past it."""

    def break_catalog(self, content: bytes) -> None:
        self.manager.close()
        for path in (self.directory / 'state').glob('catalog.sqlite*'):
            path.unlink()
        (self.directory / 'state').mkdir(exist_ok=True)
        (self.directory / 'state' / 'catalog.sqlite').write_bytes(content)

    def test_a_corrupt_catalog_is_set_aside(self) -> None:
        self.deploy('vm1')
        content = b'this is not a database' * 1000
        self.break_catalog(content)
        # The base image is there, but nobody knows that it is whole.
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm2'))
        (kept,) = (self.directory / 'state').glob('catalog.sqlite.corrupt-*')
        self.assertEqual(content, kept.read_bytes())
        self.image_id = self.store_raw(SIZE, 2)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm3'))

    def test_a_complete_disk_survives_a_locked_catalog(self) -> None:
        # From the moment on when the disk is made nothing can be written:
        # neither that it is finished, nor anything else.
        def lock_after(*args: Any) -> Any:
            disk = made(*args)
            self.addCleanup(other.close)
            other.execute('BEGIN EXCLUSIVE')
            return disk

        self.deploy('vm1')
        other = sqlite3.connect(
            self.directory / 'state' / 'catalog.sqlite',
            isolation_level=None,
            check_same_thread=False,
        )
        self.useFixture(
            fixtures.MockPatchObject(catalog_file, 'BUSY_TIMEOUT', 0.1)
        )
        self.manager = self.make_manager()
        made = self.manager.driver.copy_disk
        with mock.patch.object(self.manager.driver, 'copy_disk', lock_after):
            self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm2'))
        other.execute('ROLLBACK')
        self.manager.reconcile()
        self.assert_holds('vm2', self.image_id, SIZE)
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm3'))

    def test_a_complete_disk_survives_without_any_record(self) -> None:
        self.deploy('vm1')
        with mock.patch.object(
            catalog_disks.InstanceDisks,
            'finish',
            autospec=True,
            side_effect=exceptions.CatalogError(path='x', reason='full'),
        ):
            self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm2'))
            self.manager.reconcile()
            self.assertIn('vm2', self.disks())
        self.assertEqual(1, len(self.unfinished(self.manager)))
        self.manager.reconcile()
        self.assertEqual([], self.unfinished(self.manager))
        self.assert_holds('vm2', self.image_id, SIZE)

    def test_a_late_disk_of_a_crashed_process_is_replaced(self) -> None:
        pool = self.manager.driver.pool_id()
        catalog = self.catalog()
        image = self.image(self.image_id)
        record = seams.start_fill(
            catalog, pool, naming.base_image_name(image.id), image
        )
        entry = seams.start_instance_disk(catalog, pool, 'vm1', SIZE)
        self.assertEqual(
            ((), ()),
            (
                self.manager.reconcile().removed,
                self.manager.reconcile().forgotten,
            ),
        )
        # A deploy takes over; the disks appear when it makes its own.
        make = self.manager.driver.create_disks

        def appear_first(new: Any) -> Any:
            self.manager.driver.create_disks = make
            make(
                [
                    base_module.NewDisk(
                        each.disk_name,
                        units.Mi,
                        'raw',
                        seams.label_of(each),
                    )
                    for each in (record, entry)
                ]
            )
            return make(new)

        self.manager.driver.create_disks = appear_first
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm1'))
        self.assertEqual(2, len(self.disks()))

    def test_a_disk_that_a_partition_has_is_never_deleted(self) -> None:
        pool = self.manager.driver.pool_id()
        catalog = self.catalog()
        for name in ('vm1', 'vm2'):
            self.deploy(name)
            disk = self.manager.driver.find_disk(name)
            entry = seams.start_instance_disk(
                catalog,
                pool,
                name,
                SIZE,
                seams.fill_of(disk),
            )
            seams.set_udid(catalog, entry, disk.udid)
        self.map_disk(self.manager, 'vm1')
        found = self.manager.reconcile()
        # Both are on record as unfinished; one is in use.
        self.assertEqual(('vm2',), found.removed)
        self.assertNotIn('vm2', self.disks())
        self.assert_holds('vm1', self.image_id, SIZE)
        self.assertEqual([], self.unfinished(self.manager))

    def test_a_file_as_state_path_is_bypassed(self) -> None:
        (self.directory / 'state').write_text('')
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy('vm1'))
