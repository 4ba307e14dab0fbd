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

"""The entry point: streams, interrupts and exit codes."""

import io
import os
import signal
import sys

from pvm_imagecache.cmd import main
from pvm_imagecache.cmd import shell
from pvm_imagecache.system import interrupts
from pvm_imagecache.tests.unit import base


class MainTest(base.TestCase):
    def setUp(self):
        super().setUp()
        for number in interrupts.SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.patch(sys, 'unraisablehook', sys.unraisablehook)
        self.patch(sys, 'stdout', io.StringIO())
        self.patch(sys, 'stderr', io.StringIO())

    def test_the_version_is_printed(self):
        self.assertEqual(0, main.main(['--version']))
        self.assertRegex(sys.stdout.getvalue(), r'^pvm-imagecache \S+\n$')

    def test_the_exit_code_is_that_of_the_shell(self):
        for code in (0, 1, 2):
            self.patch(shell, 'main', lambda arguments, code=code: code)
            self.assertEqual(code, main.main(['list']))
        self.assertEqual('', sys.stderr.getvalue())

    def test_an_interrupt_is_one_line(self):
        def interrupted(arguments):
            os.kill(os.getpid(), signal.SIGINT)

        self.patch(shell, 'main', interrupted)
        self.assertEqual(130, main.main(['list']))
        self.assertEqual('Interrupted.\n', sys.stderr.getvalue())

    def test_output_that_cannot_be_written_is_an_error(self):
        class Full(io.StringIO):
            error = OSError(28, 'No space left on device')

            def flush(self):
                raise self.error

        self.patch(shell, 'main', lambda arguments: 0)
        self.patch(sys, 'stdout', Full())
        self.assertEqual(1, main.main(['list']))
        self.assertEqual(
            'Could not write the output: No space left on device.\n',
            sys.stderr.getvalue(),
        )
        self.patch(sys, 'stdout', Full())
        sys.stdout.error = BrokenPipeError()
        self.assertEqual(141, main.main(['list']))

    def test_closed_streams_are_replaced(self):
        self.patch(sys, 'stdout', None)
        self.patch(sys, 'stderr', None)
        self.assertEqual(0, main.main(['--version']))
        for stream in (sys.stdout, sys.stderr):
            self.assertEqual(os.devnull, stream.name)
            stream.close()
