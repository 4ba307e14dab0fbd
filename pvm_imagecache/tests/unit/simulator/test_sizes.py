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

import hypothesis
from hypothesis import strategies
from oslotest import base

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import sizes


class SizesTest(base.BaseTestCase):
    def test_sizes_are_read_from_gb(self):
        for text, size in (
            ('1', sizes.GIB),
            ('1.000000', sizes.GIB),
            ('0.5', sizes.GIB // 2),
            ('1e-9', sizes.MIB),
            ('1.0001', sizes.GIB + sizes.MIB),
        ):
            self.assertEqual(size, sizes.from_gb(text))
        for text in ('', '0', '-1', 'x', 'nan', 'inf'):
            self.assertRaises(errors.RestError, sizes.from_gb, text)

    @hypothesis.given(strategies.integers(1, 1 << 24))
    def test_exact_sizes_can_be_read_again(self, granules):
        size = granules * sizes.GRANULE
        self.assertEqual(size, sizes.from_gb(sizes.exact_gb(size)))

    @hypothesis.given(strategies.integers(0, 1 << 24))
    def test_rounded_sizes_are_never_larger(self, granules):
        size = granules * sizes.GRANULE
        shown = float(sizes.rounded_gb(size)) * sizes.GIB
        self.assertLessEqual(shown, size)
        self.assertGreater(shown, size - sizes.GIB / 5000)

    def test_whole_sizes_have_no_fraction(self):
        self.assertEqual('1', sizes.exact_gb(sizes.GIB))
        self.assertEqual('100', sizes.rounded_gb(100 * sizes.GIB))
        self.assertEqual('0', sizes.rounded_gb(0))

    def test_sizes_are_rounded_up_to_a_granule(self):
        for text, granule, size in (
            ('1', 64 * sizes.MIB, sizes.GIB),
            ('1.001', 64 * sizes.MIB, sizes.GIB + 64 * sizes.MIB),
            ('0.000001', 512, 3 * 512),
            ('1.5', sizes.GIB, 2 * sizes.GIB),
        ):
            self.assertEqual(size, sizes.from_gb(text, granule))
        self.assertEqual(1024, sizes.round_up(513, 512))

    def test_fractions_are_no_whole_numbers(self):
        for text, expected in (('1', False), ('2.000', False), ('1.5', True)):
            self.assertEqual(expected, sizes.is_fraction(text))
