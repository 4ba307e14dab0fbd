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

import threading
from unittest import mock

import hypothesis
from hypothesis import strategies
from oslotest import base

from pvm_imagecache.simulator import pacing

MIB = 1 << 20


class FakeTime:
    """A clock that only sleeping, and what it is told, moves on."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        return False


class PaceTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.time = FakeTime()
        patch = mock.patch.object(pacing, 'time', self.time)
        patch.start()
        self.addCleanup(patch.stop)
        self.stop = threading.Event()
        self.stop.wait = self.time.wait
        self.shared = pacing.Clock()
        self.own = self.total = 0

    def pace(self):
        return pacing.Pace(
            lambda: self.own, lambda: self.total, self.shared, self.stop
        )

    def test_no_rate_never_waits(self):
        self.pace().spent(1 << 40)
        self.assertEqual(1000.0, self.time.now)

    @hypothesis.given(
        strategies.integers(MIB, 1 << 30),
        strategies.lists(
            strategies.integers(1, 4 * MIB), min_size=1, max_size=50
        ),
    )
    def test_a_rate_of_its_own_is_kept(self, rate, pieces):
        self.own = rate
        before = self.time.now
        pace = self.pace()
        for piece in pieces:
            pace.spent(piece)
        # Never early by more than the sleep that is saved up.
        self.assertAlmostEqual(
            sum(pieces) / rate, self.time.now - before, delta=0.0021
        )

    def test_the_total_rate_is_shared(self):
        self.own, self.total = 300 * MIB, 400 * MIB
        paces = [self.pace(), self.pace()]
        for _ in range(400):
            for pace in paces:
                pace.spent(MIB)
        self.assertAlmostEqual(1002.0, self.time.now, delta=0.01)

    def test_hitches_are_made_up_for(self):
        self.own = MIB
        pace = self.pace()
        for _ in range(10):
            pace.spent(MIB)
            self.time.now += 0.5
        self.assertAlmostEqual(1010.5, self.time.now, delta=0.01)

    def test_idle_time_is_no_credit(self):
        self.own = self.total = MIB
        self.pace().spent(MIB)
        self.time.now += 100
        before = self.time.now
        self.pace().spent(MIB)
        self.assertAlmostEqual(1.0, self.time.now - before)

    def test_a_change_of_rate_applies_at_once(self):
        self.own = MIB
        pace = self.pace()
        pace.spent(MIB)
        self.own = 0
        pace.spent(MIB)
        self.assertEqual(1001.0, self.time.now)

    def test_a_stop_ends_the_wait(self):
        self.own = MIB
        pace = self.pace()
        self.stop.wait = lambda seconds: True
        self.assertRaises(pacing.Stopped, pace.spent, MIB)
        self.stop.set()
        self.assertRaises(pacing.Stopped, self.pace().spent, 1)
