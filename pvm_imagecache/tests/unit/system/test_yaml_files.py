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

"""YAML files that are larger than they look."""

import io

import hypothesis
from hypothesis import strategies
import yaml

from pvm_imagecache.system import yaml_files
from pvm_imagecache.tests.unit import base

_LEVELS = 'abcdefghijklmnop'


def _load(text):
    return yaml_files.load(io.StringIO(text))


class LoadTest(base.TestCase):
    def test_a_file_with_references_is_read(self):
        self.assertEqual(
            {'a': {'x': 1}, 'b': {'x': 1, 'y': 2}},
            _load('a: &a {x: 1}\nb: {<<: *a, y: 2}\n'),
        )
        self.assertIsNone(_load(''))

    @base.generated
    @hypothesis.given(strategies.text(max_size=200))
    def test_any_text_is_read_or_refused(self, text):
        try:
            found = _load(text)
        except yaml.YAMLError:
            return
        self.assertEqual(yaml.safe_load(text), found)

    def _refused(self, text):
        self.assertRaises(yaml_files.TooLarge, _load, text)

    def test_references_to_references_are_refused(self):
        lines = ['a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]']
        merges = ['a: &a {x: 1}']
        for one, two in zip(_LEVELS, _LEVELS[1:], strict=False):
            many = ', '.join([f'*{one}'] * 9)
            lines.append(f'{two}: &{two} [{many}]')
            merges.append(f'{two}: &{two} {{<<: [{many}]}}')
        self._refused('\n'.join(lines))
        self._refused('\n'.join(merges))

    def test_a_tree_without_end_is_refused(self):
        self._refused('&a [*a]')
        self._refused('&a {b: *a}')

    def test_a_large_or_deep_file_is_refused(self):
        self._refused(' ' * (yaml_files.MAX_SIZE + 1))
        self._refused('[' * 60 + ']' * 60)
        self._refused('- 1\n' * (yaml_files.MAX_NODES + 1))

    def test_very_deep_nesting_is_refused(self):
        self.assertRaises(yaml.YAMLError, _load, '[' * 5000)

    def test_values_that_are_none_are_refused(self):
        for text in ('2026-99-99', '[1, 2'):
            self.assertRaises(yaml.YAMLError, _load, f'a: {text}')
