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

An update sends the whole volume group: PowerVM creates a virtual disk that
has no UDID, and deletes one that is missing. So every change is a read, which
returns an ETag, and an update with If-Match. If another process changed the
volume group in between, the update is refused with HTTP 412, and both are
repeated. The tasks of pypowervm lose the ETag, and with it disks of others.

Changes that wait at the same time go into one update, see
:mod:`~pvm_imagecache.drivers.localdisk.change_queue`.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import http
import math
import threading
import time
from typing import Any
from typing import Final

from lxml import etree
from oslo_log import log as logging
from pypowervm import const as pvm_const
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import platform_facts
from pvm_imagecache import text
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import copy_time
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import change_queue
from pvm_imagecache.drivers.localdisk import changes
from pvm_imagecache.drivers.localdisk import unanswered
from pvm_imagecache.drivers.localdisk import vg_document
from pvm_imagecache.system import locks
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

#: How often an update is repeated after its answer was lost.
LOST_ANSWERS: Final = 3
#: Seconds that an update with copies may take at least.
COPY_TIMEOUT: Final = copy_time.LEAST_LIMIT
#: How many times its limit an update with copies is awaited after that, and
#: how many seconds in addition.
_PATIENCE: Final = 4
_LEAST_PATIENCE: Final = 60.0
#: Seconds for which a deletion may start from a document read before.
_KEPT_FOR: Final = 10.0

_REFUSED: Final = platform_facts.ConcurrentUpdates.REFUSED
_UOM: Final = f'{{{pvm_const.UOM_NS}}}'
_MAPPINGS_PATH: Final = f'{_UOM}VirtualSCSIMappings'
_MAPPED_DISKS: Final = etree.XPath(
    'count(u:VirtualSCSIMapping/u:Storage/u:VirtualDisk)',
    namespaces={'u': pvm_const.UOM_NS},
)


