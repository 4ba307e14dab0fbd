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

"""The records of this host's pool, read without asking PowerVM for it.

Which pool it is was found out by a command or a pass before, and is kept in
the catalogue under what the configuration finds it by. If the volume group
is made anew under its name, what is read here is what the catalogue knew of
the old one, until the next command that talks to PowerVM, or the next pass.
Nothing is ever changed on that ground.
"""

import logging
import os
from typing import Any

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache import records
from pvm_imagecache.conf import cache

LOG = logging.getLogger(__name__)


def remembered(conf: Any) -> records.Records | None:
    """The records; None where PowerVM has to be asked.

    :raises CatalogError: if the user may not read the catalogue, of which
        PowerVM would not tell them.
    """
    path = cache.catalog_path(conf)
    if _is_closed(path):
        raise exceptions.CatalogError(
            path=path,
            reason='Permission denied: whoever is to read it '
            'needs the right to read its directory, too.',
        )
    catalog = catalog_module.Catalog(path, read_only=True)
    try:
        pool = catalog.pool_called(cache.pool_name(conf))
    except exceptions.CatalogError as error:
        # It is not there, is to be brought up to date, or is corrupt: who
        # may write to it will see to that.
        LOG.debug('The catalogue is not only read: %s', error)
        return None
    return records.Records(catalog, pool) if pool else None


def _is_closed(path: str) -> bool:
    """Whether there may be a file, but none that the user may read."""
    try:
        os.stat(path)
    except OSError as error:
        return isinstance(error, PermissionError)
    return not os.access(path, os.R_OK)
