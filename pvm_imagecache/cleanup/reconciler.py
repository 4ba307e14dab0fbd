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
from typing import Final

from oslo_log import log as logging
from oslo_utils import units

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.drivers import base

LOG = logging.getLogger(__name__)

#: Seconds for which a disk may still appear whose maker has died: within
#: an update of a volume group PowerVM makes copies.
LONGEST_REQUEST: Final = 3600.0
_LABEL_PREFIX: Final = 'imagecache_'
_LABEL_DIGITS: Final = 16
#: Disks that are finished, which could be written nowhere, and the locks
#: that keep everybody from taking them for unfinished.
_UNWRITTEN: Final[
    list[
        tuple[
            catalog_module.Catalog,
            catalog_module.InstanceDisk,
            contextlib.ExitStack,
        ]
    ]
] = []
_NO_LABEL: Final = base.NO_LABEL


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a pass has found, for what comes next in it.

    :ivar mapped: the names of disks that a partition has.
    :ivar records: of the base images.
    """

    pool: base.Pool
    mapped: frozenset[str]
    records: Sequence[catalog_module.BaseImage]

    def is_current(self, catalog: catalog_module.Catalog) -> bool:
        """Whether no base image was begun, finished or removed since."""
        return {
            (each.disk_name, each.lease, each.state) for each in self.records
        } == set(catalog.states(self.pool.id))


@dataclasses.dataclass(frozen=True)
class Reconciliation:
    """What was found when catalogue and pool were held together.

    :ivar forgotten: records of base images whose disk is gone.
    :ivar removed: disks that dead processes had left incomplete.
    :ivar failed: what could not be tidied, with the reason.
    :ivar quarantined: base images that are served no more, and why.
    :ivar untracked: disks that look like base images, but are not known.
    :ivar snapshot: the pool as it was found, where it is still like that.
    """

    forgotten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    quarantined: tuple[tuple[str, str], ...] = ()
    untracked: tuple[str, ...] = ()
    snapshot: Snapshot | None = dataclasses.field(
        default=None, compare=False, repr=False
    )


def label(lease: str) -> str:
    """The label by which a disk that was made under a lease is known."""
    return _LABEL_PREFIX + lease[:_LABEL_DIGITS]


@contextlib.contextmanager
def instance_disk_on_record(
    parts: cache_module.Parts,
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
                if (
                    not remove_instance_disk(parts, entry)
                    and entry.udid is None
                ):
                    lease = entry.lease
                else:
                    parts.catalog.end_instance_disk(entry)
        entry = parts.catalog.begin_instance_disk(pool, name, size, lease)
        ends = False
        try:
            yield entry
            ends = True
        finally:
            # What a dead maker has asked for may come when we have failed.
            if (
                (ends or not lease)
                and is_certain()
                and not _ended(parts.catalog, entry)
            ):
                _UNWRITTEN.append((parts.catalog, entry, held.pop_all()))


def _ended(
    catalog: catalog_module.Catalog, entry: catalog_module.InstanceDisk
) -> bool:
    try:
        catalog.end_instance_disk(entry)
    except exceptions.CatalogError as error:
        LOG.error(
            'Disk %(disk)s is finished, but that can not be written '
            'down; its lock is held until this process ends. Have '
            '%(path)s mended before: %(error)s',
            {'disk': entry.disk_name, 'path': catalog.path, 'error': error},
        )
        return False
    return True


def is_unwritten(name: str) -> bool:
    """Whether it is us who hold the lock of a disk that is finished."""
    return any(entry.disk_name == name for _, entry, _ in _UNWRITTEN)


def _write_what_is_finished() -> None:
    """Try again to write down what could not be written before."""
    for each in list(_UNWRITTEN):
        catalog, entry, held = each
        if _ended(catalog, entry):
            _UNWRITTEN.remove(each)
            held.close()


def note_labels(
    parts: cache_module.Parts,
    disks: Sequence[base.Disk],
    just_made: bool = False,
) -> None:
    """Remember, once, whether disks of the pool have labels.

    :param just_made: by us, with labels: those that have none lost them.
    """
    pool = parts.driver.pool_id()
    kept = any(disk.label not in _NO_LABEL for disk in disks)
    said = f'pool {pool} {"keeps" if kept else "drops"} labels'
    if (kept or just_made) and said not in parts.told:
        parts.catalog.saw_labels(pool, kept)
        parts.told.add(said)


def _keeps_labels(
    parts: cache_module.Parts, disks: Sequence[base.Disk]
) -> bool:
    """Whether the platform keeps the labels of disks.

    It is not known not to before a disk of ours has lost its own: until then
    a disk without a label is taken for somebody else's.
    """
    return any(
        disk.label not in _NO_LABEL for disk in disks
    ) or parts.catalog.keeps_labels(parts.driver.pool_id())


def remove_base_image(
    parts: cache_module.Parts, record: catalog_module.BaseImage
) -> bool:
    """Delete the disk of a base image that will not be served any more.

    :returns: whether there was one to delete.
    :raises BaseImageOccupied: if the disk is not known to be ours.
    :raises DiskInUse: if a partition has it.
    :raises PowerVMError: if it can't be deleted.
    """
    disks = parts.driver.snapshot().disks
    named = [disk for disk in disks if disk.name == record.disk_name]
    if not named:
        return False
    kept = _keeps_labels(parts, disks)
    ours = [
        disk
        for disk in named
        if is_ours(disk, record.udid, record.lease, record.image.size, kept)
    ]
    if not ours:
        raise exceptions.BaseImageOccupied(
            name=record.disk_name,
            image=record.image.id,
            reason='a disk of that name is there that the cache did not '
            'make. Delete it if nobody needs it.',
        )
    for disk in parts.driver.mapped(ours):
        raise exceptions.DiskInUse(name=disk.name)
    for disk in ours:
        LOG.info(
            'Removing disk %(disk)s of image %(image)s, %(state)s by '
            '%(holder)s',
            {
                'disk': disk.name,
                'image': record.image.id,
                'state': record.state.value,
                'holder': record.holder,
            },
        )
        _remove(parts.driver, disk)
    return True


def remove_instance_disk(
    parts: cache_module.Parts, entry: catalog_module.InstanceDisk
) -> str | None:
    """Delete an instance disk whose maker died before it was whole.

    One that a partition has is not deleted, whatever the records say.

    :returns: its name, if there was one to delete.
    """
    disks = parts.driver.snapshot().disks
    named = [disk for disk in disks if disk.name == entry.disk_name]
    if not named:
        return None
    kept = _keeps_labels(parts, disks)
    for disk in named:
        if is_ours(disk, entry.udid, entry.lease, entry.size, kept):
            if parts.driver.mapped([disk]):
                LOG.warning(
                    'Disk %(disk)s is on record as unfinished, but '
                    'a partition has it: it stays',
                    {'disk': disk.name},
                )
                return None
            LOG.info(
                'Removing disk %(disk)s, left unfinished by %(holder)s',
                {'disk': disk.name, 'holder': entry.holder},
            )
            _remove(parts.driver, disk)
            return disk.name
    LOG.warning(
        'Disk %(disk)s has the name of one that %(holder)s has left '
        'unfinished, but nothing tells that it is that one: it stays. '
        'Delete it if nobody needs it',
        {'disk': entry.disk_name, 'holder': entry.holder},
    )
    return None


def reconcile(parts: cache_module.Parts) -> Reconciliation:
    """Hold catalogue and pool together; tidy up after the dead.

    What living processes are at is left alone. One thing that can't be
    tidied does not keep the others from being.
    """
    return _Reconciler(parts).run()


# -- deciders


def remove_late_disk(driver: base.DiskDriver, name: str, lease: str) -> bool:
    """Delete a disk that appeared after its maker had died.

    A request outlives the one who made it: PowerVM may be at it for an
    hour. Only the label tells such a disk; it was made under the lease that
    is being carried on, and is not whole.

    :returns: whether there was one.
    """
    late = [
        disk
        for disk in driver.snapshot().disks
        if disk.name == name and disk.label == label(lease)
    ]
    late = [disk for disk in late if not driver.mapped([disk])]
    for disk in late:
        LOG.info(
            'Removing disk %s, which appeared after its maker died', disk.name
        )
        _remove(driver, disk)
    return bool(late)


def may_appear_yet(
    udid: str | None, started_clock: float, clock: float
) -> bool:
    """Whether a request that made a disk may not have ended so far."""
    return udid is None and clock - started_clock < LONGEST_REQUEST


def fault_of(
    record: catalog_module.BaseImage, disk: base.Disk, is_mapped: bool
) -> str | None:
    """Why a base image may not be what it was when it was filled."""
    if is_mapped:
        return 'its disk is mapped to a partition, which can change it'
    if disk.capacity != record.capacity:
        return (
            f'its disk has {text.size_exact(disk.capacity)}, and had '
            f'{text.size_exact(record.capacity or 0)}'
        )
    return None


def may_be_left_over(disk: base.Disk) -> bool:
    """Whether nothing says that a disk belongs to somebody else.

    nova-powervm gave no labels; ours is on what a lost catalogue knew.
    """
    return disk.label in _NO_LABEL or disk.label.startswith(_LABEL_PREFIX)


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
    :param labels_are_kept: False where the platform is known to drop them.
    """
    if disk.label.startswith(_LABEL_PREFIX):
        return disk.label == label(lease)
    if udid is not None:
        return disk.udid == udid
    if labels_are_kept:
        return False
    return 0 <= disk.capacity - size < units.Gi


