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

"""The suite of the cache on a driver."""

from pvm_imagecache import fixtures
from pvm_imagecache.tests.unit.conformance import test_driver as drivers


class SuiteTest(drivers.DriverTestCase):
    def test_a_correct_driver_passes(self):
        with self.package(drivers.CORRECT):
            self.assertEqual(
                {}, self.failures(self.suite(fixtures.CacheConformance))
            )

    def test_broken_drivers_fail(self):
        for name, test, cause in (
            (
                'deletes nothing',
                'test_an_evicted_image_frees_its_disk',
                'the base image and its record must be gone',
            ),
            (
                'loses bytes',
                'test_a_hit_reads_nothing_from_the_source',
                'does not have the bytes of the image',
            ),
            (
                'copies are links',
                'test_a_copy_survives_its_base_image',
                'No such file',
            ),
            (
                'no disk is mapped',
                'test_a_mapped_base_image_is_not_removed',
                'a base image that a partition uses must not be removed',
            ),
            (
                'another pool at each start',
                'test_a_restarted_process_serves_hits',
                'was a',
            ),
            (
                'lies about space',
                'test_a_full_pool_makes_room',
                'no space',
            ),
        ):
            with self.package(drivers.BROKEN[name][0]):
                found = self.failures(
                    self.suite(fixtures.CacheConformance), [test]
                )
            self.assertEqual([test], list(found), name)
            self.assertIn(cause, found[test], name)
