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

"""Calls with a time limit, and what they leave behind."""

import subprocess
import sys
import textwrap
import threading

from pvm_imagecache.eviction import time_limit
from pvm_imagecache.tests.unit import base

#: Seconds that a call may take that does not end.
SHORT = 0.1


class BoundedCallTest(base.TestCase):
    def test_a_result_is_returned(self):
        for result in (5, None, []):
            self.assertIs(
                result, time_limit.BoundedCall(lambda r=result: r).result()
            )

    def test_an_error_is_raised_unchanged(self):
        error = RuntimeError('broken')

        def breaks():
            raise error

        self.assertIs(
            error,
            self.assertRaises(
                RuntimeError, time_limit.BoundedCall(breaks).result
            ),
        )

    def test_an_exit_is_raised_as_an_error(self):
        for error in (SystemExit(7), KeyboardInterrupt(), GeneratorExit()):

            def leaves(error=error):
                raise error

            raised = self.assertRaises(
                time_limit.ExitedError, time_limit.BoundedCall(leaves).result
            )
            self.assertIs(error, raised.__cause__)
            self.assertIn(type(error).__name__, str(raised))

    def test_a_call_that_waits_is_left_behind(self):
        end = threading.Event()
        self.addCleanup(end.set)
        error = self.assertRaises(
            time_limit.TimeLimitExceeded,
            time_limit.BoundedCall(
                lambda: end.wait(base.PATIENCE), SHORT, 'left-behind'
            ).result,
        )
        self.assertEqual('no result within 0.1 s', str(error))
        self.assertIn(
            ('left-behind', True),
            {(each.name, each.daemon) for each in threading.enumerate()},
        )

    def test_a_call_that_loops_is_left_behind(self):
        end = threading.Event()
        self.addCleanup(end.set)

        def loops():
            while not end.is_set():
                try:
                    raise SystemExit
                except BaseException:
                    continue

        self.assertRaises(
            time_limit.TimeLimitExceeded,
            time_limit.BoundedCall(loops, SHORT).result,
        )

    def test_a_late_result_is_dropped(self):
        end = threading.Event()
        call = time_limit.BoundedCall(lambda: end.wait(base.PATIENCE), SHORT)
        self.assertRaises(time_limit.TimeLimitExceeded, call.result)
        end.set()

    def test_the_default_limit_is_ten_seconds(self):
        self.assertEqual(10, time_limit.TIME_LIMIT)
        self.patch(time_limit, 'TIME_LIMIT', SHORT)
        end = threading.Event()
        self.addCleanup(end.set)
        self.assertRaises(
            time_limit.TimeLimitExceeded,
            time_limit.BoundedCall(lambda: end.wait(base.PATIENCE)).result,
        )

    def test_the_call_is_traced_as_other_threads_are(self):
        def tracer(frame, event, argument):
            return None

        before = threading.gettrace()
        self.addCleanup(threading.settrace, before)
        for expected in (tracer, None):
            threading.settrace(expected)
            self.assertIs(
                expected, time_limit.BoundedCall(sys.gettrace).result()
            )

    def test_a_tracer_sees_the_lines_of_a_call(self):
        lines = set()

        def policy():
            images = []
            images.sort()
            return images

        def tracer(frame, event, argument):
            # As coverage does it, which need not be installed here.
            if frame.f_code is policy.__code__ and event == 'line':
                lines.add(frame.f_lineno - policy.__code__.co_firstlineno)
            return tracer

        self.addCleanup(threading.settrace, threading.gettrace())
        threading.settrace(tracer)
        time_limit.BoundedCall(policy).result()
        self.assertEqual({1, 2, 3}, lines)

    def test_the_tracer_of_the_caller_is_not_changed(self):
        before = sys.gettrace()
        time_limit.BoundedCall(lambda: None).result()
        self.assertIs(before, sys.gettrace())


class ProcessTest(base.TestCase):
    def run_script(self, script):
        return subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=base.PATIENCE * 2,
            check=False,
        )

    def test_calls_left_behind_do_not_keep_the_process(self):
        done = self.run_script(
            """
            import time
            from pvm_imagecache.eviction import time_limit

            def loops():
                while True:
                    try:
                        while True:
                            pass
                    except BaseException:
                        pass

            for call in (loops, lambda: time.sleep(1000)):
                try:
                    time_limit.BoundedCall(call, 0.2).result()
                except time_limit.TimeLimitExceeded as error:
                    print(error)
            """
        )
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertEqual('no result within 0.2 s\n' * 2, done.stdout)
