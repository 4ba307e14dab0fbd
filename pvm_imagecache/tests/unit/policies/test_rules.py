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

"""The rules of the access policy."""

from pvm_imagecache.policies import enforcer
from pvm_imagecache.policies import rules
from pvm_imagecache.tests.unit import base


class RulesTest(base.TestCase):
    def test_readers_change_nothing(self):
        reading = {
            each.name.partition(':')[2]
            for each in rules.ALL
            if enforcer.by_default(each, ['reader'])
        }
        self.assertEqual(
            {
                'list',
                'show',
                'usage',
                'history',
                'explain',
                'platform',
                'plugins',
            },
            reading,
        )
        self.assertTrue(
            all(enforcer.by_default(each, ['admin']) for each in rules.ALL)
        )
        self.assertFalse(
            any(enforcer.by_default(each, ['member']) for each in rules.ALL)
        )

    def test_names_are_unique_and_have_the_prefix(self):
        names = [each.name for each in rules.ALL]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertTrue(name.startswith('pvm_imagecache:'), name)

    def test_an_admin_needs_one_of_the_roles(self):
        self.assertEqual(
            'role:reader or role:admin', rules.check_of(rules.Persona.READER)
        )
        self.assertEqual('role:admin', rules.check_of(rules.Persona.ADMIN))

    def test_descriptions_are_sentences(self):
        for each in rules.ALL:
            self.assertRegex(each.description, r'^[A-Z].*\.$')
