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

"""A selection of the points of :mod:`pvm_imagecache.tests.stress.kill`."""

import subprocess
import sys

from oslotest import base

from pvm_imagecache.tests.stress import kill

#: Odd, so that it comes by points of every kind.
EVERY = 19
#: A check has a thousand points, and takes longer than other operations.
EVERY_OF_A_CHECK = 97


class KillTestCase(base.BaseTestCase):
    """Killed anywhere, nothing partial is left and nobody is blocked."""

    def kill(self, every: int, *operations: str) -> None:
        # A process of its own: it forks, and must have no threads.
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                kill.__name__,
                '--every',
                str(every),
                *(f'--only={name}' for name in operations),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)

    def test_nothing_partial_remains_after_kills(self) -> None:
        self.kill(
            EVERY,
            'miss',
            'hit',
            'prefetch',
            'purge-several',
            'purge-copied',
            'purge-unfinished',
            'reconcile',
            'hit-being-copied',
        )

    def test_nothing_remains_of_a_platform_check(self) -> None:
        self.kill(EVERY_OF_A_CHECK, 'platform-check')

    def test_nothing_remains_in_another_volume_group(self) -> None:
        self.kill(EVERY, 'platform-check-vg')
