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

"""The contract of eviction policies.

A policy says which cached images may go, and why. It looks at a snapshot
and touches nothing: whether an image goes in the end is decided elsewhere.
Sizes are in bytes, times in Unix seconds.
"""

import abc
from collections.abc import Collection
from collections.abc import Iterable
import dataclasses
import enum
from typing import Any
from typing import ClassVar
from typing import Final

API_VERSION: Final = 1


class Veto(enum.Enum):
    """Why an image stays, whatever a policy says."""

    PINNED = 'pinned'
    """An operator has said that it is to stay."""

    BUSY = 'busy'
    """It is being filled, removed, or deployed from at this moment."""

    IN_USE = 'in use'
    """Instances of this host were made from it."""

    YOUNG = 'young'
    """It was cached only a moment ago."""


@dataclasses.dataclass(frozen=True)
class CachedImage:
    """A base image as a policy sees it.

    The times are such that ``view.now - image.last_used_at`` is right even
    where the clock of the host has been set meanwhile.

    :ivar capacity: of its disk: what its removal frees.
    :ivar veto: why it can't be removed now; None if it can.
    """

    image_id: str
    disk_name: str
    capacity: int
    ready_at: float
    last_used_at: float
    hits: int
    name: str | None = None
    veto: Veto | None = None


@dataclasses.dataclass(frozen=True)
class CacheView:
    """The cache as of one moment.

    :ivar demand: bytes that a deploy waits for to become free; else 0.
    :ivar images: all that are cached, also those that can't be removed.
    """

    now: float
    pool_capacity: int
    pool_free: int
    demand: int
    images: tuple[CachedImage, ...]

    @property
    def pool_used(self) -> int:
        """Bytes that disks of all kinds take up."""
        return max(0, self.pool_capacity - self.pool_free)

    def candidates(self) -> list[CachedImage]:
        """Those that can be removed, the least recently used first."""
        return sorted(
            (each for each in self.images if each.veto is None),
            key=lambda each: (each.last_used_at, each.ready_at, each.image_id),
        )

    def to_free(self, size: int) -> list[CachedImage]:
        """The least recently used candidates that free ``size`` bytes.

        None of them could stay without less becoming free than that. All
        candidates, where even they are not enough.
        """
        chosen: list[CachedImage] = []
        freed = 0
        for each in self.candidates():
            if freed >= size:
                break
            chosen.append(each)
            freed += each.capacity
        for each in reversed(list(chosen)):
            if freed - each.capacity >= size:
                chosen.remove(each)
                freed -= each.capacity
        return chosen

    def without(self, image_ids: Collection[str]) -> 'CacheView':
        """The view as it will be when those images are gone."""
        freed = sum(
            each.capacity for each in self.images if each.image_id in image_ids
        )
        return dataclasses.replace(
            self,
            pool_free=self.pool_free + freed,
            demand=max(0, self.demand - freed),
            images=tuple(
                each for each in self.images if each.image_id not in image_ids
            ),
        )


@dataclasses.dataclass(frozen=True)
class Decision:
    """That an image may go, with the reason as a code and in words."""

    image_id: str
    code: str
    reason: str


class EvictionPolicy(abc.ABC):
    """Chooses cached images that may be removed."""

    #: The contract that the policy follows: :data:`API_VERSION`.
    api_version: ClassVar[int] = 0

    @classmethod
    @abc.abstractmethod
    def from_conf(cls, conf: Any) -> 'EvictionPolicy':
        """Make the policy from an ``oslo_config.cfg.ConfigOpts``.

        :raises ConfigurationError: if an option makes no sense.
        """

    @abc.abstractmethod
    def choose(self, view: CacheView) -> Iterable[Decision]:
        """The images that may go, those that should go first first.

        Asked at each pass, and with a ``demand`` when a deploy needs room:
        then no more of them go than are needed.
        """
