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

from oslo_utils import units
from oslotest import base

from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.virt import inventory


class InventoryTestCase(base.BaseTestCase):
    host = inventory.Host(
        processors=16.5,
        processors_free=4.25,
        memory_mb=1000,
        memory_mb_free=400,
        pool=driver_base.Pool(
            'id', 'vg', int(100.5 * units.Gi), int(30.25 * units.Gi)
        ),
    )

    def test_resources_are_rounded_to_whole_units(self) -> None:
        found = inventory.resources(self.host, 'node')
        self.assertEqual(
            (17, 13, 1000, 600, 100, 71, 30, 'node'),
            tuple(
                found[key]
                for key in (
                    'vcpus',
                    'vcpus_used',
                    'memory_mb',
                    'memory_mb_used',
                    'local_gb',
                    'local_gb_used',
                    'disk_available_least',
                    'hypervisor_hostname',
                )
            ),
        )

    def test_no_more_is_reserved_than_exists(self) -> None:
        ratios = {'VCPU': 4.0, 'MEMORY_MB': 1.0, 'DISK_GB': 1.5}
        found = inventory.inventory(self.host, ratios, 1, 5000, 7)
        self.assertEqual(
            {
                'VCPU': (17, 1, 4.0),
                'MEMORY_MB': (1000, 1000, 1),
                'DISK_GB': (100, 7, 1.5),
            },
            {
                name: (
                    each['total'],
                    each['reserved'],
                    each['allocation_ratio'],
                )
                for name, each in found.items()
            },
        )
