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

from oslotest import base

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import errors


class AtomTest(base.BaseTestCase):
    def test_etags_depend_on_content_and_groups(self):
        self.assertRegex(atom.etag('content', 'None'), r'^-?\d+$')
        self.assertNotEqual(
            atom.etag('content', 'None'), atom.etag('content', '')
        )
        self.assertNotEqual(atom.etag('content', ''), atom.etag('other', ''))
        for number in range(1000):
            self.assertTrue(
                -(1 << 31) <= int(atom.etag(str(number), '')) < 1 << 31
            )

    def test_error_hides_the_token(self):
        text = atom.error_entry(
            errors.not_found('<gone>'),
            '/rest/x?y',
            {'X-API-Session': 'secret', 'Accept': '*/*'},
        )
        self.assertNotIn('secret', text)
        self.assertIn('&lt;gone&gt;', text)
        self.assertIn('>/rest/x<', text)
