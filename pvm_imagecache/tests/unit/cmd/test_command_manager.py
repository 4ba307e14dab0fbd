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

"""Discovery of commands of this project and of other packages."""

from importlib import metadata
import io
import sys
import types

from cliff import command
import fixtures

from pvm_imagecache.cmd import base as command_base
from pvm_imagecache.cmd import command_check
from pvm_imagecache.cmd import command_manager
from pvm_imagecache.cmd import shell
from pvm_imagecache.policies import rules
from pvm_imagecache.system import entry_points as entry_points_module
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base

_OWN = 'pvm_imagecache.cmd.images:ListImages'


class _Foreign(command.Command):
    """A command of cliff, without a rule."""

    def take_action(self, parsed_args):
        self.app.stdout.write('done\n')


class _Derived(command_base.Command):
    """A command with a rule that allows it to readers."""

    rule = rules.LIST

    def take_action(self, parsed_args):
        self.app.stdout.write('done\n')


class CommandsTest(base.TestCase):
    """Packages that provide commands."""

    def setUp(self):
        super().setUp()
        module = types.ModuleType('foreign')
        module.Foreign, module.Derived = _Foreign, _Derived
        self.patch(sys, 'modules', dict(sys.modules, foreign=module))

        def entry_points(group):
            found = list(metadata.entry_points(group=group))
            if group == shell.NAMESPACE:
                found += [
                    metadata.EntryPoint(name, value, group)
                    for name, value in (
                        ('foreign', 'foreign:Foreign'),
                        ('derived', 'foreign:Derived'),
                        ('broken', 'nowhere.at.all:X'),
                        ('list', 'foreign:Foreign'),
                        ('purge_now', 'foreign:Foreign'),
                        ('help', 'foreign:Foreign'),
                    )
                ]
            return found

        self._find(entry_points)
        self.useFixture(base.environment('OS_CLOUD', None))

    def commands(self):
        return command_manager.Commands(shell.NAMESPACE, command_check.load)

    def _find(self, entry_points):
        entry_points_module._scan.cache_clear()
        self.addCleanup(entry_points_module._scan.cache_clear)
        self.patch(
            entry_points_module,
            'metadata',
            types.SimpleNamespace(
                entry_points=entry_points,
                distribution=metadata.distribution,
                PackageNotFoundError=metadata.PackageNotFoundError,
            ),
        )

    def run_shell(self, *arguments, roles=('admin',)):
        self.output, self.errors = io.StringIO(), io.StringIO()
        self.patch(sys, 'stdout', self.output)
        self.patch(sys, 'stderr', self.errors)
        self.patch(shell, 'DEFAULT_FILES', ())
        self.patch(
            identity,
            'local',
            lambda *args: identity.Identity('ann', frozenset(roles)),
        )
        try:
            return shell.main(list(arguments))
        except SystemExit as ended:
            return ended.code

    def test_commands_of_other_packages_are_found_when_needed(self):
        found = self.commands()
        self.assertNotIn('foreign', found.commands)
        self.assertIs(_Foreign, found.find_command(['foreign'])[0])
        self.assertIn('plugin list', found.get_command_names())

    def test_a_command_of_ours_cannot_be_replaced(self):
        found = self.commands()
        self.assertIn('foreign', dict(found))
        self.assertEqual(_OWN, found.commands['list'].value)
        self.assertNotIn('help', found.commands)

    def test_a_command_that_ours_hides_is_refused(self):
        refused = {
            each.name: each.conflict
            for each in command_manager.find_others(shell.NAMESPACE)
        }
        self.assertIn('built-in command "purge"', refused['purge_now'])
        self.assertEqual('', refused['foreign'])
        self.assertIn('built-in', refused['list'])
        self.assertIn('built-in', refused['help'])

    def test_a_command_of_ours_is_found_without_a_search(self):
        self._find(lambda group: self.fail('they were looked for'))
        found = self.commands()
        for words in (['list'], ['disk', 'create'], ['plugin', 'list']):
            self.assertEqual(' '.join(words), found.find_command(words)[1])

    def test_a_unique_prefix_of_a_command_is_accepted(self):
        found = self.commands()
        self.assertIn('usage', found.find_command(['us'])[0].__module__)
        self.assertRaises(ValueError, found.find_command, ['p'])

    def test_a_broken_command_is_reported(self):
        self.assertEqual(1, self.run_shell('broken'))
        self.assertIn('Plugin "broken"', self.errors.getvalue())
        self.assertNotIn('Traceback', self.errors.getvalue())
        self.assertEqual(0, self.run_shell('--help'))
        self.assertIn('cannot be used', self.output.getvalue())

    def test_the_access_policy_is_enforced_for_other_packages(self):
        self.assertEqual(0, self.run_shell('foreign'))
        self.assertEqual('done\n', self.output.getvalue())
        self.assertEqual(1, self.run_shell('foreign', roles=['reader']))
        self.assertIn('pvm_imagecache:default', self.errors.getvalue())
        self.assertEqual('', self.output.getvalue())
        self.assertEqual(0, self.run_shell('derived', roles=['reader']))
        self.assertEqual(1, self.run_shell('derived', roles=['member']))

    def test_an_unknown_command_is_reported_with_suggestions(self):
        for words, says in (
            (['lisst'], 'There is no command "lisst". Did you mean "list"?'),
            (['disk'], '"disk create" or "disk delete"'),
            (['help', 'lisst'], 'There is no command "lisst".'),
        ):
            self.assertEqual(2, self.run_shell(*words))
            self.assertEqual('', self.output.getvalue())
            self.assertIn(says, self.errors.getvalue())

    def test_an_invalid_width_in_the_environment_is_refused(self):
        for name in ('CLIFF_FIT_WIDTH', 'CLIFF_MAX_TERM_WIDTH'):
            with base.environment(name, 'yes'):
                self.assertEqual(1, self.run_shell('list'))
            self.assertEqual(
                f'{name} in the environment must be a number.\n',
                self.errors.getvalue(),
            )

    def test_the_help_fits_80_columns(self):
        self.assertEqual(0, self.run_shell('--help'))
        for line in self.output.getvalue().splitlines():
            self.assertLess(len(line), 80, line)

    def test_control_characters_in_messages_are_escaped(self):
        self.assertEqual(2, self.run_shell('\x1b[31m'))
        self.assertIn(r'"\x1b[31m"', self.errors.getvalue())

    def test_help_needs_no_permission(self):
        for arguments in (
            ['help'],
            ['help', 'list'],
            ['list', '--help'],
            ['--help'],
            ['complete'],
        ):
            self.assertEqual(0, self.run_shell(*arguments, roles=[]))

    def test_names_that_look_like_others_are_refused(self):
        for name in ('Report', 're\u0440ort', 're\x1bport', '--all', 'a__b'):
            self._find(
                lambda group, name=name: [
                    metadata.EntryPoint(name, 'foreign:Foreign', group)
                ]
            )
            log = self.useFixture(fixtures.FakeLogger())
            self.assertNotIn(
                name, [words for words, _ in self.commands()], name
            )
            self.assertIn('is not lowercase words', log.output)

    def test_a_broken_command_does_not_disable_the_completion(self):
        found = self.commands()
        self.assertIn('broken', dict(found))
        found.drop_broken()
        self.assertNotIn('broken', found.commands)
        self.assertIn('list', found.commands)
