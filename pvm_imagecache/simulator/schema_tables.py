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

"""The layouts of the types that the simulator serves.

Element order, permission codes (kb), schema versions and groups are those of
the answers of real servers that are recorded in pypowervm's wheel; elements
that the recordings lack follow the child orders of pypowervm's wrappers. The
fidelity test compares the two.
"""

from __future__ import annotations

from pvm_imagecache.simulator import schema


def _indent(text: str, depth: int) -> str:
    return '\n'.join(' ' * depth + line for line in text.splitlines())


HTTP_ERROR = schema.table(
    'HttpErrorResponse',
    'web',
    'V1_2_0',
    """
HTTPStatus ROR
RequestURI ROR
ReasonCode ROR
Message ROO
RequestBody ROO
RequestHeaders ROO
""",
)

FILE = schema.table(
    'File',
    'web',
    'V1_0',
    """
Filename COR
DateModified ROR
InternetMediaType COR
FileUUID ROR
AssetLink ROR
SHA256 COD
ExpectedFileSizeInBytes COD
CurrentFileSizeInBytes ROR
FileEnumType COR
TargetVirtualIOServerUUID COR
TargetDeviceUniqueDeviceID COR
""",
)

VOLUME_GROUP = schema.table(
    'VolumeGroup',
    'uom',
    'V1_2_0',
    """
AvailableSize ROR
FreeSpace ROR
GroupCapacity CUR
GroupName CUR
GroupSerialID ROR
MaximumLogicalVolumes ROR
MediaRepositories CUD *
    VirtualMediaRepository - *
        OpticalMedia CUD *
            VirtualOpticalMedia - *
                MediaName CUR
                MediaUDID ROR
                MountType CUD
                Size CUR
        RepositoryName CUR
        RepositorySize CUR
PhysicalVolumes CUD *
    PhysicalVolume - *
        Description CUD
        LocationCode ROR
        ReservePolicy CUD
        ReservePolicyAlgorithm CUD
        UniqueDeviceID ROR
        AvailableForUsage CUD
        VolumeCapacity CUR
        VolumeName CUR
        VolumeState ROR
        VolumeUniqueID ROR
        IsFibreChannelBacked ROR
UniqueDeviceID ROR
VirtualDisks CUD *
    VirtualDisk - *
        ReadIOPS CUD V1_7_0
        WriteIOPS CUD V1_7_0
        Tag CUD V1_9_0
        DiskCapacity CUR
        DiskLabel CUR
        DiskName CUR
        VolumeGroup ROR
        BaseImage COD
        UniqueDeviceID ROR
        VirtualDiskType COD V1_5_0
        BackStoreType COD V1_5_0
        FileFormat COD V1_5_0
""",
)

