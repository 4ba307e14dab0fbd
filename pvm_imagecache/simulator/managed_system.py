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

"""The managed system: the one host that is simulated."""

from __future__ import annotations

import collections.abc
import dataclasses
import time
import uuid as uuidlib

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables
from pvm_imagecache.simulator import state

_SYSTEM = 'managed_system'
MODEL = ('8247', '21L', '212C6AA')
# Memory in MB.
_MEMORY = '1048576'
_REGION = '256'
_UNITS = '160'
_MOST_VIRTUAL = 'CurrentMaximumVirtualProcessors'
_TRUE_CAPABILITIES = (
    'ActiveLogicalPartitionMobilityCapable',
    'AIXCapable',
    'LinuxCapable',
    'IBMiCapable',
    'IBMiLogicalPartitionMobilityCapable',
    'IBMiRestrictedIOModeCapable',
    'InactiveLogicalPartitionMobilityCapable',
    'LogicalPartitionAvailabilityPriorityCapable',
    'LogicalPartitionProcessorCompatibilityModeCapable',
    'MicroLogicalPartitionCapable',
    'SharedProcessorPoolCapable',
    'VirtualEthernetCustomMACAddressCapable',
    'VirtualNICDedicatedSRIOVCapable',
    'VirtualNICFailOverCapable',
)
_FALSE_CAPABILITIES = (
    'ActiveMemoryExpansionCapable',
    'LogicalPartitionRemoteRestartCapable',
    'DynamicSimplifiedRemoteRestartToggleCapable',
)


@dataclasses.dataclass(frozen=True)
class System:
    uuid: str
    created_ms: int


def load(store: state.Store) -> System:
    """The system of a state directory, made at first use."""
    for record in store.load(_SYSTEM).values():
        return System(**record)
    system = System(str(uuidlib.uuid4()), int(time.time() * 1000))
    store.save(_SYSTEM, system.uuid, dataclasses.asdict(system))
    return system


class ManagedSystems(resource.Resource):
    """The feed of one system."""

    layout = schema_tables.MANAGED_SYSTEM
    search_keys = frozenset({'SystemName'})

    def __init__(
        self,
        system: System,
        href: collections.abc.Callable[[str], str],
        partitions: collections.abc.Callable[[], list[str]],
        vioses: collections.abc.Callable[[], list[str]],
    ) -> None:
        """Wire it up.

        :param partitions: UUIDs of the client partitions.
        :param vioses: UUIDs of the Virtual I/O Servers.
        """
        self._system = system
        self._href = href
        self._partitions = partitions
        self._vioses = vioses

    def documents(self, parent: str | None) -> list[atom.Document]:
        return [
            atom.Document(
                self.layout,
                self._system.uuid,
                self._values(),
                self._system.created_ms,
            )
        ]

    def _links(self, name: str, uuids: list[str]) -> schema.Values:
        here = f'/rest/api/uom/ManagedSystem/{self._system.uuid}'
        return {
            'link': [
                schema.Link(self._href(f'{here}/{name}/{uuid}'))
                for uuid in uuids
            ]
        }

    def _values(self) -> schema.Values:
        machine, model, serial = MODEL
        return {
            'AssociatedLogicalPartitions': self._links(
                'LogicalPartition', self._partitions()
            ),
            'AssociatedSystemCapabilities': {
                **dict.fromkeys(_TRUE_CAPABILITIES, 'true'),
                **dict.fromkeys(_FALSE_CAPABILITIES, 'false'),
            },
            'AssociatedSystemIOConfiguration': {
                'AvailableWWPNs': '65535',
                'IOAdapters': {},
                'IOBuses': {},
                'IOSlots': {},
                'WWPNPrefix': '13857705832243593216',
            },
            'AssociatedSystemMemoryConfiguration': {
                'AllowedHardwarePageTableRations': ['5', '6', '7', '8', '9'],
                'ConfigurableSystemMemory': _MEMORY,
                'CurrentAvailableSystemMemory': _MEMORY,
                'CurrentLogicalMemoryBlockSize': _REGION,
                'DefaultHardwarePageTableRatio': '7',
                'InstalledSystemMemory': _MEMORY,
                'MaximumMemoryPoolCount': '1',
                'MemoryRegionSize': _REGION,
                'MemoryUsedByHypervisor': '4864',
                'PendingAvailableSystemMemory': _MEMORY,
                'PendingLogicalMemoryBlockSize': _REGION,
                'PendingMemoryRegionSize': _REGION,
            },
            'AssociatedSystemProcessorConfiguration': {
                'ConfigurableSystemProcessorUnits': _UNITS,
                'CurrentAvailableSystemProcessorUnits': _UNITS,
                'CurrentMaximumProcessorsPerAIXOrLinuxPartition': '64',
                'CurrentMaximumProcessorsPerIBMiPartition': '64',
                'CurrentMaximumAllowedProcessorsPerPartition': '256',
                'CurrentMaximumProcessorsPerVirtualIOServerPartition': '64',
                'CurrentMaximumVirtualProcessorsPerAIXOrLinuxPartition': '64',
                'CurrentMaximumVirtualProcessorsPerIBMiPartition': '64',
                f'{_MOST_VIRTUAL}PerVirtualIOServerPartition': '64',
                'InstalledSystemProcessorUnits': _UNITS,
                'MaximumAllowedVirtualProcessorsPerPartition': '256',
                'MinimumProcessorUnitsPerVirtualProcessor': '0.05',
                'PendingAvailableSystemProcessorUnits': _UNITS,
                'SupportedPartitionProcessorCompatibilityModes': [
                    'default',
                    'POWER6',
                    'POWER7',
                    'POWER8',
                ],
            },
            'AssociatedVirtualIOServers': self._links(
                'VirtualIOServer', self._vioses()
            ),
            'MachineTypeModelAndSerialNumber': {
                'MachineType': machine,
                'Model': model,
                'SerialNumber': serial,
            },
            'ManufacturingDefaultConfigurationEnabled': 'false',
            'MaximumPartitions': '200',
            'PrimaryIPAddress': '192.0.2.254',
            'State': 'operating',
            'SystemName': f'Server-{machine}-{model}-SN{serial}',
            'SystemMigrationInformation': {
                'MaximumInactiveMigrations': '16',
                'MaximumActiveMigrations': '16',
                'NumberOfInactiveMigrationsInProgress': '0',
                'NumberOfActiveMigrationsInProgress': '0',
            },
            'IsPowerVMManagementMaster': 'true',
            'IsManagementPartitionPowerVMManagementMaster': 'true',
            'IsHMCPowerVMManagementMaster': 'false',
        }
