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

"""Which cached images a deploy may displace to cache another image.

Any user who deploys images fills the cache. Without a rule, a user who
deploys many different images, or tiny ones on disks of one GiB, evicts the
images that all others deploy.
"""

import dataclasses
from typing import Final

from oslo_utils import units

from pvm_imagecache.eviction import base

#: Seconds for which deploys are counted: what was popular once does not
#: keep others out forever.
WINDOW: Final = 7 * 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Newcomer:
    """An image that a deploy would cache.

    :ivar deploys: how often it was deployed on this host within
        :data:`WINDOW`, with the deploy that would cache it.
    :ivar size: of the image, in bytes.
    """

    deploys: int
    size: int

    @property
    def worth(self) -> float:
        """The deploys, in proportion to the part of its disk that is used."""
        return self.deploys * min(1.0, self.size / disk_size(self.size))

    def may_displace(self, deploys: int, idle: float) -> bool:
        """Return whether a cached image may be evicted for this one.

        :param deploys: how often the cached image was deployed within
            :data:`WINDOW`.
        :param idle: seconds since it was used.
        :returns: True if it is idle, was not deployed twice, or is deployed
            less than this one, whose deploys count in proportion to the
            part of its disk that the image uses.
        """
        return idle >= base.POPULAR_FOR or deploys <= 1 or deploys < self.worth


def disk_size(size: int) -> int:
    """Return the size of the disk that PowerVM creates for an image.

    :param size: of the image, in bytes.
    :returns: bytes: the size, rounded up to whole GiB.
    """
    return max(1, -(-size // units.Gi)) * units.Gi
