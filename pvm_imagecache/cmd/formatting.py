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

"""Values of columns: for people in tables, exact for programs."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import datetime
import functools
from typing import Any
from typing import Final

from cliff import columns

from pvm_imagecache import text

_SHORTEST_ID: Final = 8


@functools.total_ordering
class _Sortable(columns.FormattableColumn[Any]):
    """Sorted by its value, not by what is shown of it."""

    def __lt__(self, other: Any) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[bool, float]:
        """Nothing comes before everything."""
        return self._value is not None, self._value or 0

    def machine_readable(self) -> Any:
        return self._value


class Size(_Sortable):
    """Bytes."""

    def human_readable(self) -> str:
        return '' if self._value is None else text.size(self._value)


class KeptElsewhere(_Sortable):
    """What this project can't count: null for programs."""

    def human_readable(self) -> str:
        return 'kept by the pool itself'


@functools.total_ordering
class ID(columns.FormattableColumn[Any]):
    """The id of an image: whole for programs, cut in tables."""

    def __init__(self, value: str | None, length: int) -> None:
        super().__init__(value)
        self._length = length

    def __lt__(self, other: Any) -> bool:
        return (self._value or '') < (other._value or '')

    def human_readable(self) -> str:
        return (self._value or '')[: self._length]

    def machine_readable(self) -> Any:
        return self._value


def ids(known: Iterable[str | None]) -> Callable[[str | None], ID]:
    """What makes columns of ids, as short as they can be told apart by."""
    different = {each for each in known if each}
    length = _SHORTEST_ID
    longest = max(map(len, different), default=0)
    while length < longest and len(
        {each[:length] for each in different}
    ) < len(different):
        length += 1
    return lambda each: ID(each, length)


def with_ids(rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """Rows whose first column is an id, which is cut in tables."""
    listed = list(rows)
    id_of = ids(row[0] for row in listed)
    return [(id_of(row[0]), *row[1:]) for row in listed]


class Until(_Sortable):
    """Seconds from now on: the time when they end for programs."""

    def human_readable(self) -> str:
        return (
            '' if self._value is None else (f'in {text.duration(self._value)}')
        )

    def machine_readable(self) -> str | None:
        if self._value is None:
            return None
        now = datetime.datetime.now(datetime.UTC)
        return Time(now.timestamp() + self._value).machine_readable()


class Time(_Sortable):
    """A time in Unix seconds: ISO 8601 in UTC for programs."""

    def human_readable(self) -> str:
        if self._value is None:
            return ''
        return text.age(
            datetime.datetime.now(datetime.UTC).timestamp() - self._value
        )

    def machine_readable(self) -> str | None:
        if self._value is None:
            return None
        return datetime.datetime.fromtimestamp(
            self._value, datetime.UTC
        ).isoformat(timespec='seconds')
