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

"""A cluster with its Shared Storage Pool, one tier, and logical units.

A linked clone is a logical unit of its own bytes here: what counts is that
it begins as its image and can be written to.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import re
import threading
import time
import uuid as uuidlib

from lxml import etree

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import disks
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import managed_system
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables
from pvm_imagecache.simulator import sizes
from pvm_imagecache.simulator import state
from pvm_imagecache.simulator import vios as vios_module

_CLUSTER = 'cluster'
_UNIT = 'logical_unit'
_DISK = 'VirtualIO_Disk'
_IMAGE = 'VirtualIO_Image'
# What UDIDs begin with, by type, as recorded.
_PREFIX = {_DISK: '27', _IMAGE: '29'}
_NAME = re.compile(r'[.0-9A-Z_a-z-]{1,79}')
_NAMESPACE = uuidlib.UUID('2f1f5f6e-8d61-4d0b-a2f6-1c0f5bd1a4ce')


@dataclasses.dataclass
class LogicalUnit:
    """A logical unit; capacity in bytes, file is its name in DiskFiles."""

    uuid: str
    udid: str
    name: str
    kind: str
    capacity: int
    file: str
    number: int
    thin: bool = True
    cloned_from: str | None = None


@dataclasses.dataclass(frozen=True)
class ClusterRecord:
    """The cluster; capacity of its pool in bytes."""

    name: str
    capacity: int
    created_ms: int

    @property
    def uuid(self) -> str:
        return str(uuidlib.uuid5(_NAMESPACE, self.name))

    @property
    def pool_uuid(self) -> str:
        return str(uuidlib.uuid5(_NAMESPACE, f'{self.name}/pool'))

    @property
    def tier_uuid(self) -> str:
        return str(uuidlib.uuid5(_NAMESPACE, f'{self.name}/tier'))

    @property
    def serial(self) -> str:
        return uuidlib.uuid5(_NAMESPACE, f'{self.name}/serial').hex


class Pool:
    """The cluster, if there is one, and its logical units."""

    def __init__(
        self,
        store: state.Store,
        files: disks.DiskFiles,
        users: collections.abc.Callable[[str], list[str]],
        lock: threading.RLock,
    ) -> None:
        """:param users: names of the partitions that a UDID is mapped to."""
        self._store = store
        self._files = files
        self._users = users
        self._lock = lock
        self.cluster: ClusterRecord | None = None
        for record in store.load(_CLUSTER).values():
            self.cluster = ClusterRecord(**record)
        found = [
            LogicalUnit(**record) for record in store.load(_UNIT).values()
        ]
        self._units = {
            unit.uuid: unit
            for unit in sorted(found, key=lambda unit: unit.number)
        }

    def add_cluster(self, name: str, capacity: int) -> None:
        """:param capacity: of the pool, in bytes."""
        with self._lock:
            if self.cluster is not None:
                return
            cluster = ClusterRecord(name, capacity, int(time.time() * 1000))
            self._store.save(_CLUSTER, name, dataclasses.asdict(cluster))
            self.cluster = cluster

    def units(self) -> list[LogicalUnit]:
        return list(self._units.values())

    def find(self, udid: str) -> LogicalUnit | None:
        for unit in self.units():
            if unit.udid == udid:
                return unit
        return None

    def is_used(self, unit: LogicalUnit) -> bool:
        return bool(self._users(unit.udid))

    @property
    def free(self) -> int:
        """Bytes; thin units take what they hold, thick ones all."""
        cluster = self._present()
        taken = sum(
            min(self._files.allocated(unit.file), unit.capacity)
            if unit.thin
            else unit.capacity
            for unit in self.units()
        )
        return max(0, cluster.capacity - taken)

    def create(self, element: etree._Element) -> LogicalUnit:
        """From a client's LogicalUnit element."""
        cluster = self._present()
        kind = resource.text(element, 'LogicalUnitType') or _DISK
        name = resource.text(element, 'UnitName') or ''
        if kind not in _PREFIX or not _NAME.fullmatch(name):
            raise errors.bad_request(
                f'{name!r} of type {kind} is not a valid logical unit.'
            )
        thin = resource.text(element, 'ThinDevice') != 'false'
        with self._lock:
            if any(unit.name == name for unit in self.units()):
                raise errors.bad_request(
                    f'A logical unit named {name} exists already.'
                )
            image = self._image(resource.text(element, 'ClonedFrom'))
            capacity = self._capacity(element, image)
            if not thin and capacity > self.free:
                raise errors.no_space(cluster.name, capacity, self.free)
            return self._add(name, kind, capacity, image, thin=thin)

    def _present(self) -> ClusterRecord:
        if self.cluster is None:
            raise errors.not_found('There is no Shared Storage Pool.')
        return self.cluster

    def _image(self, udid: str | None) -> LogicalUnit | None:
        if udid is None:
            return None
        # The first two digits tell the type and may differ.
        for unit in self.units():
            if unit.kind == _IMAGE and unit.udid[2:] == udid[2:]:
                return unit
        raise errors.bad_request(f'The image {udid} does not exist.')

    def _capacity(
        self, element: etree._Element, image: LogicalUnit | None
    ) -> int:
        text = resource.text(element, 'UnitCapacity')
        least = 0 if image is None else image.capacity
        try:
            zero = text is None or float(text) == 0
        except ValueError:
            zero = False
        if zero and image is not None:
            return least
        return max(least, sizes.from_gb(text or ''))

    def _add(
        self,
        name: str,
        kind: str,
        capacity: int,
        image: LogicalUnit | None,
        *,
        thin: bool,
    ) -> LogicalUnit:
        cluster = self._present()
        file = self._files.create(capacity)
        if image is not None:
            self._files.copy(image.file, file, lambda size: None)
        unit = LogicalUnit(
            str(uuidlib.uuid4()),
            _PREFIX[kind] + cluster.serial + uuidlib.uuid4().hex,
            name,
            kind,
            capacity,
            file,
            max((unit.number for unit in self.units()), default=0) + 1,
            thin,
            None if image is None else image.udid,
        )
        self._store.save(_UNIT, unit.uuid, dataclasses.asdict(unit))
        self._units[unit.uuid] = unit
        return unit

    def remove(self, unit: LogicalUnit) -> None:
        with self._lock:
            users = self._users(unit.udid)
            if users:
                raise errors.bad_request(
                    f'The logical unit {unit.name} cannot be removed: it is '
                    f'mapped to the partition {", ".join(users)}.'
                )
            if any(other.cloned_from == unit.udid for other in self.units()):
                raise errors.bad_request(
                    f'The logical unit {unit.name} cannot be removed: it '
                    'has linked clones.'
                )
            del self._units[unit.uuid]
            self._store.delete(_UNIT, unit.uuid)
        self._files.remove(unit.file)

    def unit_values(self, unit: LogicalUnit) -> dict[str, schema.Value]:
        values: dict[str, schema.Value] = {
            'ThinDevice': str(unit.thin).lower(),
            'UniqueDeviceID': unit.udid,
            'UnitCapacity': sizes.exact_gb(unit.capacity),
            'LogicalUnitType': unit.kind,
            'InUse': str(self.is_used(unit)).lower(),
            'UnitName': unit.name,
        }
        if unit.cloned_from is not None:
            values['ClonedFrom'] = unit.cloned_from
        return values


