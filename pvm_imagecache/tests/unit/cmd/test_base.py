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

"""The base classes of the commands."""

from importlib import metadata

from pvm_imagecache.cmd import base as command_base
from pvm_imagecache.cmd import command_manager
from pvm_imagecache.cmd import shell
from pvm_imagecache.policies import rules
from pvm_imagecache.system import identity
from pvm_imagecache.tests import schemas
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases


class OurCommandsTest(base.TestCase):
    """Rules for all commands of this project."""

    def _ours(self):
        for entry_point in metadata.distribution(
            command_manager.DISTRIBUTION
        ).entry_points.select(group=shell.NAMESPACE):
            yield entry_point.name.replace('_', ' '), entry_point.load()

    def test_each_command_has_a_rule(self):
        for name, found in self._ours():
            self.assertIsNot(rules.DEFAULT, found.rule, name)
            words = {word for each in rules.ALL for word in each.commands}
            self.assertIn(name, words)

    def test_each_command_has_examples(self):
        for name, found in self._ours():
            self.assertTrue(found.examples, name)
            for line, _ in found.examples:
                self.assertTrue(line.startswith(name), line)

    def test_each_command_has_a_schema(self):
        for name, found in self._ours():
            if issubclass(found, command_base._Display):
                long = name in ('list',)
                self.assertEqual(
                    list(found.columns),
                    schemas.columns(f'{name} --long' if long else name),
                )


class RunTest(cases.CommandTestCase):
    def test_an_unknown_column_is_refused_before_anything_is_done(self):
        self.cache('debian-13')
        for arguments in (
            ('purge', '--all', '--yes', '-c', 'nope'),
            ('list', '--sort-column', 'nope'),
        ):
            self.assertIn(
                'There is no column "nope". Columns are: ID, ',
                self.refused(*arguments, code=2),
            )
        self.assertEqual(1, len(self.json('list')))

    def test_a_reader_may_run_a_dry_run_only(self):
        self.cache('debian-13')
        self.user = identity.Identity('rita', frozenset({'reader'}))
        self.run_command('purge', '--all', '--dry-run')
        self.assertIn(
            'Policy does not allow pvm_imagecache:purge (role:admin) to be '
            'performed; user "rita" has the role reader. Use sudo',
            self.refused('purge', '--all', '--yes'),
        )

    def test_an_empty_list_is_reported_on_a_terminal(self):
        self.patch(shell.Shell, 'quiet', property(lambda application: False))
        self.patch(cases.io, 'StringIO', cases.Terminal)
        self.run_command('list')
        self.assertEqual('No image is cached.\n', self.errors.getvalue())

    def test_control_characters_are_escaped_in_each_format(self):
        self.cache('\x1b[31m\nx')
        for terminal in (False, True):
            if terminal:
                self.patch(cases.io, 'StringIO', cases.Terminal)
            for name in ('value', 'csv', 'table', 'yaml', 'json'):
                output = self.run_command('list', '-f', name, '-c', 'Name')
                self.assertNotIn('\x1b', output, name)
                self.assertNotIn('\nx', output, name)
            self.assertEqual(
                '\\x1b[31m\\nx\n',
                self.run_command('list', '-f', 'value', '-c', 'Name'),
            )

    def test_names_of_columns_are_compared_without_case(self):
        self.assertEqual(
            'last_accessed', command_base.normalized(' Last Accessed')
        )
