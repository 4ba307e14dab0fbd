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

"""A word now and then while a command waits."""

import io
import sys
import threading
import types

from pvm_imagecache.cmd import wait_notice
from pvm_imagecache.tests.unit import base


def _stack(*modules):
    """Frames as they are where these modules have called each other."""
    frame = None
    for each in modules:
        frame = types.SimpleNamespace(
            f_globals={'__name__': each}, f_back=frame
        )
    return frame


class WhomTest(base.TestCase):
    def test_by_who_is_at_it(self):
        for whom, modules in (
            (
                'PowerVM',
                (
                    'pvm_imagecache.cmd.usage',
                    'pvm_imagecache.drivers.powervm',
                    'socket',
                ),
            ),
            ('Glance', ('pvm_imagecache.glance.source', 'requests')),
            ('Glance', ('pvm_imagecache.glance.stream', 'requests')),
            ('Keystone', ('pvm_imagecache.cmd.keystone', 'ssl')),
            (
                'another process',
                (
                    'pvm_imagecache.drivers.localdisk',
                    'pvm_imagecache.system.locks',
                ),
            ),
            ('', ('pvm_imagecache.cmd.confirmation',)),
            ('the work to end', ('pvm_imagecache.deploy.transfer',)),
            ('the work to end', ('pvm_imagecache.drivers_of_others',)),
            ('the work to end', ()),
        ):
            self.assertEqual(whom, wait_notice.for_whom(_stack(*modules)))


class WatchTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(wait_notice.stop)
        self.output = io.StringIO()
        self.patch(sys, 'stderr', self.output)
        self.whom = 'Glance'
        self.asked = threading.Semaphore(0)
        self.patch(wait_notice, 'for_whom', self._for_whom)

    def _for_whom(self, frame):
        self.assertIsNotNone(frame)
        self.asked.release()
        return self.whom

    def _wait(self, times):
        for _ in range(times):
            self.assertTrue(self.asked.acquire(timeout=base.PATIENCE))

    def _start(self, first):
        self.patch(wait_notice, '_FIRST', first)
        wait_notice.start()

    def test_it_is_told_again_and_again(self):
        self._start(0.01)
        self._wait(3)
        wait_notice.stop()
        self.assertIn(
            'Still waiting for Glance, 0 s since the beginning.\n',
            self.output.getvalue(),
        )

    def test_nothing_while_a_user_is_asked(self):
        self.whom = ''
        self._start(0.01)
        self._wait(2)
        wait_notice.stop()
        self.assertEqual('', self.output.getvalue())

    def test_others_have_their_say(self):
        self._start(base.PATIENCE)
        watch = wait_notice._State.watch
        wait_notice.stop()
        watch.join(base.PATIENCE)
        self.assertFalse(watch.is_alive())
        self.assertEqual('', self.output.getvalue())
