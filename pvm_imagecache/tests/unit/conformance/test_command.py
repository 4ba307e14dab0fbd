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

"""The suite of commands: correct ones pass, broken ones fail."""

import logging
import unittest

from pvm_imagecache import fixtures
from pvm_imagecache.system import entry_points
from pvm_imagecache.tests import packages
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import test_command_check as commands

_LISTER = """
from pvm_imagecache.cmd import base
from pvm_imagecache.policies import rules

class Command(base.Lister):
    '''List something.'''

    rule = rules.define('theirs:list', 'List something.')
    columns = ('Name', 'Size')

    def take_action(self, parsed_args):
        return self.columns, [('a', 1)]
"""


class SuiteTest(base.TestCase):
    def failures(self, code, **attributes):
        """Run the suite; returns messages by test."""
        package = packages.Package(
            code, {entry_points.COMMANDS: {'report': 'Command'}}
        )
        suite = type(
            'Suite',
            (fixtures.CommandConformance, unittest.TestCase),
            {'command': 'report', **attributes},
        )
        result = unittest.TestResult()
        with package:
            unittest.defaultTestLoader.loadTestsFromTestCase(suite).run(result)
        return {
            test.id().rpartition('.')[2]: text
            for test, text in result.failures + result.errors
        }

    def test_correct_commands_pass(self):
        for code in (
            commands.START + commands.CORRECT,
            commands.START
            + commands.changed(
                'rule = RULE',
                "rule = RULE\n    dry_run_rule = rules.define('theirs:look', "
                "'Look.')",
            ),
            _LISTER,
        ):
            self.assertEqual({}, self.failures(code))

    def test_each_broken_command_fails_with_its_cause(self):
        for name, (code, cause) in commands.BROKEN.items():
            found = self.failures(commands.START + code)
            self.assertIn('test_it_can_be_loaded', found, name)
            self.assertIn(cause, found['test_it_can_be_loaded'], name)

    def test_what_only_a_run_shows_is_found(self):
        for old, new, test, cause in (
            ("'Size')", "'Bytes')", 'test_it_runs', ''),
            ('[(', '1/0, [(', 'test_it_runs', 'ZeroDivisionError'),
            (
                "'''List something.'''",
                '',
                'test_it_has_help',
                'the class needs a docstring',
            ),
        ):
            code = _LISTER.replace(old, new)
            if 'Bytes' in new:
                code = code.replace('self.columns,', "('Name', 'Size'),")
            found = self.failures(code)
            self.assertEqual({test}, set(found))
            self.assertIn(cause, found[test])

    def test_a_command_that_need_not_run_is_not_run(self):
        code = _LISTER.replace('[(', '1/0, [(')
        self.assertEqual({}, self.failures(code, runs=False))

    def test_a_command_that_is_not_installed_is_reported(self):
        found = self.failures(_LISTER, command='absent')
        self.assertIn('words of an installed', found['test_it_can_be_loaded'])

    def test_the_log_is_left_as_it_was(self):
        before = list(logging.getLogger().handlers)
        self.failures(_LISTER)
        self.assertEqual(before, logging.getLogger().handlers)
