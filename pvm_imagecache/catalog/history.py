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


"""The history: what was done, for whom and why; and the totals of it."""

import builtins
from collections.abc import Collection
import time
from typing import Final

from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models

#: Number of events that are kept.
HISTORY_LENGTH: Final = 10_000
#: Characters of the reason of an event; a longer one cannot be read.
_LONGEST_DETAIL: Final = 2_000
#: Bytes of images whose copies show the rate of the storage.
_LARGE: Final = 1 << 30
#: How many hits are looked at, and in how many of the latest events: each
#: update of the pool asks for the rate.
_HITS: Final = 20
_LATEST: Final = 500


class History:
    """The events of each pool.

    :param file: the file of the catalog.
    :param who: the user for whom things are done.
    """

    def __init__(self, file: catalog_file.CatalogFile, who: str) -> None:
        self._file = file
        self._who = who

    def add(
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
        """Record an event.

        The totals count it forever; the history keeps the newest
        :data:`HISTORY_LENGTH` events.

        :param pool: ID of the pool.
        :param action: what was done.
        :param image_id: the image it was done to.
        :param disk_name: the disk it was done to.
        :param bytes_fetched: bytes downloaded from Glance.
        :param bytes_saved: bytes that did not have to be downloaded.
        :param seconds: how long it took.
        :param detail: the reason in words; its beginning is kept.
        :param image_name: the name of the image.
        :param code: the reason why a policy chose the image, as a code.
        :param who: the user; default: the user of this catalog.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
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
                    detail and detail[:_LONGEST_DETAIL],
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

    def list(
        self,
        pool: str,
        *,
        since: float | None = None,
        actions: Collection[str] = (),
        images: Collection[str] | None = None,
        limit: int | None = None,
    ) -> builtins.list[models.HistoryEvent]:
        """Return events, newest first.

        :param pool: ID of the pool.
        :param since: only events at or after this time, in Unix seconds.
        :param actions: only these actions; empty: all actions.
        :param images: only events of images with these IDs; None: all
            events.
        :param limit: maximum number of events; None: no limit.
        :returns: the events.
        :raises CatalogError: if the catalog cannot be read.
        """
        conditions = ['pool = ?']
        values: list[catalog_connection.Value] = [pool]
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
        with self._file.session() as connection:
            return [
                _event(row)
                for row in connection.rows(
                    'SELECT at, action, image_id, image_name,'  # noqa: S608
                    ' disk_name, bytes_fetched, bytes_saved, seconds, who,'
                    ' detail, code FROM history'
                    f' WHERE {" AND ".join(conditions)}'
                    ' ORDER BY id DESC LIMIT ?',
                    (*values, -1 if limit is None else limit),
                )
            ]

    def copy_rate(self, pool: str) -> int | None:
        """Return the rate of copies, as the latest hits show it.

        :param pool: ID of the pool.
        :returns: bytes per second, the median of large images: it is lower
            than the rate of the storage, since hits also wait. None if there
            was no such hit among the latest events. It is within
            :func:`~pvm_imagecache.platform_facts.believed_rate`.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            rates = sorted(
                row.integer('bytes_saved') / row.number('seconds')
                for row in connection.rows(
                    'SELECT bytes_saved, seconds FROM history'
                    ' WHERE id > (SELECT MAX(id) FROM history) - ?'
                    " AND pool = ? AND action = 'hit'"
                    ' AND bytes_saved >= ? AND seconds > 0'
                    ' ORDER BY id DESC LIMIT ?',
                    (_LATEST, pool, _LARGE, _HITS),
                )
            )
        if not rates:
            return None
        return platform_facts.believed_rate(rates[len(rates) // 2])

    def disk_names(self, pool: str, names: Collection[str]) -> set[str]:
        """Return the names that the history knows as those of disks.

        :param pool: ID of the pool.
        :param names: names to look for.
        :returns: those of them that an event is about.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return set(names) & {
                row.text('disk_name')
                for row in connection.rows(
                    'SELECT DISTINCT disk_name FROM history'
                    ' WHERE pool = ? AND disk_name IS NOT NULL',
                    (pool,),
                )
            }

    def last_of_disk(
        self, pool: str, disk_name: str
    ) -> models.HistoryEvent | None:
        """Return the newest event about a disk.

        :param pool: ID of the pool.
        :param disk_name: name of the disk.
        :returns: the event; None if the history has none.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            for row in connection.rows(
                'SELECT * FROM history WHERE pool = ? AND disk_name = ?'
                ' ORDER BY id DESC LIMIT 1',
                (pool, disk_name),
            ):
                return _event(row)
        return None

    def deploys(self, pool: str, since: float) -> dict[str, int]:
        """Return how often images were deployed.

        :param pool: ID of the pool.
        :param since: deploys before this time, in Unix seconds, are not
            counted.
        :returns: by image ID, the deploys that the history has.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return {
                row.text('image_id'): row.integer('times')
                for row in connection.rows(
                    'SELECT image_id, COUNT(*) AS times FROM history'
                    ' WHERE pool = ? AND at >= ? AND image_id IS NOT NULL'
                    " AND action IN ('hit', 'miss', 'bypass')"
                    ' GROUP BY image_id',
                    (pool, since),
                )
            }

    def image_names(self, pool: str) -> dict[str, set[str | None]]:
        """Return the names of the images in the history.

        :param pool: ID of the pool.
        :returns: by image ID, all names that its events have; None among
            them if an event has none.
        :raises CatalogError: if the catalog cannot be read.
        """
        found: dict[str, set[str | None]] = {}
        with self._file.session() as connection:
            for row in connection.rows(
                'SELECT DISTINCT image_id, image_name FROM history'
                ' WHERE pool = ? AND image_id IS NOT NULL',
                (pool,),
            ):
                found.setdefault(row.text('image_id'), set()).add(
                    row.text_or_none('image_name')
                )
        return found

    def last_names(self, pool: str) -> dict[str, str]:
        """Return the newest name of each image in the history.

        :param pool: ID of the pool.
        :returns: the name by image ID; images that never had one are left
            out.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return {
                row.text('image_id'): row.text('image_name')
                for row in connection.rows(
                    'SELECT image_id, image_name FROM history WHERE id IN'
                    ' (SELECT MAX(id) FROM history WHERE pool = ?'
                    ' AND image_id IS NOT NULL AND image_name IS NOT NULL'
                    ' GROUP BY image_id)',
                    (pool,),
                )
            }

    def totals(self, pool: str) -> dict[str, models.Total]:
        """Return the sums of all events since the catalog was created.

        :param pool: ID of the pool.
        :returns: the sum by action.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return {
                row.text('action'): models.Total(
                    times=row.integer('times'),
                    bytes_fetched=row.integer('bytes_fetched'),
                    bytes_saved=row.integer('bytes_saved'),
                    seconds=row.number('seconds'),
                )
                for row in connection.rows(
                    'SELECT action, times, bytes_fetched, bytes_saved,'
                    ' seconds FROM totals WHERE pool = ?',
                    (pool,),
                )
            }


def _event(row: catalog_connection.Row) -> models.HistoryEvent:
    return models.HistoryEvent(
        at=row.number('at'),
        action=row.text('action'),
        image_id=row.text_or_none('image_id'),
        image_name=row.text_or_none('image_name'),
        disk_name=row.text_or_none('disk_name'),
        bytes_fetched=row.integer_or_none('bytes_fetched'),
        bytes_saved=row.integer_or_none('bytes_saved'),
        seconds=row.number_or_none('seconds'),
        who=row.text('who'),
        detail=row.text_or_none('detail'),
        code=row.text_or_none('code'),
    )
