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

"""The access policy rules of commands of other packages."""

from pvm_imagecache.policies import enforcer
from pvm_imagecache.policies import other_packages
from pvm_imagecache.policies import rules
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import test_command_check as commands


class DeclaredRulesTest(commands.CommandPluginTestCase):
    def test_all_rules_of_a_command_are_found(self):
        self.install(
            commands.changed(
                'rule = RULE',
                'rule = RULE\n'
                "    dry_run_rule = rules.define('theirs:look', 'Look.')\n"
                "    more_rules = [rules.define('theirs:all', 'All.')]",
            )
        )
        self.install('import no_such_module', 'broken', 'broken-package')
        self.assertEqual(
            ['theirs:all', 'theirs:look', 'theirs:report'],
            [each.name for each in other_packages.find()],
        )

    def test_the_first_definition_of_a_rule_is_used(self):
        self.install(name='a_report', package='a')
        self.install(
            commands.changed('READER', 'ADMIN', commands.START)
            + commands.CORRECT,
            'b_report',
            'b',
        )
        (found,) = other_packages.find()
        self.assertIs(rules.Persona.READER, found.persona)

    def test_rules_of_ours_are_not_theirs(self):
        self.install(commands.changed('rule = RULE', 'rule = rules.LIST'))
        self.assertEqual((), other_packages.find())
        self.be('reader')
        self.run_command('report')

    def test_the_tools_of_oslo_policy_know_them(self):
        self.install()
        for text, check in (
            (None, 'rule:pvm_imagecache:reader'),
            ('"theirs:report": "role:auditor"', 'role:auditor'),
        ):
            path = self.path('policy.yaml')
            if text:
                self.useFixture(base.TextFile(path, text))
            made = enforcer.get_enforcer(path)
            self.assertIn('theirs:report', made.registered_rules)
            self.assertEqual(check, str(made.rules['theirs:report']))