MANAGED_SYSTEM = schema.table(
    'ManagedSystem',
    'uom',
    'V1_3_0',
    """
AssociatedLogicalPartitions CUD
    link -
AssociatedSystemCapabilities CUD *
    ActiveLogicalPartitionMobilityCapable ROO
    ActiveMemoryExpansionCapable ROO
    AIXCapable ROO
    IBMiCapable ROO
    IBMiLogicalPartitionMobilityCapable ROO
    IBMiRestrictedIOModeCapable ROO
    InactiveLogicalPartitionMobilityCapable ROO
    LinuxCapable ROO
    LogicalPartitionAvailabilityPriorityCapable ROO
    LogicalPartitionProcessorCompatibilityModeCapable ROO
    LogicalPartitionRemoteRestartCapable ROO
    MicroLogicalPartitionCapable ROO
    SharedProcessorPoolCapable ROO
    VirtualEthernetCustomMACAddressCapable ROR
    VirtualNICDedicatedSRIOVCapable ROO
    VirtualNICFailOverCapable ROO V1_4_0
    DynamicSimplifiedRemoteRestartToggleCapable ROO V1_5_0
AssociatedSystemIOConfiguration CUD *
    AvailableWWPNs CUD
    IOAdapters CUD *
    IOBuses CUD *
    IOSlots CUD *
    WWPNPrefix CUD
AssociatedSystemMemoryConfiguration CUD *
    AllowedHardwarePageTableRations ROR
    ConfigurableSystemMemory ROR
    CurrentAvailableSystemMemory ROR
    CurrentLogicalMemoryBlockSize ROR
    DefaultHardwarePageTableRatio COR
    InstalledSystemMemory ROR
    MaximumMemoryPoolCount ROR
    MemoryRegionSize CUD
    MemoryUsedByHypervisor ROR
    PendingAvailableSystemMemory CUD
    PendingLogicalMemoryBlockSize CUD
    PendingMemoryRegionSize CUD
AssociatedSystemProcessorConfiguration CUD *
    ConfigurableSystemProcessorUnits ROR
    CurrentAvailableSystemProcessorUnits ROR
    CurrentMaximumProcessorsPerAIXOrLinuxPartition ROR
    CurrentMaximumProcessorsPerIBMiPartition ROR
    CurrentMaximumAllowedProcessorsPerPartition ROR
    CurrentMaximumProcessorsPerVirtualIOServerPartition ROR
    CurrentMaximumVirtualProcessorsPerAIXOrLinuxPartition ROR
    CurrentMaximumVirtualProcessorsPerIBMiPartition ROR
    CurrentMaximumVirtualProcessorsPerVirtualIOServerPartition ROR
    InstalledSystemProcessorUnits ROR
    MaximumAllowedVirtualProcessorsPerPartition ROR
    MinimumProcessorUnitsPerVirtualProcessor ROR
    PendingAvailableSystemProcessorUnits CUD
    SupportedPartitionProcessorCompatibilityModes ROR
AssociatedVirtualIOServers CUD
    link -
MachineTypeModelAndSerialNumber ROR *
    MachineType CUR
    Model CUR
    SerialNumber CUR
ManufacturingDefaultConfigurationEnabled ROR
MaximumPartitions CUD
PrimaryIPAddress CUR
State ROR
SystemName CUR
SystemMigrationInformation ROR *
    MaximumInactiveMigrations ROR
    MaximumActiveMigrations ROR
    NumberOfInactiveMigrationsInProgress ROR
    NumberOfActiveMigrationsInProgress ROR
IsPowerVMManagementMaster ROO V1_3_0
IsManagementPartitionPowerVMManagementMaster ROO V1_3_0
IsHMCPowerVMManagementMaster ROO V1_3_0
""",
)

# The parts that partitions and Virtual I/O Servers have in common.
_CAPABILITIES = """
PartitionCapabilities ROR *
    DynamicLogicalPartitionIOCapable ROR
    DynamicLogicalPartitionMemoryCapable ROR
    DynamicLogicalPartitionProcessorCapable ROR
    InternalAndExternalIntrusionDetectionCapable CUD
    ResourceMonitoringControlOperatingSystemShutdownCapable CUD
"""
_MEMORY = """
PartitionMemoryConfiguration CUD *
    ActiveMemoryExpansionEnabled CUD
    ActiveMemorySharingEnabled CUD
    DesiredMemory CUD
    ExpansionFactor CUD
    HardwarePageTableRatio CUD
    MaximumMemory CUD
    MinimumMemory CUD
    CurrentExpansionFactor ROR
    CurrentHardwarePageTableRatio ROR
    CurrentMaximumMemory ROR
    CurrentMemory ROR
    CurrentMinimumMemory ROR
    MemoryExpansionEnabled ROR
    RuntimeMemory ROR
    RuntimeMinimumMemory ROR
    SharedMemoryEnabled CUD
"""
_PROCESSORS = """
PartitionProcessorConfiguration CUD *
    DedicatedProcessorConfiguration CUD *
        DesiredProcessors CUD
        MaximumProcessors CUD
        MinimumProcessors CUD
    HasDedicatedProcessors CUD
    SharedProcessorConfiguration CUD *
        DesiredProcessingUnits CUD
        DesiredVirtualProcessors CUD
        MaximumProcessingUnits CUD
        MaximumVirtualProcessors CUD
        MinimumProcessingUnits CUD
        MinimumVirtualProcessors CUD
        SharedProcessorPoolID CUD
        UncappedWeight CUD
    SharingMode CUD
    CurrentHasDedicatedProcessors ROR
    CurrentSharingMode ROR
    CurrentDedicatedProcessorConfiguration ROR *
        CurrentMaximumProcessors ROR
        CurrentMinimumProcessors ROR
        CurrentProcessors ROR
    RuntimeHasDedicatedProcessors ROR
    CurrentSharedProcessorConfiguration ROR *
        AllocatedVirtualProcessors ROR
        CurrentMaximumProcessingUnits ROR
        CurrentMinimumProcessingUnits ROR
        CurrentProcessingUnits ROR
        CurrentSharedProcessorPoolID ROR
        CurrentUncappedWeight ROR
        CurrentMinimumVirtualProcessors ROR
        CurrentMaximumVirtualProcessors ROR
        RuntimeProcessingUnits ROR
        RuntimeUncappedWeight ROR
"""

