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

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import os
import random
import sys
import threading
import time
import tracemalloc
from typing import Any
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache import text
from pvm_imagecache.conformance import cases
from pvm_imagecache.conformance import process
from pvm_imagecache.conformance.configuration import configuration
from pvm_imagecache.drivers import base as driver_base

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
#: Bytes of an upload that must not be in memory as a whole, and how many may.
_LARGE: Final = 48 * _MIB
_MEMORY: Final = 24 * _MIB
#: Threads and rounds in which they compete.
_THREADS: Final = 6
_ROUNDS: Final = 4
#: Seconds in which a deletion that is not excluded is certainly over.
_EXCLUDED: Final = 1.0
#: Seconds to wait for what must happen.
_PATIENCE: Final = 30.0


class DriverHarness:
    """What a test of a driver needs to know; see the suites.

    :ivar driver: the driver, made by :meth:`make_driver`.
    """

    driver: driver_base.DiskDriver
    _options: Mapping[str, Mapping[str, object]] | None = None

    def configure(self) -> Mapping[str, Mapping[str, object]]:
        """Return the options of a pool, without disks, for one test.

        :returns: values by group and option name, as in a configuration
            file: ``disk_driver`` in ``pvm_imagecache``, and the options of
            the driver.
        """
        raise NotImplementedError

    def make_driver(self) -> driver_base.DiskDriver:
        """Return a driver for a pool with several GiB of free space.

        Override to test a driver that has no entry point.

        :returns: by default the driver of :meth:`configure`, loaded as
            nova-compute and the commands do; it is closed at the end of the
            test.
        """
        if self._options is None:
            self._options = self.configure()
        return plugins.load_driver(configuration(self._options))

    def make_second_driver(self) -> driver_base.DiskDriver:
        """Return another driver for the same pool, as after a restart.

        Override if :meth:`make_driver` is overridden; tests that need it are
        skipped otherwise.

        :returns: the driver; it is closed at the end of the test.
        """
        if self._options is None:
            cases.case(self).skipTest(
                'define configure() or make_second_driver()'
            )
        return self.make_driver()

    def read(self, disk: driver_base.Disk, size: int) -> bytes:
        """Return the first bytes of a disk, read without the driver.

        :param disk: the disk.
        :param size: bytes to read.
        :returns: the bytes.
        """
        raise NotImplementedError

    def write(self, disk: driver_base.Disk, data: bytes) -> None:
        """Write to the beginning of a disk, without the driver.

        An instance does that. Override it, so that it can be tested whether
        copies depend on their source.

        :param disk: the disk.
        :param data: the bytes.
        """
        cases.case(self).skipTest('define write()')

    def map(self, disk: driver_base.Disk) -> None:
        """Map a disk to a partition, without the driver.

        Override it, so that ``mapped`` can be tested.

        :param disk: the disk; it is deleted at the end of the test.
        """
        cases.case(self).skipTest('define map()')

    def leftovers(self) -> Sequence[str]:
        """Return the names of all that the driver has in its storage.

        Disks that are deleted, failed uploads and failed copies must leave
        nothing there.

        :returns: by default the files below the directories that the options
            of the driver name.
        """
        return sorted(
            os.path.join(root, name)
            for values in (self._options or {}).values()
            for path in values.values()
            if isinstance(path, str) and os.path.isabs(path)
            for root, _, names in os.walk(path)
            for name in names
        )

    def setUp(self) -> None:
        """Make the driver."""
        super().setUp()  # type: ignore[misc]
        self._options = None
        self.driver = self.make_driver()
        cases.case(self).addCleanup(self.driver.close)

    def second(self) -> driver_base.DiskDriver:
        """Return another driver for the same pool, closed at the end.

        :returns: the driver.
        """
        made = self.make_second_driver()
        cases.case(self).addCleanup(made.close)
        return made


