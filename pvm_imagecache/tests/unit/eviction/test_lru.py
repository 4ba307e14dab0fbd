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

"""The eviction policy lru."""

import hypothesis
from hypothesis import strategies as st

from pvm_imagecache import exceptions
from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.eviction import lru
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.eviction import strategies


class LRUPolicyTest(base.TestCase):
    @base.generated
    @hypothesis.given(
        strategies.views(strategies.no_demand),
        strategies.limits,
        strategies.limits,
    )
    def test_no_more_is_chosen_than_the_limits_require(
        self, view, count, size
    ):
        found = strategies.chosen(lru.LRUPolicy(count, size), view)
        left = [each for each in view.images if each not in found]

        def fits(images):
            return (count is None or len(images) <= count) and (
                size is None or strategies.size_of(images) <= size
            )

        if not fits(left):
            self.assertEqual(len(view.candidates()), len(found))
        elif found and found[-1].capacity <= (size or 0):
            self.assertFalse(fits([*left, found[-1]]))
        if count is None and size is None:
            self.assertEqual([], found)

    def test_an_image_above_the_limit_is_chosen_alone(self):
        view = strategies.view_of(
            strategies.image('small', 3, 1),
            strategies.image('large', 20, 3),
            strategies.image('other', 4, 2),
        )
        self.assertEqual(
            ['large'],
            [
                each.image_id
                for each in strategies.chosen(lru.LRUPolicy(None, 10), view)
            ],
        )

    @base.generated
    @hypothesis.given(
        strategies.views(strategies.positive_demand),
        st.sampled_from([lru.LRUPolicy(None, None), lru.LRUPolicy(1, 1)]),
    )
    def test_a_deploy_gets_the_space_it_needs(self, view, policy):
        self.assertEqual(
            view.to_free(view.demand), strategies.chosen(policy, view)
        )

    def test_the_reason_states_the_limit(self):
        view = strategies.view_of(
            strategies.image('a', 3, 1), strategies.image('b', 4, 2)
        )
        for limits, code, reason in (
            ((None, 2), 'too-large', 'larger than the limit of 2 B'),
            (
                (1, None),
                'too-many',
                'least recently used of 2 images: the limit is 1',
            ),
            (
                (None, 5),
                'too-large',
                'least recently used of 7 B: the limit is 5 B',
            ),
        ):
            decision = next(iter(lru.LRUPolicy(*limits).choose(view)))
            self.assertEqual(
                ('a', code, reason),
                (decision.image_id, decision.code, decision.reason),
            )

    def test_the_code_of_a_deploy_is_stable(self):
        view = strategies.view_of(strategies.image('a', 5, 1), demand=1)
        (decision,) = lru.LRUPolicy(None, None).choose(view)
        self.assertEqual('room', decision.code)


class OptionsTest(base.TestCase):
    def _load(self, **options):
        conf = fixtures.configuration(
            {
                'pvm_imagecache': {'eviction_policies': 'lru'},
                'pvm_imagecache_lru': options,
            }
        )
        return plugins.load_policies(conf)[0].policy

    def test_the_limits_are_read_from_the_options(self):
        policy = self._load(max_gib=1.5)
        self.assertEqual(
            (None, 3 * base.GIB // 2), (policy._max_images, policy._max_bytes)
        )
        self.assertEqual(7, self._load(max_images=7)._max_images)

    def test_invalid_values_are_refused(self):
        for options in ({'max_images': 0}, {'max_gib': 0}):
            error = self.assertRaises(
                exceptions.ConfigurationError, self._load, **options
            )
            self.assertIn('lru', str(error))
