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

"""The rules of policy, with and without oslo.policy."""

import itertools

from pvm_imagecache import exceptions
from pvm_imagecache import policies
from pvm_imagecache.policies import enforcer
from pvm_imagecache.policies import rules
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base

_ROLES = ('admin', 'reader', 'member', 'Admin', 'READER', 'service')


class DefaultTest(base.TestCase):
    def test_both_ways_say_the_same(self):
        """What the quick way decides is what oslo.policy would."""
        made = enforcer.get_enforcer(self.path('nothing'))
        for count in range(4):
            for roles in itertools.combinations(_ROLES, count):
                asker = identity.Identity('ann', frozenset(roles))
                for rule in rules.ALL:
                    self.assertEqual(
                        enforcer._by_file(made, rule, asker),
                        enforcer.by_default(rule, roles),
                        (rule, roles),
                    )

    def test_readers_change_nothing(self):
        reading = {
            each.name.partition(':')[2]
            for each in rules.ALL
            if enforcer.by_default(each, ['reader'])
        }
        self.assertEqual(
            {'list', 'show', 'usage', 'history', 'explain', 'plugins'}, reading
        )
        self.assertTrue(
            all(enforcer.by_default(each, ['admin']) for each in rules.ALL)
        )
        self.assertFalse(
            any(enforcer.by_default(each, ['member']) for each in rules.ALL)
        )

    def test_every_rule_is_documented(self):
        listed = {each.name: each for each in policies.list_rules()}
        for rule in rules.ALL:
            self.assertTrue(listed[rule.name].description)
            self.assertTrue(listed[rule.name].operations)
        self.assertEqual(len(rules.ALL) + 2, len(listed))


class WithFileTest(base.TestCase):
    def check(self, text, rule, *roles):
        path = self.useFixture(
            base.TextFile(self.path('policy.yaml'), text)
        ).path
        enforcer.check(rule, identity.Identity('ann', frozenset(roles)), path)

    def test_it_changes_some_rules(self):
        text = '"pvm_imagecache:purge": "role:operator"'
        self.check(text, rules.PURGE, 'operator')
        self.check(text, rules.PIN, 'admin')
        error = self.assertRaises(
            exceptions.NotAuthorized,
            self.check,
            text,
            rules.PURGE,
            'admin',
            'reader',
        )
        self.assertEqual(
            'The policy does not allow it: the rule "pvm_imagecache:purge" '
            'is role:operator, and ann has the roles admin, reader.',
            str(error),
        )

    def test_it_changes_a_persona(self):
        text = '"pvm_imagecache:admin": "role:root"'
        self.check(text, rules.PURGE, 'root')
        self.assertRaises(
            exceptions.NotAuthorized, self.check, text, rules.EVICT, 'admin'
        )

    def test_everybody_and_nobody(self):
        self.check('"pvm_imagecache:list": ""', rules.LIST)
        self.assertRaises(
            exceptions.NotAuthorized,
            self.check,
            '"pvm_imagecache:list": "!"',
            rules.LIST,
            'admin',
        )

    def test_an_empty_one(self):
        self.check('', rules.LIST, 'reader')

    def test_one_that_is_none_lets_nobody(self):
        for text in ('[', 'x', '"pvm_imagecache:list": "rule:nothing"'):
            error = self.assertRaises(
                exceptions.ConfigurationError,
                self.check,
                text,
                rules.LIST,
                'admin',
            )
            self.assertIn('policy.yaml', str(error))


class WithoutFileTest(base.TestCase):
    def test_a_refusal(self):
        error = self.assertRaises(
            exceptions.NotAuthorized,
            enforcer.check,
            rules.PURGE,
            identity.Identity('nobody'),
            self.path('none'),
            ' Use sudo.',
        )
        self.assertEqual(
            'The policy does not allow it: the rule "pvm_imagecache:purge" '
            'is role:admin, and nobody has no role. Use sudo.',
            str(error),
        )
