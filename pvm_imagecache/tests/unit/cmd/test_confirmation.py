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

"""Confirmation of operations."""

import argparse
import io
import sys
import threading

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.system import waiting
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases


class AskTest(base.TestCase):
    def _ask(self, stdin):
        self.patch(sys, 'stdin', stdin)
        self.patch(sys, 'stderr', io.StringIO())
        confirmation.ask('Purge?', ['one', '\x1b[31m'], 'Nothing was purged.')

    def test_yes_is_an_answer_that_continues(self):
        for answer in ('y', 'yes', ' YES ', 'Y'):
            self._ask(cases.Terminal(f'{answer}\n'))
            self.assertEqual(
                'one\n\\x1b[31m\nPurge? [y/N] ', sys.stderr.getvalue()
            )

    def test_every_other_answer_cancels(self):
        for answer in ('n\n', '\n', '', 'yess\n'):
            error = self.assertRaises(
                exceptions.OperationCancelled,
                self._ask,
                cases.Terminal(answer),
            )
            self.assertEqual('Cancelled. Nothing was purged.', str(error))

    def test_without_a_terminal_yes_is_required(self):
        for stdin in (io.StringIO('y\n'), None):
            error = self.assertRaises(
                exceptions.OperationCancelled, self._ask, stdin
            )
            self.assertEqual(
                'Not a terminal: use --yes to confirm.', str(error)
            )
            self.assertEqual('', sys.stderr.getvalue())

    def test_the_wait_for_the_user_is_not_reported(self):
        ident = threading.get_ident()
        waiting.watch(ident)
        self.addCleanup(waiting.unwatch, ident)
        found = []

        class Thinking(cases.Terminal):
            def readline(self):
                found.append(waiting.current(ident))
                return 'y\n'

        self._ask(Thinking())
        self.assertEqual([waiting.NOT_REPORTED], found)


class OptionsTest(base.TestCase):
    def test_the_options_are_off_by_default(self):
        parser = argparse.ArgumentParser()
        confirmation.add_yes(parser)
        confirmation.add_dry_run(parser)
        parsed = parser.parse_args([])
        self.assertEqual((False, False), (parsed.yes, parsed.dry_run))
        parsed = parser.parse_args(['-y', '--dry-run'])
        self.assertEqual((True, True), (parsed.yes, parsed.dry_run))
