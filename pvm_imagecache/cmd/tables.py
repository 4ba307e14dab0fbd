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

"""Lists for people: as tables that fit the terminal, or row by row.

cliff makes all wide columns of a table that is too wide equally narrow, and
breaks names and times in their middle. Here prose is wrapped, and only as
far as it has to be. Where even that is not enough, a table would be broken
by the terminal: then each row is shown as a table of its own, as is that of
a command about one thing.
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

#: Characters between which the widest word of prose decides how narrow its
#: column may become.
_LEAST_WIDTH: Final = 10
_LEAST_OF_LONG_WORDS: Final = 15
#: What a column takes beside its text: a rule and two spaces.
_BESIDE: Final = 3


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines after any hyphen: names of images have many."""

    wordsep_re = re.compile(r'(\s+|(?<=-)(?=[^\s-]))')


class FittedList:
    """A formatter of lists, in the place of cliff's for tables.

    :param formatter: that one; it draws the tables.
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
        """Called by cliff, with the columns and in the order wanted."""
        rows = [[for_people(each) for each in row] for row in data]
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


def for_people(value: Any) -> Any:
    """A value as a table shows it."""
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else ''
    return text.printable(value) if isinstance(value, str) else value


def fitting(
    names: Sequence[str], rows: Sequence[Sequence[Any]], room: int
) -> list[int] | None:
    """How wide the columns of a table may be; None if it can't fit.

    What is not text is never narrowed, text as little as can be, and that
    of the widest columns first.
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
    room -= _BESIDE * len(names) + 1
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
    """How narrow a column may become."""
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
    """Characters of a line; 0 where nobody knows, or wants to."""
    if parsed_args.max_width > 0:
        return int(parsed_args.max_width)
    return (utils.terminal_width() or 0) if parsed_args.fit_width else 0
