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


"""The file of the catalog: open it, check it, upgrade it, set it aside.

One SQLite file in WAL mode that several processes and threads share.
"""

from collections.abc import Iterator
import contextlib
import logging
import os
import random
import sqlite3
import tempfile
import threading
import time
from typing import Final
import weakref

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import identity_file
from pvm_imagecache.catalog import schema
from pvm_imagecache.catalog import snapshot
from pvm_imagecache.catalog import trust
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import locks
from pvm_imagecache.system import private_files
from pvm_imagecache.system import thread_identity

LOG = logging.getLogger(__name__)

#: How long a busy catalog is waited for, in seconds.
BUSY_TIMEOUT: Final = 10.0
#: Between two attempts, in seconds.
_MAX_PAUSE: Final = 0.1


class CatalogFile:
    """The SQLite file of a catalog, with one connection for each process.

    Safe to share between threads. A forked process opens its own connection.

    :param path: the file; it is created, with its directory, if missing.
    :param read_only: the file must exist, and is only read.
    """

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._guard = threading.RLock()
        self._connection: catalog_connection.Connection | None = None
        self._pid = 0
        self._identity: tuple[int, int] | None = None
        #: Of a copy in memory: the state of the files before it was made.
        self._copied: snapshot.Change | None = None
        self._in_session = False
        self._may_be_corrupt = False
        _FILES.add(self)

    @property
    def path(self) -> str:
        """Path of the file."""
        return self._path

    def close(self) -> None:
        """Close the file; the next session opens it again."""
        with self._guard:
            connection = self._current()
            self._connection = None
            if connection:
                connection.close()

    def forget_threads(self) -> None:
        """Replace the lock in a forked process.

        The thread that held it does not exist in this process.
        """
        self._guard = threading.RLock()
        self._in_session = False

    @contextlib.contextmanager
    def session(self) -> Iterator[catalog_connection.Connection]:
        """Give the block the connection, to read from the catalog.

        Other threads wait. A session within another one uses the same
        connection. :exc:`sqlite3.IntegrityError` and exceptions that are not
        of SQLite are raised unchanged.

        :returns: a context manager that gives the connection.
        :raises CatalogError: if the file cannot be opened, or if SQLite
            reports an error in the block.
        :raises CatalogTooNew: if a newer release wrote the file.
        """
        with self._guard:
            connection = self._current() if self._in_session else None
            if connection:
                with self._translated():
                    yield connection
                return
            try:
                connection = self._open_if_needed()
            except (sqlite3.Error, OSError) as error:
                raise self._failure(error) from error
            try:
                self._in_session = True
                with self._translated():
                    yield connection
            finally:
                self._in_session = False
                if self._may_be_corrupt:
                    # Opening it again checks it, and sets it aside.
                    self._may_be_corrupt = False
                    self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[catalog_connection.Connection]:
        """Give the block the connection, to write to the catalog.

        All that the block writes is stored when it ends, or nothing of it if
        it raises. A transaction within another one is a part of that one.
        Other writers are blocked: make no requests in the block. Exceptions
        are treated as in :meth:`session`.

        :returns: a context manager that gives the connection.
        :raises CatalogError: if the file cannot be opened or written, or if
            SQLite reports an error in the block.
        :raises CatalogTooNew: if a newer release wrote the file.
        """
        # An interrupt within would leave the transaction open, and the next
        # writes would become a part of it.
        with interrupts.deferred(), self.session() as connection:
            if connection.in_transaction:
                yield connection
                return
            try:
                _begin(connection)
                yield connection
                connection.execute('COMMIT')
            except BaseException:
                self._roll_back(connection)
                raise

    def _roll_back(self, connection: catalog_connection.Connection) -> None:
        try:
            # Without space on the disk, SQLite has rolled back already.
            if connection.in_transaction:
                connection.execute('ROLLBACK')
        except sqlite3.Error:
            # To close it rolls back, too. The error that ended the
            # transaction is the one to report.
            self.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            self._may_be_corrupt |= _means_corrupt(error)
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> exceptions.CatalogError:
        return exceptions.CatalogError(path=self._path, reason=str(error))

    def _current(self) -> catalog_connection.Connection | None:
        """Return the open connection of this process."""
        return self._connection if self._pid == os.getpid() else None

    def _open_if_needed(self) -> catalog_connection.Connection:
        connection = self._current()
        if connection:
            if self._is_current():
                return connection
            # The file was moved away: what is written to it from here on
            # would be lost. Or it was written since it was copied.
            self.close()
        if self._read_only or _is_read_only(self._path):
            copied = snapshot.last_change(self._path)
            connection = self._keep(_open_current(self._path))
            self._identity, self._copied = None, copied
            return connection
        directory, name = os.path.split(self._path)
        with (
            private_files.opened(directory, create=True) as opened,
            _one_process(self._path),
        ):
            try:
                connection = _open(opened, name)
            except sqlite3.DatabaseError as error:
                if not _means_corrupt(error):
                    # Busy, read-only, no space ...: it may be intact.
                    raise
                _set_aside(opened, name, error)
                connection = _open(opened, name)
        return self._keep(connection)

    def _is_current(self) -> bool:
        if self._identity is not None:
            return _identity(self._path) == self._identity
        return self._copied is not None and (
            snapshot.last_change(self._path) == self._copied
        )

    def _keep(
        self, connection: catalog_connection.Connection
    ) -> catalog_connection.Connection:
        self._connection, self._pid = connection, os.getpid()
        self._identity = _identity(self._path)
        return connection


