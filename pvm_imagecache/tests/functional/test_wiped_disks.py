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
"""Blocks of deleted disks, which new disks on some platforms contain."""

import os

from pvm_imagecache import exceptions
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images

_SECRET = b'bytes of another tenant ' * 1000
_SIZE = 5 * base.MIB + 1


class StaleBlocksTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.powervm.control.change_settings(new_disks='stale')
        self.leave_blocks()
        self.made = self.make_manager()

    def leave_blocks(self, count: int = 4) -> None:
        """Delete disks of another tenant."""
        made = self.make_manager()
        disks = made.driver.create_disks(
            [
                driver_base.NewDisk(f'old{n}', 2 * base.GIB, 'raw')
                for n in range(count)
            ]
        )
        for disk in disks:
            with open(self.disks()[disk.name], 'r+b') as file:
                for at in (
                    _SIZE,
                    base.GIB - 50_000,
                    base.GIB,
                    2 * base.GIB - 50_000,
                ):
                    os.pwrite(file.fileno(), _SECRET, at)
        made.driver.delete_disks(disks)

    def deploy(self, image_id: str, name: str, gib: int = 0) -> str:
        found = self.made.create_disk(
            self.image(image_id), name, gib * base.GIB
        )
        return found.outcome.value

    def leaks(self, name: str) -> bool:
        """Return whether a disk has bytes of the other tenant."""
        with open(self.disks()[name], 'rb') as file:
            for at in (
                _SIZE,
                base.GIB - 50_000,
                base.GIB,
                2 * base.GIB - 50_000,
            ):
                if _SECRET[:24] in os.pread(file.fileno(), 1 << 17, at):
                    return True
        return False


class WithoutWipingTest(StaleBlocksTestCase):
    def test_old_blocks_are_readable(self) -> None:
        image_id = self.store_raw(_SIZE)
        self.assertEqual('miss', self.deploy(image_id, 'vm1', 2))
        self.assertTrue(self.leaks('vm1'))


class WipingTest(StaleBlocksTestCase):
    options = 'wipe_disks = true\n'

    def test_a_miss_and_a_hit_have_no_old_blocks(self) -> None:
        image_id = self.store_raw(_SIZE)
        self.assertEqual('miss', self.deploy(image_id, 'vm1'))
        self.assertEqual('hit', self.deploy(image_id, 'vm2'))
        self.assertEqual('hit', self.deploy(image_id, 'vm3', 1))
        for name in self.disks():
            self.assert_holds(name, image_id, base.GIB)

    def test_a_larger_disk_is_downloaded_and_wiped(self) -> None:
        image_id = self.store_raw(_SIZE)
        self.assertEqual('miss', self.deploy(image_id, 'vm1', 2))
        self.leave_blocks()
        self.assertEqual('bypass', self.deploy(image_id, 'vm2', 2))
        for name in ('vm1', 'vm2'):
            self.assert_holds(name, image_id, 2 * base.GIB)

    def test_a_prefetched_image_is_wiped_once(self) -> None:
        image_id = self.store_raw(_SIZE)
        self.made.prefetch(self.image(image_id))
        (name,) = self.disks()
        self.assert_holds(name, image_id, base.GIB)
        self.fetched()
        self.made.prefetch(self.image(image_id))
        self.assertEqual(0, self.fetched())
        self.assertEqual('hit', self.deploy(image_id, 'vm1'))
        self.assert_holds('vm1', image_id, base.GIB)

    def test_an_image_as_large_as_its_disk_needs_no_zeros(self) -> None:
        image_id = self.store_raw(base.GIB)
        self.assertEqual('miss', self.deploy(image_id, 'vm1'))
        self.assertEqual('hit', self.deploy(image_id, 'vm2'))
        for name in self.disks():
            self.assert_holds(name, image_id, base.GIB)

    def test_an_earlier_base_image_is_fetched_again(self) -> None:
        image_id = self.store_raw(_SIZE)
        self.made = self.make_manager(
            self.write_conf(
                self.conf_file.read_text()
                .partition('[pvm_imagecache]')[2]
                .partition('[glance]')[0]
                .replace('wipe_disks = true', 'wipe_disks = false'),
                'off.conf',
            )
        )
        self.made.prefetch(self.image(image_id))
        (name,) = self.disks()
        self.assertTrue(self.leaks(name))
        self.made = self.make_manager()
        self.assertEqual('miss', self.deploy(image_id, 'vm1'))
        for name in self.disks():
            self.assert_holds(name, image_id, base.GIB)

    def test_an_image_that_zeros_cannot_follow_is_refused(self) -> None:
        image_id = self.store(
            images.qcow2_bytes(base.MIB), disk_format='qcow2'
        )
        error = self.assertRaises(
            exceptions.PVMImageCacheError, self.deploy, image_id, 'vm1', 1
        )
        self.assertIn('qcow2', str(error))
        self.assertEqual({}, self.disks())


class WipingWithoutCacheTest(StaleBlocksTestCase):
    options = 'wipe_disks = true\nenabled = false\n'

    def test_a_bypass_has_no_old_blocks(self) -> None:
        image_id = self.store_raw(_SIZE)
        self.assertEqual(
            instance_disk.Outcome.BYPASS.value,
            self.deploy(image_id, 'vm1', 2),
        )
        self.assert_holds('vm1', image_id, 2 * base.GIB)
