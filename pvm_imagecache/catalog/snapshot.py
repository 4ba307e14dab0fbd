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

"""A copy of a catalog in memory, to read from without any lock.

A reader that opened the live database could keep other processes from
writing, or its log from being emptied. So the file and its log are read, and
what is committed in the log is applied to the copy here. Journals, and files
that SQLite keeps beside a database, are not used.

The format is that of https://www.sqlite.org/fileformat2.html#walformat.
"""

import array
import contextlib
import os
import sqlite3
import sys
import threading
import time
from typing import Final
from typing import NamedTuple

from pvm_imagecache import exceptions
from pvm_imagecache.system import private_files

#: Bytes of the largest catalog, and of the largest log, that are read.
MAX_SIZE: Final = 64 << 20

_ATTEMPTS: Final = 50
_PAUSE: Final = 0.02
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_LITTLE: Final = 0x377F0682
_BIG: Final = 0x377F0683
_MAGIC: Final = b'SQLite format 3\0'
#: Seconds within which two writes of a file may have the same time.
_TICK: Final = 1.0
#: Where a database says that it is used with a log: 2, without one: 1.
_VERSIONS: Final = slice(18, 20)

#: Open files by device and inode, as long as this process has them open in
#: another way: to close them would release all locks that SQLite has on them.
_OPEN: Final[dict[tuple[int, int], int]] = {}
#: Held while a file is opened or closed that SQLite may lock.
GUARD = threading.RLock()


def _after_fork() -> None:
    # The thread that held it does not exist in this process.
    global GUARD
    GUARD = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


#: Device, inode, size and time of the database and of its log.
Change = tuple[tuple[int, int, int, int] | None, ...]


