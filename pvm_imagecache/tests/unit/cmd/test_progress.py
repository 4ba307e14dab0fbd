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

"""Progress of transfers."""

import io
import sys

from pvm_imagecache.cmd import progress
from pvm_imagecache.tests.unit import base


class _Terminal(io.StringIO):
    def isatty(self):
        return True


class ReporterTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 1000.0
        self.patch(progress, 'time', self)

    def monotonic(self):
        return self.now

    def _printed(self, *calls, stream=io.StringIO, **kwargs):
        """What is told; calls are (seconds later, step, done, total)."""
        output = stream()
        self.patch(sys, 'stderr', output)
        reporter = progress.Reporter('web1', **kwargs)
        for seconds, *call in calls:
            self.now += seconds
            reporter(*call)
        reporter.close()
        reporter.close()
        return output.getvalue()

    def test_without_a_terminal_lines_are_printed(self):
        self.assertEqual(
            'web1: Fetching 0% of 100 B\n'
            'web1: Fetching 50% of 100 B, 5 B/s, 10 s left\n'
            'web1: Fetching 100% of 100 B, 9 B/s\n',
            self._printed(
                (0, 'fetch', 0, 100),
                (10, 'fetch', 50, 100),
                (0.5, 'fetch', 60, 100),
                (0.5, 'fetch', 100, 100),
            ),
        )

    def test_on_a_terminal_a_line_is_updated(self):
        text = self._printed(
            (0, 'fetch', 0, 100),
            (0.1, 'fetch', 10, 100),
            (0.9, 'fetch', 50, 100),
            stream=_Terminal,
        )
        self.assertEqual(
            '\r\033[Kweb1: Fetching '
            '[........................] 0% of 100 B'
            '\r\033[Kweb1: Fetching '
            '[############............] 50% of 100 B, 50 B/s, 1 s left\n',
            text,
        )

    def test_the_figures_have_room_beside_a_long_name(self):
        self.patch(progress, '_columns', lambda: 79)
        self.patch(sys, 'stderr', _Terminal())
        reporter = progress.Reporter('long-name-' * 20 + '\x1b[31m')
        reporter('fetch', 0, 100)
        self.now += 10
        reporter('fetch', 50, 100)
        line = sys.stderr.getvalue().rpartition('\r\033[K')[2]
        self.assertEqual(79, len(line))
        self.assertTrue(line.startswith('long-name-'))
        self.assertTrue(
            line.endswith('...: Fetching 50% of 100 B, 5 B/s, 10 s left'), line
        )

    def test_a_name_does_nothing_to_a_terminal(self):
        self.patch(sys, 'stderr', io.StringIO())
        progress.Reporter('\x1b[31m\n')('fetch', 1, 1)
        self.assertEqual(
            '\\x1b[31m\\n: Fetching 100% of 1 B\n', sys.stderr.getvalue()
        )

    def test_what_came_from_a_buffer_is_no_rate(self):
        text = self._printed(
            (0, 'fetch', 40, 100),
            (0.5, 'fetch', 41, 100),
            (9.5, 'fetch', 50, 100),
            stream=_Terminal,
        )
        self.assertNotIn('/s', text.rpartition('\r')[0])
        self.assertIn('50% of 100 B, 1 B/s, 50 s left', text)

    def test_a_rate_is_that_of_late(self):
        text = self._printed(
            *[(1, 'fetch', 1000 * count, 100_000) for count in range(40)],
            *[
                (1, 'fetch', 39_000 + 10 * count, 100_000)
                for count in range(1, 17)
            ],
            stream=_Terminal,
        )
        self.assertIn(', 10 B/s, 1 h 41 min left', text)

    def test_a_waiting_has_a_rate_too(self):
        self.assertIn(
            '10 B/s, 6 s left',
            self._printed((0, 'wait', 0, 200), (14, 'wait', 140, 200)),
        )

    def test_a_closed_stream_does_not_stop_the_work(self):
        class Closed(_Terminal):
            def write(self, text):
                raise OSError

        self.assertEqual('', self._printed((0, 'fetch', 0, 1), stream=Closed))

    def test_each_step_has_a_text(self):
        self.assertEqual(
            'web1: Waiting for another process 10% of 10 B\n'
            'web1: Copying on the host\n'
            'web1: of a plugin 50% of 10 B\n',
            self._printed(
                (0, 'wait', 1, 10),
                (0, 'copy', 0, 10),
                (0, 'of a plugin', 5, 10),
            ),
        )

    def test_a_new_step_is_printed_immediately(self):
        text = self._printed((0, 'wait', 1, 10), (0, 'fetch', 1, 10))
        self.assertEqual(2, len(text.splitlines()))

    def test_an_empty_image_is_complete(self):
        self.assertEqual(
            'web1: Fetching 100% of 0 B\n', self._printed((0, 'fetch', 0, 0))
        )

    def test_quiet_prints_nothing(self):
        self.assertEqual(
            '',
            self._printed((0, 'fetch', 0, 1), (0, 'fetch', 1, 1), quiet=True),
        )
