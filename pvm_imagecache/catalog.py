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
becomes ``ready`` only after size and hash agree. nova-compute and the admin
shell share it. Nothing here knows PowerVM: :mod:`pvm_imagecache.manager`
holds records against disks.

Times are kept twice: as Unix seconds, for people, and by the clock of the
catalogue, for ages. That clock counts the seconds for which the host was up
since the catalogue was begun: neither a clock that is set nor a restart
changes an age.
"""

from collections.abc import Collection
from collections.abc import Iterable
import dataclasses
import enum
import logging
import os
import socket
import sqlite3
import time
from typing import Any
from typing import Final
import uuid

from pvm_imagecache import boot_clock
from pvm_imagecache import catalog_file
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.system import identity
from pvm_imagecache.system import private_files

LOG = logging.getLogger(__name__)

#: Rows of the history that are kept.
HISTORY_LENGTH: Final = 10_000
_INSTANCE_DISK: Final = (
    'pool, disk_name, size, lease, holder, udid, started_at, started_clock'
)


class State(enum.Enum):
    """Where a base image is in its life."""

    POPULATING = 'populating'
    """Its disk is being filled, or was when its holder died."""

    READY = 'ready'
    """Size and hash were found to agree: deploys are served from it."""

    EVICTING = 'evicting'
    """Its disk is being deleted, or was when its holder died."""

    QUARANTINED = 'quarantined'
    """Its disk may have been changed: it is not served, and will go."""


@dataclasses.dataclass(frozen=True)
class BaseImage:
    """The record of a base image; sizes in bytes, times in Unix seconds.

    :ivar pool: the id of the volume group that holds the disk.
    :ivar lease: the sign of one filling: another one, another lease.
    :ivar udid: of the disk; None before PowerVM has told it.
    :ivar reason: why it was quarantined.
    :ivar started_clock: as ``ready_clock`` and ``used_clock``, a time by
        the clock of the catalogue, see :meth:`Catalog.clock`.
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
    reason: str | None
    started_clock: float
    ready_clock: float | None
    used_clock: float | None


@dataclasses.dataclass(frozen=True)
class Pin:
    """An operator's word that an image stays; times in Unix seconds.

    :ivar note: why, for people.
    :ivar seconds_left: until it ends; None where it does not.
    """

    image_id: str
    note: str
    who: str
    pinned_at: float
    seconds_left: float | None


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
    started_clock: float


@dataclasses.dataclass(frozen=True)
class Total:
    """How often something was done, and what it came to in all.

    :ivar seconds: that it took.
    """

    times: int
    bytes_fetched: int
    bytes_saved: int
    seconds: float = dataclasses.field(default=0.0, compare=False)


