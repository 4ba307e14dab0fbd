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


class Copies(enum.StrEnum):
    """How several copies in one volume group update run."""

    SERIAL = 'serial'
    PARALLEL = 'parallel'


class UnconditionalUpdate(enum.StrEnum):
    """What a volume group POST without If-Match does.

    What real hardware does is not known; clients must be safe under both.
    """

    # The body is the whole truth: disks that it lacks are deleted.
    OVERWRITE = 'overwrite'
    # Disks without UDID are created, nothing is deleted.
    MERGE = 'merge'


class NewDisks(enum.StrEnum):
    """What a new disk has that nothing was written to."""

    ZEROED = 'zeroed'
    # The blocks of disks that were deleted, as on thick logical volumes.
    STALE = 'stale'


@dataclasses.dataclass
class Settings:
    """Rates in bytes per second, 0 for unlimited."""

    copy_rate: int = 0
    total_copy_rate: int = 0
    copies: Copies = Copies.SERIAL
    upload_rate: int = 0
    total_upload_rate: int = 0
    unconditional_update: UnconditionalUpdate = UnconditionalUpdate.OVERWRITE
    new_disks: NewDisks = NewDisks.ZEROED
    # Most web/File entries at a time.
    file_limit: int = 100
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
        if name == 'copies':
            return Copies(str(value))
        if name == 'new_disks':
            return NewDisks(str(value))
        if name == 'unconditional_update':
            return UnconditionalUpdate(str(value))
        if name not in self.as_dict():
            raise ValueError(f'unknown setting {name!r}')
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f'{name} must be a whole number')
        if value < 0:
            raise ValueError(f'{name} must not be negative')
        return value

    def as_dict(self) -> dict[str, str | int]:
        return dataclasses.asdict(self)
