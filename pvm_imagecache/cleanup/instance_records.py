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

"""Records of instance disks while they are created.

If the process crashes, the next cleanup run finds the record without a lock
and disposes of the incomplete disk.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import threading
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import ownership

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Unrecorded:
    """A complete disk whose record could not be removed yet.

    :ivar held: the lock of the disk. As long as it is held, no cleanup run
        takes the disk for incomplete.
    """

    catalog: facade.Catalog
    entry: models.InstanceDisk
    held: contextlib.ExitStack


#: Of the process, not of a manager: the locks must outlive a manager that is
#: closed.
_UNRECORDED: Final[list[_Unrecorded]] = []
#: Held while the list is changed or searched; never during a request.
_GUARD: Final = threading.Lock()


@contextlib.contextmanager
def recorded(
    cache: cache_module.Cache,
    name: str,
    size: int,
    is_settled: Callable[[], bool],
) -> Iterator[models.InstanceDisk]:
    """Keep a record of an instance disk while the block creates it.

    A stale disk of the name is disposed of first.

    :param cache: of the pool.
    :param name: of the disk.
    :param size: in bytes, as it is requested.
    :param is_settled: called at the end; whether the disk is either
        complete or deleted. If not, the record stays for the next cleanup
        run.
    :returns: a context manager that gives the record.
    :raises LockTimeout: if another thread or process creates the disk.
    :raises CatalogError: if the record cannot be written.
    :raises DiskExists: if the pool may drop labels and has a disk of the
        name.
    :raises PowerVMError: if a stale disk of the name cannot be disposed of.
    """
    retry_unrecorded()
    with contextlib.ExitStack() as held:
        held.enter_context(cache.instance_disk_lock(name))
        carried = _clear_previous(cache, name)
        _check_unused(cache, name, carried)
        entry = cache.catalog.instance_disks.start(
            cache.driver.pool_id(), name, size, carried
        )
        completed = False
        try:
            yield entry
            completed = True
        finally:
            # If the block failed, a disk that a crashed process requested
            # may still appear under the fill ID that was carried on.
            if (
                (completed or not carried)
                and is_settled()
                and not _try_to_finish(cache.catalog, entry)
            ):
                with _GUARD:
                    _UNRECORDED.append(
                        _Unrecorded(cache.catalog, entry, held.pop_all())
                    )


def is_unrecorded(cache: cache_module.Cache, name: str) -> bool:
    """Return whether this process holds the lock of a complete disk.

    :param cache: of the pool.
    :param name: of the disk.
    :returns: True if this process finished the disk but could not yet
        record it.
    """
    return any(
        (each.catalog.path, each.entry.pool, each.entry.disk_name)
        == (cache.catalog.path, cache.driver.pool_id(), name)
        for each in _unrecorded()
    )


def retry_unrecorded() -> None:
    """Try again to record disks as complete that could not be recorded."""
    for each in _unrecorded():
        if not _try_to_finish(each.catalog, each.entry):
            continue
        with _GUARD:
            # Another thread may have recorded it at the same time.
            if each not in _UNRECORDED:
                continue
            _UNRECORDED.remove(each)
        each.held.close()


def _unrecorded() -> list[_Unrecorded]:
    """Return the disks that are not recorded at this moment."""
    with _GUARD:
        return list(_UNRECORDED)


def _clear_previous(cache: cache_module.Cache, name: str) -> str | None:
    """Dispose of a stale disk; return a fill ID that must be carried on."""
    carried = None
    for entry in cache.catalog.instance_disks.list(cache.driver.pool_id()):
        if entry.disk_name != name:
            continue
        if disposal.dispose(cache, entry) is disposal.Disposal.MAY_APPEAR:
            carried = entry.fill_id
        else:
            cache.catalog.instance_disks.finish(entry)
    return carried


def _check_unused(
    cache: cache_module.Cache, name: str, carried: str | None
) -> None:
    """Refuse a name that a disk has which a record could be taken to mean.

    Without labels a record without a UDID identifies its disk by name and
    size. Before the first disk it is unknown whether the pool keeps them. If
    the process crashed before the disk is created, the next cleanup run
    would delete a disk that had the name before.

    A disk with the label of the fill ID that is carried on is no such disk:
    a crashed process requested it, and it has just appeared.
    """
    driver = cache.driver
    if cache.catalog.pools.keeps_labels(driver.pool_id()):
        return
    found = driver.find_disk(name)
    if found is not None and not (
        carried and found.label == ownership.label(carried)
    ):
        raise exceptions.DiskExists(name=name, pool=driver.pool().name)


def _try_to_finish(
    catalog: facade.Catalog, entry: models.InstanceDisk
) -> bool:
    try:
        catalog.instance_disks.finish(entry)
    except exceptions.CatalogError as error:
        LOG.error(
            'Disk %(disk)s is complete, but that could not be recorded in '
            '%(path)s. Its lock is held until this process ends; repair the '
            'catalog before that: %(error)s',
            {
                'disk': entry.disk_name,
                'path': catalog.path,
                'error': error,
            },
        )
        return False
    return True
