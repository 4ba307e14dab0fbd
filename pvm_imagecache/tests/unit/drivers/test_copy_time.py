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

import socket

import hypothesis
from hypothesis import strategies

from pvm_imagecache import platform_facts
from pvm_imagecache.drivers import copy_time
from pvm_imagecache.tests.unit import base

TIB = 1 << 40


class CopyTimeTest(base.TestCase):
    def test_a_slow_array_has_enough_time_without_any_fact(self):
        # 18 hours for 2 TB were reported.
        self.assertGreater(copy_time.time_limit(2 * TIB, None), 2 * 18 * 3600)

    def test_the_limit_follows_the_rate(self):
        for rate in (8 << 20, 250 << 20, 1 << 33):
            limit = copy_time.time_limit(TIB, rate)
            self.assertEqual(max(3600.0, 4 * TIB / rate), limit)
        self.assertEqual(5.0, copy_time.time_limit(0, None, 5.0))

    def test_an_absurd_rate_is_not_believed(self):
        for absurd, believed in (
            (0, platform_facts.LEAST_RATE),
            (1, platform_facts.LEAST_RATE),
            (platform_facts.MAX_NUMBER, platform_facts.MOST_RATE),
        ):
            for size in (1 << 30, TIB):
                self.assertEqual(
                    copy_time.time_limit(size, believed),
                    copy_time.time_limit(size, absurd),
                )

    @hypothesis.given(
        strategies.integers(0, (1 << 63) - 1),
        strategies.none() | strategies.integers(0, platform_facts.MAX_NUMBER),
    )
    def test_the_limit_is_a_time_that_a_socket_accepts(self, size, rate):
        limit = copy_time.time_limit(size, rate)
        self.assertGreaterEqual(limit, copy_time.LEAST_LIMIT)
        self.assertLessEqual(limit, copy_time.MOST_LIMIT)
        with socket.socket() as listener:
            listener.settimeout(limit)

    def test_a_longer_time_limit_of_the_operator_is_kept(self):
        least = 2 * copy_time.MOST_LIMIT
        self.assertEqual(least, copy_time.time_limit(TIB, 1, least))

    def test_what_fits_into_a_limit_takes_no_longer(self):
        for rate in (None, 0, 3, 1 << 20, 250 << 20, 1 << 40):
            size = copy_time.size_in(3600.0, rate)
            self.assertEqual(3600.0, copy_time.time_limit(size, rate))
