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

"""Tests of what the cache does with each fact."""

import dataclasses

from oslotest import base

from pvm_imagecache import platform_facts
from pvm_imagecache.platform_check import effects

_VALUES = {
    bool: (None, True, False),
    int: (None, 1, 1 << 33),
    str: (None, 'a text of some words'),
    platform_facts.ConcurrentUpdates: (
        None,
        *platform_facts.ConcurrentUpdates,
    ),
}


class EffectsTest(base.BaseTestCase):
    def effect(self, fact, **values):
        return effects.effect_of(fact, platform_facts.PlatformFacts(**values))

    def test_each_value_of_each_fact_has_a_sentence(self):
        for fact, kind in platform_facts.TYPES.items():
            for value in _VALUES[kind]:
                found = self.effect(fact, **{fact: value})
                self.assertRegex(found, r'^[A-Z].*\.$')
        self.assertEqual(
            set(platform_facts.TYPES),
            {
                each.name
                for each in dataclasses.fields(platform_facts.PlatformFacts)
            },
        )

    def test_only_words_with_one_meaning_are_used(self):
        generic = '0516-822 mklv: Unable to create logical volume.'
        facts = ('no_space_words', 'name_exists_words')
        for fact, other in (facts, facts[::-1]):
            measured = {fact: 'a b c d ef gh no place left', other: generic}
            self.assertIn('is treated as', self.effect(fact, **measured))
            self.assertIn('says the same', self.effect(other, **measured))
            self.assertIn(
                'is not known', self.effect(fact, **{fact: measured[fact]})
            )
        self.assertIn(
            'Not used',
            self.effect(
                'no_space_words',
                no_space_words='It did not work',
                name_exists_words='It did not work',
            ),
        )

    def test_the_effect_is_that_of_the_value(self):
        for fact, if_true, if_false in (
            ('keeps_labels', 'The label identifies', 'Name and size'),
            ('copies_into_larger', 'is a copy of', 'is downloaded'),
            ('names_per_vios', 'is looked for', 'do not matter'),
            ('stale_etag_refused', 'cannot delete', 'can delete'),
            ('accepts_qcow2', 'as they are', 'refused by PowerVM'),
            ('copies_side_by_side', 'as one copy', 'one after another'),
        ):
            self.assertIn(if_true, self.effect(fact, **{fact: True}))
            self.assertIn(if_false, self.effect(fact, **{fact: False}))

    def test_a_large_granularity_is_accounted_for(self):
        self.assertIn(
            'up to 2 GiB', self.effect('granularity', granularity=2 << 30)
        )
