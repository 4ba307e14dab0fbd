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

"""The driver for Shared Storage Pools on the simulator."""

from concurrent import futures
import dataclasses
import itertools
import pathlib
import time

import fixtures
from oslo_utils import units
from pypowervm.tasks import cluster_ssp as pvm_cluster_ssp

from pvm_imagecache import exceptions
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers.ssp import driver
from pvm_imagecache.drivers.ssp import image_unit
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import unusable_answers

SIZE = 3 * units.Mi + 5


class PoolTestCase(base.FunctionalTestCase):
    """A manager of a Shared Storage Pool."""

    cluster = ('cluster1', 100.0)

    def setUp(self) -> None:
        super().setUp()
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'disk_driver = ssp\n'
        )
        self.manager = self.make_manager()


class SSPTestCase(PoolTestCase):
    """Image LUs and linked clones, without base images."""

    def units_by_name(self) -> dict[str, pathlib.Path]:
        return self.disks()

    def test_disks_are_clones_of_one_image(self) -> None:
        image_id = self.store_raw(SIZE)
        for name, fetched in (('boot_one', SIZE), ('boot_two', 0)):
            done = self.manager.create_disk(
                self.image(image_id), name, 2 * units.Gi
            )
            self.assertEqual(instance_disk.Outcome.POOL, done.outcome)
            self.assertEqual(fetched, done.bytes_fetched)
            self.assertEqual(fetched, self.fetched())
            self.assertEqual(2 * units.Gi, done.disk.capacity)
            self.assert_holds(name, image_id, SIZE)
        self.assertEqual(0, self.file_entries())
        self.assertEqual(3, len(self.units_by_name()))

    def test_several_hosts_upload_an_image_once(self) -> None:
        # Each manager has its own state, as a host has. One more host runs
        # nova-powervm.
        self.useFixture(
            fixtures.MockPatchObject(image_unit, '_LOOK_INTERVAL', 0.05)
        )
        self.useFixture(
            fixtures.MockPatchObject(
                pvm_cluster_ssp, '_sleep_for_upload', lambda: time.sleep(0.05)
            )
        )
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        managers = [self.make_manager() for _ in range(3)]
        theirs = managers[0]._driver

        def old_way() -> object:
            return pvm_cluster_ssp.get_or_upload_image_lu(
                theirs._tier(),
                driver.image_lu_name(image),
                theirs._upload_vios(),
                lambda: iter([self.glance.data_path(image_id).read_bytes()]),
                SIZE,
            )

        with futures.ThreadPoolExecutor(4) as pool:
            old = pool.submit(old_way)
            done = [
                pool.submit(each.create_disk, image, f'vm{number}')
                for number, each in enumerate(managers)
            ]
            self.assertTrue(old.result())
            for each in done:
                self.assertEqual(
                    instance_disk.Outcome.POOL, each.result().outcome
                )
        self.assertEqual(
            {'vm0', 'vm1', 'vm2', driver.image_lu_name(image)},
            set(self.units_by_name()),
        )
        for number in range(3):
            self.assert_holds(f'vm{number}', image_id, SIZE)
        self.assertLessEqual(self.fetched(), SIZE)

    def test_a_deleted_disk_leaves_its_siblings(self) -> None:
        image_id = self.store_raw(SIZE)
        for name in ('one', 'two'):
            self.manager.create_disk(self.image(image_id), name)
        self.manager.delete_disk('one')
        self.assertNotIn('one', self.units_by_name())
        self.assert_holds('two', image_id, SIZE)
        self.assertRaises(
            exceptions.DiskNotFound, self.manager.delete_disk, 'one'
        )

    def test_a_refused_deletion_is_no_success(self) -> None:
        self.manager.create_disk(self.image(self.store_raw(SIZE)), 'one')
        self.powervm.control.add_fault(
            'status', method='DELETE', path_regex='LogicalUnit', status=500
        )
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.manager.delete_disk, 'one'
        )
        self.assertIn('one', self.units_by_name())

    def test_a_taken_name_is_refused(self) -> None:
        image = self.image(self.store_raw(SIZE))
        self.manager.create_disk(image, 'one')
        self.assertRaises(
            exceptions.DiskExists, self.manager.create_disk, image, 'one'
        )

    def test_a_corrupt_image_leaves_nothing(self) -> None:
        image_id = self.store_raw(SIZE)
        path = self.glance.data_path(image_id)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        self.assertRaises(
            exceptions.ImageCorrupt,
            self.manager.create_disk,
            self.image(image_id),
            'one',
        )
        self.assertEqual({}, self.units_by_name())
        self.assertEqual(0, self.file_entries())

    def test_an_unusable_answer_never_leads_to_wrong_bytes(self) -> None:
        self.useFixture(
            fixtures.MockPatchObject(self.manager.driver, '_patience', 1.0)
        )
        for number, (skip, answer) in enumerate(
            itertools.product((0, 1, 2), unusable_answers.ANSWERS)
        ):
            image_id = self.store_raw(SIZE)
            # The marker of an upload, the image, and the instance disk.
            self.powervm.control.add_fault(
                'replace_answer',
                method='PUT',
                path_regex='/LogicalUnit$',
                skip=skip,
                count=1,
                message=answer,
            )
            for name in (f'one{number}', f'two{number}'):
                try:
                    self.manager.create_disk(self.image(image_id), name)
                except exceptions.PVMImageCacheError:
                    continue
                self.assert_holds(name, image_id, SIZE)
            self.assertIn(f'two{number}', self.disks(), (skip, answer))
            self.assertEqual(0, self.file_entries())
            self.powervm.control.clear_faults()

    def test_cache_operations_are_not_supported(self) -> None:
        image = self.image(self.store_raw(SIZE))
        for call in (
            self.manager.list,
            lambda: self.manager.prefetch(image),
            lambda: self.manager.purge([]),
        ):
            error = self.assertRaises(exceptions.NotSupported, call)
            self.assertIn('caches images itself', str(error))
        usage = self.manager.usage()
        self.assertEqual(100 * units.Gi, usage.pool.capacity)
        self.assertEqual(0, usage.images)

    def test_commands_report_an_own_cache(self) -> None:
        image_id = self.store_raw(SIZE)
        done = self.run_shell(
            'disk', 'create', image_id, 'boot_of_a_server', '-f', 'json'
        )
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('"outcome": "shared-pool"', done.stdout)
        done = self.run_shell('list')
        self.assertEqual(1, done.returncode)
        self.assertIn('caches images itself', done.stderr)
        done = self.run_shell('usage')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('managed by the pool', done.stdout)

    def test_a_missing_cluster_is_reported(self) -> None:
        other = self.make_manager(
            self.write_conf(
                f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
                'disk_driver = ssp\ncluster_name = other',
                'other.conf',
            )
        )
        error = self.assertRaises(exceptions.ClusterNotFound, other.usage)
        self.assertIn(
            'Cluster "other" not found. Known clusters: cluster1', str(error)
        )


