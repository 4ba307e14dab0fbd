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

"""The policy that limits how much is cached."""

from collections.abc import Iterable
from typing import Any

from pvm_imagecache import text
from pvm_imagecache.conf import lru as lru_conf
from pvm_imagecache.eviction import base


class LRUPolicy(base.EvictionPolicy):
    """Where there are too many, those used least recently go.

    :param max_images: that may be cached; None for any number.
    :param max_bytes: that their disks may take up; None for any number.
    """

    api_version = base.API_VERSION

    def __init__(self, max_images: int | None, max_bytes: int | None) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes

    @classmethod
    def from_conf(cls, conf: Any) -> 'LRUPolicy':
        return cls(*lru_conf.limits(conf))

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        if view.demand:
            for each in view.to_free(view.demand):
                yield base.Decision(
                    each.image_id,
                    'space',
                    'least recently used when a deploy needed space',
                )
            return
        count = len(view.images)
        size = sum(each.capacity for each in view.images)
        candidates = view.candidates()
        for each in list(candidates):
            # No other one is to go for an image that can't stay anyway.
            if self._max_bytes is not None and (
                each.capacity > self._max_bytes
            ):
                yield base.Decision(
                    each.image_id,
                    'too-large',
                    f'larger than the {text.size(self._max_bytes)} that '
                    'may be cached',
                )
                candidates.remove(each)
                count -= 1
                size -= each.capacity
        for each in candidates:
            if self._max_images is not None and count > self._max_images:
                yield base.Decision(
                    each.image_id,
                    'too-many',
                    f'the least recently used of {count} images, of which '
                    f'{self._max_images} may be cached',
                )
            elif self._max_bytes is not None and size > self._max_bytes:
                yield base.Decision(
                    each.image_id,
                    'too-large',
                    f'the least recently used while {text.size(size)} are '
                    f'cached, of {text.size(self._max_bytes)} allowed',
                )
            else:
                return
            count -= 1
            size -= each.capacity
