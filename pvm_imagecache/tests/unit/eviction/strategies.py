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

"""Generated snapshots and policies; only how their values compare matters."""

from hypothesis import strategies

from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import lru
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.eviction import watermark

NOW = 1000.0

times = strategies.floats(0, NOW)
vetoes = strategies.sampled_from([None, None, None, *eviction_base.Veto])
demands = strategies.integers(0, 40)
no_demand = strategies.just(0)
positive_demand = strategies.integers(1, 40)


@strategies.composite
def views(draw, demand=demands):
    """Snapshots with small numbers.

    :param demand: the strategy for their demand.
    """
    images = tuple(
        eviction_base.CachedImage(
            image_id=f'image{number}',
            disk_name=f'i_{number}',
            capacity=draw(strategies.integers(0, 9)),
            ready_at=0.0,
            last_used_at=draw(times),
            hits=0,
            veto=draw(vetoes),
        )
        for number in range(draw(strategies.integers(0, 12)))
    )
    images = tuple(draw(strategies.permutations(images)))
    cached = sum(each.capacity for each in images)
    free = draw(strategies.integers(0, 20))
    others = draw(strategies.integers(0, 20))
    return eviction_base.CacheView(
        now=NOW,
        pool_free=free,
        demand=draw(demand),
        images=images,
        pool_capacity=draw(
            strategies.sampled_from([0, cached + free + others])
        ),
    )


limits = strategies.one_of(strategies.none(), strategies.integers(1, 40))
policies = strategies.one_of(
    strategies.builds(age.AgePolicy, times),
    strategies.builds(lru.LRUPolicy, limits, limits),
    strategies.builds(
        watermark.WatermarkPolicy,
        strategies.floats(50, 100),
        strategies.floats(0, 50),
    ),
    strategies.builds(none.NonePolicy),
)
named_policies = strategies.lists(policies, max_size=4).map(
    lambda made: [
        pipeline.NamedPolicy(f'policy{number}', each)
        for number, each in enumerate(made)
    ]
)


def view_of(*images, demand=0):
    """A snapshot of a pool of 100 bytes that is full."""
    return eviction_base.CacheView(NOW, 100, 0, demand, tuple(images))


def image(name, capacity, used, veto=None):
    """A cached image that was last used at a given time."""
    return eviction_base.CachedImage(
        str(name), '', capacity, 0.0, float(used), 0, veto=veto
    )


def chosen(policy, view):
    """The images that a policy chooses, in its order."""
    by_id = {each.image_id: each for each in view.images}
    return [by_id[each.image_id] for each in policy.choose(view)]


def size_of(images):
    """The bytes that images occupy together."""
    return sum(each.capacity for each in images)
