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

"""Interrupts: raised, deferred, allowed and ignored."""

import io
import os
import signal
import sys
import threading

from pvm_imagecache.system import interrupts
from pvm_imagecache.tests.unit import base

WAITING = (
    'Interrupted: waiting for the running copy, then cleaning up. Ctrl-C '
    'twice more to quit at once.'
)
CLEANING = (
    'Cleaning up. Press Ctrl-C again to quit now; run "verify" afterwards.'
)


class InterruptsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        for number in interrupts.SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.patch(sys, 'unraisablehook', sys.unraisablehook)
        self.errors = io.StringIO()
        self.patch(sys, 'stderr', self.errors)
        interrupts.install()
        self.addCleanup(setattr, interrupts._State, 'deferred', False)
        self.addCleanup(setattr, interrupts._State, 'pending', None)

    def _lines(self):
        return [each for each in self.errors.getvalue().splitlines() if each]

    def interrupt(self, number=signal.SIGINT):
        os.kill(os.getpid(), number)

    def test_an_interrupt_is_raised_immediately(self):
        self.assertRaises(KeyboardInterrupt, self.interrupt)
        self.assertEqual('', self.errors.getvalue())

    def test_other_signals_exit_with_their_status(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            interrupts.install()
            error = self.assertRaises(SystemExit, self.interrupt, number)
            self.assertEqual(128 + number, error.code)

    def test_an_interrupt_waits_for_a_deferred_block(self):
        done = []

        def work():
            with interrupts.deferred():
                self.interrupt()
                done.append('all of it')
            done.append('more')

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual(['all of it'], done)
        self.assertEqual([WAITING], self._lines())

    def test_an_allowed_block_is_interrupted(self):
        done = []

        def work():
            with interrupts.deferred():
                try:
                    with interrupts.allowed():
                        self.interrupt()
                        done.append('not reached')
                except KeyboardInterrupt:
                    # Cleaning up is not interrupted.
                    self.interrupt()
                    done.append('cleaned up')
                    raise

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual(['cleaned up'], done)

    def test_a_pending_interrupt_precedes_an_allowed_block(self):
        done = []

        def work():
            with interrupts.deferred():
                self.interrupt()
                with interrupts.allowed():
                    done.append('not reached')

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual([], done)

    def test_an_error_is_not_hidden(self):
        def work():
            with interrupts.deferred():
                self.interrupt()
                raise ValueError

        self.assertRaises(ValueError, work)
        self.assertRaises(KeyboardInterrupt, interrupts.check)
        interrupts.check()

    def test_the_third_interrupt_is_raised_immediately(self):
        def work():
            with interrupts.deferred():
                self.interrupt()
                self.interrupt()
                self.interrupt()
                self.fail('it waited')

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual([WAITING, CLEANING], self._lines())

    def test_an_interrupt_in_a_destructor_is_raised_again(self):
        class Swallows:
            def __del__(inner):
                self.interrupt()

        made = Swallows()
        del made
        self.assertRaises(KeyboardInterrupt, interrupts.check)

    def test_deferral_in_other_threads_has_no_effect(self):
        thread_in, go_on = threading.Event(), threading.Event()

        def work():
            with interrupts.deferred():
                thread_in.set()
                go_on.wait(base.PATIENCE)

        thread = threading.Thread(target=work)
        thread.start()
        thread_in.wait(base.PATIENCE)
        try:
            self.assertRaises(KeyboardInterrupt, self.interrupt)
        finally:
            go_on.set()
            thread.join()

    def test_ignored_signals_have_no_effect(self):
        interrupts.ignore()
        self.interrupt()
        interrupts.check()

    def test_is_pending_until_the_block_ends(self):
        seen = []

        def work():
            with interrupts.deferred():
                seen.append(interrupts.is_pending())
                self.interrupt()
                seen.append(interrupts.is_pending())

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual([False, True], seen)
        self.assertFalse(interrupts.is_pending())

    def test_a_closed_terminal_harms_nothing(self):
        self.errors.close()

        def work():
            with interrupts.deferred():
                self.interrupt()

        self.assertRaises(KeyboardInterrupt, work)
