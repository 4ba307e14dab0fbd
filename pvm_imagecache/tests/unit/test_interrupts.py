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

"""Ctrl-C, and where it waits."""

import os
import signal
import sys
import threading

from pvm_imagecache.system import interrupts
from pvm_imagecache.tests.unit import base


class InterruptsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        for number in interrupts.SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.patch(sys, 'unraisablehook', sys.unraisablehook)
        self.told = []
        self.patch(interrupts.terminal, 'write', self.told.append)
        interrupts.install()
        self.addCleanup(setattr, interrupts._State, 'deferred', False)
        self.addCleanup(setattr, interrupts._State, 'pending', None)

    def come(self, number=signal.SIGINT):
        os.kill(os.getpid(), number)

    def test_at_once(self):
        self.assertRaises(KeyboardInterrupt, self.come)
        self.assertEqual([], self.told)

    def test_other_signals(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            interrupts.install()
            error = self.assertRaises(SystemExit, self.come, number)
            self.assertEqual(128 + number, error.code)

    def test_later(self):
        done = []

        def work():
            with interrupts.deferred():
                self.come()
                done.append('all of it')
            done.append('more')

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual(['all of it'], done)
        self.assertEqual(1, len(self.told))

    def test_where_it_is_allowed_again(self):
        done = []

        def work():
            with interrupts.deferred():
                try:
                    with interrupts.allowed():
                        self.come()
                        done.append('not reached')
                except KeyboardInterrupt:
                    # Tidying up is not interrupted.
                    self.come()
                    done.append('tidied')
                    raise

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual(['tidied'], done)

    def test_before_it_is_allowed_again(self):
        done = []

        def work():
            with interrupts.deferred():
                self.come()
                with interrupts.allowed():
                    done.append('not reached')

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual([], done)

    def test_an_error_is_not_hidden(self):
        def work():
            with interrupts.deferred():
                self.come()
                raise ValueError

        self.assertRaises(ValueError, work)
        self.assertRaises(KeyboardInterrupt, interrupts.check)
        interrupts.check()

    def test_the_third_time_nobody_waits(self):
        def work():
            with interrupts.deferred():
                self.come()
                self.come()
                self.come()
                self.fail('it was waited')

        self.assertRaises(KeyboardInterrupt, work)
        self.assertEqual(2, len(self.told))

    def test_what_python_has_swallowed_comes_again(self):
        class Swallows:
            def __del__(inner):
                self.come()

        made = Swallows()
        del made
        self.assertRaises(KeyboardInterrupt, interrupts.check)

    def test_other_threads_do_not_matter(self):
        thread_in, go_on = threading.Event(), threading.Event()

        def work():
            with interrupts.deferred():
                thread_in.set()
                go_on.wait(base.PATIENCE)

        thread = threading.Thread(target=work)
        thread.start()
        thread_in.wait(base.PATIENCE)
        try:
            self.assertRaises(KeyboardInterrupt, self.come)
        finally:
            go_on.set()
            thread.join()

    def test_no_more(self):
        interrupts.ignore()
        self.come()
        interrupts.check()
