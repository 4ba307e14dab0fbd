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
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import random
import types
from typing import Final
import uuid

from pvm_imagecache.eviction import base as eviction_base

_GIB: Final = 1 << 30
#: Time of the generated snapshots, in Unix seconds.
NOW: Final = 1_800_000_000.0
_LONGEST_AGE: Final = 40 * 86400.0
_VIEWS: Final = 200
_MOST_IMAGES: Final = 40


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What the images of the generated snapshots can be called.

    Each image has one of the names and projects, any of the tags, and one of
    the values of each property. Nothing may be known of an image, too.

    :ivar names: names of images; by default generated ones.
    :ivar projects: IDs of projects.
    :ivar tags: tags.
    :ivar properties: values by name of the property.
    """

    names: Sequence[str] = ()
    projects: Sequence[str] = ()
    tags: Sequence[str] = ()
    properties: Mapping[str, Sequence[str]] = dataclasses.field(
        default_factory=dict
    )


def views(
    seed: int = 0,
    count: int = _VIEWS,
    vocabulary: Vocabulary | None = None,
) -> Iterator[eviction_base.CacheView]:
    """Generate snapshots of caches of many kinds.

    :param seed: of the random numbers: the same seed gives the same
        snapshots.
    :param count: how many snapshots to generate.
    :param vocabulary: names, projects, tags and properties of the images.
    :returns: the snapshots. The cache or the pool may be empty or full,
        images may have vetoes, and some snapshots have a demand for bytes or
        disks.
    """
    chance = random.Random(seed)  # noqa: S311
    vocabulary = vocabulary or Vocabulary()
    for _ in range(count):
        images = tuple(
            _image(chance, vocabulary)
            for _ in range(
                chance.choice((0, 1, 2, chance.randint(3, _MOST_IMAGES)))
            )
        )
        cached = sum(each.capacity for each in images)
        others = chance.randint(0, 100) * _GIB
        free = chance.choice((0, chance.randint(0, 100) * _GIB))
        demand_disks = chance.choice((0, 0, 0, chance.randint(1, 5)))
        yield eviction_base.CacheView(
            now=NOW,
            pool_capacity=chance.choice(
                (0, cached + others + free, cached + others + free)
            ),
            pool_free=free,
            images=images,
            demand=max(
                chance.choice((0, 0, chance.randint(1, 60 * _GIB))),
                min(1, demand_disks),
            ),
            pool_disks=chance.choice((None, len(images) + 7)),
            pool_max_disks=chance.choice((None, 4095)),
            demand_disks=demand_disks,
        )


def _image(
    chance: random.Random, vocabulary: Vocabulary
) -> eviction_base.CachedImage:
    ready = chance.uniform(0, _LONGEST_AGE)
    image_id = str(uuid.UUID(int=chance.getrandbits(128)))
    names = vocabulary.names or (f'image {ready:.0f}',)
    return eviction_base.CachedImage(
        image_id=image_id,
        name=chance.choice((None, *names, *names)),
        disk_name='i_' + image_id.replace('-', '_')[:13],
        capacity=chance.randint(1, 20) * _GIB,
        ready_at=NOW - ready,
        last_used_at=NOW - chance.uniform(0, ready),
        hits=chance.randint(0, 100),
        veto=chance.choice((None, None, None, *eviction_base.Veto)),
        project_id=chance.choice(
            (None, *(vocabulary.projects or ('a' * 32, 'b' * 32)))
        ),
        tags=frozenset(
            each for each in vocabulary.tags if chance.choice((True, False))
        ),
        properties=types.MappingProxyType(
            {
                name: value
                for name, values in vocabulary.properties.items()
                if (value := chance.choice((None, *values))) is not None
            }
        ),
        created_at=chance.choice(
            (None, NOW - ready - chance.uniform(0, _LONGEST_AGE))
        ),
        disk_format=chance.choice(('raw', 'qcow2')),
        size=chance.randint(1, 20) * _GIB,
    )


def shifted(
    view: eviction_base.CacheView, seconds: float
) -> eviction_base.CacheView:
    """Return a snapshot as it would be at another time.

    :param view: the snapshot.
    :param seconds: by which all times of it are later.
    :returns: the snapshot; all ages are the same.
    """
    return dataclasses.replace(
        view,
        now=view.now + seconds,
        images=tuple(
            dataclasses.replace(
                each,
                ready_at=each.ready_at + seconds,
                last_used_at=each.last_used_at + seconds,
                created_at=(
                    None
                    if each.created_at is None
                    else each.created_at + seconds
                ),
            )
            for each in view.images
        ),
    )
