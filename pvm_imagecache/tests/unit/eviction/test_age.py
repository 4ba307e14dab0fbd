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

"""The eviction policy age."""

import hypothesis

from pvm_imagecache import exceptions
from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.eviction import age
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.eviction import strategies


class AgePolicyTest(base.TestCase):
    @base.generated
    @hypothesis.given(strategies.views(strategies.no_demand), strategies.times)
    def test_images_unused_for_too_long_are_chosen(self, view, limit):
        self.assertEqual(
            {
                each.image_id
                for each in view.images
                if each.veto is None
                and strategies.NOW - each.last_used_at > limit
            },
            {
                each.image_id
                for each in strategies.chosen(age.AgePolicy(limit), view)
            },
        )

    def test_the_reason_states_the_age_and_the_limit(self):
        (decision,) = age.AgePolicy(60).choose(
            strategies.view_of(strategies.image('old', 1, 100))
        )
        self.assertEqual(
            ('unused', 'not used for 15 min: the limit is 1 min'),
            (decision.code, decision.reason),
        )


class OptionsTest(base.TestCase):
    def _load(self, **options):
        conf = fixtures.configuration(
            {
                'pvm_imagecache': {'eviction_policies': 'age'},
                'pvm_imagecache_age': options,
            }
        )
        return plugins.load_policies(conf)[0].policy

    def test_the_default_is_the_age_of_nova(self):
        conf = fixtures.configuration(
            {
                'pvm_imagecache': {'eviction_policies': 'age'},
                'image_cache': {
                    'remove_unused_original_minimum_age_seconds': 77
                },
            }
        )
        policy = plugins.load_policies(conf)[0].policy
        self.assertEqual(77, policy._max_age)
        self.assertEqual(86400, self._load()._max_age)

    def test_the_limit_is_read_from_the_options(self):
        self.assertEqual(5, self._load(max_age=5)._max_age)

    def test_invalid_values_are_refused(self):
        for options in ({'max_age': -1}, {'max_age': 'old'}):
            error = self.assertRaises(
                exceptions.ConfigurationError, self._load, **options
            )
            self.assertIn('age', str(error))
