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

"""The file of the catalogue: opened, checked, brought up to date, set aside.

One SQLite file in WAL mode that several processes and threads share. What is
kept in it is in :mod:`~pvm_imagecache.catalog`.
"""

from collections.abc import Iterator
import contextlib
import errno
import logging
import os
import random
import sqlite3
import threading
import time
from typing import Final
from urllib import parse
import weakref

from pvm_imagecache import catalog_schema
from pvm_imagecache import exceptions
from pvm_imagecache.system import locks
from pvm_imagecache.system import private_files

LOG = logging.getLogger(__name__)

#: Seconds.
_BUSY_TIMEOUT: Final = 10.0
_LONGEST_PAUSE: Final = 0.1


class CatalogFile:
    """A SQLite file; every use of it raises :exc:`CatalogError` on failure.

    Safe to share between threads; a process that was forked opens its own
    connection.

    :param path: made, with its directory, when missing.
    :param read_only: it has to be there, and is only read.
    """

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._identity: tuple[int, int] | None = None
        _FILES.add(self)

    @property
    def path(self) -> str:
        """Where the catalogue is kept."""
        return self._path

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._guard:
            if self._connection and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def forget_threads(self) -> None:
        """Called in a child process: who held the guard is not there."""
        self._guard = threading.RLock()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """What the block writes is written when it ends, or not at all.

        Others who write wait for that long: nothing slow belongs into it.
        """
        with self._writing():
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All that the block writes, or nothing of it, in its turn."""
        with self._session() as connection, transaction(connection):
            yield connection

    @contextlib.contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                yield self._connect()
            except sqlite3.IntegrityError:
                raise
            except (
                sqlite3.Error,
                OSError,
                OverflowError,
                ValueError,
                KeyError,
            ) as error:
                if _means_corrupt(error):
                    # Opening it again looks closer, and sets it aside.
                    self.close()
                raise exceptions.CatalogError(
                    path=self._path, reason=str(error)
                ) from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            if _identity(self._path) == self._identity:
                return self._connection
            # Somebody has moved the file away: what is written to it from
            # here on nobody would ever read.
            self.close()
        if self._read_only or _may_only_be_read(self._path):
            # Nobody has it open: there is nothing to be read but the file,
            # and SQLite need not make the others beside it.
            is_quiet = not os.path.exists(f'{self._path}-wal')
            connection = self._keep(_open_to_read(self._path, is_quiet))
            if is_quiet:
                # What others write from here on would not be seen.
                self._identity = None
            return connection
        private_files.make_directory(os.path.dirname(self._path))
        with _one_process(self._path):
            try:
                connection = _open(self._path)
            except sqlite3.DatabaseError as error:
                if not _means_corrupt(error):
                    # Busy, read-only, no space ...: it may be whole.
                    raise
                _set_aside(self._path, error)
                connection = _open(self._path)
        return self._keep(connection)

    def _keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self._connection, self._pid = connection, os.getpid()
        self._identity = _identity(self._path)
        return connection


#: Of this process, for its children.
_FILES: Final[weakref.WeakSet[CatalogFile]] = weakref.WeakSet()


def _after_fork() -> None:
    for each in _FILES:
        each.forget_threads()


os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def _one_process(path: str) -> Iterator[None]:
    """Keep others from opening the catalogue for the length of the block.

    SQLite does not wait for its turn when a new file is put into WAL mode,
    and of two that find a file corrupt only one may set it aside.
    """
    directory, name = os.path.split(path)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(
                locks.LockDirectory(directory).hold(name, _BUSY_TIMEOUT)
            )
        except exceptions.LockTimeout as error:
            # Callers take a LockTimeout for that of what they want to lock.
            raise exceptions.CatalogError(
                path=path, reason=str(error)
            ) from error
        yield


def _identity(path: str) -> tuple[int, int] | None:
    """Which file a path stands for, if any."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _means_corrupt(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.DatabaseError)
        and not isinstance(error, sqlite3.OperationalError)
        and not isinstance(error, sqlite3.ProgrammingError)
    )