class Clusters(resource.Resource):
    """The feed of at most one cluster, of all VIOSes."""

    layout = schema_tables.CLUSTER
    search_keys = frozenset({'ClusterName'})

    def __init__(
        self,
        pool: Pool,
        vioses: vios_module.VirtualIOServers,
        href: collections.abc.Callable[[str], str],
    ) -> None:
        self._pool = pool
        self._vioses = vioses
        self._href = href

    def documents(self, parent: str | None) -> list[atom.Document]:
        cluster = self._pool.cluster
        if cluster is None:
            return []
        return [
            atom.Document(
                self.layout,
                cluster.uuid,
                {
                    'ClusterName': cluster.name,
                    'ClusterID': f'22{cluster.serial}',
                    'RepositoryDisk': {
                        'PhysicalVolume': _volume(
                            cluster, 'hdisk2', 10 * sizes.GIB
                        )
                    },
                    'ClusterSharedStoragePool': schema.Link(
                        self._href(
                            f'/rest/api/uom/SharedStoragePool/{cluster.pool_uuid}'
                        )
                    ),
                    'Node': {
                        'Node': [
                            self._node(vios) for vios in self._vioses.all()
                        ]
                    },
                },
                cluster.created_ms,
            )
        ]

    def _node(self, vios: vios_module.Vios) -> schema.Values:
        machine, model, serial = managed_system.MODEL
        return {
            'HostName': f'{vios.name}.example.com',
            'PartitionID': str(vios.id),
            'MachineTypeModelAndSerialNumber': {
                'MachineType': machine,
                'Model': model,
                'SerialNumber': serial,
            },
            'VirtualIOServerLevel': '2.2.4.0',
            'VirtualIOServer': schema.Link(
                self._href(f'/rest/api/uom/VirtualIOServer/{vios.uuid}')
            ),
            'State': 'Up',
        }


