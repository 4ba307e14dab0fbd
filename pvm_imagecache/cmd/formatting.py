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

"""Values of columns: human-readable in tables, else machine-readable."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import datetime
import functools
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

from cliff import columns

from pvm_imagecache import text

if TYPE_CHECKING:
    from pvm_imagecache import image as image_module

_SHORTEST_ID: Final = 8
_ESCAPING_FORMATS: Final = ('json', 'yaml')


@functools.total_ordering
class _Sortable(columns.FormattableColumn[Any]):
    """A value that is sorted by what it is, not by how it is shown."""

    def __lt__(self, other: Any) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[bool, float]:
        """Return the sort key. None sorts first."""
        return self._value is not None, self._value or 0

    def machine_readable(self) -> Any:
        """Return the value as it is."""
        return self._value


class Size(_Sortable):
    """A size in bytes."""

    def human_readable(self) -> str:
        """Return the size with a unit."""
        return '' if self._value is None else text.size(self._value)


class KeptElsewhere(_Sortable):
    """A number that only the pool knows: null if machine-readable."""

    def human_readable(self) -> str:
        """Return why there is no number."""
        return 'managed by the pool'


class OtherCatalogs(columns.FormattableColumn[Any]):
    """Other catalogs that have disks in the pool."""

    def human_readable(self) -> str:
        """Return the number of disks of each catalog."""
        return ', '.join(
            f'{each.catalog} (base images: {each.base_images}, '
            f'other disks: {each.other_disks})'
            for each in self._value
        )

    def machine_readable(self) -> Any:
        """Return a list of objects."""
        return [dataclasses.asdict(each) for each in self._value]


@functools.total_ordering
class ID(columns.FormattableColumn[Any]):
    """An image ID: shortened in tables, else complete.

    :param value: the ID, or None.
    :param length: number of characters in tables.
    """

    def __init__(self, value: str | None, length: int) -> None:
        super().__init__(value)
        self._length = length

    def __lt__(self, other: Any) -> bool:
        return (self._value or '') < (other._value or '')

    def human_readable(self) -> str:
        """Return the shortened ID."""
        return (self._value or '')[: self._length]

    def machine_readable(self) -> str | None:
        """Return the complete ID."""
        value: str | None = self._value
        return value


def ids(known: Iterable[str | None]) -> Callable[[str | None], ID]:
    """Return a function that formats IDs with a common length.

    :param known: all IDs of the column.
    :returns: a function that formats an ID. The length is the shortest with
        which all IDs differ.
    """
    different = {each for each in known if each}
    length = _SHORTEST_ID
    longest = max(map(len, different), default=0)
    while length < longest and len(
        {each[:length] for each in different}
    ) < len(different):
        length += 1
    return lambda each: ID(each, length)


def with_ids(rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """Return rows with a formatted ID in the first column.

    :param rows: rows whose first value is an image ID or None.
    :returns: the rows.
    """
    listed = list(rows)
    id_of = ids(row[0] for row in listed)
    return [(id_of(row[0]), *row[1:]) for row in listed]


class Until(_Sortable):
    """Seconds from now: a duration in tables, else the time of the end."""

    def human_readable(self) -> str:
        """Return the duration."""
        return (
            '' if self._value is None else (f'in {text.duration(self._value)}')
        )

    def machine_readable(self) -> str | None:
        """Return the time of the end, in ISO 8601 and UTC."""
        if self._value is None:
            return None
        now = datetime.datetime.now(datetime.UTC)
        return Time(now.timestamp() + self._value).machine_readable()


class Time(_Sortable):
    """A time in Unix seconds: an age in tables, else ISO 8601 in UTC."""

    def human_readable(self) -> str:
        """Return how long ago it was."""
        if self._value is None:
            return ''
        return text.age(
            datetime.datetime.now(datetime.UTC).timestamp() - self._value
        )

    def machine_readable(self) -> str | None:
        """Return the time in ISO 8601 and UTC."""
        if self._value is None:
            return None
        return datetime.datetime.fromtimestamp(
            self._value, datetime.UTC
        ).isoformat(timespec='seconds')


class _Escaped(columns.FormattableColumn[Any]):
    """The machine-readable text of another column, escaped."""

    def human_readable(self) -> str:
        """Return the text."""
        return str(self._value)

    def machine_readable(self) -> str:
        """Return the text."""
        return str(self._value)


def escaped(values: Sequence[Any], formatter: str) -> list[Any]:
    """Return values without control characters, for a format.

    Users choose the names of images. Such a name must not begin a line of
    its own, move the cursor, or run a command.

    :param values: the values of a row.
    :param formatter: name of the format: ``json`` and ``yaml`` escape
        control characters themselves; ``shell`` puts a value between double
        quotes.
    :returns: the values.
    """
    if formatter in _ESCAPING_FORMATS:
        return list(values)
    return [_escaped(each, formatter == 'shell') for each in values]


def _escaped(value: Any, shell: bool) -> Any:
    plain = (
        value.machine_readable()
        if isinstance(value, columns.FormattableColumn)
        else value
    )
    if not isinstance(plain, str):
        return value
    found = text.printable(plain)
    if shell:
        for each in '\\$`':
            found = found.replace(each, f'\\{each}')
    return _Escaped(found) if plain is not value else found


def kept(reason: str, image: 'image_module.Image') -> str:
    """Return the result of an image that was not removed.

    :param reason: why it was not, often the message of an error.
    :param image: the image. A message that begins with it is shortened.
    :returns: the text, which begins with "kept:".
    """
    for label in (image.id, f'{image.name} ({image.id[:_SHORTEST_ID]})'):
        reason = reason.removeprefix(f'Image {label} is ')
    return f'kept: {reason.rstrip(".")}'