def _open(path: str) -> sqlite3.Connection:
    os.close(private_files.open_for_update(path))
    connection = sqlite3.connect(
        path,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.row_factory = sqlite3.Row
        connection.execute('PRAGMA journal_mode = WAL')
        connection.execute('PRAGMA synchronous = FULL')
        _prepare(connection, path)
        found = connection.execute('PRAGMA quick_check(1)').fetchone()
        if 'ok' not in tuple(found):
            raise sqlite3.DatabaseError(*found)
    except BaseException:
        connection.close()
        raise
    return connection


def _may_only_be_read(path: str) -> bool:
    """Whether we are a reader, by the word of the file system."""
    return os.access(path, os.R_OK) and not os.access(path, os.W_OK)


def _open_to_read(path: str, is_quiet: bool) -> sqlite3.Connection:
    """Open a catalogue without writing to it, or beside it.

    :param is_quiet: whether nobody writes to it meanwhile.
    :raises sqlite3.Error: where it is not there, is not of our version, or
        can't be read that way.
    """
    if os.path.islink(path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    address = f'file:{parse.quote(path)}?mode=ro'
    if is_quiet:
        address += '&immutable=1'
    connection = sqlite3.connect(
        address,
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.row_factory = sqlite3.Row
        found = _version(connection)
        if found != catalog_schema.VERSION:
            raise sqlite3.OperationalError(
                f'it has version {found}, and is to have '
                f'{catalog_schema.VERSION}'
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _set_aside(path: str, error: sqlite3.DatabaseError) -> None:
    """Keep a corrupt catalogue under another name, out of the way.

    What it knew is forgotten: the base images become disks that nobody
    knows, which are never served.
    """
    kept = f'{path}.corrupt-{time.strftime("%Y%m%dT%H%M%S", time.gmtime())}'
    LOG.error(
        'The catalogue %(path)s is corrupt (%(error)s). It is kept as '
        '%(kept)s, and a new one is begun: the images that were '
        'cached are not used any more.',
        {'path': path, 'error': error, 'kept': kept},
    )
    for ending in ('', '-wal', '-shm'):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + ending, kept + ending)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that the block writes, or nothing of it.

    Within another one it is a part of that.
    """
    if connection.in_transaction:
        yield
        return
    _begin(connection)
    try:
        yield
        connection.execute('COMMIT')
    except BaseException:
        # Where there is no space, SQLite has rolled back already.
        if connection.in_transaction:
            connection.execute('ROLLBACK')
        raise


def _begin(connection: sqlite3.Connection) -> None:
    """Wait for our turn to write, and take it.

    SQLite would wait in one piece, and all green threads with it.
    """
    end = time.monotonic() + _BUSY_TIMEOUT
    connection.execute('PRAGMA busy_timeout = 0')
    try:
        while True:
            try:
                connection.execute('BEGIN IMMEDIATE')
                return
            except sqlite3.OperationalError as error:
                if not _means_busy(error) or time.monotonic() >= end:
                    raise
            time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311
    finally:
        connection.execute(
            f'PRAGMA busy_timeout = {round(_BUSY_TIMEOUT * 1000)}'
        )


def _means_busy(error: sqlite3.OperationalError) -> bool:
    # There are several kinds of being busy; the last byte is that of all.
    code = getattr(error, 'sqlite_errorcode', 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    if _version(connection) == catalog_schema.VERSION:
        return
    with transaction(connection):
        found = _version(connection)
        if found > catalog_schema.VERSION:
            raise exceptions.CatalogTooNew(
                path=path, found=found, known=catalog_schema.VERSION
            )
        if found:
            LOG.info(
                'The catalogue %(path)s is brought from version '
                '%(found)d to %(known)d',
                {
                    'path': path,
                    'found': found,
                    'known': catalog_schema.VERSION,
                },
            )
        for version in range(found + 1, catalog_schema.VERSION + 1):
            for statement in catalog_schema.STEPS[version].split(';'):
                connection.execute(statement)
        connection.execute(f'PRAGMA user_version = {catalog_schema.VERSION}')


def _version(connection: sqlite3.Connection) -> int:
    row = connection.execute('PRAGMA user_version').fetchone()
    return int(row['user_version'])
