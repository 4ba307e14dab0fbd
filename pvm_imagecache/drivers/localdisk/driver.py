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

"""The driver for virtual disks in a volume group of the host."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import os
import threading
from typing import Any

from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.conf import types
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import access
from pvm_imagecache.drivers.localdisk import changes
from pvm_imagecache.drivers.localdisk import upload
from pvm_imagecache.drivers.localdisk import vg_document
from pvm_imagecache.drivers.localdisk import volume_group
from pvm_imagecache.system import locks


class LocalDiskDriver(base.DiskDriver):
    """Disks in a volume group; copies are made by the VIOS that owns it.

    :param adapters: the session with PowerVM.
    :param group_name: of the volume group.
    :param vios_name: of the VIOS that owns it; needed only if several VIOSes
        have a volume group of that name.
    :param lock_directory: serializes changes with those of other processes.
    """

    api_version = base.API_VERSION
    capabilities = frozenset({base.Capability.IMAGE_CACHE})

    def __init__(
        self,
        adapters: powervm.AdapterSource,
        group_name: str,
        vios_name: str | None,
        lock_directory: locks.LockDirectory,
    ) -> None:
        self._adapters = adapters
        self._group_name = group_name
        self._vios_name = vios_name
        self._locks = lock_directory
        self._guard = threading.Lock()
        self._found: volume_group.VolumeGroup | None = None
        self._stale_uploads = False
        self._facts: platform_facts.Source = platform_facts.PlatformFacts

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'LocalDiskDriver':
        options = conf.pvm_imagecache
        if not options.volume_group_name:
            raise exceptions.ConfigurationError(
                reason='volume_group_name in [pvm_imagecache] is not set: '
                'the driver localdisk needs the name of the volume group '
                'that holds the disks.'
            )
        return cls(
            powervm.AdapterSource(powervm.Connection.from_conf(conf)),
            options.volume_group_name,
            options.vios_name,
            locks.LockDirectory(os.path.join(options.state_path, 'locks')),
        )

    def pool_id(self) -> str:
        return self._group().uuid

    def pool(self) -> base.Pool:
        return self._pool(self._group().read())

    def snapshot(self) -> base.PoolSnapshot:
        group = self._group()
        document = group.read()
        found = base.PoolSnapshot(self._pool(document), document.disks)
        group.keep(document)
        return found

    def base_image_snapshot(self) -> base.PoolSnapshot:
        group = self._group()
        document = group.read()
        found = base.PoolSnapshot(self._pool(document), document.base_images())
        group.keep(document)
        return found

    def find_disk(self, name: str) -> base.Disk | None:
        named = self._group().read().named(name)
        return named[0] if named else None

    def create_disks(self, new: Sequence[base.NewDisk]) -> list[base.Disk]:
        return self._group().change([changes.Create(each) for each in new])

    def upload(
        self,
        disk: base.Disk,
        pieces: Iterator[bytes],
        size: int,
        sha256: str | None = None,
    ) -> None:
        upload.upload(
            self._adapters,
            self._group().vios_uuid,
            disk,
            pieces,
            size,
            sha256,
            self._note_stale_upload,
        )

    def copy_disk(
        self,
        source: base.Disk,
        new: base.NewDisk,
        still_valid: Callable[[], bool] = lambda: True,
    ) -> base.Disk:
        # PowerVM refuses a copy that is smaller than its source.
        enough = dataclasses.replace(new, size=max(new.size, source.capacity))
        (copy,) = self._group().change(
            [changes.Copy(enough, source, still_valid)]
        )
        return copy

    def remove_uploads(self, disk: base.Disk) -> None:
        upload.delete_entries(self._adapters, disk)

    def mapped(self, disks: Sequence[base.Disk]) -> set[base.Disk]:
        return self._group().mapped(disks) if disks else set()

    def upload_targets(self) -> Sequence[str]:
        # Uploads that fail from now on are for the next cleanup run.
        self._stale_uploads = False
        return upload.targets(self._adapters)

    def disks_elsewhere(self) -> Sequence[tuple[base.Disk, str]]:
        if self._facts().names_per_vios is False:
            return ()
        return [
            (disk, f'volume group {group.name}')
            for group in self._group().others()
            for disk in group.disks
        ]

    def servers(self) -> Sequence[str]:
        return [self._group().vios_uuid]

    def mappable(self, disk: base.Disk) -> Any:
        return pvm_storage.VDisk.bld_ref(self._adapters(), disk.name)

    def has_stale_uploads(self) -> bool:
        return self._stale_uploads

    def delete_disks(self, disks: Sequence[base.Disk]) -> list[base.Deletion]:
        if not disks:
            return []
        try:
            self._delete(disks)
        except (
            exceptions.PowerVMRequestFailed,
            exceptions.PowerVMBusy,
        ) as error:
            if len(disks) == 1 or isinstance(error, exceptions.UpdateNotMade):
                return [base.Deletion(disk, error) for disk in disks]
            return [
                deletion
                for disk in disks
                for deletion in self.delete_disks([disk])
            ]
        return [base.Deletion(disk) for disk in disks]

    def close(self) -> None:
        self._adapters.close()

    def platform_access(self) -> access.VolumeGroupAccess:
        return access.VolumeGroupAccess(
            self._adapters, self._group(), self._driver_of
        )

    def use_facts(self, facts: platform_facts.Source) -> None:
        self._facts = facts

    def _driver_of(self, other: Any) -> 'LocalDiskDriver':
        """Return the driver of another volume group of the same VIOS.

        :param other: a ``pypowervm.wrappers.storage.VG``.
        """
        driver = LocalDiskDriver(
            self._adapters, other.name, self._vios_name, self._locks
        )
        own = self._group()
        found = volume_group.VolumeGroup(
            self._adapters, own.vios_uuid, other.uuid, other.name, self._locks
        )
        found.vios_level = own.vios_level
        driver._found = found
        return driver

    def _note_stale_upload(self) -> None:
        self._stale_uploads = True

    def _delete(self, disks: Sequence[base.Disk]) -> None:
        self._group().change([changes.Delete(disk) for disk in disks])

    def _group(self) -> volume_group.VolumeGroup:
        with self._guard:
            if self._found is None or self._found.gone:
                self._found = powervm.retry_read(
                    lambda: volume_group.find(
                        self._adapters,
                        self._group_name,
                        self._vios_name,
                        self._locks,
                    )
                )
                # One that is set later applies, too.
                self._found.facts = lambda: self._facts()
            return self._found

    def _pool(self, document: vg_document.Document) -> base.Pool:
        return base.Pool(
            id=self._group().uuid,
            name=self._group_name,
            capacity=document.capacity,
            free=document.free,
            disks=document.disk_count,
            max_disks=document.max_disks or self._facts().logical_volume_limit,
        )
