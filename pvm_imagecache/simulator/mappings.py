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

"""vSCSI mappings: which partition sees which disk, through which adapters.

A VIOS update names all of its mappings; what it lacks is unmapped. New ones
get adapters (or share those of a mapping they were cloned from), a target
device and addresses from here.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import threading
import uuid as uuidlib

from lxml import etree

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import managed_system
from pvm_imagecache.simulator import partitions
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import state
from pvm_imagecache.simulator import vios as vios_module

_MAPPING = 'mapping'
_FIRST_CLIENT_SLOT = 2
_FIRST_SERVER_SLOT = 10
_LAST_SERVER_SLOT = 2000


@dataclasses.dataclass(frozen=True)
class Backing:
    """A disk as mappings show it.

    :ivar udid: what identifies it.
    :ivar tag: its element, VirtualDisk or LogicalUnit.
    :ivar target_tag: the element of its target devices.
    """

    udid: str
    name: str
    tag: str
    target_tag: str
    values: schema.Values


@dataclasses.dataclass
class Mapping:
    """A mapping; lpar is None once its partition was removed.

    :ivar backing: UDID of the disk, None for adapters without storage.
    """

    id: int
    vios: str
    lpar: str | None
    lpar_id: int
    client_slot: int
    server_slot: int
    backing: str | None = None
    target_udid: str | None = None
    target_name: str = ''
    lua: str = ''


class Mappings:
    """All vSCSI mappings of all VIOSes."""

    def __init__(
        self,
        store: state.Store,
        all_partitions: partitions.Partitions,
        find: collections.abc.Callable[
            [str, str, str | None, str | None], Backing | None
        ],
        href: collections.abc.Callable[[str], str],
        lock: threading.RLock,
    ) -> None:
        """Wire it up.

        :param find: a disk by VIOS, element, UDID (or None) and name.
        """
        self._store = store
        self._partitions = all_partitions
        self._find = find
        self._href = href
        self._lock = lock
        found = [Mapping(**record) for record in store.load(_MAPPING).values()]
        self._mappings = {
            item.id: item for item in sorted(found, key=lambda item: item.id)
        }

    def users(self, udid: str) -> list[str]:
        """Names of the partitions that a disk is mapped to."""
        with self._lock:
            return [
                self._user(item)
                for item in self._mappings.values()
                if item.backing == udid
            ]

    def _user(self, item: Mapping) -> str:
        partition = self._partitions.find(item.lpar or '')
        return partition.name if partition else f'id {item.lpar_id}'

    def partition_removed(self, uuid: str) -> None:
        """Its mappings stay, without client: orphans, as on real systems."""
        for item in self._mappings.values():
            if item.lpar == uuid:
                item.lpar = None
                self._save(item)

    def _save(self, item: Mapping) -> None:
        self._store.save(_MAPPING, f'{item.id:08d}', dataclasses.asdict(item))

    def change(self, vios: vios_module.Vios, change: resource.Change) -> None:
        """Make a VIOS's mappings those of an update; all of it or nothing."""
        elements = resource.children(
            change.element, 'VirtualSCSIMappings/VirtualSCSIMapping'
        )
        with self._lock:
            change.check()
            before = dict(self._mappings)
            mine = {
                item.id: item
                for item in before.values()
                if item.vios == vios.uuid
            }
            kept: dict[int, str | None] = {}
            new = []
            for element in elements:
                found = _existing(mine, kept, element)
                if found is None:
                    new.append(element)
                else:
                    kept[found.id] = self._backing(vios, element)
            try:
                self._apply(vios, mine, kept, new)
            except BaseException:
                self._mappings = before
                raise

    def _apply(
        self,
        vios: vios_module.Vios,
        mine: dict[int, Mapping],
        kept: dict[int, str | None],
        new: list[etree._Element],
    ) -> None:
        with self._store.transaction():
            for number in mine.keys() - kept.keys():
                del self._mappings[number]
                self._store.delete(_MAPPING, f'{number:08d}')
            for number, backing in kept.items():
                if backing != mine[number].backing:
                    changed = dataclasses.replace(
                        mine[number], backing=backing
                    )
                    self._mappings[number] = changed
                    self._save(changed)
            for element in new:
                made = self._make(vios, element)
                self._mappings[made.id] = made
                self._save(made)

    def _backing(
        self, vios: vios_module.Vios, element: etree._Element
    ) -> str | None:
        """UDID of the disk that a mapping names."""
        storage = resource.child(element, 'Storage')
        disk = (
            None
            if storage is None
            else next(storage.iterchildren(tag=etree.Element), None)
        )
        if disk is None:
            return None
        tag = schema.local_name(disk)
        udid = resource.text(disk, 'UniqueDeviceID')
        name = resource.text(disk, 'DiskName') or resource.text(
            disk, 'UnitName'
        )
        found = self._find(vios.uuid, tag, udid, name)
        if found is None:
            raise errors.bad_request(
                f'The {tag} {name or udid} to be mapped does not exist.'
            )
        return found.udid

    def _make(
        self, vios: vios_module.Vios, element: etree._Element
    ) -> Mapping:
        partition = self._client(element)
        backing = self._backing(vios, element)
        shared = self._shared_adapters(vios, partition, element)
        made = Mapping(
            max(self._mappings, default=0) + 1,
            vios.uuid,
            partition.uuid,
            partition.id,
            shared.client_slot
            if shared
            else self._client_slot(partition, element),
            shared.server_slot if shared else self._server_slot(vios),
            backing,
        )
        if backing is not None:
            target = resource.child(element, 'TargetDevice')
            device = (
                None
                if target is None
                else next(target.iterchildren(tag=etree.Element), None)
            )
            made.target_udid = '09' + uuidlib.uuid4().hex[:16]
            made.lua = self._lua(made, device)
            made.target_name = self._target_name(vios, device)
        return made

    def _client(self, element: etree._Element) -> partitions.Partition:
        link = resource.child(element, 'AssociatedLogicalPartition')
        href = '' if link is None else link.get('href') or ''
        uuid = href.partition('?')[0].rstrip('/').rpartition('/')[2]
        partition = self._partitions.find(uuid)
        if partition is None:
            raise errors.bad_request(
                f'The partition {uuid or href} to be mapped to does not exist.'
            )
        return partition

    def _shared_adapters(
        self,
        vios: vios_module.Vios,
        partition: partitions.Partition,
        element: etree._Element,
    ) -> Mapping | None:
        """A mapping of the same adapters, if the element names them."""
        udid = resource.text(element, 'ServerAdapter/UniqueDeviceID')
        for item in self._mappings.values():
            if (
                udid is not None
                and item.vios == vios.uuid
                and item.lpar == partition.uuid
                and udid == _adapter_udid(vios.id, item.server_slot)
            ):
                return item
        return None

    def _client_slot(
        self, partition: partitions.Partition, element: etree._Element
    ) -> int:
        used = {
            item.client_slot
            for item in self._mappings.values()
            if item.lpar == partition.uuid
        }
        wanted = resource.text(element, 'ClientAdapter/VirtualSlotNumber')
        if wanted is not None and wanted.isdigit():
            if int(wanted) in used:
                raise errors.bad_request(
                    f'The virtual slot {wanted} of the partition '
                    f'{partition.name} is in use.'
                )
            return int(wanted)
        slots = range(_FIRST_CLIENT_SLOT, int(partition.slots))
        high = (
            resource.text(element, 'ClientAdapter/UseNextAvailableHighSlotID')
            == 'true'
        )
        return _free(reversed(slots) if high else slots, used, partition.name)

    def _server_slot(self, vios: vios_module.Vios) -> int:
        used = {
            item.server_slot
            for item in self._mappings.values()
            if item.vios == vios.uuid
        }
        return _free(
            range(_FIRST_SERVER_SLOT, _LAST_SERVER_SLOT), used, vios.name
        )

    def _lua(self, made: Mapping, device: etree._Element | None) -> str:
        wanted = (
            None
            if device is None
            else resource.text(device, 'LogicalUnitAddress')
        )
        if wanted is not None:
            return wanted
        used = {
            item.lua
            for item in self._mappings.values()
            if item.vios == made.vios and item.server_slot == made.server_slot
        }
        return next(
            lua
            for lua in (
                f'0x{0x8100 + number:04x}000000000000'
                for number in range(4096)
            )
            if lua not in used
        )

    def _target_name(
        self, vios: vios_module.Vios, device: etree._Element | None
    ) -> str:
        wanted = (
            None if device is None else resource.text(device, 'TargetName')
        )
        if wanted is not None:
            return wanted
        used = {
            item.target_name
            for item in self._mappings.values()
            if item.vios == vios.uuid
        }
        return next(
            name
            for name in (f'vtscsi{number}' for number in range(1 << 16))
            if name not in used
        )

    def show(self, vios: vios_module.Vios) -> list[schema.Values]:
        with self._lock:
            return [
                self._values(vios, item)
                for item in self._mappings.values()
                if item.vios == vios.uuid
            ]

    def _values(self, vios: vios_module.Vios, item: Mapping) -> schema.Values:
        server = _location(vios.id, item.server_slot)
        client = _location(item.lpar_id, item.client_slot)
        disk = (
            None
            if item.backing is None
            else self._find(item.vios, '', item.backing, None)
        )
        server_values: dict[str, schema.Value] = {
            **_adapter('Server', vios.id, item.server_slot),
            'AdapterName': f'vhost{item.server_slot - _FIRST_SERVER_SLOT}',
            'RemoteLogicalPartitionID': str(item.lpar_id),
            'RemoteSlotNumber': str(item.client_slot),
            'ServerLocationCode': client,
            'UniqueDeviceID': _adapter_udid(vios.id, item.server_slot),
        }
        values: dict[str, schema.Value] = {'ServerAdapter': server_values}
        if item.lpar is not None:
            values['AssociatedLogicalPartition'] = schema.Link(
                self._href(f'/rest/api/uom/LogicalPartition/{item.lpar}')
            )
            values['ClientAdapter'] = {
                **_adapter('Client', item.lpar_id, item.client_slot),
                'RemoteLogicalPartitionID': str(vios.id),
                'RemoteSlotNumber': str(item.server_slot),
                'ServerLocationCode': server,
            }
        if disk is not None:
            server_values['BackingDeviceName'] = disk.name
            values['Storage'] = {disk.tag: disk.values}
            values['TargetDevice'] = {
                disk.target_tag: {
                    'LogicalUnitAddress': item.lua,
                    'TargetName': item.target_name,
                    'UniqueDeviceID': item.target_udid or '',
                }
            }
        return values


