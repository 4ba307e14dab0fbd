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

"""The eviction policy none."""

import hypothesis

from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.eviction import none
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.eviction import strategies


class NonePolicyTest(base.TestCase):
    @base.generated
    @hypothesis.given(strategies.views())
    def test_no_image_is_ever_chosen(self, view):
        self.assertEqual([], strategies.chosen(none.NonePolicy(), view))

    def test_it_is_made_without_options(self):
        conf = fixtures.configuration(
            {'pvm_imagecache': {'eviction_policies': 'none'}}
        )
        self.assertIsInstance(
            plugins.load_policies(conf)[0].policy, none.NonePolicy
        )
