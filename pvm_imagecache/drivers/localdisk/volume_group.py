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

"""One volume group, and the only way in which it is changed.

A volume group is updated by sending the whole of it: a virtual disk without
a UDID is made, one that is missing is deleted. So every change is a fresh
read, which brings an etag, and an update that is refused when somebody else
came between (If-Match, HTTP 412); then it is tried again from a fresh read.
pypowervm's own tasks lose that etag, and with it other people's disks.

Changes that wait at the same time go into one update: whoever has the turn
takes along what the others want.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import http
import threading
import time
from typing import Any
from typing import Final

from lxml import etree
from oslo_log import log as logging
from oslo_utils import units
from pypowervm import const as pvm_const
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.system import locks

LOG = logging.getLogger(__name__)

#: How often an update is tried when others keep coming between.
ATTEMPTS: Final = 40
#: How often an update is tried again when its answer was lost.
LOST_ANSWERS: Final = 3
#: Seconds that an update with copies may take at least, as in pypowervm.
COPY_TIMEOUT: Final = 3600
#: Seconds for which a deletion may begin from what was read before.
_KEPT_FOR: Final = 10.0

_UOM: Final = f'{{{pvm_const.UOM_NS}}}'
_MAPPINGS_PATH: Final = f'{_UOM}VirtualSCSIMappings'
_DISKS_PATH: Final = f'{_UOM}VirtualDisks'
_DISK_TAG: Final = f'{_UOM}VirtualDisk'
_NAME_TAG: Final = f'{_UOM}DiskName'
_UDID_TAG: Final = f'{_UOM}UniqueDeviceID'
#: What is read of each disk, in the order that the schema prescribes.
_DISK_TAGS: Final = (
    f'{_UOM}DiskCapacity',
    f'{_UOM}DiskLabel',
    _NAME_TAG,
    _UDID_TAG,
)
_MAPPED_DISKS: Final = etree.XPath(
    'count(u:VirtualSCSIMapping/u:Storage/u:VirtualDisk)',
    namespaces={'u': pvm_const.UOM_NS},
)


@dataclasses.dataclass(frozen=True)
class Create:
    """Make an empty disk."""

    new: base.NewDisk


@dataclasses.dataclass(frozen=True)
class Copy:
    """Make a disk that begins with the bytes of ``source``."""

    new: base.NewDisk
    source: base.Disk
    still_valid: Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class Delete:
    """Delete a disk, unless it is gone already."""

    disk: base.Disk


Operation = Create | Copy | Delete


@dataclasses.dataclass
class _Request:
    """What one caller wants done, all of it or nothing."""

    operations: Sequence[Operation]
    disks: list[base.Disk] = dataclasses.field(default_factory=list)
    error: BaseException | None = None
    done: bool = False

    @property
    def copies(self) -> bool:
        return any(isinstance(each, Copy) for each in self.operations)

    def fail(self, error: BaseException) -> None:
        self.error, self.done = error, True


class VolumeGroup:
    """A volume group of one Virtual I/O Server.

    :param lock: serialises changes with those of other processes.
    :param lock_timeout: seconds to wait for it at most: as long as the
        longest update of somebody else may take.
    :ivar gone: whether it was not there any more when it was read last: it
        was made anew, or another server owns it now.
    """

    def __init__(
        self,
        adapters: powervm.AdapterSource,
        vios_uuid: str,
        uuid: str,
        name: str,
        lock_directory: locks.LockDirectory,
        lock_timeout: float = 3600.0,
    ) -> None:
        self.vios_uuid = vios_uuid
        self.uuid = uuid
        self.name = name
        self._adapters = adapters
        self._locks = lock_directory
        self._lock_timeout = lock_timeout
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[_Request] = []
        self._kept: tuple[Document, float] | None = None
        self.gone = False

    def read(self) -> 'Document':
        """The volume group as it is now: one GET."""
        adapter = self._adapters()

        def get() -> Any:
            with self._adapters.translated(f'read volume group {self.name}'):
                return pvm_storage.VG.get(
                    adapter,
                    uuid=self.uuid,
                    parent_type=pvm_vios.VIOS.schema_type,
                    parent_uuid=self.vios_uuid,
                )

        try:
            return Document(powervm.retry_read(get))
        except exceptions.PowerVMRequestFailed as error:
            if powervm.status_of(error) == http.HTTPStatus.NOT_FOUND:
                self.gone = True
            raise

    def keep(self, document: 'Document') -> None:
        """Let the next deletion begin from a document just read.

        Its etag tells whether it still holds: if not, the update is refused
        and made again from a fresh read. Whoever gives it away must not use
        it any more.
        """
        with self._guard:
            self._kept = document, time.monotonic()

    def _start_from(self, batch: list[_Request]) -> 'Document':
        with self._guard:
            kept, self._kept = self._kept, None
        if kept is None:
            return self.read()
        document, kept_at = kept
        # A disk that is not in it may have come since.
        holds = all(
            isinstance(operation, Delete) and document.has(operation.disk)
            for each in batch
            for operation in each.operations
        )
        if holds and time.monotonic() - kept_at < _KEPT_FOR:
            return document
        return self.read()

    def mapped(self, disks: Sequence[base.Disk]) -> set[base.Disk]:
        """Those of the disks that a vSCSI mapping has: one GET."""
        adapter = self._adapters()

        def get() -> Any:
            with self._adapters.translated('read the vSCSI mappings'):
                return pvm_vios.VIOS.get(
                    adapter, uuid=self.vios_uuid, xag=[pvm_const.XAG.VIO_SMAP]
                )

        server = powervm.retry_read(get)
        found = server.entry.element.element.find(_MAPPINGS_PATH)
        if found is None:
            return set()
        # There may be ten thousand of them, half a million elements.
        texts = [each.text or '' for each in found.iter(_NAME_TAG)]
        names = {naming.last_component(text.strip()) for text in texts}
        # Adapters have UDIDs as well, but no disk has one of theirs.
        udids = (
            set()
            if len(texts) == _MAPPED_DISKS(found)
            else {(each.text or '').strip() for each in found.iter(_UDID_TAG)}
        )
        return {
            disk for disk in disks if disk.name in names or disk.udid in udids
        }

    def change(self, operations: Sequence[Operation]) -> list[base.Disk]:
        """Carry out operations, all of them or none: one GET, one POST.

        :returns: the disks that were made, in the order of the operations.
        :raises DiskExists, NotEnoughSpace, BaseImageGone: before anything
            was changed.
        """
        request = _Request(operations)
        with self._guard:
            self._waiting.append(request)
        with self._turn:
            if not request.done:
                self._serve(request)
        if request.error is not None:
            raise request.error
        return request.disks

    def _serve(self, own: _Request) -> None:
        """Have the turn: carry out what waits until our own is done."""
        try:
            with self._before_other_processes():
                while not own.done:
                    self._carry_out(self._next_batch())
        except BaseException as error:
            with self._guard:
                if own in self._waiting:
                    self._waiting.remove(own)
            if not own.done:
                own.fail(error)
            if not isinstance(error, Exception):
                raise

    @contextlib.contextmanager
    def _before_other_processes(self) -> Iterator[None]:
        """Keep other processes of ours waiting; the etag guards the rest.

        So where the lock is not to be had, the change is made without it.
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(
                    self._locks.hold(f'vg-{self.uuid}', self._lock_timeout)
                )
            except exceptions.CacheFault as error:
                LOG.warning(
                    'Changing volume group %(name)s without the '
                    'lock: %(error)s',
                    {'name': self.name, 'error': error},
                )
            yield

    def _next_batch(self) -> list[_Request]:
        """What goes into one update.

        Copies take as long as the disks are large, inside the update: what
        is done in an instant does not wait for them.
        """
        with self._guard:
            quick = [each for each in self._waiting if not each.copies]
            batch = quick or list(self._waiting)
            self._waiting = [
                each for each in self._waiting if each not in batch
            ]
        return batch

    def _carry_out(self, batch: list[_Request]) -> None:
        try:
            self._update(batch)
        except Exception as error:
            pending = [each for each in batch if not each.done]
            if len(pending) == 1:
                pending[0].fail(error)
            else:
                # One of them may be what the platform can't do.
                LOG.info(
                    'Volume group %(name)s refused %(count)d changes '
                    'at once, trying each alone: %(error)s',
                    {'name': self.name, 'count': len(pending), 'error': error},
                )
                for each in pending:
                    self._carry_out([each])
        except BaseException as error:
            for each in batch:
                if not each.done:
                    each.fail(error)
            raise

    def _update(self, batch: list[_Request]) -> None:
        lost = 0
        for attempt in range(ATTEMPTS):
            document = self.read() if attempt else self._start_from(batch)
            pending = _prepare(document, batch, self._adapters())
            if not pending:
                return
            before = document.udids
            try:
                with self._adapters.translated(
                    f'change volume group {self.name}'
                ):
                    after = Document(
                        document.wrapper.update(
                            timeout=self._time_for(pending)
                        )
                    )
            except exceptions.PowerVMTimedOut:
                raise
            except exceptions.PowerVMUnreachable as error:
                lost += 1
                if lost > LOST_ANSWERS:
                    raise
                LOG.warning(
                    'The answer of an update of volume group '
                    '%(name)s was lost: %(error)s',
                    {'name': self.name, 'error': error},
                )
                powervm.pause(attempt)
                self._undo_unanswered(pending, before)
            except exceptions.PowerVMRequestFailed as error:
                if powervm.status_of(error) != (
                    http.HTTPStatus.PRECONDITION_FAILED
                ):
                    _raise_if_full(error, document, pending)
                    raise
                LOG.debug(
                    'Volume group %s was changed by somebody else, '
                    'reading it again',
                    self.name,
                )
                powervm.pause(attempt)
            else:
                _confirm(after, pending, before)
                return
        raise exceptions.VolumeGroupChanged(name=self.name, attempts=ATTEMPTS)

    def _time_for(self, pending: list[_Request]) -> int:
        """Seconds in which an update should be answered."""
        timeout = self._adapters.connection.timeout
        if any(request.copies for request in pending):
            return max(timeout, COPY_TIMEOUT)
        return timeout

    def _undo_unanswered(
        self, pending: list[_Request], before: set[str]
    ) -> None:
        """Delete what an update made of which no answer came.

        Whether a copy was complete when the connection broke can't be told,
        so it is made again. Others may have made disks of those names in
        between: see :func:`_came_of`.
        """
        wanted = {
            operation.new.name: operation.new
            for request in pending
            for operation in request.operations
            if not isinstance(operation, Delete)
        }
        for attempt in range(ATTEMPTS):
            document = self.read()
            ours = _came_of(wanted, document.disks, before)
            if not ours:
                return
            for disk in ours:
                document.delete(disk)
            try:
                with self._adapters.translated(
                    f'change volume group {self.name}'
                ):
                    document.wrapper.update(
                        timeout=self._adapters.connection.timeout
                    )
                return
            except exceptions.PowerVMRequestFailed as error:
                if powervm.status_of(error) != (
                    http.HTTPStatus.PRECONDITION_FAILED
                ):
                    raise
                powervm.pause(attempt)


