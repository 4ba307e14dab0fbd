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
from collections.abc import Iterable
import dataclasses
from typing import Any
from typing import ClassVar
from typing import Final

#: What a policy says it was written for; see
#: ``EvictionPolicy.api_version``.
API_VERSION: Final = 1


@dataclasses.dataclass(frozen=True)
class CachedImage:
    """A base image as a policy sees it."""

    image_id: str
    disk_name: str
    capacity: int
    ready_at: float
    last_used_at: float
    hits: int


@dataclasses.dataclass(frozen=True)
class CacheView:
    """The cache as of one moment.

    :ivar demand: bytes that a deploy needs and the pool has not; else 0.
    """

    now: float
    pool_capacity: int
    pool_free: int
    demand: int
    images: tuple[CachedImage, ...]


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
        """The images that may go, those that should go first first."""
