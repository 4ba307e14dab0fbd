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

"""What the cache tells of, to whoever listens.

The core knows nothing of who that is: inside nova it becomes notifications,
see :mod:`pvm_imagecache.virt.notifications`.
"""

from collections.abc import Callable
import dataclasses
import enum


class Kind(enum.Enum):
    """What has become of an image."""

    CACHED = 'cached'
    """It was fetched, and is served from the cache from now on."""

    EVICTED = 'evicted'
    """Its base image was removed, by a policy or an operator."""

    BYPASSED = 'bypassed'
    """A disk was made from it, past the cache."""


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that has happened to an image in the cache of a pool.

    :ivar pool: the id of the pool.
    :ivar disk_name: of the base image, or of the instance disk that was
        made past the cache.
    :ivar size: of the image, in bytes.
    :ivar reason: why it went, or why the cache was left out; else ''.
    """

    kind: Kind
    pool: str
    image_id: str
    disk_name: str
    size: int
    reason: str = ''


#: Is called with each event, in the thread that caused it and sometimes
#: with a lock held: it has to be quick. What it raises is logged, and harms
#: nothing.
Listener = Callable[[Event], None]