# -- doers


class _Reconciler:
    """One time of holding catalogue and pool together."""

    def __init__(self, parts: cache_module.Parts) -> None:
        self._parts = parts
        self._forgotten: list[str] = []
        self._removed: list[str] = []
        self._failed: list[tuple[str, str]] = []
        self._quarantined: list[tuple[str, str]] = []
        #: Names of disks; None where that could not be found out.
        self._mapped: frozenset[str] | None = None

    def run(self) -> Reconciliation:
        """Do all of it."""
        _write_what_is_finished()
        catalog = self._parts.catalog
        records = catalog.images(self._parts.driver.pool_id())
        found = self._parts.driver.base_image_snapshot()
        pool, disks = found.pool, found.disks
        with self._noting_failure('labels'):
            note_labels(self._parts, disks)
            catalog.tick()
        there = {(disk.name, disk.udid): disk for disk in disks}
        ready = []
        for record in records:
            disk = there.get((record.disk_name, record.udid or ''))
            if disk and record.state is catalog_module.State.READY:
                ready.append((record, disk))
                continue
            with self._noting_failure(record.disk_name):
                self._look_at_image(record)
        self._quarantine(ready)
        for entry in catalog.instance_disks(pool.id):
            with self._noting_failure(entry.disk_name):
                self._look_at_instance_disk(entry)
        with self._noting_failure('web/File'):
            self._forget_dead_uploads()
        snapshot = None
        if self._mapped is not None and not self._removed:
            snapshot = Snapshot(pool, self._mapped, records)
        return Reconciliation(
            tuple(self._forgotten),
            tuple(self._removed),
            tuple(self._failed),
            tuple(self._quarantined),
            self._untracked(pool, disks, records),
            snapshot,
        )

    def _untracked(
        self,
        pool: base.Pool,
        disks: Sequence[base.Disk],
        records: Sequence[catalog_module.BaseImage],
    ) -> tuple[str, ...]:
        """Names of disks that had no record, and have none now."""
        names = {disk.name for disk in disks} - {
            each.disk_name for each in records
        }
        if names:
            names -= {
                name for name, _, _ in self._parts.catalog.states(pool.id)
            }
        return tuple(sorted(names))

    def _look_at_image(self, record: catalog_module.BaseImage) -> None:
        """What is not ready, or whose disk was not there."""
        parts = self._parts
        with (
            contextlib.suppress(exceptions.LockTimeout),
            parts.hold(record.disk_name, 0),
        ):
            if parts.catalog.get(record.pool, record.disk_name) != record:
                return
            if record.state is catalog_module.State.READY:
                if _find(parts.driver.snapshot().disks, record):
                    return
            else:
                try:
                    if remove_base_image(parts, record):
                        self._removed.append(record.disk_name)
                    elif may_appear_yet(
                        record.udid,
                        record.started_clock,
                        parts.catalog.clock(),
                    ):
                        return
                except exceptions.BaseImageOccupied as error:
                    # Somebody else has the name: ours is gone in any case.
                    LOG.warning('%s', error)
            parts.catalog.remove(record)
            self._forgotten.append(record.disk_name)

    def _quarantine(
        self, ready: Sequence[tuple[catalog_module.BaseImage, base.Disk]]
    ) -> None:
        """Serve no more what others could have changed."""
        with self._noting_failure('mappings'):
            mapped = self._parts.driver.mapped([disk for _, disk in ready])
            self._mapped = frozenset(disk.name for disk in mapped)
            for record, disk in ready:
                fault = fault_of(record, disk, disk in mapped)
                if fault is None:
                    continue
                LOG.warning(
                    'Image %(image)s is served from the cache no '
                    'more: %(fault)s',
                    {'image': record.image.id, 'fault': fault},
                )
                with contextlib.suppress(exceptions.CatalogConflict):
                    self._parts.catalog.quarantine(record, fault)
                    self._quarantined.append((record.disk_name, fault))

    def _look_at_instance_disk(
        self, entry: catalog_module.InstanceDisk
    ) -> None:
        parts = self._parts
        with (
            contextlib.suppress(exceptions.LockTimeout),
            parts.hold_instance_disk(entry.disk_name),
        ):
            if entry not in parts.catalog.instance_disks(entry.pool):
                return
            name = remove_instance_disk(parts, entry)
            if name:
                self._removed.append(name)
            elif may_appear_yet(
                entry.udid, entry.started_clock, parts.catalog.clock()
            ):
                return
            parts.catalog.end_instance_disk(entry)

    def _forget_dead_uploads(self) -> None:
        """Remove what uploads left that could not be removed in time.

        What dead uploads left goes with their unfinished disks.
        """
        parts = self._parts
        pool = parts.driver.pool_id()
        if parts.catalog.uploads_are_tidy(pool) and not (
            parts.driver.has_stale_uploads()
        ):
            return
        busy = False
        targets = set(parts.driver.upload_targets())
        disks = parts.driver.snapshot().disks if targets else []
        for disk in disks:
            if disk.udid not in targets or not disk.label.startswith(
                _LABEL_PREFIX
            ):
                continue
            held = (
                parts.hold(disk.name, 0)
                if naming.is_base_image_name(disk.name)
                else parts.hold_instance_disk(disk.name)
            )
            try:
                with held:
                    parts.driver.remove_uploads(disk)
            except exceptions.LockTimeout:
                busy = True
        parts.catalog.saw_uploads(pool, tidy=not busy)

    @contextlib.contextmanager
    def _noting_failure(self, name: str) -> Iterator[None]:
        try:
            yield
        except exceptions.PVMImageCacheError as error:
            # A disk that is stuck is not told of at each pass.
            text = f'Disk {name} could not be tidied up: {error}'
            LOG.log(
                logging.DEBUG if text in self._parts.told else logging.WARNING,
                '%s',
                text,
            )
            self._parts.told.add(text)
            self._failed.append((name, str(error)))


def _find(
    disks: Sequence[base.Disk], record: catalog_module.BaseImage
) -> base.Disk | None:
    for disk in disks:
        if (disk.name, disk.udid) == (record.disk_name, record.udid):
            return disk
    return None


def _remove(driver: base.DiskDriver, disk: base.Disk) -> None:
    driver.remove_uploads(disk)
    (removal,) = driver.delete_disks([disk])
    if removal.error:
        raise removal.error
