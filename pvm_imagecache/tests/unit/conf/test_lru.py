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

"""Options of the eviction policy lru."""

from oslo_utils import units

from pvm_imagecache.conf import lru
from pvm_imagecache.tests.unit.conf import base


class LimitsTest(base.ConfTestCase):
    def limits(self, text):
        return lru.limits(
            self.read(f'[pvm_imagecache_lru]\n{text}', lambda conf: None)
        )

    def test_there_are_no_limits_by_default(self):
        self.assertEqual((None, None), self.limits(''))

    def test_the_size_is_converted_to_bytes(self):
        self.assertEqual(
            (None, 3 * units.Gi // 2), self.limits('max_gib = 1.5')
        )
        self.assertEqual((7, None), self.limits('max_images = 7'))