def last_change(path: str) -> Change | None:
    """Return what differs after a catalog was written.

    :param path: path of the database.
    :returns: the state of its files; None if they were written a moment ago,
        so that the next write may not be noticed.
    :raises OSError: if they cannot be examined.
    """
    states: list[tuple[int, int, int, int] | None] = []
    for each in (path, f'{path}-wal'):
        try:
            found = os.stat(each, follow_symlinks=False)
        except FileNotFoundError:
            states.append(None)
            continue
        if time.time() - found.st_mtime < _TICK:
            return None
        states.append(
            (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        )
    return tuple(states)


class _State(NamedTuple):
    """What changes if the catalog was written meanwhile."""

    inode: int
    size: int
    changed: int
    log: bytes


def read(directory: private_files.Directory, name: str) -> bytes:
    """Return the committed content of a catalog as a database without log.

    :param directory: the open directory of the catalog.
    :param name: name of the file.
    :returns: the bytes of a SQLite database.
    :raises OSError: if the file is missing or cannot be read.
    :raises StateRefused: if a file is not a regular file of the owner of the
        directory.
    :raises CatalogRefused: if a file is larger than any catalog.
    :raises sqlite3.DatabaseError: if it is not a database.
    :raises sqlite3.OperationalError: if it was written during each attempt.
    """
    for _ in range(_ATTEMPTS):
        with GUARD:
            try:
                before, _ = _state(directory, name)
                state, database = _state(directory, name, with_content=True)
                after, _ = _state(directory, name)
            finally:
                _close_unused()
        if before == state == after:
            return _applied(database, state.log)
        time.sleep(_PAUSE)
    raise sqlite3.OperationalError('other processes write to it all the time')


def with_log(database: bytes) -> bytes:
    """Return a database that SQLite uses with a log (WAL mode).

    :param database: the bytes of a database.
    :returns: the bytes of the same database in that mode.
    """
    result = bytearray(database)
    result[_VERSIONS] = b'\2\2'
    return bytes(result)


def _state(
    directory: private_files.Directory, name: str, with_content: bool = False
) -> tuple[_State, bytes]:
    descriptor = _descriptor(directory, name)
    content = b''
    if with_content:
        content = _content(directory, name, descriptor)
    found = os.fstat(descriptor)
    try:
        log_descriptor = directory.open(f'{name}-wal')
    except FileNotFoundError:
        log = b''
    else:
        try:
            log = _content(directory, f'{name}-wal', log_descriptor)
        finally:
            os.close(log_descriptor)
    return (
        _State(found.st_ino, found.st_size, found.st_mtime_ns, log),
        content,
    )


def _descriptor(directory: private_files.Directory, name: str) -> int:
    descriptor = _OPEN.get(_key(directory.stat(name)))
    if descriptor is None:
        descriptor = directory.open(name)
        _OPEN[_key(os.fstat(descriptor))] = descriptor
    return descriptor


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _close_unused() -> None:
    """Close the files that this process does not have open otherwise."""
    others = set()
    for each in os.listdir('/proc/self/fd'):
        if int(each) in _OPEN.values():
            continue
        # The descriptor of the listing itself is closed.
        with contextlib.suppress(OSError):
            others.add(_key(os.fstat(int(each))))
    for key in [each for each in _OPEN if each not in others]:
        os.close(_OPEN.pop(key))


def _content(
    directory: private_files.Directory, name: str, descriptor: int
) -> bytes:
    if os.fstat(descriptor).st_size > MAX_SIZE:
        raise exceptions.CatalogRefused(
            path=os.path.join(directory.path, name),
            reason=f'it is larger than {MAX_SIZE >> 20} MiB',
        )
    parts, at = [], 0
    while at <= MAX_SIZE and (part := os.pread(descriptor, 1 << 20, at)):
        parts.append(part)
        at += len(part)
    return b''.join(parts)


def _applied(database: bytes, log: bytes) -> bytes:
    """Return a database with what is committed in its log."""
    pages, count, size = _committed(log)
    if not database and not pages:
        return b''
    result = bytearray(database)
    if pages:
        result = result[: count * size].ljust(count * size, b'\0')
        for number, start in pages.items():
            if 0 < number <= count:
                result[(number - 1) * size : number * size] = log[
                    start : start + size
                ]
    if not result.startswith(_MAGIC):
        raise sqlite3.DatabaseError('file is not a database')
    result[_VERSIONS] = b'\1\1'
    return bytes(result)


def _committed(log: bytes) -> tuple[dict[int, int], int, int]:
    """Return where the committed pages are, their number, and their size."""
    header = _numbers(log[:_LOG_HEADER], sys.byteorder == 'big')
    nothing: tuple[dict[int, int], int, int] = ({}, 0, 0)
    if len(header) < _LOG_HEADER // 4:
        return nothing
    magic, _, size = (int.from_bytes(log[at : at + 4]) for at in (0, 4, 8))
    is_big = magic == _BIG
    sums = _sums(log[:24], is_big, (0, 0))
    if (
        magic not in (_LITTLE, _BIG)
        or size not in {1 << bits for bits in range(9, 17)}
        or sums != _stored(log, 24)
    ):
        return nothing
    salts = log[16:24]
    pending: dict[int, int] = {}
    pages: dict[int, int] = {}
    count, at = 0, _LOG_HEADER
    while at + _FRAME_HEADER + size <= len(log):
        start = at + _FRAME_HEADER
        sums = _sums(log[at : at + 8], is_big, sums)
        sums = _sums(log[start : start + size], is_big, sums)
        if log[at + 8 : at + 16] != salts or sums != _stored(log, at + 16):
            break
        number, committed = _stored(log, at)
        pending[number] = start
        if committed:
            if committed * size > MAX_SIZE:
                raise sqlite3.DatabaseError('its log is malformed')
            pages |= pending
            pending.clear()
            count = committed
        at = start + size
    return pages, count, size


def _stored(data: bytes, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 4]), int.from_bytes(
        data[at + 4 : at + 8]
    )


def _numbers(data: bytes, is_big: bool) -> 'array.array[int]':
    numbers = array.array('I', data[: len(data) // 4 * 4])
    if is_big != (sys.byteorder == 'big'):
        numbers.byteswap()
    return numbers


def _sums(data: bytes, is_big: bool, sums: tuple[int, int]) -> tuple[int, int]:
    """Return the checksum of the log, continued over more bytes."""
    first, second = sums
    numbers = iter(_numbers(data, is_big))
    for one, other in zip(numbers, numbers, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
