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

"""Which catalog this is, and which others have disks in its pools."""

from collections.abc import Sequence
import time

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models


class Identity:
    """The ID of the catalog, those that it has taken over, and others.

    :param file: the file of the catalog.
    :param who: the user for whom things are done.
    """

    def __init__(self, file: catalog_file.CatalogFile, who: str) -> None:
        self._file = file
        self._who = who

    @property
    def id(self) -> str:
        """ID of this catalog: 32 hexadecimal digits that never change.

        It is read each time: a corrupt catalog is replaced by a new one.

        :raises CatalogError: if the catalog cannot be read.
        """
        return read_id(self._file)

    def own(self) -> frozenset[str]:
        """Return the catalogs whose disks belong to this one.

        :returns: the beginnings of the ID of this catalog, and of the IDs of
            those that it has taken over.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return frozenset(
                [
                    self.id[: models.CATALOG_DIGITS],
                    *(
                        _short_id(row)
                        for row in connection.rows(
                            'SELECT catalog_id FROM former_catalogs'
                        )
                    ),
                ]
            )

    def take_over(self, catalog: str) -> None:
        """Record that the disks of another catalog belong to this one.

        :param catalog: the beginning of the ID of the other catalog.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'INSERT OR IGNORE INTO former_catalogs VALUES (?, ?, ?)',
                (catalog, self._who, time.time()),
            )
            connection.execute(
                'DELETE FROM other_catalogs WHERE catalog_id = ?', (catalog,)
            )

    def others(self, pool: str) -> Sequence[models.OtherCatalog]:
        """Return the other catalogs that were seen last in a pool.

        :param pool: ID of the pool.
        :returns: each catalog with the number of its base images, in the
            order of their IDs.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return [
                models.OtherCatalog(_short_id(row), row.integer('base_images'))
                for row in connection.rows(
                    'SELECT catalog_id, base_images FROM other_catalogs'
                    ' WHERE pool = ? ORDER BY catalog_id',
                    (pool,),
                )
            ]

    def record_others(
        self, pool: str, others: Sequence[models.OtherCatalog]
    ) -> None:
        """Record which other catalogs have base images in a pool.

        Nothing is written if that is recorded already.

        :param pool: ID of the pool.
        :param others: all of them, in the order of their IDs. Those without
            base images are left out.
        :raises CatalogError: if the catalog cannot be written.
        """
        found = [
            models.OtherCatalog(each.catalog, each.base_images)
            for each in others
            if each.base_images
        ]
        if found == self.others(pool):
            return
        with self._file.transaction() as connection:
            connection.execute(
                'DELETE FROM other_catalogs WHERE pool = ?', (pool,)
            )
            for each in found:
                connection.execute(
                    'INSERT INTO other_catalogs VALUES (?, ?, ?)',
                    (pool, each.catalog, each.base_images),
                )


def read_id(file: catalog_file.CatalogFile) -> str:
    """Return the ID of a catalog.

    :param file: the file of the catalog.
    :returns: 32 hexadecimal digits.
    :raises CatalogError: if the catalog cannot be read.
    """
    with file.session() as connection:
        row = connection.row('SELECT catalog_id FROM identity')
        if row is None:
            raise exceptions.CatalogError(
                path=file.path, reason='it has no ID'
            )
        return row.matching('catalog_id', catalog_connection.CATALOG_ID)


def _short_id(row: catalog_connection.Row) -> str:
    return row.matching('catalog_id', catalog_connection.SHORT_CATALOG_ID)
