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

"""A small compute driver for PowerVM: partitions with local disks.

It boots servers from images through the cache, and deletes, starts, stops and
reboots them. It does not support networks or volumes, and refuses servers
that need them.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from typing import Any
from typing import Final

import nova.conf
from oslo_log import log as logging
from oslo_utils import units

from nova import exception
from nova.virt import configdrive
from nova.virt import driver
from nova.virt import hardware
from pvm_imagecache import exceptions
from pvm_imagecache.drivers import powervm
from pvm_imagecache.virt import boot_disks
from pvm_imagecache.virt import errors
from pvm_imagecache.virt import fault_log
from pvm_imagecache.virt import inventory
from pvm_imagecache.virt import mixin
from pvm_imagecache.virt import partitions
from pvm_imagecache.virt import power_states

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: Key of the name of the boot disk in the metadata of an instance.
_BOOT_DISK: Final = 'pvm_imagecache_boot_disk'
_REFUSAL: Final = 'PowerVMDriver of pvm_imagecache does not support %s'
#: Seconds for the shutdown of the operating system in a soft reboot.
_SOFT_REBOOT: Final = 120


class PowerVMDriver(mixin.ImageCacheMixin, driver.ComputeDriver):
    """``compute_driver = pvm_imagecache.PowerVMDriver``."""

    capabilities = {
        **driver.ComputeDriver.capabilities,
        'supports_image_type_raw': True,
        'supports_image_type_qcow2': True,
        'supports_trusted_certs': True,
    }

    def init_host(self, host: str) -> None:
        """Set up the driver.

        PowerVM may be unreachable at this time.

        :param host: the name of the host in nova.
        :raises ReleaseTooOld: if nova or pypowervm is older than supported.
        :raises PluginNotFound: if the disk driver is not installed.
        :raises PluginInvalid: if the disk driver cannot be loaded.
        :raises ConfigurationError: if an option is missing or invalid.
        """
        self.start_image_cache()
        self._adapters = powervm.AdapterSource(
            powervm.Connection.from_conf(CONF)
        )
        self._partitions = partitions.Partitions(
            self._adapters, CONF.pvm_imagecache.proc_units_factor
        )
        self._disks = boot_disks.BootDisks(self._adapters, self.image_cache)
        self._faults = fault_log.FaultLog('reach PowerVM')
        self._host: inventory.Host | None = None

    def cleanup_host(self, host: str) -> None:
        super().cleanup_host(host)
        self._adapters.close()

    # -- the node

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        # nova tolerates a driver that is not ready here. In later calls it
        # would log an error each minute.
        if self._host is None:
            self._read_host()
        # The name that the former in-tree driver used.
        return [CONF.host]

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        return inventory.resources(self._read_host(), nodename)

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, allocations: Any = None
    ) -> None:
        before = provider_tree.data(nodename).inventory
        provider_tree.update_inventory(
            nodename,
            inventory.inventory(
                self._host or self._read_host(),
                self._get_allocation_ratios(before),
                CONF.reserved_host_cpus,
                CONF.reserved_host_memory_mb,
                self._get_reserved_host_disk_gb_from_config(),
            ),
        )
        self.reserve_cached(provider_tree, nodename)

    def _read_host(self) -> inventory.Host:
        """Return the host as it is now, or was when PowerVM last answered.

        :raises VirtDriverNotReady: if PowerVM has not answered yet.
        """
        try:
            self._host = inventory.Host.of(
                self._partitions.system(), self.image_cache.driver.pool()
            )
        except exceptions.PVMImageCacheError as error:
            self._faults.failed(error)
            if self._host is None:
                raise exception.VirtDriverNotReady() from error
        else:
            self._faults.recovered()
        return self._host

    # -- instances

    def list_instances(self) -> list[str]:
        return [each.name for each in self._all()]

    def list_instance_uuids(self) -> list[str]:
        """Return both candidate UUIDs of each partition.

        PowerVM drops the first bit of the UUID of an instance.

        :returns: UUIDs; empty while PowerVM is unreachable.
        """
        return [
            uuid
            for each in self._all()
            for uuid in partitions.instance_uuids(each.uuid)
        ]

    def get_num_instances(self) -> int:
        return len(self._all())

    def _all(self) -> Sequence[Any]:
        """Return all partitions; empty while PowerVM is unreachable."""
        try:
            found = self._partitions.all()
        except exceptions.PowerVMError as error:
            self._faults.failed(error)
            return []
        self._faults.recovered()
        return found

    def instance_exists(self, instance: Any) -> bool:
        return self._partitions.find(instance.uuid) is not None

    def get_info(
        self, instance: Any, use_cache: bool = True
    ) -> hardware.InstanceInfo:
        try:
            state = self._partitions.state(instance.uuid)
        except exceptions.PowerVMUnreachable as error:
            # nova-compute must start nevertheless, and asks again.
            self._faults.failed(error)
            return hardware.InstanceInfo(state=power_states.UNKNOWN)
        if state is None:
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        return hardware.InstanceInfo(
            state=power_states.of(state), internal_id=instance.uuid
        )

    # -- creating and deleting

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: Any,
        allocations: Any,
        network_info: Any = None,
        block_device_info: Any = None,
        power_on: bool = True,
        accel_info: Any = None,
    ) -> None:
        """Create a partition that boots from a copy of the image.

        For the parameters see ``nova.virt.driver.ComputeDriver``.

        :raises BuildAbortException: if the server needs what the driver does
            not support.
        :raises NovaException: see :func:`pvm_imagecache.virt.errors.as_nova`.
        """
        _check_supported(instance, network_info, block_device_info)
        try:
            with contextlib.ExitStack() as undo:
                undo.callback(self._undo_spawn, context, instance)
                self._spawn(context, instance, image_meta.id, power_on)
                undo.pop_all()
        except exceptions.PVMImageCacheError as error:
            raise errors.as_nova(error, image_meta.id) from error

    def _spawn(
        self, context: Any, instance: Any, image_id: str, power_on: bool
    ) -> None:
        image = self.image_source.get(image_id, context)
        flavor = instance.flavor
        partition = self._partitions.create(
            partitions.partition_name(instance.name),
            instance.uuid,
            flavor.vcpus,
            flavor.memory_mb,
        )
        made = self._disks.create(
            image,
            self._disks.names(instance.name, instance.uuid),
            flavor.root_gb * units.Gi,
            context,
            lambda name: _note_disk(instance, name),
            instance.trusted_certs.ids if instance.trusted_certs else (),
        )
        LOG.info(
            'Boot disk %(disk)s holds image %(image)s: %(outcome)s, '
            '%(seconds).1f s',
            {
                'disk': made.disk.name,
                'image': image_id,
                'outcome': made.outcome.value,
                'seconds': made.seconds['total'],
            },
            instance=instance,
        )
        self._disks.attach(partition, made)
        if power_on:
            self._partitions.power_on(partition)

    def _undo_spawn(self, context: Any, instance: Any) -> None:
        """Remove the partition and disk of a server that failed to build."""
        try:
            self._remove(context, instance)
        except exceptions.PVMImageCacheError as error:
            LOG.error(
                'Could not clean up after a failed build; nova retries when '
                'the server is deleted: %s',
                error,
                instance=instance,
            )

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """Delete the partition and the boot disk of an instance.

        It is no error if they do not exist. For the parameters see
        ``nova.virt.driver.ComputeDriver``.

        :raises InstanceTerminationFailure: if PowerVM fails.
        """
        with _failing_as(exception.InstanceTerminationFailure):
            self._remove(context, instance, with_disk=destroy_disks)

    def cleanup(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        migrate_data: Any = None,
        destroy_vifs: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        self.destroy(
            context, instance, network_info, block_device_info, destroy_disks
        )

    def _remove(
        self, context: Any, instance: Any, *, with_disk: bool = True
    ) -> None:
        known = instance.system_metadata.get(_BOOT_DISK)
        names = (
            {known}
            if known
            else set(self._disks.names(instance.name, instance.uuid)[:1])
        )
        partition = self._partitions.find(instance.uuid)
        had: set[boot_disks.Attached] = set()
        if partition is not None:
            self._partitions.power_off(partition)
            had = {
                each
                for each in self._disks.detach_all(partition)
                if each.name in names
            }
        if with_disk:
            for disk in had:
                self._disks.delete(disk, context)
            if known and not had:
                self._disks.delete_named(known, context)
        if partition is not None:
            self._partitions.delete(partition)

    # -- power

    def power_on(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        accel_info: Any = None,
        share_info: Any = None,
    ) -> None:
        with _failing_as(exception.InstancePowerOnFailure):
            self._partitions.power_on(self._needed(instance))

    def power_off(
        self, instance: Any, timeout: int = 0, retry_interval: int = 0
    ) -> None:
        with _failing_as(exception.InstancePowerOffFailure):
            self._partitions.power_off(self._needed(instance), timeout)

    def reboot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        reboot_type: str,
        block_device_info: Any = None,
        bad_volumes_callback: Any = None,
        accel_info: Any = None,
        share_info: Any = None,
    ) -> None:
        with _failing_as(exception.InstanceRebootFailure):
            self._partitions.restart(
                self._needed(instance),
                _SOFT_REBOOT if reboot_type == 'SOFT' else 0,
            )

    # -- called by nova before it builds a server with volumes

    def get_volume_connector(self, instance: Any) -> Any:
        raise NotImplementedError(_REFUSAL % 'volumes')

    def _needed(self, instance: Any) -> Any:
        partition = self._partitions.find(instance.uuid)
        if partition is None:
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        return partition


@contextlib.contextmanager
def _failing_as(kind: type[exception.NovaException]) -> Iterator[None]:
    """Raise an error of nova: users see the text of such errors only."""
    try:
        yield
    except exceptions.PVMImageCacheError as error:
        raise kind(reason=str(error)) from error


def _note_disk(instance: Any, name: str | None) -> None:
    """Record the boot disk of an instance; None if it has none.

    The disk is deleted with the instance, so it must be its own.
    """
    if name is None:
        instance.system_metadata.pop(_BOOT_DISK, None)
    else:
        instance.system_metadata[_BOOT_DISK] = name
    instance.save()


def _check_supported(
    instance: Any, network_info: Any, block_device_info: Any
) -> None:
    """Refuse a server that would lack something that it needs.

    :raises BuildAbortException: no other host with this driver has it.
    """
    lacking = {
        'networks: boot it with none': network_info,
        'volumes': driver.block_device_info_get_mapping(block_device_info),
        'ephemeral disks': driver.block_device_info_get_ephemerals(
            block_device_info
        ),
        'swap disks': driver.swap_is_usable(
            driver.block_device_info_get_swap(block_device_info)
        ),
        'config drives': configdrive.required_by(instance),
    }
    for what, wanted in lacking.items():
        if wanted:
            raise exception.BuildAbortException(
                instance_uuid=instance.uuid, reason=_REFUSAL % what
            )
