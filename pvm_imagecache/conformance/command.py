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

"""The conformance suite of commands."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import io
import json
import logging
import os
import tempfile
from typing import Any
from typing import ClassVar

from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import command_manager
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import access
from pvm_imagecache.conformance import cases
from pvm_imagecache.conformance.configuration import configuration
from pvm_imagecache.policies import rules
from pvm_imagecache.system import entry_points
from pvm_imagecache.system import identity


@dataclasses.dataclass(frozen=True)
class Run:
    """A command that was run.

    :ivar code: exit code.
    :ivar output: what it wrote to the standard output.
    :ivar errors: what it wrote to the standard error.
    """

    code: int
    output: str
    errors: str


class CommandConformance:
    """Tests that every command must pass; a mixin for a ``TestCase``.

    The command is run in this process, by a user whose roles are given::

        class ReportTest(fixtures.CommandConformance, unittest.TestCase):
            command = 'report'
            arguments = ('--limit', '5')
    """

    #: The words of the command, as a user types them.
    command: ClassVar[str] = ''
    #: Valid arguments of the command.
    arguments: ClassVar[Sequence[str]] = ()
    #: Options of the configuration: values by group and option name.
    options: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    #: Whether the command works with the arguments and options, so that
    #: tests can run it to its end.
    runs: ClassVar[bool] = True

    def run_command(
        self,
        *arguments: str,
        roles: Sequence[str] = ('admin',),
        policy: str | None = None,
    ) -> Run:
        """Run ``pvm-imagecache``.

        :param arguments: of the program, beginning with a command.
        :param roles: roles of the user.
        :param policy: content of the operator's policy file; None for no
            file.
        :returns: what it printed, and the exit code.
        """
        output, errors = io.StringIO(), io.StringIO()
        with (
            tempfile.TemporaryDirectory() as directory,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            _logging_kept(),
        ):
            conf = configuration(
                {
                    **self.options,
                    'pvm_imagecache': {
                        'state_path': directory,
                        **self.options.get('pvm_imagecache', {}),
                    },
                }
            )
            access.register(conf)
            path = os.path.join(directory, 'policy.yaml')
            if policy is not None:
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(policy)
            conf.set_override('policy_file', path, 'pvm_imagecache')
            application = shell.Shell(
                conf, identity.Identity('tester', frozenset(roles))
            )
            try:
                code = application.run(['-q', *arguments])
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
        return Run(code, output.getvalue(), errors.getvalue())

    def find(self) -> type[Any]:
        """Return the class of the command, checked as at each use.

        :returns: the class.
        :raises AssertionError: if it is not installed.
        :raises PluginInvalid: if it cannot be used.
        """
        found = [
            each
            for each in command_manager.find_others(entry_points.COMMANDS)
            if command_manager.words_of(each.name) == self.command
        ]
        cases.case(self).assertTrue(
            self.command and found,
            'set "command" to the words of an installed command of another '
            'package',
        )
        application = shell.Shell()
        application.options = application.parser.parse_known_args([])[0]
        loaded = [application.checked_command(each) for each in found]
        return loaded[0]

    def _words(self, *more: str) -> list[str]:
        return [*self.command.split(), *self.arguments, *more]

    def _rules(self) -> list[rules.Rule]:
        """Return the rules of the command: of a run, and of a dry run."""
        command = self.find()
        if not issubclass(command, base.Authorized):
            return [rules.DEFAULT]
        return [
            each
            for each in (command.rule, command.dry_run_rule)
            if each is not None
        ]

    def test_it_can_be_loaded(self) -> None:
        """The command is installed and follows the contract."""
        self.find()

    def test_it_has_help(self) -> None:
        """Its help needs no permission, and says what the command does."""
        command = self.find()
        cases.case(self).assertTrue(
            (command.__doc__ or '').strip(),
            'the class needs a docstring: its first line is the help',
        )
        done = self.run_command('help', *self.command.split(), roles=())
        cases.case(self).assertEqual(0, done.code, done.errors)
        summary = (command.__doc__ or '').strip().splitlines()[0]
        cases.case(self).assertIn(
            ' '.join(summary.split())[:30],
            ' '.join(done.output.split()),
            'the help must begin with the first line of the docstring',
        )

    def test_it_is_completed(self) -> None:
        """The completion script has it."""
        done = self.run_command('complete', roles=())
        cases.case(self).assertEqual(0, done.code, done.errors)
        cases.case(self).assertIn(self.command.replace(' ', '_'), done.output)

    def test_its_rule_is_enforced(self) -> None:
        """A user without a role is refused, with the name of the rule."""
        done = self.run_command(*self._words(), roles=())
        cases.case(self).assertEqual(1, done.code, done.errors)
        cases.case(self).assertEqual(
            '', done.output, 'it must print nothing before it is authorized'
        )
        cases.case(self).assertIn('Policy does not allow', done.errors)

    def test_the_policy_file_is_enforced(self) -> None:
        """An operator can forbid the command to all users."""
        for rule in self._rules():
            done = self.run_command(
                *self._words(
                    *(
                        ('--dry-run',)
                        if rule is not self._rules()[0]
                        and '--dry-run' not in self.arguments
                        else ()
                    )
                ),
                policy=f'"{rule.name}": "!"',
            )
            cases.case(self).assertEqual(
                (1, ''),
                (done.code, done.output),
                f'the policy file forbids {rule.name}',
            )
            cases.case(self).assertIn(rule.name, done.errors)

    def test_a_dry_run_needs_a_permission(self) -> None:
        """A user without a role is refused a dry run, too."""
        command = self.find()
        parser = command(shell.Shell(), None).get_parser(self.command)
        if '--dry-run' not in parser.format_help():
            return
        done = self.run_command(*self._words('--dry-run'), roles=())
        cases.case(self).assertEqual((1, ''), (done.code, done.output))
        cases.case(self).assertIn('Policy does not allow', done.errors)

    def test_it_runs(self) -> None:
        """It ends with 0 for an admin, and its JSON has its columns."""
        if not self.runs:
            return
        command = self.find()
        is_table = issubclass(command, base.Lister | base.ShowOne)
        done = self.run_command(
            *self._words(*(('-f', 'json') if is_table else ()))
        )
        cases.case(self).assertEqual(0, done.code, done.errors)
        if not is_table:
            return
        found = json.loads(done.output)
        rows = found if issubclass(command, base.Lister) else [found]
        for row in rows:
            cases.case(self).assertEqual(
                list(command.columns),
                list(row),
                '"columns" must list the columns of the output, in order',
            )


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    """Restore the handlers and the level of the log afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
