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

"""The eviction policy watermark."""

import dataclasses

import hypothesis
from hypothesis import strategies as st

from pvm_imagecache import exceptions
from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.eviction import watermark
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.eviction import strategies


class WatermarkPolicyTest(base.TestCase):
    @base.generated
    @hypothesis.given(
        strategies.views(strategies.no_demand),
        st.integers(50, 100),
        st.integers(0, 50),
    )
    def test_the_usage_falls_to_the_low_mark(self, view, high, low):
        found = strategies.chosen(watermark.WatermarkPolicy(high, low), view)
        if view.pool_capacity == 0 or (
            100 * view.pool_used <= high * view.pool_capacity
        ):
            self.assertEqual([], found)
            return
        mark = view.pool_capacity * low // 100
        used = view.pool_used - strategies.size_of(found)
        if used > mark:
            self.assertEqual(len(view.candidates()), len(found))
        for each in found:
            self.assertTrue(used > mark or used + each.capacity > mark)

    def _by_number(self, used, limit, high=80, low=50):
        images = [strategies.image(name, 1, 1) for name in 'abcdef']
        view = dataclasses.replace(
            strategies.view_of(*images),
            pool_capacity=1000,
            pool_free=900,
            pool_disks=used,
            pool_max_disks=limit,
        )
        return list(watermark.WatermarkPolicy(high, low).choose(view))

    def test_the_number_of_disks_counts_if_it_has_a_limit(self):
        for used, limit, evicted in (
            (8, 10, 0),
            (9, 10, 4),
            (10, 10, 5),
            (200, 10, 6),
            (9, None, 0),
            (None, 10, 0),
            (9, 0, 0),
        ):
            found = self._by_number(used, limit)
            self.assertEqual(evicted, len(found), (used, limit))
        self.assertIn(
            '200 of at most 10 disks', self._by_number(200, 10)[0].reason
        )

    @base.generated
    @hypothesis.given(strategies.views(strategies.positive_demand))
    def test_a_deploy_gets_the_space_it_needs(self, view):
        self.assertEqual(
            view.to_free(view.demand),
            strategies.chosen(watermark.WatermarkPolicy(100, 100), view),
        )

    def test_the_reason_states_usage_and_mark(self):
        (decision,) = watermark.WatermarkPolicy(90, 95).choose(
            strategies.view_of(strategies.image('a', 10, 1))
        )
        self.assertEqual(
            (
                'high-watermark',
                'least recently used while the pool is 100 % full: the high '
                'mark is 90 %',
            ),
            (decision.code, decision.reason),
        )

    def test_the_code_of_a_deploy_is_stable(self):
        view = strategies.view_of(strategies.image('a', 5, 1), demand=1)
        (decision,) = watermark.WatermarkPolicy(90, 80).choose(view)
        self.assertEqual('room', decision.code)


class OptionsTest(base.TestCase):
    def _load(self, **options):
        conf = fixtures.configuration(
            {
                'pvm_imagecache': {'eviction_policies': 'watermark'},
                'pvm_imagecache_watermark': options,
            }
        )
        return plugins.load_policies(conf)[0].policy

    def test_the_marks_are_read_from_the_options(self):
        policy = self._load()
        self.assertEqual((90, 80), (policy._high, policy._low))
        policy = self._load(high=70, low=70)
        self.assertEqual((70, 70), (policy._high, policy._low))

    def test_invalid_values_are_refused(self):
        for options in (
            {'high': 101},
            {'low': -1},
            {'high': 70, 'low': 71},
            {'low': 95},
        ):
            error = self.assertRaises(
                exceptions.ConfigurationError, self._load, **options
            )
            self.assertIn('watermark', str(error))
