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
from pvm_imagecache.simulator import browsers
from pvm_imagecache.tests.unit import base


class BrowsersTest(base.TestCase):
    def test_clients_of_powervm_are_accepted(self):
        for host in ('127.0.0.1:12080', 'localhost', 'LOCALHOST:1', '[::1]:5'):
            self.assertFalse(browsers.is_suspect({'Host': host}, True))
        self.assertFalse(browsers.is_suspect({}, True))

    def test_a_name_that_leads_here_is_refused(self):
        for host in ('evil.example:12080', 'localhost.evil.example', '', 'a'):
            self.assertTrue(browsers.is_suspect({'Host': host}, True))

    def test_a_server_for_other_machines_has_any_name(self):
        self.assertFalse(browsers.is_suspect({'Host': 'powervm:1'}, False))

    def test_headers_of_browsers_are_refused(self):
        for name in ('Origin', 'Sec-Fetch-Site', 'Sec-Fetch-Mode'):
            for value in ('null', 'same-origin', 'http://127.0.0.1:12080'):
                for local in (True, False):
                    self.assertTrue(
                        browsers.is_suspect(
                            {'Host': '127.0.0.1', name: value}, local
                        )
                    )