class Document:
    """A volume group as it was read, its disks indexed once.

    What has been taken out of it is in none of the answers. Nothing of the
    XML is handed out: an element that is appended elsewhere
    leaves the document that it was in, and the next update would delete
    its disk.
    """

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper
        self.capacity = _bytes(wrapper.capacity)
        self.free = _bytes(
            min(
                (
                    size
                    for size in (wrapper.free_space, wrapper.available_size)
                    if size is not None
                ),
                default=0,
            )
        )
        self._parent = wrapper.entry.element.element.find(_DISKS_PATH)

    @functools.cached_property
    def _by_udid(self) -> dict[str, base.Disk]:
        return {disk.udid: disk for disk in _disks(self._parent)}

    def base_images(self) -> list[base.Disk]:
        """The disks that are called as cached images are.

        Of the others, which may be many, only the names are looked at.
        """
        if self._parent is None:
            return []
        return [
            _disk_of(each.getparent())
            for each in self._parent.iter(_NAME_TAG)
            if naming.is_base_image_name((each.text or '').strip())
        ]

    @property
    def disks(self) -> list[base.Disk]:
        """All disks that are there, and have not been taken out."""
        return list(self._by_udid.values())

    @functools.cached_property
    def _by_name(self) -> dict[str, list[base.Disk]]:
        found: dict[str, list[base.Disk]] = {}
        for disk in self._by_udid.values():
            found.setdefault(disk.name, []).append(disk)
        return found

    @functools.cached_property
    def _elements(self) -> dict[str, Any]:
        """By UDID; needed only by those who take disks out."""
        return {
            (element.findtext(_UDID_TAG) or '').strip(): element
            for element in self._parent.iterfind(_DISK_TAG)
        }

    @property
    def udids(self) -> set[str]:
        """The UDIDs of :attr:`disks`."""
        return set(self._by_udid)

    def named(self, name: str) -> list[base.Disk]:
        """All disks of that name; there should be one at most."""
        return self._by_name.get(name, [])

    def has(self, disk: base.Disk) -> bool:
        """Whether a disk of that name and UDID is there."""
        found = self._by_udid.get(disk.udid)
        return found is not None and found.name == disk.name

    def delete(self, disk: base.Disk) -> None:
        """Take a disk out: the next update deletes it."""
        self._by_name[disk.name].remove(self._by_udid.pop(disk.udid))
        element = self._elements.pop(disk.udid)
        element.getparent().remove(element)

    def append(self, wrapper: Any) -> None:
        """Put a new disk in: the next update makes it.

        It is not one of :attr:`disks`, which are there already.
        """
        _ = self._by_udid
        self.wrapper.virtual_disks.append(wrapper)


