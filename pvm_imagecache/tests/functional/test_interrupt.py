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

"""A thinned-out selection of the moments at which Ctrl-C may come."""

import os
import signal
import subprocess
import sys
import time

from oslo_utils import units
from oslotest import base as test_base

from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests.stress import interrupt

EVERY = 509


class InterruptTestCase(test_base.BaseTestCase):
    """Interrupted anywhere, a prefetch leaves all of an image or nothing."""

    def test_an_interrupted_prefetch_is_whole_or_gone(self) -> None:
        # A process of its own: it forks, and must have no threads.
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                interrupt.__name__,
                f'--every={EVERY}',
                f'--first={EVERY // 2}',
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn(' 0 failures', done.stdout)
        self.assertNotIn(' 0 times nothing', done.stdout)


class SignalTestCase(base.FunctionalTestCase):
    """As a user does it, while bytes are coming."""

    def _interrupted(self, number: int, *arguments: str) -> int:
        self.glance.set_bandwidth(2 * units.Mi)
        self.addCleanup(self.glance.set_bandwidth, 0)
        process = subprocess.Popen(
            self.shell_command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        end = time.monotonic() + 60
        while not self.disks() and time.monotonic() < end:
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=60)
        self.assertEqual('', output)
        self.assertNotIn('Traceback', errors)
        self.assertEqual({}, self.disks())
        self.assertEqual(0, self.file_entries())
        self.assertEqual([], self.make_manager().list())
        return process.returncode

    def test_a_prefetch_cleans_up_after_signals(self) -> None:
        image_id = self.store_raw(40 * units.Mi)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.assertEqual(
                128 + number, self._interrupted(number, 'prefetch', image_id)
            )

    def _held_up(self, *arguments: str) -> tuple[int, str]:
        """Interrupt a command while PowerVM changes the volume group."""
        seen = self.last_request()
        self.powervm.control.add_fault(
            'latency', kind='VolumeGroup.update', seconds=3, count=1
        )
        process = subprocess.Popen(
            self.shell_command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        while 'VolumeGroup.update' not in self.kinds_since(seen):
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertNotIn('Traceback', errors)
        return process.returncode, errors

    def test_a_copy_is_awaited_and_then_deleted(self) -> None:
        image_id = self.store_raw(units.Mi)
        made = self.make_manager()
        made.prefetch(self.image(image_id))
        before = list(self.disks())
        status, errors = self._held_up('disk', 'create', image_id, 'vm1')
        self.assertEqual(128 + signal.SIGINT, status)
        self.assertIn('Interrupted: waiting for the running copy', errors)
        self.assertEqual(before, list(self.disks()))
        self.assertEqual(
            ['delete', 'hit'],
            [each.action for each in made.reader().history(limit=2)],
        )

    def test_a_purge_is_completed_and_recorded(self) -> None:
        image_id = self.store_raw(units.Mi)
        made = self.make_manager()
        made.prefetch(self.image(image_id))
        status, _ = self._held_up('purge', image_id, '--yes')
        self.assertEqual(128 + signal.SIGINT, status)
        self.assertEqual({}, self.disks())
        self.assertEqual([], made.list())
        self.assertEqual(
            ['purge'], [each.action for each in made.reader().history(limit=1)]
        )

    def test_disk_create_cleans_up_after_sigint(self) -> None:
        image_id = self.store_raw(40 * units.Mi)
        self.assertEqual(
            128 + signal.SIGINT,
            self._interrupted(
                signal.SIGINT, 'disk', 'create', image_id, 'vm1'
            ),
        )
