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

"""What decides, where it decides in nova's words."""

from types import SimpleNamespace
from unittest import mock

from nova.compute import power_state
from nova.compute import provider_tree
from oslo_utils import units
from oslo_utils.fixture import uuidsentinel as uuids
from oslotest import base
from pypowervm.wrappers import base_partition as pvm_partition

from nova import exception
from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.virt import errors
from pvm_imagecache.virt import fault_log
from pvm_imagecache.virt import imagecache
from pvm_imagecache.virt import inventory
from pvm_imagecache.virt import mixin
from pvm_imagecache.virt import power_states


class ErrorsTest(base.BaseTestCase):
    def test_what_nova_makes_of_ours(self) -> None:
        unsafe = exceptions.ImageUnsafe(
            image='i', format='qcow2', reason='no luck'
        )
        for ours, kind, words in (
            (
                exceptions.DiskTooSmall(size='1', image='i', needed='2'),
                exception.FlavorDiskTooSmall,
                'too small for image i',
            ),
            (
                exceptions.ImageNotFound(image='i'),
                exception.ImageNotFound,
                'i could not be found',
            ),
            (
                exceptions.ImageNotActive(image='i', status='queued'),
                exception.ImageNotActive,
                'i is not active',
            ),
            (unsafe, exception.ImageUnacceptable, 'no luck'),
            (
                exceptions.NotEnoughSpace(
                    pool='vg', free='1', needed='2', what='d'
                ),
                exception.InstanceDeployFailure,
                'vg has 1 free',
            ),
        ):
            found = errors.as_nova(ours, 'i')
            self.assertIs(kind, type(found))
            self.assertIn(words, found.format_message())


class PowerStatesTest(base.BaseTestCase):
    def test_states(self) -> None:
        state = pvm_partition.LPARState
        for wanted, given in (
            (power_state.RUNNING, state.RUNNING),
            (power_state.RUNNING, state.OPEN_FIRMWARE),
            (power_state.SHUTDOWN, state.NOT_ACTIVATED),
            (power_state.CRASHED, state.ERROR),
            (power_state.NOSTATE, state.UNKNOWN),
            (power_state.NOSTATE, 'something new'),
        ):
            self.assertEqual(wanted, power_states.of(given))


class InUseTest(base.BaseTestCase):
    def test_images_in_use(self) -> None:
        self.assertEqual(
            {'a', 'b'},
            imagecache.images_in_use(
                [
                    SimpleNamespace(image_ref=each)
                    for each in ('a', '', None, 'b', 'a')
                ]
            ),
        )
        self.assertEqual(set(), imagecache.images_in_use([]))


class InventoryTest(base.BaseTestCase):
    host = inventory.Host(
        processors=16.5,
        processors_free=4.25,
        memory_mb=1000,
        memory_mb_free=400,
        pool=driver_base.Pool(
            'id', 'vg', int(100.5 * units.Gi), int(30.25 * units.Gi)
        ),
    )

    def test_resources(self) -> None:
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

    def test_inventory(self) -> None:
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


class ReservedTest(base.BaseTestCase):
    """How much of the disk space no server can have."""

    def setUp(self) -> None:
        super().setUp()
        self.usage = mock.Mock()
        self.driver = mock.Mock(
            spec=mixin.ImageCacheMixin,
            _reserved_gb=0,
            _usage_trouble=fault_log.FaultLog('tell'),
            image_cache=mock.Mock(),
            _cache_manager=mock.Mock(get_disk_usage=self.usage),
        )
        self.driver.cached_gb.side_effect = lambda: (
            mixin.ImageCacheMixin.cached_gb(self.driver)
        )

    def reserved(self, reserved: int = 2) -> int:
        tree = provider_tree.ProviderTree()
        tree.new_root('node', uuids.node)
        tree.update_inventory(
            'node', {'DISK_GB': {'total': 10, 'reserved': reserved}}
        )
        mixin.ImageCacheMixin.reserve_cached(self.driver, tree, 'node')
        return tree.data('node').inventory['DISK_GB']['reserved']

    def test_what_is_cached_is_added(self) -> None:
        # A GiB that is begun is taken.
        for used, wanted in ((0, 2), (1, 3), (units.Gi, 3), (units.Gi + 1, 4)):
            self.usage.return_value = used
            self.assertEqual(wanted, self.reserved())

    def test_no_more_than_there_is(self) -> None:
        # placement would refuse all of it.
        self.usage.return_value = 9 * units.Gi
        self.assertEqual(10, self.reserved())

    def test_what_was_known_counts_while_it_can_not_be_told(self) -> None:
        self.usage.return_value = 3 * units.Gi
        self.assertEqual(5, self.reserved())
        self.usage.side_effect = exceptions.CatalogError(
            path='x', reason='no luck'
        )
        self.assertEqual(5, self.reserved())
        self.driver.image_cache.caches_images = False
        self.assertEqual(2, self.reserved())
