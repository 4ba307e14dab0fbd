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

"""Removal of cached images, for operators and eviction policies.

Each image is removed under its lock, after its record was read again. The
disks are deleted in one update of the pool. An image that cannot be removed
does not keep the others from it.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
import contextlib
import dataclasses
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base

LOG = logging.getLogger(__name__)

#: Why an image is kept that another thread or process is working on.
BUSY: Final = 'fetch or copy in progress'
#: Why an image is kept whose fill crashed a short time ago.
MAY_APPEAR: Final = (
    'its fetch crashed, but PowerVM may still create the disk; a later '
    'cleanup run removes it'
)

#: Raises an error if a base image must not be removed after all. It is given
#: the record as the catalog has it under the image's lock.
Check = Callable[[models.BaseImage], None]


@dataclasses.dataclass(frozen=True)
class RemovalResult:
    """What became of a cached image that was to be removed.

    :ivar base_image: its record, as the caller gave it.
    :ivar removed: whether it was removed.
    :ivar reason: why it was kept; '' if it was removed.
    """

    base_image: models.BaseImage
    removed: bool
    reason: str = ''


def remove(
    cache: cache_module.Cache,
    records: Sequence[models.BaseImage],
    check: Check = lambda record: None,
    mapped: Collection[str] | None = None,
) -> list[RemovalResult]:
    """Remove base images, except those that are being filled.

    Disks that were copied from them do not depend on them.

    :param cache: of the pool.
    :param records: of the base images.
    :param check: raises an error for a base image that must be kept.
    :param mapped: names of disks that partitions use, if they were read a
        moment ago; None to read them.
    :returns: what became of each.
    :raises CatalogError: if the catalog cannot be written.
    """
    results: list[RemovalResult] = []
    with contextlib.ExitStack() as held:
        locked = _left_to_do(
            records, lambda record: _lock(cache, record, held), results
        )
        now = _records_now(cache, locked)
        complete = _left_to_do(
            locked,
            lambda record: _remove_incomplete(
                cache, record, now.get(record.disk_name)
            ),
            results,
        )
        evicting = _start_evictions(cache, complete, check, results)
        if evicting:
            results += _delete(cache, evicting, mapped)
    return results


def _left_to_do(
    records: Sequence[models.BaseImage],
    action: Callable[[models.BaseImage], RemovalResult | None],
    results: list[RemovalResult],
) -> list[models.BaseImage]:
    """Carry out an action for each record; return the unfinished ones.

    An error of the action means that the image is kept.
    """
    left = []
    for record in records:
        try:
            outcome = action(record)
        except (exceptions.LockTimeout, exceptions.CatalogConflict) as error:
            LOG.info(
                'Image %(image)s is kept in the cache: %(error)s',
                {'image': record.image.label, 'error': error},
            )
            outcome = RemovalResult(record, False, BUSY)
        except exceptions.PVMImageCacheError as error:
            outcome = RemovalResult(record, False, str(error))
        if outcome is None:
            left.append(record)
        else:
            results.append(outcome)
    return left


def _records_now(
    cache: cache_module.Cache, records: Sequence[models.BaseImage]
) -> dict[str, models.BaseImage]:
    """Read records again, by disk name: in one step, since many are slow."""
    if not records:
        return {}
    return cache.catalog.base_images.get_many(
        records[0].pool, [record.disk_name for record in records]
    )


def _lock(
    cache: cache_module.Cache,
    record: models.BaseImage,
    held: contextlib.ExitStack,
) -> None:
    held.enter_context(cache.fill_lock(record.disk_name, 0))


def _remove_incomplete(
    cache: cache_module.Cache,
    record: models.BaseImage,
    now: models.BaseImage | None,
) -> RemovalResult | None:
    """Remove a base image that is incomplete; leave a complete one."""
    if now is None or now.state not in (
        models.State.POPULATING,
        models.State.EVICTING,
    ):
        return None
    result = disposal.dispose(cache, now)
    if result is disposal.Disposal.MAY_APPEAR:
        return RemovalResult(record, False, MAY_APPEAR)
    if result is disposal.Disposal.MAPPED:
        raise exceptions.DiskInUse(name=record.disk_name)
    if result is disposal.Disposal.FOREIGN:
        raise disposal.name_taken(cache, now)
    cache.catalog.base_images.remove(now)
    return RemovalResult(record, True)


def _start_evictions(
    cache: cache_module.Cache,
    records: Sequence[models.BaseImage],
    check: Check,
    results: list[RemovalResult],
) -> list[models.BaseImage]:
    """Record that base images are being removed; return those records."""
    if not records:
        return []
    with cache.catalog.transaction():
        now = _records_now(cache, records)
        evicting = _left_to_do(
            records,
            lambda record: _start_eviction(
                cache, record, now.get(record.disk_name), check
            ),
            results,
        )
    return [now[record.disk_name] for record in evicting]


def _start_eviction(
    cache: cache_module.Cache,
    record: models.BaseImage,
    now: models.BaseImage | None,
    check: Check,
) -> None:
    if now is None or now.fill_id != record.fill_id:
        raise exceptions.CatalogConflict(
            image=record.image.id, reason='it was replaced or removed'
        )
    check(now)
    cache.catalog.base_images.start_eviction(now)


def _delete(
    cache: cache_module.Cache,
    records: Sequence[models.BaseImage],
    mapped: Collection[str] | None,
) -> list[RemovalResult]:
    disks = {
        record.disk_name: base.Disk(
            record.disk_name,
            record.udid or '',
            record.capacity or 0,
            ownership.certain_label(record.fill_id),
        )
        for record in records
    }
    errors = _delete_disks(cache.driver, disks, mapped)
    with cache.catalog.transaction():
        return [
            _finish(cache, record, errors.get(record.disk_name))
            for record in records
        ]


def _finish(
    cache: cache_module.Cache,
    record: models.BaseImage,
    error: exceptions.PVMImageCacheError | None,
) -> RemovalResult:
    """Record what became of a disk that was to be deleted."""
    if error is None:
        cache.catalog.base_images.remove(record)
        return RemovalResult(record, True)
    cache.warn_once.log(
        f'Could not remove cached image {record.image.label}: {error}'
    )
    if not (
        error.transient or isinstance(error, exceptions.PowerVMUnreachable)
    ):
        # Otherwise the disk may be deleted: the next cleanup run checks.
        cache.catalog.base_images.cancel_eviction(record)
    return RemovalResult(record, False, str(error))


def _delete_disks(
    driver: base.DiskDriver,
    disks: dict[str, base.Disk],
    mapped: Collection[str] | None,
) -> dict[str, exceptions.PVMImageCacheError]:
    """Delete disks that no partition uses; return the errors by name."""
    if mapped is None:
        try:
            mapped = {disk.name for disk in driver.mapped([*disks.values()])}
        except exceptions.PowerVMError as error:
            return dict.fromkeys(disks, error)
    errors: dict[str, exceptions.PVMImageCacheError] = {
        name: exceptions.DiskInUse(name=name)
        for name in disks
        if name in mapped
    }
    try:
        for deletion in driver.delete_disks(
            [disk for disk in disks.values() if disk.name not in mapped]
        ):
            if deletion.error:
                errors[deletion.disk.name] = deletion.error
    except exceptions.PowerVMError as error:
        errors = dict.fromkeys(disks, error) | errors
    return errors
