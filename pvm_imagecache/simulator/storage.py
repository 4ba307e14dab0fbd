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

"""Volume groups and their virtual disks.

An update is planned and checked as a whole, then its disks are made and
filled, then all of it becomes visible at once. Updates of one group wait for
each other; reads show the state before until an update is done.
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
from pvm_imagecache.simulator import pacing
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import schema_tables
from pvm_imagecache.simulator import settings as settings_module
from pvm_imagecache.simulator import sizes
from pvm_imagecache.simulator import state
from pvm_imagecache.simulator import turns
from pvm_imagecache.simulator import wordings

_GROUP = 'volume_group'
_DISK = 'virtual_disk'
# pypowervm.const.MaxLen.VDISK_NAME and the characters that
# util.sanitize_file_name_for_api leaves.
_DISK_NAME = re.compile(r'[.0-9A-Z_a-z]{1,15}')
# Elements of a VirtualDisk that are kept and given back as they are.
_KEPT = (
    'ReadIOPS',
    'WriteIOPS',
    'Tag',
    'VirtualDiskType',
    'BackStoreType',
    'FileFormat',
)
_RAW = 'RAW'
_NAMESPACE = uuidlib.UUID('6f1b40c8-5f0c-4c0e-9a55-0e51bb1a7e0f')


def base_name(name: str) -> str:
    """A disk's name may be a path; its last component is what counts."""
    return name.rsplit('/', 1)[-1]


@dataclasses.dataclass
class VirtualDisk:
    """A virtual disk; capacity in bytes, file is its name in DiskFiles."""

    udid: str
    group: str
    name: str
    capacity: int
    file: str
    label: str = 'None'
    kept: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class VolumeGroup:
    """A volume group of a VIOS; capacity in bytes."""

    uuid: str
    vios: str
    name: str
    capacity: int
    serial: str
    number: int
    created_ms: int
    # UDIDs end in a number that is never used again.
    next_disk: int = 1
    disks: dict[str, VirtualDisk] = dataclasses.field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.capacity - sum(
            disk.capacity for disk in self.disks.values()
        )


@dataclasses.dataclass(frozen=True)
class NewDisk:
    """A disk to be made; base is the UDID to copy from."""

    name: str
    capacity: int
    label: str = 'None'
    base: str | None = None
    kept: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Plan:
    create: list[NewDisk]
    delete: list[VirtualDisk]
    grow: dict[str, int]
    relabel: dict[str, str]


