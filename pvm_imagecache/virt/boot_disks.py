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

"""The disks that instances boot from, and their mapping to partitions.

An update of a Virtual I/O Server sends all of its mappings, with If-Match. If
another process changed them in between, they are read and changed again.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
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

_DISKS: Final = (pvm_storage.VDisk, pvm_storage.LU)
_UUID_GROUP: Final = 4


@dataclasses.dataclass(frozen=True)
class Attached:
    """A disk that is mapped to a partition.

    :ivar name: without a directory.
    :ivar udid: unique ID of the disk.
    """

    name: str
    udid: str


class BootDisks:
    """Creates boot disks, and maps them to partitions.

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
        trusted_certificates: Sequence[str] = (),
    ) -> instance_disk.Deployment:
        """Create a disk from an image, with the first name that is free.

        :param image: the image.
        :param names: candidates, the best one first; at least one.
        :param size: in bytes; 0 for the size that the image needs.
        :param context: the ``RequestContext`` of nova.
        :param note: called with the name before the disk is created, and
            with None if it will not be: a disk of that name belongs to
            another instance then.
        :param trusted_certificates: IDs of certificates that the user of the
            instance trusts.
        :returns: the disk and its origin.
        :raises DiskExists: if all names are taken.
        :raises PVMImageCacheError: any other error of
            ``ImageManager.create_disk``.
        """

        def make(name: str) -> instance_disk.Deployment:
            note(name)
            try:
                return self._images.create_disk(
                    image,
                    name,
                    size,
                    context=context,
                    trusted_certificates=trusted_certificates,
                )
            except BaseException:
                note(None)
                raise

        for name in names[:-1]:
            try:
                return make(name)
            except exceptions.DiskExists as error:
                # The name has room for a few digits of the UUID only.
                LOG.info('%s', error)
        return make(names[-1])

    def names(self, instance_name: str, instance_uuid: str) -> list[str]:
        """Return candidates for the name of a boot disk, best first.

        :param instance_name: of the instance.
        :param instance_uuid: of the instance.
        :returns: one name if the pool allows long names, otherwise eight.
        """
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
        """Map a disk to a partition, on each VIOS that can map it.

        :param partition: a ``pypowervm.wrappers.logical_partition.LPAR``.
        :param disk: the result of :meth:`create`.
        :raises PowerVMError: if PowerVM fails.
        """
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
        """Remove the mappings of all disks of a partition.

        :param partition: a ``pypowervm.wrappers.logical_partition.LPAR``.
        :returns: the disks that were mapped.
        :raises PowerVMError: if PowerVM fails.
        """
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
        """Delete a disk, unless it is mapped to a partition.

        It is no error if the disk does not exist.

        :param disk: identified by name and UDID.
        :param context: the ``RequestContext`` of nova.
        :raises PVMImageCacheError: if it cannot be deleted.
        """
        found = self._images.driver.find_disk(disk.name)
        if found is None or found.udid != disk.udid:
            return
        try:
            self._images.delete_disk(disk.name, context=context)
        except exceptions.DiskNotFound:
            LOG.debug('Disk %s does not exist any more', disk.name)
        except exceptions.DiskInUse:
            LOG.warning(
                'Not deleting disk %s: it is mapped to a partition',
                disk.name,
            )

    def delete_named(self, name: str, context: Any) -> None:
        """Delete the disk of a name, unless it is mapped to a partition.

        Another host that uses the same pool can have a disk of that name: a
        disk of another catalog is kept, and a warning is logged. So is a disk
        that may belong to another catalog while that of this host cannot be
        read, with an error: the instance must be deleted nevertheless.

        :param name: of the disk; it is no error if there is none.
        :param context: the ``RequestContext`` of nova.
        :raises PVMImageCacheError: if it cannot be deleted.
        """
        disk = self._images.driver.find_disk(name)
        if disk is None:
            return
        try:
            catalog = self._images.other_catalog_of(disk)
        except exceptions.CatalogError as error:
            LOG.error(
                'Not deleting disk %(disk)s: it is mapped to no partition, '
                'and may belong to another catalog (%(error)s). Once the '
                'catalog can be read, delete the disk with "pvm-imagecache '
                'disk delete"',
                {'disk': name, 'error': error},
            )
            return
        if catalog:
            LOG.warning(
                'Not deleting disk %(disk)s: it belongs to another catalog '
                '(%(catalog)s), and is mapped to no partition. If that '
                'catalog is no longer used, delete the disk with '
                '"pvm-imagecache disk delete --take-over"',
                {'disk': name, 'catalog': catalog},
            )
            return
        self.delete(Attached(disk.name, disk.udid), context)

    def _change(self, server: str, change: Callable[[Any], bool]) -> None:
        """Read, change and update the mappings of a VIOS.

        ``change`` returns False if there is nothing to update.
        """
        with self._turn:
            for attempt in powervm.update_attempts(_may_repeat):
                vios = powervm.retry_read(lambda: self._read(server))
                if not change(vios):
                    return
                with (
                    attempt.update(),
                    self._adapters.translated(
                        f'change the mappings of {vios.name}'
                    ),
                ):
                    vios.update()
                    return
        raise exceptions.PowerVMRequestFailed(
            action='change the vSCSI mappings',
            reason='other processes changed them during each of '
            f'{powervm.UPDATE_ATTEMPTS} attempts',
        )

    def _read(self, server: str) -> Any:
        with self._adapters.translated('read the vSCSI mappings'):
            return pvm_vios.VIOS.get(
                self._adapters(), uuid=server, xag=[pvm_const.XAG.VIO_SMAP]
            )


def _may_repeat(error: exceptions.PowerVMRequestFailed) -> bool:
    return error.transient or powervm.is_conflict(error)


def _attached(vios: Any, partition: Any) -> list[Attached]:
    # Orphaned mappings belong to deleted partitions, whose number, or even
    # UUID, another partition may have now.
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


def short_names(instance_name: str, instance_uuid: str) -> list[str]:
    """Return candidates for the name of a boot disk, at most 15 characters.

    The first one is that of nova-powervm, ``b_<name[:8]>_<uuid[:4]>``. The
    default names of instances begin with the same eight characters, so the
    others have other digits of the UUID.

    :param instance_name: of the instance.
    :param instance_uuid: of the instance.
    :returns: eight names, best first.
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


def long_name(instance_name: str, instance_uuid: str, max_length: int) -> str:
    """Return the name of a boot disk in a pool with long names.

    :param instance_name: of the instance; truncated if necessary.
    :param instance_uuid: of the instance.
    :param max_length: characters that the pool allows.
    :returns: ``boot_<name>_<uuid>``.
    """
    return str(
        pvm_util.sanitize_file_name_for_api(
            instance_name,
            prefix='boot_',
            suffix=f'_{instance_uuid}',
            max_len=max_length,
        )
    )
