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

"""Values that every partition shows, client partition or VIOS.

Sizes of memory are in MB, processing units in fractions of a processor.
"""

from __future__ import annotations

from pvm_imagecache.simulator import schema

_FALSE = 'false'
_TRUE = 'true'

Strings = dict[str, str]


def common() -> dict[str, schema.Value]:
    return {
        'AllowPerformanceDataCollection': _FALSE,
        'AvailabilityPriority': '127',
        'CurrentProcessorCompatibilityMode': 'POWER8',
        'CurrentProfileSync': 'Disabled',
        'IsConnectionMonitoringEnabled': _FALSE,
        'IsOperationInProgress': _FALSE,
        'IsRedundantErrorPathReportingEnabled': _FALSE,
        'IsTimeReferencePartition': _FALSE,
        'IsVirtualServiceAttentionLEDOn': _FALSE,
        'IsVirtualTrustedPlatformModuleEnabled': _FALSE,
        'KeylockPosition': 'normal',
        'PartitionCapabilities': {
            'DynamicLogicalPartitionIOCapable': _TRUE,
            'DynamicLogicalPartitionMemoryCapable': _TRUE,
            'DynamicLogicalPartitionProcessorCapable': _TRUE,
            'InternalAndExternalIntrusionDetectionCapable': _TRUE,
            'ResourceMonitoringControlOperatingSystemShutdownCapable': _TRUE,
        },
        'PendingProcessorCompatibilityMode': 'default',
        'PowerOnWithHypervisor': _FALSE,
    }


def memory(wanted: Strings, *, running: bool) -> dict[str, schema.Value]:
    """Memory configuration from Desired-, Maximum- and MinimumMemory."""
    desired = wanted['DesiredMemory']
    maximum = wanted.get('MaximumMemory', desired)
    minimum = wanted.get('MinimumMemory', desired)
    now = desired if running else '0'
    return {
        'ActiveMemoryExpansionEnabled': _FALSE,
        'ActiveMemorySharingEnabled': _FALSE,
        'DesiredMemory': desired,
        'ExpansionFactor': wanted.get('ExpansionFactor', '0.0'),
        'HardwarePageTableRatio': '7',
        'MaximumMemory': maximum,
        'MinimumMemory': minimum,
        'CurrentExpansionFactor': '0.0',
        'CurrentHardwarePageTableRatio': '7',
        'CurrentMaximumMemory': maximum,
        'CurrentMemory': desired,
        'CurrentMinimumMemory': minimum,
        'MemoryExpansionEnabled': _FALSE,
        'RuntimeMemory': now,
        'RuntimeMinimumMemory': minimum if running else '0',
        'SharedMemoryEnabled': _FALSE,
    }


def shared_processors(wanted: Strings, mode: str) -> dict[str, schema.Value]:
    """Processor configuration from the shared configuration wanted."""
    units = wanted['DesiredProcessingUnits']
    processors = wanted['DesiredVirtualProcessors']
    shared: Strings = {
        'DesiredProcessingUnits': units,
        'DesiredVirtualProcessors': processors,
        'MaximumProcessingUnits': units,
        'MaximumVirtualProcessors': processors,
        'MinimumProcessingUnits': units,
        'MinimumVirtualProcessors': processors,
        'SharedProcessorPoolID': '0',
        'UncappedWeight': '128',
        **wanted,
    }
    return {
        'HasDedicatedProcessors': _FALSE,
        'SharedProcessorConfiguration': shared,
        'SharingMode': mode,
        'CurrentHasDedicatedProcessors': _FALSE,
        'CurrentSharingMode': mode,
        'RuntimeHasDedicatedProcessors': _FALSE,
        'CurrentSharedProcessorConfiguration': {
            'AllocatedVirtualProcessors': processors,
            'CurrentMaximumProcessingUnits': shared['MaximumProcessingUnits'],
            'CurrentMinimumProcessingUnits': shared['MinimumProcessingUnits'],
            'CurrentProcessingUnits': units,
            'CurrentSharedProcessorPoolID': shared['SharedProcessorPoolID'],
            'CurrentUncappedWeight': shared['UncappedWeight'],
            'CurrentMinimumVirtualProcessors': shared[
                'MinimumVirtualProcessors'
            ],
            'CurrentMaximumVirtualProcessors': shared[
                'MaximumVirtualProcessors'
            ],
            'RuntimeProcessingUnits': units,
            'RuntimeUncappedWeight': shared['UncappedWeight'],
        },
    }


def dedicated_processors(
    wanted: Strings, mode: str
) -> dict[str, schema.Value]:
    """Processor configuration from the dedicated configuration wanted."""
    desired = wanted['DesiredProcessors']
    maximum = wanted.get('MaximumProcessors', desired)
    minimum = wanted.get('MinimumProcessors', desired)
    return {
        'DedicatedProcessorConfiguration': {
            'DesiredProcessors': desired,
            'MaximumProcessors': maximum,
            'MinimumProcessors': minimum,
        },
        'HasDedicatedProcessors': _TRUE,
        'SharingMode': mode,
        'CurrentHasDedicatedProcessors': _TRUE,
        'CurrentSharingMode': mode,
        'CurrentDedicatedProcessorConfiguration': {
            'CurrentMaximumProcessors': maximum,
            'CurrentMinimumProcessors': minimum,
            'CurrentProcessors': desired,
        },
        'RuntimeHasDedicatedProcessors': _TRUE,
    }
