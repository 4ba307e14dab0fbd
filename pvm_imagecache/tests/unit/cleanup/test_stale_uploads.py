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

from pvm_imagecache.cleanup import stale_uploads
from pvm_imagecache.tests.unit import base


class StaleUploadsTest(base.CacheTestCase):
    """More of it is in the tests of the reconciler."""

    def setUp(self):
        super().setUp()
        self.deploy('earlier')
        stale_uploads.remove(self.cache)
        (disk,) = self.driver.base_image_snapshot().disks
        self.driver.uploads.add(disk.udid)

    def test_entries_are_not_looked_for_without_a_reason(self):
        stale_uploads.remove(self.cache)
        self.assertEqual(1, len(self.driver.uploads))
        stale_uploads.remove(self.cache, is_certain=True)
        self.assertEqual(set(), self.driver.uploads)

    def test_entries_of_uploads_in_progress_are_kept(self):
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            stale_uploads.remove(self.cache, is_certain=True)
        self.assertEqual(1, len(self.driver.uploads))
        # The next run looks again.
        stale_uploads.remove(self.cache)
        self.assertEqual(set(), self.driver.uploads)
