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

"""A little of the kill test, race test and fault matrix on other platforms.

Each of them runs longer with ``--platform``.
"""

import subprocess
import sys
from types import ModuleType

from oslotest import base

from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests import platforms
from pvm_imagecache.tests.stress import fault_matrix
from pvm_imagecache.tests.stress import kill
from pvm_imagecache.tests.stress import race

_CELLS = (
    'VolumeGroup.update:lost.once:cold',
    'VolumeGroup.update:lost.once:warm',
    'VolumeGroup.update:lost.always:cold',
    'File.upload/base:reset@mid.once:cold',
)


class PlatformsTestCase(base.BaseTestCase):
    def setUp(self) -> None:
        super().setUp()
        functional_base.quiet_libraries()

    def run_program(self, program: ModuleType, *arguments: str) -> None:
        # A process of its own: it forks, and counts its own descriptors.
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                program.__name__,
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)

    def test_faults_meet_each_platform(self) -> None:
        chosen = fault_matrix.selected(_CELLS)
        self.assertEqual(len(_CELLS), len(chosen))
        problems = {}
        for platform in (
            'no-labels',
            'short-labels',
            'granularity',
            'busy',
            'hard',
        ):
            for cell in chosen:
                verdict = fault_matrix.run(cell, platform)
                if verdict.problems:
                    problems[platform, cell.name] = verdict.problems
        self.assertEqual({}, problems)

    def test_a_race_runs_on_another_platform(self) -> None:
        self.run_program(
            race,
            '--seconds=2',
            '--reading=overwrite',
            '--platform=no-labels',
        )

    def test_processes_are_killed_on_another_platform(self) -> None:
        self.run_program(
            kill,
            '--every=43',
            '--only=miss',
            '--only=hit',
            '--platform=granularity',
        )

    def test_options_of_a_platform_are_those_of_the_simulator(self) -> None:
        self.assertEqual(
            ['--name-scope', 'vg', '--name-wording', 'rest'],
            platforms.options('vg-names'),
        )
        self.assertEqual([], platforms.options('default'))
