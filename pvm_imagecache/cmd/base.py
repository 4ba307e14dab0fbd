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

"""What our commands are derived from: cliff's, knowing our application.

Before a command does anything it is asked whether its user may, by the rule
of policy that it names, and whether the columns that are wanted exist.
"""

import argparse
from collections.abc import Sequence
import os
import re
from typing import Any
from typing import ClassVar
from typing import Final

from cliff import columns as cliff_columns
from cliff import command
from cliff import lister
from cliff import show

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.cmd import tables
from pvm_imagecache.policies import rules

EXIT_USAGE: Final = 2
_FIT_WIDTH: Final = 'CLIFF_FIT_WIDTH'
_MAX_WIDTH: Final = 'CLIFF_MAX_TERM_WIDTH'
IMAGE_HELP: Final = 'the id of an image, a unique start of it, or its name'


class Authorized:
    """What is common to all commands of this project.

    :cvar rule: says who may use it.
    :cvar examples: for the end of the help: a command line and what it is
        for, each.
    """

    rule: ClassVar[rules.Rule] = rules.DEFAULT
    examples: ClassVar[Sequence[tuple[str, str]]] = ()

    #: A :class:`pvm_imagecache.cmd.shell.Shell`.
    app: Any
    _failed = False

    def rule_for(self, parsed_args: argparse.Namespace) -> rules.Rule:
        """The rule for these arguments."""
        if getattr(parsed_args, 'dry_run', False):
            return rules.EXPLAIN
        return self.rule

    def check(self, parsed_args: argparse.Namespace) -> None:
        """Refuse what makes no sense before anything is done.

        :raises UsageError: saying why.
        """

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            self.check(parsed_args)
        except exceptions.UsageError as error:
            self.app.LOG.error(error)
            return EXIT_USAGE
        self.app.authorize(self.rule_for(parsed_args))
        code: int = super().run(parsed_args)  # type: ignore[misc]
        return code or int(self._failed)

    def fail(self) -> None:
        """Have the command end with status 1, though it goes on."""
        self._failed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        # The examples have lines of their own.
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def get_epilog(self) -> str:
        """The examples. cliff would look through all that is installed."""
        if not self.examples:
            return ''
        lines = ['Examples::']
        for line, what in self.examples:
            lines += ['', f'  # {what}', f'  pvm-imagecache {line}']
        return '\n'.join(lines)


class _Display(Authorized):
    """A command whose output has columns.

    :cvar columns: all that it may show.
    """

    columns: ClassVar[Sequence[str]] = ()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        for name in (_FIT_WIDTH, _MAX_WIDTH):
            # cliff takes whatever is there for a number.
            if not re.fullmatch(
                r'-?\d{1,9}', os.environ.get(name, '0'), re.ASCII
            ):
                raise exceptions.ConfigurationError(
                    reason=f'{name} in the environment must be a number.'
                )
        parser = super().get_parser(prog_name)
        if _FIT_WIDTH not in os.environ:
            # It is about terminals only.
            parser.set_defaults(fit_width=True)
        return parser

    def harmless(self, values: Sequence[Any]) -> Sequence[Any]:
        """Values as they are, unless that may upset a terminal."""
        if not self.app.stdout.isatty():
            return values
        return [
            text.printable(each) if isinstance(each, str) else each
            for each in values
        ]

    def run(self, parsed_args: argparse.Namespace) -> int:
        known = {normal(each) for each in self.columns}
        for each in (
            *parsed_args.columns,
            *getattr(parsed_args, 'sort_columns', ()),
        ):
            if known and normal(each) not in known:
                self.app.LOG.error(
                    f'There is no column "{each}". There are: '
                    f'{", ".join(self.columns)}.'
                )
                return EXIT_USAGE
        return super().run(parsed_args)


class Command(Authorized, command.Command):
    """A command that prints what it did."""


class Lister(_Display, lister.Lister):
    """A command that gives rows.

    :cvar for_programs: columns that a table has only where they are asked
        for, by their names or by --long.
    :cvar nothing: is said on a terminal where there are no rows.
    """

    for_programs: ClassVar[Sequence[str]] = ()
    nothing: ClassVar[str] = 'There is nothing to show.'

    formatter: Any

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Any,
    ) -> int:
        data = list(data)
        if parsed_args.formatter != 'table':
            return super().produce_output(
                parsed_args, column_names, [self.harmless(row) for row in data]
            )
        if not data and not parsed_args.print_empty:
            # cliff prints an empty line for no table.
            if self.app.stdout.isatty() and not self.app.quiet:
                print(self.nothing, file=self.app.stderr)
            return 0
        if not parsed_args.columns:
            parsed_args.columns = (
                column_names
                if getattr(parsed_args, 'long', False)
                else self.for_people(column_names, data)
            )
        self.formatter = tables.FittedList(self.formatter)
        return super().produce_output(parsed_args, column_names, data)

    def for_people(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> list[str]:
        """The columns of a table that is not to be --long.

        One in which there is nothing is left out.
        """
        return [
            column
            for index, column in enumerate(columns)
            if column not in self.for_programs
            and (not rows or any(_is_something(row[index]) for row in rows))
        ]


class ShowOne(_Display, show.ShowOne):
    """A command that gives one thing, field by field."""

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Any,
    ) -> int:
        data = (
            map(tables.for_people, data)
            if parsed_args.formatter == 'table'
            else self.harmless(data)
        )
        return super().produce_output(parsed_args, column_names, data)


def _is_something(value: Any) -> bool:
    if isinstance(value, cliff_columns.FormattableColumn):
        return bool(value.human_readable())
    return tables.for_people(value) != ''


def normal(column: str) -> str:
    """A column as cliff compares it."""
    return column.lower().strip().replace(' ', '_')
