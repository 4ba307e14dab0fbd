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

"""Human-readable sizes, times, names and errors."""

import hypothesis
from hypothesis import strategies

from pvm_imagecache import text
from pvm_imagecache.tests.unit import base

_FACTORS = {
    'B': 1,
    'KiB': 1 << 10,
    'MiB': 1 << 20,
    'GiB': 1 << 30,
    'TiB': 1 << 40,
}


class PrintableTest(base.TestCase):
    def test_control_characters_are_escaped(self):
        for raw, shown in (
            ('', ''),
            ('naïve 日本', 'naïve 日本'),
            ('\x1b[31m', r'\x1b[31m'),
            ('a\nb\t', r'a\nb\t'),
            ('\u202e', r'\u202e'),
            ('\udcff', r'\udcff'),
            ('a\\b', 'a\\b'),
        ):
            self.assertEqual(shown, text.printable(raw))

    @base.generated
    @hypothesis.given(strategies.text())
    def test_every_text_becomes_printable(self, shown):
        self.assertTrue(text.printable(shown).isprintable())


class SizeTest(base.TestCase):
    def test_sizes_have_the_largest_unit_that_fits(self):
        for count, shown in (
            (0, '0 B'),
            (1, '1 B'),
            (1023, '1023 B'),
            (1024, '1 KiB'),
            (1536, '1.5 KiB'),
            (1 << 20, '1 MiB'),
            (5 << 30, '5 GiB'),
            (1 << 40, '1 TiB'),
            (1234 << 40, '1234 TiB'),
        ):
            self.assertEqual(shown, text.size(count))

    @base.generated
    @hypothesis.given(strategies.integers(0, 1 << 50))
    def test_sizes_are_right_to_four_digits(self, count):
        number, unit = text.size(count).split()
        self.assertAlmostEqual(
            1,
            float(number) * _FACTORS[unit] / max(count, 1) if count else 1,
            delta=0.0006,
        )

    def test_exact_sizes_show_every_byte(self):
        self.assertEqual(
            '1 GiB (1073741825 bytes)', text.size_exact((1 << 30) + 1)
        )


class OneLineTest(base.TestCase):
    def test_messages_are_put_on_one_line(self):
        for error, shown in (
            (ValueError(' a\n\tb '), 'a b'),
            (ValueError('a sentence.'), 'a sentence'),
            (ValueError('wait...'), 'wait'),
            (ValueError(), 'ValueError'),
            (ValueError(' \n'), 'ValueError'),
        ):
            self.assertEqual(shown, text.one_line(error))


class ListedTest(base.TestCase):
    def test_images_are_shown_with_their_names(self):
        self.assertEqual(
            'a (debian), b (no name), c (no name)',
            text.listed({'a': 'debian', 'b': None, 'c': ''}),
        )

    def test_five_images_are_shown_and_others_counted(self):
        names = {str(each): None for each in range(5)}
        self.assertNotIn('more', text.listed(names))
        names |= {'5': 'x', '6': 'y'}
        shown = text.listed(names)
        self.assertTrue(shown.endswith('4 (no name) and 2 more'))

    def test_no_images_give_no_text(self):
        self.assertEqual('', text.listed({}))


class TimeTest(base.TestCase):
    def test_ages_are_rounded_down_to_one_unit(self):
        for seconds, shown in (
            (0, '0 s ago'),
            (59.9, '59 s ago'),
            (60, '1 min ago'),
            (3599, '59 min ago'),
            (3600, '1 h ago'),
            (86399, '23 h ago'),
            (86400, '1 d ago'),
            (1000 * 86400, '1000 d ago'),
            (-1, 'in the future'),
        ):
            self.assertEqual(shown, text.age(seconds))

    def test_durations_have_two_units_at_most(self):
        for seconds, shown in (
            (0, '0 s'),
            (0.04, '0 s'),
            (5.263, '5.3 s'),
            (9.94, '9.9 s'),
            (9.97, '10 s'),
            (59.4, '59 s'),
            (59.7, '1 min'),
            (61, '1 min 1 s'),
            (3599.7, '1 h'),
            (6060, '1 h 41 min'),
            (86400, '1 d'),
            (26.2 * 3600, '1 d 2 h'),
            (1000 * 86400 + 59, '1000 d'),
        ):
            self.assertEqual(shown, text.duration(seconds))

    @base.generated
    @hypothesis.given(strategies.floats(0, 1e9))
    def test_a_duration_is_right_to_its_last_unit(self, seconds):
        factors = {'s': 1, 'min': 60, 'h': 3600, 'd': 86400}
        words = text.duration(seconds).split()
        total = sum(
            float(number) * factors[unit]
            for number, unit in zip(words[::2], words[1::2], strict=True)
        )
        self.assertLessEqual(
            abs(total - seconds),
            max(0.51, {'d': 3600, 'h': 60}.get(words[1], 0)),
        )
