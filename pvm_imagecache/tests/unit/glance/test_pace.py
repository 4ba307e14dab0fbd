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

"""The minimum rate of a download."""

from pvm_imagecache.glance import pace
from pvm_imagecache.system import content
from pvm_imagecache.tests.unit import base


class PaceTest(base.TestCase):
    def test_a_slow_window_ends_a_download_after_a_fast_one(self):
        found = pace.Pace(1000, 0)
        found.received(10**9, pace.WINDOW)
        found.received(1, pace.WINDOW - 1)
        error = self.assertRaises(pace.TooSlow, found.received, 1, 1)
        self.assertEqual(1000, error.minimum)
        self.assertLess(error.rate, 1)

    def test_a_short_pause_is_no_slow_download(self):
        found = pace.Pace(1000, 0)
        for _ in range(10):
            found.received(200_000, 1)
            found.received(1, pace.WINDOW - 2)

    def test_a_part_may_take_the_time_of_the_minimum_rate(self):
        found = pace.Pace(1000, 0)
        part = content.PART_SIZE
        for _ in range(10):
            for _ in range(part // 1000 - 1):
                found.waited(1)
            found.received(part, 0)
        self.assertRaises(pace.TooSlow, found.waited, part)

    def test_without_a_minimum_a_part_may_take_forever(self):
        found = pace.Pace(0, 0)
        found.waited(10**6)
        found.received(1, 10**6)

    def test_resumptions_wait_no_longer_than_the_grace_in_all(self):
        # A server that breaks each answer after some bytes.
        found = pace.Pace(1000, 600)
        waited = 0

        def resume_forever():
            nonlocal waited
            while True:
                waited += 100
                found.waited_for_resumption(100)
                found.received(1000, 0)

        self.assertRaises(pace.TooSlow, resume_forever)
        self.assertEqual(700, waited)
