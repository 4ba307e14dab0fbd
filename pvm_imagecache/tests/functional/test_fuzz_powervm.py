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
"""A few seconds of the fuzz test of PowerVM's answers."""

from oslotest import base

from pvm_imagecache.tests.stress import fuzz_powervm


class FuzzPowerVMTest(base.BaseTestCase):
    def test_malformed_answers_do_no_harm(self) -> None:
        self.assertEqual(
            0, fuzz_powervm.main(['--seconds', '8', '--seed', '1'])
        )