class SharedStoragePools(resource.Resource):
    """The feed of at most one pool."""

    layout = schema_tables.SHARED_STORAGE_POOL
    search_keys = frozenset({'StoragePoolName'})

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def documents(self, parent: str | None) -> list[atom.Document]:
        cluster = self._pool.cluster
        if cluster is None:
            return []
        units = self._pool.units()
        return [
            atom.Document(
                self.layout,
                cluster.pool_uuid,
                {
                    'LogicalUnits': {
                        'LogicalUnit': [
                            self._pool.unit_values(unit) for unit in units
                        ]
                    },
                    'MultiDataTierConfigured': 'false',
                    'MultiFailureGroupConfigured': 'false',
                    'PhysicalVolumes': {
                        'PhysicalVolume': _volume(
                            cluster, 'hdisk3', cluster.capacity
                        )
                    },
                    'Capacity': sizes.rounded_gb(cluster.capacity),
                    'FreeSpace': sizes.rounded_gb(self._pool.free),
                    'OverCommitSpace': '0',
                    'TotalLogicalUnitSize': sizes.rounded_gb(
                        sum(unit.capacity for unit in units)
                    ),
                    'AlertThreshold': '35%',
                    'StoragePoolName': cluster.name,
                    'UniqueDeviceID': f'24{cluster.serial}',
                },
                cluster.created_ms,
            )
        ]


class Tiers(resource.Resource):
    """The pool's one tier, which is the default."""

    layout = schema_tables.TIER
    parents = (None, 'SharedStoragePool')

    def __init__(
        self, pool: Pool, href: collections.abc.Callable[[str], str]
    ) -> None:
        self._pool = pool
        self._href = href

    def documents(self, parent: str | None) -> list[atom.Document]:
        cluster = self._pool.cluster
        if cluster is None:
            return []
        return [
            atom.Document(
                self.layout,
                cluster.tier_uuid,
                {
                    'Name': 'SYSTEM',
                    'UniqueDeviceID': f'25{cluster.serial}',
                    'Type': 'UnrestrictedSystemTier',
                    'IsDefault': 'true',
                    'Capacity': sizes.rounded_gb(cluster.capacity),
                    'MirrorState': 'NotMirrored',
                    'AssociatedSharedStoragePool': schema.Link(
                        self._href(
                            f'/rest/api/uom/SharedStoragePool/{cluster.pool_uuid}'
                        )
                    ),
                },
                cluster.created_ms,
            )
        ]


class LogicalUnits(resource.Resource):
    """The logical units of the tier."""

    layout = schema_tables.LOGICAL_UNIT
    parents = ('Tier',)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def documents(self, parent: str | None) -> list[atom.Document]:
        return [
            atom.Document(
                self.layout, unit.uuid, self._pool.unit_values(unit), 0
            )
            for unit in self._pool.units()
        ]

    def create(self, element: etree._Element, parent: str | None) -> str:
        return self._pool.create(element).uuid

    def delete(
        self, uuid: str, parent: str | None, check: resource.Check
    ) -> None:
        check()
        for unit in self._pool.units():
            if unit.uuid == uuid.lower():
                self._pool.remove(unit)
                return


def _volume(cluster: ClusterRecord, name: str, capacity: int) -> schema.Values:
    """Capacity in bytes; shown in MB."""
    return {
        'Description': 'MPIO IBM 2076 FC Disk',
        'UniqueDeviceID': f'01M0{cluster.serial}{name}',
        'VolumeCapacity': str(capacity // sizes.MIB),
        'VolumeName': name,
        'VolumeState': 'active',
        'IsFibreChannelBacked': 'true',
    }
