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

"""The rule which cached images a deploy may displace."""

import hypothesis
from hypothesis import strategies

from pvm_imagecache.eviction import admission
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.tests.unit import base

GIB = base.GIB
counts = strategies.integers(1, 1000)
sizes = strategies.integers(1, 5 * GIB)


class NewcomerTest(base.TestCase):
    def check(self, expected, deploys, size, *, of, idle=0.0):
        self.assertEqual(
            expected, admission.Newcomer(deploys, size).may_displace(of, idle)
        )

    def test_an_image_that_was_deployed_once_displaces_its_equals(self):
        self.check(True, 1, GIB, of=1)
        self.check(True, 1, 1, of=1)

    def test_an_image_that_was_deployed_once_displaces_no_other(self):
        self.check(False, 1, GIB, of=2)

    def test_an_image_displaces_those_that_are_deployed_less(self):
        self.check(True, 3, GIB, of=2)
        self.check(False, 3, GIB, of=3)
        self.check(False, 3, GIB, of=4)

    def test_deploys_count_by_the_part_of_the_disk_that_is_used(self):
        self.check(True, 5, GIB // 2, of=2)
        self.check(False, 4, GIB // 2, of=2)
        self.check(False, 1000, 1, of=2)

    @base.generated
    @hypothesis.given(counts, sizes, counts)
    def test_an_idle_image_is_displaced_by_any_other(self, new, size, old):
        self.check(True, new, size, of=old, idle=eviction_base.POPULAR_FOR)

    @base.generated
    @hypothesis.given(counts, sizes, counts, sizes)
    def test_two_images_never_displace_each_other_again_and_again(
        self, one, one_size, two, two_size
    ):
        # Not while both are deployed twice or more.
        hypothesis.assume(one > 1 and two > 1)
        both = admission.Newcomer(one, one_size).may_displace(
            two, 0
        ) and admission.Newcomer(two, two_size).may_displace(one, 0)
        self.assertFalse(both)


class DiskSizeTest(base.TestCase):
    @base.generated
    @hypothesis.given(sizes)
    def test_a_disk_has_the_next_whole_gib(self, size):
        disk = admission.disk_size(size)
        self.assertEqual(0, disk % GIB)
        self.assertTrue(size <= disk < size + GIB)