VIRTUAL_IO_SERVER = schema.table(
    'VirtualIOServer',
    'uom',
    'V1_1_0',
    f"""
AllowPerformanceDataCollection CUD
AvailabilityPriority UOD
CurrentProcessorCompatibilityMode ROO
CurrentProfileSync CUD
IsConnectionMonitoringEnabled UOD
IsManagementPartition ROR
IsOperationInProgress ROR
IsRedundantErrorPathReportingEnabled UOD
IsTimeReferencePartition UOD
IsVirtualServiceAttentionLEDOn ROR
IsVirtualTrustedPlatformModuleEnabled UOD
KeylockPosition CUD
LogicalSerialNumber ROR
OperatingSystemVersion ROR
{_CAPABILITIES}
PartitionID COD
PartitionIOConfiguration CUD *
    MaximumVirtualIOSlots CUD
    ProfileIOSlots CUD *
    CurrentMaximumVirtualIOSlots ROR
{_MEMORY}
PartitionName CUR
{_PROCESSORS}
PartitionState ROO
PartitionType COD
PartitionUUID ROO
PendingProcessorCompatibilityMode CUD
ResourceMonitoringControlState ROR
ResourceMonitoringIPAddress CUD
AssociatedManagedSystem CUD
IsServicePartition CUD
PowerOnWithHypervisor CUD V1_2_0
APICapable CUD
ManagerPassthroughCapable CUD
IsVNICCapable CUD
MediaRepositories CUD @ViosStorage *
MoverServicePartition CUD
PhysicalVolumes CUD @ViosStorage *
SharedEthernetAdapters CUD @ViosNetwork *
StoragePools CUD @ViosStorage
    link -
TrunkAdapters CUD @ViosNetwork *
VirtualIOServerLicenseAccepted CUD
VirtualFibreChannelMappings CUD @ViosFCMapping *
VirtualSCSIMappings CUD @ViosSCSIMapping *
    VirtualSCSIMapping - *
        AssociatedLogicalPartition CUR
        ClientAdapter CUR *
            AdapterType ROR
            DynamicReconfigurationConnectorName CUD
            LocationCode ROR
            LocalPartitionID CUR
            RequiredAdapter CUD
            VariedOn CUD !
            VirtualSlotNumber COD
            RemoteLogicalPartitionID CUR
            RemoteSlotNumber CUA
            ServerLocationCode CUR
        ServerAdapter CUR *
            AdapterType ROR
            DynamicReconfigurationConnectorName CUD
            LocationCode ROR
            LocalPartitionID CUR
            RequiredAdapter CUD
            VariedOn CUD !
            VirtualSlotNumber COD
            AdapterName CUR
            BackingDeviceName CUR
            RemoteLogicalPartitionID CUR
            RemoteSlotNumber CUA
            ServerLocationCode CUR
            UniqueDeviceID ROR
        Storage CUR
            LogicalUnit - *
                ThinDevice CUR
                UniqueDeviceID ROR
                UnitCapacity COR
                LogicalUnitType COD
                ClonedFrom COD
                UnitName CUR
            VirtualDisk - *
                DiskCapacity CUR
                DiskLabel CUR
                DiskName CUR
                UniqueDeviceID ROR
                VirtualDiskType COD V1_5_0
                BackStoreType COD V1_5_0
                FileFormat COD V1_5_0
        TargetDevice CUR
            SharedStoragePoolLogicalUnitVirtualTargetDevice - *
                LogicalUnitAddress CUR
                TargetName CUR
                UniqueDeviceID ROR
            LogicalVolumeVirtualTargetDevice - *
                LogicalUnitAddress CUR
                TargetName CUR
                UniqueDeviceID ROR
""",
)

