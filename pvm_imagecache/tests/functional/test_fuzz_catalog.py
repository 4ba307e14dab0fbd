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

"""A short run of random damage to the catalog."""

import subprocess
import sys

from oslotest import base

from pvm_imagecache.tests.stress import fuzz_catalog

SECONDS = 15


class FuzzTestCase(base.BaseTestCase):
    """Nothing that the catalog contains is more than an error."""

    def test_no_damage_ends_in_a_traceback_or_reaches_other_files(
        self,
    ) -> None:
        # A process of its own: it forks, and must have no threads.
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                fuzz_catalog.__name__,
                f'--seconds={SECONDS}',
                '--seed=7',
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertRegex(done.stdout, r'[1-9]\d* catalogs, 0 failures')