#: The files of this process, for the processes that it forks.
_FILES: Final[weakref.WeakSet[CatalogFile]] = weakref.WeakSet()


def _after_fork() -> None:
    for each in _FILES:
        each.forget_threads()


os.register_at_fork(after_in_child=_after_fork)


def version_of(path: str) -> int | None:
    """Return the schema version of a catalog, without changing it.

    :param path: the file of the catalog.
    :returns: the version; None if there is no file.
    :raises CatalogError: if the file cannot be read, or is not a catalog.
    """
    try:
        with contextlib.closing(_open_to_read(path)) as connection:
            return _version(connection)
    except FileNotFoundError:
        return None
    except (sqlite3.Error, OSError) as error:
        raise exceptions.CatalogError(path=path, reason=str(error)) from error


@contextlib.contextmanager
def _one_process(path: str) -> Iterator[None]:
    """Keep other processes from opening the catalog during the block.

    SQLite does not wait for its turn when a new file is put into WAL mode,
    and of two processes that find a file corrupt only one may set it aside.
    """
    directory, name = os.path.split(path)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(
                locks.LockDirectory(os.path.join(directory, 'locks')).hold(
                    name, BUSY_TIMEOUT
                )
            )
        except exceptions.LockTimeout as error:
            # Callers take a LockTimeout for one of the locks they asked for.
            raise exceptions.CatalogError(
                path=path, reason=str(error)
            ) from error
        yield


def _identity(path: str) -> tuple[int, int] | None:
    """Return which file a path stands for, or None if there is none."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _identity_of(found)


def _identity_of(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _means_corrupt(error: sqlite3.Error) -> bool:
    """Return whether an error may come from a damaged file."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error,
        sqlite3.OperationalError
        | sqlite3.ProgrammingError
        # Values that SQLite cannot store, or that are not what we stored.
        | sqlite3.DataError,
    )


def _open(
    directory: private_files.Directory, name: str
) -> catalog_connection.Connection:
    """Open a catalog to read and write it; create or upgrade it."""
    path = os.path.join(directory.path, name)
    with snapshot.GUARD:
        return _open_guarded(directory, name, path)


