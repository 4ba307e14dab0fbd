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

"""Whether somebody may do something, by the rules and the policy file.

Where there is no policy file the rules are what they are in code, and are
read from there: oslo.policy takes as long to be imported as the rest of a
quick command takes altogether. A test holds both ways against each other.
"""

from collections.abc import Collection
import os
from typing import Any

from pvm_imagecache import exceptions
from pvm_imagecache import policies
from pvm_imagecache.policies import rules
from pvm_imagecache.system import identity


def check(
    rule: rules.Rule,
    asker: identity.Identity,
    policy_file: str,
    hint: str = '',
) -> None:
    """Raise unless somebody may do what a rule is about.

    :param hint: for the message, what gives more roles.
    :raises NotAuthorized: if not.
    :raises ConfigurationError: if the policy file makes no sense.
    """
    if os.path.exists(policy_file):
        enforcer = get_enforcer(policy_file)
        allowed = _by_file(enforcer, rule, asker)
        words = str(enforcer.rules.get(rule.name, ''))
    else:
        allowed = by_default(rule, asker.roles)
        words = rules.check_of(rule.persona)
    if not allowed:
        raise exceptions.NotAuthorized(
            rule=rule.name,
            check=words,
            who=asker.who,
            roles=identity.described(asker.roles),
            hint=hint,
        )


def by_default(rule: rules.Rule, roles: Collection[str]) -> bool:
    """Whether a rule lets those with these roles, as it is in code."""
    mine = {each.lower() for each in roles}
    return not mine.isdisjoint(rules.ROLES[rule.persona])


def _by_file(
    enforcer: Any, rule: rules.Rule, asker: identity.Identity
) -> bool:
    return bool(
        enforcer.authorize(
            rule.name,
            {},
            {
                'roles': sorted(asker.roles),
                'user_id': asker.user_id,
                'project_id': asker.project_id,
            },
        )
    )


def get_enforcer(policy_file: str | None = None) -> Any:
    """An enforcer with our rules: the entry point oslo.policy.enforcer.

    Nothing is taken from [oslo_policy]: in the configuration of nova that
    names the file of nova's own rules.

    :param policy_file: by default that of the option ``policy_file``.
    :raises ConfigurationError: if the file makes no sense.
    """
    from oslo_config import cfg
    from oslo_policy import opts
    from oslo_policy import policy

    from pvm_imagecache.conf import access

    if policy_file is None:
        policy_file = next(
            each.default
            for each in access.OPTIONS
            if each.name == 'policy_file'
        )
    conf = cfg.ConfigOpts()
    opts._register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override('policy_dirs', [], group='oslo_policy')
    enforcer = policy.Enforcer(conf, policy_file=policy_file)
    enforcer.suppress_deprecation_warnings = True
    enforcer.register_defaults(policies.list_rules())
    if not os.path.exists(policy_file):
        enforcer.load_rules()
        return enforcer
    try:
        enforcer.load_rules()
        enforcer.check_rules(raise_on_violation=True)
    except Exception as error:
        # A parser of YAML, of rules, and the file system have their say.
        raise exceptions.ConfigurationError(
            reason=f'The policy file {policy_file} can not be used: '
            f'{" ".join(str(error).split())}'
        ) from error
    return enforcer
