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

"""Repeated calls after transient errors."""

import logging

import fixtures

from pvm_imagecache import exceptions
from pvm_imagecache.system import retry
from pvm_imagecache.tests.unit import base

_DELAYS = (0.5, 2.0, 8.0)


class RetryTestCase(base.TestCase):
    """Nothing sleeps; the test keeps how long it would have slept."""

    def setUp(self):
        super().setUp()
        self.slept = []
        self.patch(retry.time, 'sleep', self.slept.append)


class RetryTest(RetryTestCase):
    def setUp(self):
        super().setUp()
        self.calls = 0

    def _call(self, *errors):
        """A call that raises errors, one a time, then returns a text."""
        waiting = list(errors)

        def call():
            self.calls += 1
            if waiting:
                raise waiting.pop(0)
            return 'result'

        return call

    def _transient(self, number=0):
        return exceptions.GlanceUnreachable(reason=f'error {number}')

    def test_a_call_that_succeeds_is_made_once(self):
        self.assertEqual('result', retry.retry(self._call(), _DELAYS))
        self.assertEqual(1, self.calls)
        self.assertEqual([], self.slept)

    def test_delays_are_waited_in_their_order(self):
        call = self._call(*[self._transient()] * 3)
        self.assertEqual('result', retry.retry(call, _DELAYS))
        self.assertEqual(list(_DELAYS), self.slept)

    def test_a_repetition_that_succeeds_ends_the_delays(self):
        call = self._call(self._transient())
        self.assertEqual('result', retry.retry(call, _DELAYS))
        self.assertEqual([0.5], self.slept)

    def test_the_last_error_is_raised(self):
        errors = [self._transient(number) for number in range(9)]
        raised = self.assertRaises(
            exceptions.GlanceUnreachable,
            retry.retry,
            self._call(*errors),
            _DELAYS,
        )
        self.assertIs(errors[len(_DELAYS)], raised)
        self.assertEqual(len(_DELAYS) + 1, self.calls)
        self.assertEqual(list(_DELAYS), self.slept)

    def test_a_permanent_error_is_raised_immediately(self):
        permanent = exceptions.GlanceNotThere(reason='r')
        raised = self.assertRaises(
            exceptions.GlanceNotThere,
            retry.retry,
            self._call(self._transient(), permanent),
            _DELAYS,
        )
        self.assertIs(permanent, raised)
        self.assertEqual([0.5], self.slept)

    def test_errors_of_other_projects_are_not_repeated(self):
        self.assertRaises(OSError, retry.retry, self._call(OSError()), _DELAYS)
        self.assertEqual(1, self.calls)

    def test_without_delays_a_call_is_made_once(self):
        self.assertRaises(
            exceptions.GlanceUnreachable,
            retry.retry,
            self._call(self._transient()),
            (),
        )
        self.assertEqual(1, self.calls)

    def test_the_caller_decides_which_errors_are_repeated(self):
        seen = []

        def should_retry(error):
            seen.append(error)
            return isinstance(error, exceptions.ImageNotFound)

        errors = [
            exceptions.ImageNotFound(image='a'),
            self._transient(),
        ]
        self.assertRaises(
            exceptions.GlanceUnreachable,
            retry.retry,
            self._call(*errors),
            _DELAYS,
            should_retry,
        )
        self.assertEqual(errors, seen)

    def test_the_delay_that_a_server_wants_is_kept_within_a_limit(self):
        errors = [
            exceptions.GlanceBusy(reason='busy', retry_after=seconds)
            for seconds in (5.0, 0.1, 3600.0)
        ]
        retry.retry(self._call(*errors), _DELAYS)
        self.assertEqual([5.0, 2.0, retry.LONGEST_RETRY_AFTER], self.slept)

    def test_every_repetition_is_logged_with_its_reason(self):
        logger = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        retry.retry(
            self._call(self._transient(1), self._transient(2)), _DELAYS
        )
        first, second = logger.output.splitlines()
        self.assertIn('Retrying in 0.5 s: ', first)
        self.assertIn('error 1', first)
        self.assertIn('Retrying in 2.0 s: ', second)
        self.assertIn('error 2', second)


class IsTransientTest(base.TestCase):
    def test_the_kind_of_error_decides(self):
        self.assertTrue(
            retry.is_transient(exceptions.GlanceUnreachable(reason='r'))
        )
        self.assertFalse(
            retry.is_transient(exceptions.GlanceNotThere(reason='r'))
        )


class BackOffTest(RetryTestCase):
    def _longest(self, attempt):
        """The longest wait, as if the random number were the largest."""
        self.patch(retry.random, 'uniform', lambda low, high: high)
        retry.back_off(attempt)
        return self.slept.pop()

    def test_waits_grow_with_the_attempts(self):
        waits = [self._longest(attempt) for attempt in range(6)]
        self.assertEqual(sorted(set(waits)), waits)

    def test_a_wait_is_one_second_at_most(self):
        for attempt in (7, 8, 40, 1000):
            self.assertEqual(1.0, self._longest(attempt))

    def test_waits_are_random_within_their_bound(self):
        for _ in range(100):
            retry.back_off(3)
        self.assertTrue(all(0 <= each <= 0.08 for each in self.slept))
        self.assertGreater(len(set(self.slept)), 50)
