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


"""What is known of each pool."""

import time

from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models


class Pools:
    """Facts of each pool, its last cleanup run, and the names of pools.

    :param file: the file of the catalog.
    """

    def __init__(self, file: catalog_file.CatalogFile) -> None:
        self._file = file

    def keeps_labels(self, pool: str) -> bool:
        """Return whether the pool preserves the labels of disks.

        :param pool: ID of the pool.
        :returns: True once a disk of ours was seen with its label, unless a
            platform check has measured since then that labels are not kept.
            Until then the pool may drop them: that is known only after the
            first disk, and the process that creates it may crash.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return (
                connection.row(
                    'SELECT 1 FROM pools WHERE pool = ? AND keeps_labels',
                    (pool,),
                )
                is not None
            )

    def has_always_kept_labels(self, pool: str) -> bool:
        """Return whether the pool has preserved the labels of all our disks.

        :param pool: ID of the pool.
        :returns: True once a disk of ours was seen with its label, unless
            one was seen without, as after an upgrade of the platform.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return (
                connection.row(
                    'SELECT 1 FROM pools WHERE pool = ? AND keeps_labels'
                    ' AND NOT drops_labels',
                    (pool,),
                )
                is not None
            )

    def record_labels(
        self, pool: str, kept: bool, *, measured: bool = False
    ) -> None:
        """Record whether the pool preserves disk labels.

        Nothing is written if that is recorded already.

        :param pool: ID of the pool.
        :param kept: whether a disk of ours was seen with its label; False:
            one was seen without it.
        :param measured: whether that outweighs what was seen before, as
            after an upgrade of the platform.
        :raises CatalogError: if the catalog cannot be written.
        """
        values: dict[str, catalog_connection.Value] = {
            'pool': pool,
            'kept': kept,
            'overrules': measured and not kept,
        }
        with self._file.session() as connection:
            if connection.row(
                'SELECT 1 FROM pools WHERE pool = :pool AND'
                ' CASE WHEN :kept THEN keeps_labels ELSE drops_labels END'
                ' AND NOT (:overrules AND keeps_labels)',
                values,
            ):
                return
        with self._file.transaction() as connection:
            connection.execute(
                'INSERT INTO pools (pool, keeps_labels, drops_labels)'
                ' VALUES (:pool, :kept, NOT :kept)'
                ' ON CONFLICT (pool) DO UPDATE SET'
                ' keeps_labels = keeps_labels AND NOT :overrules OR :kept,'
                ' drops_labels = drops_labels OR NOT :kept',
                values,
            )

    def uploads_are_clean(self, pool: str) -> bool:
        """Return whether no upload is known to have left a File entry.

        :param pool: ID of the pool.
        :returns: False until :meth:`record_uploads` says otherwise.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return (
                connection.row(
                    'SELECT 1 FROM pools WHERE pool = ? AND uploads_are_clean',
                    (pool,),
                )
                is not None
            )

    def record_uploads(self, pool: str, clean: bool) -> None:
        """Record whether uploads may have left File entries.

        :param pool: ID of the pool.
        :param clean: False asks the next cleanup run, in any process, to
            remove stale File entries.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'INSERT INTO pools (pool, keeps_labels, uploads_are_clean)'
                ' VALUES (?, 0, ?) ON CONFLICT (pool) DO UPDATE SET'
                ' uploads_are_clean = excluded.uploads_are_clean',
                (pool, int(clean)),
            )

    def record_run(self, pool: str, error: str = '') -> bool:
        """Record that a cleanup run is made now.

        :param pool: ID of the pool.
        :param error: what failed in it; '' if nothing did.
        :returns: whether the error differs from that of the run before.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            last = self.last_run(pool)
            connection.execute(
                'INSERT INTO pools (pool, keeps_labels, last_run_at,'
                ' last_run_error) VALUES (?, 0, ?, ?)'
                ' ON CONFLICT (pool) DO UPDATE SET'
                ' last_run_at = excluded.last_run_at,'
                ' last_run_error = excluded.last_run_error',
                (pool, time.time(), error),
            )
        return error != (last.error if last else '')

    def last_run(self, pool: str) -> models.LastRun | None:
        """Return the last cleanup run.

        :param pool: ID of the pool.
        :returns: the run; None if there was none.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            row = connection.row(
                'SELECT last_run_at, last_run_error FROM pools'
                ' WHERE pool = ? AND last_run_at IS NOT NULL',
                (pool,),
            )
            if row is None:
                return None
            return models.LastRun(
                at=row.number('last_run_at'), error=row.text('last_run_error')
            )

    def id_of(self, name: str) -> str | None:
        """Return the ID of the pool that was found under a name.

        :param name: what the configuration finds the pool by.
        :returns: the ID; None if no pool was found under that name.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            row = connection.row(
                'SELECT pool FROM pool_names WHERE name = ?', (name,)
            )
            return None if row is None else row.text('pool')

    def record_name(self, name: str, pool: str) -> None:
        """Record which pool was found under a name.

        Nothing is written if that is recorded already.

        :param name: what the configuration finds the pool by.
        :param pool: ID of the pool.
        :raises CatalogError: if the catalog cannot be written.
        """
        if self.id_of(name) == pool:
            return
        with self._file.transaction() as connection:
            connection.execute(
                'INSERT OR REPLACE INTO pool_names (name, pool) VALUES (?, ?)',
                (name, pool),
            )
