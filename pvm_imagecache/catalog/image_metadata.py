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

"""What eviction policies can know of cached images besides their records."""

import contextlib
import json
import sqlite3

from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file


class ImageMetadata:
    """Project, tags and selected properties of cached images.

    :param file: the file of the catalog.
    """

    def __init__(self, file: catalog_file.CatalogFile) -> None:
        self._file = file

    def list(self, pool: str) -> dict[str, image_module.Metadata]:
        """Return what is known of images.

        :param pool: ID of the pool.
        :returns: by image ID; images of which nothing is known are left out.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            return {
                row.text('image_id'): _metadata(row)
                for row in connection.rows(
                    'SELECT image_id, project_id, tags, properties'
                    ' FROM image_metadata WHERE pool = ?',
                    (pool,),
                )
            }

    def record(
        self, pool: str, image_id: str, metadata: image_module.Metadata
    ) -> None:
        """Record what is known of a cached image, in place of what was.

        Images that are no longer cached are forgotten. Nothing is written if
        no base image holds the image, or if nothing changed.

        :param pool: ID of the pool.
        :param image_id: ID of the image.
        :param metadata: what is known of it.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        with self._file.session() as connection:
            row = connection.row(
                'SELECT project_id, tags, properties FROM image_metadata'
                ' WHERE pool = ? AND image_id = ?',
                (pool, image_id),
            )
            # A malformed record is replaced.
            with contextlib.suppress(sqlite3.DataError):
                if row is not None and _metadata(row) == metadata:
                    return
        with self._file.transaction() as connection:
            connection.execute(
                'INSERT OR REPLACE INTO image_metadata'
                ' (pool, image_id, project_id, tags, properties)'
                ' VALUES (?, ?, ?, ?, ?)',
                (
                    pool,
                    image_id,
                    metadata.project_id,
                    json.dumps(metadata.tags),
                    json.dumps(metadata.properties),
                ),
            )
            connection.execute(
                'DELETE FROM image_metadata WHERE NOT EXISTS'
                ' (SELECT 1 FROM base_images WHERE'
                ' base_images.pool = image_metadata.pool AND'
                ' base_images.image_id = image_metadata.image_id)'
            )


def _metadata(row: catalog_connection.Row) -> image_module.Metadata:
    try:
        tags = json.loads(row.text('tags'))
        properties = json.loads(row.text('properties'))
        return image_module.Metadata(
            row.text_or_none('project_id'),
            tuple(map(_text, tags)),
            tuple((_text(name), _text(value)) for name, value in properties),
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise sqlite3.DataError(
            f'the metadata of an image is malformed: {error}'
        ) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{type(value).__name__} is no text')
    return value