def _existing(
    mine: dict[int, Mapping],
    kept: dict[int, str | None],
    element: etree._Element,
) -> Mapping | None:
    """The mapping that an element of an update is.

    With a target device it is known by that device's UDID; without storage
    by its adapters.
    """
    target = resource.child(element, 'TargetDevice')
    device = (
        None
        if target is None
        else next(target.iterchildren(tag=etree.Element), None)
    )
    udid = None if device is None else resource.text(device, 'UniqueDeviceID')
    slot = resource.text(element, 'ServerAdapter/VirtualSlotNumber')
    has_storage = resource.child(element, 'Storage') is not None
    for item in mine.values():
        if item.id in kept:
            continue
        if udid is not None and item.target_udid == udid:
            return item
        if (
            udid is None
            and not has_storage
            and item.backing is None
            and slot == str(item.server_slot)
        ):
            return item
    return None


def _free(
    slots: collections.abc.Iterable[int], used: set[int], name: str
) -> int:
    for slot in slots:
        if slot not in used:
            return slot
    raise errors.bad_request(f'{name} has no virtual slot left.')


def _location(partition_id: int, slot: int) -> str:
    machine, model, serial = managed_system.MODEL
    return f'U{machine}.{model}.{serial}-V{partition_id}-C{slot}'


def _adapter_udid(partition_id: int, slot: int) -> str:
    return '1e' + _location(partition_id, slot)


def _adapter(
    kind: str, partition_id: int, slot: int
) -> dict[str, schema.Value]:
    location = _location(partition_id, slot)
    return {
        'AdapterType': kind,
        'DynamicReconfigurationConnectorName': location,
        'LocationCode': location,
        'LocalPartitionID': str(partition_id),
        'RequiredAdapter': 'false',
        'VariedOn': 'true',
        'VirtualSlotNumber': str(slot),
    }
