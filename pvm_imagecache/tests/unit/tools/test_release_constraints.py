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

"""The constraints of an OpenStack release, as they were tested."""

import contextlib
import io
import pathlib
import types

from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.tools import scripts

release_constraints = scripts.load('release_constraints')


class ReleaseConstraintsTest(base.TestCase):
    def test_what_is_installed_is_pinned_in_order(self):
        found = release_constraints.constraints(
            '2025.1',
            [
                types.SimpleNamespace(name=name, version=version)
                for name, version in (
                    ('nova', '31.0.0'),
                    ('PyYAML', '6.0.2'),
                    ('pip', '25.0'),
                    ('pvm_imagecache', '1.0'),
                    ('Flask', '3.1.0'),
                )
            ],
        )
        self.assertEqual(
            ['Flask==3.1.0', 'nova==31.0.0', 'PyYAML==6.0.2'],
            [line for line in found.splitlines() if not line.startswith('#')],
        )
        self.assertIn('OpenStack 2025.1', found)

    def test_the_file_of_the_release_is_written(self):
        root = pathlib.Path(self.directory)
        (root / 'constraints').mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(0, release_constraints.main(['2026.1'], root))
        written = (root / 'constraints' / '2026.1.txt').read_text()
        self.assertIn('\noslotest==', written)
        self.assertNotIn('pvm_imagecache==', written)

    def test_other_words_than_a_release_are_refused(self):
        for words in ('../x', '2025', '2025.3', 'nova'):
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                self.assertRaises(
                    SystemExit, release_constraints.main, [words]
                )
            self.assertIn('is not a release such as 2025.1', errors.getvalue())
