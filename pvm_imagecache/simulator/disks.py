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

"""The files behind virtual disks and logical units: real bytes, sparse."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import errno
import os
import uuid

from pvm_imagecache.simulator import errors

# Copies move and account for this many bytes at a time.
_PIECE = 4 << 20
# What the file system of this host keeps free, whatever is uploaded.
_RESERVE = 256 << 20
_MOST_FREED = 16
_NO_RANGE_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def check_room(where: str | int, size: int) -> None:
    """Refuse to fill up the file system of this host.

    :param where: a path or descriptor in it.
    :raises RestError: when less than the reserve would be left.
    """
    found = os.statvfs(where)
    left = found.f_bavail * found.f_frsize - size
    if left < _RESERVE:
        raise errors.no_space('file system of the simulator', size, left)


class DiskFiles:
    """A directory of sparse files, named by random ids."""

    def __init__(
        self,
        directory: str,
        is_stale: collections.abc.Callable[[], bool] = lambda: False,
    ) -> None:
        """Use a directory.

        :param is_stale: whether new disks have the bytes of deleted ones.
        """
        self._directory = directory
        self._is_stale = is_stale
        # Files of deleted disks, whose blocks new disks get.
        self._freed: collections.deque[str] = collections.deque()
        os.makedirs(directory, 0o700, exist_ok=True)

    def path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def create(self, size: int) -> str:
        """A new file of this many zero bytes; its name."""
        name = uuid.uuid4().hex
        with contextlib.suppress(IndexError, FileNotFoundError):
            if self._is_stale():
                os.rename(self.path(self._freed.popleft()), self.path(name))
                os.truncate(self.path(name), size)
                return name
        self._create(name, size)
        return name

    def _create(self, name: str, size: int) -> None:
        fd = os.open(
            self.path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600
        )
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def grow(self, name: str, size: int) -> None:
        os.truncate(self.path(name), size)

    def remove(self, name: str) -> None:
        if self._is_stale() and len(self._freed) < _MOST_FREED:
            self._freed.append(name)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))

    def allocated(self, name: str) -> int:
        """Bytes that the file really occupies."""
        return os.stat(self.path(name)).st_blocks * 512

    def reconcile(self, wanted: collections.abc.Mapping[str, int]) -> None:
        """After a crash: drop files nobody knows, make up missing ones.

        :param wanted: name -> size in bytes of each file that should exist.
        """
        found = set(os.listdir(self._directory))
        for name in found - wanted.keys():
            self.remove(name)
        for name in wanted.keys() - found:
            self._create(name, wanted[name])

    def copy(
        self,
        source: str,
        target: str,
        spent: collections.abc.Callable[[int], None],
        limit: int | None = None,
    ) -> None:
        """Copy a whole disk, holes included, to the start of another.

        :param spent: told of each piece, holes as well: real hardware moves
            every byte of the base disk.
        :param limit: bytes after which the copy ends; None for all.
        """
        reader = os.open(self.path(source), os.O_RDONLY)
        try:
            writer = os.open(self.path(target), os.O_WRONLY)
            try:
                size = os.fstat(reader).st_size
                if limit is not None:
                    size = min(size, limit)
                _copy(reader, writer, spent, size)
            finally:
                os.close(writer)
        finally:
            os.close(reader)


def _copy(
    reader: int,
    writer: int,
    spent: collections.abc.Callable[[int], None],
    size: int,
) -> None:
    at = 0
    while at < size:
        data = _seek(reader, at, os.SEEK_DATA, size)
        while at < data:
            step = min(_PIECE, data - at)
            spent(step)
            at += step
        hole = _seek(reader, at, os.SEEK_HOLE, size) if at < size else size
        while at < hole:
            check_room(writer, min(_PIECE, hole - at))
            step = _copy_piece(reader, writer, at, min(_PIECE, hole - at))
            spent(step)
            at += step


def _seek(fd: int, at: int, whence: int, size: int) -> int:
    try:
        return min(os.lseek(fd, at, whence), size)
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
        # No data, or no hole, from here to the end.
        return size


def _copy_piece(reader: int, writer: int, at: int, size: int) -> int:
    try:
        done = os.copy_file_range(reader, writer, size, at, at)
        if done:
            return done
    except OSError as exc:
        if exc.errno not in _NO_RANGE_COPY:
            raise
    return os.pwrite(writer, os.pread(reader, size, at), at)
