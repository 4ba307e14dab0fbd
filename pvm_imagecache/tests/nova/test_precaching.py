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

"""``openstack aggregate cache image``, and the inventory in placement."""

from unittest import mock
import uuid

from nova.compute import provider_tree

from nova import context as nova_context
from nova.virt import fake
from pvm_imagecache import exceptions
from pvm_imagecache import simulator
from pvm_imagecache.catalog import base_images
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.tests.nova import base
from pvm_imagecache.virt import mixin

SIZE = 3 * base.MIB + 1


class PrecachingTestCase(base.NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.aggregate = self.api.post_aggregate(
            {'aggregate': {'name': 'fleet'}}
        )
        self.api.add_host_to_aggregate(self.aggregate['id'], self.compute.host)

    def cache(self, *image_ids: str) -> None:
        """Cache images through the API, and wait until it is done."""
        self.notifier.reset()
        self.api.api_post(
            f'/os-aggregates/{self.aggregate["id"]}/images',
            {'cache': [{'id': each} for each in image_ids]},
            check_response_status=[202],
        )
        self.notifier.wait_for_versioned_notifications(
            'aggregate.cache_images.end', timeout=30
        )

    def test_images_are_cached_through_the_api(self) -> None:
        image_id = self.store(SIZE)
        self.cache(image_id)
        self.assertEqual(SIZE, self.fetched())
        self.assertEqual(1, len(self.base_images()))
        self.cache(image_id)
        self.assertEqual(0, self.fetched())
        unknown = str(uuid.uuid4())
        self.assertEqual({unknown: 'error'}, self.results(unknown))
        self.assertEqual({image_id: 'existing'}, self.results(image_id))
        other = self.store(SIZE, seed=1)
        self.assertEqual({other: 'cached'}, self.results(other))
        self.fetched()
        # A server is created from the cache.
        server = self.boot(image_id)
        self.assert_permission_checked()
        self.assert_boots_from(server, image_id)

    def results(self, image_id: str) -> dict[str, str]:
        """Return the answer of nova-compute to the conductor."""
        return self.compute.manager.cache_images(
            nova_context.RequestContext('user', 'project'), [image_id]
        )

    def test_a_disabled_cache_is_unsupported(self) -> None:
        self.flags(enabled=False, group='pvm_imagecache')
        self.compute.driver.image_cache.reconfigure(base.CONF)
        image_id = self.store(SIZE)
        self.assertEqual({image_id: 'unsupported'}, self.results(image_id))
        self.assert_boots_from(self.boot(image_id), image_id)
        self.assertEqual(set(), self.base_images())

    def test_base_images_are_reserved_in_placement(self) -> None:
        provider = self._get_provider_uuid_by_host(self.compute.host)

        def disk() -> dict:
            self._run_periodics()
            return self._get_provider_inventory(provider)['DISK_GB']

        self.flags(reserved_host_disk_mb=1024)
        self.assertEqual((1000, 1), (disk()['total'], disk()['reserved']))
        stored = [self.store(SIZE, seed) for seed in range(3)]
        for image_id in stored:
            self.results(image_id)
        # They can be evicted at once, even while they are young.
        self.assertEqual((1000, 1), (disk()['total'], disk()['reserved']))
        for image_id in stored:
            self.compute.driver.image_cache.pin(image_id)
        self.assertEqual((1000, 4), (disk()['total'], disk()['reserved']))
        # The last known usage counts after an error.
        with mock.patch.object(
            base_images.BaseImages,
            'list',
            autospec=True,
            side_effect=(exceptions.CatalogError(path='x', reason='no luck')),
        ):
            self.assertEqual(4, disk()['reserved'])
        self.assertEqual(
            1,
            self.stdlog.logger.output.count(
                'Could not determine the usage of the image cache'
            ),
        )


class FairUseTestCase(base.NovaTestCase):
    """A small pool with images that a user has cached."""

    volume_groups = (simulator.Group('cachevg', 20),)

    def test_cached_images_keep_no_server_from_a_host(self) -> None:
        # One byte each, and the smallest disk has 1 GiB.
        for seed in range(14):
            driver = self.compute.driver
            self.assertTrue(
                driver.cache_image(
                    nova_context.RequestContext('user', 'project'),
                    self.store(1, seed),
                )
            )
        self._run_periodics()
        image_id = self.store(SIZE, 99)
        server = self.boot(
            image_id,
            flavor_id=self._create_flavor(
                id=str(uuid.uuid4()),
                memory_mb=1000,
                vcpu=1,
                disk=8,
                ephemeral=0,
            ),
        )
        self.assert_boots_from(server, image_id)


class MixinTestCase(base.NovaTestCase):
    """The mixin in front of another driver."""

    def test_another_driver_caches_with_the_mixin(self) -> None:
        class Theirs(mixin.ImageCacheMixin, fake.FakeDriver):
            """As a fork of nova-powervm would be."""

        driver = Theirs(None)
        driver.capabilities = {**driver.capabilities, 'has_imagecache': False}
        driver.init_host('fork')
        self.addCleanup(driver.cleanup_host, 'fork')
        self.assertTrue(driver.capabilities['has_imagecache'])
        self.assertTrue(driver.capabilities['supports_extend_volume'])
        image_id = self.store(SIZE)
        context = nova_context.RequestContext('user', 'project')
        self.assertTrue(driver.cache_image(context, image_id))
        self.assertFalse(driver.cache_image(context, image_id))
        driver.image_cache.pin(image_id)
        tree = provider_tree.ProviderTree()
        tree.new_root('fork', str(uuid.uuid4()))
        driver.update_provider_tree(tree, 'fork')
        disk = tree.data('fork').inventory['DISK_GB']
        plain = provider_tree.ProviderTree()
        plain.new_root('fork', str(uuid.uuid4()))
        fake.FakeDriver.update_provider_tree(driver, plain, 'fork')
        before = plain.data('fork').inventory['DISK_GB']
        self.assertEqual({**before, 'reserved': before['reserved'] + 1}, disk)
        made = driver.image_cache.create_disk(
            driver.image_source.get(image_id, context),
            'b_theirs',
            context=context,
        )
        self.assertEqual('hit', made.outcome.value)
        self.assertEqual(
            'b_theirs', driver.image_cache.driver.mappable(made.disk).name
        )
        driver.image_cache.unpin(image_id)
        uptime = boot_clock.uptime
        with mock.patch.object(
            boot_clock, 'uptime', lambda: uptime() + 100_000
        ):
            driver.manage_image_cache(context, [])
        self.assertEqual(set(), self.base_images())
