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

"""Base classes of the commands: those of cliff, with access policy checks.

Before a command runs, its arguments and columns are checked, and the access
policy is enforced with the rule of the command.
"""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
import os
import re
from typing import Any
from typing import ClassVar
from typing import Final
from typing import TYPE_CHECKING

from cliff import columns as cliff_columns
from cliff import command
from cliff import lister
from cliff import show

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import exit_codes
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import tables
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from pvm_imagecache.cmd import shell

_FIT_WIDTH: Final = 'CLIFF_FIT_WIDTH'
_MAX_WIDTH: Final = 'CLIFF_MAX_TERM_WIDTH'
IMAGE_HELP: Final = 'image ID, a unique prefix of it, or image name'


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the option that takes each IMAGE for a name.

    :param parser: parser of the command.
    """
    parser.add_argument(
        '--name',
        dest='by_name',
        action='store_true',
        help='IMAGE is a name, even if it looks like an image ID or a prefix '
        'of one: hexadecimal digits and dashes',
    )


def add_latest(parser: argparse.ArgumentParser) -> None:
    """Add the option that selects one of several images with a name.

    :param parser: parser of the command.
    """
    parser.add_argument(
        '--latest',
        action='store_true',
        help='if several active images have a name, use the newest one',
    )


#: Version of what commands of other packages rely on; see ``api_version``.
API_VERSION: Final = 1


class Authorized:
    """Mixin of all commands of this project.

    :cvar api_version: version of the contract that the command was written
        for: :data:`API_VERSION` of that release.
    :cvar rule: access policy rule of the command. Commands of other packages
        get theirs from :func:`pvm_imagecache.policies.rules.define`.
    :cvar dry_run_rule: access policy rule of the command with --dry-run; None
        for the rule of the command. It applies only to classes that do not
        define another ``rule`` afterwards.
    :cvar more_rules: other rules that :meth:`rule_for` can return, for the
        sample of the policy file.
    :cvar examples: for the end of the help: command line and description of
        each example.
    """

    api_version: ClassVar[int] = 1
    rule: ClassVar[rules.Rule] = rules.DEFAULT
    dry_run_rule: ClassVar[rules.Rule | None] = None
    more_rules: ClassVar[Sequence[rules.Rule]] = ()
    examples: ClassVar[Sequence[tuple[str, str]]] = ()

    app: 'shell.Shell'
    _failed = False

    def rule_for(self, parsed_args: argparse.Namespace) -> rules.Rule:
        """Return the access policy rule for the arguments.

        :param parsed_args: arguments of the command.
        :returns: the rule of the command. For a dry run, the one that the
            command declares for it.
        """
        if getattr(parsed_args, 'dry_run', False):
            return self._rule_of_dry_run()
        return self.rule

    def _rule_of_dry_run(self) -> rules.Rule:
        """Return the rule for --dry-run.

        A class that defines only ``rule`` must not inherit a weaker rule for
        its dry run from the command that it is derived from.
        """
        for each in type(self).__mro__:
            declared: rules.Rule | None = vars(each).get('dry_run_rule')
            if declared is not None:
                return declared
            if 'rule' in vars(each) or 'dry_run_rule' in vars(each):
                break
        return self.rule

    def check(self, parsed_args: argparse.Namespace) -> None:
        """Check the arguments before anything is done.

        :param parsed_args: arguments of the command.
        :raises UsageError: if they contradict each other.
        """

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Check the arguments and the access policy, and run the command.

        :param parsed_args: arguments of the command.
        :returns: the exit code.
        :raises NotAuthorized: if the access policy does not allow it.
        :raises KeystoneFailed: if Keystone does not authenticate the user.
        """
        try:
            self.check(parsed_args)
        except exceptions.UsageError as error:
            self.app.LOG.error(error)
            return exit_codes.USAGE
        self.app.authorize(self.rule_for(parsed_args))
        code: int = super().run(parsed_args)  # type: ignore[misc]
        return code or (exit_codes.FAILURE if self._failed else 0)

    def fail(self) -> None:
        """Make the command end with exit code 1; it continues."""
        self._failed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        # Keeps the line breaks of the examples.
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def get_epilog(self) -> str:
        """Return the examples. The method of cliff searches all packages.

        :returns: reStructuredText; '' if there are no examples.
        """
        if not self.examples:
            return ''
        lines = ['Examples::']
        for line, what in self.examples:
            lines += ['', f'  # {what}', f'  pvm-imagecache {line}']
        return '\n'.join(lines)


