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

"""The policy that limits the number and the size of cached images."""

from collections.abc import Iterable

from pvm_imagecache import text
from pvm_imagecache.conf import lru as lru_conf
from pvm_imagecache.conf import types
from pvm_imagecache.eviction import base


class LRUPolicy(base.EvictionPolicy):
    """Evict the least recently used images while a limit is exceeded.

    :param max_images: how many images may be cached; None for no limit.
    :param max_bytes: how many bytes their disks may occupy together; None
        for no limit.
    """

    api_version = base.API_VERSION

    def __init__(self, max_images: int | None, max_bytes: int | None) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'LRUPolicy':
        return cls(*lru_conf.limits(conf))

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        if view.demand:
            for each in view.to_free(view.demand):
                yield base.Decision(
                    each.image_id,
                    'room',
                    'least recently used when a deploy needed space',
                )
            return
        count = len(view.images)
        size = sum(each.capacity for each in view.images)
        candidates = view.candidates()
        for each in list(candidates):
            # An image above the limit does not fit, however many others are
            # evicted: evict it alone.
            if self._max_bytes is not None and (
                each.capacity > self._max_bytes
            ):
                yield base.Decision(
                    each.image_id,
                    'too-large',
                    f'larger than the limit of {text.size(self._max_bytes)}',
                )
                candidates.remove(each)
                count -= 1
                size -= each.capacity
        for each in candidates:
            if self._max_images is not None and count > self._max_images:
                yield base.Decision(
                    each.image_id,
                    'too-many',
                    f'least recently used of {count} images: the limit is '
                    f'{self._max_images}',
                )
            elif self._max_bytes is not None and size > self._max_bytes:
                yield base.Decision(
                    each.image_id,
                    'too-large',
                    f'least recently used of {text.size(size)}: the limit '
                    f'is {text.size(self._max_bytes)}',
                )
            else:
                return
            count -= 1
            size -= each.capacity
