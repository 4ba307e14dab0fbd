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

import os

from pvm_imagecache import exceptions
from pvm_imagecache.system import identity_calls
from pvm_imagecache.tests.unit import base


class IdentityCallsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest('only root acts as another user')

    def test_an_unknown_machine_is_refused(self):
        def act():
            with identity_calls.acting_as(12345, 54321):
                self.fail('acted as another user')

        before = os.geteuid(), os.getegid(), os.getgroups()
        self.patch(identity_calls, '_NUMBERS', {})
        self.assertRaises(exceptions.IdentityFailed, act)
        self.assertEqual(before, (os.geteuid(), os.getegid(), os.getgroups()))
