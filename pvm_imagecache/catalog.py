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

"""What we know of each base image: the records, and their life.

A record is written before its disk exists and tells who fills it; it
becomes ``ready`` only after size and hash agree. Everything here is one
SQLite file in WAL mode that nova-compute and the admin shell share. Nothing
here knows PowerVM: :mod:`pvm_imagecache.manager` holds records against
disks.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import enum
import os
import socket
import sqlite3
import threading
import time
from typing import Any
from typing import Final
import uuid

from oslo_log import log as logging

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import locks
from pvm_imagecache import private_files

LOG = logging.getLogger(__name__)

VERSION: Final = 1
#: Rows of the history that are kept.
HISTORY_LENGTH: Final = 10_000
_BUSY_TIMEOUT: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE base_images (
    pool TEXT NOT NULL,
    disk_name TEXT NOT NULL,
    image_id TEXT NOT NULL,
    image_name TEXT,
    size INTEGER NOT NULL,
    virtual_size INTEGER,
    disk_format TEXT NOT NULL,
    os_hash_algo TEXT,
    os_hash_value TEXT,
    checksum TEXT,
    state TEXT NOT NULL,
    lease TEXT NOT NULL,
    holder TEXT NOT NULL,
    udid TEXT,
    capacity INTEGER,
    bytes_done INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    progress_at REAL NOT NULL,
    ready_at REAL,
    last_used_at REAL,
    hits INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (pool, disk_name)
);
CREATE INDEX base_images_by_image ON base_images (pool, image_id);
CREATE TABLE instance_disks (
    pool TEXT NOT NULL,
    disk_name TEXT NOT NULL,
    size INTEGER NOT NULL,
    lease TEXT NOT NULL,
    holder TEXT NOT NULL,
    udid TEXT,
    started_at REAL NOT NULL,
    PRIMARY KEY (pool, disk_name)
);
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    pool TEXT NOT NULL,
    action TEXT NOT NULL,
    image_id TEXT,
    disk_name TEXT,
    bytes_fetched INTEGER,
    bytes_saved INTEGER,
    seconds REAL,
    who TEXT NOT NULL,
    detail TEXT
);
CREATE TABLE totals (
    pool TEXT NOT NULL,
    action TEXT NOT NULL,
    times INTEGER NOT NULL,
    bytes_fetched INTEGER NOT NULL,
    bytes_saved INTEGER NOT NULL,
    PRIMARY KEY (pool, action)
);
"""


class State(enum.Enum):
    """Where a base image is in its life."""

    POPULATING = 'populating'
    """Its disk is being filled, or was when its holder died."""

    READY = 'ready'
    """Size and hash were found to agree: deploys are served from it."""

    EVICTING = 'evicting'
    """Its disk is being deleted, or was when its holder died."""


@dataclasses.dataclass(frozen=True)
class BaseImage:
    """The record of a base image; sizes in bytes, times in Unix seconds.

    :ivar pool: the id of the volume group that holds the disk.
    :ivar lease: the sign of one filling: another one, another lease.
    :ivar udid: of the disk; None before PowerVM has told it.
    """

    pool: str
    disk_name: str
    image: image_module.Image
    state: State
    lease: str
    holder: str
    udid: str | None
    capacity: int | None
    bytes_done: int
    created_at: float
    progress_at: float
    ready_at: float | None
    last_used_at: float | None
    hits: int


@dataclasses.dataclass(frozen=True)
class InstanceDisk:
    """An instance disk that is being made, or was when its maker died.

    :ivar size: in bytes, as it was asked for.
    :ivar udid: None before PowerVM has told it.
    """

    pool: str
    disk_name: str
    size: int
    lease: str
    holder: str
    udid: str | None
    started_at: float


@dataclasses.dataclass(frozen=True)
class Total:
    """How often something was done, and the bytes that it came to."""

    times: int
    bytes_fetched: int
    bytes_saved: int


def holder_name() -> str:
    """Who we are, for a person to read: ``host/pid``."""
    return f'{socket.gethostname()}/{os.getpid()}'


