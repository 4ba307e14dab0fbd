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

"""Changes of a volume group: checked, written into its document, confirmed.

Nothing here makes a request.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import re
from typing import Any
from typing import Final

from oslo_utils import units
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import platform_facts
from pvm_imagecache import text
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers import refusals
from pvm_imagecache.drivers.localdisk import vg_document

#: Of AIX: the name of a logical volume is in use on the VIOS.
_NAME_IN_USE: Final = '0516-360'
#: What PowerVM may say of a volume group with all its logical volumes.
_TOO_MANY: Final = re.compile(
    r'maximum (allowed )?(number of )?logical volumes', re.I
)
#: A tenth of the logical volumes may be no virtual disks.
_NEAR: Final = 10
#: Random digits of a shortened label; less could be of another process.
_LEAST_DIGITS: Final = 4
#: Bytes that a disk may have beyond what was requested: it is rounded up to
#: a GiB, and to a physical partition.
_MOST_EXCESS: Final = 4 * units.Gi
_NO_FACTS: Final = platform_facts.PlatformFacts()


@dataclasses.dataclass(frozen=True)
class Create:
    """Create an empty disk."""

    new: base.NewDisk


@dataclasses.dataclass(frozen=True)
class Copy:
    """Create a disk that begins with the bytes of another one.

    :ivar source: the disk to copy, identified by its name and UDID.
    :ivar still_valid: called immediately before the copy; the copy is
        refused if it returns False.
    """

    new: base.NewDisk
    source: base.Disk
    still_valid: Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class Delete:
    """Delete a disk, unless it does not exist."""

    disk: base.Disk


Operation = Create | Copy | Delete


@dataclasses.dataclass(eq=False)
class Request:
    """Operations of one caller that are carried out together or not at all.

    :ivar disks: the disks that were created, in the order of the operations.
    :ivar error: why the request failed.
    :ivar done: whether the request was carried out, or failed.
    """

    operations: Sequence[Operation]
    disks: list[base.Disk] = dataclasses.field(default_factory=list)
    error: BaseException | None = None
    done: bool = False

    @property
    def new_disks(self) -> list[base.NewDisk]:
        """The disks to create, in the order of the operations."""
        return [
            each.new
            for each in self.operations
            if not isinstance(each, Delete)
        ]

    @property
    def copies(self) -> bool:
        """Whether one of the operations copies a disk."""
        return any(isinstance(each, Copy) for each in self.operations)

    @property
    def copied(self) -> int:
        """Bytes that the copies of the request take."""
        return sum(
            max(whole_gib(each.new.size), each.source.capacity)
            for each in self.operations
            if isinstance(each, Copy)
        )

    @property
    def names(self) -> str:
        """Names of the disks of all operations, for messages."""
        return _listed(
            each.disk if isinstance(each, Delete) else each.new
            for each in self.operations
        )

    def fail(self, error: BaseException) -> None:
        """End the request with an error."""
        self.error, self.done = error, True


def whole_gib(size: int) -> int:
    """Return bytes rounded up to whole GiB, as the REST API wants them.

    :param size: bytes.
    :returns: bytes, at least 1 GiB.
    """
    return max(1, -(-size // units.Gi)) * units.Gi


def new_disks(requests: Iterable[Request]) -> list[base.NewDisk]:
    """Return the disks that requests create, in their order."""
    return [new for request in requests for new in request.new_disks]


def apply(
    document: vg_document.Document,
    batch: Sequence[Request],
    adapter: Any,
) -> list[Request]:
    """Write requests into a document.

    A request that cannot be carried out fails immediately, and does not
    affect the others. A request that has nothing to do is done.

    :param document: as it was just read; it is changed.
    :param batch: requests; those that are done are skipped.
    :param adapter: the ``pypowervm.adapter.Adapter`` for new elements.
    :returns: the requests that an update with the document carries out.
    """
    pending: list[Request] = []
    taken: set[str] = set()
    free = document.free
    for request in batch:
        if request.done:
            continue
        try:
            needed = _check(document, request, taken, free)
        except Exception as error:
            request.fail(error)
            continue
        free -= needed
        taken.update(new.name for new in request.new_disks)
        changes = [
            _apply(document, operation, adapter)
            for operation in request.operations
        ]
        if any(changes):
            pending.append(request)
        else:
            request.done = True
    return pending


def confirm(
    after: vg_document.Document,
    pending: Iterable[Request],
    before: Collection[str],
) -> None:
    """Find the disks that an update created in its answer.

    A request whose disks are not there fails; all others are done.

    :param after: the answer of the update.
    :param pending: the requests that the update carried out.
    :param before: the UDIDs of the disks that existed before the update.
    """
    for request in pending:
        try:
            request.disks = [
                created(after, new, before) for new in request.new_disks
            ]
            request.done = True
        except exceptions.PowerVMError as error:
            request.fail(error)


def unanswered(
    new: Iterable[base.NewDisk],
    disks: Sequence[base.Disk],
    before: Collection[str],
    doubtful: Collection[str] = (),
    *,
    keeps_labels: bool | None = None,
) -> list[base.Disk]:
    """Return the disks that an update created whose answer was lost.

    They did not exist before, and have the requested name and label. A label
    that the pool has shortened is sufficient with the capacity, if some of
    its random digits are left. The name and the capacity are sufficient if
    the pool may drop labels: no disk has one, and it is not known to keep
    them. They are sufficient, too, if no label was requested.

    :param new: the disks that were requested.
    :param disks: the disks that exist after the update.
    :param before: the UDIDs of the disks that existed before it.
    :param doubtful: names that only a label shows to be those of the update.
    :param keeps_labels: whether the pool keeps labels; None if that is not
        known.
    :returns: those of ``disks`` that the update created.
    """
    wanted = {each.name: each for each in new}
    shows_labels = keeps_labels or any(
        disk.label not in base.NO_LABEL for disk in disks
    )

    def is_one(disk: base.Disk) -> bool:
        new = wanted.get(disk.name)
        if new is None or disk.udid in before:
            return False
        if disk.label == new.label and new.label:
            return True
        if disk.label not in base.NO_LABEL:
            if not _is_shortened(disk.label, new.label or ''):
                return False
        elif disk.name in doubtful or (new.label and shows_labels):
            return False
        return 0 <= disk.capacity - new.size < _MOST_EXCESS

    return [disk for disk in disks if is_one(disk)]


def _is_shortened(found: str, requested: str) -> bool:
    """Return whether a label is the beginning of another one of this project.

    :param found: of a disk.
    :param requested: another label.
    :returns: whether it begins like that, with enough random digits.
    """
    return (
        len(found) >= len(naming.LABEL_PREFIX) + _LEAST_DIGITS
        and requested.startswith(found)
        and naming.is_label(requested)
    )


def take(
    after: vg_document.Document,
    pending: Iterable[Request],
    before: Collection[str],
    is_final: bool,
    *,
    keeps_labels: bool | None = None,
) -> dict[base.Disk, Request]:
    """End the requests that an update without an answer carried out.

    Only a label shows for certain that a disk is the one of a request, and
    not one of the same name that another client has created since. Nothing
    shows that a copy is complete: a server that was rebooted during a copy
    leaves a part of it in a disk of the full size. So no copy is taken.

    :param after: the volume group.
    :param pending: the requests that the update should carry out.
    :param before: the UDIDs of the disks that existed before the update.
    :param is_final: whether the update has certainly ended. If not, no
        request is ended.
    :param keeps_labels: see :func:`unanswered`.
    :returns: the disks of other requests, which must be deleted.
    """
    surplus: dict[base.Disk, Request] = {}
    for request in pending:
        disks = None
        if is_final and not request.copies:
            disks = _carried_out(after, request, before)
        if disks is not None:
            request.disks, request.done = disks, True
            continue
        for disk in unanswered(
            request.new_disks,
            after.disks,
            before,
            keeps_labels=keeps_labels,
        ):
            surplus[disk] = request
    return surplus


def raise_if_full(
    error: exceptions.PowerVMError,
    document: vg_document.Document,
    pending: Iterable[Request],
    facts: platform_facts.PlatformFacts = _NO_FACTS,
) -> None:
    """Raise NotEnoughSpace if PowerVM refused an update for lack of space.

    :param error: of the update.
    :param document: the volume group as it was read before the update.
    :param pending: the requests that the update should carry out.
    :param facts: what was measured of the platform.
    :raises NotEnoughSpace: if the error means that.
    """
    new = new_disks(pending)
    if new:
        powervm.raise_if_full(
            error,
            pool=_pool(document),
            needed=_needed(new),
            what=_listed(new),
            free=document.free,
            facts=facts,
            names=[document.name, *(each.name for each in new)],
        )


def raise_if_too_many(
    error: exceptions.PowerVMError,
    document: vg_document.Document,
    pending: Iterable[Request],
    limit: int | None,
    *,
    is_unexplained: bool,
) -> None:
    """Raise TooManyDisks if a volume group has all its logical volumes.

    What PowerVM says of it depends on its level and language, so the number
    of disks decides. There may be logical volumes that are no virtual disks:
    a refusal near the limit that nothing else explains may be due to it.

    :param error: of the update.
    :param document: the volume group as it was read before the update.
    :param pending: the requests that the update should carry out.
    :param limit: how many logical volumes it can have, if that is known.
    :param is_unexplained: whether the refusal has no other known cause.
    :raises TooManyDisks: if the error means that.
    """
    new = new_disks(pending)
    if not new or error.transient:
        return
    count = len(document.disks)
    after = count + len(new)
    is_over = limit is not None and after > limit
    is_said = _TOO_MANY.search(str(error)) is not None
    is_near = limit is not None and after >= limit - limit // _NEAR
    if not (is_over or is_said or (is_unexplained and is_near)):
        return
    # The last logical volume of a volume group is not for disks.
    is_full = is_over or is_said or (limit is not None and after >= limit)
    raise exceptions.TooManyDisks(
        pool=_pool(document),
        disks=count,
        limit='an unknown number of' if limit is None else limit,
        what=_listed(new),
        reason=text.one_line(getattr(error, 'reason', error)).rstrip('.'),
        free=text.size(document.free),
        needed=text.size(_needed(new)),
        needed_disks=len(new),
        plenty=not is_full,
    ) from error


def name_in_use(
    error: exceptions.PowerVMRequestFailed,
    names: Collection[str],
    facts: platform_facts.PlatformFacts = _NO_FACTS,
) -> str | None:
    """Return the name that PowerVM refused because it is in use.

    :param error: of an update.
    :param names: of the disks that it should create.
    :param facts: what was measured of the platform.
    :returns: the only one that the message can mean; otherwise None.
    """
    meant = names_in_use(error, names, facts)
    return next(iter(meant)) if len(meant) == 1 else None


def names_in_use(
    error: exceptions.PowerVMRequestFailed,
    names: Collection[str],
    facts: platform_facts.PlatformFacts = _NO_FACTS,
) -> Collection[str]:
    """Return the names that PowerVM may have refused as being in use.

    :param error: of an update.
    :param names: of the disks that it should create.
    :param facts: what was measured of the platform.
    :returns: those that the message can mean; all of them if it quotes none;
        none if it has another cause.
    """
    message = str(error)
    if _NAME_IN_USE not in message and not refusals.is_like(
        message, facts.name_exists_words, facts.no_space_words, names
    ):
        return ()
    return [name for name in names if _contains(message, name)] or names


def _contains(message: str, name: str) -> bool:
    return (
        re.search(rf'(?<![\w.]){re.escape(name)}(?![\w.]*\w)', message)
        is not None
    )


def _check(
    document: vg_document.Document,
    request: Request,
    taken: Collection[str],
    free: int,
) -> int:
    """Raise unless a request can be carried out; return the bytes it takes."""
    taken = set(taken)
    for operation in request.operations:
        if isinstance(operation, Delete):
            continue
        name = operation.new.name
        if name in taken or document.named(name):
            raise exceptions.DiskExists(name=name, pool=document.name)
        taken.add(name)
        if isinstance(operation, Copy):
            _check_source(document, operation)
    needed = _needed(request.new_disks)
    if needed > free:
        raise exceptions.NotEnoughSpace(
            pool=_pool(document),
            free=text.size(free),
            needed=text.size(needed),
            needed_bytes=needed,
            what=_listed(request.new_disks),
        )
    return needed


def _check_source(document: vg_document.Document, operation: Copy) -> None:
    source = operation.source
    named = document.named(source.name)
    if not named:
        reason = 'it no longer exists'
    elif len(named) > 1:
        reason = 'there are several disks of that name'
    elif named[0].udid != source.udid:
        reason = f'it was replaced by another disk ({named[0].udid})'
    elif vg_document.is_other(named[0].label, source.label):
        reason = 'it was replaced by another disk with the same UDID'
    elif not operation.still_valid():
        reason = 'it was evicted or replaced meanwhile'
    else:
        return
    raise exceptions.BaseImageGone(name=source.name, reason=reason)


def _apply(
    document: vg_document.Document, operation: Operation, adapter: Any
) -> bool:
    """Write an operation into the document; False if there is no need."""
    if isinstance(operation, Delete):
        if not document.has(operation.disk):
            return False
        document.delete(operation.disk)
        return True
    source = operation.source.udid if isinstance(operation, Copy) else None
    document.append(
        pvm_storage.VDisk.bld(
            adapter,
            operation.new.name,
            whole_gib(operation.new.size) // units.Gi,
            label=operation.new.label,
            base_image=source,
            file_format=operation.new.file_format,
        )
    )
    return True


def _carried_out(
    after: vg_document.Document, request: Request, before: Collection[str]
) -> list[base.Disk] | None:
    """Return the disks of a request; None if it was not carried out."""
    if any(
        isinstance(each, Delete) and after.has(each.disk)
        for each in request.operations
    ):
        return None
    found: list[base.Disk] = []
    for new in request.new_disks:
        try:
            disk = created(after, new, before)
        except exceptions.DiskUnclear:
            return None
        if disk.label in base.NO_LABEL or disk.label != new.label:
            return None
        found.append(disk)
    return found


def created(
    after: vg_document.Document, new: base.NewDisk, before: Collection[str]
) -> base.Disk:
    """Return the disk that an update created.

    :param after: the answer of the update.
    :param new: the disk that was requested.
    :param before: the UDIDs of the disks that existed before the update.
    :returns: the disk.
    :raises DiskUnclear: if it is not the only one of its name, existed
        before, or is smaller than requested.
    """
    named = after.named(new.name)
    if len(named) != 1 or named[0].udid in before:
        raise exceptions.DiskUnclear(
            name=new.name,
            reason='the update was accepted, but its answer '
            'does not show the disk',
        )
    disk = named[0]
    if disk.capacity < new.size:
        raise exceptions.DiskUnclear(
            name=new.name,
            reason=f'it has {disk.capacity} bytes instead of {new.size}',
        )
    return disk


def _needed(new: Iterable[base.NewDisk]) -> int:
    return sum(whole_gib(each.size) for each in new)


def _listed(disks: Iterable[base.NewDisk | base.Disk]) -> str:
    return ' and '.join(each.name for each in disks)


def _pool(document: vg_document.Document) -> str:
    return f'Volume group {document.name}'