class VolumeGroups(resource.Resource):
    """All volume groups of the host."""

    layout = schema_tables.VOLUME_GROUP
    parents = ('VirtualIOServer',)

    def __init__(
        self,
        store: state.Store,
        files: disks.DiskFiles,
        settings: settings_module.Settings,
        pace: collections.abc.Callable[[], pacing.Pace],
        users: collections.abc.Callable[[str], list[str]],
        href: collections.abc.Callable[[str], str],
        check_vios: collections.abc.Callable[[str], None],
        lock: threading.RLock,
    ) -> None:
        """Wire it up.

        :param pace: makes the rates of one copy.
        :param users: names of the partitions that a UDID is mapped to.
        :param href: the full address of a REST path.
        :param check_vios: raises 404 for an unknown VIOS.
        """
        self._store = store
        self._files = files
        self._settings = settings
        self._pace = pace
        self._users = users
        self._href = href
        self._check_vios = check_vios
        self._lock = lock
        self._updates = turns.Updates(settings)
        self._groups: dict[str, VolumeGroup] = {}
        self._load()

    def _load(self) -> None:
        found = [
            VolumeGroup(**record)
            for record in self._store.load(_GROUP).values()
        ]
        for group in sorted(found, key=lambda group: group.number):
            self._groups[group.uuid] = group
        rows = [
            VirtualDisk(**record)
            for record in self._store.load(_DISK).values()
        ]
        for disk in sorted(rows, key=lambda disk: _number(disk.udid)):
            self._groups[disk.group].disks[disk.udid] = disk

    # What others in the simulator ask.

    def all(self) -> list[VolumeGroup]:
        return list(self._groups.values())

    def find(self, udid: str) -> VirtualDisk | None:
        with self._lock:
            for group in self._groups.values():
                if udid in group.disks:
                    return group.disks[udid]
        return None

    def find_by_name(self, vios: str, name: str) -> VirtualDisk | None:
        with self._lock:
            for group in self._groups.values():
                if group.vios != vios:
                    continue
                for disk in group.disks.values():
                    if base_name(disk.name) == base_name(name):
                        return disk
        return None

    def vios_of(self, disk: VirtualDisk) -> str:
        return self._groups[disk.group].vios

    def group(self, key: str) -> VolumeGroup:
        """By UUID, or by name if only one has it."""
        if key in self._groups:
            return self._groups[key]
        named = [group for group in self._groups.values() if group.name == key]
        if len(named) != 1:
            raise errors.not_found(f'{len(named)} volume groups named {key}.')
        return named[0]

    def add_group(self, vios: str, name: str, capacity: int) -> VolumeGroup:
        """:param capacity: in bytes."""
        self._check_vios(vios)
        with self._lock:
            if any(
                group.vios == vios and group.name == name
                for group in self._groups.values()
            ):
                raise errors.bad_request(
                    f'There is a volume group {name} already.'
                )
            uuid = str(uuidlib.uuid5(_NAMESPACE, f'{vios}/{name}'))
            group = VolumeGroup(
                uuid,
                vios,
                name,
                capacity,
                '00f8d6de00004b00' + uuidlib.uuid5(_NAMESPACE, uuid).hex[:16],
                len(self._groups) + 1,
                int(time.time() * 1000),
            )
            with self._store.transaction():
                self._save_group(group)
            self._groups[uuid] = group
            return group

    def remove_group(self, key: str) -> None:
        """Forget a volume group until the next start, by name or UUID."""
        with self._lock:
            del self._groups[self.group(key).uuid]

    def plant(
        self,
        key: str,
        new: NewDisk,
        fill: collections.abc.Callable[[str], None],
    ) -> VirtualDisk:
        """Make a disk as another client of the platform would.

        :param fill: writes what the disk holds, given its file's path.
        """
        group = self.group(key)
        with self._updates.queued(group.uuid, group.vios):
            plan = _Plan([new], [], {}, {})
            self._check_plan(group, plan)
            [disk] = self._make(group, plan)
            fill(self._files.path(disk.file))
            self._commit(group, plan, [disk])
        return disk

    # REST.

    def documents(self, parent: str | None) -> list[atom.Document]:
        if parent is None:
            raise errors.not_found('Volume groups belong to a VIOS.')
        self._check_vios(parent)
        with self._lock:
            return [
                self._document(group)
                for group in self._groups.values()
                if group.vios.lower() == parent.lower()
            ]

    def document(self, uuid: str, parent: str | None) -> atom.Document:
        with self._lock:
            return self._document(self._find_group(uuid, parent))

    def _find_group(self, uuid: str, parent: str | None) -> VolumeGroup:
        group = self._groups.get(uuid.lower())
        if group is None or (parent or '').lower() != group.vios.lower():
            raise errors.not_found(f'VolumeGroup {uuid} does not exist.')
        return group

    def update(
        self, uuid: str, parent: str | None, change: resource.Change
    ) -> None:
        group = self._find_group(uuid, parent)
        on_arrival = (
            self._settings.if_match == settings_module.IfMatch.ON_ARRIVAL
        )
        if on_arrival:
            change.check()
        with self._updates.set(group.uuid, group.vios):
            if not on_arrival:
                change.check()
            merge = not change.conditional and (
                self._settings.unconditional_update
                == settings_module.UnconditionalUpdate.MERGE
            )
            with self._lock:
                plan = (_plan_merge if merge else _plan_overwrite)(
                    group, change.element, self._settings
                )
                self._check_plan(group, plan)
            made = self._make(group, plan, change.work.copy_limit)
            self._commit(group, plan, made)

    def _check_plan(self, group: VolumeGroup, plan: _Plan) -> None:
        gone = {disk.udid for disk in plan.delete}
        names = {
            base_name(disk.name)
            for disk in group.disks.values()
            if disk.udid not in gone
        }
        for new in plan.create:
            name = base_name(new.name)
            if not _DISK_NAME.fullmatch(name):
                raise errors.bad_request(
                    f'{new.name!r} is not a valid virtual disk name: 1 to 15 '
                    'characters of [.0-9A-Za-z_] are allowed.'
                )
            if name in names:
                raise self._name_in_use(name, group, 'rest')
            names.add(name)
            if self._settings.name_scope == settings_module.NameScope.VIOS:
                self._check_unique(group, name)
            self._check_base(group, new)
        self._check_unmapped(plan.delete)
        self._check_space(group, plan)
        self._check_number(group, plan)

    def _check_unique(self, group: VolumeGroup, name: str) -> None:
        """Refuse the name of a disk of another group of the same VIOS."""
        for other in self._groups.values():
            if other is not group and other.vios == group.vios:
                for disk in other.disks.values():
                    if base_name(disk.name) == name:
                        raise self._name_in_use(name, other, 'mklv')

    def _name_in_use(
        self, name: str, group: VolumeGroup, mixed: str
    ) -> errors.RestError:
        """:param mixed: the wording if those of REST and AIX are mixed."""
        wording = self._settings.name_wording
        return errors.name_in_use(
            name,
            group.name,
            mixed if wording == wordings.MIXED else wording,
        )

    def _check_base(self, group: VolumeGroup, new: NewDisk) -> None:
        if new.base is None:
            return
        base = self.find(new.base)
        if base is None or self.vios_of(base) != group.vios:
            raise errors.bad_request(
                f'The base image {new.base} does not exist.'
            )
        if base.capacity > new.capacity:
            raise errors.bad_request(
                f'The base image {base.name} of {base.capacity} bytes is '
                f'larger than the new disk {new.name} of {new.capacity} '
                'bytes.'
            )
        if (
            base.capacity < new.capacity
            and self._settings.copy_larger
            == settings_module.CopyLarger.REFUSED
        ):
            raise errors.bad_request(
                f'The new disk {new.name} of {new.capacity} bytes must have '
                f'the size of the base image {base.name}, {base.capacity} '
                'bytes.'
            )

    def _check_unmapped(self, gone: list[VirtualDisk]) -> None:
        for disk in gone:
            users = self._users(disk.udid)
            if users:
                raise errors.bad_request(
                    f'The virtual disk {disk.name} cannot be removed: it is '
                    f'mapped to the partition {", ".join(users)}.'
                )

    def _check_space(self, group: VolumeGroup, plan: _Plan) -> None:
        free = group.free + sum(disk.capacity for disk in plan.delete)
        wanted = sum(new.capacity for new in plan.create) + sum(
            capacity - group.disks[udid].capacity
            for udid, capacity in plan.grow.items()
        )
        if wanted > free:
            raise errors.no_space(
                group.name, wanted, free, self._settings.space_wording
            )

    def _check_number(self, group: VolumeGroup, plan: _Plan) -> None:
        limit = self._settings.logical_volume_limit
        number = len(group.disks) - len(plan.delete) + len(plan.create)
        if plan.create and 0 < limit < number:
            raise errors.no_logical_volume(group.name, limit)

    def _make(
        self, group: VolumeGroup, plan: _Plan, limit: int | None = None
    ) -> list[VirtualDisk]:
        """Files of the new disks, with the bytes of their base images.

        :param limit: bytes after which each copy ends; None for all.
        """
        first = group.next_disk
        made = [
            VirtualDisk(
                f'03{group.serial}.{first + index}',
                group.uuid,
                new.name,
                new.capacity,
                self._files.create(new.capacity),
                new.label,
                dict(new.kept),
            )
            for index, new in enumerate(plan.create)
        ]
        copies = [
            (new.base, disk)
            for new, disk in zip(plan.create, made, strict=True)
            if new.base is not None
        ]
        try:
            if self._settings.copies == settings_module.Copies.PARALLEL:
                self._copy_side_by_side(copies, limit)
            else:
                for base, disk in copies:
                    self._copy(base, disk, limit)
        except BaseException:
            for disk in made:
                self._files.remove(disk.file)
            raise
        return made

    def _copy(self, base: str, disk: VirtualDisk, limit: int | None) -> None:
        source = self.find(base)
        if source is None:
            raise errors.bad_request(f'The base image {base} does not exist.')
        self._files.copy(source.file, disk.file, self._pace().spent, limit)

    def _copy_side_by_side(
        self, copies: list[tuple[str, VirtualDisk]], limit: int | None
    ) -> None:
        failures: list[Exception] = []

        def run(base: str, disk: VirtualDisk) -> None:
            try:
                self._copy(base, disk, limit)
            except Exception as exc:
                failures.append(exc)

        threads = [
            threading.Thread(target=run, args=copy, daemon=True)
            for copy in copies
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _commit(
        self, group: VolumeGroup, plan: _Plan, made: list[VirtualDisk]
    ) -> None:
        with self._lock:
            try:
                # A mapping may have come while disks were being copied.
                self._check_unmapped(plan.delete)
            except errors.RestError:
                for disk in made:
                    self._files.remove(disk.file)
                raise
            for udid, capacity in plan.grow.items():
                self._files.grow(group.disks[udid].file, capacity)
                group.disks[udid].capacity = capacity
            for udid, label in plan.relabel.items():
                group.disks[udid].label = label
            changed = [
                group.disks[udid]
                for udid in plan.grow.keys() | plan.relabel.keys()
            ]
            for disk in plan.delete:
                del group.disks[disk.udid]
            for disk in made:
                group.disks[disk.udid] = disk
            group.next_disk += len(made)
            with self._store.transaction():
                for disk in plan.delete:
                    self._store.delete(_DISK, disk.udid)
                for disk in made + changed:
                    self._store.save(
                        _DISK, disk.udid, dataclasses.asdict(disk)
                    )
                self._save_group(group)
        for disk in plan.delete:
            self._files.remove(disk.file)

    def _save_group(self, group: VolumeGroup) -> None:
        record = {
            field.name: getattr(group, field.name)
            for field in dataclasses.fields(group)
            if field.name != 'disks'
        }
        self._store.save(_GROUP, group.uuid, record)

    def _document(self, group: VolumeGroup) -> atom.Document:
        here = schema.Link(
            self._href(
                f'/rest/api/uom/VirtualIOServer/{group.vios}/VolumeGroup/'
                f'{group.uuid}'
            )
        )
        free = sizes.rounded_gb(group.free)
        return atom.Document(
            self.layout,
            group.uuid,
            {
                'AvailableSize': free,
                'FreeSpace': free,
                'GroupCapacity': sizes.rounded_gb(group.capacity),
                'GroupName': group.name,
                'GroupSerialID': group.serial,
                'MaximumLogicalVolumes': str(
                    self._settings.logical_volume_limit
                ),
                'MediaRepositories': {},
                'PhysicalVolumes': {
                    'PhysicalVolume': [_physical_volume(group)]
                },
                'UniqueDeviceID': f'04{group.serial}',
                'VirtualDisks': {
                    'VirtualDisk': [
                        disk_values(disk, here)
                        for disk in group.disks.values()
                    ]
                },
            },
            group.created_ms,
        )


def disk_values(
    disk: VirtualDisk, group: schema.Link
) -> dict[str, schema.Value]:
    return {
        'DiskCapacity': sizes.exact_gb(disk.capacity),
        'DiskLabel': disk.label,
        'DiskName': disk.name,
        'VolumeGroup': group,
        'UniqueDeviceID': disk.udid,
        **disk.kept,
    }


def _physical_volume(group: VolumeGroup) -> schema.Values:
    """One disk that makes up the whole group; its capacity is in MB."""
    number = group.number - 1
    return {
        'Description': 'SAS RAID 0 Disk Array',
        'LocationCode': f'U78C9.001.WZS0095-P1-C14-R1-L{number}',
        'ReservePolicy': 'NoReserve',
        'ReservePolicyAlgorithm': 'Failover',
        'UniqueDeviceID': f'01M0{group.serial}',
        'AvailableForUsage': 'false',
        'VolumeCapacity': str(group.capacity // sizes.MIB),
        'VolumeName': f'hdisk{number}',
        'VolumeState': 'active',
        'VolumeUniqueID': f'391BIBMIPR-0   {group.serial[-16:]}IBMsas',
        'IsFibreChannelBacked': 'false',
    }


def _number(udid: str) -> tuple[str, int]:
    serial, _, number = udid.rpartition('.')
    return serial, int(number)


def _plan_overwrite(
    group: VolumeGroup,
    element: etree._Element,
    settings: settings_module.Settings,
) -> _Plan:
    """The body is the whole truth: what it lacks is deleted."""
    plan = _Plan([], [], {}, {})
    listed: set[str] = set()
    for item in resource.children(element, 'VirtualDisks/VirtualDisk'):
        udid = resource.text(item, 'UniqueDeviceID')
        if udid is None:
            plan.create.append(_new_disk(item, settings))
            continue
        if udid in listed:
            raise errors.bad_request(f'The virtual disk {udid} occurs twice.')
        if udid not in group.disks:
            raise errors.bad_request(
                f'The virtual disk {udid} does not exist in the volume group '
                f'{group.name}.'
            )
        listed.add(udid)
        _plan_change(plan, group.disks[udid], item, settings)
    plan.delete = [
        disk for udid, disk in group.disks.items() if udid not in listed
    ]
    return plan


def _plan_merge(
    group: VolumeGroup,
    element: etree._Element,
    settings: settings_module.Settings,
) -> _Plan:
    """Only disks without UDID count."""
    return _Plan(
        [
            _new_disk(item, settings)
            for item in resource.children(element, 'VirtualDisks/VirtualDisk')
            if resource.text(item, 'UniqueDeviceID') is None
        ],
        [],
        {},
        {},
    )


def _plan_change(
    plan: _Plan,
    disk: VirtualDisk,
    item: etree._Element,
    settings: settings_module.Settings,
) -> None:
    name = resource.text(item, 'DiskName')
    if name is not None and base_name(name) != base_name(disk.name):
        raise errors.bad_request(
            f'The virtual disk {disk.name} cannot be renamed.'
        )
    if resource.text(item, 'DiskLabel') != disk.label:
        label = _label(item, settings)
        if label is not None and label != disk.label:
            plan.relabel[disk.udid] = label
    size = resource.text(item, 'DiskCapacity')
    if size is None or sizes.from_gb(size, 1) == disk.capacity:
        # As it is, even if no new disk could be of that size.
        return
    capacity = _capacity(size, settings)
    if capacity < disk.capacity:
        raise errors.bad_request(
            f'The virtual disk {disk.name} cannot be made smaller.'
        )
    if capacity > disk.capacity:
        plan.grow[disk.udid] = capacity


def _label(
    item: etree._Element, settings: settings_module.Settings
) -> str | None:
    """What a disk keeps of the label that it is given; None for nothing."""
    kinds = settings_module.Labels
    label = resource.text(item, 'DiskLabel')
    if label is None or settings.labels == kinds.DROPPED:
        return None
    if settings.labels == kinds.SHORTENED:
        return label[: settings_module.LABEL_LENGTH]
    return label


def _capacity(size: str, settings: settings_module.Settings) -> int:
    """Bytes that a disk gets whose size is given in GB."""
    kinds = settings_module.Fractions
    if sizes.is_fraction(size):
        if settings.fractions == kinds.REFUSED:
            raise errors.bad_request(
                f'The capacity {size} is not a whole number of GB.'
            )
        if settings.fractions == kinds.ROUNDED:
            return sizes.round_up(
                sizes.from_gb(size, sizes.GIB), settings.granularity
            )
    return sizes.from_gb(size, settings.granularity)


def _new_disk(
    item: etree._Element, settings: settings_module.Settings
) -> NewDisk:
    name = resource.text(item, 'DiskName')
    size = resource.text(item, 'DiskCapacity')
    if name is None or size is None:
        raise errors.bad_request(
            'A virtual disk needs a DiskName and a DiskCapacity.'
        )
    kept = {
        tag: value
        for tag in _KEPT
        if (value := resource.text(item, tag)) is not None
    }
    if (
        kept.get('FileFormat', _RAW).upper() != _RAW
        and settings.file_formats == settings_module.FileFormats.REFUSED
    ):
        raise errors.bad_request(
            f'The file format {kept["FileFormat"]} of the virtual disk '
            f'{name} is not supported.'
        )
    return NewDisk(
        name,
        _capacity(size, settings),
        _label(item, settings) or 'None',
        resource.text(item, 'BaseImage'),
        kept,
    )