class VolumeGroup:
    """A volume group of one Virtual I/O Server.

    :param adapters: the session with PowerVM.
    :param vios_uuid: of the Virtual I/O Server that owns it.
    :param uuid: of the volume group.
    :param name: of the volume group.
    :param lock_directory: serializes changes with those of other processes.
    :param lock_timeout: seconds to wait for the lock; longer if the process
        that holds it has announced an update that takes longer.
    :ivar gone: whether the last read failed because the volume group no
        longer exists: it was created again, or another server owns it.
    :ivar vios_level: version of the VIOS when it was found; '' if it
        reports none.
    :ivar facts: returns what was measured of the platform.
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
        self.gone = False
        self.vios_level = ''
        self.facts: platform_facts.Source = platform_facts.PlatformFacts
        self._adapters = adapters
        self._locks = lock_directory
        self._lock_timeout = lock_timeout
        self._queue = change_queue.ChangeQueue(
            name, self._update, self.exclusive, self._most_copied
        )
        self._guard = threading.Lock()
        self._kept: tuple[vg_document.Document, float] | None = None
        #: While this process holds the lock of the volume group.
        self._lock: locks.Held | None = None

    def read(self) -> vg_document.Document:
        """Return the volume group as it is now: one GET.

        :returns: a document of its own for each caller.
        :raises PowerVMRequestFailed: if PowerVM refuses the request; the
            volume group is :attr:`gone` if it answers 404.
        :raises PowerVMUnreachable: if PowerVM does not answer.
        """
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
            return vg_document.Document(powervm.retry_read(get))
        except exceptions.PowerVMRequestFailed as error:
            if powervm.status_of(error) == http.HTTPStatus.NOT_FOUND:
                self.gone = True
            raise

    def keep(self, document: vg_document.Document) -> None:
        """Let the next deletion start from a document that was just read.

        The ETag of the document shows whether it is current. If it is not,
        PowerVM refuses the update, and the deletion reads again.

        :param document: belongs to the volume group from now on; the caller
            must not use it any more.
        """
        with self._guard:
            self._kept = document, time.monotonic()

    def mapped(self, disks: Sequence[base.Disk]) -> set[base.Disk]:
        """Return the disks that have a vSCSI mapping: one GET.

        :param disks: disks to look for.
        :returns: those of them whose name or UDID is in a mapping.
        :raises PowerVMError: if the mappings cannot be read.
        """
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
        # There may be ten thousand mappings, with half a million elements.
        texts = [each.text or '' for each in found.iter(vg_document.NAME_TAG)]
        names = {naming.last_component(text.strip()) for text in texts}
        # Adapters have UDIDs too, but no disk has the UDID of an adapter.
        udids = (
            set()
            if len(texts) == _MAPPED_DISKS(found)
            else {
                (each.text or '').strip()
                for each in found.iter(vg_document.UDID_TAG)
            }
        )
        return {
            disk for disk in disks if disk.name in names or disk.udid in udids
        }

    def change(
        self, operations: Sequence[changes.Operation]
    ) -> list[base.Disk]:
        """Carry out operations, all of them or none: one GET, one POST.

        :param operations: of one caller.
        :returns: the disks that were created, in the order of the operations.
        :raises DiskExists: if the name of a new disk is taken.
        :raises DiskExistsElsewhere: if another volume group of the VIOS has
            a disk of that name.
        :raises NotEnoughSpace: if the new disks do not fit.
        :raises TooManyDisks: if it has all the logical volumes that it can.
        :raises BaseImageGone: if the source of a copy no longer exists, is
            another disk, or is no longer valid.
        :raises VolumeGroupChanged: if other processes changed the volume
            group during each attempt.
        :raises DiskUnclear: if the answer does not show a new disk.
        :raises UpdateNotMade: if PowerVM did not answer the update in time,
            and did not carry it out.
        :raises UpdateUnanswered: if it did not answer the update, and
            whether it carries it out is not known.
        :raises PowerVMUnreachable: if PowerVM does not answer.
        :raises PowerVMRequestFailed: if PowerVM refuses the update.
        """
        return self._queue.submit(changes.Request(operations))

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock of the volume group.

        The ETag protects the disks even without it. So if the lock cannot
        be had, the change is made nevertheless.

        :returns: a context manager that holds the lock.
        """
        name, started = f'vg-{self.uuid}', time.monotonic()

        def seconds_left() -> float:
            left = self._lock_timeout - (time.monotonic() - started)
            return left if left > 0 else self._locks.announced(name)

        with contextlib.ExitStack() as held:
            try:
                self._lock = held.enter_context(
                    self._locks.hold(name, self._lock_timeout and seconds_left)
                )
                held.callback(setattr, self, '_lock', None)
            except exceptions.CacheFault as error:
                LOG.warning(
                    'Changing volume group %(name)s without locking: '
                    '%(error)s',
                    {'name': self.name, 'error': error},
                )
            yield

    def _update(self, batch: list[changes.Request]) -> None:
        lost = 0
        unanswered_requests: dict[changes.Request, Exception] = {}
        for attempt in powervm.update_attempts(
            self._met_another, self._orphaned_for()
        ):
            if attempt.number == powervm.UPDATE_ATTEMPTS:
                LOG.warning(
                    'Volume group %(name)s: PowerVM refuses updates. It may '
                    'still work on one of a crashed process; this update is '
                    'retried for up to %(seconds)d s.',
                    {'name': self.name, 'seconds': self._orphaned_for()},
                )
            document = (
                self.read() if attempt.number else self._start_from(batch)
            )
            pending = changes.apply(document, batch, self._adapters())
            self._explain_taken(document, unanswered_requests)
            if not pending:
                return
            before = document.udids
            limit = self._time_for(pending)
            self._announce(limit)
            try:
                with attempt.update():
                    with self._adapters.translated(
                        f'change volume group {self.name}'
                    ):
                        wrapper = document.wrapper.update(timeout=limit)
                    after = self._answered(wrapper)
                    changes.confirm(after, pending, before)
                    return
            except exceptions.PowerVMUnreachable as error:
                LOG.warning(
                    'Volume group %(name)s: the answer to an update was '
                    'lost: %(error)s',
                    {'name': self.name, 'error': error},
                )
                if changes.new_disks(pending):
                    self._resolve(error, pending, before, limit)
                elif isinstance(error, exceptions.PowerVMTimedOut):
                    raise
                if all(each.done for each in pending):
                    return
                unanswered_requests |= dict.fromkeys(pending, error)
                lost += 1
                if lost > LOST_ANSWERS:
                    raise
                attempt.pause()
            except exceptions.PowerVMRequestFailed as error:
                self._undo_refused(error, pending, before)
                limit_known = (
                    document.max_disks or self.facts().logical_volume_limit
                )
                changes.raise_if_too_many(
                    error,
                    document,
                    pending,
                    limit_known,
                    is_unexplained=False,
                )
                changes.raise_if_full(error, document, pending, self.facts())
                self._raise_if_taken(error, pending)
                changes.raise_if_too_many(
                    error, document, pending, limit_known, is_unexplained=True
                )
                raise
        raise exceptions.VolumeGroupChanged(
            name=self.name, attempts=attempt.number + 1
        )

    def _answered(self, wrapper: Any) -> vg_document.Document:
        """Return the answer of an update, of which all disks are read.

        :raises AnswerUnusable: if it has values that cannot be used.
        """
        try:
            after = vg_document.Document(wrapper)
            # The capacities of disks are read when they are used.
            _ = after.udids
        except exceptions.PowerVMError as error:
            raise powervm.unusable(
                self._adapters.connection,
                f'has invalid values: {text.one_line(error)}',
            ) from error
        return after

    def _met_another(self, error: exceptions.PowerVMRequestFailed) -> bool:
        """Return whether an update was refused because of another one.

        HTTP 409 has other causes, too, unless this platform was seen to
        refuse one of two updates. A VIOS can be busy with the update of a
        process that ended.
        """
        return (
            powervm.is_conflict(error)
            or (
                powervm.status_of(error) == http.HTTPStatus.CONFLICT
                and self.facts().concurrent_updates is _REFUSED
            )
            or (
                isinstance(error, exceptions.PowerVMBusy)
                and self._orphaned_for() > 0
            )
        )

    def _orphaned_for(self) -> float:
        """Return for how long an update of a crashed process may go on.

        PowerVM may refuse all others for so long.
        """
        return self._lock.orphaned() if self._lock else 0.0

    def _start_from(
        self, batch: Sequence[changes.Request]
    ) -> vg_document.Document:
        """Return the document that was kept, if it will do, or a new one."""
        with self._guard:
            kept, self._kept = self._kept, None
        if kept is None:
            return self.read()
        document, kept_at = kept
        # A disk that is not in it may have been created since.
        is_usable = all(
            isinstance(operation, changes.Delete)
            and document.has(operation.disk)
            for each in batch
            for operation in each.operations
        )
        if is_usable and time.monotonic() - kept_at < _KEPT_FOR:
            return document
        return self.read()

    def _resolve(
        self,
        error: exceptions.PowerVMUnreachable,
        pending: Sequence[changes.Request],
        before: set[str],
        limit: float,
    ) -> None:
        """End the requests of an update without an answer, as far as known.

        Those that were carried out are done. Those that were not are left
        to be sent again, but only if PowerVM certainly does not work on
        them, made no copy for them, and the time was not over. All others
        fail.
        """
        has_timed_out = isinstance(error, exceptions.PowerVMTimedOut)
        self._announce(self._patience(pending, limit))
        try:
            with waiting.on('PowerVM'):
                after = unanswered.settled(
                    self.read,
                    self._adapters.translated,
                    self._patience(pending, limit),
                    self.facts().stale_etag_refused is not False,
                )
            surplus = changes.take(
                after.document,
                pending,
                before,
                after.is_final,
                keeps_labels=self.facts().keeps_labels,
            )
            self._delete(surplus)
        except exceptions.PowerVMError as failure:
            LOG.warning(
                'Volume group %(name)s: what became of an update is not '
                'known: %(error)s',
                {'name': self.name, 'error': failure},
            )
            # An empty disk may be created twice: its label identifies it.
            self._fail(
                [each for each in pending if has_timed_out or each.copies],
                exceptions.UpdateUnanswered,
                error,
            )
            if all(each.done for each in pending):
                return
            # The refusal of an inquiry is not one of the update.
            raise error from failure
        if not after.is_final:
            self._fail(pending, exceptions.UpdateUnanswered, error)
        elif has_timed_out:
            self._fail(pending, exceptions.UpdateNotMade, error)
        else:
            self._fail(
                [each for each in surplus.values() if each.copies],
                exceptions.UpdateNotMade,
                error,
            )

    def _explain_taken(
        self,
        document: vg_document.Document,
        unanswered_requests: Mapping[changes.Request, Exception],
    ) -> None:
        """Fail requests whose names are in use by what they have created.

        Their update was not answered. The records of the disks must stay, so
        that a cleanup run deletes them.
        """
        for request, error in unanswered_requests.items():
            if not isinstance(request.error, exceptions.DiskExists):
                continue
            ours = changes.unanswered(
                request.new_disks,
                document.disks,
                (),
                keeps_labels=self.facts().keeps_labels,
            )
            if request.error.name in {disk.name for disk in ours}:
                request.done = False
                self._fail([request], exceptions.UpdateUnanswered, error)

    def _fail(
        self,
        requests: Iterable[changes.Request],
        kind: type[exceptions.UpdateUnanswered | exceptions.UpdateNotMade],
        reason: Exception,
    ) -> None:
        for each in requests:
            if not each.done:
                each.fail(
                    kind(
                        pool=f'Volume group {self.name}',
                        what=each.names,
                        action=f'change volume group {self.name}',
                        reason=str(reason),
                    )
                )

    def _undo_refused(
        self,
        error: exceptions.PowerVMRequestFailed,
        pending: Sequence[changes.Request],
        before: set[str],
    ) -> None:
        """Delete the disks that PowerVM made before it refused an update.

        :raises UpdateUnanswered: if they could not be deleted.
        """
        wanted = changes.new_disks(pending)
        if not wanted or (
            len(wanted) == 1
            and not any(each.copies for each in pending)
            and not powervm.may_be_done(error)
        ):
            return
        # A disk whose name was in use belongs to another client, and one
        # that was requested without a label may do so.
        names = [each.name for each in wanted]
        doubtful = {
            *changes.names_in_use(error, names, self.facts()),
            *(each.name for each in wanted if not each.label),
        }
        try:
            self._delete(
                changes.unanswered(
                    wanted,
                    self.read().disks,
                    before,
                    doubtful,
                    keeps_labels=self.facts().keeps_labels,
                )
            )
        except exceptions.PowerVMError as failure:
            LOG.warning(
                'Volume group %(name)s: could not delete what a refused '
                'update may have made: %(error)s',
                {'name': self.name, 'error': failure},
            )
            # So the records of the disks stay for the next cleanup run.
            raise exceptions.UpdateUnanswered(
                pool=f'Volume group {self.name}',
                what=', '.join(names),
                action=f'change volume group {self.name}',
                reason=str(error),
            ) from error

    def _delete(self, disks: Iterable[base.Disk]) -> None:
        """Delete disks that an update made, of which no caller knows."""
        disks = list(disks)
        for attempt in powervm.update_attempts(
            self._met_another, self._orphaned_for()
        ):
            if not disks:
                return
            document = self.read()
            disks = [each for each in disks if document.has(each)]
            mapped = self.mapped(disks) if disks else set()
            disks = [each for each in disks if each not in mapped]
            for each in disks:
                LOG.info(
                    'Deleting disk %s, which an update without success made',
                    each.name,
                )
                document.delete(each)
            if not disks:
                return
            with (
                attempt.update(),
                self._adapters.translated(f'change volume group {self.name}'),
            ):
                document.wrapper.update(
                    timeout=self._adapters.connection.timeout
                )
                return
        raise exceptions.VolumeGroupChanged(
            name=self.name, attempts=attempt.number + 1
        )

    def _raise_if_taken(
        self,
        error: exceptions.PowerVMRequestFailed,
        pending: Sequence[changes.Request],
    ) -> None:
        """Raise DiskExistsElsewhere if a name is taken on the VIOS.

        Names are unique on a VIOS (AIX message 0516-360). The wording of the
        refusal is not known of all platforms, so the other volume groups are
        read after each one.
        """
        names = [new.name for new in changes.new_disks(pending)]
        if not names or error.transient:
            return
        if self.facts().names_per_vios is False:
            return
        try:
            others = self.others()
        except exceptions.PowerVMError as failure:
            LOG.warning(
                'Could not read the other volume groups of the Virtual I/O '
                'Server, to find out whether a name is in use: %s',
                failure,
            )
            others = []
        for group in others:
            for name in names:
                if group.named(name):
                    raise exceptions.DiskExistsElsewhere(
                        name=name, pool=f'volume group {group.name}'
                    ) from error
        taken = changes.name_in_use(error, names, self.facts())
        if taken is not None:
            raise exceptions.DiskExistsElsewhere(
                name=taken, pool='another volume group'
            ) from error

    def others(self) -> list[vg_document.Document]:
        """Return the other volume groups of the VIOS: one GET.

        :returns: their documents.
        :raises PowerVMError: if they cannot be read.
        """
        adapter = self._adapters()

        def get() -> Any:
            with self._adapters.translated('list the volume groups'):
                return pvm_storage.VG.get(
                    adapter,
                    parent_type=pvm_vios.VIOS.schema_type,
                    parent_uuid=self.vios_uuid,
                )

        return [
            vg_document.Document(group)
            for group in powervm.retry_read(get)
            if group.uuid.lower() != self.uuid.lower()
        ]

    def _announce(self, seconds: float) -> None:
        """Announce to waiting processes how long the lock may be held."""
        held = self._lock
        if held is not None:
            held.announce(seconds)

    def _time_for(self, pending: Sequence[changes.Request]) -> int:
        """Return the timeout of an update, in seconds."""
        timeout = self._adapters.connection.timeout
        if not any(request.copies for request in pending):
            return timeout
        return math.ceil(
            copy_time.time_limit(
                sum(request.copied for request in pending),
                self.facts().copy_rate,
                max(timeout, COPY_TIMEOUT),
            )
        )

    def _patience(
        self, pending: Sequence[changes.Request], limit: float
    ) -> float:
        """Return how long an update is awaited whose answer was lost.

        A copy that takes longer than expected goes on. As long as PowerVM
        works on it, a deploy cannot create another disk instead.
        """
        if any(request.copies for request in pending):
            return _PATIENCE * limit + _LEAST_PATIENCE
        return limit

    def _most_copied(self) -> int:
        return copy_time.size_in(COPY_TIMEOUT, self.facts().copy_rate)


