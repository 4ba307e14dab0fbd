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

"""Virtual I/O Servers.

Their volume groups live in storage, their vSCSI mappings in mappings; this
module shows them.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import time
import uuid as uuidlib

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import partition_values
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables
from pvm_imagecache.simulator import state

_VIOS = 'vios'
_NAMESPACE = uuidlib.UUID('0d7a7a4e-6a3d-4a86-9d61-4d4e2a4e3f11')
SCSI_MAPPINGS = 'ViosSCSIMapping'


def partition_uuid(name: str) -> str:
    """PowerVM partition UUIDs are upper case, first nibble 0 to 7."""
    found = uuidlib.uuid5(_NAMESPACE, name)
    return str(uuidlib.UUID(int=found.int & ~(1 << 127))).upper()


@dataclasses.dataclass
class Vios:
    """A Virtual I/O Server; id is its partition id."""

    uuid: str
    id: int
    name: str
    created_ms: int


class VirtualIOServers(resource.Resource):
    """All Virtual I/O Servers of the host."""

    layout = schema_tables.VIRTUAL_IO_SERVER
    parents = (None, 'ManagedSystem')
    search_keys = frozenset(
        {'PartitionName', 'PartitionID', 'IsManagementPartition'}
    )

    def __init__(
        self,
        store: state.Store,
        href: collections.abc.Callable[[str], str],
        system_uuid: str,
        *,
        volume_groups: collections.abc.Callable[
            [str], collections.abc.Sequence[str]
        ],
        show_mappings: collections.abc.Callable[[Vios], list[schema.Values]],
        change_mappings: collections.abc.Callable[
            [Vios, resource.Change], None
        ],
        level: collections.abc.Callable[[], str],
    ) -> None:
        """Wire it up.

        :param volume_groups: UUIDs of a VIOS's volume groups.
        :param level: the version of all of them.
        """
        self._level = level
        self._store = store
        self._href = href
        self._system_uuid = system_uuid
        self._volume_groups = volume_groups
        self._show_mappings = show_mappings
        self._change_mappings = change_mappings
        found = [Vios(**record) for record in store.load(_VIOS).values()]
        self._vioses = {
            vios.uuid: vios for vios in sorted(found, key=lambda vios: vios.id)
        }

    def all(self) -> list[Vios]:
        return list(self._vioses.values())

    def add(self, name: str, partition_id: int) -> Vios:
        if any(vios.name == name for vios in self._vioses.values()):
            raise errors.bad_request(f'There is a VIOS {name} already.')
        vios = Vios(
            partition_uuid(name), partition_id, name, int(time.time() * 1000)
        )
        self._store.save(_VIOS, vios.uuid, dataclasses.asdict(vios))
        self._vioses[vios.uuid] = vios
        return vios

    def get(self, key: str) -> Vios:
        """By UUID or name."""
        for vios in self._vioses.values():
            if key.upper() == vios.uuid or key == vios.name:
                return vios
        raise errors.not_found(f'VirtualIOServer {key} does not exist.')

    def check(self, uuid: str) -> None:
        if uuid.upper() not in self._vioses:
            raise errors.not_found(f'VirtualIOServer {uuid} does not exist.')

    def documents(self, parent: str | None) -> list[atom.Document]:
        return [self._document(vios) for vios in self._vioses.values()]

    def update(
        self, uuid: str, parent: str | None, change: resource.Change
    ) -> None:
        vios = self.get(uuid)
        if change.covers(SCSI_MAPPINGS):
            self._change_mappings(vios, change)
        else:
            change.check()

    def _document(self, vios: Vios) -> atom.Document:
        here = f'/rest/api/uom/VirtualIOServer/{vios.uuid}'
        pools = [
            schema.Link(self._href(f'{here}/VolumeGroup/{group}'))
            for group in self._volume_groups(vios.uuid)
        ]
        processors = partition_values.shared_processors(
            {'DesiredProcessingUnits': '1', 'DesiredVirtualProcessors': '2'},
            'uncapped',
        )
        return atom.Document(
            self.layout,
            vios.uuid,
            {
                **partition_values.common(),
                'IsManagementPartition': 'false',
                'LogicalSerialNumber': f'2125D4A{vios.id}',
                'OperatingSystemVersion': self._level(),
                'PartitionID': str(vios.id),
                'PartitionIOConfiguration': {
                    'MaximumVirtualIOSlots': '2000',
                    'ProfileIOSlots': {},
                    'CurrentMaximumVirtualIOSlots': '2000',
                },
                'PartitionMemoryConfiguration': partition_values.memory(
                    {'DesiredMemory': '4096'}, running=True
                ),
                'PartitionName': vios.name,
                'PartitionProcessorConfiguration': processors,
                'PartitionState': 'running',
                'PartitionType': 'Virtual IO Server',
                'PartitionUUID': vios.uuid,
                'ResourceMonitoringControlState': 'active',
                'ResourceMonitoringIPAddress': f'192.0.2.{vios.id % 250}',
                'AssociatedManagedSystem': schema.Link(
                    self._href(
                        f'/rest/api/uom/ManagedSystem/{self._system_uuid}'
                    )
                ),
                'IsServicePartition': 'false',
                'APICapable': 'true',
                'ManagerPassthroughCapable': 'true',
                'IsVNICCapable': 'true',
                'MediaRepositories': {},
                'MoverServicePartition': 'true',
                'PhysicalVolumes': {},
                'SharedEthernetAdapters': {},
                'StoragePools': {'link': pools},
                'TrunkAdapters': {},
                'VirtualIOServerLicenseAccepted': 'true',
                'VirtualFibreChannelMappings': {},
                'VirtualSCSIMappings': {
                    'VirtualSCSIMapping': self._show_mappings(vios)
                },
            },
            vios.created_ms,
        )
