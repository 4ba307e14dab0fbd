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

"""Snapshots of the cache."""

import dataclasses

import hypothesis
from hypothesis import strategies as st

from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.eviction import strategies


class CandidatesTest(base.TestCase):
    @base.generated
    @hypothesis.given(strategies.views())
    def test_candidates_do_not_depend_on_the_order(self, view):
        reverse = dataclasses.replace(view, images=view.images[::-1])
        self.assertEqual(view.candidates(), reverse.candidates())

    def test_images_with_a_veto_are_no_candidates(self):
        for veto in eviction_base.Veto:
            free = strategies.image('free', 1, 2)
            vetoed = strategies.image('vetoed', 1, 1, veto)
            self.assertEqual(
                [free], strategies.view_of(vetoed, free).candidates()
            )

    @base.generated
    @hypothesis.given(strategies.views(), st.data())
    def test_images_that_are_deployed_repeatedly_are_last(self, view, data):
        day = eviction_base.POPULAR_FOR
        view = dataclasses.replace(
            view,
            images=tuple(
                dataclasses.replace(
                    each,
                    hits=data.draw(st.integers(0, 2)),
                    last_used_at=view.now - data.draw(st.floats(0, 3 * day)),
                )
                for each in view.images
            ),
        )
        found = view.candidates()
        popular = [
            each.hits > 0 and view.now - each.last_used_at < day
            for each in found
        ]
        self.assertEqual(sorted(popular), popular)
        for kind in (False, True):
            used = [
                each.last_used_at
                for each, is_popular in zip(found, popular, strict=True)
                if is_popular is kind
            ]
            self.assertEqual(sorted(used), used)


class ToFreeTest(base.TestCase):
    @base.generated
    @hypothesis.given(strategies.views(), st.integers(0, 60))
    def test_the_result_is_sufficient_and_minimal(self, view, size):
        found = view.to_free(size)
        total = strategies.size_of(found)
        self.assertTrue(all(each.veto is None for each in found))
        if total < size:
            self.assertEqual(len(view.candidates()), len(found))
        for each in found:
            if total >= size:
                self.assertLess(total - each.capacity, size)

    def test_the_least_recently_used_are_chosen(self):
        view = strategies.view_of(
            *(strategies.image(used, 5, used) for used in (3, 1, 2))
        )
        self.assertEqual(
            ['1', '2'], [each.image_id for each in view.to_free(6)]
        )

    def test_one_image_that_is_large_enough_is_chosen_alone(self):
        small, large = (strategies.image(size, size, size) for size in (2, 20))
        view = strategies.view_of(large, small)
        self.assertEqual([large], view.to_free(10))
        self.assertEqual([small], view.to_free(2))


class WithoutTest(base.TestCase):
    @base.generated
    @hypothesis.given(strategies.views())
    def test_evicted_images_free_their_space(self, view):
        evicted = view.images[:2]
        size = strategies.size_of(evicted)
        left = view.without({each.image_id for each in evicted})
        self.assertEqual(view.pool_free + size, left.pool_free)
        self.assertEqual(max(0, view.demand - size), left.demand)
        self.assertEqual(view.images[2:], left.images)


class DiskDemandTest(base.TestCase):
    def view(self, demand_disks, *sizes):
        return dataclasses.replace(
            strategies.view_of(
                *(
                    strategies.image(f'i{number}', size, number)
                    for number, size in enumerate(sizes)
                ),
                demand=min(1, demand_disks),
            ),
            demand_disks=demand_disks,
            pool_disks=9,
        )

    def test_as_many_images_are_chosen_as_disks_are_needed(self):
        view = self.view(2, 5, 5, 5)
        self.assertEqual(
            ['i0', 'i1'], [each.image_id for each in view.to_free(1)]
        )
        self.assertEqual(3, len(view.to_free(11)))
        self.assertEqual(3, len(view.to_free(1, 9)))
        self.assertEqual(1, len(self.view(0, 5, 5).to_free(1)))

    def test_the_demand_lasts_until_all_disks_are_removed(self):
        view = self.view(2, 5, 5, 5).without({'i0'})
        self.assertEqual(
            (1, 1, 8), (view.demand, view.demand_disks, view.pool_disks)
        )
        view = view.without({'i1'})
        self.assertEqual((0, 0), (view.demand, view.demand_disks))