def _open_guarded(
    directory: private_files.Directory, name: str, path: str
) -> catalog_connection.Connection:
    _prepare(directory, name)
    _check_way(directory, path)
    connection = _connect(path, (directory.uid, directory.gid))
    try:
        if _identity(path) != _identity_of(directory.stat(name)):
            raise exceptions.StateRefused(
                path=directory.path, reason='it was replaced meanwhile'
            )
        trust.check(connection, path)
        connection.rows('PRAGMA journal_mode = WAL')
        connection.execute('PRAGMA synchronous = FULL')
        _upgrade(connection, path, identity_file.read(directory))
        trust.check(connection, path)
        found = connection.row('PRAGMA quick_check(1)')
        if found is None or 'ok' not in tuple(found):
            raise sqlite3.DatabaseError(*(found or ()))
        directory.keep_from_group(f'{name}-shm')
        _keep_id(directory, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_id(
    directory: private_files.Directory,
    connection: catalog_connection.Connection,
) -> None:
    """Keep the ID of the catalog for the case that it must be replaced."""
    row = connection.row('SELECT catalog_id FROM identity')
    # What is wrong with it is reported when it is needed.
    with contextlib.suppress(sqlite3.Error):
        if row is not None:
            identity_file.keep(
                directory,
                row.matching('catalog_id', catalog_connection.CATALOG_ID),
            )


def _check_way(directory: private_files.Directory, path: str) -> None:
    """Check that the owner can reach the file as SQLite does, by its path."""
    try:
        with directory.acting():
            os.stat(path, follow_symlinks=False)
    except PermissionError as error:
        raise exceptions.StateRefused(
            path=directory.path,
            reason=f'its owner, uid {directory.uid}, has no permission for '
            'a directory above it',
        ) from error


def _prepare(directory: private_files.Directory, name: str) -> None:
    """Check the files of a catalog, and create those that are missing.

    Users in the group may read the database and its log. With the third
    file they could keep others from writing: it has no permissions for the
    group. SQLite keeps the mode of a file that is not empty.
    """
    trust.check_journal(directory, name)
    if not directory.check(name) or _is_unused(directory, name):
        _create(directory, name)
    for each in (name, f'{name}-wal'):
        if directory.check(each) and (
            directory.stat(each).st_size > snapshot.MAX_SIZE
        ):
            raise exceptions.CatalogRefused(
                path=os.path.join(directory.path, each),
                reason=f'it is larger than {snapshot.MAX_SIZE >> 20} MiB',
            )
    shared = f'{name}-shm'
    directory.keep_from_group(shared)
    if not directory.check(shared):
        descriptor = directory.open(
            shared, os.O_RDWR | os.O_CREAT, private_files.OWNER_FILE_MODE
        )
        try:
            os.pwrite(descriptor, b'\0', 0)
        finally:
            os.close(descriptor)


def _is_unused(directory: private_files.Directory, name: str) -> bool:
    """Return whether there is only an empty file."""
    return not directory.stat(name).st_size and not any(
        directory.check(f'{name}{each}') for each in ('-wal', '-journal')
    )


def _create(directory: private_files.Directory, name: str) -> None:
    """Create a catalog without records, in one step.

    A user who may read a file can lock it. As long as SQLite has not put a
    new file into WAL mode, that would keep all others from using it.
    """
    with contextlib.closing(_connect(':memory:')) as connection:
        _upgrade(connection, name, identity_file.read(directory))
        content = snapshot.with_log(_content(connection))
    new = f'{name}.new'
    # What is left of another catalog would be taken for a part of this one.
    for each in (new, f'{name}-wal', f'{name}-journal', f'{name}-shm'):
        if directory.check(each):
            directory.unlink(each)
    descriptor = directory.open(new, os.O_WRONLY | os.O_CREAT)
    try:
        with open(descriptor, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        directory.rename(new, name)
    except BaseException:
        with contextlib.suppress(OSError):
            directory.unlink(new)
        raise


def _connect(
    database: str, owner: tuple[int, int] = (0, 0)
) -> catalog_connection.Connection:
    with thread_identity.acting_as(*owner):
        connection = sqlite3.connect(
            database,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            factory=catalog_connection.Connection,
        )
    connection.owner = owner
    trust.restrict(connection)
    return connection


def _is_read_only(path: str) -> bool:
    """Return whether the file permissions let us only read the catalog."""
    return os.access(path, os.R_OK) and not os.access(path, os.W_OK)


def _open_current(path: str) -> catalog_connection.Connection:
    """Open a copy of a catalog of this version."""
    connection = _open_to_read(path)
    try:
        found = _version(connection)
        if found > schema.VERSION:
            raise _too_new(path, found)
        if found != schema.VERSION:
            raise sqlite3.OperationalError(
                f'it has schema {found}, which must be upgraded to '
                f'{schema.VERSION} first'
            )
        trust.check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_to_read(path: str) -> catalog_connection.Connection:
    """Open a copy of a catalog of any version; no lock is taken."""
    directory, name = os.path.split(path)
    with private_files.opened(directory) as opened:
        content = snapshot.read(opened, name)
    connection = _connect(':memory:')
    if content:
        _load(connection, content)
    connection.execute('PRAGMA query_only = ON')
    return connection


def _content(connection: catalog_connection.Connection) -> bytes:
    """Return a database in memory as a file holds it."""
    serialize = getattr(connection, 'serialize', None)
    if serialize is not None:
        return bytes(serialize())
    # As in _load().
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'catalog')
        with contextlib.closing(_connect(path)) as copy:
            connection.backup(copy)
        with open(path, 'rb') as file:
            return file.read()


def _load(connection: catalog_connection.Connection, content: bytes) -> None:
    """Fill a database in memory with the content of another one."""
    deserialize = getattr(connection, 'deserialize', None)
    if deserialize is not None:
        deserialize(content)
        return
    # SQLite before 3.36, and some builds of Python, do not have it.
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'catalog')
        with open(path, 'wb') as file:
            file.write(content)
        with contextlib.closing(_connect(path)) as copy:
            copy.backup(connection)


