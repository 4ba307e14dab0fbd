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
"""The last download of each image that failed because of its data."""

import os
from typing import Final

from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import models

_TOKEN_BYTES: Final = 16


class FailedDownloads:
    """Failed downloads, for the deploys that waited for them.

    :param file: the file of the catalog.
    """

    def __init__(self, file: catalog_file.CatalogFile) -> None:
        self._file = file

    def get(self, pool: str, disk_name: str) -> models.FailedDownload | None:
        """Return the last failed download for a base image.

        :param pool: ID of the pool.
        :param disk_name: name of the disk of the base image.
        :returns: the record; None if there is none.
        :raises CatalogError: if the catalog cannot be read.
        """
        with self._file.session() as connection:
            row = connection.row(
                'SELECT token, data_id, error, signature'
                ' FROM failed_downloads WHERE pool = ? AND disk_name = ?',
                (pool, disk_name),
            )
            if row is None:
                return None
            return models.FailedDownload(
                row.text('token'),
                row.text('data_id'),
                row.text('error'),
                row.text_or_none('signature'),
            )

    def record(
        self,
        pool: str,
        disk_name: str,
        data_id: str,
        error: str,
        signature: str | None = None,
    ) -> None:
        """Record a failed download, in place of an earlier one.

        :param pool: ID of the pool.
        :param disk_name: name of the disk of the base image.
        :param data_id: identifies the data that was expected.
        :param error: why the download failed.
        :param signature: fingerprint of the signature that the data does not
            have; None if the data itself is wrong.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'INSERT OR REPLACE INTO failed_downloads'
                ' (pool, disk_name, token, data_id, error, signature)'
                ' VALUES (?, ?, ?, ?, ?, ?)',
                (
                    pool,
                    disk_name,
                    os.urandom(_TOKEN_BYTES).hex(),
                    data_id,
                    error,
                    signature,
                ),
            )

    def remove(self, pool: str, disk_name: str) -> None:
        """Forget the failed download of a base image.

        :param pool: ID of the pool.
        :param disk_name: name of the disk of the base image.
        :raises CatalogError: if the catalog cannot be written.
        """
        with self._file.transaction() as connection:
            connection.execute(
                'DELETE FROM failed_downloads'
                ' WHERE pool = ? AND disk_name = ?',
                (pool, disk_name),
            )