class Catalog:
    """The records of all base images of this host.

    Safe to share between threads; a process that was forked opens its own
    connection. Every method raises :exc:`CatalogError` when the file can't
    be used.

    :param path: the SQLite file; made, with its directory, when missing.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._identity: tuple[int, int] | None = None

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

    # -- reading

    def get(self, pool: str, disk_name: str) -> BaseImage | None:
        """The record of the disk of that name, if there is one."""
        found = self._select('pool = ? AND disk_name = ?', pool, disk_name)
        return found[0] if found else None

    def images(self, pool: str) -> list[BaseImage]:
        """All records of a pool, those used least recently first."""
        return self._select('pool = ?', pool)

    # -- the life of a base image

    def begin(
        self,
        pool: str,
        disk_name: str,
        image: image_module.Image,
        lease: str | None = None,
    ) -> BaseImage:
        """Write that we are about to make and fill a base image.

        :param lease: of a dead filler whose disk may yet appear: its record
            is replaced in one step, so that nobody ever forgets the lease.
        :raises CatalogConflict: when the disk name has a record already.
        """
        now = time.time()
        values = {
            'pool': pool, 'disk_name': disk_name,
            'image_id': image.id, 'image_name': image.name,
            'size': image.size, 'virtual_size': image.virtual_size,
            'disk_format': image.disk_format,
            'os_hash_algo': image.os_hash_algo,
            'os_hash_value': image.os_hash_value,
            'checksum': image.checksum,
            'state': State.POPULATING.value,
            'lease': lease or uuid.uuid4().hex,
            'holder': holder_name(), 'created_at': now, 'progress_at': now,
        }
        columns = ', '.join(values)
        marks = ', '.join(f':{column}' for column in values)
        with self._session() as connection:
            try:
                connection.execute(
                    f'{_insert(lease)} INTO base_images'  # noqa: S608
                    f' ({columns})'
                    f' VALUES ({marks})', values)
            except sqlite3.IntegrityError as error:
                raise exceptions.CatalogConflict(
                    image=image.id,
                    reason=f'{disk_name} has a record already') from error
        record = self.get(pool, disk_name)
        if record is None or record.lease != values['lease']:
            raise exceptions.CatalogConflict(
                image=image.id, reason='it was removed at once')
        return record

    def created(self, record: BaseImage, udid: str, capacity: int) -> None:
        """Keep which disk PowerVM made for a base image being filled."""
        self._update(record, State.POPULATING, udid=udid, capacity=capacity)

    def progressed(self, record: BaseImage, bytes_done: int) -> None:
        """Renew the lease of a base image being filled."""
        self._update(record, State.POPULATING, bytes_done=bytes_done,
                     progress_at=time.time())

    def commit(
        self, record: BaseImage, image: image_module.Image
    ) -> None:
        """Declare a base image good: from now on deploys are served.

        :param image: as it was fetched, its virtual size known.
        :raises CatalogConflict: if the record is not the one being filled,
            or PowerVM never told the disk's UDID.
        """
        current = self.get(record.pool, record.disk_name)
        if current is None or not current.udid:
            raise exceptions.CatalogConflict(
                image=record.image.id, reason='its disk is not known')
        now = time.time()
        self._update(record, State.POPULATING, state=State.READY.value,
                     bytes_done=image.size, virtual_size=image.virtual_size,
                     ready_at=now, last_used_at=now, progress_at=now)

    def used(self, record: BaseImage) -> None:
        """Count a hit, and keep when it was."""
        with self._session() as connection:
            connection.execute(
                'UPDATE base_images SET hits = hits + 1,'
                ' last_used_at = MAX(COALESCE(last_used_at, 0), ?)'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (time.time(), record.pool, record.disk_name, record.lease))

    def start_eviction(self, record: BaseImage) -> None:
        """No more deploys from this one: its disk is about to go.

        :raises CatalogConflict: if the record is another one by now.
        """
        self._update(record, record.state, state=State.EVICTING.value)

    def stop_eviction(self, record: BaseImage) -> None:
        """The disk was not deleted after all: deploys are served again."""
        with self._session() as connection:
            connection.execute(
                'UPDATE base_images SET state = ?'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?'
                ' AND state = ? AND ready_at IS NOT NULL',
                (State.READY.value, record.pool, record.disk_name,
                 record.lease, State.EVICTING.value))

    def remove(self, record: BaseImage) -> None:
        """Forget a base image whose disk is gone; fine if forgotten."""
        with self._session() as connection:
            connection.execute(
                'DELETE FROM base_images'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (record.pool, record.disk_name, record.lease))

    # -- instance disks on their way

    def instance_disks(self, pool: str) -> list[InstanceDisk]:
        """Those that are being made, or were when their makers died."""
        with self._session() as connection:
            rows = connection.execute(
                'SELECT * FROM instance_disks WHERE pool = ?'
                ' ORDER BY started_at', (pool,)).fetchall()
        entries = [InstanceDisk(**row) for row in rows]
        finished = [each for each in entries
                    if os.path.exists(self._finished_path(each))]
        for entry in finished:
            self._delete_instance_disk(entry)
            os.unlink(self._finished_path(entry))
        return [each for each in entries if each not in finished]

    def begin_instance_disk(
        self, pool: str, disk_name: str, size: int, lease: str | None = None
    ) -> InstanceDisk:
        """Write that we are about to make an instance disk.

        :param lease: of a dead maker whose disk may yet appear: its entry
            is replaced in one step.
        :raises CatalogConflict: when the name has an entry already.
        """
        entry = InstanceDisk(pool, disk_name, size,
                             lease or uuid.uuid4().hex, holder_name(), None,
                             time.time())
        with self._session() as connection:
            try:
                connection.execute(
                    f'{_insert(lease)} INTO instance_disks VALUES'
                    ' (?, ?, ?, ?, ?, ?, ?)', dataclasses.astuple(entry))
            except sqlite3.IntegrityError as error:
                raise exceptions.CatalogConflict(
                    image=disk_name,
                    reason='the disk is being made already') from error
        return entry

    def instance_disk_created(
        self, entry: InstanceDisk, udid: str | None
    ) -> None:
        """Keep which disk PowerVM made; None when it was deleted again."""
        with self._session() as connection:
            connection.execute(
                'UPDATE instance_disks SET udid = ?'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (udid, entry.pool, entry.disk_name, entry.lease))

    def end_instance_disk(self, entry: InstanceDisk) -> None:
        """The disk is whole, or gone: nothing is left to tidy.

        A whole disk must never be taken for unfinished because the
        catalogue could not be written: then a file beside it says so.
        """
        try:
            self._delete_instance_disk(entry)
        except exceptions.CatalogError as error:
            path = self._finished_path(entry)
            try:
                private_files.make_directory(os.path.dirname(path))
                os.close(private_files.open_for_update(path))
            except OSError:
                raise error from None
            LOG.warning('That disk %(disk)s is finished is kept in %(path)s '
                        'until the catalogue can be written: %(error)s',
                        {'disk': entry.disk_name, 'path': path,
                         'error': error})

    def _delete_instance_disk(self, entry: InstanceDisk) -> None:
        with self._session() as connection:
            connection.execute(
                'DELETE FROM instance_disks'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (entry.pool, entry.disk_name, entry.lease))

    def _finished_path(self, entry: InstanceDisk) -> str:
        return os.path.join(
            os.path.dirname(self._path), 'finished', entry.lease)

    # -- history

    def add_history(
        self,
        pool: str,
        action: str,
        *,
        image_id: str | None = None,
        disk_name: str | None = None,
        bytes_fetched: int | None = None,
        bytes_saved: int | None = None,
        seconds: float | None = None,
        detail: str | None = None,
    ) -> None:
        """Keep that something was done, by whom, and why.

        The totals count it for ever, the history for a while.
        """
        with self._session() as connection, _transaction(connection):
            newest = connection.execute(
                'INSERT INTO history (at, pool, action, image_id, disk_name,'
                ' bytes_fetched, bytes_saved, seconds, who, detail)'
                ' VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                (time.time(), pool, action, image_id, disk_name,
                 bytes_fetched, bytes_saved, seconds, _who(),
                 detail)).lastrowid
            connection.execute(
                'DELETE FROM history WHERE id <= ?',
                ((newest or 0) - HISTORY_LENGTH,))
            connection.execute(
                'INSERT INTO totals VALUES (?, ?, 1, ?, ?)'
                ' ON CONFLICT (pool, action) DO UPDATE SET'
                ' times = times + 1,'
                ' bytes_fetched = bytes_fetched + excluded.bytes_fetched,'
                ' bytes_saved = bytes_saved + excluded.bytes_saved',
                (pool, action, bytes_fetched or 0, bytes_saved or 0))

    def totals(self, pool: str) -> dict[str, Total]:
        """What each action has come to, since the catalogue was made."""
        with self._session() as connection:
            rows = connection.execute(
                'SELECT action, times, bytes_fetched, bytes_saved'
                ' FROM totals WHERE pool = ?', (pool,)).fetchall()
        return {row.pop('action'): Total(**row) for row in rows}

    # -- the file

    def _select(self, condition: str, *values: Any) -> list[BaseImage]:
        with self._session() as connection:
            rows = connection.execute(
                'SELECT * FROM base_images'  # noqa: S608
                f' WHERE {condition}'
                ' ORDER BY last_used_at, created_at', values).fetchall()
            return [_record(row) for row in rows]

    def _update(
        self, record: BaseImage, expected: State, **values: Any
    ) -> None:
        assignments = ', '.join(f'{column} = :{column}' for column in values)
        with self._session() as connection:
            changed = connection.execute(
                f'UPDATE base_images SET {assignments}'  # noqa: S608
                ' WHERE pool = :_pool AND disk_name = :_disk'
                ' AND lease = :_lease AND state = :_state',
                values | {'_pool': record.pool, '_disk': record.disk_name,
                          '_lease': record.lease,
                          '_state': expected.value}).rowcount
        if changed != 1:
            raise exceptions.CatalogConflict(
                image=record.image.id,
                reason=f'it is no longer {expected.value} under the same '
                       'lease')

    @contextlib.contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                yield self._connect()
            except sqlite3.IntegrityError:
                raise
            except (sqlite3.Error, OSError, OverflowError, ValueError,
                    KeyError) as error:
                if _means_corrupt(error):
                    # Opening it again looks closer, and sets it aside.
                    self.close()
                raise exceptions.CatalogError(
                    path=self._path, reason=str(error)) from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            if _identity(self._path) == self._identity:
                return self._connection
            # Somebody has moved the file away: what is written to it from
            # here on nobody would ever read.
            self.close()
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
        self._connection, self._pid = connection, os.getpid()
        self._identity = _identity(self._path)
        return connection


@contextlib.contextmanager
def _one_process(path: str) -> Iterator[None]:
    """Keep others from opening the catalogue for the length of the block.

    SQLite does not wait for its turn when a new file is put into WAL mode,
    and of two that find a file corrupt only one may set it aside.
    """
    directory, name = os.path.split(path)
    with locks.LockDirectory(directory).hold(name, _BUSY_TIMEOUT):
        yield


def _identity(path: str) -> tuple[int, int] | None:
    """Which file a path stands for, if any."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _means_corrupt(error: BaseException) -> bool:
    return (isinstance(error, sqlite3.DatabaseError)
            and not isinstance(error, sqlite3.OperationalError)
            and not isinstance(error, sqlite3.ProgrammingError))


