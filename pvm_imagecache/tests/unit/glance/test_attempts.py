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

"""When an interrupted download is resumed."""

from pvm_imagecache import exceptions
from pvm_imagecache.glance import attempts
from pvm_imagecache.system import retry
from pvm_imagecache.tests.unit import base

_DELAYS = (1.0, 2.0, 3.0)
_SIZE = 1 << 30
_AWAY = exceptions.GlanceUnreachable(reason='away')


class AttemptsTest(base.TestCase):
    def _delays(self, *received, size=_SIZE, error=_AWAY):
        """The delays after interruptions at these numbers of bytes."""
        decided = attempts.Attempts(size, _DELAYS)
        return [
            decided.delay(count, error, no_more=False) for count in received
        ]

    def test_attempts_without_progress_are_limited(self):
        self.assertEqual([1.0, 2.0, 3.0, None], self._delays(*[9] * 4))

    def test_progress_begins_the_delays_again(self):
        step = 1 << 16
        self.assertEqual(
            [1.0, 1.0, 2.0, 1.0, 1.0],
            self._delays(step, 2 * step, 3 * step - 1, 3 * step, 9 * step),
        )

    def test_progress_never_ends_the_attempts(self):
        counts = range(1 << 16, _SIZE, 1 << 16)
        self.assertEqual({1.0}, set(self._delays(*counts)))

    def test_small_amounts_add_up(self):
        counts = range(0, 100 * 30_000, 30_000)
        self.assertNotIn(None, self._delays(*counts))

    def test_one_byte_for_each_connection_is_no_progress(self):
        self.assertIsNone(self._delays(*range(1, 5))[-1])

    def test_less_is_progress_for_a_small_image(self):
        self.assertEqual({1.0}, set(self._delays(*range(1, 100), size=100)))

    def test_permanent_errors_end_the_attempts(self):
        error = exceptions.ImageForbidden(image='an-id')
        self.assertEqual([None], self._delays(9, error=error))

    def test_a_server_without_more_data_is_not_asked_again(self):
        decided = attempts.Attempts(_SIZE, _DELAYS)
        self.assertIsNone(decided.delay(9, _AWAY, no_more=True))

    def test_the_delay_that_the_server_wants_is_kept_within_a_limit(self):
        for wanted, waited in (
            (0.5, 1.0),
            (20.0, 20.0),
            (9000.0, retry.LONGEST_RETRY_AFTER),
        ):
            error = exceptions.GlanceBusy(reason='busy', retry_after=wanted)
            self.assertEqual([waited], self._delays(9, error=error))