def find(
    adapters: powervm.AdapterSource,
    name: str,
    vios_name: str | None,
    lock_directory: locks.LockDirectory,
) -> VolumeGroup:
    """Find a volume group by name among the VIOSes of the host.

    :param vios_name: the VIOS to look on; all where it is None.
    :raises VolumeGroupNotFound, VolumeGroupAmbiguous, VIOSNotFound: with
        the names that there are.
    """
    adapter = adapters()
    with adapters.translated('list the volume groups'):
        servers = pvm_vios.VIOS.get(adapter)
        if vios_name:
            chosen = [each for each in servers if each.name == vios_name]
            if not chosen:
                raise exceptions.VIOSNotFound(
                    name=vios_name, known=_names(each.name for each in servers)
                )
            servers = chosen
        groups = [
            (server, group)
            for server in servers
            for group in pvm_storage.VG.get(adapter, parent=server)
        ]
    found = [(server, group) for server, group in groups if group.name == name]
    if not found:
        raise exceptions.VolumeGroupNotFound(
            name=name,
            where=f' on {vios_name}' if vios_name else '',
            known=_names(
                f'{group.name} on {server.name}' for server, group in groups
            ),
        )
    if len(found) > 1:
        raise exceptions.VolumeGroupAmbiguous(
            name=name, known=_names(server.name for server, _ in found)
        )
    server, group = found[0]
    return VolumeGroup(adapters, server.uuid, group.uuid, name, lock_directory)


