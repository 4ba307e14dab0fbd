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

"""What is known of the origin of a disk, before an operator deletes it.

A volume group also contains disks of other programs. A disk is known if this
project has a record of it, created a disk of its name, or has labelled it.
"""

import dataclasses
import time
from typing import Final

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base

#: Events after which there is a disk of the name.
_CREATED: Final = ('hit', 'miss', 'bypass', 'shared-pool')


@dataclasses.dataclass(frozen=True)
class Origin:
    """A disk, and what is known of it.

    :ivar disk: the disk.
    :ivar facts: what this project knows of it, each one a phrase; empty if
        it does not know the disk.
    :ivar label: of another program; '' if the disk has none.
    :ivar catalog: the beginning of the ID of the other catalog that the disk
        belongs to; '' if it belongs to none.
    """

    disk: base.Disk
    facts: tuple[str, ...]
    label: str = ''
    catalog: str = ''

    @property
    def known(self) -> bool:
        """Whether this project created the disk, as far as that is known.

        For this catalog, or for another one.
        """
        return bool(self.facts) and not self.label

    @property
    def description(self) -> str:
        """Name, size and origin of the disk, on one line."""
        origin = '; '.join(self.facts) or 'unknown origin'
        if self.label:
            origin += f'; it has the label "{text.printable(self.label)}"'
        return (
            f'Disk {self.disk.name} ({text.size(self.disk.capacity)}, UDID '
            f'{self.disk.udid}): {origin}'
        )


def find(cache: cache_module.Cache, name: str) -> Origin:
    """Return what is known of an instance disk.

    :param cache: of the pool.
    :param name: of the disk.
    :returns: the disk and its origin.
    :raises DiskNotFound: if there is no such disk.
    :raises DiskNotOurs: if the disk is a cached image.
    :raises PowerVMError: if the pool cannot be read.
    :raises CatalogError: if the catalog cannot be read.
    """
    driver = cache.driver
    disk = driver.find_disk(name)
    if disk is None:
        raise exceptions.DiskNotFound(name=name, pool=driver.pool().name)
    pool = driver.pool_id()
    facts: list[str] = []
    if cache.catalog.exists and naming.is_base_image_name(name):
        record = cache.catalog.base_images.get(pool, name)
        if record is not None:
            raise exceptions.DiskNotOurs(name=name, image_id=record.image.id)
    catalog = ownership.other_catalog_of(disk, cache.own_catalogs())
    if catalog:
        facts.append(
            f'it belongs to another catalog ({catalog}): that of another '
            'host, of another state_path, or of a deleted state directory'
        )
    elif cache.catalog.exists:
        facts += [
            f'{each.holder} is creating it, or has crashed'
            for each in cache.catalog.instance_disks.list(pool)
            if each.disk_name == name
        ]
        event = cache.catalog.history.last_of_disk(pool, name)
        if event and event.action in _CREATED:
            facts.append(_created(event))
    if ownership.has_our_label(disk) and not catalog:
        facts.append(f'it has the label "{disk.label}" of the cache')
    label = '' if ownership.has_our_label(disk) else disk.label
    return Origin(
        disk,
        tuple(facts),
        label if ownership.has_label(disk) else '',
        catalog,
    )


def _created(event: models.HistoryEvent) -> str:
    image = text.printable(event.image_name or event.image_id or 'unknown')
    date = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(event.at))
    return (
        f'created from image {image} ({event.image_id}) at {date} for '
        f'{text.printable(event.who)}'
    )
