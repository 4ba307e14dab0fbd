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

"""Tests of the creation of disks that may need space of cached images."""

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.deploy import space
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.eviction import lru
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.tests.unit import base


class WithSpaceTest(base.CacheTestCase):
    """Two images of one GiB each are cached in a pool of three."""

    gib = 3

    def setUp(self):
        super().setUp()
        self.policies = (
            pipeline.NamedPolicy('lru', lru.LRUPolicy(None, None)),
        )
        self.settings = cache_module.Settings(
            stall_timeout=base.PATIENCE, minimum_age=0
        )
        self.patch(evictor, 'LOCK_TIMEOUT', 0)
        self.patch(evictor, 'FREEING_TIMEOUT', 0)
        self.other, _ = self.another('ffffffff-ffff-0000-0000-000000000000')
        self.other_name = naming.base_image_name(self.other.id)
        self.prefetch()
        self.prefetch(self.other)
        self.attempts = 0

    def create(self, gib=2):
        self.attempts += 1
        return self.driver.create_disks(
            [driver_base.NewDisk('disk', gib * base.GIB, 'raw')]
        )

    def refuse(self):
        """Refuse the disk although there is space for it."""
        self.attempts += 1
        raise exceptions.NotEnoughSpace(
            pool='p', free=1, needed=1, needed_bytes=base.GIB, what='w'
        )

    def refuse_though_free(self, free):
        """Refuse a disk as PowerVM does, whatever the cause is."""
        self.attempts += 1
        powervm.raise_if_full(
            exceptions.PowerVMRequestFailed(
                action='create', reason='0516-404 allocp: cannot fulfill'
            ),
            pool='p',
            needed=base.GIB,
            what='w',
            free=free,
        )

    def with_space(self, create=None, **kwargs):
        return space.with_space(self.cache, create or self.create, **kwargs)

    def check_refused(self, **kwargs):
        self.assertRaises(exceptions.NotEnoughSpace, self.with_space, **kwargs)

    def check_disks(self, *names):
        self.assertEqual(sorted(names), self.driver.names())

    def test_disk_that_fits_evicts_nothing(self):
        (disk,) = self.with_space(lambda: self.create(1))
        self.assertEqual('disk', disk.name)
        self.check_disks('disk', self.base_name, self.other_name)

    def test_least_recently_used_image_is_evicted(self):
        (disk,) = self.with_space()
        self.assertEqual(2 * base.GIB, disk.capacity)
        self.check_disks('disk', self.other_name)
        self.assertEqual(2, self.attempts)

    def test_image_of_the_disk_is_never_evicted(self):
        self.with_space(for_image=self.image.id)
        self.check_disks('disk', self.base_name)

    def test_nothing_is_evicted_if_it_is_not_enough(self):
        self.check_refused(
            create=lambda: self.create(3), for_image=self.image.id
        )
        self.check_disks(self.base_name, self.other_name)
        self.assertEqual(1, self.attempts)

    def test_image_of_the_disk_is_kept_as_the_last_resort(self):
        self.check_refused(
            create=lambda: self.create(3),
            for_image=self.image.id,
            last_resort=True,
        )
        self.check_disks(self.base_name, self.other_name)

    def test_young_images_are_evicted_only_as_the_last_resort(self):
        self.settings = cache_module.Settings(
            stall_timeout=base.PATIENCE, minimum_age=1000
        )
        self.check_refused()
        self.check_disks(self.base_name, self.other_name)
        self.with_space(last_resort=True)
        self.check_disks('disk', self.other_name)

    def test_pinned_images_are_kept_as_the_last_resort(self):
        for image in (self.image, self.other):
            self.catalog.pins.pin('pool', image.id, '', None)
        self.check_refused(last_resort=True)
        self.check_disks(self.base_name, self.other_name)

    def test_nothing_is_evicted_if_automatic_eviction_is_off(self):
        self.settings = cache_module.Settings(automatic=False)
        self.check_refused(last_resort=True)
        self.check_disks(self.base_name, self.other_name)
        self.assertEqual(1, self.attempts)

    def test_attempts_are_bounded(self):
        self.check_refused(create=self.refuse)
        self.assertEqual(4, self.attempts)

    def test_plenty_of_space_is_a_reason_for_one_eviction(self):
        for _ in range(3):
            error = self.assertRaises(
                exceptions.SpaceRefused,
                self.with_space,
                lambda: self.refuse_though_free(4 * base.GIB),
                last_resort=True,
            )
            self.assertIn('0516-404', str(error))
            self.check_disks(self.other_name)
        self.assertEqual(2 + 1 + 1, self.attempts)

    def test_plenty_of_space_is_no_reason_for_the_last_resort(self):
        self.settings = cache_module.Settings(
            stall_timeout=base.PATIENCE, minimum_age=1000
        )
        self.check_refused(
            create=lambda: self.refuse_though_free(4 * base.GIB),
            last_resort=True,
        )
        self.check_disks(self.base_name, self.other_name)

    def test_eviction_that_helped_may_be_repeated(self):
        def create():
            # A limit of the number of disks.
            if len(self.driver.names()) > 1:
                self.refuse_though_free(4 * base.GIB)
            return 'created'

        self.assertEqual('created', self.with_space(create))
        self.check_disks(self.other_name)
        self.prefetch()
        self.assertEqual('created', self.with_space(create))

    def test_scattered_space_may_take_several_evictions(self):
        self.check_refused(
            create=lambda: self.refuse_though_free(2 * base.GIB),
            last_resort=True,
        )
        self.check_disks()

    def test_other_errors_are_not_retried(self):
        self.driver.add('disk')
        self.assertRaises(exceptions.DiskExists, self.with_space)
        self.assertEqual(1, self.attempts)
