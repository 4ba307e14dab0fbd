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

"""A disk driver for a pool whose disks are files in a directory.

The name of a file consists of the name, the UDID and the label of its disk.
A disk whose file has a second hard link counts as mapped to a partition.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import errno
import os
import shutil
from typing import Final
import uuid

from oslo_config import cfg
from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types
from pvm_imagecache.drivers import base
from pvm_imagecache.system import locks

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_directory',
    title='Disk driver directory',
    help='The driver directory uses the files in a directory as disks.',
)
OPTIONS: Final = [
    cfg.StrOpt(
        'path',
        help="""
Directory that contains the disks. Required.
""",
    ),
    cfg.IntOpt(
        'capacity_gib',
        default=100,
        min=1,
        help="""
Maximum total size of the disks.

Unit: GiB
""",
    ),
]
#: Seconds.
_LOCK_TIMEOUT: Final = 600.0


class DirectoryDriver(base.DiskDriver):
    """Uses the files in a directory as disks.

    :param path: of the directory; created if it does not exist.
    :param capacity: maximum total size of the disks, in bytes.
    """

    api_version = 1
    capabilities = frozenset({base.Capability.IMAGE_CACHE})

    def __init__(self, path: str, capacity: int) -> None:
        self._path = path
        self._capacity = capacity
        self._locks = locks.LockDirectory(os.path.join(path, 'locks'))

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'DirectoryDriver':
        registration.register(conf, GROUP, OPTIONS)
        options = conf[GROUP.name]
        if not options.path:
            raise exceptions.ConfigurationError(
                reason=f'path in [{GROUP.name}] is not set.'
            )
        return cls(options.path, options.capacity_gib * units.Gi)

    # -- reading

    def pool(self) -> base.Pool:
        return self.snapshot().pool

    def snapshot(self) -> base.PoolSnapshot:
        with self._translate_errors('read the directory'):
            found = list(self._disks())
        used = sum(each.capacity for each in found)
        pool = base.Pool(
            id=self._pool_id(),
            name=self._path,
            capacity=self._capacity,
            free=max(0, self._capacity - used),
        )
        return base.PoolSnapshot(pool, found)

    def _disks(self) -> Iterator[base.Disk]:
        for each in os.scandir(self._create_directory()):
            # A disk may be deleted meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if each.name.count('~') == 2:
                    yield _disk(each)

    def find_disk(self, name: str) -> base.Disk | None:
        return next(
            (each for each in self.snapshot().disks if each.name == name), None
        )

    def mapped(self, disks: Sequence[base.Disk]) -> set[base.Disk]:
        # Disks are equal if their names and UDIDs are.
        current = {each: each for each in self.snapshot().disks}
        return {
            each
            for each in disks
            if each in current
            and os.stat(self._file(current[each])).st_nlink > 1
        }

    # -- creating and deleting

    def create_disks(self, new: Sequence[base.NewDisk]) -> list[base.Disk]:
        with self._exclusive('create disks'):
            self._check(new)
            return self._create(new)

    def upload(
        self,
        disk: base.Disk,
        pieces: Iterator[bytes],
        size: int,
        sha256: str | None = None,
    ) -> None:
        written = 0
        found = self._same(disk)
        if found is None:
            raise exceptions.PowerVMRequestFailed(
                action=f'fill {disk.name}', reason='the disk does not exist'
            )
        with (
            self._translate_errors(f'fill {disk.name}'),
            open(self._file(found), 'r+b') as file,
        ):
            for piece in pieces:
                if written + len(piece) > size:
                    written += len(piece)
                    break
                written += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if written != size:
            raise exceptions.PowerVMRequestFailed(
                action=f'fill {disk.name}',
                reason=f'{written} of {size} bytes were uploaded',
            )

    def copy_disk(
        self,
        source: base.Disk,
        new: base.NewDisk,
        still_valid: Callable[[], bool] = lambda: True,
    ) -> base.Disk:
        # No disk is deleted while the lock is held.
        with self._exclusive(f'copy {source.name}'):
            found = self._same(source)
            if found is None or not still_valid():
                raise exceptions.BaseImageGone(
                    name=source.name, reason='it no longer exists'
                )
            # A copy is not smaller than its source.
            new = dataclasses.replace(new, size=max(new.size, found.capacity))
            self._check([new])
            (created,) = self._create([new])
            try:
                with (
                    open(self._file(found), 'rb') as old,
                    open(self._file(created), 'r+b') as file,
                ):
                    shutil.copyfileobj(old, file, units.Mi)
            except BaseException:
                os.unlink(self._file(created))
                raise
            return created

    def delete_disks(self, disks: Sequence[base.Disk]) -> list[base.Deletion]:
        deletions = []
        with self._exclusive('delete disks'):
            for disk in disks:
                found = self._same(disk)
                error = None
                try:
                    if found:
                        os.unlink(self._file(found))
                except OSError as problem:
                    error = exceptions.PowerVMRequestFailed(
                        action=f'delete {disk.name}', reason=str(problem)
                    )
                deletions.append(base.Deletion(disk, error))
        return deletions

    def remove_uploads(self, disk: base.Disk) -> None:
        # An upload leaves nothing but the disk here.
        return

    # -- inside

    def _check(self, new: Sequence[base.NewDisk]) -> None:
        """Raise an error unless all disks can be created."""
        snapshot = self.snapshot()
        pool = snapshot.pool
        taken = {each.name for each in snapshot.disks}
        for each in new:
            if each.name in taken:
                raise exceptions.DiskExists(name=each.name, pool=pool.name)
            taken.add(each.name)
        needed = sum(_rounded(each.size) for each in new)
        if needed > pool.free:
            raise exceptions.NotEnoughSpace(
                pool=f'Directory {pool.name}',
                free=f'{pool.free} bytes',
                needed=f'{needed} bytes',
                needed_bytes=needed,
                what=' and '.join(each.name for each in new),
            )

    def _create(self, new: Sequence[base.NewDisk]) -> list[base.Disk]:
        """Create all disks or none."""
        created = [
            base.Disk(
                each.name,
                uuid.uuid4().hex,
                _rounded(each.size),
                each.label or '',
            )
            for each in new
        ]
        try:
            for disk in created:
                with open(self._file(disk), 'xb') as file:
                    file.truncate(disk.capacity)
        except BaseException:
            for disk in created:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._file(disk))
            raise
        return created

    def _same(self, disk: base.Disk) -> base.Disk | None:
        """Return the current disk with the same name and UDID."""
        found = self.find_disk(disk.name)
        return found if found and found.same_disk(disk) else None

    def _file(self, disk: base.Disk) -> str:
        return os.path.join(
            self._path, '~'.join((disk.name, disk.udid, disk.label))
        )

    def _create_directory(self) -> str:
        os.makedirs(self._path, mode=0o750, exist_ok=True)
        return self._path

    def _pool_id(self) -> str:
        """Return an ID that does not change if the directory is moved."""
        path = os.path.join(self._path, 'id')
        with (
            self._locks.hold('id', _LOCK_TIMEOUT),
            self._translate_errors('read the ID of the pool'),
        ):
            if not os.path.exists(path):
                with open(path, 'w', encoding='ascii') as file:
                    file.write(str(uuid.uuid4()))
            with open(path, encoding='ascii') as file:
                return file.read()

    @contextlib.contextmanager
    def _exclusive(self, action: str) -> Iterator[None]:
        """Exclude other changes, by all threads and processes."""
        with (
            self._locks.hold('pool', _LOCK_TIMEOUT),
            self._translate_errors(action),
        ):
            self._create_directory()
            yield

    @contextlib.contextmanager
    def _translate_errors(self, action: str) -> Iterator[None]:
        """Raise errors of the operating system as errors of a driver."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise exceptions.NotEnoughSpace(
                    pool=f'The file system of {self._path}',
                    free='none',
                    needed='more',
                    needed_bytes=0,
                    refused=True,
                    what=action,
                ) from error
            raise exceptions.PowerVMRequestFailed(
                action=action, reason=str(error)
            ) from error


def _disk(entry: os.DirEntry[str]) -> base.Disk:
    name, udid, label = entry.name.split('~')
    return base.Disk(name, udid, entry.stat().st_size, label)


def _rounded(size: int) -> int:
    """Round a size up to whole MiB."""
    return max(1, -(-size // units.Mi)) * units.Mi


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config."""
    return [(GROUP, list(OPTIONS))]
