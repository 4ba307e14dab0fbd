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

"""The lowest versions of the requirements, in step with their constraints."""

import contextlib
import io
import pathlib
import types

from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.tools import scripts

lower_constraints = scripts.load('lower_constraints')

REQUIREMENTS = """\
# a comment
pbr>=6.1.1 # Apache-2.0
PyYAML>=6.0.2,<7 # MIT
oslo.config~=9.6
"""
PROJECT = """\
[project.optional-dependencies]
functional = ["glance>=30.0.0"]
prometheus = ["prometheus-client>=0.20"]
test = ["prometheus_client >= 0.20", "testtools>=2.7.2; python_version>'3'"]
nova = ["nova"]
"""


class LowerConstraintsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.path('checkout'))
        self.root.mkdir()
        self.write('requirements.txt', REQUIREMENTS)
        self.write('pyproject.toml', PROJECT)

    def write(self, name, content):
        (self.root / name).write_text(content)

    def run_script(self, *arguments):
        self.output = io.StringIO()
        with contextlib.redirect_stderr(self.output):
            return lower_constraints.main(list(arguments), self.root)

    def pins(self):
        lines = (self.root / lower_constraints.LOWER).read_text().splitlines()
        return [each for each in lines if each and each[0] != '#']

    def test_checkout_is_in_step(self):
        self.assertEqual(0, lower_constraints.main([]))

    def test_lowest_versions_are_written(self):
        self.assertEqual(0, self.run_script('--write'))
        self.assertEqual(
            [
                'glance==30.0.0',
                'oslo.config==9.6',
                'pbr==6.1.1',
                'prometheus-client==0.20',
                'PyYAML==6.0.2',
                'testtools==2.7.2',
            ],
            self.pins(),
        )
        self.assertEqual(0, self.run_script())

    def test_missing_file_is_noticed(self):
        self.assertEqual(1, self.run_script())

    def test_changed_requirement_is_noticed(self):
        self.run_script('--write')
        self.write('requirements.txt', REQUIREMENTS.replace('6.1.1', '6.1.2'))
        self.assertEqual(1, self.run_script())
        self.assertIn('--write', self.output.getvalue())

    def test_changed_extra_is_noticed(self):
        self.run_script('--write')
        self.write('pyproject.toml', PROJECT.replace('30.0', '30.1'))
        self.assertEqual(1, self.run_script())

    def test_new_requirement_is_noticed(self):
        self.run_script('--write')
        self.write('requirements.txt', REQUIREMENTS + 'lxml>=5.3\n')
        self.assertEqual(1, self.run_script())

    def test_requirement_without_lowest_version_is_refused(self):
        for wrong in ('lxml', 'lxml<6', 'lxml!=5.1'):
            self.write('requirements.txt', REQUIREMENTS + wrong)
            self.assertEqual(1, self.run_script('--write'))
            self.assertIn(f'"{wrong}"', self.output.getvalue())

    def test_two_lowest_versions_are_refused(self):
        self.write('requirements.txt', REQUIREMENTS + 'Glance>=31')
        self.assertEqual(1, self.run_script())
        self.assertIn('from 31 and from 30.0.0', self.output.getvalue())

    def test_transitive_pins_come_from_the_release(self):
        release = pathlib.Path(self.path('2025.1.txt'))
        release.write_text(
            'oslo.config===9.7.2\nWebOb===1.8.9\nZope===1\n'
            "six===1.16.0;python_version=='3.9'\n"
            "six===1.17.0;python_version>='3.10'\n"
        )
        self.patch(
            lower_constraints,
            'metadata',
            types.SimpleNamespace(
                distributions=lambda path: [
                    types.SimpleNamespace(name=name)
                    for name in ('oslo.config', 'webob', 'six', 'unknown')
                ]
            ),
        )
        self.assertEqual(0, self.run_script('--release', str(release)))
        more = [f'{n}=={v}' for n, v in lower_constraints._MORE.items()]
        self.assertEqual(
            sorted(['six==1.17.0', 'WebOb==1.8.9', *more], key=str.lower),
            self.pins()[6:],
        )
        self.assertIn(
            '2025.1', (self.root / lower_constraints.LOWER).read_text()
        )
        # They stay when only the first part is written.
        self.write('requirements.txt', REQUIREMENTS + 'six>=1.16\n')
        self.assertEqual(1, self.run_script())
        self.run_script('--write')
        self.assertIn('six==1.16', self.pins())
        self.assertNotIn('six==1.17.0', self.pins())
        self.assertIn('WebOb==1.8.9', self.pins())