class DriverConformance(DriverHarness):
    """Tests for every driver with ``Capability.IMAGE_CACHE``.

    A mixin for a ``TestCase`` that configures the driver, and reads the bytes
    of a disk::

        class MyDriverTest(fixtures.DriverConformance, unittest.TestCase):
            def configure(self):
                return {'pvm_imagecache': {'disk_driver': 'mypool'}, ...}

            def read(self, disk, size):
                ...

    The pool may contain other disks; each test deletes the disks that it
    creates. Drivers that use the PowerVM REST API can be tested with the
    simulator, :mod:`pvm_imagecache.simulator`.
    """

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

    def test_an_instance_changes_its_own_disk_only(self) -> None:
        """What is written to a copy or its source does not change the other.

        It is skipped without :meth:`write`.
        """
        data = random.Random(3).randbytes(_MIB)  # noqa: S311
        (source,) = self.make('pvmic_t1', size=len(data))
        self.fill(source, data)
        copy = self.driver.copy_disk(
            source, driver_base.NewDisk('pvmic_t2', len(data), 'raw')
        )
        cases.case(self).addCleanup(self.driver.delete_disks, [copy])
        for changed, kept in ((copy, source), (source, copy)):
            before = self.read(kept, len(data))
            self.write(changed, bytes(reversed(before)))
            cases.case(self).assertTrue(
                before == self.read(kept, len(data)),
                'a copy must not depend on its source: what is written to '
                'one of them changes the other one',
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

    # -- identity

    def test_name_and_udid_identify_a_disk(self) -> None:
        """Methods accept disks of which only name and UDID are known."""
        test = cases.case(self)
        (disk,) = self.make('pvmic_t1')
        known = driver_base.Disk(disk.name, disk.udid)
        test.assertTrue(known.same_disk(disk))
        test.assertEqual(
            set(),
            self.driver.mapped([known]),
            'mapped() must identify disks by name and UDID',
        )
        data = random.Random(2).randbytes(_MIB)  # noqa: S311
        self.fill(known, data)
        test.assertTrue(data == self.read(disk, _MIB), 'the bytes differ')
        copy = self.driver.copy_disk(
            known, driver_base.NewDisk('pvmic_t2', _MIB, 'raw')
        )
        test.addCleanup(self.driver.delete_disks, [copy])
        (deletion,) = self.driver.delete_disks([known])
        test.assertIsNone(deletion.error)
        test.assertIsNone(
            self.driver.find_disk('pvmic_t1'),
            'delete_disks() must identify disks by name and UDID: the '
            'capacity and the label that it is given may be unknown',
        )

    def test_labels_are_those_of_the_request(self) -> None:
        """A disk has the label that was requested, or none."""
        label = 'pvmic:' + '0123456789abcdef' * 2
        made = self.driver.create_disks(
            [
                driver_base.NewDisk('pvmic_t1', _MIB, 'raw', label),
                driver_base.NewDisk('pvmic_t2', _MIB, 'raw', label[::-1]),
            ]
        )
        cases.case(self).addCleanup(self.driver.delete_disks, made)
        for disk, wanted in zip(made, (label, label[::-1]), strict=True):
            found = self.driver.find_disk(disk.name)
            shown = [
                each for each in self.driver.snapshot().disks if each == disk
            ]
            for each in (disk, found, *shown):
                have = each.label if each else None
                cases.case(self).assertTrue(
                    have is not None
                    and (
                        have in driver_base.NO_LABEL or wanted.startswith(have)
                    ),
                    f'the label of {disk.name} is {have!r}, not {wanted!r}: '
                    'the cache identifies its disks by their labels',
                )

    def test_a_disk_with_another_udid_is_not_filled(self) -> None:
        """An upload fills the disk of that name and UDID, or fails."""
        test = cases.case(self)
        (disk,) = self.make('pvmic_t1')
        wrong = dataclasses.replace(disk, udid='0' * len(disk.udid))
        self._raises_ours(
            lambda: self.fill(wrong, b'\xff' * _MIB),
            'upload() to a disk that does not exist',
        )
        test.assertEqual(
            bytes(_MIB),
            self.read(disk, _MIB).ljust(_MIB, b'\0'),
            'upload() must not write to another disk of the same name',
        )

    # -- several threads and processes

    def test_the_pool_keeps_its_id(self) -> None:
        """The ID of the pool is the same after a restart, and elsewhere."""
        test = cases.case(self)
        known = self.driver.pool_id()
        test.assertTrue(isinstance(known, str) and known)
        for other in (self.second(), self.second()):
            test.assertEqual(
                known,
                other.pool_id(),
                'the ID of the pool must not change at a restart',
            )
        if self._options is not None:
            test.assertEqual(
                known,
                process.call(self._options, 'pool_id'),
                'each process must see the same ID of the pool',
            )

    def test_other_processes_see_the_disks(self) -> None:
        """Other processes see immediately what one creates or deletes."""
        test = cases.case(self)
        second = self.second()
        second.find_disk('pvmic_t1')
        (disk,) = self.make('pvmic_t1')
        found = second.find_disk('pvmic_t1')
        test.assertEqual(disk, found, 'another driver must see new disks')
        test.assertIn(disk, second.snapshot().disks)
        if self._options is not None:
            test.assertEqual(
                disk.udid,
                process.call(self._options, 'find', 'pvmic_t1'),
                'another process must see new disks',
            )
            process.call(self._options, 'delete', 'pvmic_t1')
        else:
            second.delete_disks([disk])
        test.assertIsNone(
            self.driver.find_disk('pvmic_t1'),
            'a disk that another process deleted must not be found',
        )

    def test_changes_at_the_same_time_exclude_each_other(self) -> None:
        """A name is used once, by whatever threads and processes."""
        drivers = [self.driver, self.second()]
        for number in range(_ROUNDS):
            name = f'pvmic_r{number}'
            results = _together(
                [
                    functools.partial(
                        drivers[index % 2].create_disks,
                        [driver_base.NewDisk(name, _MIB, 'raw')],
                    )
                    for index in range(_THREADS)
                ]
            )
            made = [each for each in results if isinstance(each, list)]
            cases.case(self).addCleanup(
                self.driver.delete_disks, [disk for (disk,) in made]
            )
            for each in results:
                cases.case(self).assertIsInstance(
                    each,
                    list | exceptions.DiskExists,
                    'of several requests for a name, one creates the disk '
                    'and the others raise DiskExists',
                )
            cases.case(self).assertEqual(
                1,
                len(made),
                'changes of the pool must exclude each other: several '
                'threads created a disk of one name',
            )

    def test_disks_that_do_not_fit_together_are_refused(self) -> None:
        """Disks that are created at the same time fit into the pool."""
        free = self.driver.pool().free
        size = free * 2 // 5 // _MIB * _MIB
        for number in range(_ROUNDS):
            results = _together(
                [
                    functools.partial(
                        self.driver.create_disks,
                        [
                            driver_base.NewDisk(
                                f'pvmic_{number}_{index}', size, 'raw'
                            )
                        ],
                    )
                    for index in range(_THREADS)
                ]
            )
            made = [
                disk
                for each in results
                if isinstance(each, list)
                for disk in each
            ]
            self.driver.delete_disks(made)
            cases.case(self).assertLessEqual(
                len(made),
                2,
                'disks that were created at the same time do not fit into '
                'the pool together',
            )

    def test_a_source_is_not_deleted_before_its_copy(self) -> None:
        """still_valid() is asked when the source cannot be deleted."""
        (source,) = self.make('pvmic_t1')
        second = self.second()
        deleted = threading.Event()
        threads: list[threading.Thread] = []
        early: list[bool] = []

        def delete() -> None:
            second.delete_disks([source])
            deleted.set()

        def still_valid() -> bool:
            threads.append(threading.Thread(target=delete, daemon=True))
            threads[-1].start()
            early.append(deleted.wait(_EXCLUDED))
            return True

        with contextlib.suppress(exceptions.BaseImageGone):
            copy = self.driver.copy_disk(
                source,
                driver_base.NewDisk('pvmic_t2', _MIB, 'raw'),
                still_valid,
            )
            cases.case(self).addCleanup(self.driver.delete_disks, [copy])
        for each in threads:
            each.join(_PATIENCE)
        cases.case(self).assertTrue(
            early, 'copy_disk() must call still_valid()'
        )
        cases.case(self).assertEqual(
            [False],
            early,
            'still_valid() must be called once, when no deletion of the '
            'source can precede the copy any more: under the lock that '
            'deletions need',
        )

    def test_the_pool_has_an_id_during_a_copy(self) -> None:
        """still_valid() calls pool_id(), as the cache does."""
        (source,) = self.driver.create_disks(
            [driver_base.NewDisk('pvmic_t1', _MIB, 'raw')]
        )
        copies: list[driver_base.Disk] = []
        errors: list[Exception] = []

        def copy() -> None:
            try:
                copies.append(
                    self.driver.copy_disk(
                        source,
                        driver_base.NewDisk('pvmic_t2', _MIB, 'raw'),
                        lambda: bool(self.driver.pool_id()),
                    )
                )
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        thread.join(_PATIENCE)
        # The disks stay if it hangs: a deletion could hang, too.
        cases.case(self).assertFalse(
            thread.is_alive(),
            'copy_disk() does not end: still_valid() calls pool_id(), which '
            'must not wait for a lock that copy_disk() holds',
        )
        cases.case(self).assertEqual(
            [], errors, 'copy_disk() failed: still_valid() calls pool_id()'
        )
        self.driver.delete_disks([source, *copies])

    # -- uploads

    def test_an_upload_of_another_size_fails(self) -> None:
        """An upload with fewer or more bytes than announced fails."""
        for count, size in ((1, 2), (0, 1), (2, 1)):
            (disk,) = self.make('pvmic_t1', size=2 * _MIB)
            self._raises_ours(
                functools.partial(
                    self.driver.upload,
                    disk,
                    iter([bytes(_MIB)] * count),
                    size * _MIB,
                ),
                f'upload() of {count} MiB instead of {size} MiB',
            )
            self.driver.delete_disks([disk])

    def test_an_upload_needs_little_memory(self) -> None:
        """An upload does not hold the whole image in memory."""
        (disk,) = self.make('pvmic_t1', size=_LARGE)
        with _memory() as peak:
            self.driver.upload(
                disk,
                (bytes(_MIB) for _ in range(_LARGE // _MIB)),
                _LARGE,
            )
            used = peak()
        cases.case(self).assertLess(
            used,
            _MEMORY,
            f'upload() of {_LARGE >> 20} MiB needed {used >> 20} MiB of '
            'memory: write the pieces as they come',
        )

    def test_an_upload_keeps_the_disk_as_it_is(self) -> None:
        """An upload changes neither the size nor the UDID of a disk."""
        (disk,) = self.make('pvmic_t1', size=3 * _MIB)
        self.fill(disk, b'x' * _MIB)
        found = self.driver.find_disk('pvmic_t1')
        cases.case(self).assertEqual(disk, found)
        cases.case(self).assertEqual(
            disk.capacity, found.capacity if found else None
        )

    def test_nothing_is_left_over(self) -> None:
        """Deleted disks, failed uploads and failed copies leave nothing."""
        test = cases.case(self)
        # What is created at the first use may stay.
        self.driver.delete_disks(self._one_of_each())
        before, free = self.leftovers(), self.driver.pool().free
        self.driver.delete_disks(self._one_of_each())
        test.assertEqual(
            before,
            self.leftovers(),
            'deleted disks and failed uploads must leave no files',
        )
        test.assertTrue(
            _eventually(lambda: self.driver.pool().free >= free),
            'the space of deleted disks must become free',
        )

    def _one_of_each(self) -> list[driver_base.Disk]:
        """Create disks, of which some fail; returns those that exist."""
        first, second = self.driver.create_disks(
            [
                driver_base.NewDisk(f'pvmic_t{number}', _MIB, 'raw')
                for number in (1, 2)
            ]
        )
        self.fill(first, bytes(_MIB))
        with contextlib.suppress(exceptions.PVMImageCacheError):
            self.driver.upload(second, _failing(), 2 * _MIB)
        new = driver_base.NewDisk('pvmic_t3', _MIB, 'raw')
        with contextlib.suppress(exceptions.PVMImageCacheError):
            self.driver.copy_disk(first, new, lambda: False)
        copy = self.driver.copy_disk(first, new)
        return [first, second, copy]

    # -- space and names

    def test_free_space_follows_the_disks(self) -> None:
        """Creating a disk takes space; deleting it gives it back."""
        test = cases.case(self)
        before = self.driver.pool()
        made = self.make('pvmic_t1', size=_GIB)
        during = self.driver.pool()
        test.assertLessEqual(
            during.free,
            before.free - _GIB,
            'pool().free must fall by the size of a new disk',
        )
        test.assertEqual(before.capacity, during.capacity)
        test.assertGreater(before.capacity, 0)
        self.driver.delete_disks(made)
        test.assertTrue(
            _eventually(lambda: self.driver.pool().free >= before.free),
            'pool().free must rise when a disk is deleted',
        )

    def test_disks_are_as_large_as_requested(self) -> None:
        """No disk is smaller than requested, new or copied."""
        test = cases.case(self)
        for size in (1, _MIB + 1, 5 * _MIB):
            (disk,) = self.make('pvmic_t1', size=size)
            test.assertGreaterEqual(disk.capacity, size)
            for wanted in (1, disk.capacity, disk.capacity + 1):
                copy = self.driver.copy_disk(
                    disk, driver_base.NewDisk('pvmic_t2', wanted, 'raw')
                )
                found = self.driver.find_disk('pvmic_t2')
                self.driver.delete_disks([copy])
                test.assertEqual(copy, found)
                for each in (copy, found):
                    test.assertGreaterEqual(
                        each.capacity if each else 0,
                        max(wanted, disk.capacity),
                        'a copy must be as large as requested, and as its '
                        'source',
                    )
            self.driver.delete_disks([disk])

    def test_names_may_be_as_long_as_declared(self) -> None:
        """max_name_length is the length of the longest name."""
        length = self.driver.max_name_length
        cases.case(self).assertTrue(
            isinstance(length, int) and length >= naming.MAX_DISK_NAME,
            f'max_name_length is {length!r}: names of base images have '
            f'{naming.MAX_DISK_NAME} characters',
        )
        name = 'pvmic_'.ljust(length, 'x')
        (disk,) = self.make(name)
        cases.case(self).assertEqual(name, disk.name)
        cases.case(self).assertEqual(disk, self.driver.find_disk(name))

    def test_results_are_in_the_order_of_the_request(self) -> None:
        """create_disks() and delete_disks() answer in order."""
        test = cases.case(self)
        names = ['pvmic_t3', 'pvmic_t1', 'pvmic_t2']
        made = list(self.make(*names))
        test.assertEqual(names, [each.name for each in made])
        missing = driver_base.Disk('pvmic_t9', 'none')
        given = [made[1], missing, made[0], made[2]]
        results = self.driver.delete_disks(given)
        test.assertEqual(
            given,
            [each.disk for each in results],
            'delete_disks() must return one result for each disk, in order',
        )
        test.assertEqual([], list(self.driver.delete_disks([])))

    def test_a_copy_is_refused_like_a_new_disk(self) -> None:
        """A copy needs a free name and space, and changes nothing else."""
        source, _ = self.make('pvmic_t1', 'pvmic_t2')
        _raises(
            self,
            exceptions.DiskExists,
            lambda: self.driver.copy_disk(
                source, driver_base.NewDisk('pvmic_t2', _MIB, 'raw')
            ),
            'copy_disk() to a name that is in use',
        )
        too_large = self.driver.pool().free + 2 * _GIB
        _raises(
            self,
            exceptions.NotEnoughSpace,
            lambda: self.driver.copy_disk(
                source, driver_base.NewDisk('pvmic_t3', too_large, 'raw')
            ),
            'copy_disk() of a disk that does not fit',
        )
        cases.case(self).assertIsNone(self.driver.find_disk('pvmic_t3'))

    def test_one_name_twice_in_a_request_is_refused(self) -> None:
        """A request for two disks of one name creates none."""
        _raises(
            self,
            exceptions.DiskExists,
            lambda: self.make('pvmic_t1', 'pvmic_t1'),
            'create_disks() of two disks with one name',
        )
        cases.case(self).assertIsNone(self.driver.find_disk('pvmic_t1'))

    def test_a_closed_driver_can_be_used_again(self) -> None:
        """close() may be called twice, and a later call works."""
        for _ in range(2):
            self.driver.close()
        cases.case(self).assertEqual(
            self.driver.pool().id, self.driver.pool_id()
        )

    def test_a_mapped_disk_is_reported(self) -> None:
        """mapped() returns the disks that partitions use, and no others."""
        disks = self.make('pvmic_t1', 'pvmic_t2')
        self.map(disks[0])
        for given in (
            disks,
            [driver_base.Disk(each.name, each.udid) for each in disks],
        ):
            cases.case(self).assertEqual(
                {disks[0]},
                set(self.driver.mapped(given)),
                'mapped() must return the disks that partitions use: others '
                'may be deleted',
            )
        cases.case(self).assertEqual(set(), self.driver.mapped([disks[1]]))
        cases.case(self).assertEqual(set(), self.driver.mapped([]))

    def _raises_ours(self, call: Callable[[], object], what: str) -> None:
        _raises(self, exceptions.PVMImageCacheError, call, what)

    def test_a_new_disk_is_not_mapped(self) -> None:
        """A new disk is not mapped to a partition."""
        disks = self.make('pvmic_t1', 'pvmic_t2')
        cases.case(self).assertEqual(set(), self.driver.mapped(disks))
        self.driver.remove_uploads(disks[0])


def _failing() -> Iterator[bytes]:
    yield bytes(_MIB)
    raise exceptions.TransferAborted(what='the test', reason='it ends here')


def _raises(
    test: object,
    kind: type[exceptions.PVMImageCacheError],
    call: Callable[[], object],
    what: str,
) -> None:
    """Check that a call raises an error of this project of some kind."""
    try:
        call()
    except kind:
        return
    except Exception as error:
        cases.case(test).fail(
            f'{what} must raise {kind.__name__}, not '
            f'{text.foreign_error(error)}'
        )
    cases.case(test).fail(f'{what} must raise {kind.__name__}')


def _together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make calls at the same time; returns their results or errors."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        barrier.wait(_PATIENCE)
        try:
            results[index] = calls[index]()
        except Exception as error:
            results[index] = error

    threads = [
        threading.Thread(target=run, args=(index,), daemon=True)
        for index in range(len(calls))
    ]
    before = sys.getswitchinterval()
    # More often than in normal operation, what is not excluded collides.
    sys.setswitchinterval(1e-6)
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join(_PATIENCE)
    finally:
        sys.setswitchinterval(before)
    return results


def _eventually(condition: Callable[[], bool]) -> bool:
    """Return whether something becomes true within some seconds."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@contextlib.contextmanager
def _memory() -> Iterator[Callable[[], int]]:
    """Measure the memory that Python objects need in the block, in bytes."""
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[1] - start
    finally:
        if not traced:
            tracemalloc.stop()