def _insert(lease: str | None) -> str:
    return 'INSERT OR REPLACE' if lease else 'INSERT'


def _open(path: str) -> sqlite3.Connection:
    os.close(private_files.open_for_update(path))
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT, isolation_level=None,
        check_same_thread=False)
    try:
        connection.row_factory = _as_dict
        connection.execute('PRAGMA journal_mode = WAL')
        connection.execute('PRAGMA synchronous = FULL')
        _prepare(connection, path)
        found = connection.execute('PRAGMA quick_check(1)').fetchone()
        if 'ok' not in found.values():
            raise sqlite3.DatabaseError(*found.values())
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
    LOG.error('The catalogue %(path)s is corrupt (%(error)s). It is kept as '
              '%(kept)s, and a new one is begun: the images that were '
              'cached are not used any more.',
              {'path': path, 'error': error, 'kept': kept})
    for ending in ('', '-wal', '-shm'):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + ending, kept + ending)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute('BEGIN IMMEDIATE')
    try:
        yield
        connection.execute('COMMIT')
    except BaseException:
        connection.execute('ROLLBACK')
        raise


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    if _version(connection) == VERSION:
        return
    with _transaction(connection):
        found = _version(connection)
        if found > VERSION:
            raise exceptions.CatalogTooNew(
                path=path, found=found, known=VERSION)
        if found == 0:
            for statement in _SCHEMA.split(';'):
                connection.execute(statement)
            connection.execute(f'PRAGMA user_version = {VERSION}')


def _version(connection: sqlite3.Connection) -> int:
    row = connection.execute('PRAGMA user_version').fetchone()
    return int(row['user_version'])


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value
            for column, value in zip(cursor.description, row, strict=True)}


def _record(row: dict[str, Any]) -> BaseImage:
    return BaseImage(
        pool=row['pool'], disk_name=row['disk_name'],
        image=image_module.Image(
            id=row['image_id'], name=row['image_name'], size=row['size'],
            virtual_size=row['virtual_size'],
            disk_format=row['disk_format'],
            os_hash_algo=row['os_hash_algo'],
            os_hash_value=row['os_hash_value'], checksum=row['checksum']),
        state=State(row['state']), lease=row['lease'], holder=row['holder'],
        udid=row['udid'], capacity=row['capacity'],
        bytes_done=row['bytes_done'], created_at=row['created_at'],
        progress_at=row['progress_at'], ready_at=row['ready_at'],
        last_used_at=row['last_used_at'], hits=row['hits'])


def _who() -> str:
    """The user who asked, the one behind sudo too."""
    name = os.environ.get('SUDO_USER') or os.environ.get('USER')
    return name or f'uid {os.getuid()}'
