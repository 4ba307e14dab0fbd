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

"""Values of columns, human-readable and machine-readable."""

import datetime
import time

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import formatting
from pvm_imagecache.tests.unit import base


class SizeTest(base.TestCase):
    def test_a_size_has_a_unit_in_tables(self):
        self.assertEqual('1 KiB', formatting.Size(1024).human_readable())
        self.assertEqual(1024, formatting.Size(1024).machine_readable())
        self.assertEqual('0 B', formatting.Size(0).human_readable())
        self.assertEqual('', formatting.Size(None).human_readable())
        self.assertIsNone(formatting.Size(None).machine_readable())

    def test_columns_are_sorted_by_value(self):
        values = [5 << 30, 1023, None, 2 << 20, 900 << 20]
        self.assertEqual(
            [None, 1023, 2 << 20, 900 << 20, 5 << 30],
            [
                each.machine_readable()
                for each in sorted(map(formatting.Size, values))
            ],
        )
        self.assertGreater(formatting.Size(2), formatting.Size(1))
        self.assertGreaterEqual(formatting.Size(2), formatting.Size(2))
        self.assertLessEqual(formatting.Size(None), formatting.Size(1))


class UntilTest(base.TestCase):
    def test_a_remaining_time_is_a_duration_in_tables(self):
        until = formatting.Until(26.2 * 3600)
        self.assertEqual('in 1 d 2 h', until.human_readable())
        left = (
            datetime.datetime.fromisoformat(
                until.machine_readable()
            ).timestamp()
            - time.time()
        )
        self.assertAlmostEqual(26.2 * 3600, left, delta=60)
        self.assertEqual(
            ('', None),
            (
                formatting.Until(None).human_readable(),
                formatting.Until(None).machine_readable(),
            ),
        )


class TimeTest(base.TestCase):
    def test_a_time_is_an_age_in_tables(self):
        self.assertEqual(
            '2025-01-02T03:04:05+00:00',
            formatting.Time(
                datetime.datetime(
                    2025, 1, 2, 3, 4, 5, 600000, datetime.UTC
                ).timestamp()
            ).machine_readable(),
        )
        self.assertIsNone(formatting.Time(None).machine_readable())
        self.assertEqual('', formatting.Time(None).human_readable())
        self.assertEqual(
            '2 d ago',
            formatting.Time(time.time() - 2.5 * 86400).human_readable(),
        )

    def test_columns_are_sorted_by_value(self):
        self.assertEqual(
            [None, 0.5, 1.5],
            [
                each._value
                for each in sorted(map(formatting.Time, [1.5, None, 0.5]))
            ],
        )


class KeptTest(base.TestCase):
    def test_the_image_is_not_repeated(self):
        image = base.image_of(b'x', name='debian-13')
        for reason, shown in (
            (
                str(exceptions.ImagePinned(image=image.id)),
                'kept: pinned (unpin it first)',
            ),
            (
                str(
                    exceptions.ImagePinned(
                        image=image.id, image_name=image.name
                    )
                ),
                'kept: pinned (unpin it first)',
            ),
            ('fetch or copy in progress', 'kept: fetch or copy in progress'),
        ):
            self.assertEqual(shown, formatting.kept(reason, image))


class IDTest(base.TestCase):
    def test_ids_are_as_short_as_they_differ(self):
        known = ('12345678-aaaa', '12345678-abbb', None)
        format_id = formatting.ids(known)
        self.assertEqual(
            ['12345678-aa', '12345678-ab', ''],
            [format_id(each).human_readable() for each in known],
        )
        self.assertEqual(
            list(known), [format_id(each).machine_readable() for each in known]
        )


class EscapedTest(base.TestCase):
    def test_text_for_a_shell_runs_nothing(self):
        (found,) = formatting.escaped(['$(id) `id` \\ \n'], 'shell')
        self.assertEqual('\\$(id) \\`id\\` \\\\ \\\\n', found)

    def test_values_of_other_columns_are_escaped(self):
        ((one), number) = formatting.escaped(
            [formatting.ID('a\nb', 8), formatting.Size(1)], 'csv'
        )
        self.assertEqual('a\\nb', one.machine_readable())
        self.assertEqual(1, number.machine_readable())

    def test_formats_that_escape_get_the_values(self):
        for name in ('json', 'yaml'):
            self.assertEqual(['a\nb'], formatting.escaped(['a\nb'], name))