def find(
    adapters: powervm.AdapterSource,
    name: str,
    vios_name: str | None,
    lock_directory: locks.LockDirectory,
) -> VolumeGroup:
    """Find a volume group by name among the VIOSes of the host.

    :param adapters: the session with PowerVM.
    :param name: of the volume group.
    :param vios_name: of the VIOS that owns it; None to search all.
    :param lock_directory: see :class:`VolumeGroup`.
    :returns: the volume group.
    :raises VIOSNotFound: if the host has no VIOS of that name.
    :raises VolumeGroupNotFound: if no VIOS has a volume group of that name.
    :raises VolumeGroupNotVisible: if none of those has that answered.
    :raises VolumeGroupAmbiguous: if several VIOSes have one.
    :raises SeveralSystems: if they belong to several managed systems.
    :raises PowerVMError: if the list of VIOSes cannot be read.
    """
    adapter = adapters()
    with adapters.translated('list the Virtual I/O Servers'):
        servers = list(pvm_vios.VIOS.get(adapter))
    if vios_name:
        chosen = [each for each in servers if each.name == vios_name]
        if not chosen:
            raise exceptions.VIOSNotFound(
                name=vios_name, known=_names(each.name for each in servers)
            )
        servers = chosen
    groups, failures = _groups_of(adapters, servers)
    found = [(server, group) for server, group in groups if group.name == name]
    if not found:
        raise _not_found(name, vios_name, groups, failures)
    if len(found) > 1:
        raise _ambiguous(name, [server for server, _ in found])
    server, group = found[0]
    made = VolumeGroup(adapters, server.uuid, group.uuid, name, lock_directory)
    made.vios_level = server.operating_system
    return made


