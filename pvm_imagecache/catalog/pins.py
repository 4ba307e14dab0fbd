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


"""Protected images: those that are pinned, and those that are in use."""

from collections.abc import Iterable
import time

from pvm_imagecache.catalog import clock as catalog_clock
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models


class Pins:
    """Pinned images and images in use, by pool.

    :param file: the file of the catalog.
    :param clock: the clock of the catalog.
    :param who: the user for whom images are pinned.
    """

    def __init__(
        self,
        file: catalog_file.CatalogFile,
        clock: catalog_clock.Clock,
        who: str,
    ) -> None:
        self._file = file
        self._clock = clock
        self._who = who

    def list(self, pool: str) -> dict[str, models.Pin]:
        """Return the pins that have not ended.

        :param pool: ID of the pool.
        :returns: the pins by image ID, oldest first.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            now = self._clock.now()
            found = {}
            for row in connection.rows(
                'SELECT image_id, note, who, pinned_at, until_clock FROM pins'
                ' WHERE pool = ? AND (until_clock IS NULL OR until_clock > ?)'
                ' ORDER BY pinned_at',
                (pool, now),
            ):
                until = row.number_or_none('until_clock')
                pin = models.Pin(
                    image_id=row.text('image_id'),
                    note=row.text('note'),
                    who=row.text('who'),
                    pinned_at=row.number('pinned_at'),
                    seconds_left=None if until is None else until - now,
                )
                found[pin.image_id] = pin
            return found

    def pin(
        self, pool: str, image_id: str, note: str, seconds: float | None
    ) -> None:
        """Protect an image from eviction, whether it is cached or not.

        A pin of the same image is replaced.

        :param pool: ID of the pool.
        :param image_id: ID of the image.
        :param note: the operator's reason; its first
            :data:`~.models.LONGEST_NOTE` characters are kept.
        :param seconds: how long the pin lasts; None: it does not end.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            now = self._clock.save()
            connection.execute(
                'INSERT OR REPLACE INTO pins'
                ' (pool, image_id, note, who, pinned_at, until_clock)'
                ' VALUES (?, ?, ?, ?, ?, ?)',
                (
                    pool,
                    image_id,
                    note[: models.LONGEST_NOTE],
                    self._who,
                    time.time(),
                    None if seconds is None else now + seconds,
                ),
            )

    def unpin(self, pool: str, image_id: str) -> bool:
        """Remove the protection of an image.

        :param pool: ID of the pool.
        :param image_id: ID of the image.
        :returns: False if the image was not pinned.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            return bool(
                connection.execute(
                    'DELETE FROM pins WHERE pool = ? AND image_id = ?',
                    (pool, image_id),
                ).rowcount
            )

    def set_in_use(self, pool: str, ids: Iterable[str]) -> None:
        """Record which images the instances of this host use now.

        Base images of these images count as used now.

        :param pool: ID of the pool.
        :param ids: IDs of the images; they replace those recorded before.
        :raises CatalogError: if the catalog cannot be written.
        """
        now = time.time()
        rows = [(pool, each, now) for each in set(ids)]
        with self._file.transaction() as connection:
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
                (now, self._clock.save(), pool, pool),
            )

    def in_use(self, pool: str) -> dict[str, float]:
        """Return the images that instances used at the last cleanup run.

        :param pool: ID of the pool.
        :returns: by image ID, when its use was seen, in Unix seconds.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return {
                row.text('image_id'): row.number('seen_at')
                for row in connection.rows(
                    'SELECT image_id, seen_at FROM in_use WHERE pool = ?',
                    (pool,),
                )
            }