def whole_gib(size: int) -> int:
    """Bytes rounded up to whole GiB, as the REST API wants capacities."""
    return max(1, -(-size // units.Gi)) * units.Gi


def _prepare(
    document: Document, batch: list[_Request], adapter: Any
) -> list[_Request]:
    """Write into the document what the requests want.

    A request that can't be met fails at once, and alone. One that has
    nothing to do is done.

    :returns: those that the update will carry out.
    """
    pending: list[_Request] = []
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
        taken.update(
            operation.new.name
            for operation in request.operations
            if not isinstance(operation, Delete)
        )
        changes = [
            _apply(document, operation, adapter)
            for operation in request.operations
        ]
        if any(changes):
            pending.append(request)
        else:
            request.done = True
    return pending


def _check(
    document: Document, request: _Request, taken: set[str], free: int
) -> int:
    """Raise unless a request can be met; returns the bytes it takes."""
    needed = 0
    taken = set(taken)
    for operation in request.operations:
        if isinstance(operation, Delete):
            continue
        new = operation.new
        if new.name in taken or document.named(new.name):
            raise exceptions.DiskExists(
                name=new.name, pool=document.wrapper.name
            )
        taken.add(new.name)
        if isinstance(operation, Copy):
            _check_source(document, operation)
        needed += whole_gib(new.size)
    if needed > free:
        raise exceptions.NotEnoughSpace(
            pool=f'Volume group {document.wrapper.name}',
            free=text.size(free),
            needed=text.size(needed),
            needed_bytes=needed,
            what=' and '.join(
                operation.new.name
                for operation in request.operations
                if not isinstance(operation, Delete)
            ),
        )
    return needed


def _check_source(document: Document, operation: Copy) -> None:
    source = operation.source
    named = document.named(source.name)
    if not named:
        reason = 'it is no longer there'
    elif len(named) > 1:
        reason = 'there are several disks of that name'
    elif named[0].udid != source.udid:
        reason = f'it was replaced by another disk ({named[0].udid})'
    elif not operation.still_valid():
        reason = 'it was given up meanwhile'
    else:
        return
    raise exceptions.BaseImageGone(name=source.name, reason=reason)


def _apply(document: Document, operation: Operation, adapter: Any) -> bool:
    """Write one operation into the document; False if there is no need."""
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


def _confirm(
    after: Document, pending: list[_Request], before: set[str]
) -> None:
    """Find the disks that an update made in what it answered."""
    for request in pending:
        try:
            request.disks = [
                _made(after, operation.new, before)
                for operation in request.operations
                if not isinstance(operation, Delete)
            ]
            request.done = True
        except exceptions.PowerVMError as error:
            request.fail(error)


def _came_of(
    wanted: Mapping[str, base.NewDisk],
    disks: Sequence[base.Disk],
    before: Collection[str],
) -> list[base.Disk]:
    """The disks that an update made of which no answer came.

    They were not there before, and have the name and the label that were
    asked for; the name is enough where no disk has a label at all, as the
    pool may keep none.

    :param wanted: by name.
    """
    labels = {disk.label for disk in disks}.difference(base.NO_LABEL)

    def is_one(disk: base.Disk) -> bool:
        new = wanted.get(disk.name)
        if new is None or disk.udid in before:
            return False
        if disk.label in base.NO_LABEL:
            return not (new.label and labels)
        return disk.label == new.label

    return [disk for disk in disks if is_one(disk)]


def _made(after: Document, new: base.NewDisk, before: set[str]) -> base.Disk:
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


def _raise_if_full(
    error: exceptions.PowerVMError,
    document: Document,
    pending: list[_Request],
) -> None:
    names = [
        operation.new
        for request in pending
        for operation in request.operations
        if not isinstance(operation, Delete)
    ]
    if not names or not powervm.means_no_space(error):
        return
    needed = sum(whole_gib(new.size) for new in names)
    raise exceptions.NotEnoughSpace(
        pool=f'Volume group {document.wrapper.name}',
        free=text.size(document.free),
        needed=text.size(needed),
        needed_bytes=needed,
        refused=needed <= document.free,
        what=' and '.join(new.name for new in names),
    ) from error


def _disks(parent: Any) -> list[base.Disk]:
    """The disks of a document.

    There may be ten thousand of them, and looking into each would take
    longer than it takes to read the document: so all that is wanted is
    taken in one go. Where one lacks something, or has it in another order,
    as none has been seen to, each is looked into.
    """
    if parent is None:
        return []
    count = sum(1 for _ in parent.iterchildren(_DISK_TAG))
    values = list(parent.iter(*_DISK_TAGS))
    texts = [each.text or '' for each in values]
    if [each.tag for each in values] != [*_DISK_TAGS] * count:
        return [_disk_of(each) for each in parent.iterfind(_DISK_TAG)]
    each_four = iter(texts)
    return [
        _disk(*four)
        for four in zip(
            each_four, each_four, each_four, each_four, strict=True
        )
    ]


def _disk_of(element: Any) -> base.Disk:
    return _disk(*(element.findtext(tag) or '' for tag in _DISK_TAGS))


def _disk(capacity: str, label: str, name: str, udid: str) -> base.Disk:
    return base.Disk(
        naming.last_component(name.strip()),
        udid.strip(),
        _bytes(float(capacity or 0)),
        label.strip(),
    )


def _bytes(gib: float | None) -> int:
    return round((gib or 0) * units.Gi)


def _names(names: Iterator[str] | Any) -> str:
    return ', '.join(sorted(names)) or 'none'
