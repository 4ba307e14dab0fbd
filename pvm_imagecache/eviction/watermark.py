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

"""The policy that evicts images when the pool fills up."""

from collections.abc import Iterable

from pvm_imagecache.conf import types
from pvm_imagecache.conf import watermark as watermark_conf
from pvm_imagecache.eviction import base


class WatermarkPolicy(base.EvictionPolicy):
    """Evict the least recently used images of a pool that is too full.

    Nothing is evicted while the usage of the pool is at or below the high
    mark. Above it, images are evicted until the usage is at or below the low
    mark. Both marks apply to the bytes of the pool, and to the number of its
    disks if the pool has a limit for them.

    :param high: the high mark, in percent of the pool's capacity.
    :param low: the low mark, in percent of the pool's capacity.
    """

    api_version = base.API_VERSION

    def __init__(self, high: float, low: float) -> None:
        self._high = high
        self._low = low

    @classmethod
    def from_conf(cls, conf: types.Conf) -> 'WatermarkPolicy':
        return cls(*watermark_conf.marks(conf))

    def choose(self, view: base.CacheView) -> Iterable[base.Decision]:
        if view.demand:
            return [
                base.Decision(
                    each.image_id,
                    'room',
                    'least recently used when a deploy needed space',
                )
                for each in view.to_free(view.demand)
            ]
        size = self._surplus(view.pool_used, view.pool_capacity)
        disks = self._surplus(view.pool_disks or 0, view.pool_max_disks or 0)
        if not size and not disks:
            return []
        if size:
            used = 100 * view.pool_used / view.pool_capacity
            usage = f'the pool is {used:.4g} % full'
        else:
            usage = (
                f'the pool has {view.pool_disks} of at most '
                f'{view.pool_max_disks} disks'
            )
        return [
            base.Decision(
                each.image_id,
                'high-watermark',
                f'least recently used while {usage}: the high mark is '
                f'{self._high:g} %',
            )
            for each in view.to_free(size, disks)
        ]

    def _surplus(self, used: int, limit: int) -> int:
        """Return what is above the low mark, if it is above the high one."""
        if limit <= 0 or 100 * used / limit <= self._high:
            return 0
        return used - int(limit * self._low / 100)
