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

"""Human-readable lists: tables that fit the terminal, or row by row.

If a table is too wide, cliff makes all wide columns equally narrow, and
breaks names and times in the middle. Here only text is wrapped, and only as
far as necessary. If the table is still too wide, each row is shown as a
table of its own, like the output of a command that shows one object.
"""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
import re
import textwrap
from typing import Any
from typing import Final
from typing import TextIO

from cliff import columns as cliff_columns
from cliff import utils

from pvm_imagecache import text

#: The narrowest width of a column of text is that of its widest word, between
#: these numbers of characters.
_LEAST_WIDTH: Final = 10
_LEAST_OF_LONG_WORDS: Final = 15
#: Characters of a column beside its text: a rule and two spaces.
_BORDER: Final = 3


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines after any hyphen: image names have many."""

    wordsep_re = re.compile(r'(\s+|(?<=-)(?=[^\s-]))')


class FittedList:
    """A formatter of lists that replaces the table formatter of cliff.

    :param formatter: the formatter of cliff, which draws the tables.
    """

    def __init__(self, formatter: Any) -> None:
        self._formatter = formatter

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        """Print a list. Called by cliff.

        :param column_names: names of the selected columns.
        :param data: the rows.
        :param stdout: where to print the list.
        :param parsed_args: arguments of the command.
        """
        rows = [[human_readable(each) for each in row] for row in data]
        room = _room(parsed_args)
        if rows and room:
            widths = fitting(column_names, rows, room)
            if widths is None:
                for row in rows:
                    self._formatter.emit_one(
                        column_names, row, stdout, parsed_args
                    )
                return
            rows = [
                [
                    _wrapped(each, width)
                    for each, width in zip(row, widths, strict=True)
                ]
                for row in rows
            ]
        self._formatter.emit_list(column_names, rows, stdout, parsed_args)


def human_readable(value: Any) -> Any:
    """Return a value as a table shows it.

    :param value: the value of a column.
    :returns: text without control characters, 'yes' or '' for booleans, or
        another value unchanged.
    """
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else ''
    return text.printable(value) if isinstance(value, str) else value


def fitting(
    names: Sequence[str], rows: Sequence[Sequence[Any]], room: int
) -> list[int] | None:
    """Return the widths with which a table fits.

    Only text is narrowed, as little as possible, widest columns first.

    :param names: names of the columns.
    :param rows: the rows, as shown.
    :param room: width of the terminal in characters.
    :returns: the width of each column in characters; None if the table does
        not fit.
    """
    columns = list(zip(*rows, strict=True))
    natural = [
        max(map(len, (name, *map(_shown, column))))
        for name, column in zip(names, columns, strict=True)
    ]
    least = [
        min(width, max(len(name), _narrowest(column)))
        for name, column, width in zip(names, columns, natural, strict=True)
    ]
    room -= _BORDER * len(names) + 1
    if sum(least) > room:
        return None
    limit = max(natural)
    while True:
        widths = [
            max(at_least, min(width, limit))
            for at_least, width in zip(least, natural, strict=True)
        ]
        if sum(widths) <= room:
            return widths
        limit -= 1


def _narrowest(column: Sequence[Any]) -> int:
    """Return the smallest width of a column."""
    if not all(isinstance(each, str) for each in column):
        return max(map(len, map(_shown, column)))
    words = (
        word for each in column for word in _Wrapper.wordsep_re.split(each)
    )
    return max(_LEAST_WIDTH, min(_LEAST_OF_LONG_WORDS, max(map(len, words))))


def _wrapped(value: Any, width: int) -> Any:
    if not isinstance(value, str) or len(value) <= width:
        return value
    return '\n'.join(_Wrapper(width).wrap(value))


def _shown(value: Any) -> str:
    if isinstance(value, cliff_columns.FormattableColumn):
        value = value.human_readable()
    return str(value)


def _room(parsed_args: argparse.Namespace) -> int:
    """Return the width of a line; 0 if it is unknown or not limited."""
    if parsed_args.max_width > 0:
        return int(parsed_args.max_width)
    return (utils.terminal_width() or 0) if parsed_args.fit_width else 0
