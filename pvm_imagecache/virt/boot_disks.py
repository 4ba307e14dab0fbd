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

"""The disks that instances boot from, and how their partitions have them.

A Virtual I/O Server is updated as a volume group is: all of its mappings are
sent, on condition that nobody has changed them meanwhile.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import http
import threading
from typing import Any
from typing import Final

from oslo_log import log as logging
from pypowervm import const as pvm_const
from pypowervm import util as pvm_util
from pypowervm.tasks import scsi_mapper
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager
from pvm_imagecache import naming
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import powervm

LOG = logging.getLogger(__name__)

#: How often an update is tried when others keep coming between.
ATTEMPTS: Final = 40
_DISKS: Final = (pvm_storage.VDisk, pvm_storage.LU)
_UUID_GROUP: Final = 4


@dataclasses.dataclass(frozen=True)
class Attached:
    """A disk that a partition has."""

    name: str
    udid: str


class BootDisks:
    """Makes boot disks, and gives them to partitions.

    :param adapters: the session with PowerVM.
    :param images: the manager of the pool.
    """

    def __init__(
        self, adapters: powervm.AdapterSource, images: manager.ImageManager
    ) -> None:
        self._adapters = adapters
        self._images = images
        self._turn = threading.Lock()

    def create(
        self,
        image: image_module.Image,
        names: Sequence[str],
        size: int,
        context: Any,
        note: Callable[[str | None], None],
    ) -> instance_disk.Deployment:
        """Make a disk from an image, under the first name that is free.

        :param size: in bytes; 0 for what the image needs.
        :param note: is told the name before the disk is there, and None
            when there will be no disk: what has the name then is somebody
            else's.
        :raises PVMImageCacheError: as ``ImageManager.create_disk``.
        """

        def make(name: str) -> instance_disk.Deployment:
            note(name)
            try:
                return self._images.create_disk(
                    image, name, size, context=context
                )
            except BaseException:
                note(None)
                raise

        for name in names[:-1]:
            try:
                return make(name)
            except exceptions.DiskExists as error:
                # Little of an instance's UUID fits into the name.
                LOG.info('%s', error)
        return make(names[-1])

    def names(self, instance_name: str, instance_uuid: str) -> list[str]:
        """What the disk of an instance may be called, best first."""
        if self._images.driver.max_name_length > naming.MAX_DISK_NAME:
            return [
                long_name(
                    instance_name,
                    instance_uuid,
                    self._images.driver.max_name_length,
                )
            ]
        return short_names(instance_name, instance_uuid)

    def attach(self, partition: Any, disk: instance_disk.Deployment) -> None:
        """Map a disk to a partition, from each server that has the disk."""
        for server in self._images.driver.servers():
            self._change(server, lambda vios: self._add(vios, partition, disk))

    def _add(
        self, vios: Any, partition: Any, made: instance_disk.Deployment
    ) -> bool:
        if any(
            each.udid == made.disk.udid for each in _attached(vios, partition)
        ):
            return False
        scsi_mapper.add_map(
            vios,
            scsi_mapper.build_vscsi_mapping(
                None,
                vios,
                partition.uuid,
                self._images.driver.mappable(made.disk),
            ),
        )
        return True

    def detach_all(self, partition: Any) -> set[Attached]:
        """Take all disks from a partition; returns what it had."""
        found: set[Attached] = set()

        def remove(vios: Any) -> bool:
            found.update(_attached(vios, partition))
            return bool(
                scsi_mapper.remove_maps(
                    vios, partition.uuid, include_orphans=False
                )
            )

        for server in self._images.driver.servers():
            self._change(server, remove)
        return found

    def delete(self, disk: Attached, context: Any) -> None:
        """Delete a disk unless a partition has it; gone is fine."""
        found = self._images.driver.find_disk(disk.name)
        if found is None or found.udid != disk.udid:
            return
        try:
            self._images.delete_disk(disk.name, context=context)
        except exceptions.DiskNotFound:
            LOG.debug('Disk %s is gone already', disk.name)
        except exceptions.DiskInUse:
            LOG.warning(
                'Disk %s is not deleted: a partition has it', disk.name
            )

    def delete_named(self, name: str, context: Any) -> None:
        """Delete whatever has a name unless a partition has it."""
        disk = self._images.driver.find_disk(name)
        if disk is not None:
            self.delete(Attached(disk.name, disk.udid), context)

    def _change(self, server: str, change: Callable[[Any], bool]) -> None:
        """Read the mappings, change them, write them: until it fits.

        :param change: False if there is nothing to write.
        """
        with self._turn:
            for attempt in range(ATTEMPTS):
                vios = powervm.retry_read(lambda: self._read(server))
                if not change(vios):
                    return
                try:
                    with self._adapters.translated(
                        f'change the mappings of {vios.name}'
                    ):
                        vios.update()
                    return
                except exceptions.PowerVMRequestFailed as error:
                    if not error.transient and powervm.status_of(error) != (
                        http.HTTPStatus.PRECONDITION_FAILED
                    ):
                        raise
                    LOG.debug('Reading the mappings again: %s', error)
                powervm.pause(attempt)
        raise exceptions.PowerVMRequestFailed(
            action='change the vSCSI mappings',
            reason=f'they were changed by others during each of {ATTEMPTS} '
            'attempts',
        )

    def _read(self, server: str) -> Any:
        with self._adapters.translated('read the vSCSI mappings'):
            return pvm_vios.VIOS.get(
                self._adapters(), uuid=server, xag=[pvm_const.XAG.VIO_SMAP]
            )


def _attached(vios: Any, partition: Any) -> list[Attached]:
    # Orphans are of partitions that are gone, and whose number, or even
    # UUID, another may have by now.
    storages = [
        each.backing_storage
        for each in scsi_mapper.find_maps(
            vios.scsi_mappings, client_lpar_id=partition.uuid
        )
    ]
    return [
        Attached(naming.last_component(each.name), each.udid)
        for each in storages
        if isinstance(each, _DISKS)
    ]


# -- deciders


def short_names(instance_name: str, instance_uuid: str) -> list[str]:
    """``b_<name[:8]>_<uuid[:4]>``, as nova-powervm named boot disks.

    The other digits of the UUID are for when somebody else has that name:
    of all instances named by default, only those four digits differ.
    """
    digits = instance_uuid.replace('-', '')
    return [
        str(
            pvm_util.sanitize_file_name_for_api(
                f'{instance_name[:8]}_{digits[start : start + _UUID_GROUP]}',
                prefix='b_',
                max_len=naming.MAX_DISK_NAME,
            )
        )
        for start in range(0, len(digits), _UUID_GROUP)
    ]


def long_name(instance_name: str, instance_uuid: str, longest: int) -> str:
    """``boot_<name>_<uuid>``, where a name may be long enough."""
    return str(
        pvm_util.sanitize_file_name_for_api(
            instance_name,
            prefix='boot_',
            suffix=f'_{instance_uuid}',
            max_len=longest,
        )
    )
