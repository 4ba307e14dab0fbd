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

"""Taking base images away: by an operator's word, or a policy's.

Each is removed under its lock, its record looked at again first; their
disks go in one update of the pool. One that can't be removed keeps none of
the others.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.drivers import base

LOG = logging.getLogger(__name__)

#: Why an image stays that somebody is at.
BUSY: Final = 'it is being filled or copied'
#: Why one stays that nobody is at any more.
LATE: Final = (
    'whoever filled it has died, but PowerVM may yet make its '
    'disk: it goes by itself within an hour'
)

#: Raises :exc:`CacheFault` if a base image may not be removed after all;
#: is given what the catalogue knows of it under its lock.
Check = Callable[[catalog_module.BaseImage], None]


@dataclasses.dataclass(frozen=True)
class Removed:
    """What became of one cached image that was to be removed.

    :ivar removed: whether it is gone.
    :ivar reason: why it stayed.
    """

    base_image: catalog_module.BaseImage
    removed: bool
    reason: str = ''


def remove(
    parts: cache_module.Parts,
    records: Sequence[catalog_module.BaseImage],
    check: Check = lambda record: None,
    mapped: Collection[str] | None = None,
) -> list[Removed]:
    """Take base images away; those that are being filled stay.

    Disks that were copied from them are not touched: a copy does not need
    what it was made from.

    :param mapped: the names of disks that a partition has, where that was
        just looked at.
    """
    results: list[Removed] = []
    with contextlib.ExitStack() as held:
        whole, doomed = [], []
        for each in records:
            with _staying(each, results):
                held.enter_context(parts.hold(each.disk_name, 0))
                unfinished = _remove_unfinished(parts, each)
                if unfinished:
                    results.append(unfinished)
                else:
                    whole.append(each)
        if whole:
            with parts.catalog.at_once():
                for each in whole:
                    with _staying(each, results):
                        doomed.append(_doom(parts, each, check))
        if doomed:
            results += _delete(parts, doomed, mapped)
    return results


@contextlib.contextmanager
def _staying(
    record: catalog_module.BaseImage, results: list[Removed]
) -> Iterator[None]:
    """Where the block fails, the image stays, and the others have a turn."""
    try:
        yield
    except (exceptions.LockTimeout, exceptions.CatalogConflict) as error:
        LOG.info(
            'Image %(image)s stays in the cache: %(error)s',
            {'image': record.image.id, 'error': error},
        )
        results.append(Removed(record, False, BUSY))
    except exceptions.PVMImageCacheError as error:
        results.append(Removed(record, False, str(error)))


def _remove_unfinished(
    parts: cache_module.Parts, record: catalog_module.BaseImage
) -> Removed | None:
    """Tidy up a base image whose filling or removal has died.

    :returns: None for one that is neither.
    """
    current = parts.catalog.get(record.pool, record.disk_name)
    if current is None or current.state not in (
        catalog_module.State.POPULATING,
        catalog_module.State.EVICTING,
    ):
        return None
    if not reconciler.remove_base_image(
        parts, current
    ) and reconciler.may_appear_yet(
        current.udid, current.started_clock, parts.catalog.clock()
    ):
        # Without its record the disk would be nobody's, for ever.
        return Removed(record, False, LATE)
    parts.catalog.remove(current)
    return Removed(record, True)


def _doom(
    parts: cache_module.Parts,
    record: catalog_module.BaseImage,
    check: Check,
) -> catalog_module.BaseImage:
    current = parts.catalog.get(record.pool, record.disk_name)
    if current is None or current.lease != record.lease:
        raise exceptions.CatalogConflict(
            image=record.image.id, reason='it was replaced or removed'
        )
    check(current)
    parts.catalog.start_eviction(current)
    return current


def _delete(
    parts: cache_module.Parts,
    records: Sequence[catalog_module.BaseImage],
    mapped: Collection[str] | None,
) -> list[Removed]:
    errors = _delete_disks(
        parts,
        {
            record.disk_name: base.Disk(
                record.disk_name, record.udid or '', record.capacity or 0
            )
            for record in records
        },
        mapped,
    )
    with parts.catalog.at_once():
        return [
            _conclude(parts, record, errors.get(record.disk_name))
            for record in records
        ]


def _conclude(
    parts: cache_module.Parts,
    record: catalog_module.BaseImage,
    error: exceptions.PVMImageCacheError | None,
) -> Removed:
    """Write down what became of a disk that was to be deleted."""
    if error is None:
        parts.catalog.remove(record)
        return Removed(record, True)
    text = f'Cached image {record.image.id} could not be removed: {error}'
    LOG.log(
        logging.DEBUG if text in parts.told else logging.WARNING, '%s', text
    )
    parts.told.add(text)
    if not (
        error.transient or isinstance(error, exceptions.PowerVMUnreachable)
    ):
        # Else it may be gone: the next pass looks.
        parts.catalog.stop_eviction(record)
    return Removed(record, False, str(error))


def _delete_disks(
    parts: cache_module.Parts,
    disks: dict[str, base.Disk],
    mapped: Collection[str] | None,
) -> dict[str, exceptions.PVMImageCacheError]:
    """Delete disks that no partition has; the errors by name."""
    if mapped is None:
        try:
            mapped = {
                disk.name for disk in parts.driver.mapped(list(disks.values()))
            }
        except exceptions.PowerVMError as error:
            return dict.fromkeys(disks, error)
    errors: dict[str, exceptions.PVMImageCacheError] = {
        name: exceptions.DiskInUse(name=name)
        for name in disks
        if name in mapped
    }
    try:
        for removal in parts.driver.delete_disks(
            [disk for disk in disks.values() if disk.name not in mapped]
        ):
            if removal.error:
                errors[removal.disk.name] = removal.error
    except exceptions.PowerVMError as error:
        errors = dict.fromkeys(disks, error) | errors
    return errors
