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

from pvm_imagecache.drivers import copy_time
from pvm_imagecache.tests.unit import base

TIB = 1 << 40


class CopyTimeTest(base.TestCase):
    def test_a_slow_array_has_enough_time_without_any_fact(self):
        # 18 hours for 2 TB were reported.
        self.assertGreater(copy_time.time_limit(2 * TIB, None), 2 * 18 * 3600)

    def test_the_limit_follows_the_rate(self):
        for rate in (1, 1 << 20, 250 << 20, 1 << 40):
            limit = copy_time.time_limit(TIB, rate)
            self.assertEqual(max(3600.0, 4 * TIB / max(4, rate)), limit)
        self.assertEqual(5.0, copy_time.time_limit(0, None, 5.0))

    def test_what_fits_into_a_limit_takes_no_longer(self):
        for rate in (None, 0, 3, 1 << 20, 250 << 20):
            size = copy_time.size_in(3600.0, rate)
            self.assertEqual(3600.0, copy_time.time_limit(size, rate))