def _set_aside(
    directory: private_files.Directory,
    name: str,
    error: sqlite3.DatabaseError,
) -> None:
    """Rename a corrupt catalog.

    Its records are lost: the base images become untracked disks, which are
    never served.
    """
    path = os.path.join(directory.path, name)
    ending = f'.corrupt-{time.strftime("%Y%m%dT%H%M%S", time.gmtime())}'
    LOG.error(
        'The catalog %(path)s is corrupt (%(error)s). It is kept as %(kept)s '
        'and a new one is created: images that were cached are no longer '
        'used.',
        {'path': path, 'error': error, 'kept': path + ending},
    )
    for each in ('', '-wal', '-journal'):
        with contextlib.suppress(FileNotFoundError):
            directory.rename(name + each, name + ending + each)
    # It has only what SQLite finds out again.
    with contextlib.suppress(FileNotFoundError):
        directory.unlink(f'{name}-shm')


def _begin(connection: catalog_connection.Connection) -> None:
    """Start a transaction; wait while another process has one.

    SQLite would wait in one piece, and block all green threads.
    """
    end = time.monotonic() + BUSY_TIMEOUT
    connection.execute('PRAGMA busy_timeout = 0')
    try:
        while True:
            try:
                connection.execute('BEGIN IMMEDIATE')
                return
            except sqlite3.OperationalError as error:
                if not _means_busy(error) or time.monotonic() >= end:
                    raise
            time.sleep(random.uniform(0, _MAX_PAUSE))  # noqa: S311
    finally:
        connection.execute(
            f'PRAGMA busy_timeout = {round(BUSY_TIMEOUT * 1000)}'
        )


def _means_busy(error: sqlite3.OperationalError) -> bool:
    # There are several kinds of being busy, which share the last byte.
    code = getattr(error, 'sqlite_errorcode', 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def _upgrade(
    connection: catalog_connection.Connection,
    path: str,
    former_id: str | None,
) -> None:
    """Create or upgrade the tables in one transaction.

    A new catalog, and one that an earlier release created after a downgrade,
    gets the ID of the one that was in the directory before.
    """
    if _version(connection) == schema.VERSION:
        return
    _begin(connection)
    # If this fails, the connection is closed, which rolls back.
    found = _version(connection)
    if found > schema.VERSION:
        raise _too_new(path, found)
    if 0 < found < schema.VERSION:
        LOG.info(
            'Upgrading catalog %(path)s from schema %(found)d to %(known)d',
            {'path': path, 'found': found, 'known': schema.VERSION},
        )
    for version in range(found + 1, schema.VERSION + 1):
        for statement in schema.STEPS[version].split(';'):
            connection.execute(statement)
    if found < schema.FIRST_WITH_ID and former_id:
        connection.execute('UPDATE identity SET catalog_id = ?', (former_id,))
    connection.execute(f'PRAGMA user_version = {schema.VERSION}')
    connection.execute('COMMIT')


def _too_new(path: str, found: int) -> exceptions.CatalogTooNew:
    return exceptions.CatalogTooNew(
        path=path, found=found, known=schema.VERSION
    )


def _version(connection: catalog_connection.Connection) -> int:
    row = connection.row('PRAGMA user_version')
    return 0 if row is None else row.integer('user_version')
