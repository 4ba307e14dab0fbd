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

"""The partitions (LPARs) of instances, and their power."""

from collections.abc import Callable
import http
import math
from typing import Any
from typing import Final

from pypowervm import util as pvm_util
from pypowervm.tasks import power
from pypowervm.tasks import power_opts
from pypowervm.utils import lpar_builder
from pypowervm.utils import uuid as pvm_uuid
from pypowervm.wrappers import base_partition as pvm_partition
from pypowervm.wrappers import logical_partition as pvm_lpar
from pypowervm.wrappers import managed_system as pvm_system

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.drivers import powervm

_FIRST_DIGIT_BIT: Final = 8
_OFF: Final = (pvm_partition.LPARState.NOT_ACTIVATED,)


class Partitions:
    """The partitions of one host.

    :param adapters: the session with PowerVM.
    :param units_per_processor: share of a processor, from 0.05 to 1, for each
        virtual processor.
    """

    def __init__(
        self, adapters: powervm.AdapterSource, units_per_processor: float
    ) -> None:
        self._adapters = adapters
        self._units_per_processor = units_per_processor

    def system(self) -> Any:
        """Return the host: one GET.

        :returns: a ``pypowervm.wrappers.managed_system.System``.
        :raises PowerVMError: if it cannot be read.
        """
        with self._adapters.translated('read the managed system'):
            return pvm_system.System.get(self._adapters())[0]

    def all(self) -> list[Any]:
        """Return all partitions but the management partition: one GET.

        :returns: ``pypowervm.wrappers.logical_partition.LPAR`` objects.
        :raises PowerVMError: if they cannot be read.
        """
        with self._adapters.translated('list the partitions'):
            return [
                each
                for each in pvm_lpar.LPAR.get(self._adapters())
                if not each.is_mgmt_partition
            ]

    def find(self, instance_uuid: str) -> Any:
        """Return the partition of an instance: one GET.

        :param instance_uuid: of the instance.
        :returns: a ``pypowervm.wrappers.logical_partition.LPAR``; None if
            the instance has none.
        :raises PowerVMError: if it cannot be read.
        """
        return self._none_if_absent(
            f'find instance {instance_uuid}',
            lambda: pvm_lpar.LPAR.get(
                self._adapters(), uuid=partition_uuid(instance_uuid)
            ),
        )

    def state(self, instance_uuid: str) -> str | None:
        """Return the state of the partition of an instance: one GET.

        :param instance_uuid: of the instance.
        :returns: one of ``pypowervm.wrappers.base_partition.LPARState``; None
            if the instance has no partition.
        :raises PowerVMError: if it cannot be read.
        """
        response = self._none_if_absent(
            f'find instance {instance_uuid}',
            lambda: self._adapters().read(
                pvm_lpar.LPAR.schema_type,
                root_id=partition_uuid(instance_uuid),
                suffix_type='quick',
                suffix_parm='PartitionState',
            ),
        )
        if response is None:
            return None
        return str(response.body).strip().strip('"')

    def _none_if_absent(self, action: str, request: Callable[[], Any]) -> Any:
        """Return the result of a request; None if PowerVM answers 404."""
        try:
            with self._adapters.translated(action):
                return request()
        except exceptions.PowerVMRequestFailed as error:
            if powervm.status_of(error) != http.HTTPStatus.NOT_FOUND:
                raise
        return None

    def create(
        self, name: str, instance_uuid: str, processors: int, memory_mb: int
    ) -> Any:
        """Create a partition, which is powered off.

        :param name: of the partition.
        :param instance_uuid: of the instance.
        :param processors: number of virtual processors.
        :param memory_mb: MiB, rounded up to the memory regions of the host.
        :returns: a ``pypowervm.wrappers.logical_partition.LPAR``.
        :raises PowerVMRequestFailed: if the values are invalid, or PowerVM
            refuses them.
        :raises PowerVMError: if PowerVM fails in another way.
        """
        with self._adapters.translated(f'create partition {name}'):
            adapter = self._adapters()
            system = pvm_system.System.get(adapter)[0]
            try:
                wrapper = lpar_builder.LPARBuilder(
                    adapter,
                    attributes(
                        name,
                        instance_uuid,
                        processors,
                        memory_mb,
                        system.memory_region_size,
                    ),
                    lpar_builder.DefaultStandardize(
                        system, proc_units_factor=self._units_per_processor
                    ),
                ).build()
            except (lpar_builder.LPARBuilderException, ValueError) as error:
                raise exceptions.PowerVMRequestFailed(
                    action=f'create partition {name}',
                    reason=text.one_line(error),
                ) from error
            return wrapper.create(parent=system)

    def delete(self, partition: Any) -> None:
        """Delete a partition that is powered off.

        It is no error if the partition does not exist.

        :param partition: a ``pypowervm.wrappers.logical_partition.LPAR``.
        :raises PowerVMError: if it cannot be deleted.
        """
        self._none_if_absent(
            f'delete partition {partition.name}',
            # Without an ETag, because the state has changed since the read.
            lambda: self._adapters().delete(
                pvm_lpar.LPAR.schema_type, root_id=partition.uuid
            ),
        )

    def power_on(self, partition: Any) -> None:
        """Power on a partition; no error if it is on.

        :param partition: a ``pypowervm.wrappers.logical_partition.LPAR``.
        :raises PowerVMError: if it cannot be powered on.
        """
        with self._adapters.translated(f'power on partition {partition.name}'):
            power.PowerOp.start(partition)

    def power_off(self, partition: Any, patience: int = 0) -> None:
        """Power off a partition; no error if it is off.

        :param partition: a ``pypowervm.wrappers.logical_partition.LPAR``.
        :param patience: seconds to wait for a shutdown of the operating
            system; 0 to power off immediately.
        :raises PowerVMError: if it cannot be powered off.
        """
        if partition.state in _OFF:
            return
        with self._adapters.translated(
            f'power off partition {partition.name}'
        ):
            if patience:
                power.power_off_progressive(partition, timeout=patience)
            else:
                power.PowerOp.stop(
                    partition, opts=power_opts.PowerOffOpts().vsp_hard()
                )

    def restart(self, partition: Any, patience: int = 0) -> None:
        """Power off a partition, then power it on.

        :param partition: a ``pypowervm.wrappers.logical_partition.LPAR``.
        :param patience: seconds to wait for a shutdown of the operating
            system; 0 to power off immediately.
        :raises PowerVMError: if it cannot be restarted.
        """
        if partition.state in _OFF:
            self.power_on(partition)
            return
        with self._adapters.translated(f'restart partition {partition.name}'):
            if patience:
                power.power_off_progressive(
                    partition, restart=True, timeout=patience
                )
            else:
                power.PowerOp.stop(
                    partition,
                    opts=power_opts.PowerOffOpts().vsp_hard().restart(),
                )


