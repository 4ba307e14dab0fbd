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

"""What is known of a platform, as operators see it: pure functions."""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import enum

from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import models
from pvm_imagecache.platform_check import effects


class State(enum.Enum):
    """Whether a fact is known."""

    MEASURED = 'measured'
    """It was measured at the current levels of the platform."""

    OUT_OF_DATE = 'out-of-date'
    """It was measured before a level of the platform changed."""

    UNKNOWN = 'unknown'
    """It was not measured, or its measurement failed."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One fact of a report.

    :ivar fact: its name.
    :ivar value: its value; None if it is unknown.
    :ivar state: whether it is known.
    :ivar measured_at: when it was measured, in Unix seconds; None if it was
        never tried, or if that is not known.
    :ivar effect: what the cache does because of it.
    :ivar reason: why it is unknown; '' if it is known.
    :ivar platform: the levels of the platform at which it was measured; ''
        if it was never tried.
    """

    fact: str
    value: platform_facts.Value | None
    state: State
    measured_at: float | None
    effect: str
    reason: str
    platform: str


def rows(
    records: Mapping[str, models.PlatformFact], level: str | None
) -> list[Row]:
    """Return all facts in the order of a report.

    :param records: what was measured, by name of the fact.
    :param level: identifies the current levels of the platform; None if
        they are not known.
    :returns: one row for each fact, also for those that are unknown.
    """
    facts = platform_facts.from_values(
        {name: each.value for name, each in records.items()}
    )
    return [
        _row(each, records.get(each), level, effects.effect_of(each, facts))
        for each in platform_facts.TYPES
    ]


def is_out_of_date(records: Iterable[models.PlatformFact], level: str) -> bool:
    """Return whether facts were measured before a level changed.

    :param records: what was measured.
    :param level: identifies the current levels of the platform.
    :returns: False if nothing was measured. An invalid record is unknown,
        not out of date.
    """
    # A record that is invalid has no level.
    return any(each.platform not in ('', level) for each in records)


def _row(
    fact: str,
    record: models.PlatformFact | None,
    level: str | None,
    effect: str,
) -> Row:
    if record is None:
        return Row(
            fact, None, State.UNKNOWN, None, effect, 'it was not measured', ''
        )
    if record.value is None:
        state = State.UNKNOWN
    elif level is not None and record.platform != level:
        state = State.OUT_OF_DATE
    else:
        state = State.MEASURED
    return Row(
        fact,
        record.value,
        state,
        record.measured_at or None,
        effect,
        record.reason,
        record.platform,
    )
