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

"""Confirmation of operations that cannot be undone."""

import argparse
from collections.abc import Iterable
import sys

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.system import terminal
from pvm_imagecache.system import waiting


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the option that skips the question.

    :param parser: parser of the command.
    """
    parser.add_argument(
        '-y',
        '--yes',
        action='store_true',
        help='do not ask for confirmation (required in scripts)',
    )


def add_dry_run(
    parser: argparse.ArgumentParser,
    what: str = 'show what would be removed, change nothing',
) -> None:
    """Add the option --dry-run.

    :param parser: parser of the command.
    :param what: help text of the option.
    """
    parser.add_argument('--dry-run', action='store_true', help=what)


@waiting.on(waiting.NOT_REPORTED)
def ask(question: str, details: Iterable[str], if_cancelled: str) -> None:
    """Ask the user for confirmation, on the terminal.

    :param question: the question, with a question mark.
    :param details: lines that are shown before the question.
    :param if_cancelled: what the message says after "Cancelled.".
    :raises OperationCancelled: if the answer is not yes, or if the standard
        input is not a terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise exceptions.OperationCancelled(
            reason='Not a terminal: use --yes to confirm.'
        )
    for each in details:
        terminal.write(text.printable(each))
    terminal.write(f'{question} [y/N]', end=' ')
    if sys.stdin.readline().strip().lower() not in ('y', 'yes'):
        raise exceptions.OperationCancelled(
            reason=f'Cancelled. {if_cancelled}'
        )
