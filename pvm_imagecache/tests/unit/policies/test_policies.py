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

"""The access policy for the tools of oslo.policy."""

from pvm_imagecache import policies
from pvm_imagecache.policies import rules
from pvm_imagecache.tests.unit import base


class ListRulesTest(base.TestCase):
    def test_every_rule_is_documented(self):
        listed = {each.name: each for each in policies.list_rules()}
        for rule in rules.ALL:
            self.assertTrue(listed[rule.name].description)
            self.assertTrue(listed[rule.name].operations)
        self.assertEqual(len(rules.ALL) + 2, len(listed))

    def test_each_command_is_one_operation(self):
        listed = {each.name: each for each in policies.list_rules()}
        self.assertEqual(
            [
                {'method': 'pvm-imagecache', 'path': 'pin'},
                {'method': 'pvm-imagecache', 'path': 'unpin'},
            ],
            listed['pvm_imagecache:pin'].operations,
        )
