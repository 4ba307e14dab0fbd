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

"""Options of the eviction policy age."""

from pvm_imagecache.conf import age
from pvm_imagecache.tests.unit.conf import base


class MaxAgeTest(base.ConfTestCase):
    def max_age(self, text):
        return age.max_age(self.read(text, lambda conf: None))

    def test_the_option_of_nova_is_the_default(self):
        self.assertEqual(86400, self.max_age(''))
        nova = (
            '[image_cache]\nremove_unused_original_minimum_age_seconds = 77\n'
        )
        self.assertEqual(77, self.max_age(nova))
        self.assertEqual(
            5, self.max_age(f'{nova}[pvm_imagecache_age]\nmax_age = 5\n')
        )

    def test_an_age_of_zero_is_not_replaced(self):
        self.assertEqual(
            0, self.max_age('[pvm_imagecache_age]\nmax_age = 0\n')
        )
