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

from unittest import mock

from nova.compute import provider_tree
from oslo_utils import units
from oslo_utils.fixture import uuidsentinel as uuids
from oslotest import base

from pvm_imagecache import exceptions
from pvm_imagecache.virt import fault_log
from pvm_imagecache.virt import mixin


class ReservedSpaceTestCase(base.BaseTestCase):
    """How much disk space is reserved for base images."""

    def setUp(self) -> None:
        super().setUp()
        self.usage = mock.Mock()
        self.driver = mock.Mock(
            spec=mixin.ImageCacheMixin,
            _reserved_gb=0,
            _usage_faults=fault_log.FaultLog('do it'),
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

    def test_base_images_are_added_to_reserved_space(self) -> None:
        # A part of a GiB counts as a whole one.
        for used, wanted in ((0, 2), (1, 3), (units.Gi, 3), (units.Gi + 1, 4)):
            self.usage.return_value = used
            self.assertEqual(wanted, self.reserved())

    def test_no_more_than_the_total_is_reserved(self) -> None:
        # placement would refuse the whole inventory.
        self.usage.return_value = 9 * units.Gi
        self.assertEqual(10, self.reserved())

    def test_the_last_known_usage_counts_after_an_error(self) -> None:
        self.usage.return_value = 3 * units.Gi
        self.assertEqual(5, self.reserved())
        self.usage.side_effect = exceptions.CatalogError(
            path='x', reason='no luck'
        )
        self.assertEqual(5, self.reserved())
        self.driver.image_cache.caches_images = False
        self.assertEqual(2, self.reserved())
