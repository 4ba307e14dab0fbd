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


"""The records of base images, from the start of a fill to their removal."""

import builtins
from collections.abc import Iterable
import json
import sqlite3
import time
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import clock as catalog_clock
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import identity
from pvm_imagecache.catalog import models
from pvm_imagecache.catalog import pins as catalog_pins

#: The columns of a record, and what their values must be.
_CHECKS: Final = {
    'pool': catalog_connection.text,
    'disk_name': catalog_connection.name,
    'image_id': catalog_connection.name,
    'image_name': catalog_connection.text_or_none,
    'size': catalog_connection.integer,
    'virtual_size': catalog_connection.integer_or_none,
    'disk_format': catalog_connection.text,
    'os_hash_algo': catalog_connection.text_or_none,
    'os_hash_value': catalog_connection.text_or_none,
    'checksum': catalog_connection.text_or_none,
    'state': models.State,
    'fill_id': catalog_connection.fill_id,
    'holder': catalog_connection.text,
    'udid': catalog_connection.text_or_none,
    'capacity': catalog_connection.integer_or_none,
    'bytes_done': catalog_connection.integer,
    'created_at': catalog_connection.number,
    'ready_at': catalog_connection.number_or_none,
    'last_used_at': catalog_connection.number_or_none,
    'hits': catalog_connection.integer,
    'reason': catalog_connection.text_or_none,
    'started_clock': catalog_connection.number,
    'ready_clock': catalog_connection.number_or_none,
    'used_clock': catalog_connection.number_or_none,
    'verified_signature': catalog_connection.text_or_none,
    'image_created_at': catalog_connection.text_or_none,
}
_COLUMNS: Final = ', '.join(_CHECKS)
_IN_ORDER: Final = tuple(_CHECKS.values())
#: Characters; more than any time in ISO 8601 has.
_LONGEST_TIME: Final = 64