class _Display(Authorized):
    """A command whose output has columns.

    :cvar columns: all columns that the command can show.
    """

    columns: ClassVar[Sequence[str]] = ()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        :raises ConfigurationError: if an environment variable for the width
            of tables is not a number.
        """
        for name in (_FIT_WIDTH, _MAX_WIDTH):
            # cliff fails with a traceback if it is not a number.
            if not re.fullmatch(
                r'-?\d{1,9}', os.environ.get(name, '0'), re.ASCII
            ):
                raise exceptions.ConfigurationError(
                    reason=f'{name} in the environment must be a number.'
                )
        parser = super().get_parser(prog_name)
        if _FIT_WIDTH not in os.environ:
            # Has an effect on terminals only.
            parser.set_defaults(fit_width=True)
        return parser

    @staticmethod
    def escaped(values: Sequence[Any], formatter: str) -> Sequence[Any]:
        """Return values without control characters, for a format.

        :param values: the values of a row.
        :param formatter: name of the format.
        :returns: the values; unchanged for formats that escape them.
        """
        return formatting.escaped(values, formatter)

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Check that the selected columns exist, and run the command.

        :param parsed_args: arguments of the command.
        :returns: the exit code.
        :raises NotAuthorized: if the access policy does not allow it.
        :raises KeystoneFailed: if Keystone does not authenticate the user.
        """
        known = {normalized(each) for each in self.columns}
        for each in (
            *parsed_args.columns,
            *getattr(parsed_args, 'sort_columns', ()),
        ):
            if known and normalized(each) not in known:
                self.app.LOG.error(
                    f'There is no column "{each}". Columns are: '
                    f'{", ".join(self.columns)}.'
                )
                return exit_codes.USAGE
        return super().run(parsed_args)


class Command(Authorized, command.Command):
    """A command that prints what it did."""

    app: 'shell.Shell'


class Lister(_Display, lister.Lister):
    """A command that shows a list.

    :cvar machine_oriented: columns that a table hides, unless they are
        selected by name or with --long.
    :cvar empty_message: printed on a terminal if the list is empty.
    """

    machine_oriented: ClassVar[Sequence[str]] = ()
    empty_message: ClassVar[str] = 'Nothing to show.'

    app: 'shell.Shell'
    # Set by cliff: one of its formatters, or that of this project.
    formatter: Any

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
    ) -> int:
        """Print the rows. Called by cliff.

        :param parsed_args: arguments of the command.
        :param column_names: names of the columns.
        :param data: the rows.
        :returns: the exit code.
        """
        rows = list(data)
        if parsed_args.formatter != 'table':
            return super().produce_output(
                parsed_args,
                column_names,
                [self.escaped(row, parsed_args.formatter) for row in rows],
            )
        if not rows and not parsed_args.print_empty:
            # cliff would print an empty line.
            if self.app.stdout.isatty() and not self.app.quiet:
                print(self.empty_message, file=self.app.stderr)
            return 0
        if not parsed_args.columns:
            parsed_args.columns = (
                column_names
                if getattr(parsed_args, 'long', False)
                else self.human_readable_columns(column_names, rows)
            )
        self.formatter = tables.FittedList(self.formatter)
        return super().produce_output(parsed_args, column_names, rows)

    def human_readable_columns(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> list[str]:
        """Return the columns of a table without --long.

        :param columns: names of all columns.
        :param rows: the rows.
        :returns: the columns that are neither empty nor machine-oriented.
        """
        return [
            column
            for index, column in enumerate(columns)
            if column not in self.machine_oriented
            and (not rows or any(not _is_empty(row[index]) for row in rows))
        ]


class ShowOne(_Display, show.ShowOne):
    """A command that shows one object, field by field."""

    app: 'shell.Shell'

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Sequence[Any],
    ) -> int:
        """Print the fields. Called by cliff.

        :param parsed_args: arguments of the command.
        :param column_names: names of the fields.
        :param data: their values.
        :returns: the exit code.
        """
        values = (
            [tables.human_readable(each) for each in data]
            if parsed_args.formatter == 'table'
            else self.escaped(data, parsed_args.formatter)
        )
        return super().produce_output(parsed_args, column_names, values)


def _is_empty(value: Any) -> bool:
    if isinstance(value, cliff_columns.FormattableColumn):
        return not value.human_readable()
    return tables.human_readable(value) == ''


def normalized(column: str) -> str:
    """Return the name of a column in the form in which cliff compares it.

    :param column: the name, as shown or as the user types it.
    :returns: the name in lower case, with underscores for spaces.
    """
    return column.lower().strip().replace(' ', '_')
