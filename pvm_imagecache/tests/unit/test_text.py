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

"""Human-readable text."""

import hypothesis
from hypothesis import strategies

from pvm_imagecache import text as text_module
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
        for text, shown in (
            ('', ''),
            ('naïve 日本', 'naïve 日本'),
            ('\x1b[31m', r'\x1b[31m'),
            ('a\nb\t', r'a\nb\t'),
            ('\u202e', r'\u202e'),
            ('\udcff', r'\udcff'),
            ('a\\b', 'a\\b'),
        ):
            self.assertEqual(shown, text_module.printable(text))

    @base.generated
    @hypothesis.given(strategies.text())
    def test_every_text_becomes_printable(self, text):
        self.assertTrue(text_module.printable(text).isprintable())


class ForeignErrorTest(base.TestCase):
    def test_an_error_is_one_printable_line_with_its_class(self):
        class Unreadable(Exception):
            def __str__(self):
                raise SyntaxError

        class Exits(Exception):
            def __str__(self):
                raise SystemExit

        named = type('\x1b[31m', (Exception,), {})
        for error, shown in (
            (Exits(), 'Exits'),
            (named('text'), r'\x1b[31m: text'),
            (ValueError('no luck'), 'ValueError: no luck'),
            (ValueError('a\n b\t c'), 'ValueError: a b c'),
            (ValueError('\x1b[31m'), r'ValueError: \x1b[31m'),
            (ValueError(), 'ValueError'),
            (Unreadable(), 'Unreadable'),
            (SystemExit(3), 'SystemExit: 3'),
        ):
            self.assertEqual(shown, text_module.foreign_error(error))
        self.assertEqual(
            len('ValueError: ') + 500,
            len(text_module.foreign_error(ValueError(9999 * 'x'))),
        )

    def test_the_text_of_an_error_is_for_use_in_a_sentence(self):
        for error, shown in (
            (ValueError('no\nluck.'), 'no luck'),
            (ValueError('\x1b[31m'), r'\x1b[31m'),
            (ValueError(), 'ValueError'),
        ):
            self.assertEqual(shown, text_module.foreign_message(error))

    def test_an_interrupt_by_the_user_is_not_ignored(self):
        class Interrupted(Exception):
            def __str__(self):
                raise KeyboardInterrupt

        self.assertRaises(
            KeyboardInterrupt, text_module.foreign_error, Interrupted()
        )


class SizeTest(base.TestCase):
    def test_a_size_has_the_largest_unit_that_fits(self):
        for count, text in (
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
            self.assertEqual(text, text_module.size(count))

    def test_an_exact_size_has_all_bytes(self):
        self.assertEqual(
            '1 GiB (1073741825 bytes)', text_module.size_exact((1 << 30) + 1)
        )

    @base.generated
    @hypothesis.given(strategies.integers(0, 1 << 50))
    def test_a_size_is_right_to_four_digits(self, count):
        number, unit = text_module.size(count).split()
        self.assertAlmostEqual(
            1,
            float(number) * _FACTORS[unit] / max(count, 1) if count else 1,
            delta=0.0006,
        )


class TimeTest(base.TestCase):
    def test_an_age_has_one_unit(self):
        for seconds, text in (
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
            self.assertEqual(text, text_module.age(seconds))

    def test_a_duration_has_at_most_two_units(self):
        for seconds, text in (
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
            self.assertEqual(text, text_module.duration(seconds))

    @base.generated
    @hypothesis.given(strategies.floats(0, 1e9))
    def test_a_duration_is_right_to_its_last_unit(self, seconds):
        factors = {'s': 1, 'min': 60, 'h': 3600, 'd': 86400}
        words = text_module.duration(seconds).split()
        total = sum(
            float(number) * factors[unit]
            for number, unit in zip(words[::2], words[1::2], strict=True)
        )
        self.assertLessEqual(
            abs(total - seconds),
            max(0.51, {'d': 3600, 'h': 60}.get(words[1], 0)),
        )


class OneLineTest(base.TestCase):
    def test_lines_are_joined_without_a_final_period(self):
        self.assertEqual(
            'no luck. At all',
            text_module.one_line(ValueError(' no\n luck.\tAt all.\n')),
        )

    def test_an_error_without_a_text_is_shown_by_its_type(self):
        for empty in ('', ' ', '.', ' . ', '. .'):
            self.assertEqual(
                'ValueError', text_module.one_line(ValueError(empty))
            )


class ListedTest(base.TestCase):
    def test_images_are_shown_with_their_names(self):
        self.assertEqual('', text_module.listed({}))
        self.assertEqual(
            'a (one), b (no name)',
            text_module.listed({'a': 'one', 'b': None}),
        )

    def test_more_than_five_images_are_counted(self):
        names = {str(number): 'n' for number in range(5)}
        self.assertEqual(
            '0 (n), 1 (n), 2 (n), 3 (n), 4 (n)', text_module.listed(names)
        )
        names |= {'5': 'n', '6': 'n'}
        self.assertEqual(
            '0 (n), 1 (n), 2 (n), 3 (n), 4 (n) and 2 more',
            text_module.listed(names),
        )