class ForgedMD5TestCase(PoolTestCase):
    """Images of other users with the MD5 of an image, which can be forged."""

    #: Two blocks with the same MD5 (Wang et al., 2004). All that follows
    #: them may be equal.
    BLOCK = bytes.fromhex(
        'd131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89'
        '55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b'
        'd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0'
        'e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70'
    )
    DIFFERENT = (19, 45, 59, 83, 109, 123)

    def _colliding(self) -> tuple[str, str]:
        """Store two images with equal name, size and MD5."""
        other = bytes(
            each ^ (0x80 if place in self.DIFFERENT else 0)
            for place, each in enumerate(self.BLOCK)
        )
        rest = images.raw_bytes(SIZE)
        first, second = (
            self.glance.create_image('debian-13', block + rest)
            for block in (self.BLOCK, other)
        )
        return first, second

    def test_an_image_with_a_forged_md5_does_not_serve_others(self) -> None:
        private, forged = self._colliding()
        first, second = self.image(private), self.image(forged)
        self.assertEqual(
            (first.name, first.size, first.checksum),
            (second.name, second.size, second.checksum),
        )
        for image in (second, first):
            self.manager.create_disk(image, f'of_{image.id[:8]}')
        for image in (second, first):
            self.assert_holds(f'of_{image.id[:8]}', image.id, image.size)

    def test_a_forged_md5_of_images_without_other_hash_is_of_no_use(
        self,
    ) -> None:
        for image_id in self._colliding():
            image = dataclasses.replace(
                self.image(image_id), os_hash_algo=None, os_hash_value=None
            )
            self.manager.create_disk(image, f'of_{image_id[:8]}')
            self.assert_holds(f'of_{image_id[:8]}', image_id, image.size)

    def test_units_of_nova_powervm_are_shared_on_request_only(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        theirs = driver.image_lu_name(image, shared_with_nova_powervm=True)
        pool = self.manager._driver
        pvm_cluster_ssp.get_or_upload_image_lu(
            pool._tier(),
            theirs,
            pool._upload_vios(),
            lambda: iter([self.glance.data_path(image_id).read_bytes()]),
            SIZE,
        )
        sharing = self.make_manager(
            self.write_conf(
                f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
                'disk_driver = ssp\nshared_with_nova_powervm = true\n',
                'sharing.conf',
            )
        )
        done = sharing.create_disk(image, 'one')
        self.assertEqual(0, done.bytes_fetched)
        done = self.manager.create_disk(image, 'two')
        self.assertEqual(SIZE, done.bytes_fetched)
        for name in ('one', 'two'):
            self.assert_holds(name, image_id, SIZE)
