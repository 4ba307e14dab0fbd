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


"""A SQLite connection whose parameters and results are checked.

SQLite stores any type in any column. What is read from the file is checked
here, so that a damaged file is an error of the catalog and not a failure of
the code that uses the values.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import enum
import re
import sqlite3
from types import TracebackType
from typing import Any
from typing import Final
from typing import TypeVar

from pvm_imagecache.system import thread_identity

_Member = TypeVar('_Member', bound=enum.Enum)
_Checked = TypeVar('_Checked')

#: What SQLite can store: a parameter of a statement, by position or name.
Value = str | int | float | None
Values = tuple[Value, ...] | Mapping[str, Value]

#: Bounds of what is read: rows of a query, characters of a text, and values
#: of a number, which is a time in seconds (until the year 3871) or a length.
MAX_ROWS: Final = 50_000
MAX_TEXT: Final = 100_000
MAX_NUMBER: Final = 6e10

#: The forms of values that identify something.
FILL_ID: Final = re.compile('[0-9a-f]{32}(-[0-9a-f]{8})?')
CATALOG_ID: Final = re.compile('[0-9a-f]{32}')
SHORT_CATALOG_ID: Final = re.compile('[0-9a-f]{8}')
NAME: Final = re.compile('[-.0-9A-Z_a-z]{1,255}')

#: Errors of sqlite3 for parameters that SQLite cannot store: an integer of
#: more than 64 bits, and a text that is not valid Unicode.
_UNSTORABLE: Final = (OverflowError, UnicodeEncodeError)


def text(value: Value) -> str:
    """Return a value that is a text.

    :param value: the value of a column.
    :returns: the value.
    :raises ValueError: if it is not a text, or a long one.
    """
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    raise ValueError


def text_or_none(value: Value) -> str | None:
    """Return a value that is a text or NULL.

    :param value: the value of a column.
    :returns: the value; None for NULL.
    :raises ValueError: if it is anything else.
    """
    return None if value is None else text(value)


def integer(value: Value) -> int:
    """Return a value that is an integer.

    :param value: the value of a column.
    :returns: the value.
    :raises ValueError: if it is not an integer, or negative.
    """
    if isinstance(value, int) and value >= 0:
        return value
    raise ValueError


def integer_or_none(value: Value) -> int | None:
    """Return a value that is an integer or NULL.

    :param value: the value of a column.
    :returns: the value; None for NULL.
    :raises ValueError: if it is anything else.
    """
    return None if value is None else integer(value)


def number(value: Value) -> float:
    """Return a value that is a number.

    :param value: the value of a column.
    :returns: the value.
    :raises ValueError: if it is not a number, or one that no time has.
    """
    # Not infinite, and a time that can be shown.
    if isinstance(value, int | float) and abs(value) <= MAX_NUMBER:
        return float(value)
    raise ValueError


def number_or_none(value: Value) -> float | None:
    """Return a value that is a number or NULL.

    :param value: the value of a column.
    :returns: the value; None for NULL.
    :raises ValueError: if it is anything else.
    """
    return None if value is None else number(value)


def fill_id(value: Value) -> str:
    """Return a value that is a fill ID.

    :param value: the value of a column.
    :returns: the value.
    :raises ValueError: if it does not have the form of one.
    """
    return _matching(value, FILL_ID)


def name(value: Value) -> str:
    """Return a value that is the name of a disk, or the ID of an image.

    :param value: the value of a column.
    :returns: the value.
    :raises ValueError: if it does not have the form of one.
    """
    return _matching(value, NAME)


def _matching(value: Value, pattern: re.Pattern[str]) -> str:
    found = text(value)
    if pattern.fullmatch(found):
        return found
    raise ValueError


class Row(sqlite3.Row):
    """A row of the catalog, read by column name and type."""

    def text(self, column: str) -> str:
        """Return a text.

        :param column: the name of the column.
        :returns: the value.
        :raises sqlite3.DataError: if the value is not a text.
        """
        return self._checked(column, text)

    def text_or_none(self, column: str) -> str | None:
        """Return a text, or None.

        :param column: the name of the column.
        :returns: the value; None for NULL.
        :raises sqlite3.DataError: if the value is neither a text nor NULL.
        """
        return self._checked(column, text_or_none)

    def integer(self, column: str) -> int:
        """Return an integer.

        :param column: the name of the column.
        :returns: the value.
        :raises sqlite3.DataError: if the value is not an integer, or negative.
        """
        return self._checked(column, integer)

    def integer_or_none(self, column: str) -> int | None:
        """Return an integer, or None.

        :param column: the name of the column.
        :returns: the value; None for NULL.
        :raises sqlite3.DataError: if the value is neither an integer nor
            NULL.
        """
        return self._checked(column, integer_or_none)

    def number(self, column: str) -> float:
        """Return a number.

        :param column: the name of the column.
        :returns: the value.
        :raises sqlite3.DataError: if the value is not a number.
        """
        return self._checked(column, number)

    def number_or_none(self, column: str) -> float | None:
        """Return a number, or None.

        :param column: the name of the column.
        :returns: the value; None for NULL.
        :raises sqlite3.DataError: if the value is neither a number nor NULL.
        """
        return self._checked(column, number_or_none)

    def matching(self, column: str, pattern: re.Pattern[str]) -> str:
        """Return a text of a certain form.

        :param column: the name of the column.
        :param pattern: what the whole text matches.
        :returns: the value.
        :raises sqlite3.DataError: if the value does not match.
        """
        return self._checked(column, lambda value: _matching(value, pattern))

    def member(self, column: str, kind: type[_Member]) -> _Member:
        """Return a member of an enumeration.

        :param column: the name of the column, which holds the value of the
            member.
        :param kind: the enumeration.
        :returns: the member.
        :raises sqlite3.DataError: if no member has the value.
        """
        return self._checked(column, kind)

    def values(self, checks: Sequence[Callable[[Value], object]]) -> list[Any]:
        """Return all values: faster than one by one.

        :param checks: for each column, in their order, a function such as
            :func:`text`.
        :returns: what the functions return.
        :raises sqlite3.DataError: if one of them raises ValueError.
        """
        try:
            return [
                check(value) for check, value in zip(checks, self, strict=True)
            ]
        except ValueError:
            for column, check in zip(self.keys(), checks, strict=True):
                self._checked(column, check)
            raise

    def _checked(
        self, column: str, check: Callable[[Value], _Checked]
    ) -> _Checked:
        value = self[column]
        try:
            return check(value)
        except ValueError:
            raise sqlite3.DataError(
                f'column {column} has the invalid value {value!r:.80}'
            ) from None


class _Acting:
    """The context manager of :meth:`Connection.acting`.

    Each call of SQLite needs one, and generators are slow.
    """

    __slots__ = ('_identity',)

    def __init__(self, owner: tuple[int, int]) -> None:
        self._identity = thread_identity.acting_as(*owner)

    def __enter__(self) -> None:
        self._identity.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._identity.__exit__(kind, error, traceback)
        if isinstance(error, UnicodeDecodeError):
            raise sqlite3.DatabaseError(
                'it has names that are not text'
            ) from error


class Connection(sqlite3.Connection):
    """A connection whose rows are :class:`Row` objects.

    SQLite opens, renames and removes files in most calls: a process of root
    makes each of them as the owner of the directory.

    :ivar owner: user and group of the directory of the file.
    """

    owner: tuple[int, int] = (0, 0)

    def acting(self) -> contextlib.AbstractContextManager[None]:
        """Make a block of calls of SQLite act as the owner of the directory.

        :returns: a context manager.
        :raises IdentityFailed: if the identity cannot be changed.
        :raises sqlite3.DatabaseError: if SQLite reports an error whose
            message is not text, because it quotes a damaged file.
        """
        return _Acting(self.owner)

    def close(self) -> None:
        """Close the connection.

        :raises sqlite3.Error: if SQLite reports an error.
        """
        with self.acting():
            super().close()

    def __del__(self) -> None:
        # Otherwise the interpreter would close it, with the rights of root.
        with contextlib.suppress(sqlite3.Error):
            self.close()

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """Run one statement.

        :param statement: SQL.
        :param values: the parameters of the statement.
        :returns: a cursor.
        :raises sqlite3.DataError: if SQLite cannot store a parameter.
        :raises sqlite3.Error: if the statement fails.
        """
        try:
            with self.acting():
                return super().execute(statement, values)
        except _UNSTORABLE as error:
            raise sqlite3.DataError(str(error)) from error

    def executemany(
        self, statement: str, rows: Iterable[Any], /
    ) -> sqlite3.Cursor:
        """Run one statement once for each row of parameters.

        :param statement: SQL.
        :param rows: the parameters of each run.
        :returns: a cursor.
        :raises sqlite3.DataError: if SQLite cannot store a parameter.
        :raises sqlite3.Error: if the statement fails.
        """
        # An error of the iterable itself is not one of SQLite.
        rows = list(rows)
        try:
            with self.acting():
                return super().executemany(statement, rows)
        except _UNSTORABLE as error:
            raise sqlite3.DataError(str(error)) from error

    def rows(self, statement: str, values: Values = ()) -> list[Row]:
        """Run a query.

        :param statement: a SELECT or PRAGMA.
        :param values: the parameters of the statement.
        :returns: all rows of the result.
        :raises sqlite3.DataError: if there are more than :data:`MAX_ROWS`.
        :raises sqlite3.Error: if the query fails.
        """
        cursor = self.execute(statement, values)
        cursor.row_factory = Row
        with self.acting():
            found = cursor.fetchmany(MAX_ROWS + 1)
            cursor.close()
        if len(found) > MAX_ROWS:
            raise sqlite3.DataError(
                f'it has more than {MAX_ROWS} records of a kind'
            )
        return found

    def row(self, statement: str, values: Values = ()) -> Row | None:
        """Run a query for one row.

        :param statement: a SELECT or PRAGMA.
        :param values: the parameters of the statement.
        :returns: the first row of the result; None if it is empty.
        :raises sqlite3.Error: if the query fails.
        """
        found = self.rows(statement, values)
        return found[0] if found else None
