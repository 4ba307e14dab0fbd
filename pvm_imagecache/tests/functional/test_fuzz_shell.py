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

"""A thinned-out selection of random command lines."""

import subprocess
import sys

from oslotest import base

from pvm_imagecache.tests.stress import fuzz_shell

COUNT = 150


class FuzzTestCase(base.BaseTestCase):
    """Nobody gets a traceback, whatever is typed."""

    def test_no_random_line_ends_in_a_traceback(self) -> None:
        # A process of its own: it forks, and must have no threads.
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                fuzz_shell.__name__,
                f'--count={COUNT}',
                '--seed=7',
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn(f'{COUNT} command lines', done.stdout)
        self.assertIn(' 0 tracebacks, 0 failures', done.stdout)
        # It got somewhere.
        self.assertRegex(done.stdout, r'\b0: [1-9]')
