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

"""Some malformed answers of Glance and Keystone, and malformed files."""

import subprocess
import sys

from oslotest import base

from pvm_imagecache.tests.stress import fuzz_glance

SECONDS = 12


class FuzzTestCase(base.BaseTestCase):
    """No answer and no file ends in a traceback, or needs much memory."""

    def test_no_malformed_answer_ends_in_a_traceback(self) -> None:
        # A process of its own: its memory is measured.
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                fuzz_glance.__name__,
                f'--seconds={SECONDS}',
                '--seed=7',
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn(' 0 failures', done.stdout)
        # It got somewhere.
        self.assertRegex(done.stdout, r'[1-9]\d* results')
