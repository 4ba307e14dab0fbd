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

"""Disks that have the name of a base image but no record.

nova-powervm named its cached images in the same way and never removed one; a
catalog that was lost leaves others. They are never served as they are: it is
not known whether they are complete. A deploy of their image replaces them if
nothing speaks against it. An operator who knows that one is complete can
adopt it.
"""

from collections.abc import Collection

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base

LOG = logging.getLogger(__name__)


def delete_untracked(
    driver: base.DiskDriver,
    image: image_module.Image,
    name: str,
    own: Collection[str],
    granularity: int | None = None,
) -> None:
    """Delete the untracked disk that has the name of an image's base image.

    Call it with the lock of the base image held, and its record new.

    :param driver: of the pool.
    :param image: whose base image needs the name.
    :param name: of the base image's disk.
    :param own: the catalogs whose disks may be deleted, see
        :func:`.ownership.other_catalog_of`.
    :param granularity: see :func:`.ownership.is_created_for`.
    :raises BaseImageOfOtherCatalog: if another catalog has a record of it.
    :raises BaseImageOccupied: if it may be anything but a stale base image.
    :raises PowerVMError: if the pool cannot be read or the disk cannot be
        deleted.
    """
    named = _named(driver, name)
    check_other_catalogs(named, image.id, own)
    doubt = ownership.doubt_about(
        named,
        image,
        driver.mapped(named),
        driver.upload_targets(),
        granularity,
    )
    if named and doubt is None and not ownership.may_be_stale(named[0], own):
        doubt = f'it has the label "{named[0].label}"'
    if doubt:
        raise exceptions.BaseImageOccupied(
            name=name,
            image=image.id,
            reason='an untracked disk of that name exists that cannot be '
            f'identified as a stale base image: {doubt}. Delete it if it is '
            'not needed, or adopt it with "pvm-imagecache adopt".',
        )
    for disk in named:
        LOG.warning(
            'Replacing untracked base disk %(disk)s (possibly incomplete) '
            'of image %(image)s',
            {'disk': name, 'image': image.label},
        )
        (deletion,) = driver.delete_disks([disk])
        if deletion.error:
            raise deletion.error


def check_other_catalogs(
    named: Collection[base.Disk], image_id: str, own: Collection[str]
) -> None:
    """Check that no base image of another catalog has the name.

    :param named: the disks of the name of a base image.
    :param image_id: ID of the image that needs the name.
    :param own: as for :func:`delete_untracked`.
    :raises BaseImageOfOtherCatalog: if one of them belongs to another one.
    """
    for disk in named:
        catalog = ownership.other_catalog_of(disk, own)
        if catalog:
            raise exceptions.BaseImageOfOtherCatalog(
                name=disk.name, image=image_id, catalog=catalog
            )


def adopt(
    cache: cache_module.Cache,
    image: image_module.Image,
    take_over: bool = False,
) -> models.BaseImage:
    """Register a disk that the cache did not fill as a base image.

    :param cache: of the pool.
    :param image: that the disk holds.
    :param take_over: whether the disk may belong to another catalog.
    :returns: the record.
    :raises DiskOfOtherCatalog: if it does, and ``take_over`` is False.
    :raises ImageNotAdoptable: if the disk cannot hold the image, or may
        change.
    :raises LockTimeout: if the image is being fetched.
    :raises CatalogConflict: if its fetch under another name has just started.
    :raises CatalogError: if the record cannot be written.
    :raises PowerVMError: if the pool cannot be read.
    """
    name = naming.base_image_name(image.id)
    with cache.fill_lock(name, 0):
        disk = candidate(cache, image, take_over)
        LOG.info(
            'Disk %(disk)s is adopted as image %(image)s',
            {'disk': name, 'image': image.label},
        )
        images, pool = cache.catalog.base_images, cache.driver.pool_id()
        with cache.catalog.transaction():
            images.check_only_name(pool, image.id, name)
            return images.adopt(
                pool,
                name,
                image,
                disk.udid,
                disk.capacity,
                ownership.adopted_fill_id(disk, models.new_fill_id()),
            )


def candidate(
    cache: cache_module.Cache,
    image: image_module.Image,
    take_over: bool = False,
) -> base.Disk:
    """Return the disk that can be adopted as an image.

    :param cache: of the pool.
    :param image: that the disk holds.
    :param take_over: whether the disk may belong to another catalog.
    :returns: the disk.
    :raises DiskOfOtherCatalog: if it does, and ``take_over`` is False.
    :raises ImageNotAdoptable: if the disk cannot hold the image, or may
        change.
    :raises CatalogError: if the catalog cannot be read.
    :raises PowerVMError: if the pool cannot be read.
    """
    name = naming.base_image_name(image.id)
    images, pool = cache.catalog.base_images, cache.driver.pool_id()
    record = images.of_image(pool, image.id) or images.get(pool, name)
    doubt: str | None
    if record is not None:
        doubt = (
            f'the cache has it as image {record.image.id} '
            f'({record.state.value})'
        )
        raise _not_adoptable(image, doubt)
    if image.needs_virtual_size:
        raise _not_adoptable(
            image,
            'Glance does not know its virtual size, so that disks created '
            'from it could be too small. Delete the disk and fetch the image '
            'with "pvm-imagecache prefetch"',
        )
    named = _named(cache.driver, name)
    doubt = ownership.doubt_about(
        named,
        image,
        cache.driver.mapped(named),
        cache.driver.upload_targets(),
        cache.platform_facts().granularity,
    )
    if not named:
        doubt = 'there is no such disk'
    if doubt:
        raise _not_adoptable(image, doubt)
    if not take_over:
        _check_own(cache, named[0])
    return named[0]


def _check_own(cache: cache_module.Cache, disk: base.Disk) -> None:
    """Check that a disk does not belong to another catalog."""
    catalog = ownership.other_catalog_of(disk, cache.own_catalogs())
    if catalog:
        raise exceptions.DiskOfOtherCatalog(name=disk.name, catalog=catalog)


def _not_adoptable(
    image: image_module.Image, reason: str
) -> exceptions.ImageNotAdoptable:
    return exceptions.ImageNotAdoptable(
        name=naming.base_image_name(image.id), image=image.id, reason=reason
    )


def _named(driver: base.DiskDriver, name: str) -> list[base.Disk]:
    return [disk for disk in driver.snapshot().disks if disk.name == name]
