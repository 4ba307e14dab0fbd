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

"""The commands ``platform check`` and ``platform show``."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
import enum
import shutil
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

from cliff import columns as cliff_columns

from pvm_imagecache import text
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import confirmation
from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import wait_notice
from pvm_imagecache.policies import rules
from pvm_imagecache.system import terminal

if TYPE_CHECKING:
    from pvm_imagecache.platform_check import report

_COLUMNS: Final = (
    'Fact',
    'Value',
    'State',
    'Measured At',
    'Effect',
    'Reason',
    'Platform',
)
_RATES: Final = 'rate'
#: Characters in a line of a table if the width of the terminal is unknown.
_WIDTH: Final = 120


class Value(cliff_columns.FormattableColumn[Any]):
    """The value of a fact: with its unit in tables.

    :param fact: name of the fact.
    :param value: the value; None if it is unknown.
    """

    def __init__(self, fact: str, value: Any) -> None:
        super().__init__(value)
        self._fact = fact

    def human_readable(self) -> str:
        """Return the value with its unit."""
        value = self.machine_readable()
        if value is None:
            return ''
        if isinstance(value, bool):
            return 'yes' if value else 'no'
        if _RATES in self._fact:
            return f'{text.size(value)}/s'
        if self._fact == 'granularity':
            return text.size(value)
        return text.printable(str(value))

    def machine_readable(self) -> Any:
        """Return the value as a boolean, a number or a text."""
        if isinstance(self._value, enum.Enum):
            return self._value.value
        return self._value


class _Facts(base.Lister):
    """A list of facts."""

    columns = _COLUMNS

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
    ) -> int:
        """Print the facts. Called by cliff.

        :param parsed_args: arguments of the command.
        :param column_names: names of the columns.
        :param data: the rows.
        :returns: the exit code.
        """
        if parsed_args.formatter == 'table':
            if not parsed_args.max_width:
                # PowerVM's own words are long.
                columns = shutil.get_terminal_size((_WIDTH, 24)).columns
                parsed_args.max_width = columns
            # As text: cliff wraps nothing else.
            data = [
                [
                    each.human_readable() if isinstance(each, Value) else each
                    for each in row
                ]
                for row in data
            ]
        return super().produce_output(parsed_args, column_names, data)


class CheckPlatform(_Facts):
    """Find out how this PowerVM platform behaves, and store it.

    The command creates a few disks of its own in the volume group, at most
    8 GiB at a time, observes what PowerVM does, and deletes them. It touches
    no other disk. It measures rates with about 2 GiB of uploads and 10 GiB of
    copies, so run it while the host has little to do. nova-compute can keep
    running.

    The cache works without these facts. It uses them where platforms differ:
    see the column Effect. Attach the output to bug reports: it has no
    secrets, and no names except that of the volume group.

    The exit code is 1 if a fact could not be measured, or if a disk could not
    be deleted. The column Reason says why. Facts that need --other-vg, or
    that the REST API cannot show, do not count.
    """

    rule = rules.CHECK_PLATFORM
    dry_run_rule = rules.EXPLAIN
    machine_oriented = ('Measured At', 'Platform')
    examples = (
        ('platform check', 'measure the platform'),
        ('platform check --dry-run', 'what would be done'),
        (
            'platform check --yes --other-vg rootvg -f json',
            'in a script; also measure the scope of disk names',
        ),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--other-vg',
            metavar='NAME',
            help='another volume group of the same VIOS, in which a disk of '
            '1 GiB is created and deleted, to find out whether names are '
            'unique on the VIOS',
        )
        confirmation.add_yes(parser)
        confirmation.add_dry_run(
            parser, 'show what would be done, create nothing'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Measure the platform, after confirmation.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        manager = self.app.manager
        if parsed_args.dry_run:
            return self._preview(parsed_args.other_vg)
        if not parsed_args.yes:
            confirmation.ask(
                'Create and delete these disks?',
                self._plan(parsed_args.other_vg),
                'Nothing was created.',
            )
        done = manager.check_platform(parsed_args.other_vg, self._progress)
        if done.failed or done.left:
            self.fail()
        return self.columns, _rows(manager.platform())

    def _preview(
        self, other_vg: str | None
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        from pvm_imagecache.platform_check import probes

        for each in self._plan(other_vg):
            terminal.write(text.printable(each))
        known = {each.fact: each for each in self.app.manager.platform()}
        return self.columns, [
            (
                fact,
                Value(fact, known[fact].value),
                known[fact].state.value,
                formatting.Time(known[fact].measured_at),
                f'would {probe.what}',
                '',
                known[fact].platform,
            )
            for probe in probes.ALL
            for fact in probe.facts
        ]

    def _plan(self, other_vg: str | None) -> list[str]:
        """Return what will be done, for a question."""
        from pvm_imagecache import naming
        from pvm_imagecache.platform_check import bench
        from pvm_imagecache.platform_check import probes

        pool = self.app.manager.driver.pool()
        most = max(each.size for each in probes.ALL)
        plan = [
            f'Disks named {naming.CHECK_DISK_PREFIX}XXXX are created in '
            f'{pool.name}, which has {text.size(pool.free)} free, and are '
            f'deleted again: {text.size(most)} at a time, and never more '
            f'than {text.size(bench.MOST_BYTES)}.'
        ]
        if other_vg:
            plan.append(
                f'One disk of 1 GiB is created in {other_vg}, and is deleted '
                'again.'
            )
        return plan

    def _progress(self, number: int, total: int, what: str) -> None:
        if not self.app.quiet:
            wait_notice.note_output()
            terminal.write(f'[{number}/{total}] {what}')


class ShowPlatform(_Facts):
    """Show what is known of this PowerVM platform.

    "platform check" measures it. The state of a fact is "measured",
    "unknown", or "out-of-date" if the platform, the VIOS or pypowervm was
    upgraded since: then run the check again. The column Effect says what the
    cache does because of the fact.
    """

    rule = rules.PLATFORM
    machine_oriented = ('Platform',)
    examples = (
        ('platform show', 'all facts'),
        ('platform show -f json', 'for a bug report'),
    )

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Show the facts.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        return self.columns, _rows(self.app.manager.platform())


def _rows(
    rows: 'Iterable[report.Row]',
) -> list[Sequence[Any]]:
    return [
        (
            each.fact,
            Value(each.fact, each.value),
            each.state.value,
            formatting.Time(each.measured_at),
            each.effect,
            each.reason,
            each.platform,
        )
        for each in rows
    ]
