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

"""What is known of the platform of a pool.

Real PowerVM hosts differ in ways that no document states. ``pvm-imagecache
platform check`` measures them. Code that depends on one of them reads the
fact, and is correct for every value of it and for None.
"""

from collections.abc import Callable
import dataclasses
import enum
import re
from typing import Any
from typing import Final
from typing import get_args
from typing import get_type_hints

#: Characters of the longest text of a fact.
MAX_TEXT: Final = 500
#: The largest number: above the size of any disk, in bytes.
MAX_NUMBER: Final = 1 << 62
#: Bytes per second of the slowest and the fastest copy that is believed.
LEAST_RATE: Final = 1 << 20
MOST_RATE: Final = 100 * 10**9

_INTEGER: Final = re.compile('[0-9]{1,19}')


class ConcurrentUpdates(enum.Enum):
    """What the platform does with an update while another one runs."""

    QUEUED = 'queued'
    """It waits, and is carried out."""

    REFUSED = 'refused'
    """It fails with status 412, as if the pool had changed, or 409."""

    BUSY = 'busy'
    """It fails with an error of a busy VIOS."""

    OVERWRITES = 'overwrites'
    """It is carried out later, and overwrites the other one."""


#: Types of facts.
Value = bool | int | str | ConcurrentUpdates


@dataclasses.dataclass(frozen=True)
class PlatformFacts:
    """What was measured of the platform of one pool.

    Every fact is None if it is unknown: it was never measured, or its
    measurement failed. Rates are in bytes per second.

    :ivar platform_level: version of the REST API and of the management
        console.
    :ivar vios_level: version of the VIOS that owns the pool.
    :ivar pypowervm_version: version of pypowervm on this host.
    :ivar keeps_labels: whether a disk keeps the label that it was created
        with.
    :ivar granularity: bytes that a capacity is rounded up to a multiple of.
    :ivar fractional_capacity: whether a disk may have a capacity that is not
        a whole number of GiB.
    :ivar copies_into_larger: whether a disk can be created as a copy of a
        smaller one.
    :ivar copies_side_by_side: whether several copies of one update run at
        the same time; False: one after another.
    :ivar concurrent_updates: see :class:`ConcurrentUpdates`.
    :ivar stale_etag_refused: whether an update with an outdated ``If-Match``
        is refused.
    :ivar copy_rate: of one copy alone.
    :ivar upload_rate: of one upload alone.
    :ivar upload_rate_2: of two uploads at the same time, together.
    :ivar upload_rate_3: of three uploads at the same time, together.
    :ivar upload_rate_6: of six uploads at the same time, together.
    :ivar no_space_words: the message of PowerVM if a disk is larger than the
        free space.
    :ivar name_exists_words: the message of PowerVM if a disk has the name of
        another one in the pool.
    :ivar names_per_vios: whether the name of a disk in another volume group
        of the VIOS is refused; False: names are unique in a volume group.
    :ivar accepts_qcow2: whether a disk can be created with the file format
        qcow2.
    :ivar logical_volume_limit: the number of logical volumes that the volume
        group can have.
    :ivar new_disk_zeroed: whether a new disk reads as zeros, also where a
        deleted disk was.
    """

    platform_level: str | None = None
    vios_level: str | None = None
    pypowervm_version: str | None = None
    keeps_labels: bool | None = None
    granularity: int | None = None
    fractional_capacity: bool | None = None
    copies_into_larger: bool | None = None
    copies_side_by_side: bool | None = None
    concurrent_updates: ConcurrentUpdates | None = None
    stale_etag_refused: bool | None = None
    copy_rate: int | None = None
    upload_rate: int | None = None
    upload_rate_2: int | None = None
    upload_rate_3: int | None = None
    upload_rate_6: int | None = None
    no_space_words: str | None = None
    name_exists_words: str | None = None
    names_per_vios: bool | None = None
    accepts_qcow2: bool | None = None
    logical_volume_limit: int | None = None
    new_disk_zeroed: bool | None = None


#: Returns what is known at that moment.
Source = Callable[[], PlatformFacts]


def _types() -> dict[str, type]:
    hints = get_type_hints(PlatformFacts)
    return {
        each.name: get_args(hints[each.name])[0]
        for each in dataclasses.fields(PlatformFacts)
    }


#: By name of a fact, in the order of a report: the type of its value.
TYPES: Final[dict[str, type]] = _types()


def to_text(value: Value) -> str:
    """Return the text that a value is stored as.

    :param value: of a fact.
    :returns: the text, as :func:`from_text` reads it. A text is brought to
        one line, and is cut if it is long.
    """
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, ConcurrentUpdates):
        return value.value
    return one_line(str(value)) or '-'


def one_line(text: str) -> str:
    """Return a text as one printable line of at most :data:`MAX_TEXT`.

    :param text: such as a message of PowerVM.
    :returns: the line; '' if nothing in the text is printable.
    """
    printable = ''.join(each if each.isprintable() else ' ' for each in text)
    return ' '.join(printable.split())[:MAX_TEXT]


def from_text(fact: str, text: str) -> Any:
    """Return the value that a text stands for.

    :param fact: name of the fact, a key of :data:`TYPES`.
    :param text: what :func:`to_text` returned.
    :returns: the value, of the type of the fact.
    :raises ValueError: if the fact has no such value.
    """
    kind = TYPES[fact]
    if kind is bool and text in ('true', 'false'):
        return text == 'true'
    if kind is int and _INTEGER.fullmatch(text) and int(text) <= MAX_NUMBER:
        return int(text)
    if kind is ConcurrentUpdates:
        return ConcurrentUpdates(text)
    if kind is str and 0 < len(text) <= MAX_TEXT and text.isprintable():
        return text
    raise ValueError(f'{fact} has the invalid value {text!r:.80}')


def believed_rate(rate: float) -> int:
    """Return a rate of copies within what storage can do.

    The owner of the state directory can write any rate into the catalog. Time
    limits follow from it.

    :param rate: bytes per second, also an infinite number.
    :returns: the rate, at least :data:`LEAST_RATE` and at most
        :data:`MOST_RATE`.
    """
    return int(min(max(rate, LEAST_RATE), MOST_RATE))


def from_values(values: dict[str, Any]) -> PlatformFacts:
    """Return the facts with some values.

    :param values: by name; facts that are not among :data:`TYPES` are
        ignored.
    :returns: the facts; those without value are unknown.
    """
    return PlatformFacts(
        **{each: values[each] for each in TYPES if each in values}
    )
