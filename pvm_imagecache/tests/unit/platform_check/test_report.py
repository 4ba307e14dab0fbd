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

"""Tests of the report about a platform."""

from oslotest import base

from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import models
from pvm_imagecache.platform_check import report


class RowsTest(base.BaseTestCase):
    def setUp(self):
        super().setUp()
        self.records = {
            'granularity': models.PlatformFact(5, '', 10.0, 1.0, 'old'),
            'keeps_labels': models.PlatformFact(False, '', 11.0, 2.0, 'new'),
            'copy_rate': models.PlatformFact(None, 'no', 11.0, 2.0, 'new'),
        }

    def states(self, level):
        return {
            each.fact: each.state.value
            for each in report.rows(self.records, level)
        }

    def test_there_is_a_row_for_each_fact_in_order(self):
        rows = report.rows(self.records, 'new')
        self.assertEqual(
            list(platform_facts.TYPES), [each.fact for each in rows]
        )
        found = {each.fact: each for each in rows}
        self.assertEqual(
            (5, 10.0, 'old', ''),
            (
                found['granularity'].value,
                found['granularity'].measured_at,
                found['granularity'].platform,
                found['granularity'].reason,
            ),
        )
        self.assertEqual('no', found['copy_rate'].reason)
        self.assertIsNone(found['upload_rate'].measured_at)

    def test_an_invalid_record_has_no_time(self):
        self.records['copy_rate'] = models.PlatformFact(
            None, 'invalid', 0.0, 0.0, ''
        )
        found = {each.fact: each for each in report.rows(self.records, 'new')}
        self.assertEqual(
            (None, 'invalid', report.State.UNKNOWN),
            (
                found['copy_rate'].measured_at,
                found['copy_rate'].reason,
                found['copy_rate'].state,
            ),
        )

    def test_a_fact_of_another_level_is_out_of_date(self):
        found = self.states('new')
        self.assertEqual(
            ('out-of-date', 'measured', 'unknown', 'unknown'),
            (
                found['granularity'],
                found['keeps_labels'],
                found['copy_rate'],
                found['upload_rate'],
            ),
        )
        self.assertEqual('measured', self.states(None)['granularity'])

    def test_facts_are_out_of_date_if_one_is(self):
        records = self.records.values()
        self.assertTrue(report.is_out_of_date(records, 'new'))
        self.assertFalse(report.is_out_of_date((), 'new'))
        invalid = models.PlatformFact(None, 'invalid', 0.0, 0.0, '')
        self.assertFalse(report.is_out_of_date([invalid], 'new'))
        self.assertFalse(
            report.is_out_of_date([self.records['copy_rate']], 'new')
        )
