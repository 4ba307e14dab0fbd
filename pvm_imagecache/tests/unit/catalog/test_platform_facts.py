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

"""Tests of the records of facts about the platform."""

from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit.catalog import base

_QUEUED = platform_facts.ConcurrentUpdates.QUEUED


class PlatformFactsTest(base.ClockTestCase):
    def setUp(self):
        super().setUp()
        self.facts = self.catalog.platform_facts

    def test_nothing_is_known_at_first(self):
        self.assertEqual(
            platform_facts.PlatformFacts(), self.facts.read('pool')
        )
        self.assertEqual({}, self.facts.list('pool'))
        self.facts.forget('pool')

    def test_another_process_reads_what_was_measured(self):
        self.facts.record(
            'pool',
            {'concurrent_updates': _QUEUED, 'granularity': 5},
            {'keeps_labels': 'it\nfailed'},
            'V1',
        )
        found = self.open().platform_facts
        self.assertEqual(
            platform_facts.PlatformFacts(
                granularity=5, concurrent_updates=_QUEUED
            ),
            found.read('pool'),
        )
        self.assertEqual(platform_facts.PlatformFacts(), found.read('other'))
        records = found.list('pool')
        self.assertEqual(
            ['keeps_labels', 'granularity', 'concurrent_updates'],
            list(records),
        )
        clock = records['granularity'].measured_clock
        self.assertEqual(
            (
                models.PlatformFact(None, 'it failed', self.now, clock, 'V1'),
                models.PlatformFact(5, '', self.now, clock, 'V1'),
            ),
            (records['keeps_labels'], records['granularity']),
        )
        self.later(30)
        self.assertEqual(30, self.catalog.clock.now() - clock)

    def test_a_new_measurement_replaces_only_what_it_measured(self):
        self.facts.record('pool', {'granularity': 5, 'copy_rate': 7}, {}, 'a')
        self.facts.record('pool', {'granularity': 6}, {}, 'b')
        self.assertEqual(
            {'granularity': (6, 'b'), 'copy_rate': (7, 'a')},
            {
                name: (each.value, each.platform)
                for name, each in self.facts.list('pool').items()
            },
        )
        self.facts.record('pool', {}, {'granularity': 'no'}, 'b')
        self.assertIsNone(self.facts.read('pool').granularity)

    def test_facts_of_a_pool_can_be_forgotten(self):
        for pool in ('pool', 'other'):
            self.facts.record(pool, {'granularity': 5}, {}, '')
        self.facts.forget('pool')
        self.assertEqual({}, self.facts.list('pool'))
        self.assertEqual(5, self.facts.read('other').granularity)

    def test_an_invalid_record_voids_only_its_fact(self):
        for change in (
            "value = 'maybe'",
            'value = 5',
            "value = x'00'",
            "measured_at = 'now'",
            'measured_at = 9e99',
            "platform = x'00'",
            "reason = x'00'",
        ):
            self.facts.record(
                'pool', {'keeps_labels': True, 'granularity': 5}, {}, 'V1'
            )
            self.sql(
                f'UPDATE platform_facts SET {change}'
                " WHERE fact = 'keeps_labels'"
            )
            self.assertEqual(
                platform_facts.PlatformFacts(granularity=5),
                self.facts.read('pool'),
                change,
            )
            found = self.facts.list('pool')
            self.assertEqual(['keeps_labels', 'granularity'], list(found))
            self.assertIsNone(found['keeps_labels'].value)
            self.assertIn('platform check', found['keeps_labels'].reason)
            self.assertEqual('', found['keeps_labels'].platform)

    def test_a_fact_of_another_release_is_left_out(self):
        self.facts.record('pool', {'granularity': 5}, {}, '')
        self.sql("UPDATE platform_facts SET fact = 'moon', value = 'full'")
        self.assertEqual({}, self.facts.list('pool'))
        self.assertEqual(
            platform_facts.PlatformFacts(), self.facts.read('pool')
        )
