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

"""Durations and times on the command line."""

import argparse
import datetime
import time

from pvm_imagecache.cmd import durations
from pvm_imagecache.tests.unit import base


class DurationTest(base.TestCase):
    def test_a_duration_is_number_and_unit(self):
        for text, seconds in (
            ('1s', 1),
            ('90m', 5400),
            ('12h', 43200),
            ('30d', 30 * 86400),
            ('4w', 28 * 86400),
        ):
            self.assertEqual(seconds, durations.parse(text))

    def test_other_texts_are_refused(self):
        for text in (
            '',
            '5',
            'd',
            '0d',
            '-1d',
            '1.5d',
            '1 d',
            '1y',
            '1D',
            '12345678901d',
            '１d',
            '1d\n',
        ):
            self.assertRaises(
                argparse.ArgumentTypeError, durations.parse, text
            )

    def test_a_time_is_a_duration_ago_or_a_date(self):
        self.assertAlmostEqual(
            time.time() - 3600, durations.parse_since('1h'), delta=60
        )
        for text in (
            '2026-01-31',
            '2026-01-31T00:00:00',
            '2026-01-31T02:00:00+02:00',
            '2026-01-31T00:00:00Z',
        ):
            self.assertEqual(
                datetime.datetime(
                    2026, 1, 31, tzinfo=datetime.UTC
                ).timestamp(),
                durations.parse_since(text),
            )
        for text in ('', 'yesterday', '2026-02-30', '31.1.2026', '5'):
            self.assertRaises(
                argparse.ArgumentTypeError, durations.parse_since, text
            )
