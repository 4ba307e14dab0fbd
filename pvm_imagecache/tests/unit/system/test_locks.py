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

"""Locks against threads and processes."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import threading

from pvm_imagecache import exceptions
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base

_HOLDER = """
import sys
from pvm_imagecache.system import locks
with locks.LockDirectory(sys.argv[1]).hold(sys.argv[2], 0):
    print('held', flush=True)
    sys.stdin.read()
"""


class LocksTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.locks = locks.LockDirectory(self.path('locks'))

    def _refused(self, name='a', timeout=0):
        def hold():
            with self.locks.hold(name, timeout):
                self.fail('two hold it')

        return self.assertRaises(exceptions.LockTimeout, hold)

    def _other_process(self, name='a'):
        """A process that holds the lock until its input is closed."""
        process = subprocess.Popen(
            [sys.executable, '-c', _HOLDER, self.path('locks'), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertEqual(b'held\n', process.stdout.readline())
        return process

    def _kill(self, process):
        process.send_signal(signal.SIGKILL)
        process.wait(base.PATIENCE)

    def test_a_lock_is_held_once(self):
        with self.locks.hold('a', 0):
            self._refused('a')
            with self.locks.hold('b', 0):
                self._refused('b')
        with self.locks.hold('a', 0):
            pass

    def test_directories_have_separate_locks(self):
        others = locks.LockDirectory(self.path('others'))
        with self.locks.hold('a', 0), others.hold('a', 0):
            pass

    def test_an_error_in_the_block_releases_it(self):
        def fail():
            with self.locks.hold('a', 0):
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertTrue(self.locks.is_free('a'))

    def test_is_free_reports_a_held_lock(self):
        self.assertTrue(self.locks.is_free('a'))
        with self.locks.hold('a', 0):
            self.assertFalse(self.locks.is_free('a'))
            self.assertTrue(self.locks.is_free('b'))
        self.assertTrue(self.locks.is_free('a'))

    def test_threads_take_turns(self):
        inside = []
        turns = []

        def work():
            for _ in range(10):
                with self.locks.hold('a', base.PATIENCE):
                    inside.append(1)
                    os.sched_yield()
                    turns.append(len(inside))
                    inside.pop()

        self.in_threads(*[work] * 4)
        self.assertEqual([1] * 40, turns)

    def test_a_thread_waits_for_another(self):
        held, waits = threading.Event(), threading.Event()
        order = []

        def first():
            with self.locks.hold('a', 0):
                held.set()
                self.wait(waits)
                order.append('first')

        def second():
            self.wait(held)

            def left():
                waits.set()
                return base.PATIENCE

            with self.locks.hold('a', left):
                order.append('second')

        self.in_threads(first, second)
        self.assertEqual(['first', 'second'], order)

    def test_a_lock_of_another_process_is_respected(self):
        process = self._other_process()
        error = self._refused()
        self.assertIn(f'process {process.pid}', str(error))
        self.assertIn('the lock a', str(error))
        self.assertTrue(error.transient)
        process.communicate()
        with self.locks.hold('a', 0):
            pass

    def test_a_killed_process_releases_its_lock(self):
        self._kill(self._other_process())
        with self.locks.hold('a', 0):
            pass

    def test_a_process_killed_meanwhile_ends_the_wait(self):
        process = self._other_process()
        attempts = []

        def left():
            if not attempts:
                self._kill(process)
            attempts.append(1)
            return base.PATIENCE

        with self.locks.hold('a', left):
            self.assertTrue(attempts)

    def test_child_processes_do_not_inherit_it(self):
        with self.locks.hold('a', 0):
            child = subprocess.Popen(
                ['cat'], stdin=subprocess.PIPE, close_fds=False
            )
            self.addCleanup(child.communicate)
        self.assertTrue(self.locks.is_free('a'))

    def _forked(self, work):
        """A process that is a copy of ours, and ends after some work."""
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(0)
        self.addCleanup(os.waitpid, child, 0)
        return child

    def test_a_forked_process_does_not_keep_it(self):
        with self.locks.hold('a', 0):
            child = self._forked(signal.pause)
            self.addCleanup(os.kill, child, signal.SIGKILL)
        self.assertTrue(self.locks.is_free('a'))

    def test_a_forked_process_does_not_release_it(self):
        with contextlib.ExitStack() as held:
            held.enter_context(self.locks.hold('a', 0))
            child = self._forked(held.close)
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            self._refused('a')

    def test_a_timeout_of_zero_does_not_wait(self):
        self.patch(locks.time, 'sleep', lambda delay: self.fail('it waited'))
        with self.locks.hold('a', 0):
            error = self._refused()
        self.assertEqual(0, int(error.seconds))

    def test_a_callable_limits_the_wait(self):
        left = [5, 5, 0]
        with self.locks.hold('a', 0):
            self._refused(timeout=lambda: left.pop(0))
        self.assertEqual([], left)

    def test_a_wait_is_never_longer_than_what_is_left(self):
        left = [0.001, 5, 5, 5, 5, 5, 0]
        waits = []
        self.patch(locks.time, 'sleep', waits.append)
        with self.locks.hold('a', 0):
            self._refused(timeout=lambda: left.pop(0))
        self.assertEqual([0.001, 0.004, 0.008, 0.016, 0.02, 0.02], waits)

    def test_a_callable_is_not_called_for_a_free_lock(self):
        with self.locks.hold('a', lambda: self.fail('it was')):
            pass

    def test_errors_of_a_callable_are_raised(self):
        def broken():
            raise exceptions.CatalogError(path='p', reason='r')

        with self.locks.hold('a', 0):
            context = self.locks.hold('a', broken)
            self.assertRaises(exceptions.CatalogError, context.__enter__)

    def test_no_descriptor_is_left_open(self):
        with self.locks.hold('a', 0):
            before = base.descriptors()
            for _ in range(5):
                self._refused()
                self.locks.is_free('b')
        self.assertEqual(before - 1, base.descriptors())

    def test_names_stay_inside_the_directory(self):
        for name in ('../up', '/etc/passwd', 'image-1-i_ab', 'ä\0b'):
            with self.locks.hold(name, 0):
                pass
        self.assertEqual(['locks'], os.listdir(self.directory))
        self.assertIn('image-1-i_ab.lock', os.listdir(self.path('locks')))

    def test_files_are_private_and_stay(self):
        with self.locks.hold('a', 0):
            pass
        found = os.stat(self.path('locks', 'a.lock'))
        self.assertEqual(0o600, stat.S_IMODE(found.st_mode))
        with open(self.path('locks', 'a.lock')) as file:
            self.assertEqual(f'process {os.getpid()}', file.read())

    def test_the_name_of_the_last_holder_is_replaced(self):
        os.mkdir(self.path('locks'))
        with open(self.path('locks', 'a.lock'), 'w') as file:
            file.write('process 12345678901234567890 of old')
        with self.locks.hold('a', 0):
            error = self._refused()
        self.assertEqual(f'process {os.getpid()}', error.holder)

    def test_a_lock_can_be_held_on_a_full_disk(self):
        def full(*_):
            raise OSError(errno.ENOSPC, 'No space left on device')

        self.patch(os, 'pwrite', full)
        with self.locks.hold('a', 0):
            self.assertEqual('another process', self._refused().holder)

    def test_links_are_refused(self):
        os.mkdir(self.path('locks'))
        os.symlink(self.path('target'), self.path('locks', 'a.lock'))
        self.assertRaises(
            exceptions.CatalogError, self.locks.hold('a', 0).__enter__
        )
        self.assertFalse(os.path.exists(self.path('target')))

    def test_an_unusable_directory_is_a_catalog_error(self):
        with open(self.path('locks'), 'w'):
            pass
        error = self.assertRaises(
            exceptions.CatalogError, self.locks.hold('a', 0).__enter__
        )
        self.assertIn(self.path('locks', 'a.lock'), str(error))

    def test_a_holder_cannot_keep_others_waiting_forever(self):
        with self.locks.hold('a', 0) as held:
            held.announce(1e11)
            self.assertEqual(locks.LONGEST_WAIT, self.locks.announced('a'))
            self.patch(locks, 'LONGEST_WAIT', 0.05)
            # Each attempt would have seconds left.
            self._refused(timeout=lambda: self.locks.announced('a'))
            self._refused(timeout=lambda: 10.0)

    def test_a_holder_announces_how_long_it_needs_a_lock(self):
        self.assertEqual(0.0, self.locks.announced('a'))
        with self.locks.hold('a', 0) as held:
            self.assertEqual(0.0, self.locks.announced('a'))
            held.announce(500.0)
            self.assertTrue(499 < self.locks.announced('a') <= 502)
            self.assertEqual(f'process {os.getpid()}', self._refused().holder)
        with self.locks.hold('a', 0):
            self.assertEqual(0.0, self.locks.announced('a'))

    def announce_and_die(self, seconds):
        """Have a process die that holds the lock and has announced."""
        child = os.fork()
        if not child:
            try:
                with self.locks.hold('a', 0) as held:
                    held.announce(seconds)
                    os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)
        self.assertEqual(signal.SIGKILL, os.waitpid(child, 0)[1])

    def test_what_a_crashed_process_announced_is_orphaned(self):
        self.announce_and_die(500.0)
        with self.locks.hold('a', 0) as held:
            self.assertTrue(499 < held.orphaned() <= 502)
            held.announce(900.0)
            self.assertTrue(499 < held.orphaned() <= 502)
        # The next holder may crash as well: the announcement stays.
        with self.locks.hold('a', 0) as held:
            self.assertTrue(499 < held.orphaned() <= 502)

    def test_the_longer_one_of_two_crashed_processes_is_orphaned(self):
        for first, second in ((500.0, 5.0), (5.0, 500.0)):
            self.announce_and_die(first)
            self.announce_and_die(second)
            with self.locks.hold('a', 0) as held:
                self.assertTrue(499 < held.orphaned() <= 502)

    def test_what_was_announced_ends_with_the_lock(self):
        with self.locks.hold('a', 0) as held:
            held.announce(500.0)
        with self.locks.hold('a', 0) as held:
            self.assertEqual(0.0, held.orphaned())

    def test_what_is_over_is_not_orphaned(self):
        self.announce_and_die(-2.0)
        with self.locks.hold('a', 0) as held:
            self.assertEqual(0.0, held.orphaned())
        self.assertEqual(0.0, self.locks.announced('a'))

    def test_a_forged_announcement_is_bounded(self):
        self.announce_and_die(1e11)
        with self.locks.hold('a', 0) as held:
            self.assertEqual(locks.LONGEST_WAIT, held.orphaned())
