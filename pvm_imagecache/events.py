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

"""Events of the cache, and the listener that receives them.

Inside nova-compute the listener emits notifications: see
:mod:`pvm_imagecache.virt.notifications`.
"""

from collections.abc import Callable
import dataclasses
import enum
from typing import TypeAlias


class Kind(enum.Enum):
    """What happened to an image."""

    CACHED = 'cached'
    """The image was fetched, and is served from the cache from now on."""

    EVICTED = 'evicted'
    """Its base image was removed, by a policy or by an operator."""

    BYPASSED = 'bypassed'
    """A disk was created from the image without the cache."""


@dataclasses.dataclass(frozen=True)
class Event:
    """A change of an image in the cache of a pool.

    :ivar kind: what happened.
    :ivar pool: ID of the pool.
    :ivar image_id: ID of the Glance image.
    :ivar disk_name: name of the base image, or of the instance disk that
        was created without the cache.
    :ivar size: bytes of the image.
    :ivar reason: why the image was evicted or the cache bypassed; empty for
        other events.
    """

    kind: Kind
    pool: str
    image_id: str
    disk_name: str
    size: int
    reason: str = ''


#: Receives each event, in the thread that caused it and sometimes while a
#: lock is held, so it must return quickly. Its exceptions are logged and
#: ignored.
Listener: TypeAlias = Callable[[Event], None]
