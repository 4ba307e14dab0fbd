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

"""Generated snapshots of caches, for tests of eviction policies."""

from collections.abc import Iterator
import random
from typing import Final
import uuid

from pvm_imagecache.eviction import base as eviction_base

_GIB: Final = 1 << 30
#: Time of the generated snapshots, in Unix seconds.
NOW: Final = 1_800_000_000.0
_LONGEST_AGE: Final = 40 * 86400.0
_VIEWS: Final = 200
_MOST_IMAGES: Final = 40


def views(
    seed: int = 0, count: int = _VIEWS
) -> Iterator[eviction_base.CacheView]:
    """Generate snapshots of caches of many kinds.

    :param seed: of the random numbers: the same seed gives the same
        snapshots.
    :param count: how many snapshots to generate.
    :returns: the snapshots. The cache or the pool may be empty or full,
        images may have vetoes, and some snapshots have a demand.
    """
    chance = random.Random(seed)  # noqa: S311
    for _ in range(count):
        images = tuple(
            _image(chance)
            for _ in range(
                chance.choice((0, 1, 2, chance.randint(3, _MOST_IMAGES)))
            )
        )
        cached = sum(each.capacity for each in images)
        others = chance.randint(0, 100) * _GIB
        free = chance.choice((0, chance.randint(0, 100) * _GIB))
        yield eviction_base.CacheView(
            now=NOW,
            pool_capacity=chance.choice(
                (0, cached + others + free, cached + others + free)
            ),
            pool_free=free,
            images=images,
            demand=chance.choice((0, 0, chance.randint(1, 60 * _GIB))),
        )


def _image(chance: random.Random) -> eviction_base.CachedImage:
    ready = chance.uniform(0, _LONGEST_AGE)
    image_id = str(uuid.UUID(int=chance.getrandbits(128)))
    return eviction_base.CachedImage(
        image_id=image_id,
        name=chance.choice((None, f'image {ready:.0f}')),
        disk_name='i_' + image_id.replace('-', '_')[:13],
        capacity=chance.randint(1, 20) * _GIB,
        ready_at=NOW - ready,
        last_used_at=NOW - chance.uniform(0, ready),
        hits=chance.randint(0, 100),
        veto=chance.choice((None, None, None, *eviction_base.Veto)),
    )