def _groups_of(
    adapters: powervm.AdapterSource, servers: Iterable[Any]
) -> tuple[list[tuple[Any, Any]], dict[str, exceptions.PowerVMError]]:
    """Return the volume groups of VIOSes, and the errors of the others.

    One of two VIOSes is usually down while it is updated.
    """
    adapter = adapters()
    groups: list[tuple[Any, Any]] = []
    failures: dict[str, exceptions.PowerVMError] = {}
    for server in servers:
        try:
            with adapters.translated(
                f'list the volume groups of Virtual I/O Server {server.name}'
            ):
                groups += [
                    (server, group)
                    for group in pvm_storage.VG.get(adapter, parent=server)
                ]
        except exceptions.PowerVMError as error:
            failures[server.name] = error
            LOG.warning('%s', error)
    return groups, failures


def _not_found(
    name: str,
    vios_name: str | None,
    groups: Iterable[tuple[Any, Any]],
    failures: Mapping[str, exceptions.PowerVMError],
) -> exceptions.PowerVMError:
    known = _names(
        f'{group.name} on {server.name}' for server, group in groups
    )
    if failures:
        reason = next(iter(failures.values()))
        if known == _names([]):
            # Not only the volume group is out of reach.
            return reason
        return exceptions.VolumeGroupNotVisible(
            name=name, silent=_names(failures), known=known, reason=str(reason)
        )
    return exceptions.VolumeGroupNotFound(
        name=name, where=f' on {vios_name}' if vios_name else '', known=known
    )


def _ambiguous(name: str, servers: Sequence[Any]) -> exceptions.PowerVMError:
    known = _names(server.name for server in servers)
    if len({server.assoc_sys_uuid for server in servers}) > 1:
        return exceptions.SeveralSystems(name=name, known=known)
    return exceptions.VolumeGroupAmbiguous(name=name, known=known)


def _names(names: Iterable[str]) -> str:
    return ', '.join(sorted(names)) or 'none'
