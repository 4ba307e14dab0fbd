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

"""Client partitions (LPARs): made, changed, powered, removed.

What the client asked for is kept; what follows from it (current and runtime
values) is worked out when a partition is shown.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import threading
import time
import typing
import uuid as uuidlib

from lxml import etree

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import partition_values
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables
from pvm_imagecache.simulator import state
from pvm_imagecache.simulator import vios

_PARTITION = 'partition'
MANAGEMENT = 'novalink'
# Top-level elements that clients set; all else is the server's.
_PLAIN = (
    'AllowPerformanceDataCollection',
    'AvailabilityPriority',
    'IsConnectionMonitoringEnabled',
    'KeylockPosition',
    'PendingProcessorCompatibilityMode',
    'PowerOnWithHypervisor',
    'RemoteRestartCapable',
    'SimplifiedRemoteRestartCapable',
    'SuspendCapable',
)
_TYPES = ('AIX/Linux', 'OS400')


@dataclasses.dataclass
class Partition:
    """A partition; the nested values are the client's."""

    uuid: str
    id: int
    name: str
    kind: str
    created_ms: int
    plain: dict[str, str]
    memory: dict[str, str]
    processors: dict[str, typing.Any]
    slots: str = '64'
    running: bool = False
    management: bool = False


class Partitions(resource.Resource):
    """All client partitions of the host."""

    layout = schema_tables.LOGICAL_PARTITION
    parents = (None, 'ManagedSystem')
    search_keys = frozenset(
        {'PartitionName', 'PartitionID', 'IsManagementPartition'}
    )

    def __init__(
        self,
        store: state.Store,
        href: collections.abc.Callable[[str], str],
        system_uuid: str,
        free_id: collections.abc.Callable[[], int],
        removed: collections.abc.Callable[[str], None],
        lock: threading.RLock,
    ) -> None:
        """Wire it up.

        :param free_id: a partition id that is not in use.
        :param removed: told of the UUID of each partition that is removed.
        """
        self._store = store
        self._href = href
        self._system_uuid = system_uuid
        self._free_id = free_id
        self._removed = removed
        self._lock = lock
        found = [
            Partition(**record) for record in store.load(_PARTITION).values()
        ]
        self._partitions = {
            item.uuid: item for item in sorted(found, key=lambda item: item.id)
        }

    def all(self) -> list[Partition]:
        return list(self._partitions.values())

    def get(self, uuid: str) -> Partition:
        found = self._partitions.get(uuid.upper())
        if found is None:
            raise errors.not_found(f'LogicalPartition {uuid} does not exist.')
        return found

    def find(self, uuid: str) -> Partition | None:
        return self._partitions.get(uuid.upper())

    def add_management_partition(self) -> None:
        """The partition that the REST server itself runs in."""
        with self._lock:
            if any(item.management for item in self._partitions.values()):
                return
            self._add(
                Partition(
                    vios.partition_uuid(MANAGEMENT),
                    self._free_id(),
                    MANAGEMENT,
                    'AIX/Linux',
                    _now(),
                    {},
                    {'DesiredMemory': '8192'},
                    _shared('0.5', '2'),
                    running=True,
                    management=True,
                )
            )

    def _add(self, partition: Partition) -> None:
        self._partitions[partition.uuid] = partition
        self._save(partition)

    def _save(self, partition: Partition) -> None:
        self._store.save(
            _PARTITION, partition.uuid, dataclasses.asdict(partition)
        )

    def power(self, uuid: str, *, running: bool) -> None:
        with self._lock:
            partition = self.get(uuid)
            partition.running = running
            self._save(partition)

    def documents(self, parent: str | None) -> list[atom.Document]:
        with self._lock:
            return [self._document(item) for item in self._partitions.values()]

    def create(self, element: etree._Element, parent: str | None) -> str:
        if parent is None:
            raise errors.bad_request(
                'A LogicalPartition is created in its ManagedSystem.'
            )
        values = self.layout.read(element)
        uuid = resource.text(element, 'PartitionUUID') or str(
            vios.partition_uuid(str(uuidlib.uuid4()))
        )
        _check_uuid(uuid)
        kind = _string(values, 'PartitionType') or 'AIX/Linux'
        if kind not in _TYPES:
            raise errors.bad_request(f'{kind} is not a PartitionType.')
        with self._lock:
            if uuid.upper() in self._partitions:
                raise errors.bad_request(
                    f'A partition with the UUID {uuid} exists already.'
                )
            partition = Partition(
                uuid.upper(),
                self._free_id(),
                '',
                kind,
                _now(),
                {},
                {'DesiredMemory': '1024'},
                _shared('0.1', '1'),
            )
            self._apply(partition, values)
            self._add(partition)
        return partition.uuid

    def update(
        self, uuid: str, parent: str | None, change: resource.Change
    ) -> None:
        values = self.layout.read(change.element)
        with self._lock:
            change.check()
            changed = dataclasses.replace(self.get(uuid))
            self._apply(changed, values)
            self._add(changed)

    def delete(
        self, uuid: str, parent: str | None, check: resource.Check
    ) -> None:
        with self._lock:
            partition = self.get(uuid)
            check()
            if partition.running:
                raise errors.bad_request(
                    f'HSCL0DB4 The partition {partition.name} cannot be '
                    'removed: it is running.'
                )
            with self._store.transaction():
                del self._partitions[partition.uuid]
                self._store.delete(_PARTITION, partition.uuid)
                self._removed(partition.uuid)

    def _apply(self, partition: Partition, values: schema.Values) -> None:
        """Take over what a client's document sets."""
        name = _string(values, 'PartitionName')
        if name is None or not 1 <= len(name) <= 31:
            raise errors.bad_request(
                'A partition needs a name of 1 to 31 characters.'
            )
        if any(
            other.name == name and other.uuid != partition.uuid
            for other in self._partitions.values()
        ):
            raise errors.bad_request(
                f'A partition named {name} exists already.'
            )
        partition.name = name
        partition.plain = partition.plain | {
            tag: value
            for tag in _PLAIN
            if (value := _string(values, tag)) is not None
        }
        memory = _strings(values.get('PartitionMemoryConfiguration'))
        partition.memory = partition.memory | {
            tag: memory[tag]
            for tag in (
                'DesiredMemory',
                'MaximumMemory',
                'MinimumMemory',
                'ExpansionFactor',
            )
            if tag in memory
        }
        slots = _strings(values.get('PartitionIOConfiguration'))
        partition.slots = slots.get('MaximumVirtualIOSlots', partition.slots)
        partition.processors = _processors(
            values.get('PartitionProcessorConfiguration'), partition.processors
        )

    def _document(self, item: Partition) -> atom.Document:
        active = 'active' if item.running else 'inactive'
        values: dict[str, schema.Value] = {
            **partition_values.common(),
            'RemoteRestartCapable': 'false',
            'SimplifiedRemoteRestartCapable': 'false',
            'SuspendCapable': 'false',
            **item.plain,
            'LogicalSerialNumber': f'2125D4A{item.id}',
            'OperatingSystemVersion': 'Linux' if item.running else 'Unknown',
            'PartitionID': str(item.id),
            'PartitionIOConfiguration': {
                'MaximumVirtualIOSlots': item.slots,
                'ProfileIOSlots': {},
                'CurrentMaximumVirtualIOSlots': item.slots,
            },
            'PartitionMemoryConfiguration': partition_values.memory(
                item.memory, running=item.running
            ),
            'PartitionName': item.name,
            'PartitionProcessorConfiguration': _processor_values(
                item.processors
            ),
            'PartitionState': 'running' if item.running else 'not activated',
            'PartitionType': item.kind,
            'PartitionUUID': item.uuid,
            'ResourceMonitoringControlState': active,
            'AssociatedManagedSystem': schema.Link(
                self._href(f'/rest/api/uom/ManagedSystem/{self._system_uuid}')
            ),
            'IsServicePartition': 'false',
            'ReferenceCode': 'Linux' if item.running else '00000000',
            'IsManagementPartition': str(item.management).lower(),
            'BootMode': 'Normal',
            'HasDedicatedProcessorsForMigration': 'false',
            'MigrationState': 'Not_Migrating',
            'RemoteRestartState': 'Invalid',
            'PowerManagementMode': 'None',
        }
        if item.running:
            values['ResourceMonitoringIPAddress'] = (
                f'198.51.100.{item.id % 250}'
            )
        return atom.Document(self.layout, item.uuid, values, item.created_ms)


