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

"""Enforcement of the access policy, with and without a policy file."""

import itertools

from pvm_imagecache import exceptions
from pvm_imagecache.policies import enforcer
from pvm_imagecache.policies import rules
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base

_ROLES = ('admin', 'reader', 'member', 'Admin', 'READER', 'service')


class DefaultTest(base.TestCase):
    def test_defaults_and_oslo_policy_agree(self):
        """The defaults in code are evaluated as oslo.policy does."""
        made = enforcer.get_enforcer(self.path('nothing'))
        for count in range(4):
            for roles in itertools.combinations(_ROLES, count):
                user = identity.Identity('ann', frozenset(roles))
                for rule in rules.ALL:
                    self.assertEqual(
                        enforcer._by_file(made, rule, user),
                        enforcer.by_default(rule, roles),
                        (rule, roles),
                    )


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
            'Policy does not allow pvm_imagecache:purge (role:operator) to be '
            'performed; user "ann" has the roles admin, reader.',
            str(error),
        )

    def test_it_changes_a_persona(self):
        text = '"pvm_imagecache:admin": "role:root"'
        self.check(text, rules.PURGE, 'root')
        self.assertRaises(
            exceptions.NotAuthorized, self.check, text, rules.EVICT, 'admin'
        )

    def test_rules_can_allow_all_or_none(self):
        self.check('"pvm_imagecache:list": ""', rules.LIST)
        self.assertRaises(
            exceptions.NotAuthorized,
            self.check,
            '"pvm_imagecache:list": "!"',
            rules.LIST,
            'admin',
        )

    def test_an_empty_file_means_defaults(self):
        self.check('', rules.LIST, 'reader')

    def test_an_invalid_file_allows_nothing(self):
        levels = 'abcdefghi'
        bomb = '\n'.join(
            f'{two}: &{two} [{", ".join([f"*{one}"] * 9)}]'
            for one, two in itertools.pairwise(levels)
        )
        for text in (
            '[',
            'x',
            '"pvm_imagecache:list": "rule:nothing"',
            f'a: &a [1, 1, 1, 1]\n{bomb}',
            # The operator made the line with the check a comment.
            '"pvm_imagecache:list":\n#  "role:admin"',
            '"pvm_imagecache:list": "!"\npvm_imagecache:list: "@"',
        ):
            error = self.assertRaises(
                exceptions.ConfigurationError,
                self.check,
                text,
                rules.LIST,
                'admin',
            )
            self.assertIn('policy.yaml', str(error))


class WithoutFileTest(base.TestCase):
    def test_a_refusal_names_rule_user_and_roles(self):
        error = self.assertRaises(
            exceptions.NotAuthorized,
            enforcer.check,
            rules.PURGE,
            identity.Identity('nobody'),
            self.path('none'),
            ' Use sudo.',
        )
        self.assertEqual(
            'Policy does not allow pvm_imagecache:purge (role:admin) to be '
            'performed; user "nobody" has no role. Use sudo.',
            str(error),
        )


class ScopeTest(base.TestCase):
    """Facts of the token in rules, and tokens of other domains."""

    def check(self, text, **kwargs):
        path = self.path('policy.yaml')
        if text:
            self.useFixture(base.TextFile(path, text))
        user = identity.Identity('ann', frozenset({'admin'}), **kwargs)
        enforcer.check(rules.PURGE, user, path)

    def refused(self, text, **kwargs):
        return str(
            self.assertRaises(
                exceptions.NotAuthorized, self.check, text, **kwargs
            )
        )

    def test_rules_can_use_names_domains_and_system_scope(self):
        for rule, name, value in (
            ('system_scope:all', 'system_scope', 'all'),
            ('domain_id:d1', 'domain_id', 'd1'),
            ('project_name:ops', 'project_name', 'ops'),
            ('user_name:ann', 'user_name', 'ann'),
            ('user_domain_id:%(domain_id)s and role:admin', '', ''),
        ):
            text = f'"pvm_imagecache:purge": "{rule}"'
            scope = (
                {name: value}
                if name
                else {'user_domain_id': 'd', 'domain_id': 'd'}
            )
            self.check(text, scope=scope)
            self.refused(text, scope={'user_domain_id': 'other'})

    def test_what_a_token_does_not_have_equals_nothing(self):
        for rule in ('project_id:None', 'user_id:%(project_id)s'):
            self.refused(f'"pvm_imagecache:purge": "{rule}"', user_id='x')

    def test_the_defaults_do_not_count_an_admin_of_another_domain(self):
        for text in ('', '"pvm_imagecache:list": "role:reader"'):
            message = self.refused(text, default_rules_apply=False)
            self.assertIn('keystone_domains', message)

    def test_a_rule_of_the_operator_counts_any_domain(self):
        self.check(
            '"pvm_imagecache:purge": "role:admin and domain_id:d1"',
            scope={'domain_id': 'd1'},
            default_rules_apply=False,
        )
