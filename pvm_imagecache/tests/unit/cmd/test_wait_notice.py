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

"""Notices while a command waits."""

import io
import sys
import threading

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import wait_notice
from pvm_imagecache.system import locks
from pvm_imagecache.system import waiting
from pvm_imagecache.tests.unit import base


class _Output(io.StringIO):
    """Counts the lines that are written."""

    def __init__(self):
        super().__init__()
        self.lines = threading.Semaphore(0)

    def write(self, text):
        count = super().write(text)
        if text.endswith('\n'):
            self.lines.release()
        return count


class NoticeTest(base.TestCase):
    def test_a_notice_names_what_the_command_waits_for(self):
        self.assertEqual(
            'Waiting for PowerVM (11 s elapsed)',
            wait_notice.notice('PowerVM', 11.2),
        )

    def test_work_without_a_name_is_reported_as_work(self):
        self.assertEqual(
            'Working (1 min 5 s elapsed)', wait_notice.notice(None, 65)
        )

    def test_a_question_to_the_user_is_not_reported(self):
        self.assertEqual('', wait_notice.notice(waiting.NOT_REPORTED, 11))


class WatchTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(wait_notice.stop)
        self.output = _Output()
        self.patch(sys, 'stderr', self.output)
        self.patch(wait_notice, '_FIRST', 0.01)

    def _wait_for_lines(self, count):
        for _ in range(count):
            self.assertTrue(self.output.lines.acquire(timeout=base.PATIENCE))

    def test_a_held_lock_is_reported(self):
        directory = locks.LockDirectory(self.path('locks'))
        wait_notice.start()
        with directory.hold('x', 0):

            def patience():
                shown = 'another process' in self.output.getvalue()
                return 0 if shown else base.PATIENCE

            try:
                with directory.hold('x', patience):
                    self.fail('the lock is held')
            except exceptions.LockTimeout:
                pass
        self.assertIn(
            'Waiting for another process (0 s elapsed)\n',
            self.output.getvalue(),
        )

    def test_notices_are_repeated(self):
        wait_notice.start()
        with waiting.on('Glance'):
            self._wait_for_lines(3)
        self.assertIn('Waiting for Glance (', self.output.getvalue())

    def test_nothing_is_printed_while_the_user_is_asked(self):
        asked = threading.Semaphore(0)
        inside = threading.Event()
        real = wait_notice.notice

        def notice(what, elapsed):
            if not inside.is_set():
                # The thread works until the user is asked.
                return ''
            asked.release()
            return real(what, elapsed)

        self.patch(wait_notice, 'notice', notice)
        with waiting.on(waiting.NOT_REPORTED):
            # The thread is watched from now on.
            wait_notice.start()
            with waiting.on(waiting.NOT_REPORTED):
                inside.set()
                for _ in range(2):
                    self.assertTrue(asked.acquire(timeout=base.PATIENCE))
                wait_notice.stop()
        self.assertEqual('', self.output.getvalue())

    def test_other_output_postpones_the_notice(self):
        self.patch(wait_notice, '_FIRST', base.PATIENCE)
        wait_notice.start()
        watch = wait_notice._State.watch
        wait_notice.note_output()
        wait_notice.stop()
        watch.join(base.PATIENCE)
        self.assertFalse(watch.is_alive())
        self.assertEqual('', self.output.getvalue())

    def test_a_stopped_watch_records_no_waits(self):
        wait_notice.start()
        wait_notice.stop()
        with waiting.on('PowerVM'):
            self.assertIsNone(waiting.current(threading.get_ident()))
