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

"""What is done about the work of processes that died in the middle of it.

Whoever makes a disk has it on record, and holds a lock that the kernel
drops when the process dies: a record without a living holder is a left-over.
Its disk is known by the label that it was made with, or by its UDID.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import time
from typing import Final

from oslo_log import log as logging
from oslo_utils import units

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache.drivers import base
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import parts as parts_module

LOG = logging.getLogger(__name__)

#: Seconds for which a disk may still appear whose maker has died: within
#: an update of a volume group PowerVM makes copies.
LONGEST_REQUEST: Final = 3600.0
_LABEL_PREFIX: Final = 'imagecache_'
_LABEL_DIGITS: Final = 16
#: Disks that are finished, which could be written nowhere, and the locks
#: that keep everybody from taking them for unfinished.
_UNWRITTEN: Final[list[tuple[
    catalog_module.Catalog, catalog_module.InstanceDisk,
    contextlib.ExitStack]]] = []
#: What pypowervm labels a disk with that is to have no label.
_NO_LABEL: Final = ('', 'None')


@dataclasses.dataclass(frozen=True)
class Reconciliation:
    """What was found when catalogue and pool were held together.

    :ivar forgotten: records of base images whose disk is gone.
    :ivar removed: disks that dead processes had left incomplete.
    :ivar failed: what could not be tidied, with the reason.
    """

    forgotten: tuple[str, ...]
    removed: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def label(lease: str) -> str:
    """The label by which a disk that was made under a lease is known."""
    return _LABEL_PREFIX + lease[:_LABEL_DIGITS]


@contextlib.contextmanager
def instance_disk_on_record(
    parts: parts_module.Parts,
    name: str,
    size: int,
    is_certain: Callable[[], bool],
) -> Iterator[catalog_module.InstanceDisk]:
    """Have an instance disk on record while the block makes it.

    What a dead process left under the name is removed first.

    :param is_certain: asked at the end whether the disk is either whole or
        gone; if it is not, the record stays for the next pass.

    :raises LockTimeout: if somebody is making that disk.
    :raises CatalogError: if there can be no record.
    """
    _write_what_is_finished()
    pool = parts.driver.pool_id()
    with contextlib.ExitStack() as held:
        held.enter_context(parts.hold_instance_disk(name))
        lease = None
        for entry in parts.catalog.instance_disks(pool):
            if entry.disk_name == name:
                if not remove_instance_disk(
                        parts.driver, entry) and entry.udid is None:
                    lease = entry.lease
                else:
                    parts.catalog.end_instance_disk(entry)
        entry = parts.catalog.begin_instance_disk(pool, name, size, lease)
        try:
            yield entry
        finally:
            if is_certain() and not _ended(parts.catalog, entry):
                _UNWRITTEN.append((parts.catalog, entry, held.pop_all()))


def _ended(
    catalog: catalog_module.Catalog, entry: catalog_module.InstanceDisk
) -> bool:
    try:
        catalog.end_instance_disk(entry)
    except exceptions.CatalogError as error:
        LOG.error('Disk %(disk)s is finished, but that can not be written '
                  'down; its lock is held until this process ends. Have '
                  '%(path)s mended before: %(error)s',
                  {'disk': entry.disk_name, 'path': catalog.path,
                   'error': error})
        return False
    return True


def _write_what_is_finished() -> None:
    """Try again to write down what could not be written before."""
    for each in list(_UNWRITTEN):
        catalog, entry, held = each
        if _ended(catalog, entry):
            _UNWRITTEN.remove(each)
            held.close()


def remove_base_image(
    driver: base.DiskDriver, record: catalog_module.BaseImage
) -> bool:
    """Delete the disk of a base image that will not be served any more.

    :returns: whether there was one to delete.
    :raises BaseImageOccupied: if the disk is not known to be ours.
    :raises PowerVMError: if it can't be deleted.
    """
    disks = driver.disks()[1]
    named = [disk for disk in disks if disk.name == record.disk_name]
    ours = [disk for disk in named if is_ours(
        disk, record.udid, record.lease, record.image.size,
        keeps_labels(disks))]
    if named and not ours:
        raise exceptions.BaseImageOccupied(
            name=record.disk_name, image=record.image.id,
            reason='a disk of that name is there that the cache did not '
                   'make. Delete it if nobody needs it.')
    for disk in ours:
        LOG.info('Removing disk %(disk)s of image %(image)s, %(state)s by '
                 '%(holder)s', {'disk': disk.name, 'image': record.image.id,
                                'state': record.state.value,
                                'holder': record.holder})
        _remove(driver, disk)
    return bool(ours)


def remove_instance_disk(
    driver: base.DiskDriver, entry: catalog_module.InstanceDisk
) -> str | None:
    """Delete an instance disk whose maker died before it was whole.

    One that a partition has is not deleted, whatever the records say.

    :returns: its name, if there was one to delete.
    """
    disks = driver.disks()[1]
    for disk in disks:
        if disk.name == entry.disk_name and is_ours(
                disk, entry.udid, entry.lease, entry.size,
                keeps_labels(disks)):
            if driver.is_mapped(disk):
                LOG.warning('Disk %(disk)s is on record as unfinished, but '
                            'a partition has it: it stays',
                            {'disk': disk.name})
                return None
            LOG.info('Removing disk %(disk)s, left unfinished by %(holder)s',
                     {'disk': disk.name, 'holder': entry.holder})
            _remove(driver, disk)
            return disk.name
    return None


def reconcile(parts: parts_module.Parts) -> Reconciliation:
    """Hold catalogue and pool together; tidy up after the dead.

    What living processes are at is left alone. One thing that can't be
    tidied does not keep the others from being.
    """
    _write_what_is_finished()
    pool, disks = parts.driver.disks()
    forgotten: list[str] = []
    removed: list[str] = []
    failed: list[tuple[str, str]] = []
    for record in parts.catalog.images(pool.id):
        with _noting_failure(record.disk_name, failed):
            _reconcile_image(parts, record, disks, forgotten, removed)
    for entry in parts.catalog.instance_disks(pool.id):
        with _noting_failure(entry.disk_name, failed):
            _reconcile_instance_disk(parts, entry, removed)
    with _noting_failure('web/File', failed):
        _forget_dead_uploads(parts, disks)
    return Reconciliation(tuple(forgotten), tuple(removed), tuple(failed))


# -- deciders


def remove_late_disk(driver: base.DiskDriver, name: str, lease: str) -> bool:
    """Delete a disk that appeared after its maker had died.

    A request outlives the one who made it: PowerVM may be at it for an
    hour. Only the label tells such a disk; it was made under the lease that
    is being carried on, and is not whole.

    :returns: whether there was one.
    """
    late = [disk for disk in driver.disks()[1]
            if disk.name == name and disk.label == label(lease)
            and not driver.is_mapped(disk)]
    for disk in late:
        LOG.info('Removing disk %s, which appeared after its maker died',
                 disk.name)
        _remove(driver, disk)
    return bool(late)


def may_appear_yet(udid: str | None, began_at: float) -> bool:
    """Whether a request that made a disk may not have ended so far."""
    return udid is None and (
        abs(time.time() - began_at) < LONGEST_REQUEST)


def keeps_labels(disks: Sequence[base.Disk]) -> bool:
    """Whether the platform is known to keep the labels of disks."""
    return any(disk.label not in _NO_LABEL for disk in disks)


def is_ours(
    disk: base.Disk,
    udid: str | None,
    lease: str,
    size: int,
    labels_are_kept: bool,
) -> bool:
    """Whether a disk is the one that was made under a lease.

    A label of ours tells: within a lease a disk may be made again, with
    another UDID. Else the UDID does. Where the platform keeps no labels, a
    maker that died before it was told the UDID leaves the name, which
    nobody else had when it began, and the size.

    :param size: in bytes, as it was asked for.
    :param labels_are_kept: see :func:`keeps_labels`.
    """
    if disk.label.startswith(_LABEL_PREFIX):
        return disk.label == label(lease)
    if udid is not None:
        return disk.udid == udid
    if labels_are_kept:
        return False
    return 0 <= disk.capacity - size < units.Gi


# -- doers


def _reconcile_image(
    parts: parts_module.Parts,
    record: catalog_module.BaseImage,
    disks: Sequence[base.Disk],
    forgotten: list[str],
    removed: list[str],
) -> None:
    if record.state is catalog_module.State.READY and _among(disks, record):
        return
    with contextlib.suppress(exceptions.LockTimeout), parts.hold(
            record.disk_name, 0):
        if parts.catalog.get(record.pool, record.disk_name) != record:
            return
        _, now = parts.driver.disks()
        if record.state is not catalog_module.State.READY:
            if remove_base_image(parts.driver, record):
                removed.append(record.disk_name)
            elif may_appear_yet(record.udid, record.created_at):
                return
        elif _among(now, record):
            return
        parts.catalog.remove(record)
        forgotten.append(record.disk_name)


def _reconcile_instance_disk(
    parts: parts_module.Parts,
    entry: catalog_module.InstanceDisk,
    removed: list[str],
) -> None:
    with contextlib.suppress(exceptions.LockTimeout), (
            parts.hold_instance_disk(entry.disk_name)):
        if entry not in parts.catalog.instance_disks(entry.pool):
            return
        name = remove_instance_disk(parts.driver, entry)
        if name:
            removed.append(name)
        elif may_appear_yet(entry.udid, entry.started_at):
            return
        parts.catalog.end_instance_disk(entry)


def _forget_dead_uploads(
    parts: parts_module.Parts, disks: Sequence[base.Disk]
) -> None:
    """Remove what uploads left behind that could not be removed in time."""
    targets = set(parts.driver.upload_targets())
    for disk in disks:
        if disk.udid not in targets or not disk.label.startswith(
                _LABEL_PREFIX):
            continue
        held = (parts.hold(disk.name, 0)
                if naming.is_base_image_name(disk.name)
                else parts.hold_instance_disk(disk.name))
        with contextlib.suppress(exceptions.LockTimeout), held:
            parts.driver.forget_uploads(disk)


def _among(
    disks: Sequence[base.Disk], record: catalog_module.BaseImage
) -> bool:
    return any((disk.name, disk.udid) == (record.disk_name, record.udid)
               for disk in disks)


def _remove(driver: base.DiskDriver, disk: base.Disk) -> None:
    driver.forget_uploads(disk)
    removal, = driver.delete_disks([disk])
    if removal.error:
        raise removal.error


@contextlib.contextmanager
def _noting_failure(
    name: str, failed: list[tuple[str, str]]
) -> Iterator[None]:
    try:
        yield
    except exceptions.PVMImageCacheError as error:
        LOG.warning('Disk %(disk)s could not be tidied up: %(error)s',
                    {'disk': name, 'error': error})
        failed.append((name, str(error)))