@dataclasses.dataclass(frozen=True)
class LastPass:
    """When the last pass was made; a time in Unix seconds.

    :ivar trouble: what went wrong in it; '' if nothing did.
    """

    at: float
    trouble: str


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that was done; a time in Unix seconds, bytes, seconds.

    :ivar detail: why, where there is more to say than what was done.
    :ivar code: why a policy chose the image, as a code of that policy.
    """

    at: float
    action: str
    image_id: str | None
    image_name: str | None
    disk_name: str | None
    bytes_fetched: int | None
    bytes_saved: int | None
    seconds: float | None
    who: str
    detail: str | None
    code: str | None


def holder_name() -> str:
    """Who we are, for a person to read: ``host/pid``."""
    return f'{socket.gethostname()}/{os.getpid()}'


class Catalog(catalog_file.CatalogFile):
    """The records of all base images of this host.

    Safe to share between threads; a process that was forked opens its own
    connection. Every method raises :exc:`CatalogError` when the file can't
    be used.

    :param path: the SQLite file; made, with its directory, when missing.
    :param who: for whom things are done; by default the user who runs us.
    :param read_only: nothing is made, and nothing can be written.
    """

    def __init__(
        self, path: str, who: str | None = None, *, read_only: bool = False
    ) -> None:
        super().__init__(path, read_only=read_only)
        self._who = who or identity.user()

    @property
    def exists(self) -> bool:
        """Whether there is one, so that looking need not make it."""
        return os.path.exists(self._path)

    # -- reading

    def get(self, pool: str, disk_name: str) -> BaseImage | None:
        """The record of the disk of that name, if there is one."""
        found = self._select('pool = ? AND disk_name = ?', pool, disk_name)
        return found[0] if found else None

    def images(self, pool: str) -> list[BaseImage]:
        """All records of a pool, those used least recently first."""
        return self._select('pool = ?', pool)

    def states(self, pool: str) -> list[tuple[str, str, State]]:
        """Disk name, lease and state of all base images: little of them."""
        with self._session() as connection:
            return [
                (row['disk_name'], row['lease'], State(row['state']))
                for row in connection.execute(
                    'SELECT disk_name, lease, state FROM base_images'
                    ' WHERE pool = ?',
                    (pool,),
                )
            ]

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
        values = _columns(pool, disk_name, image) | {
            'state': State.POPULATING.value,
            'lease': lease or uuid.uuid4().hex,
            'holder': holder_name(),
            'created_at': now,
            'progress_at': now,
        }
        return self._insert(values, replace=lease is not None)

    def adopt(
        self,
        pool: str,
        disk_name: str,
        image: image_module.Image,
        udid: str,
        capacity: int,
    ) -> BaseImage:
        """Declare a disk that we did not fill a good base image.

        :raises CatalogConflict: when the disk name has a record already.
        """
        now = time.time()
        return self._insert(
            _columns(pool, disk_name, image)
            | {
                'state': State.READY.value,
                'lease': uuid.uuid4().hex,
                'holder': f'adopted by {self._who}',
                'udid': udid,
                'capacity': capacity,
                'bytes_done': image.size,
                'created_at': now,
                'progress_at': now,
                'ready_at': now,
                'last_used_at': now,
            },
            replace=False,
        )

    def _insert(self, values: dict[str, Any], *, replace: bool) -> BaseImage:
        verb = 'INSERT OR REPLACE' if replace else 'INSERT'
        with self._writing() as connection:
            clock = _tick(connection)
            values['started_clock'] = clock
            if values['state'] == State.READY.value:
                values |= {'ready_clock': clock, 'used_clock': clock}
            columns = ', '.join(values)
            marks = ', '.join(f':{column}' for column in values)
            try:
                connection.execute(
                    f'{verb} INTO base_images ({columns}) VALUES ({marks})',
                    values,
                )
            except sqlite3.IntegrityError as error:
                raise exceptions.CatalogConflict(
                    image=values['image_id'],
                    reason=f'{values["disk_name"]} has a record already',
                ) from error
        record = self.get(values['pool'], values['disk_name'])
        if record is None or record.lease != values['lease']:
            raise exceptions.CatalogConflict(
                image=values['image_id'], reason='it was removed at once'
            )
        return record

    def created(self, record: BaseImage, udid: str, capacity: int) -> None:
        """Keep which disk PowerVM made for a base image being filled."""
        self._update(record, State.POPULATING, udid=udid, capacity=capacity)

    def progressed(self, record: BaseImage, bytes_done: int) -> None:
        """Renew the lease of a base image being filled."""
        self._update(
            record,
            State.POPULATING,
            bytes_done=bytes_done,
            progress_at=time.time(),
        )

    def commit(self, record: BaseImage, image: image_module.Image) -> None:
        """Declare a base image good: from now on deploys are served.

        :param image: as it was fetched, its virtual size known.
        :raises CatalogConflict: if the record is not the one being filled,
            or PowerVM never told the disk's UDID.
        """
        current = self.get(record.pool, record.disk_name)
        if current is None or not current.udid:
            raise exceptions.CatalogConflict(
                image=record.image.id, reason='its disk is not known'
            )
        now = time.time()
        with self._writing() as connection:
            clock = _tick(connection)
            self._update(
                record,
                State.POPULATING,
                state=State.READY.value,
                bytes_done=image.size,
                virtual_size=image.virtual_size,
                ready_at=now,
                last_used_at=now,
                progress_at=now,
                ready_clock=clock,
                used_clock=clock,
            )

    def used(self, record: BaseImage) -> None:
        """Count a hit, and keep when it was."""
        with self._writing() as connection:
            connection.execute(
                'UPDATE base_images SET hits = hits + 1,'
                ' last_used_at = ?, used_clock = ?'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (
                    time.time(),
                    _tick(connection),
                    record.pool,
                    record.disk_name,
                    record.lease,
                ),
            )

    def start_eviction(self, record: BaseImage) -> None:
        """No more deploys from this one: its disk is about to go.

        :raises CatalogConflict: if the record is another one by now.
        :raises ImagePinned: if it was pinned meanwhile.
        """
        with self._writing() as connection:
            if record.image.id in _pins(connection, record.pool):
                raise exceptions.ImagePinned(image=record.image.id)
            self._update(record, record.state, state=State.EVICTING.value)

    def stop_eviction(self, record: BaseImage) -> None:
        """The disk was not deleted after all: it is what it was before."""
        with self._writing() as connection:
            connection.execute(
                'UPDATE base_images SET state ='
                ' CASE WHEN reason IS NULL THEN ? ELSE ? END'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?'
                ' AND state = ? AND ready_at IS NOT NULL',
                (
                    State.READY.value,
                    State.QUARANTINED.value,
                    record.pool,
                    record.disk_name,
                    record.lease,
                    State.EVICTING.value,
                ),
            )

    def quarantine(self, record: BaseImage, reason: str) -> None:
        """No more deploys from this one: its disk may not be its image.

        :raises CatalogConflict: if the record is another one by now.
        """
        self._update(
            record, State.READY, state=State.QUARANTINED.value, reason=reason
        )

    def remove(self, record: BaseImage) -> None:
        """Forget a base image whose disk is gone; fine if forgotten."""
        with self._writing() as connection:
            connection.execute(
                'DELETE FROM base_images'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (record.pool, record.disk_name, record.lease),
            )

    # -- instance disks on their way

    def instance_disks(self, pool: str) -> list[InstanceDisk]:
        """Those that are being made, or were when their makers died."""
        with self._session() as connection:
            rows = connection.execute(
                f'SELECT {_INSTANCE_DISK} FROM instance_disks'  # noqa: S608
                ' WHERE pool = ? ORDER BY started_at',
                (pool,),
            ).fetchall()
        entries = [InstanceDisk(**row) for row in rows]
        finished = [
            each
            for each in entries
            if os.path.exists(self._finished_path(each))
        ]
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
        verb = 'INSERT OR REPLACE' if lease else 'INSERT'
        with self._writing() as connection:
            entry = InstanceDisk(
                pool,
                disk_name,
                size,
                lease or uuid.uuid4().hex,
                holder_name(),
                None,
                time.time(),
                _tick(connection),
            )
            try:
                connection.execute(
                    f'{verb} INTO instance_disks'
                    f' ({_INSTANCE_DISK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
                    dataclasses.astuple(entry),
                )
            except sqlite3.IntegrityError as error:
                raise exceptions.CatalogConflict(
                    image=disk_name, reason='the disk is being made already'
                ) from error
        return entry

    def instance_disk_created(
        self, entry: InstanceDisk, udid: str | None
    ) -> None:
        """Keep which disk PowerVM made; None when it was deleted again."""
        with self._writing() as connection:
            connection.execute(
                'UPDATE instance_disks SET udid = ?'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (udid, entry.pool, entry.disk_name, entry.lease),
            )

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
            LOG.warning(
                'That disk %(disk)s is finished is kept in %(path)s '
                'until the catalogue can be written: %(error)s',
                {'disk': entry.disk_name, 'path': path, 'error': error},
            )

    def _delete_instance_disk(self, entry: InstanceDisk) -> None:
        with self._writing() as connection:
            connection.execute(
                'DELETE FROM instance_disks'
                ' WHERE pool = ? AND disk_name = ? AND lease = ?',
                (entry.pool, entry.disk_name, entry.lease),
            )

    def _finished_path(self, entry: InstanceDisk) -> str:
        return os.path.join(
            os.path.dirname(self._path), 'finished', entry.lease
        )

    # -- what must stay, and what is needed

    def pin(
        self, pool: str, image_id: str, note: str, seconds: float | None
    ) -> None:
        """Keep an image from being removed, whether it is cached or not.

        :param seconds: for how long; for ever where it is None.
        """
        with self._writing() as connection:
            clock = _tick(connection)
            connection.execute(
                'INSERT OR REPLACE INTO pins'
                ' (pool, image_id, note, who, pinned_at, until_clock)'
                ' VALUES (?, ?, ?, ?, ?, ?)',
                (
                    pool,
                    image_id,
                    note,
                    self._who,
                    time.time(),
                    None if seconds is None else clock + seconds,
                ),
            )

    def unpin(self, pool: str, image_id: str) -> bool:
        """Let an image go again; False if it was not pinned."""
        with self._writing() as connection:
            return bool(
                connection.execute(
                    'DELETE FROM pins WHERE pool = ? AND image_id = ?',
                    (pool, image_id),
                ).rowcount
            )

    def pins(self, pool: str) -> dict[str, Pin]:
        """By image id, the pins that have not ended."""
        with self._session() as connection:
            return _pins(connection, pool)

    def set_in_use(self, pool: str, image_ids: Iterable[str]) -> None:
        """Keep which images the instances of this host use now."""
        now = time.time()
        rows = [(pool, each, now) for each in set(image_ids)]
        with self._writing() as connection:
            connection.execute('DELETE FROM in_use WHERE pool = ?', (pool,))
            connection.executemany(
                'INSERT INTO in_use (pool, image_id, seen_at)'
                ' VALUES (?, ?, ?)',
                rows,
            )
            connection.execute(
                'UPDATE base_images SET last_used_at = ?, used_clock = ?'
                ' WHERE pool = ? AND ready_at IS NOT NULL'
                ' AND image_id IN (SELECT image_id FROM in_use'
                ' WHERE in_use.pool = ?)',
                (now, _tick(connection), pool, pool),
            )

    def in_use(self, pool: str) -> dict[str, float]:
        """By image id, when instances were last seen to use it."""
        with self._session() as connection:
            rows = connection.execute(
                'SELECT image_id, seen_at FROM in_use WHERE pool = ?', (pool,)
            ).fetchall()
        return {row['image_id']: row['seen_at'] for row in rows}

    # -- the pool and the time

    def clock(self) -> float:
        """Seconds for which the host was up since the catalogue began."""
        with self._session() as connection:
            return _clock(connection)

    def tick(self) -> None:
        """Write down the time, so that little is lost when the host ends."""
        with self._writing() as connection:
            _tick(connection)

    def keeps_labels(self, pool: str) -> bool:
        """Whether a disk of the pool has the label that it was made with.

        So it is taken to be until one was seen without.
        """
        with self._session() as connection:
            return (
                connection.execute(
                    'SELECT 1 FROM pools WHERE pool = ? AND drops_labels'
                    ' AND NOT keeps_labels',
                    (pool,),
                ).fetchone()
                is None
            )

    def saw_labels(self, pool: str, kept: bool) -> None:
        """Keep that a disk of the pool has a label, or has lost its own."""
        with self._writing() as connection:
            connection.execute(
                'INSERT INTO pools (pool, keeps_labels, drops_labels)'
                ' VALUES (:pool, :kept, NOT :kept)'
                ' ON CONFLICT (pool) DO UPDATE SET'
                ' keeps_labels = keeps_labels OR :kept,'
                ' drops_labels = drops_labels OR NOT :kept',
                {'pool': pool, 'kept': kept},
            )

    def uploads_are_tidy(self, pool: str) -> bool:
        """Whether no upload is known to have left anything behind.

        A catalogue that is new knows of none, and says no.
        """
        with self._session() as connection:
            return (
                connection.execute(
                    'SELECT 1 FROM pools WHERE pool = ? AND uploads_are_tidy',
                    (pool,),
                ).fetchone()
                is not None
            )

    def saw_uploads(self, pool: str, tidy: bool) -> None:
        """Keep whether the next pass has to look for what uploads left."""
        with self._writing() as connection:
            connection.execute(
                'INSERT INTO pools (pool, keeps_labels, uploads_are_tidy)'
                ' VALUES (?, 0, ?) ON CONFLICT (pool)'
                ' DO UPDATE SET uploads_are_tidy = excluded.uploads_are_tidy',
                (pool, int(tidy)),
            )

    def saw_pass(self, pool: str, trouble: str = '') -> bool:
        """Keep that a pass is made now, and what goes wrong in it.

        :returns: whether other things go wrong than in the one before.
        """
        with self._writing() as connection:
            last = _last_pass(connection, pool)
            connection.execute(
                'INSERT INTO pools (pool, keeps_labels, passed_at,'
                ' pass_trouble) VALUES (?, 0, ?, ?)'
                ' ON CONFLICT (pool) DO UPDATE SET'
                ' passed_at = excluded.passed_at,'
                ' pass_trouble = excluded.pass_trouble',
                (pool, time.time(), trouble),
            )
        return trouble != (last.trouble if last else '')

    def last_pass(self, pool: str) -> LastPass | None:
        """The last pass, if there was one."""
        with self._session() as connection:
            return _last_pass(connection, pool)

    def pool_called(self, name: str) -> str | None:
        """The id of the pool that was found under a name, if any was."""
        with self._session() as connection:
            row = connection.execute(
                'SELECT pool FROM pool_names WHERE name = ?', (name,)
            ).fetchone()
        return row['pool'] if row else None

    def saw_pool(self, name: str, pool: str) -> None:
        """Keep which pool was found under a name."""
        if self.pool_called(name) == pool:
            return
        with self._writing() as connection:
            connection.execute(
                'INSERT OR REPLACE INTO pool_names (name, pool) VALUES (?, ?)',
                (name, pool),
            )

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
        image_name: str | None = None,
        code: str | None = None,
        who: str | None = None,
    ) -> None:
        """Keep that something was done, by whom, and why.

        The totals count it for ever, the history for a while.

        :param who: by default whoever all is done for.
        """
        with self._writing() as connection:
            newest = connection.execute(
                'INSERT INTO history (at, pool, action, image_id, disk_name,'
                ' bytes_fetched, bytes_saved, seconds, who, detail,'
                ' image_name, code)'
                ' VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                (
                    time.time(),
                    pool,
                    action,
                    image_id,
                    disk_name,
                    bytes_fetched,
                    bytes_saved,
                    seconds,
                    who or self._who,
                    detail,
                    image_name,
                    code,
                ),
            ).lastrowid
            connection.execute(
                'DELETE FROM history WHERE id <= ?',
                ((newest or 0) - HISTORY_LENGTH,),
            )
            connection.execute(
                'INSERT INTO totals (pool, action, times, bytes_fetched,'
                ' bytes_saved, seconds) VALUES (?, ?, 1, ?, ?, ?)'
                ' ON CONFLICT (pool, action) DO UPDATE SET'
                ' times = times + 1,'
                ' bytes_fetched = bytes_fetched + excluded.bytes_fetched,'
                ' bytes_saved = bytes_saved + excluded.bytes_saved,'
                ' seconds = seconds + excluded.seconds',
                (
                    pool,
                    action,
                    bytes_fetched or 0,
                    bytes_saved or 0,
                    seconds or 0.0,
                ),
            )

    def history(
        self,
        pool: str,
        *,
        since: float | None = None,
        actions: Collection[str] = (),
        images: Collection[str] | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """What was done, the newest first.

        :param since: a time in Unix seconds.
        :param actions: only these; all of them where it is empty.
        :param images: only what was done to images of these ids.
        :param limit: how many events at most.
        """
        conditions: list[str] = ['pool = ?']
        values: list[Any] = [pool]
        for column, chosen in (
            ('action', actions or None),
            ('image_id', images),
        ):
            if chosen is not None:
                conditions.append(
                    f'{column} IN ({", ".join("?" for _ in chosen)})'
                )
                values += chosen
        if since is not None:
            conditions.append('at >= ?')
            values.append(since)
        with self._session() as connection:
            rows = connection.execute(
                'SELECT at, action, image_id, image_name,'  # noqa: S608
                ' disk_name, bytes_fetched, bytes_saved, seconds, who,'
                f' detail, code FROM history WHERE {" AND ".join(conditions)}'
                ' ORDER BY id DESC LIMIT ?',
                (*values, -1 if limit is None else limit),
            ).fetchall()
        return [Event(**row) for row in rows]

    def images_in_history(self, pool: str) -> dict[str, set[str | None]]:
        """By image id, the names under which things were done to it."""
        with self._session() as connection:
            rows = connection.execute(
                'SELECT DISTINCT image_id, image_name FROM history'
                ' WHERE pool = ? AND image_id IS NOT NULL',
                (pool,),
            ).fetchall()
        found: dict[str, set[str | None]] = {}
        for row in rows:
            found.setdefault(row['image_id'], set()).add(row['image_name'])
        return found

    def totals(self, pool: str) -> dict[str, Total]:
        """What each action has come to, since the catalogue was made."""
        with self._session() as connection:
            rows = connection.execute(
                'SELECT action, times, bytes_fetched, bytes_saved, seconds'
                ' FROM totals WHERE pool = ?',
                (pool,),
            ).fetchall()
        return {
            row['action']: Total(
                row['times'],
                row['bytes_fetched'],
                row['bytes_saved'],
                row['seconds'],
            )
            for row in rows
        }

    # -- the file

    def _select(self, condition: str, *values: Any) -> list[BaseImage]:
        with self._session() as connection:
            rows = connection.execute(
                'SELECT * FROM base_images'  # noqa: S608
                f' WHERE {condition}'
                ' ORDER BY COALESCE(used_clock, started_clock),'
                ' started_clock, disk_name',
                values,
            ).fetchall()
            return [_record(row) for row in rows]

    def _update(
        self, record: BaseImage, expected: State, **values: Any
    ) -> None:
        assignments = ', '.join(f'{column} = :{column}' for column in values)
        with self._writing() as connection:
            changed = connection.execute(
                f'UPDATE base_images SET {assignments}'  # noqa: S608
                ' WHERE pool = :_pool AND disk_name = :_disk'
                ' AND lease = :_lease AND state = :_state',
                values
                | {
                    '_pool': record.pool,
                    '_disk': record.disk_name,
                    '_lease': record.lease,
                    '_state': expected.value,
                },
            ).rowcount
        if changed != 1:
            raise exceptions.CatalogConflict(
                image=record.image.id,
                reason=f'it is no longer {expected.value} under the same '
                'lease',
            )


def _record(row: sqlite3.Row) -> BaseImage:
    return BaseImage(
        pool=row['pool'],
        disk_name=row['disk_name'],
        image=image_module.Image(
            id=row['image_id'],
            name=row['image_name'],
            size=row['size'],
            virtual_size=row['virtual_size'],
            disk_format=row['disk_format'],
            os_hash_algo=row['os_hash_algo'],
            os_hash_value=row['os_hash_value'],
            checksum=row['checksum'],
        ),
        state=State(row['state']),
        lease=row['lease'],
        holder=row['holder'],
        udid=row['udid'],
        capacity=row['capacity'],
        bytes_done=row['bytes_done'],
        created_at=row['created_at'],
        progress_at=row['progress_at'],
        ready_at=row['ready_at'],
        last_used_at=row['last_used_at'],
        hits=row['hits'],
        reason=row['reason'],
        started_clock=row['started_clock'],
        ready_clock=row['ready_clock'],
        used_clock=row['used_clock'],
    )


def _columns(
    pool: str, disk_name: str, image: image_module.Image
) -> dict[str, Any]:
    """What a record says of its image, by column."""
    return {
        'pool': pool,
        'disk_name': disk_name,
        'image_id': image.id,
        'image_name': image.name,
        'size': image.size,
        'virtual_size': image.virtual_size,
        'disk_format': image.disk_format,
        'os_hash_algo': image.os_hash_algo,
        'os_hash_value': image.os_hash_value,
        'checksum': image.checksum,
    }


def _clock(connection: sqlite3.Connection) -> float:
    row = connection.execute(
        'SELECT boot, uptime, seconds FROM clock'
    ).fetchone()
    if row is None:
        return 0.0
    if row['boot'] == boot_clock.boot():
        return row['seconds'] + max(0.0, boot_clock.uptime() - row['uptime'])
    # While the host was down nobody could have used anything.
    return row['seconds'] + boot_clock.uptime()


def _tick(connection: sqlite3.Connection) -> float:
    """The time by the clock of the catalogue, which is written down."""
    seconds = _clock(connection)
    connection.execute(
        'INSERT OR REPLACE INTO clock (only, boot, uptime, seconds)'
        ' VALUES (1, ?, ?, ?)',
        (boot_clock.boot(), boot_clock.uptime(), seconds),
    )
    return seconds


def _last_pass(connection: sqlite3.Connection, pool: str) -> LastPass | None:
    row = connection.execute(
        'SELECT passed_at, pass_trouble FROM pools'
        ' WHERE pool = ? AND passed_at IS NOT NULL',
        (pool,),
    ).fetchone()
    return LastPass(row['passed_at'], row['pass_trouble']) if row else None


def _pins(connection: sqlite3.Connection, pool: str) -> dict[str, Pin]:
    clock = _clock(connection)
    rows = connection.execute(
        'SELECT image_id, note, who, pinned_at, until_clock FROM pins'
        ' WHERE pool = ? AND (until_clock IS NULL OR until_clock > ?)'
        ' ORDER BY pinned_at',
        (pool, clock),
    ).fetchall()
    return {
        row['image_id']: Pin(
            row['image_id'],
            row['note'],
            row['who'],
            row['pinned_at'],
            None if row['until_clock'] is None else row['until_clock'] - clock,
        )
        for row in rows
    }
