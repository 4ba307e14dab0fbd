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

"""The configuration of a plugin under test."""

from pvm_imagecache import fixtures
from pvm_imagecache.tests.unit import base


class ConfigurationTest(base.TestCase):
    def test_options_of_the_cache_are_registered(self):
        conf = fixtures.configuration(
            {'pvm_imagecache': {'minimum_age': 7, 'disk_driver': 'theirs'}}
        )
        self.assertEqual(7, conf.pvm_imagecache.minimum_age)
        self.assertEqual('theirs', conf.pvm_imagecache.disk_driver)
        self.assertEqual(
            300, fixtures.configuration().pvm_imagecache.minimum_age
        )
