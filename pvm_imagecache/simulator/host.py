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

"""The simulated host: all of its parts, put together and wired."""

from __future__ import annotations

import collections.abc
import os
import threading

from pvm_imagecache.simulator import disks
from pvm_imagecache.simulator import faults
from pvm_imagecache.simulator import files
from pvm_imagecache.simulator import jobs
from pvm_imagecache.simulator import managed_system
from pvm_imagecache.simulator import mappings
from pvm_imagecache.simulator import operations
from pvm_imagecache.simulator import pacing
from pvm_imagecache.simulator import partitions
from pvm_imagecache.simulator import request_log
from pvm_imagecache.simulator import resource
from pvm_imagecache.simulator import schema
from pvm_imagecache.simulator import sessions
from pvm_imagecache.simulator import settings as settings_module
from pvm_imagecache.simulator import ssp
from pvm_imagecache.simulator import state
from pvm_imagecache.simulator import storage
from pvm_imagecache.simulator import turns
from pvm_imagecache.simulator import vios


class Host:
    """One state directory, open."""

    def __init__(
        self,
        state_dir: str,
        settings: settings_module.Settings,
        user: str,
        password: str,
    ) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self.faults = faults.Faults()
        self.log = request_log.RequestLog()
        # Set when the server knows its address.
        self.base_url = ''
        self._store = state.Store(state_dir)
        self._lock = threading.RLock()
        self._copying = pacing.Clock()
        self._uploading = pacing.Clock()
        self.disk_files = disks.DiskFiles(
            os.path.join(state_dir, 'disks'),
            lambda: settings.new_disks == settings_module.NewDisks.STALE,
        )
        self.sessions = sessions.Sessions(
            os.path.join(state_dir, 'sessions'),
            user,
            password,
            lambda: settings.platform_level,
        )
        system = managed_system.load(self._store)
        self._make_partitions(system)
        self._make_storage(settings)
        self.systems = managed_system.ManagedSystems(
            system,
            self.href,
            lambda: [item.uuid for item in self.partitions.all()],
            lambda: [item.uuid for item in self.vioses.all()],
        )
        self.jobs = jobs.Jobs(
            operations.Operations(
                self.partitions,
                lambda udid: self.volume_groups.find(udid) is not None,
            ).table(),
            settings,
        )
        self.disk_files.reconcile(self._disk_sizes())

    def _make_partitions(self, system: managed_system.System) -> None:
        self.partitions = partitions.Partitions(
            self._store,
            self.href,
            system.uuid,
            self._free_partition_id,
            lambda uuid: self.mappings.partition_removed(uuid),
            self._lock,
        )
        self.mappings = mappings.Mappings(
            self._store,
            self.partitions,
            self._find_backing,
            self.href,
            self._lock,
        )
        self.vioses = vios.VirtualIOServers(
            self._store,
            self.href,
            system.uuid,
            volume_groups=lambda uuid: [
                group.uuid
                for group in self.volume_groups.all()
                if group.vios == uuid
            ],
            show_mappings=self.mappings.show,
            change_mappings=self.mappings.change,
            level=lambda: self.settings.vios_level,
        )

    def _make_storage(self, settings: settings_module.Settings) -> None:
        self.volume_groups = storage.VolumeGroups(
            self._store,
            self.disk_files,
            settings,
            self._copy_pace,
            self.mappings.users,
            self.href,
            self.vioses.check,
            self._lock,
        )
        self.pool = ssp.Pool(
            self._store, self.disk_files, self.mappings.users, self._lock
        )
        self.files = files.Files(
            self._store,
            settings,
            self._upload_pace,
            self._upload_target,
            self.vioses.check,
            self.href,
            turns.Uploads(settings, self.stop),
        )

    @property
    def resources(self) -> list[resource.Resource]:
        return [
            self.systems,
            self.vioses,
            self.volume_groups,
            self.files,
            self.partitions,
            ssp.Clusters(self.pool, self.vioses, self.href),
            ssp.SharedStoragePools(self.pool),
            ssp.Tiers(self.pool, self.href),
            ssp.LogicalUnits(self.pool),
        ]

    def close(self) -> None:
        self.sessions.forget_all()
        self._store.close()

    def href(self, path: str) -> str:
        return self.base_url + path

    def add_vios(self, name: str) -> vios.Vios:
        with self._lock:
            return self.vioses.add(name, self._free_partition_id())

    def _free_partition_id(self) -> int:
        used = {item.id for item in self.vioses.all()}
        used |= {item.id for item in self.partitions.all()}
        return next(
            number for number in range(1, 1 << 16) if number not in used
        )

    def _disk_sizes(self) -> collections.abc.Mapping[str, int]:
        return {
            **{
                disk.file: disk.capacity
                for group in self.volume_groups.all()
                for disk in group.disks.values()
            },
            **{unit.file: unit.capacity for unit in self.pool.units()},
        }

    def _copy_pace(self) -> pacing.Pace:
        return pacing.Pace(
            lambda: self.settings.copy_rate,
            lambda: self.settings.total_copy_rate,
            self._copying,
            self.stop,
        )

    def _upload_pace(self) -> pacing.Pace:
        return pacing.Pace(
            lambda: self.settings.upload_rate,
            lambda: self.settings.total_upload_rate,
            self._uploading,
            self.stop,
        )

    def _upload_target(self, vios_uuid: str, udid: str) -> files.Target | None:
        """A disk of this VIOS, or any unit: all VIOSes see the pool."""
        disk = self.volume_groups.find(udid)
        if (
            disk is not None
            and self.volume_groups.vios_of(disk).lower() == vios_uuid.lower()
        ):
            return files.Target(self.disk_files.path(disk.file), disk.capacity)
        unit = self.pool.find(udid)
        if unit is not None:
            return files.Target(self.disk_files.path(unit.file), unit.capacity)
        return None

    def _find_backing(
        self, vios_uuid: str, tag: str, udid: str | None, name: str | None
    ) -> mappings.Backing | None:
        """A disk to be mapped; an empty tag stands for any."""
        if tag in ('', 'VirtualDisk'):
            disk = (
                self.volume_groups.find(udid)
                if udid is not None
                else self.volume_groups.find_by_name(vios_uuid, name or '')
            )
            if disk and self.volume_groups.vios_of(disk) == vios_uuid:
                return mappings.Backing(
                    disk.udid,
                    disk.name,
                    'VirtualDisk',
                    'LogicalVolumeVirtualTargetDevice',
                    storage.disk_values(disk, schema.Link('')),
                )
        if tag in ('', 'LogicalUnit'):
            unit = self.pool.find(udid or '')
            if unit is not None:
                return mappings.Backing(
                    unit.udid,
                    unit.name,
                    'LogicalUnit',
                    'SharedStoragePoolLogicalUnitVirtualTargetDevice',
                    self.pool.unit_values(unit),
                )
        return None

    def describe_disks(self) -> list[dict[str, object]]:
        """All virtual disks and logical units, for the control API."""
        # The file of a disk goes after the disk, which does so with the lock.
        with self._lock:
            disks_ = [
                self.describe_disk(disk)
                for group in self.volume_groups.all()
                for disk in group.disks.values()
            ]
            return disks_ + [
                self._describe_unit(unit) for unit in self.pool.units()
            ]

    def describe_disk(self, disk: storage.VirtualDisk) -> dict[str, object]:
        """Sizes in bytes."""
        group = self.volume_groups.group(disk.group)
        return {
            'type': 'VirtualDisk',
            'vios': self.vioses.get(group.vios).name,
            'vg': group.name,
            'vg_uuid': group.uuid,
            'name': disk.name,
            'udid': disk.udid,
            'label': disk.label,
            'capacity_bytes': disk.capacity,
            'file_format': disk.kept.get('FileFormat'),
            'path': self.disk_files.path(disk.file),
            'allocated_bytes': self.disk_files.allocated(disk.file),
            'mapped_to': self.mappings.users(disk.udid),
        }

    def _describe_unit(self, unit: ssp.LogicalUnit) -> dict[str, object]:
        return {
            'type': 'LogicalUnit',
            'vios': None,
            'vg': self.pool.cluster and self.pool.cluster.name,
            'name': unit.name,
            'udid': unit.udid,
            'unit_type': unit.kind,
            'cloned_from': unit.cloned_from,
            'capacity_bytes': unit.capacity,
            'file_format': None,
            'path': self.disk_files.path(unit.file),
            'allocated_bytes': self.disk_files.allocated(unit.file),
            'mapped_to': self.mappings.users(unit.udid),
        }
