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

"""The ID of the catalog, in a file beside it.

The labels of disks name the catalog that has their records. A new catalog in
the same directory, after the old one became corrupt or was deleted, gets the
same ID: otherwise its disks would be those of another catalog.
"""

import logging
import os
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.system import private_files

LOG = logging.getLogger(__name__)

NAME: Final = 'catalog.id'
#: More than the file has.
_MOST_BYTES: Final = 64


def read(directory: private_files.Directory) -> str | None:
    """Return the ID that catalogs of a directory have.

    :param directory: the open directory of the catalog.
    :returns: the ID; None if the file is missing, is invalid, or cannot be
        read, which is not an error.
    """
    try:
        descriptor = directory.open(NAME)
        try:
            content = os.read(descriptor, _MOST_BYTES)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except (OSError, exceptions.StateRefused) as error:
        LOG.debug('Could not read the ID of the catalog: %s', error)
        return None
    found = content.decode('ascii', 'replace').strip()
    return found if catalog_connection.CATALOG_ID.fullmatch(found) else None


def keep(directory: private_files.Directory, catalog_id: str) -> None:
    """Write the ID of the catalog, unless the file has it.

    A failure is not an error: the next process that opens the catalog tries
    it again.

    :param directory: the open directory of the catalog.
    :param catalog_id: of the catalog.
    """
    if read(directory) == catalog_id:
        return
    try:
        descriptor = directory.open(
            NAME, os.O_WRONLY | os.O_CREAT, private_files.OWNER_FILE_MODE
        )
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f'{catalog_id}\n'.encode())
        finally:
            os.close(descriptor)
    except (OSError, exceptions.StateRefused) as error:
        LOG.debug('Could not write the ID of the catalog: %s', error)
