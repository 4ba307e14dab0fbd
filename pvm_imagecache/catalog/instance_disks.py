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


"""The instance disks that are being created.

An entry exists only until the disk is complete. If a process crashes, its
entry identifies the incomplete disk.
"""

import builtins
import dataclasses
import logging
import os
import sqlite3
import time
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import clock as catalog_clock
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import identity
from pvm_imagecache.catalog import models
from pvm_imagecache.system import private_files

LOG = logging.getLogger(__name__)

#: Seconds that a request may start after its entry was written.
_SOON: Final = 60.0
_COLUMNS: Final = (
    'pool, disk_name, size, fill_id, holder, udid, started_at, started_clock'
)


class InstanceDisks:
    """The instance disks of all pools that are not known to be complete.

    :param file: the file of the catalog.
    :param clock: the clock of the catalog.
    """

    def __init__(
        self, file: catalog_file.CatalogFile, clock: catalog_clock.Clock
    ) -> None:
        self._file = file
        self._clock = clock

    def list(self, pool: str) -> builtins.list[models.InstanceDisk]:
        """Return the disks that are being created, or were at a crash.

        Entries of disks that :meth:`finish` could not remove are removed.

        :param pool: ID of the pool.
        :returns: the entries, oldest first.
        :raises CatalogError: if the catalog cannot be read; or if it cannot
            be written, and there is an entry to be removed.
        """
        with self._file.session() as connection:
            entries = [
                _entry(row)
                for row in connection.rows(
                    f'SELECT {_COLUMNS} FROM instance_disks'  # noqa: S608
                    ' WHERE pool = ? ORDER BY started_at',
                    (pool,),
                )
            ]
        if not entries:
            return []
        finished = self._finished()
        for entry in entries:
            if entry.fill_id in finished:
                self._delete(entry)
                self._unmark(entry)
        return [each for each in entries if each.fill_id not in finished]

    def other_pools(self, pool: str, prefix: str) -> builtins.list[str]:
        """Return the other pools with disks whose names start with a prefix.

        :param pool: ID of the pool that is left out.
        :param prefix: of the names of the disks; letters, digits and "_".
        :returns: the IDs of the pools.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return [
                row.text('pool')
                for row in connection.rows(
                    'SELECT DISTINCT pool FROM instance_disks'
                    ' WHERE pool <> ? AND substr(disk_name, 1, ?) = ?',
                    (pool, len(prefix), prefix),
                )
            ]

    def start(
        self, pool: str, disk_name: str, size: int, fill_id: str | None = None
    ) -> models.InstanceDisk:
        """Record that an instance disk is about to be created.

        :param pool: ID of the pool.
        :param disk_name: name of the disk.
        :param size: requested size in bytes.
        :param fill_id: the token of an attempt of a crashed process whose
            disk may still appear: its entry is replaced in one step, and the
            token stays known. None: a new token.
        :returns: the new entry.
        :raises CatalogConflict: if the name has an entry already, and no
            ``fill_id`` is given.
        :raises CatalogError: if the catalog cannot be written.
        """
        verb = 'INSERT OR REPLACE' if fill_id else 'INSERT'
        with self._file.transaction() as connection:
            entry = models.InstanceDisk(
                pool=pool,
                disk_name=disk_name,
                size=size,
                fill_id=fill_id
                or models.new_fill_id(catalog_id=identity.read_id(self._file)),
                holder=models.holder_name(),
                udid=None,
                started_at=time.time(),
                started_clock=self._clock.save(),
            )
            try:
                connection.execute(
                    f'{verb} INTO instance_disks'
                    f' ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
                    dataclasses.astuple(entry),
                )
            except sqlite3.IntegrityError as error:
                raise exceptions.CatalogConflict(
                    image=disk_name,
                    reason='the disk is being created already',
                ) from error
        return entry

    def set_udid(self, entry: models.InstanceDisk, udid: str | None) -> None:
        """Record which disk PowerVM created.

        Nothing is written if the entry was removed or replaced.

        :param entry: the entry of the disk.
        :param udid: UDID of the disk; None if it was deleted again.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'UPDATE instance_disks SET udid = ?'
                ' WHERE pool = ? AND disk_name = ? AND fill_id = ?',
                (udid, entry.pool, entry.disk_name, entry.fill_id),
            )

    def set_requested(self, entry: models.InstanceDisk) -> None:
        """Record that the disk is requested of PowerVM now.

        From then on, it is known how long a disk can appear whose process
        has crashed. An entry that was just written is not written again.

        :param entry: the entry of the disk.
        :raises CatalogError: if the catalog cannot be written.
        """
        if self._clock.now() - entry.started_clock < _SOON:
            return
        with self._file.transaction() as connection:
            connection.execute(
                'UPDATE instance_disks SET started_clock = ?'
                ' WHERE pool = ? AND disk_name = ? AND fill_id = ?',
                (
                    self._clock.save(),
                    entry.pool,
                    entry.disk_name,
                    entry.fill_id,
                ),
            )

    def finish(self, entry: models.InstanceDisk) -> None:
        """Remove an entry whose disk is complete, or deleted.

        A complete disk must never be taken for an incomplete one because the
        catalog could not be written. Then a file in the directory
        ``finished``, with the name of the fill ID, records it instead.

        :param entry: the entry of the disk.
        :raises CatalogError: if neither the catalog nor the file can be
            written.
        """
        try:
            self._delete(entry)
        except exceptions.CatalogError as error:
            try:
                self._mark(entry)
            except OSError:
                raise error from None
            LOG.warning(
                'Could not mark disk %(disk)s complete in the catalog; '
                'recorded it in %(path)s instead: %(error)s',
                {
                    'disk': entry.disk_name,
                    'path': os.path.join(self._directory, entry.fill_id),
                    'error': error,
                },
            )

    def _delete(self, entry: models.InstanceDisk) -> None:
        with self._file.transaction() as connection:
            connection.execute(
                'DELETE FROM instance_disks'
                ' WHERE pool = ? AND disk_name = ? AND fill_id = ?',
                (entry.pool, entry.disk_name, entry.fill_id),
            )

    # -- the files of finished disks. The fill ID comes from the catalog, and
    # the directory can be written by its owner: neither may lead root away.

    @property
    def _directory(self) -> str:
        return os.path.join(os.path.dirname(self._file.path), 'finished')

    def _mark(self, entry: models.InstanceDisk) -> None:
        if not catalog_connection.FILL_ID.fullmatch(entry.fill_id):
            raise OSError(f'{entry.fill_id!r} is not a fill ID')
        with private_files.opened(self._directory, create=True) as directory:
            os.close(directory.open(entry.fill_id, os.O_RDWR | os.O_CREAT))

    def _finished(self) -> frozenset[str]:
        """Return the fill IDs of disks that are recorded in files."""
        try:
            with private_files.opened(self._directory) as directory:
                return frozenset(
                    each
                    for each in directory.names()
                    if catalog_connection.FILL_ID.fullmatch(each)
                    and directory.check(each)
                )
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise self._failure(error) from error

    def _unmark(self, entry: models.InstanceDisk) -> None:
        try:
            with private_files.opened(self._directory) as directory:
                directory.unlink(entry.fill_id)
        except FileNotFoundError:
            # Another process has done it.
            return
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> exceptions.CatalogError:
        return exceptions.CatalogError(path=self._file.path, reason=str(error))


def _entry(row: catalog_connection.Row) -> models.InstanceDisk:
    return models.InstanceDisk(
        pool=row.text('pool'),
        disk_name=row.matching('disk_name', catalog_connection.NAME),
        size=row.integer('size'),
        fill_id=row.matching('fill_id', catalog_connection.FILL_ID),
        holder=row.text('holder'),
        udid=row.text_or_none('udid'),
        started_at=row.number('started_at'),
        started_clock=row.number('started_clock'),
    )