def _check_uuid(uuid: str) -> None:
    try:
        number = uuidlib.UUID(uuid).int
    except ValueError:
        raise errors.bad_request(f'{uuid} is not a UUID.') from None
    if number >> 127:
        raise errors.bad_request(
            f'{uuid} is not a partition UUID: its first digit must be 0 to 7.'
        )


def _shared(units: str, processors: str) -> dict[str, typing.Any]:
    return {
        'mode': 'uncapped',
        'shared': {
            'DesiredProcessingUnits': units,
            'DesiredVirtualProcessors': processors,
        },
    }


def _processors(
    value: schema.Value | None, before: dict[str, typing.Any]
) -> dict[str, typing.Any]:
    """{mode, shared or dedicated}: what the client wants, else as before."""
    if not isinstance(value, collections.abc.Mapping):
        return before
    dedicated = _strings(value.get('DedicatedProcessorConfiguration'))
    shared = _strings(value.get('SharedProcessorConfiguration'))
    mode = _string(value, 'SharingMode')
    if _string(value, 'HasDedicatedProcessors') == 'true':
        return {
            'mode': mode or 'sre idle proces',
            'dedicated': {'DesiredProcessors': '1', **dedicated},
        }
    return {
        'mode': mode or 'uncapped',
        'shared': {
            'DesiredProcessingUnits': '0.1',
            'DesiredVirtualProcessors': '1',
            **shared,
        },
    }


def _processor_values(
    processors: dict[str, typing.Any],
) -> dict[str, schema.Value]:
    if 'dedicated' in processors:
        return partition_values.dedicated_processors(
            processors['dedicated'], processors['mode']
        )
    return partition_values.shared_processors(
        processors['shared'], processors['mode']
    )


def _string(values: schema.Values, tag: str) -> str | None:
    value = values.get(tag)
    return value if isinstance(value, str) and value else None


def _strings(value: schema.Value | None) -> dict[str, str]:
    if not isinstance(value, collections.abc.Mapping):
        return {}
    return {tag: item for tag, item in value.items() if isinstance(item, str)}


def _now() -> int:
    return int(time.time() * 1000)
