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

"""Tests of prefetches."""

import dataclasses

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import prefetch
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS


class PrefetchTest(base.CacheTestCase):
    def test_prefetch_caches_the_image(self):
        result = self.prefetch()
        self.assertEqual(
            (True, self.size, self.base_name, self.image),
            (
                result.fetched,
                result.bytes_fetched,
                result.disk_name,
                result.image,
            ),
        )
        self.check_cached()
        self.assertEqual([self.base_name], self.driver.names())
        self.check(self.deploy(), HIT)

    def test_cached_image_is_not_fetched_again(self):
        self.deploy()
        result = self.prefetch()
        self.assertEqual((False, 0), (result.fetched, result.bytes_fetched))
        self.assertEqual(1, len(self.source.opened))

    def test_image_fetched_meanwhile_is_not_fetched_again(self):
        real = self.cache.lock_directory.hold
        outcomes = []

        def hold(*args, **kwargs):
            self.locks.hold = real
            outcomes.append(self.deploy().outcome)
            return real(*args, **kwargs)

        self.locks.hold = hold
        self.assertFalse(self.prefetch().fetched)
        self.assertEqual([MISS], outcomes)

    def test_permission_is_checked_before_a_wait(self):
        self.source.refusal = exceptions.ImageForbidden(image=self.image.id)
        with self.cache.fill_lock(self.base_name, 0):
            self.assertRaises(
                exceptions.ImageForbidden,
                prefetch.Prefetch(self.cache, self.image, 'user', None).run,
            )

    def test_refused_upload_is_repeated_once(self):
        self.driver.before['upload'] = fakes.refused_uploads(1)
        self.assertTrue(self.prefetch().fetched)
        self.check_cached()
        self.assertEqual(2, len(self.source.opened))

    def test_upload_that_is_always_refused_fails(self):
        self.driver.before['upload'] = fakes.refused_uploads(3)
        self.assertRaises(exceptions.UploadFailed, self.prefetch)
        self.check_nothing_left()
        self.assertEqual(2, len(self.source.opened))

    def test_error_of_the_cache_is_raised(self):
        self.assertRaises(
            exceptions.ImageNotCacheable,
            self.prefetch,
            dataclasses.replace(self.image, os_hash_value=None, checksum=None),
        )
        self.catalog.broken = {'base_images.start_fill'}
        self.assertRaises(exceptions.CatalogError, self.prefetch)
        self.catalog.broken = set()
        self.driver.add(self.base_name, 7)
        self.assertRaises(exceptions.BaseImageOccupied, self.prefetch)
        self.assertEqual([], self.catalog.base_images.list('pool'))

    def test_prefetch_without_space_leaves_nothing(self):
        self.driver = fakes.FakeDriver(0)
        self.assertRaises(exceptions.NotEnoughSpace, self.prefetch)
        self.check_nothing_left()

    def test_failed_upload_leaves_nothing(self):
        self.driver.before['upload'] = fakes.refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.prefetch)
        self.check_nothing_left()

    def test_stale_base_image_is_replaced(self):
        self.leave_behind()
        self.assertTrue(self.prefetch().fetched)
        self.check_cached()
        self.assertEqual(set(), self.driver.uploads)

    def test_stalled_fetch_of_another_process_times_out(self):
        self.settings = cache_module.Settings(fetch_timeout=0)
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.assertRaises(exceptions.LockTimeout, self.prefetch)

    def test_failed_commit_deletes_the_disk_and_the_record(self):
        self.catalog.broken = {'base_images.finish_fill'}
        self.assertRaises(exceptions.CatalogError, self.prefetch)
        self.check_nothing_left()
        self.assertEqual(1, self.driver.calls.count('delete'))

    def test_missing_disk_is_fetched_again(self):
        self.prefetch()
        self.driver.vanish(self.base_name)
        self.assertTrue(self.prefetch().fetched)
        self.check_cached()

    def test_foreign_disk_in_place_of_the_base_image_is_kept(self):
        self.prefetch()
        self.driver.vanish(self.base_name)
        foreign = self.driver.add(self.base_name)
        self.assertRaises(exceptions.BaseImageOccupied, self.prefetch)
        self.assertEqual(foreign, self.driver.find_disk(self.base_name))
