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

"""What the commands about disks make of their arguments."""

import argparse

import hypothesis
from hypothesis import strategies

from pvm_imagecache.cmd import disks
from pvm_imagecache.tests.unit import base


class GibTest(base.TestCase):
    def test_a_size(self):
        for text, size in (
            ('1', base.GIB),
            ('20', 20 * base.GIB),
            ('0.5', base.GIB // 2),
            ('1.5', base.GIB * 3 // 2),
            (' 2 ', 2 * base.GIB),
            ('1e3', 1000 * base.GIB),
        ):
            self.assertEqual(size, disks._gib(text))

    def test_no_size(self):
        for text in (
            '',
            '0',
            '-1',
            '0.0',
            'nan',
            'inf',
            '-inf',
            'sNaN',
            'x',
            '1G',
            '1,5',
            '1 2',
        ):
            error = self.assertRaises(
                argparse.ArgumentTypeError, disks._gib, text
            )
            self.assertIn(f'"{text}"', str(error))

    @base.generated
    @hypothesis.given(strategies.integers(1, 10**6))
    def test_is_exact(self, count):
        self.assertEqual(count * base.GIB, disks._gib(str(count)))
