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
from typing import Any
from typing import ClassVar
from typing import Final

from cliff import command
from cliff import lister
from cliff import show

from pvm_imagecache.cmd import formatting
from pvm_imagecache import exceptions
from pvm_imagecache.policies import rules

EXIT_USAGE: Final = 2
_FIT_WIDTH: Final = 'CLIFF_FIT_WIDTH'
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
        parser: argparse.ArgumentParser = super(
        ).get_parser(prog_name)  # type: ignore[misc]
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
        parser = super().get_parser(prog_name)
        if _FIT_WIDTH not in os.environ:
            # It is about terminals only.
            parser.set_defaults(fit_width=True)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        known = {normal(each) for each in self.columns}
        for each in (*parsed_args.columns,
                     *getattr(parsed_args, 'sort_columns', ())):
            if known and normal(each) not in known:
                self.app.LOG.error(
                    f'There is no column "{each}". There are: '
                    f'{", ".join(self.columns)}.')
                return EXIT_USAGE
        return super().run(parsed_args)


class Command(Authorized, command.Command):
    """A command that prints what it did."""


class Lister(_Display, lister.Lister):
    """A command that gives rows.

    :cvar for_programs: columns that a table has only where they are asked
        for, by their names or by --long.
    """

    for_programs: ClassVar[Sequence[str]] = ()

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str],
        data: Any,
    ) -> int:
        data = list(data)
        if parsed_args.formatter != 'table':
            return super().produce_output(parsed_args, column_names, data)
        if not data and not parsed_args.print_empty:
            # cliff prints an empty line for no table.
            return 0
        if not (parsed_args.columns or getattr(parsed_args, 'long', False)):
            parsed_args.columns = self.for_people(column_names, data)
        data = [[_for_people(each) for each in row] for row in data]
        return super().produce_output(parsed_args, column_names, data)

    def for_people(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> list[str]:
        """The columns of a table that is not to be --long."""
        return [each for each in columns if each not in self.for_programs]


class ShowOne(_Display, show.ShowOne):
    """A command that gives one thing, field by field."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str],
        data: Any,
    ) -> int:
        if parsed_args.formatter == 'table':
            data = [_for_people(each) for each in data]
        return super().produce_output(parsed_args, column_names, data)


def _for_people(value: Any) -> Any:
    """A value as a table shows it."""
    if value is None:
        return formatting.Nothing(None)
    if isinstance(value, bool):
        return 'yes' if value else ''
    return value


def normal(column: str) -> str:
    """A column as cliff compares it."""
    return column.lower().strip().replace(' ', '_')
