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

from pvm_imagecache.simulator import wordings


class WordingsTest(base.BaseTestCase):
    def test_known_names_and_free_text_are_wordings(self):
        for wording in (*wordings.SPACE, 'Is full.'):
            self.assertEqual(wording, wordings.check(wordings.SPACE, wording))
        for wording in ('', 'full', 'x ' * 2001):
            self.assertRaises(
                ValueError, wordings.check, wordings.SPACE, wording
            )

    def test_values_are_put_into_the_words(self):
        self.assertEqual(
            'A virtual disk named a exists already in the volume group b.',
            wordings.text(wordings.NAME, 'rest', name='a', group='b'),
        )
        self.assertEqual(
            '{x} a {', wordings.text({}, '{x} {name} {', name='a')
        )
