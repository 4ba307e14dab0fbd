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

"""The resources of a host, as nova and placement expect them."""

import dataclasses
import json
import math
from typing import Any
from typing import Final

from nova.objects import fields
import os_resource_classes as orc
from oslo_utils import units

from pvm_imagecache.drivers import base

#: That of nova-powervm. PowerVM has no version that nova could compare.
_HYPERVISOR_VERSION: Final = 1
_GUESTS: Final = (fields.Architecture.PPC64, fields.Architecture.PPC64LE)


@dataclasses.dataclass(frozen=True)
class Host:
    """A host and its pool.

    :ivar processors: that partitions can use; 1.0 is a whole processor.
    :ivar processors_free: those that no partition has.
    :ivar memory_mb: that partitions can use, in MiB.
    :ivar memory_mb_free: that no partition has, in MiB.
    :ivar pool: the pool of disks.
    """

    processors: float
    processors_free: float
    memory_mb: int
    memory_mb_free: int
    pool: base.Pool

    @classmethod
    def of(cls, system: Any, pool: base.Pool) -> 'Host':
        """Return the host that a managed system describes.

        :param system: a ``pypowervm.wrappers.managed_system.System``.
        :param pool: the pool of disks.
        :returns: the host.
        """
        return cls(
            processors=float(system.proc_units_configurable),
            processors_free=float(system.proc_units_avail),
            memory_mb=int(system.memory_configurable),
            memory_mb_free=int(system.memory_free),
            pool=pool,
        )

    @property
    def disk_gb(self) -> int:
        """Whole GiB that placement can allocate."""
        return self.pool.capacity // units.Gi


def resources(host: Host, node: str) -> dict[str, Any]:
    """Return the result of ``get_available_resource``.

    :param host: the host.
    :param node: its name in nova.
    :returns: see ``nova.virt.driver.ComputeDriver``.
    """
    return {
        'vcpus': math.ceil(host.processors),
        'vcpus_used': math.ceil(host.processors - host.processors_free),
        'memory_mb': host.memory_mb,
        'memory_mb_used': host.memory_mb - host.memory_mb_free,
        'local_gb': host.disk_gb,
        'local_gb_used': math.ceil(host.pool.used / units.Gi),
        'disk_available_least': host.pool.free // units.Gi,
        'hypervisor_type': fields.HVType.PHYP,
        'hypervisor_version': _HYPERVISOR_VERSION,
        'hypervisor_hostname': node,
        'cpu_info': json.dumps({'vendor': 'ibm', 'arch': 'ppc64'}),
        'numa_topology': None,
        'supported_instances': [
            (guest, fields.HVType.PHYP, fields.VMMode.HVM) for guest in _GUESTS
        ],
        'stats': {},
    }


def inventory(
    host: Host,
    ratios: dict[str, float],
    reserved_cpus: int,
    reserved_memory_mb: int,
    reserved_disk_gb: int,
) -> dict[str, dict[str, Any]]:
    """Return the inventory for ``update_provider_tree``.

    Base images are not included; see ``ImageCacheMixin.reserve_cached``.

    :param host: the host.
    :param ratios: allocation ratios by resource class.
    :param reserved_cpus: processors that are not allocated.
    :param reserved_memory_mb: MiB that are not allocated.
    :param reserved_disk_gb: GiB that are not allocated.
    :returns: inventories by resource class, without empty ones.
    """
    return {
        resource_class: {
            'total': total,
            'reserved': min(reserved, total),
            'min_unit': 1,
            'max_unit': total,
            'step_size': 1,
            'allocation_ratio': ratios[resource_class],
        }
        for resource_class, total, reserved in (
            (orc.VCPU, math.ceil(host.processors), reserved_cpus),
            (orc.MEMORY_MB, host.memory_mb, reserved_memory_mb),
            (orc.DISK_GB, host.disk_gb, reserved_disk_gb),
        )
        if total
    }
