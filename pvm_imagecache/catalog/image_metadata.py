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

"""Metadata of cached images, for eviction policies."""

from collections.abc import Sequence
import contextlib
import json
import logging
import sqlite3
from typing import Any
from typing import Final
from typing import TypeVar

from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file

_Value = TypeVar('_Value')

LOG = logging.getLogger(__name__)

#: Characters of the tags, or of the properties, of one image that are kept.
#: Users choose them. Ten times what 128 tags of 30 characters need.
_LONGEST: Final = 40_000


class ImageMetadata:
    """Project, tags and selected properties of cached images.

    :param file: the file of the catalog.
    """

    def __init__(self, file: catalog_file.CatalogFile) -> None:
        self._file = file

    def list(self, pool: str) -> dict[str, image_module.Metadata]:
        """Return what is known of images.

        A malformed record affects no other image.

        :param pool: ID of the pool.
        :returns: by image ID; images of which nothing is known are left out.
        :raises CatalogError: if the catalog cannot be read.
        """
        found = {}
        with self._file.session() as connection:
            for row in connection.rows(
                'SELECT image_id, project_id, tags, properties'
                ' FROM image_metadata WHERE pool = ? AND image_id IN'
                ' (SELECT image_id FROM base_images WHERE pool = ?)',
                (pool, pool),
            ):
                try:
                    found[row.text('image_id')] = _metadata(row)
                except sqlite3.DataError as error:
                    LOG.debug('Metadata of an image were left out: %s', error)
        return found

    def record(
        self, pool: str, image_id: str, metadata: image_module.Metadata
    ) -> None:
        """Record the metadata of a cached image, replacing what was recorded.

        The records of images that are no longer cached are removed. Nothing
        is written if nothing changed. Tags and properties that do not fit
        into the record, or cannot be written, are left out.

        :param pool: ID of the pool.
        :param image_id: ID of the image.
        :param metadata: what is known of it.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        tags = _fitting(metadata.tags)
        properties = _fitting(metadata.properties)
        with self._file.session() as connection:
            row = connection.row(
                'SELECT project_id, tags, properties FROM image_metadata'
                ' WHERE pool = ? AND image_id = ?',
                (pool, image_id),
            )
            # A malformed record is replaced.
            with contextlib.suppress(sqlite3.DataError):
                if row is not None and _metadata(row) == (
                    image_module.Metadata(
                        metadata.project_id, tags, properties
                    )
                ):
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
                    json.dumps(tags),
                    json.dumps(properties),
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
        return image_module.Metadata(
            row.text_or_none('project_id'),
            tuple(map(_text, _list(row, 'tags'))),
            tuple(
                (_text(name), _text(value))
                for name, value in map(_pair, _list(row, 'properties'))
            ),
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise sqlite3.DataError(
            f'the metadata of an image is malformed: {error}'
        ) from error


def _fitting(values: Sequence[_Value]) -> tuple[_Value, ...]:
    """Return the values that can be read again.

    They are not too long together, as JSON, and have no half of a surrogate
    pair.
    """
    fitting: list[_Value] = []
    length = 0
    for each in values:
        try:
            json.dumps(each, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            continue
        needed = len(json.dumps(each)) + len(', ')
        if length + needed <= _LONGEST:
            length += needed
            fitting.append(each)
    return tuple(fitting)


def _list(row: catalog_connection.Row, column: str) -> list[Any]:
    value = row.text(column)
    # Without the last comma, and with the brackets, it is not longer.
    if len(value) > _LONGEST:
        raise ValueError(f'{column} is too long')
    found = json.loads(value)
    if not isinstance(found, list):
        raise TypeError(f'{column} is not a list')
    return found


def _pair(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f'{type(value).__name__} is not a list')
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{type(value).__name__} is not text')
    # Not a half of a surrogate pair, which nothing can write.
    value.encode()
    return value
