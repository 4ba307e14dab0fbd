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

"""Options of the eviction policy watermark."""

from pvm_imagecache import exceptions
from pvm_imagecache.conf import watermark
from pvm_imagecache.tests.unit.conf import base


class MarksTest(base.ConfTestCase):
    def marks(self, text):
        return watermark.marks(
            self.read(f'[pvm_imagecache_watermark]\n{text}', lambda conf: None)
        )

    def test_the_defaults_are_as_documented(self):
        self.assertEqual((90, 80), self.marks(''))

    def test_equal_marks_are_accepted(self):
        self.assertEqual((70, 70), self.marks('high = 70\nlow = 70'))

    def test_a_low_mark_above_the_high_mark_is_refused(self):
        error = self.assertRaises(
            exceptions.ConfigurationError, self.marks, 'low = 95'
        )
        self.assertIn('low (95) is above high (90)', str(error))