LOGICAL_PARTITION = schema.table(
    'LogicalPartition',
    'uom',
    'V1_2_0',
    f"""
AllowPerformanceDataCollection CUD
AvailabilityPriority UOD
CurrentProcessorCompatibilityMode ROO
CurrentProfileSync CUD
IsConnectionMonitoringEnabled UOD
IsOperationInProgress ROR
IsRedundantErrorPathReportingEnabled UOD
IsTimeReferencePartition UOD
IsVirtualServiceAttentionLEDOn ROR
IsVirtualTrustedPlatformModuleEnabled UOD
KeylockPosition CUD
LogicalSerialNumber ROR
OperatingSystemVersion ROR
{_CAPABILITIES}
PartitionID COD
PartitionIOConfiguration CUD *
    MaximumVirtualIOSlots CUD
    ProfileIOSlots CUD *
    CurrentMaximumVirtualIOSlots ROR
{_MEMORY}
PartitionName CUR
{_PROCESSORS}
PartitionState ROO
PartitionType COD
PartitionUUID ROO
PendingProcessorCompatibilityMode CUD
ResourceMonitoringControlState ROR
ResourceMonitoringIPAddress CUD
AssociatedManagedSystem CUD
IsServicePartition CUD
ReferenceCode ROO !
PowerOnWithHypervisor CUD V1_2_0
IsManagementPartition ROR
BootMode ROR
RemoteRestartCapable COD
SimplifiedRemoteRestartCapable COD V1_2_0
HasDedicatedProcessorsForMigration ROR
SuspendCapable CUD
MigrationState ROR
RemoteRestartState ROR
PowerManagementMode CUR
""",
)

_OPERATION = """
RequestedOperation CUR *
    OperationName ROR
    GroupName ROR
"""
_PARAMETERS = """
JobParameters CUR *
    JobParameter - *
        ParameterName ROR
        ParameterValue CUR
"""

JOB_REQUEST = schema.table(
    'JobRequest', 'web', 'V1_0', _OPERATION + _PARAMETERS
)

JOB_RESPONSE = schema.table(
    'JobResponse',
    'web',
    'V1_0',
    f"""
RequestURL ROR
TargetUuid ROR
JobID ROR
TimeStarted ROR
TimeCompleted ROR
Status ROR
JobRequestInstance ROR *
{_indent(_OPERATION, 4)}
{_indent(_PARAMETERS, 4)}
Results ROR *
    JobParameter - *
        ParameterName ROR
        ParameterValue CUR
""",
)

_LOGICAL_UNIT = """
ThinDevice CUR
UniqueDeviceID ROR
UnitCapacity COR
LogicalUnitType COD
ClonedFrom COD
InUse ROR
UnitName CUR
"""
_POOL_VOLUME = """
PhysicalVolume - *
    Description CUD
    UniqueDeviceID ROR
    VolumeCapacity CUR
    VolumeName CUR
    VolumeState ROR
    IsFibreChannelBacked ROR
"""


CLUSTER = schema.table(
    'Cluster',
    'uom',
    'V1_2_0',
    f"""
ClusterName COR
ClusterID CUD
RepositoryDisk CUD *
{_indent(_POOL_VOLUME, 4)}
ClusterSharedStoragePool CUD
Node CUD *
    Node - *
        HostName CUD
        PartitionID CUD
        MachineTypeModelAndSerialNumber CUD *
            MachineType CUR
            Model CUR
            SerialNumber CUR
        VirtualIOServerLevel CUD
        VirtualIOServer CUD
        State ROR V1_3_0
""",
)

SHARED_STORAGE_POOL = schema.table(
    'SharedStoragePool',
    'uom',
    'V1_2_0',
    f"""
LogicalUnits CUD *
    LogicalUnit - *
{_indent(_LOGICAL_UNIT, 8)}
MultiDataTierConfigured CUD
MultiFailureGroupConfigured CUD
PhysicalVolumes CUR *
{_indent(_POOL_VOLUME, 4)}
Capacity CUR
FreeSpace CUR
OverCommitSpace CUR
TotalLogicalUnitSize CUR
AlertThreshold CUD
StoragePoolName CUR
UniqueDeviceID ROR
""",
)

TIER = schema.table(
    'Tier',
    'uom',
    'V1_3_0',
    """
Name CUR V1_3_0
UniqueDeviceID ROR V1_3_0
Type CUD V1_3_0
IsDefault CUD V1_3_0
Capacity ROR V1_3_0
MirrorState ROR V1_3_0
AssociatedSharedStoragePool CUD V1_3_0
""",
)

LOGICAL_UNIT = schema.table('LogicalUnit', 'uom', 'V1_3_0', _LOGICAL_UNIT)
