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

import contextlib
import time

from pvm_imagecache import exceptions
from pvm_imagecache.drivers.localdisk import unanswered
from pvm_imagecache.drivers.localdisk import vg_document
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups


class SettledTest(base.TestCase):
    """More of it is in the tests of the volume group."""

    def setUp(self):
        super().setUp()
        self.slept = []
        self.patch(time, 'sleep', self.slept.append)
        self.errors = []
        self.reads = 0

    def read(self):
        self.reads += 1
        if self.errors:
            raise self.errors.pop(0)
        return vg_document.Document(volume_groups.recorded())

    def settled(self, limit=100.0, may_update=False):
        return unanswered.settled(
            self.read,
            lambda action: contextlib.nullcontext(),
            limit,
            may_update,
        )

    def test_a_restarting_service_is_awaited(self):
        self.errors = [
            exceptions.PowerVMNotThere(url='u', reason='refused', hint='')
        ] * 2
        self.patch(unanswered, '_BLIND_WAIT', 0.0)
        self.assertFalse(self.settled().is_final)
        self.assertEqual(3, self.reads)

    def test_a_dead_service_is_not_awaited_for_long(self):
        error = exceptions.PowerVMNotThere(url='u', reason='refused', hint='')
        self.errors = [error] * 9
        self.assertIs(error, self.assertRaises(type(error), self.settled))
        self.assertEqual(4, self.reads)

    def test_a_timeout_is_not_repeated(self):
        self.errors = [
            exceptions.PowerVMTimedOut(url='u', reason='r', hint='')
        ]
        self.assertRaises(exceptions.PowerVMTimedOut, self.settled)

    def test_a_platform_that_stays_busy(self):
        self.errors = [exceptions.PowerVMBusy(action='a', reason='busy')] * 9
        self.assertRaises(exceptions.PowerVMBusy, self.settled, 0.0)
