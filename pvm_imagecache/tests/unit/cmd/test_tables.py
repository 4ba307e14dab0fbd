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

"""Lists that fit the terminal."""

import argparse
import io

from cliff.formatters import table
import hypothesis
from hypothesis import strategies

from pvm_imagecache.cmd import formatting
from pvm_imagecache.cmd import tables
from pvm_imagecache.tests.unit import base

_NAMES = ('ID', 'Name', 'Size', 'Why')
_LONG = 'a-very-long-image-name-of-those-who-name-in-full-2026-11-25-0042'
_TEXTS = strategies.text('abc -_', max_size=90)


def _row(name, why=''):
    return (
        formatting.ID('2ced8e7d-dab6', 8),
        name,
        formatting.Size(400 << 20),
        why,
    )


class FittedTest(base.TestCase):
    def _shown(self, width, *rows, names=_NAMES):
        output = io.StringIO()
        tables.FittedList(table.TableFormatter()).emit_list(
            names,
            rows,
            output,
            argparse.Namespace(
                max_width=width, fit_width=False, print_empty=False
            ),
        )
        return output.getvalue()

    def test_prose_is_wrapped_between_words(self):
        text = self._shown(60, _row(_LONG, 'a month-end rollout'))
        self.assertLessEqual(max(map(len, text.splitlines())), 60)
        for words in ('2ced8e7d', '400 MiB', 'a-very-long-', 'rollout'):
            self.assertIn(words, text)

    def test_a_table_that_fits_stays(self):
        row = _row('debian-13', 'why not')
        self.assertEqual(self._shown(0, row), self._shown(80, row))

    def test_what_is_not_text_is_not_narrowed(self):
        for width in range(44, 80):
            self.assertIn('| 2ced8e7d |', self._shown(width, _row(_LONG)))

    def test_row_by_row_where_nothing_else_helps(self):
        text = self._shown(36, _row('debian-13'), _row('rhel-10', 'x'))
        self.assertIn('| Field |', text)
        self.assertEqual(2, text.count('| Name  |'))
        self.assertLessEqual(max(map(len, text.splitlines())), 36)

    def test_control_characters_are_escaped(self):
        text = self._shown(80, _row('\x1b[31mred\n| x', 'bell\x07\u202e'))
        self.assertIn(r'| \x1b[31mred\n| x |', text)
        self.assertIn(r'| bell\x07\u202e |', text)

    def test_an_empty_table_is_empty(self):
        self.assertEqual(self._shown(0), self._shown(80))

    @base.generated
    @hypothesis.given(
        strategies.lists(
            strategies.tuples(_TEXTS, _TEXTS, _TEXTS), min_size=1, max_size=5
        ),
        strategies.integers(20, 200),
    )
    def test_it_fits_or_says_so(self, rows, room):
        names = ('Name', 'Why', 'Result')
        widths = tables.fitting(names, rows, room)
        if widths is None:
            self.assertLess(room, 3 * 18 + 1)
            return
        self.assertLessEqual(sum(widths) + 3 * 3 + 1, room)
        for row in rows:
            for cell, width in zip(row, widths, strict=True):
                wrapped = tables._wrapped(cell, width)
                self.assertLessEqual(max(map(len, wrapped.split('\n'))), width)
                self.assertEqual(
                    ''.join(cell.split()), ''.join(wrapped.split())
                )


class HumanReadableTest(base.TestCase):
    def test_values_are_human_readable(self):
        for value, shown in (
            (None, ''),
            (True, 'yes'),
            (False, ''),
            (0, 0),
            ('a\x00', r'a\x00'),
            ('é日', 'é日'),
            (1.5, 1.5),
        ):
            self.assertEqual(shown, tables.human_readable(value))
