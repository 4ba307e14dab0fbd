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

"""Asking before something is done that can't be taken back."""

import argparse
from collections.abc import Iterable
import sys

from pvm_imagecache import exceptions
from pvm_imagecache import text


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the option that answers the question beforehand."""
    parser.add_argument(
        '-y',
        '--yes',
        action='store_true',
        help='do not ask; needed where there is no terminal to ask on',
    )


def add_dry_run(
    parser: argparse.ArgumentParser, what: str = 'only show what would go'
) -> None:
    """Add the option that shows what would be done."""
    parser.add_argument('--dry-run', action='store_true', help=what)


def ask(question: str, what: Iterable[str], otherwise: str) -> None:
    """Go on only if somebody at a terminal says yes.

    :param what: lines that are shown before.
    :param otherwise: said where the answer is no.
    :raises OperationCancelled: if it is, or nobody can be asked.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise exceptions.OperationCancelled(
            reason='There is no terminal to ask on: say --yes to go on.'
        )
    for each in what:
        print(text.printable(each), file=sys.stderr)
    print(f'{question} [y/N] ', end='', file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ('y', 'yes'):
        raise exceptions.OperationCancelled(reason=otherwise)