class BaseImages:
    """The records of the base images of all pools.

    :param file: the file of the catalog.
    :param clock: the clock of the catalog.
    :param pins: the pins of the catalog.
    :param who: the user for whom disks are adopted.
    """

    def __init__(
        self,
        file: catalog_file.CatalogFile,
        clock: catalog_clock.Clock,
        pins: catalog_pins.Pins,
        who: str,
    ) -> None:
        self._file = file
        self._clock = clock
        self._pins = pins
        self._who = who

    # -- reading

    def get(self, pool: str, disk_name: str) -> models.BaseImage | None:
        """Return the record of a disk.

        :param pool: ID of the pool.
        :param disk_name: name of the disk.
        :returns: the record; None if there is none.
        :raises CatalogError: if the catalog cannot be read.
        """
        found = self._select('pool = ? AND disk_name = ?', pool, disk_name)
        return found[0] if found else None

    def of_image(self, pool: str, image_id: str) -> models.BaseImage | None:
        """Return the record of the base image of an image.

        :param pool: ID of the pool.
        :param image_id: ID of the image.
        :returns: the record; None if there is none.
        :raises CatalogError: if the catalog cannot be read.
        """
        found = self._select('pool = ? AND image_id = ?', pool, image_id)
        return found[-1] if found else None

    def check_only_name(
        self, pool: str, image_id: str, disk_name: str
    ) -> None:
        """Check that no base image holds an image under another name.

        :param pool: ID of the pool.
        :param image_id: ID of the image.
        :param disk_name: the name that the base image will have.
        :raises CatalogConflict: if one does.
        :raises CatalogError: if the catalog cannot be read.
        """
        found = self.of_image(pool, image_id)
        if found and found.disk_name != disk_name:
            raise exceptions.CatalogConflict(
                image=image_id, reason=f'disk {found.disk_name} holds it'
            )

    def get_many(
        self, pool: str, disk_names: Iterable[str]
    ) -> dict[str, models.BaseImage]:
        """Return the records of several disks, read at the same moment.

        :param pool: ID of the pool.
        :param disk_names: names of the disks.
        :returns: the records by disk name; a disk without one is left out.
        :raises CatalogError: if the catalog cannot be read.
        """
        # One parameter, however many there are: SQLite limits their number.
        found = self._select(
            'pool = ? AND disk_name IN (SELECT value FROM json_each(?))',
            pool,
            json.dumps([*disk_names]),
        )
        return {record.disk_name: record for record in found}

    def list(self, pool: str) -> builtins.list[models.BaseImage]:
        """Return all records of a pool.

        :param pool: ID of the pool.
        :returns: the records, least recently used first.
        :raises CatalogError: if the catalog cannot be read.
        """
        return self._select('pool = ?', pool)

    def states(
        self, pool: str
    ) -> builtins.list[tuple[str, str, models.State]]:
        """Return the states of all base images of a pool.

        :param pool: ID of the pool.
        :returns: disk name, fill ID and state of each.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return [
                (
                    row.matching('disk_name', catalog_connection.NAME),
                    row.matching('fill_id', catalog_connection.FILL_ID),
                    row.member('state', models.State),
                )
                for row in connection.rows(
                    'SELECT disk_name, fill_id, state FROM base_images'
                    ' WHERE pool = ?',
                    (pool,),
                )
            ]

    # -- writing

    def start_fill(
        self,
        pool: str,
        disk_name: str,
        image: image_module.Image,
        fill_id: str | None = None,
        wiped: bool = False,
    ) -> models.BaseImage:
        """Record that a base image is about to be created and filled.

        :param pool: ID of the pool.
        :param disk_name: name of the disk.
        :param image: the image that is written to it.
        :param fill_id: the token of a fill attempt of a crashed process
            whose disk may still appear: its record is replaced in one step,
            and the token stays known. None: a new token.
        :param wiped: whether zeros are written after the image; a new token
            says so.
        :returns: the new record, in state ``populating``.
        :raises CatalogConflict: if the disk name has a record already, and
            no ``fill_id`` is given.
        :raises CatalogError: if the catalog cannot be written.
        """
        return self._insert(
            _image_columns(pool, disk_name, image)
            | {
                'state': models.State.POPULATING.value,
                'fill_id': fill_id or self._new_fill_id(wiped),
                'holder': models.holder_name(),
                'created_at': time.time(),
            },
            image.id,
            replace=fill_id is not None,
        )

    def adopt(
        self,
        pool: str,
        disk_name: str,
        image: image_module.Image,
        udid: str,
        capacity: int,
        fill_id: str | None = None,
    ) -> models.BaseImage:
        """Record a disk that was not filled by the cache as a base image.

        :param pool: ID of the pool.
        :param disk_name: name of the disk.
        :param image: the image that it holds.
        :param udid: UDID of the disk.
        :param capacity: of the disk, in bytes.
        :param fill_id: a new token to which the label of the disk belongs.
            None: any new token.
        :returns: the new record, in state ``ready``.
        :raises CatalogConflict: if the disk name has a record already.
        :raises CatalogError: if the catalog cannot be written.
        """
        now = time.time()
        return self._insert(
            _image_columns(pool, disk_name, image)
            | {
                'state': models.State.READY.value,
                'fill_id': fill_id or models.new_fill_id(),
                'holder': f'adopted by {self._who}',
                'udid': udid,
                'capacity': capacity,
                'bytes_done': image.size,
                'created_at': now,
                'ready_at': now,
                'last_used_at': now,
            },
            image.id,
            replace=False,
        )

    def set_disk(
        self, record: models.BaseImage, udid: str, capacity: int
    ) -> None:
        """Record which disk PowerVM created for a fill.

        :param record: the record of the fill.
        :param udid: UDID of the disk.
        :param capacity: of the disk, in bytes.
        :raises CatalogConflict: if the record is no longer that of the fill.
        :raises CatalogError: if the catalog cannot be written.
        """
        self._update(
            record, models.State.POPULATING, udid=udid, capacity=capacity
        )

    def set_progress(self, record: models.BaseImage, bytes_done: int) -> None:
        """Record how many bytes were written.

        Processes that wait for the fill use it to detect a stalled one.

        :param record: the record of the fill.
        :param bytes_done: bytes of the image that were written.
        :raises CatalogConflict: if the record is no longer that of the fill.
        :raises CatalogError: if the catalog cannot be written.
        """
        self._update(record, models.State.POPULATING, bytes_done=bytes_done)

    def finish_fill(
        self,
        record: models.BaseImage,
        image: image_module.Image,
        verified_signature: str | None = None,
    ) -> None:
        """Make a base image ready: deploys are served from now on.

        :param record: the record of the fill.
        :param image: the image as it was fetched, with its virtual size.
        :param verified_signature: fingerprint of the signature that the data
            was verified with; None if no signature was verified.
        :raises CatalogConflict: if the record is no longer that of the fill,
            or if PowerVM never reported the UDID of the disk.
        :raises CatalogError: if the catalog cannot be written.
        """
        now = time.time()
        with self._file.transaction():
            current = self.get(record.pool, record.disk_name)
            if current is None or not current.udid:
                raise exceptions.CatalogConflict(
                    image=record.image.id, reason='its disk is not known'
                )
            clock = self._clock.save()
            self._update(
                record,
                models.State.POPULATING,
                state=models.State.READY.value,
                bytes_done=image.size,
                virtual_size=image.virtual_size,
                ready_at=now,
                last_used_at=now,
                ready_clock=clock,
                used_clock=clock,
                verified_signature=verified_signature,
            )

    def record_hit(self, record: models.BaseImage) -> None:
        """Count a deploy that was served, and record its time.

        Nothing is written if the record was removed or replaced.

        :param record: the record of the base image.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'UPDATE base_images SET hits = hits + 1,'
                ' last_used_at = ?, used_clock = ?'
                ' WHERE pool = ? AND disk_name = ? AND fill_id = ?',
                (
                    time.time(),
                    self._clock.save(),
                    record.pool,
                    record.disk_name,
                    record.fill_id,
                ),
            )

    def rename(self, pool: str, image_id: str, name: str | None) -> None:
        """Record the name that an image has in Glance now.

        Nothing is written if no base image holds the image.

        :param pool: ID of the pool.
        :param image_id: ID of the image.
        :param name: its name, or None.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'UPDATE base_images SET image_name = ?'
                ' WHERE pool = ? AND image_id = ?',
                (name, pool, image_id),
            )

    def start_eviction(self, record: models.BaseImage) -> None:
        """Stop serving deploys, because the disk is about to be deleted.

        :param record: the record of the base image.
        :raises CatalogConflict: if the record was changed or replaced.
        :raises ImagePinned: if the image was pinned meanwhile.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction():
            if record.image.id in self._pins.list(record.pool):
                raise exceptions.ImagePinned(image=record.image.id)
            self._update(
                record, record.state, state=models.State.EVICTING.value
            )

    def cancel_eviction(self, record: models.BaseImage) -> None:
        """Restore the state before the eviction; the disk was not deleted.

        Nothing is written if the record was replaced, or was never ready.

        :param record: the record of the base image.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'UPDATE base_images SET state ='
                ' CASE WHEN reason IS NULL THEN ? ELSE ? END'
                ' WHERE pool = ? AND disk_name = ? AND fill_id = ?'
                ' AND state = ? AND ready_at IS NOT NULL',
                (
                    models.State.READY.value,
                    models.State.QUARANTINED.value,
                    record.pool,
                    record.disk_name,
                    record.fill_id,
                    models.State.EVICTING.value,
                ),
            )

    def quarantine(self, record: models.BaseImage, reason: str) -> None:
        """Stop serving deploys, because the disk may have been changed.

        :param record: the record of a ready base image.
        :param reason: what was found.
        :raises CatalogConflict: if the record was changed or replaced.
        :raises CatalogError: if the catalog cannot be written.
        """
        self._update(
            record,
            models.State.READY,
            state=models.State.QUARANTINED.value,
            reason=reason,
        )

    def remove(self, record: models.BaseImage) -> None:
        """Remove the record of a base image whose disk is deleted.

        Nothing is written if the record was removed or replaced.

        :param record: the record of the base image.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'DELETE FROM base_images'
                ' WHERE pool = ? AND disk_name = ? AND fill_id = ?',
                (record.pool, record.disk_name, record.fill_id),
            )

    def _new_fill_id(self, wiped: bool) -> str:
        return models.new_fill_id(wiped, identity.read_id(self._file))

    def _insert(
        self,
        values: dict[str, catalog_connection.Value],
        image_id: str,
        *,
        replace: bool,
    ) -> models.BaseImage:
        verb = 'INSERT OR REPLACE' if replace else 'INSERT'
        with self._file.transaction() as connection:
            clock = self._clock.save()
            values['started_clock'] = clock
            if values['state'] == models.State.READY.value:
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
                    image=image_id,
                    reason=f'{values["disk_name"]} has a record already',
                ) from error
            (record,) = self._select(
                'pool = ? AND disk_name = ?',
                values['pool'],
                values['disk_name'],
            )
        return record

    def _select(
        self, condition: str, *values: catalog_connection.Value
    ) -> builtins.list[models.BaseImage]:
        with self._file.session() as connection:
            return [
                _record(row)
                for row in connection.rows(
                    f'SELECT {_COLUMNS} FROM base_images'  # noqa: S608
                    f' WHERE {condition}'
                    ' ORDER BY COALESCE(used_clock, started_clock),'
                    ' started_clock, disk_name',
                    values,
                )
            ]

    def _update(
        self,
        record: models.BaseImage,
        expected: models.State,
        **values: catalog_connection.Value,
    ) -> None:
        assignments = ', '.join(f'{column} = :{column}' for column in values)
        with self._file.transaction() as connection:
            changed = connection.execute(
                f'UPDATE base_images SET {assignments}'  # noqa: S608
                ' WHERE pool = :_pool AND disk_name = :_disk'
                ' AND fill_id = :_fill_id AND state = :_state',
                values
                | {
                    '_pool': record.pool,
                    '_disk': record.disk_name,
                    '_fill_id': record.fill_id,
                    '_state': expected.value,
                },
            ).rowcount
        if changed != 1:
            raise exceptions.CatalogConflict(
                image=record.image.id,
                reason=f'it is no longer {expected.value} in the same fill',
            )


def _record(row: catalog_connection.Row) -> models.BaseImage:
    values = dict(zip(_CHECKS, row.values(_IN_ORDER), strict=True))
    return models.BaseImage(
        image=image_module.Image(
            id=values.pop('image_id'),
            name=values.pop('image_name'),
            size=values.pop('size'),
            virtual_size=values.pop('virtual_size'),
            disk_format=values.pop('disk_format'),
            os_hash_algo=values.pop('os_hash_algo'),
            os_hash_value=values.pop('os_hash_value'),
            checksum=values.pop('checksum'),
            created_at=values.pop('image_created_at') or '',
        ),
        **values,
    )


def _image_columns(
    pool: str, disk_name: str, image: image_module.Image
) -> dict[str, catalog_connection.Value]:
    """Return what a record says of its image, by column."""
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
        'image_created_at': image.created_at[:_LONGEST_TIME] or None,
    }
