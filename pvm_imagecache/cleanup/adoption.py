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

"""Disks that carry the name of a base image, and are in no catalogue.

nova-powervm named its cached images as we do, and never removed one; a
catalogue that was lost leaves others. They are never served as they are:
nothing tells whether they were filled to the end. A deploy of their image
puts a new base image in their place, if there is no doubt about what they
are; an operator who knows that one is whole can have it taken over.
"""

from collections.abc import Collection
from collections.abc import Sequence

from oslo_log import log as logging
from oslo_utils import units

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.drivers import base

LOG = logging.getLogger(__name__)


def replace_left_over(
    driver: base.DiskDriver, image: image_module.Image
) -> None:
    """Delete the disk that has the name of an image's base image.

    Only called with the lock of the base image held, and its record new.

    :raises BaseImageOccupied: if it may be anything but a left-over.
    :raises PowerVMError: if it can't be deleted.
    """
    name = naming.base_image_name(image.id)
    named = _named(driver, name)
    doubt = doubt_about(
        named, image, driver.mapped(named), driver.upload_targets()
    )
    if named and doubt is None and not reconciler.may_be_left_over(named[0]):
        doubt = f'it has the label "{named[0].label}"'
    if doubt:
        raise exceptions.BaseImageOccupied(
            name=name,
            image=image.id,
            reason='a disk of that name is there that the cache does not '
            f'know, and {doubt}. Delete it if nobody needs it, or '
            'have it taken over with "pvm-imagecache adopt".',
        )
    for disk in named:
        LOG.warning(
            'Disk %(disk)s is a left-over that may be incomplete: '
            'it is replaced by a new copy of image %(image)s',
            {'disk': name, 'image': image.id},
        )
        (removal,) = driver.delete_disks([disk])
        if removal.error:
            raise removal.error


def adopt(
    parts: cache_module.Parts, image: image_module.Image
) -> catalog_module.BaseImage:
    """Serve from a disk that the cache did not fill, on somebody's word.

    :raises ImageNotAdoptable: if it can't hold the image, or may change.
    :raises LockTimeout: if the image is just being fetched.
    """
    name = naming.base_image_name(image.id)
    with parts.hold(name, 0):
        disk = candidate(parts, image)
        LOG.info(
            'Disk %(disk)s is taken into the cache as image %(image)s',
            {'disk': name, 'image': image.id},
        )
        return parts.catalog.adopt(
            parts.driver.pool_id(), name, image, disk.udid, disk.capacity
        )


def candidate(
    parts: cache_module.Parts, image: image_module.Image
) -> base.Disk:
    """The disk that could be taken into the cache as an image.

    :raises ImageNotAdoptable: if it can't hold the image, or may change.
    """
    name = naming.base_image_name(image.id)
    record = parts.catalog.get(parts.driver.pool_id(), name)
    if record is not None:
        raise exceptions.ImageNotAdoptable(
            name=name,
            image=image.id,
            reason=f'the cache has it as image {record.image.id} '
            f'({record.state.value})',
        )
    if image.needs_virtual_size:
        raise exceptions.ImageNotAdoptable(
            name=name,
            image=image.id,
            reason='Glance does not know its virtual size, so that disks '
            'made of it could be too small: have it fetched by '
            '"pvm-imagecache prefetch" once that disk is deleted',
        )
    named = _named(parts.driver, name)
    doubt = doubt_about(
        named, image, parts.driver.mapped(named), parts.driver.upload_targets()
    )
    if not named:
        doubt = 'there is no such disk'
    if doubt:
        raise exceptions.ImageNotAdoptable(
            name=name, image=image.id, reason=doubt
        )
    return named[0]


def doubt_about(
    named: Sequence[base.Disk],
    image: image_module.Image,
    mapped: Collection[base.Disk],
    upload_targets: Collection[str],
) -> str | None:
    """Why disks of one name are not just one base image; a decider.

    :returns: None where there is no doubt: one disk, of the size that the
        image is given, which nobody has and nobody writes.
    """
    if len(named) > 1:
        return f'there are {len(named)} disks of that name'
    for disk in named:
        if not 0 <= disk.capacity - image.size < units.Gi:
            return (
                f'it has {text.size_exact(disk.capacity)}, which is not '
                'what PowerVM makes for an image of '
                f'{text.size_exact(image.size)}'
            )
        if disk in mapped:
            return 'it is mapped to a partition'
        if disk.udid in upload_targets:
            return 'an upload to it has not ended'
    return None


def _named(driver: base.DiskDriver, name: str) -> list[base.Disk]:
    return [disk for disk in driver.snapshot().disks if disk.name == name]
