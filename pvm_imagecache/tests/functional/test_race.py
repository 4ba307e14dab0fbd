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

"""A short race; ``python -m pvm_imagecache.tests.stress.race``
runs for a minute in each reading of PowerVM.
"""

import subprocess
import sys

from oslotest import base

from pvm_imagecache.tests.stress import race

SECONDS = 6


class RaceTestCase(base.BaseTestCase):
    """All at once, nothing is lost, wrong, fetched twice or left over."""

    def test_a_short_race_balances_its_books(self) -> None:
        # A process of its own: what it counts are its own descriptors.
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                race.__name__,
                '--seconds',
                str(SECONDS),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)
