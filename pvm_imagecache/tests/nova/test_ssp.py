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

"""nova-compute on a Shared Storage Pool, which caches images itself."""

from pvm_imagecache.tests.nova import base

SIZE = 3 * base.MIB + 1


class SSPTestCase(base.NovaTestCase):
    cluster = ('cluster1', 500.0)
    options = {'disk_driver': 'ssp'}

    def test_servers_are_clones_of_the_image_of_the_pool(self) -> None:
        driver = self.compute.driver
        self.assertFalse(driver.capabilities['has_imagecache'])
        image_id = self.store(SIZE)
        first, second = self.boot(image_id), self.boot(image_id)
        # The pool has fetched it, once.
        self.assertEqual(
            [SIZE],
            [
                each.bytes_sent
                for each in self.server.downloads()
                if each.bytes_sent > 1
            ],
        )
        for server in (first, second):
            self.assert_boots_from(server, image_id)
            self.assertEqual('LogicalUnit', self.disk_of(server)['type'])
            self.assertIn(
                server['id'].replace('-', '_'), self.disk_of(server)['name']
            )
        self.run_cleanup()
        driver.manage_image_cache(None, None)
        self.assertRaises(
            NotImplementedError, driver.cache_image, None, image_id
        )
        self.assertEqual(
            {image_id: 'unsupported'},
            self.compute.manager.cache_images(None, [image_id]),
        )
        self.assertEqual(0, driver.cached_gb())
        self._delete_server(first)
        self.assert_boots_from(second, image_id)
        self._delete_server(second)
        self.assertEqual({}, self.partitions())
        # With its last clone pypowervm removes an image from the pool.
        self.assertEqual({}, self.disks())
