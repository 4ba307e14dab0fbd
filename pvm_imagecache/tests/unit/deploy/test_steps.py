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

"""Tests of the times and the progress of the steps of one deploy."""

from pvm_imagecache.deploy import steps
from pvm_imagecache.tests.unit import base


class _Clock:
    """A clock that a test sets."""

    now = 100.0

    def monotonic(self):
        return self.now


class StepsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.clock = _Clock()
        self.patch(steps, 'time', self.clock)
        self.reports = []
        self.steps = steps.Steps(10, lambda *args: self.reports.append(args))

    def _spend(self, step, seconds):
        with self.steps.timed(step):
            self.clock.now += seconds

    def test_elapsed_time_counts_from_the_start(self):
        self.clock.now += 7
        self.assertEqual(7, self.steps.elapsed)
        self.assertEqual({'total': 7}, self.steps.seconds())

    def test_repeated_step_is_added_up(self):
        self._spend('copy', 1)
        self._spend('fetch', 5)
        self.clock.now += 10
        self._spend('copy', 2)
        self.assertEqual(
            {'copy': 3, 'fetch': 5, 'total': 18}, self.steps.seconds()
        )

    def test_failed_step_is_counted(self):
        def fail():
            with self.steps.timed('fetch'):
                self.clock.now += 4
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, fail)
        self.assertEqual(4, self.steps.seconds()['fetch'])

    def test_progress_is_reported_with_the_size(self):
        self.steps.report('fetch', 3)
        self.assertEqual([('fetch', 3, 10)], self.reports)

    def test_progress_without_a_callback_is_ignored(self):
        steps.Steps(10, None).report('fetch', 3)
        self.assertEqual([], self.reports)
