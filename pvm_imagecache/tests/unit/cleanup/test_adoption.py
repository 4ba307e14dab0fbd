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

"""Disks named like base images, of which the catalogue knows nothing."""

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes


class AdoptTest(base.CacheTestCase):
    def add(self, **values):
        return self.driver.add(
            self.base_name, **({'content': self.content} | values)
        )

    def adopt(self):
        return adoption.adopt(self.cache, self.image)

    def refused(self, word):
        error = self.assertRaises(exceptions.ImageNotAdoptable, self.adopt)
        self.assertIn(word, str(error))

    def test_it_is_served(self):
        disk = self.add()
        record = self.adopt()
        self.assertEqual(
            (disk.udid, disk.capacity, models.State.READY),
            (record.udid, record.capacity, record.state),
        )
        self.check(self.deploy(), instance_disk.Outcome.HIT)
        self.assertEqual([], self.source.opened)

    def test_whatever_its_label_is(self):
        # The operator's word is more than a guess by it.
        self.add(label='theirs')
        self.adopt()
        self.check(self.deploy(), instance_disk.Outcome.HIT)

    def test_it_goes_as_others_do(self):
        self.add(label='theirs')
        record = self.adopt()
        self.catalog.base_images.start_eviction(record)
        self.check(self.deploy(), instance_disk.Outcome.MISS)
        self.check_cached()

    def test_there_is_none(self):
        self.refused('no such disk')

    def test_of_another_size(self):
        for gib in (2, 7):
            self.add(gib=gib)
            self.refused('bytes')

    def test_of_an_image_that_is_larger(self):
        self.image = base.image_of(self.content, size=base.GIB + 1)
        self.add()
        self.refused('bytes')

    def _qcow2(self, **values):
        self.content = images.qcow2_bytes(3 * base.GIB)
        self.image = base.image_of(self.content, disk_format='qcow2', **values)
        self.source.put(self.image, *fakes.chunks(self.content))

    def test_whose_copies_could_be_too_small(self):
        self._qcow2()
        self.add()
        self.refused('virtual size')

    def test_whose_copies_are_large_enough(self):
        self._qcow2(virtual_size=3 * base.GIB)
        self.add()
        self.adopt()
        done = self.deploy()
        self.check(done, instance_disk.Outcome.HIT)
        self.assertEqual(3 * base.GIB, done.disk.capacity)

    def test_adopted_before_that_was_asked(self):
        self._qcow2()
        disk = self.add()
        self.catalog.base_images.adopt(
            'pool', self.base_name, self.image, disk.udid, disk.capacity
        )
        done = self.deploy()
        self.check(done, instance_disk.Outcome.MISS)
        self.assertEqual(3 * base.GIB, done.disk.capacity)

    def test_a_partition_has_it(self):
        self.add()
        self.driver.taken = {self.base_name}
        self.refused('mapped')

    def test_somebody_writes_to_it(self):
        self.driver.uploads = {self.add().udid}
        self.refused('upload')

    def test_the_cache_has_it(self):
        self.prefetch()
        self.refused('the cache has it')

    def test_somebody_fetches_it(self):
        self.add()
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            self.assertRaises(exceptions.LockTimeout, self.adopt)
        self.assertEqual([], self.catalog.base_images.list('pool'))


class DoubtTest(base.TestCase):
    def test_two_of_a_name(self):
        self.assertIn(
            '2 disks',
            ownership.doubt_about(
                [object(), object()], base.image_of(b'x'), (), ()
            ),
        )

    def test_none(self):
        self.assertIsNone(
            ownership.doubt_about([], base.image_of(b'x'), (), ())
        )
