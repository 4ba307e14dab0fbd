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

"""The public API is as recorded, and a change of it is noticed."""

import ast

from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.tools import scripts

script = scripts.load('public_api')

_MODULE = """
LIMIT: int = 3
_PRIVATE = 4


class Shown(Base):
    field: int
    other = 5
    _hidden = 6

    def __init__(self, one, *, two=None):
        pass

    @property
    def three(self):
        return 3

    def _four(self):
        pass

    def test_it(self):
        pass


class _Hidden:
    pass


def call(one, two=2, *rest, three, **more):
    pass
"""


class PublicAPITest(base.TestCase):
    def test_it_is_as_recorded(self):
        self.assertEqual(
            [],
            script.difference(),
            'The public API has changed. Read doc/source/contributor/'
            'stability.rst; if the change is allowed and announced, run '
            '"python tools/public_api.py --write".',
        )

    def test_public_names_are_found(self):
        self.assertEqual(
            [
                'LIMIT',
                'class Shown(Base)',
                '  Shown.field',
                '  Shown.other',
                '  Shown.__init__(self, one, *, two=)',
                '  Shown.three(self) @property',
                'def call(one, two=, *rest, three, **more)',
            ],
            list(script._names(ast.parse(_MODULE))),
        )

    def test_each_kind_of_name_is_recorded(self):
        found = script.lines()
        for line in (
            'pvm_imagecache.listeners: metrics',
            "[pvm_imagecache] listeners: ListOpt, ['notifications', "
            "'metrics']",
            'pvm_imagecache:purge: pvm_imagecache:admin',
            'pvm_imagecache_images: gauge',
            '  EvictionPolicy.protects(self, view)',
            'name CacheConformance',
        ):
            self.assertIn(line, found)
        self.assertTrue(
            any(each.startswith('plugin list: Kind, ') for each in found)
        )

    def test_a_change_is_shown(self):
        record = self.useFixture(
            base.TextFile(
                self.path('record.txt'),
                '\n'.join([*script.lines()[:-1], 'def gone(x)']),
            )
        )
        self.patch(script, 'RECORD', script.pathlib.Path(record.path))
        changed = script.difference()
        self.assertIn('-def gone(x)', changed)
        self.assertEqual(1, script.main([]))
        self.assertEqual(0, script.main(['--write']))
        self.assertEqual(0, script.main([]))
