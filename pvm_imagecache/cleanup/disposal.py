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

"""Disposal of disks that crashed processes left incomplete.

Each disk has a record while it is created, and a lock that the kernel
releases when its process ends. A record without a lock is stale. What
becomes of its disk is decided here and nowhere else; callers decide what
becomes of the record.
"""

from collections.abc import Collection
from collections.abc import Sequence
import contextlib
import enum

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base

LOG = logging.getLogger(__name__)


class Disposal(enum.Enum):
    """What became of the disk of a stale record."""

    DELETED = 'deleted'
    """The disk was deleted."""

    ABSENT = 'absent'
    """There is no disk of the name, and none can appear any more."""

    MAY_APPEAR = 'may appear'
    """No disk of the record exists, but the request that creates it may
    still be running. The record, or its fill ID in a new record, must stay:
    without it the disk would be orphaned."""

    FOREIGN = 'foreign'
    """A disk of the name exists that does not belong to the record, whose
    own disk is gone. It was not touched."""

    MAPPED = 'mapped'
    """A partition uses the disk. It was not touched."""


def dispose(
    cache: cache_module.Cache,
    record: models.BaseImage | models.InstanceDisk,
) -> Disposal:
    """Delete the disk of a stale record, if it is certain to be that disk.

    Call it with the lock of the record held.

    :param cache: of the pool.
    :param record: of a disk whose creation or removal was interrupted, or
        of a base image that is replaced.
    :returns: what became of the disk.
    :raises PowerVMError: if the pool cannot be read or the disk cannot be
        deleted.
    :raises CatalogError: if the catalog cannot be read.
    """
    disks = cache.driver.snapshot().disks
    named = [disk for disk in disks if disk.name == record.disk_name]
    if isinstance(
        record, models.BaseImage
    ) and not ownership.may_be_base_image(record):
        return Disposal.FOREIGN if named else Disposal.ABSENT
    ours = _ours(cache, record, named, disks) if named else []
    if cache.driver.mapped(ours) if ours else ():
        return Disposal.MAPPED
    for disk in ours:
        LOG.info(
            'Removing incomplete disk %(disk)s of %(holder)s',
            {'disk': disk.name, 'holder': record.holder},
        )
        _delete(cache.driver, disk)
    if ours:
        return Disposal.DELETED
    if ownership.may_still_appear(
        record.udid,
        record.started_clock,
        cache.catalog.clock.now(),
        _most_copied(record),
        cache.platform_facts().copy_rate,
    ):
        return Disposal.MAY_APPEAR
    return Disposal.FOREIGN if named else Disposal.ABSENT


def _most_copied(record: models.BaseImage | models.InstanceDisk) -> int:
    """Return how many bytes the request of a record can copy at most."""
    # A base image is created empty. A platform check copies small disks, but
    # requests one that is larger than the pool.
    if isinstance(record, models.BaseImage) or record.disk_name.startswith(
        naming.CHECK_DISK_PREFIX
    ):
        return 0
    return record.size


def name_taken(
    cache: cache_module.Cache, record: models.BaseImage
) -> exceptions.BaseImageOccupied:
    """Return the error for a name that a disk of others has.

    :param cache: of the pool.
    :param record: of the base image that should have the name.
    :returns: the error, not raised. It names the other catalog to which the
        disk belongs, if PowerVM and the catalog can be read.
    """
    with contextlib.suppress(exceptions.PVMImageCacheError):
        own = cache.own_catalogs()
        for disk in cache.driver.snapshot().disks:
            catalog = ownership.other_catalog_of(disk, own)
            if catalog and disk.name == record.disk_name:
                return exceptions.BaseImageOfOtherCatalog(
                    name=disk.name, image=record.image.id, catalog=catalog
                )
    return exceptions.BaseImageOccupied(
        name=record.disk_name,
        image=record.image.id,
        reason='a disk of that name exists that the cache did not create. '
        'Delete it if it is not needed.',
    )


def delete_late_disk(driver: base.DiskDriver, name: str, fill_id: str) -> bool:
    """Delete a disk that appeared after its process crashed.

    PowerVM may work on a request for an hour after its client is gone. Only
    the label identifies such a disk: it was created under the fill ID that
    is carried on, and it is incomplete.

    :param driver: of the pool.
    :param name: of the disk.
    :param fill_id: that the record of the name carries on.
    :returns: whether a disk was deleted.
    :raises PowerVMError: if the pool cannot be read or the disk cannot be
        deleted.
    """
    late = [
        disk
        for disk in driver.snapshot().disks
        if disk.name == name and disk.label == ownership.label(fill_id)
    ]
    late = [disk for disk in late if not driver.mapped([disk])]
    for disk in late:
        LOG.info(
            'Removing disk %s, which appeared after its process crashed',
            disk.name,
        )
        _delete(driver, disk)
    return bool(late)


def record_labels(
    cache: cache_module.Cache,
    disks: Sequence[base.Disk],
    created_with: Collection[str] = (),
) -> None:
    """Record whether the pool preserves disk labels, if the disks show it.

    A label that the platform has shortened is not preserved.

    :param cache: of the pool.
    :param disks: as the pool shows them.
    :param created_with: the labels with which this process has just created
        the disks; empty: it has not created them.
    :raises CatalogError: if the catalog cannot be written.
    """
    if created_with:
        kept = any(disk.label in created_with for disk in disks)
    else:
        kept = _shows_kept_labels(cache, disks)
    if kept or created_with:
        cache.catalog.pools.record_labels(cache.driver.pool_id(), kept)


def _shows_kept_labels(
    cache: cache_module.Cache, disks: Sequence[base.Disk]
) -> bool:
    """Return whether existing disks prove that the pool keeps labels.

    They may have been created before an upgrade of the platform.
    """
    return any(
        ownership.has_our_label(disk) for disk in disks
    ) and not _is_measured_without_labels(cache)


def _is_measured_without_labels(cache: cache_module.Cache) -> bool:
    return cache.platform_facts().keeps_labels is False


def _ours(
    cache: cache_module.Cache,
    record: models.BaseImage | models.InstanceDisk,
    named: Sequence[base.Disk],
    disks: Sequence[base.Disk],
) -> list[base.Disk]:
    keeps_labels = _shows_kept_labels(
        cache, disks
    ) or cache.catalog.pools.keeps_labels(cache.driver.pool_id())
    # A disk of ours without any label is not expected among those with one.
    shows_labels = keeps_labels or (
        any(ownership.has_label(disk) for disk in disks)
        and not _is_measured_without_labels(cache)
    )
    size = (
        record.size
        if isinstance(record, models.InstanceDisk)
        else record.image.size
    )
    granularity = cache.platform_facts().granularity
    return [
        disk
        for disk in named
        if ownership.is_ours(
            disk,
            record.udid,
            record.fill_id,
            size,
            keeps_labels if ownership.has_label(disk) else shows_labels,
            granularity,
        )
    ]


def _delete(driver: base.DiskDriver, disk: base.Disk) -> None:
    driver.remove_uploads(disk)
    (deletion,) = driver.delete_disks([disk])
    if deletion.error:
        raise deletion.error
