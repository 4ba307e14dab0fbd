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

A policy chooses cached images to evict, each with a reason. It sees a
snapshot of the cache and changes nothing; other code decides whether a
chosen image is evicted, and evicts it. Sizes are in bytes, times in Unix
seconds.
"""

import abc
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import enum
import re
import types as types_module
from typing import ClassVar
from typing import Final

from pvm_imagecache.conf import types

#: Version of the contract that this release supports.
API_VERSION: Final = 1

#: Seconds since the last use for which an image that was deployed repeatedly
#: is evicted after all others.
POPULAR_FOR: Final = 24 * 3600.0


#: What the code of a decision looks like: lowercase words with hyphens.
CODE: Final = re.compile(r'[a-z][a-z0-9]*(-[a-z0-9]+)*')
#: Codes with a meaning of their own, which no policy may use.
RESERVED_CODES: Final = frozenset(
    (
        'busy',
        'in-use',
        'last-resort',
        'max-gib',
        'not-automatic',
        'not-chosen',
        'pinned',
        'protected',
        'quarantined',
        'young',
    )
)


class Veto(enum.Enum):
    """Why an image is kept, whatever the policies choose."""

    PINNED = 'pinned'
    """An operator pinned the image."""

    BUSY = 'busy'
    """A fetch, a copy or the removal of the image is in progress."""

    IN_USE = 'in use'
    """Instances of this host were created from the image."""

    YOUNG = 'young'
    """The image was cached less than ``minimum_age`` seconds ago."""

    PROTECTED = 'protected'
    """Another policy protects the image: see
    :meth:`EvictionPolicy.protects`."""


@dataclasses.dataclass(frozen=True)
class CachedImage:
    """A cached image, as policies see it.

    Times are corrected for changes of the host's clock:
    ``view.now - image.last_used_at`` is always the time since the last use.

    :ivar image_id: ID of the image in Glance.
    :ivar disk_name: name of the base image's disk.
    :ivar capacity: bytes that eviction of the image frees.
    :ivar ready_at: when the fetch was complete, in Unix seconds.
    :ivar last_used_at: when it was last fetched or deployed, in Unix
        seconds.
    :ivar hits: how many disks were copied from it.
    :ivar name: name of the image in Glance, if known.
    :ivar veto: why it cannot be evicted now; None if it can.
    :ivar project_id: ID of the project that owns the image; None if it is
        not known. Image metadata is recorded when the image is
        fetched, deployed, prefetched or adopted.
    :ivar tags: tags of the image in Glance.
    :ivar properties: those properties of the image in Glance that the option
        ``image_properties`` lists, by name. Cannot be changed.
    :ivar created_at: when Glance created the image, in Unix seconds by its
        clock; None if it is not known.
    :ivar disk_format: ``raw`` or ``qcow2``.
    :ivar size: bytes that Glance stores; 0 if it is not known.
    """

    image_id: str
    disk_name: str
    capacity: int
    ready_at: float
    last_used_at: float
    hits: int
    name: str | None = None
    veto: Veto | None = None
    project_id: str | None = None
    tags: frozenset[str] = frozenset()
    properties: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: types_module.MappingProxyType({}), hash=False
    )
    created_at: float | None = None
    disk_format: str = 'raw'
    size: int = 0


@dataclasses.dataclass(frozen=True)
class CacheView:
    """A snapshot of the cache.

    :ivar now: when the snapshot was taken, in Unix seconds.
    :ivar pool_capacity: size of the pool, in bytes; 0 if unknown.
    :ivar pool_free: free space of the pool, in bytes.
    :ivar demand: bytes that a deploy needs to be freed; 0 in a cleanup run.
        At least 1 if it needs a number of disks.
    :ivar images: all cached images, with and without a veto.
    :ivar pool_disks: number of disks of all kinds; None if it is unknown.
    :ivar pool_max_disks: number of disks that the pool can have; None if it
        is unknown.
    :ivar demand_disks: number of disks that a deploy needs to be removed.
    """

    now: float
    pool_capacity: int
    pool_free: int
    demand: int
    images: tuple[CachedImage, ...]
    pool_disks: int | None = None
    pool_max_disks: int | None = None
    demand_disks: int = 0

    @property
    def pool_used(self) -> int:
        """Bytes of the pool that disks of all kinds occupy."""
        return max(0, self.pool_capacity - self.pool_free)

    def candidates(self) -> list[CachedImage]:
        """Return the images that can be evicted.

        Images that were never deployed from the cache do not displace those
        that are: many of them would evict all that is used less often than
        they are fetched.

        :returns: images without a veto. Those that disks were copied from,
            and that were used within :data:`POPULAR_FOR` seconds, are last;
            otherwise the least recently used is first.
        """
        return sorted(
            (each for each in self.images if each.veto is None),
            key=lambda each: (
                each.hits > 0 and self.now - each.last_used_at < POPULAR_FOR,
                each.last_used_at,
                each.ready_at,
                each.image_id,
            ),
        )

    def to_free(self, size: int, disks: int = 0) -> list[CachedImage]:
        """Return the first candidates that free enough space.

        The result is minimal: without any one image it would free less than
        ``size``, or fewer disks than wanted.

        :param size: bytes to free.
        :param disks: number of images to choose at least; never less than
            :attr:`demand_disks`.
        :returns: in the order of :meth:`candidates`; all candidates if they
            free less than that together.
        """
        disks = max(disks, self.demand_disks)
        chosen: list[CachedImage] = []
        freed = 0
        for each in self.candidates():
            if freed >= size and len(chosen) >= disks:
                break
            chosen.append(each)
            freed += each.capacity
        for each in reversed(list(chosen)):
            if len(chosen) > disks and freed - each.capacity >= size:
                chosen.remove(each)
                freed -= each.capacity
        return chosen

    def without(self, image_ids: Collection[str]) -> 'CacheView':
        """Return the view as it will be after an eviction.

        :param image_ids: IDs of the images that are evicted; unknown IDs
            are ignored.
        :returns: a view without these images, with their bytes free.
        """
        evicted = [each for each in self.images if each.image_id in image_ids]
        freed = sum(each.capacity for each in evicted)
        demand_disks = max(0, self.demand_disks - len(evicted))
        return dataclasses.replace(
            self,
            pool_free=self.pool_free + freed,
            pool_disks=(
                None
                if self.pool_disks is None
                else max(0, self.pool_disks - len(evicted))
            ),
            demand=max(min(1, demand_disks), self.demand - freed),
            demand_disks=demand_disks,
            images=tuple(
                each for each in self.images if each.image_id not in image_ids
            ),
        )


@dataclasses.dataclass(frozen=True)
class Decision:
    """The decision of a policy to evict an image, or to protect it.

    :ivar image_id: ID of the image, of :attr:`CachedImage.image_id`.
    :ivar code: machine-readable reason: lowercase words with hyphens, from
        a set that does not change between releases of the policy. See
        :data:`CODE` and :data:`RESERVED_CODES`.
    :ivar reason: human-readable reason, on one line.
    """

    image_id: str
    code: str
    reason: str


class EvictionPolicy(abc.ABC):
    """Chooses cached images to evict.

    A policy is made when nova-compute or a command starts, and again when
    nova-compute reloads its configuration. It must not wait or compute for
    long: a policy that does not answer within the time limit is skipped, and
    not asked again until it is made again. What the time limit cannot do is
    described in :mod:`pvm_imagecache.eviction.time_limit`.
    """

    #: Version of the contract that the policy follows: :data:`API_VERSION`
    #: of the release that it was written for.
    api_version: ClassVar[int] = 0

    @classmethod
    @abc.abstractmethod
    def from_conf(cls, conf: types.Conf) -> 'EvictionPolicy':
        """Make the policy from the configuration.

        Options of the policy are registered here, with
        :func:`pvm_imagecache.conf.registration.register`.

        :param conf: the configuration of the process.
        :returns: the policy.
        :raises ConfigurationError: if an option has an invalid value.
        """

    @abc.abstractmethod
    def choose(self, view: CacheView) -> Iterable[Decision]:
        """Return decisions to evict images.

        Called in each cleanup run, and with a ``demand`` if a deploy needs
        space. In the latter case no more of the chosen images are evicted
        than satisfy the demand.

        :param view: snapshot of the cache, without the images that policies
            before this one chose.
        :returns: at most one decision for each image, in the order in which
            the images are to be evicted. May be a generator.
        """

    def protects(self, view: CacheView) -> Iterable[Decision]:
        """Return images that no other policy may evict.

        Called before any policy is asked to choose, with all images. The
        other policies see the images with :attr:`Veto.PROTECTED`. They are
        evicted only

        * by the policy itself, if no other policy protects them;
        * by an operator, with ``pvm-imagecache purge``;
        * as a last resort, if a deploy would fail for lack of space.

        A policy whose call fails is skipped, and protects nothing.

        :param view: snapshot of the cache.
        :returns: at most one decision for each image, with the reason to keep
            it; none by default. May be a generator.
        """
        return ()
