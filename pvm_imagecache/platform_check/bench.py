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

"""The disks of a platform check: created, on record, and deleted again.

Each disk has a name that no other disk has, a label, and a record that is
written before the disk is created. If the process crashes, the next cleanup
run deletes the disk, as it does with unfinished instance disks.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import secrets
import time
from typing import Final

from oslo_log import log as logging
from oslo_utils import units

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import instance_records
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import platform_access
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import retry

LOG = logging.getLogger(__name__)

#: Bytes that all disks of a check may have together, at any time.
MOST_BYTES: Final = 8 * units.Gi
#: Bytes that stay free for deploys.
RESERVE: Final = 2 * units.Gi
#: How often an update is sent while other clients change the pool.
_ATTEMPTS: Final = 40
#: How often the pool is read until it shows a change.
_READS: Final = 8
_PIECE: Final = units.Mi


@dataclasses.dataclass(eq=False)
class _Item:
    """A disk on record.

    :ivar held: the record and the lock; closing it removes the record if
        the disk is settled.
    :ivar disk: None while it is not known to exist.
    :ivar settled: whether the disk does not exist, and will not appear.
    """

    entry: models.InstanceDisk
    held: contextlib.ExitStack
    disk: base.Disk | None = None
    settled: bool = True


class _Pending:
    """An update that the caller sends.

    :ivar disks: that it created.
    :ivar is_refused: whether it creates no disk for certain.
    """

    def __init__(
        self, update: platform_access.Update, items: Sequence[_Item]
    ) -> None:
        self.items = items
        self.disks: list[base.Disk] = []
        self.is_refused = True
        self._update = update

    def send(self) -> list[base.Disk]:
        """Send the update once."""
        self.is_refused = False
        for each in self.items:
            each.settled = False
        try:
            self.disks = self._update.send()
        except exceptions.PowerVMRequestFailed:
            self.is_refused = True
            raise
        return self.disks


class Bench:
    """Creates and deletes the disks of one check in one pool.

    :param cache: of the pool.
    :param access: to the platform of the pool.
    :ivar cache: the same.
    :ivar access: the same.
    :ivar granularity: bytes that capacities are multiples of, as far as it
        is known.
    :ivar seconds: how long the last update took.
    :ivar left: disks that could not be deleted, or not be identified.
    :ivar names: of all disks of the check, also of those that were deleted.
    """

    def __init__(
        self,
        cache: cache_module.Cache,
        access: platform_access.PlatformAccess,
    ) -> None:
        self.cache = cache
        self.access = access
        self.granularity = units.Mi
        self.seconds = 0.0
        self.left: list[str] = []
        self.names: set[str] = set()
        self._items: dict[str, _Item] = {}

    # -- disks

    def create(
        self,
        size: int = units.Gi,
        count: int = 1,
        *,
        source: base.Disk | None = None,
        file_format: str = 'raw',
        name: str | None = None,
    ) -> list[base.Disk]:
        """Create disks in one update; repeat it if other clients are faster.

        :param size: of each, in bytes.
        :param count: number of disks.
        :param source: the disk that each is a copy of; None for empty disks.
        :param file_format: ``raw`` or ``qcow2``.
        :param name: of the only disk; None for new names.
        :returns: the disks.
        :raises FactNotMeasured: if the disks would need too much space.
        :raises PowerVMError: if PowerVM does not create them.
        """
        with self._recorded(size, count, name) as items:
            new = _new_disks(items, size, file_format)
            with self.access.exclusive():
                disks = self._send(new, source)
            self._keep(items, disks)
        return disks

    def attempt(
        self, size: int, name: str | None = None
    ) -> exceptions.PowerVMRequestFailed | None:
        """Request a disk that PowerVM should refuse; delete it otherwise.

        The limits of a check do not apply: the disk should not be created.

        :param size: in bytes.
        :param name: of the disk, which may be one of this bench; None for
            a new name.
        :returns: the refusal; None if the disk was created.
        :raises PowerVMError: if PowerVM does not answer, or is busy.
        """
        known = self._items.get(name or '')
        if known:
            return self._attempt_again(known, size)
        try:
            with self._recorded(size, 1, name, is_limited=False) as items:
                new = _new_disks(items, size, 'raw')
                with self.access.exclusive():
                    disks = self._send(new, None)
                self._keep(items, disks)
        except exceptions.PowerVMRequestFailed as error:
            if not is_refusal(error):
                raise
            return error
        self.delete(*disks)
        return None

    def refuses_stale_etag(self, size: int = units.Gi) -> bool:
        """Return whether an update with an outdated ETag is refused.

        The update has all disks of the newest read, so that it deletes none
        even if it is not refused.

        :param size: of each of two disks, in bytes.
        :returns: whether PowerVM answers it with HTTP 412.
        :raises FactNotMeasured: if the disks would need too much space, or
            if the platform has no ETags that change.
        :raises PowerVMError: if PowerVM answers in another way.
        """
        with (
            self._recorded(size, 2) as items,
            self.access.exclusive(),
        ):
            first, second = _new_disks(items, size, 'raw')
            etag = self.access.prepare([first]).etag
            self._keep(items[:1], self._send([first], None))
            update = self._prepared_after(etag, second)
            self._mark_sent([second])
            try:
                self._keep(items[1:], update.send(etag))
            except exceptions.PowerVMRequestFailed as error:
                if not self.access.is_conflict(error):
                    raise
                items[1].settled = True
        refused = items[1].disk is None
        self._dispose(items)
        return refused

    @contextlib.contextmanager
    def prepared(
        self, size: int, counts: Sequence[int], source: base.Disk | None = None
    ) -> Iterator[list[Callable[[], list[base.Disk]]]]:
        """Prepare updates that all start from the same state of the pool.

        The block sends them. Disks that exist at its end are deleted.

        :param size: of each disk, in bytes.
        :param counts: number of disks of each update.
        :param source: the disk that each is a copy of; None for empty disks.
        :returns: a context manager that gives a function for each update,
            which sends it once.
        :raises FactNotMeasured: if the disks would need too much space.
        :raises PowerVMError: if the pool cannot be read.
        """
        with self._recorded(size, sum(counts)) as items:
            left = list(items)
            updates = []
            with self.access.exclusive():
                for count in counts:
                    taken, left = left[:count], left[count:]
                    new = _new_disks(taken, size, 'raw')
                    updates.append(
                        _Pending(self.access.prepare(new, source), taken)
                    )
                yield [each.send for each in updates]
        for each in updates:
            if each.disks:
                self._keep(each.items, each.disks)
                self.delete(*each.disks)
            else:
                self._dispose(each.items, may_appear=not each.is_refused)

    def delete(self, *disks: base.Disk) -> None:
        """Delete disks of this bench.

        :param disks: the disks. One that cannot be deleted is noted in
            :attr:`left`, and stays on record.
        """
        try:
            self._wait_for(disks)
            deletions = self.cache.driver.delete_disks(disks)
        except exceptions.PVMImageCacheError as error:
            deletions = [base.Deletion(each, error) for each in disks]
        for each in deletions:
            item = self._items.pop(each.disk.name)
            if each.error:
                self._note_left(each.disk.name, each.error)
            else:
                item.settled = True
            item.held.close()

    def label_of(self, disk: base.Disk) -> str:
        """Return the label with which a disk was created.

        :param disk: that this object created, and did not delete.
        :returns: the label, whatever the platform made of it.
        """
        return ownership.label(self._items[disk.name].entry.fill_id)

    def upload(self, disk: base.Disk, size: int) -> None:
        """Write a pattern to the beginning of a disk.

        :param disk: the disk.
        :param size: number of bytes.
        :raises OperationCancelled: if the user interrupts it.
        :raises PowerVMError: if PowerVM does not accept the bytes.
        """
        self.cache.driver.upload(disk, _pattern(size), size)

    def close(self) -> None:
        """Delete all disks that still exist."""
        self._dispose(list(self._items.values()))

    # -- inside

    def _attempt_again(
        self, item: _Item, size: int
    ) -> exceptions.PowerVMRequestFailed | None:
        """Request a disk with the name and the label of one that exists."""
        new = _new_disks([item], size, 'raw')
        try:
            with self.access.exclusive():
                self._send(new, None)
        except exceptions.DiskUnclear:
            # There are two of that name now.
            LOG.debug('There may be two disks %s', new[0].name)
        except exceptions.PowerVMRequestFailed as error:
            if not is_refusal(error):
                raise
            return error
        finally:
            self._delete_others(new[0], item.disk)
        return None

    @contextlib.contextmanager
    def _recorded(
        self,
        size: int,
        count: int,
        name: str | None = None,
        is_limited: bool = True,
    ) -> Iterator[list[_Item]]:
        """Keep records of disks; if the block fails, they are settled."""
        if is_limited:
            self._check_room(size, count)
        items: list[_Item] = []
        try:
            for each in [name] if name else self._new_names(count):
                items.append(self._record(each, size))
            yield items
        except exceptions.PowerVMRequestFailed:
            # No disk is created, unless the answer is wrong.
            self._dispose(items, may_appear=False)
            raise
        except BaseException:
            self._dispose(items)
            raise

    def _record(self, name: str, size: int) -> _Item:
        held = contextlib.ExitStack()
        # The lock and the record end when the disk is settled.
        entry = held.enter_context(
            instance_records.recorded(
                self.cache, name, size, lambda: item.settled
            )
        )
        item = _Item(entry, held)
        self._items[name] = item
        self.names.add(name)
        return item

    def _new_names(self, count: int) -> list[str]:
        taken = {
            each.name for each in self.cache.driver.snapshot().disks
        } | set(self._items)
        names: list[str] = []
        while len(names) < count:
            name = naming.CHECK_DISK_PREFIX + secrets.token_hex(2)
            if name not in taken:
                taken.add(name)
                names.append(name)
        return names

    def _check_room(self, size: int, count: int) -> None:
        unit = self.granularity
        needed = count * -(-size // unit) * unit
        used = sum(
            each.disk.capacity for each in self._items.values() if each.disk
        )
        if used + needed > MOST_BYTES:
            raise exceptions.FactNotMeasured(
                reason=f'it needs {text.size(used + needed)}, and a check '
                f'uses at most {text.size(MOST_BYTES)}'
            )
        free = self.cache.driver.pool().free
        if needed + RESERVE > free:
            raise exceptions.FactNotMeasured(
                reason=f'it needs {text.size(needed)}, and '
                f'{text.size(RESERVE)} must stay free, but only '
                f'{text.size(free)} are free'
            )

    def _send(
        self, new: Sequence[base.NewDisk], source: base.Disk | None
    ) -> list[base.Disk]:
        """Send an update; repeat it after a conflict or if PowerVM is busy."""
        for attempt in range(_ATTEMPTS):
            update = self.access.prepare(new, source)
            self._mark_sent(new)
            started = time.monotonic()
            try:
                disks = update.send()
            except exceptions.PowerVMRequestFailed as error:
                if not (error.transient or self.access.is_conflict(error)):
                    raise
                if interrupts.is_pending():
                    raise
                LOG.debug('Sending an update of the check again: %s', error)
                retry.back_off(attempt)
            else:
                self.seconds = time.monotonic() - started
                return disks
        raise exceptions.VolumeGroupChanged(
            name=self.cache.driver.pool().name, attempts=_ATTEMPTS
        )

    def _prepared_after(
        self, etag: str, new: base.NewDisk
    ) -> platform_access.Update:
        """Prepare an update from a read with another ETag."""
        for attempt in range(_READS):
            update = self.access.prepare([new])
            if etag and update.etag != etag:
                return update
            # The read may show the state before the last update.
            retry.back_off(attempt)
        raise exceptions.FactNotMeasured(
            reason='the platform has no ETag that changes with each update'
        )

    def are_there(self, disks: Sequence[base.Disk]) -> bool:
        """Return whether disks that were just created exist.

        :param disks: the disks.
        :returns: False if one of them is missing in each of several reads;
            True also if the pool cannot be read.
        """
        try:
            return self._wait_for(disks)
        except exceptions.PVMImageCacheError:
            return True

    def _wait_for(self, disks: Sequence[base.Disk]) -> bool:
        """Read the pool until it shows disks; return whether it does.

        A disk that a read does not show is not deleted. On some platforms a
        read shows the state before the last update for a moment.
        """
        udids = {each.udid for each in disks}
        for attempt in range(_READS):
            shown = self.cache.driver.snapshot().disks
            if udids <= {each.udid for each in shown}:
                return True
            retry.back_off(attempt)
        return False

    def _mark_sent(self, new: Sequence[base.NewDisk]) -> None:
        for each in new:
            self._items[each.name].settled = False

    def _keep(
        self, items: Sequence[_Item], disks: Sequence[base.Disk]
    ) -> None:
        for item, disk in zip(items, disks, strict=True):
            item.disk = disk
            self.cache.catalog.instance_disks.set_udid(item.entry, disk.udid)

    def _delete_others(
        self, new: base.NewDisk, known: base.Disk | None
    ) -> None:
        """Delete disks of one name and label, except a known one."""
        others = [
            each
            for each in self.cache.driver.snapshot().disks
            if each.name == new.name
            and each != known
            and ownership.may_be_label(each.label, new.label or '')
        ]
        for deletion in self.cache.driver.delete_disks(others):
            if deletion.error:
                self._note_left(new.name, deletion.error)

    def _dispose(
        self, items: Sequence[_Item], *, may_appear: bool = True
    ) -> None:
        """Delete disks, also those of updates whose results are unknown."""
        existing = [each.disk for each in items if each.disk]
        if existing:
            self.delete(*existing)
        for item in items:
            if item.disk:
                continue
            name = item.entry.disk_name
            self._items.pop(name, None)
            if not item.settled:
                item.settled = self._is_disposed(item, may_appear)
            item.held.close()

    def _is_disposed(self, item: _Item, may_appear: bool) -> bool:
        try:
            result = disposal.dispose(self.cache, item.entry)
        except exceptions.PVMImageCacheError as error:
            self._note_left(item.entry.disk_name, error)
            return False
        if result is disposal.Disposal.MAPPED:
            self._note_left(item.entry.disk_name, 'a partition uses it')
            return False
        if result is disposal.Disposal.FOREIGN:
            self.left.append(item.entry.disk_name)
            LOG.warning(
                'There is a disk %s, which cannot be identified as the one '
                'that the platform check created under this name. Delete it '
                'with "pvm-imagecache disk delete" if it is not needed',
                item.entry.disk_name,
            )
            return False
        return result is not disposal.Disposal.MAY_APPEAR or not may_appear

    def _note_left(self, name: str, why: object) -> None:
        self.left.append(name)
        LOG.warning(
            'Could not delete disk %(name)s of the platform check; the next '
            'cleanup run deletes it: %(why)s',
            {'name': name, 'why': why},
        )


def is_refusal(error: exceptions.PowerVMRequestFailed) -> bool:
    """Return whether PowerVM refused what was requested.

    :param error: of an update.
    :returns: False if it was busy, or carried the update out.
    """
    return not error.transient and not isinstance(
        error, exceptions.DiskUnclear | exceptions.VolumeGroupChanged
    )


def _new_disks(
    items: Sequence[_Item], size: int, file_format: str
) -> list[base.NewDisk]:
    return [
        base.NewDisk(
            each.entry.disk_name,
            size,
            file_format,
            ownership.label(each.entry.fill_id),
        )
        for each in items
    ]


def _pattern(size: int) -> Iterator[bytes]:
    piece = os.urandom(_PIECE)
    for start in range(0, size, _PIECE):
        if interrupts.is_pending():
            raise exceptions.OperationCancelled(
                reason='The platform check was interrupted.'
            )
        yield piece[: size - start]
