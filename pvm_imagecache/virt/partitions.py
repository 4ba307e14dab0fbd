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

"""The partitions (LPARs) that instances are, and their power."""

from collections.abc import Iterator
import contextlib
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
from pvm_imagecache.drivers import powervm

_FIRST_DIGIT_BIT: Final = 8
_OFF: Final = (pvm_partition.LPARState.NOT_ACTIVATED,)


class Partitions:
    """The partitions of one host.

    :param adapters: the session with PowerVM.
    :param units_per_processor: of a real processor, for each virtual one.
    """

    def __init__(
        self, adapters: powervm.AdapterSource, units_per_processor: float
    ) -> None:
        self._adapters = adapters
        self._units_per_processor = units_per_processor

    def system(self) -> Any:
        """The ``pypowervm`` wrapper of the host itself: one GET."""
        with self._adapters.translated('read the managed system'):
            return pvm_system.System.get(self._adapters())[0]

    def all(self) -> list[Any]:
        """The partitions but those that run PowerVM itself: one GET."""
        with self._adapters.translated('list the partitions'):
            return [
                each
                for each in pvm_lpar.LPAR.get(self._adapters())
                if not each.is_mgmt_partition
            ]

    def find(self, instance_uuid: str) -> Any:
        """The partition of an instance, or None: one GET."""
        with self._or_none(f'look for instance {instance_uuid}') as found:
            found.append(
                pvm_lpar.LPAR.get(
                    self._adapters(), uuid=partition_uuid(instance_uuid)
                )
            )
        return found[0] if found else None

    def state(self, instance_uuid: str) -> str | None:
        """What the partition of an instance is at, or None: one GET."""
        with self._or_none(f'look for instance {instance_uuid}') as found:
            found.append(
                self._adapters().read(
                    pvm_lpar.LPAR.schema_type,
                    root_id=partition_uuid(instance_uuid),
                    suffix_type='quick',
                    suffix_parm='PartitionState',
                )
            )
        return str(found[0].body).strip().strip('"') if found else None

    @contextlib.contextmanager
    def _or_none(self, action: str) -> Iterator[list[Any]]:
        """What the block finds; nothing where PowerVM says 404."""
        found: list[Any] = []
        try:
            with self._adapters.translated(action):
                yield found
        except exceptions.PowerVMRequestFailed as error:
            found.clear()
            if powervm.status_of(error) != http.HTTPStatus.NOT_FOUND:
                raise

    def create(
        self, name: str, instance_uuid: str, processors: int, memory_mb: int
    ) -> Any:
        """Make a partition, which is powered off.

        :param memory_mb: is rounded up to what the host's memory comes in.
        """
        with self._adapters.translated(f'make partition {name}'):
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
                    action=f'make partition {name}',
                    reason=powervm.one_line(error),
                ) from error
            return wrapper.create(parent=system)

    def delete(self, partition: Any) -> None:
        """Delete a partition that is powered off; gone already is fine."""
        with self._or_none(f'delete partition {partition.name}'):
            # Without an etag: its state is another one by now.
            self._adapters().delete(
                pvm_lpar.LPAR.schema_type, root_id=partition.uuid
            )

    def power_on(self, partition: Any) -> None:
        """Power a partition on; it being on already is fine."""
        with self._adapters.translated(f'power on partition {partition.name}'):
            power.PowerOp.start(partition)

    def power_off(self, partition: Any, patience: int = 0) -> None:
        """Power a partition off; it being off already is fine.

        :param patience: seconds that its operating system has to shut down;
            with 0 it is not asked.
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
        """Power a partition off and on again."""
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


# -- deciders


def partition_uuid(instance_uuid: str) -> str:
    """The UUID of an instance's partition: PowerVM takes no first bit."""
    return str(pvm_uuid.convert_uuid_to_pvm(instance_uuid)).upper()


def instance_uuids(uuid: str) -> tuple[str, str]:
    """Those that the instance of a partition may have: one bit is lost."""
    text = uuid.lower()
    return text, f'{int(text[0], 16) | _FIRST_DIGIT_BIT:x}{text[1:]}'


def partition_name(instance_name: str) -> str:
    """The name of an instance's partition, as nova-powervm made it."""
    return str(pvm_util.sanitize_partition_name_for_api(instance_name))


def attributes(
    name: str,
    instance_uuid: str,
    processors: int,
    memory_mb: int,
    region_mb: int,
) -> dict[str, Any]:
    """What pypowervm's LPARBuilder is to build; memory in MiB."""
    return {
        lpar_builder.NAME: name,
        lpar_builder.UUID: partition_uuid(instance_uuid),
        lpar_builder.ENV: pvm_partition.LPARType.AIXLINUX,
        lpar_builder.VCPU: processors,
        lpar_builder.MEM: math.ceil(memory_mb / region_mb) * region_mb,
    }