def partition_uuid(instance_uuid: str) -> str:
    """Return the UUID of the partition of an instance.

    :param instance_uuid: of the instance.
    :returns: the same without the first bit, which PowerVM does not store.
    """
    return str(pvm_uuid.convert_uuid_to_pvm(instance_uuid)).upper()


def instance_uuids(uuid: str) -> tuple[str, str]:
    """Return the possible UUIDs of the instance of a partition.

    :param uuid: of the partition.
    :returns: both candidates, since PowerVM drops the first bit.
    """
    lower = uuid.lower()
    return lower, f'{int(lower[0], 16) | _FIRST_DIGIT_BIT:x}{lower[1:]}'


def partition_name(instance_name: str) -> str:
    """Return the name of the partition of an instance.

    :param instance_name: of the instance.
    :returns: the name that nova-powervm gives it.
    """
    return str(pvm_util.sanitize_partition_name_for_api(instance_name))


def attributes(
    name: str,
    instance_uuid: str,
    processors: int,
    memory_mb: int,
    region_mb: int,
) -> dict[str, Any]:
    """Return the attributes of a partition for ``LPARBuilder``.

    :param name: of the partition.
    :param instance_uuid: of the instance.
    :param processors: number of virtual processors.
    :param memory_mb: MiB, rounded up to whole regions.
    :param region_mb: size of a memory region of the host, in MiB.
    :returns: values by names of ``pypowervm.utils.lpar_builder``.
    """
    return {
        lpar_builder.NAME: name,
        lpar_builder.UUID: partition_uuid(instance_uuid),
        lpar_builder.ENV: pvm_partition.LPARType.AIXLINUX,
        lpar_builder.VCPU: processors,
        lpar_builder.MEM: math.ceil(memory_mb / region_mb) * region_mb,
    }
