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

"""Tests of the facts about the platform."""

import dataclasses

import hypothesis
from hypothesis import strategies
from oslotest import base

from pvm_imagecache import platform_facts

_VALUES = {
    bool: strategies.booleans(),
    int: strategies.integers(0, platform_facts.MAX_NUMBER),
    str: strategies.text(min_size=1),
    platform_facts.ConcurrentUpdates: strategies.sampled_from(
        platform_facts.ConcurrentUpdates
    ),
}


class PlatformFactsTest(base.BaseTestCase):
    def test_every_fact_is_unknown_at_first(self):
        values = dataclasses.asdict(platform_facts.PlatformFacts())
        self.assertEqual(list(platform_facts.TYPES), list(values))
        self.assertEqual({None}, set(values.values()))

    @hypothesis.given(strategies.data())
    def test_every_value_is_read_as_it_was_stored(self, data):
        for fact, kind in platform_facts.TYPES.items():
            value = data.draw(_VALUES[kind])
            text = platform_facts.to_text(value)
            found = platform_facts.from_text(fact, text)
            self.assertIs(kind, type(found))
            if kind is str:
                # Brought to one line once.
                self.assertEqual(text, platform_facts.to_text(found))
            else:
                self.assertEqual(value, found)

    def test_other_values_are_refused(self):
        for fact, text in (
            ('keeps_labels', 'maybe'),
            ('keeps_labels', '1'),
            ('granularity', '-1'),
            ('granularity', '1.5'),
            ('granularity', '9' * 19),
            ('granularity', ''),
            ('granularity', '\u0665'),
            ('concurrent_updates', 'lost'),
            ('no_space_words', ''),
            ('no_space_words', 'a\nb'),
            ('no_space_words', 'x' * 501),
        ):
            self.assertRaises(ValueError, platform_facts.from_text, fact, text)

    def test_a_message_becomes_one_line(self):
        self.assertEqual(
            'no space: 0516-404',
            platform_facts.to_text('no space:\n\x1b  0516-404\n'),
        )
        self.assertEqual('x' * 500, platform_facts.to_text('x' * 501))

    def test_facts_of_other_releases_are_ignored(self):
        self.assertEqual(
            platform_facts.PlatformFacts(keeps_labels=False),
            platform_facts.from_values({'keeps_labels': False, 'moon': 1}),
        )
