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

"""The access policy, for oslo.policy and its tools."""

from typing import TYPE_CHECKING

from pvm_imagecache.policies import other_packages
from pvm_imagecache.policies import rules

if TYPE_CHECKING:
    from oslo_policy import policy


def list_rules(
    default_rules_apply: bool = True,
) -> 'list[policy.RuleDefault]':
    """Return all rules with their defaults.

    Called by the entry point oslo.policy.policies.

    :param default_rules_apply: False for defaults that allow nothing.
    :returns: the rules of the personas, those of the commands, and those of
        the installed commands of other packages.
    """
    return [
        *built_in(default_rules_apply),
        *map(as_default, other_packages.find()),
    ]


def built_in(default_rules_apply: bool = True) -> 'list[policy.RuleDefault]':
    """Return the rules of this project with their defaults.

    :param default_rules_apply: False for defaults that allow nothing.
    :returns: the rules of the personas, then those of the commands.
    """
    from oslo_policy import policy

    personas = [
        policy.RuleDefault(
            rules.Persona.READER.value,
            rules.check_of(rules.Persona.READER)
            if default_rules_apply
            else '!',
            description='Users with read-only access.',
        ),
        policy.RuleDefault(
            rules.Persona.ADMIN.value,
            rules.check_of(rules.Persona.ADMIN)
            if default_rules_apply
            else '!',
            description='Users who may change the cache.',
        ),
    ]
    return [*personas, *map(as_default, rules.ALL)]


def as_default(rule: rules.Rule) -> 'policy.RuleDefault':
    """Return a rule as oslo.policy needs it.

    :param rule: the rule of a command.
    :returns: the rule with its default.
    """
    from oslo_policy import policy

    return policy.DocumentedRuleDefault(
        name=rule.name,
        check_str=f'rule:{rule.persona.value}',
        description=rule.description,
        operations=[
            # The sample policy file has one blank between them.
            {'method': 'pvm-imagecache', 'path': command}
            for command in rule.commands
        ],
    )
