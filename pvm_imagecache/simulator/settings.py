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

"""What can be set at start and changed at run time."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum

from pvm_imagecache.simulator import sizes
from pvm_imagecache.simulator import wordings

#: Characters that are left of a label that is shortened.
LABEL_LENGTH = 16
# Capacities and granularities are whole numbers of these.
_SECTOR = 512


class Labels(enum.StrEnum):
    """Whether a disk keeps the label that its maker gave it."""

    KEPT = 'kept'
    DROPPED = 'dropped'
    # Cut to LABEL_LENGTH characters.
    SHORTENED = 'shortened'


class Fractions(enum.StrEnum):
    """A new disk whose capacity is not a whole number of GiB."""

    ACCEPTED = 'accepted'
    REFUSED = 'refused'
    # Up to whole GiB.
    ROUNDED = 'rounded'


class CopyLarger(enum.StrEnum):
    """A new disk that is larger than the base image that it is copied from."""

    ACCEPTED = 'accepted'
    REFUSED = 'refused'


class Copies(enum.StrEnum):
    """How several copies in one volume group update run."""

    SERIAL = 'serial'
    PARALLEL = 'parallel'


class ConcurrentUpdates(enum.StrEnum):
    """What happens to an update while another one runs."""

    # It waits for the other one of the same volume group.
    QUEUED = 'queued'
    # 412, if the other one is of the same volume group.
    REFUSED = 'refused'
    # HSCL3205, if the other one is of the same VIOS.
    BUSY = 'busy'


class IfMatch(enum.StrEnum):
    """Whether a stale If-Match is refused."""

    ENFORCED = 'enforced'
    # Compared when the update arrives, not when it is carried out: two
    # updates that arrive at the same time both succeed.
    ON_ARRIVAL = 'on-arrival'
    # Such an update is as one without If-Match.
    IGNORED = 'ignored'


class UnconditionalUpdate(enum.StrEnum):
    """What a volume group POST without If-Match does.

    What real hardware does is not known; clients must be safe under both.
    """

    # The body is the whole truth: disks that it lacks are deleted.
    OVERWRITE = 'overwrite'
    # Disks without UDID are created, nothing is deleted.
    MERGE = 'merge'


class OverLimit(enum.StrEnum):
    """What happens to an upload over the limit."""

    # 503.
    REFUSED = 'refused'
    # None of its bytes is read until another one ends.
    QUEUED = 'queued'


class NameScope(enum.StrEnum):
    """Where no other disk may have the name of a new one."""

    VIOS = 'vios'
    VG = 'vg'


class FileFormats(enum.StrEnum):
    """A new disk with a file format that is not raw, such as qcow2."""

    ACCEPTED = 'accepted'
    REFUSED = 'refused'


class NewDisks(enum.StrEnum):
    """What a new disk has that nothing was written to."""

    ZEROED = 'zeroed'
    # The blocks of disks that were deleted, as on thick logical volumes.
    STALE = 'stale'


@dataclasses.dataclass
class Settings:
    """Rates in bytes per second; 0 for no limit of a rate or number."""

    copy_rate: int = 0
    total_copy_rate: int = 0
    copies: Copies = Copies.SERIAL
    copy_larger: CopyLarger = CopyLarger.ACCEPTED
    upload_rate: int = 0
    total_upload_rate: int = 0
    # Uploads at a time.
    upload_limit: int = 0
    uploads_over_limit: OverLimit = OverLimit.REFUSED
    concurrent_updates: ConcurrentUpdates = ConcurrentUpdates.QUEUED
    if_match: IfMatch = IfMatch.ENFORCED
    unconditional_update: UnconditionalUpdate = UnconditionalUpdate.OVERWRITE
    labels: Labels = Labels.KEPT
    # Bytes; capacities are rounded up to a whole number of these.
    granularity: int = sizes.GRANULE
    fractions: Fractions = Fractions.ACCEPTED
    file_formats: FileFormats = FileFormats.ACCEPTED
    new_disks: NewDisks = NewDisks.ZEROED
    name_scope: NameScope = NameScope.VIOS
    # A name of wordings.NAME, or free text with {name} and {group} in it.
    # mixed: rest for a disk of the same volume group, else mklv.
    name_wording: str = wordings.MIXED
    # A name of wordings.SPACE, or free text with {group}, {wanted} and {free}
    # in it.
    space_wording: str = 'allocp'
    # Most logical volumes of a volume group at a time.
    logical_volume_limit: int = 0
    # Most web/File entries at a time.
    file_limit: int = 100
    # OperatingSystemVersion of each VIOS.
    vios_level: str = 'VIOS 2.2.4.0'
    # schemaVersion that a logon is answered with.
    platform_level: str = 'V1_3_0'
    # Milliseconds that a job runs. Clients poll each second, so that even
    # 0 costs them one.
    job_milliseconds: int = 0

    def change(self, changes: collections.abc.Mapping[str, object]) -> None:
        """Apply all of the changes, or raise ValueError and apply none."""
        checked = {
            name: self._checked(name, value) for name, value in changes.items()
        }
        for name, value in checked.items():
            setattr(self, name, value)

    def _checked(self, name: str, value: object) -> object:
        current = self.as_dict().get(name)
        if current is None:
            raise ValueError(f'unknown setting {name!r}')
        if isinstance(current, enum.StrEnum):
            return type(current)(str(value))
        if isinstance(current, str):
            return _checked_text(name, value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f'{name} must be a whole number')
        if value < 0:
            raise ValueError(f'{name} must not be negative')
        if name == 'granularity' and (value == 0 or value % _SECTOR):
            raise ValueError(f'{name} must be a multiple of {_SECTOR} bytes')
        return value

    def as_dict(self) -> dict[str, str | int]:
        return dataclasses.asdict(self)


def _checked_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f'{name} must be a text')
    if name == 'space_wording':
        return wordings.check(wordings.SPACE, value)
    if name == 'name_wording' and value != wordings.MIXED:
        return wordings.check(wordings.NAME, value)
    return value
