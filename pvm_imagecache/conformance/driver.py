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

"""The conformance suite of disk drivers."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import random
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.conformance import cases
from pvm_imagecache.drivers import base as driver_base

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


class DriverConformance:
    """Tests for every driver with ``Capability.IMAGE_CACHE``.

    A mixin for a ``TestCase`` that makes the driver, and reads the bytes of
    a disk::

        class MyDriverTest(fixtures.DriverConformance, unittest.TestCase):
            def make_driver(self):
                return plugins.load_driver(fixtures.configuration(...))

            def read(self, disk, size):
                ...

    The pool may contain other disks; each test deletes the disks that it
    creates. Drivers that use the PowerVM REST API can be tested with the
    simulator, :mod:`pvm_imagecache.simulator`.
    """

    def make_driver(self) -> driver_base.DiskDriver:
        """Return a driver for a pool with several GiB of free space.

        :returns: the driver; it is closed at the end of the test.
        """
        raise NotImplementedError

    def read(self, disk: driver_base.Disk, size: int) -> bytes:
        """Return the first bytes of a disk, read without the driver.

        :param disk: the disk.
        :param size: bytes to read.
        :returns: the bytes.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """Make the driver."""
        super().setUp()  # type: ignore[misc]
        self.driver = self.make_driver()
        cases.case(self).addCleanup(self.driver.close)

    def make(
        self, *names: str, size: int = _MIB
    ) -> Sequence[driver_base.Disk]:
        """Create disks that are deleted at the end of the test.

        :param names: of the disks.
        :param size: of each disk, in bytes.
        :returns: the disks, in the order of their names.
        """
        made = self.driver.create_disks(
            [driver_base.NewDisk(each, size, 'raw') for each in names]
        )
        cases.case(self).addCleanup(self.driver.delete_disks, made)
        return made

    def fill(self, disk: driver_base.Disk, data: bytes) -> None:
        """Upload data to a disk, in pieces of 1 MiB.

        :param disk: the disk.
        :param data: the bytes.
        """
        self.driver.upload(
            disk,
            iter(
                [
                    data[start : start + _MIB]
                    for start in range(0, len(data), _MIB)
                ]
            ),
            len(data),
        )

    def test_the_pool_is_described(self) -> None:
        """pool(), pool_id() and snapshot() agree."""
        pool = self.driver.pool()
        cases.case(self).assertEqual(pool.id, self.driver.pool_id())
        cases.case(self).assertEqual(pool, self.driver.snapshot().pool)
        cases.case(self).assertLessEqual(pool.free, pool.capacity)

    def test_disks_are_created_found_and_deleted(self) -> None:
        """Disks can be created, found and deleted."""
        first, second = self.make('pvmic_t1', 'pvmic_t2')
        cases.case(self).assertNotEqual(first.udid, second.udid)
        cases.case(self).assertGreaterEqual(first.capacity, _MIB)
        found = self.driver.find_disk('pvmic_t1')
        cases.case(self).assertEqual(
            (first.name, first.udid),
            (found.name, found.udid) if found else None,
        )
        cases.case(self).assertIn(
            first.udid, {each.udid for each in self.driver.snapshot().disks}
        )
        cases.case(self).assertNotIn(
            first.udid,
            {each.udid for each in self.driver.base_image_snapshot().disks},
            'its name is not that of a base image',
        )
        for _ in range(2):
            # A disk that does not exist is not an error.
            cases.case(self).assertEqual(
                [None, None],
                [
                    each.error
                    for each in self.driver.delete_disks([first, second])
                ],
            )
        cases.case(self).assertIsNone(self.driver.find_disk('pvmic_t1'))

    def test_base_images_are_found_among_the_disks(self) -> None:
        """base_image_snapshot() contains all disks named as base images."""
        made, _ = self.make('i_00000000_0000', 'pvmic_t1')
        snapshot = self.driver.base_image_snapshot()
        pool, found = snapshot.pool, snapshot.disks
        cases.case(self).assertEqual(pool, self.driver.pool())
        cases.case(self).assertIn(made, found)
        cases.case(self).assertEqual(
            [
                each
                for each in self.driver.snapshot().disks
                if naming.is_base_image_name(each.name)
            ],
            found,
        )

    def test_a_disk_of_the_same_name_is_not_deleted(self) -> None:
        """A disk with another UDID is not deleted."""
        (disk,) = self.make('pvmic_t1')
        self.driver.delete_disks(
            [dataclasses.replace(disk, udid='0' * len(disk.udid))]
        )
        cases.case(self).assertIsNotNone(
            self.driver.find_disk('pvmic_t1'),
            'delete_disks() must find disks by UDID and name',
        )

    def test_a_name_is_used_once(self) -> None:
        """A name that is in use is refused, and nothing is created."""
        self.make('pvmic_t1')
        cases.case(self).assertRaises(
            exceptions.DiskExists, self.make, 'pvmic_t2', 'pvmic_t1'
        )
        cases.case(self).assertIsNone(
            self.driver.find_disk('pvmic_t2'),
            'create_disks() must create all of the disks, or none',
        )

    def test_lack_of_space_is_reported(self) -> None:
        """NotEnoughSpace is raised with the bytes that are needed."""
        free = self.driver.pool().free
        error = cases.raised(
            self,
            exceptions.NotEnoughSpace,
            lambda: self.make('pvmic_t1', size=free + 2 * _GIB),
        )
        cases.case(self).assertGreater(
            error.needed_bytes,
            free,
            'needed_bytes must be the space that is needed',
        )

    def test_uploaded_bytes_are_stored_and_copied(self) -> None:
        """An upload and a copy contain the same bytes."""
        data = random.Random(1).randbytes(3 * _MIB + 17)  # noqa: S311
        (source,) = self.make('pvmic_t1', size=len(data))
        self.fill(source, data)
        cases.case(self).assertEqual(data, self.read(source, len(data)))
        copy = self.driver.copy_disk(
            source, driver_base.NewDisk('pvmic_t2', len(data), 'raw')
        )
        cases.case(self).addCleanup(self.driver.delete_disks, [copy])
        cases.case(self).assertEqual(data, self.read(copy, len(data)))
        self.driver.delete_disks([source])
        cases.case(self).assertEqual(
            data,
            self.read(copy, len(data)),
            'a copy must not depend on its source',
        )

    def test_an_invalid_source_is_not_copied(self) -> None:
        """A source that is missing or no longer valid is not copied."""
        (source,) = self.make('pvmic_t1')
        new = driver_base.NewDisk('pvmic_t2', _MIB, 'raw')
        for wrong, valid in (
            (dataclasses.replace(source, udid='other'), True),
            (dataclasses.replace(source, name='pvmic_t9'), True),
            (source, False),
        ):
            cases.raised(
                self,
                exceptions.BaseImageGone,
                lambda wrong=wrong, valid=valid: self.driver.copy_disk(
                    wrong, new, lambda: valid
                ),
            )
            cases.case(self).assertIsNone(self.driver.find_disk('pvmic_t2'))

    def test_a_failed_upload_leaves_nothing_but_the_disk(self) -> None:
        """A failed upload leaves nothing but the disk."""
        (disk,) = self.make('pvmic_t1', size=2 * _MIB)

        def pieces() -> Iterator[bytes]:
            yield bytes(_MIB)
            raise exceptions.TransferAborted(
                what='the test', reason='it ends here'
            )

        cases.raised(
            self,
            exceptions.PVMImageCacheError,
            lambda: self.driver.upload(disk, pieces(), 2 * _MIB),
        )
        cases.case(self).assertNotIn(
            disk.udid,
            self.driver.upload_targets(),
            'an upload must leave nothing but the disk',
        )

    def test_a_new_disk_is_not_mapped(self) -> None:
        """A new disk is not mapped to a partition."""
        disks = self.make('pvmic_t1', 'pvmic_t2')
        cases.case(self).assertEqual(set(), self.driver.mapped(disks))
        self.driver.remove_uploads(disks[0])
