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

"""Enforcement of the access policy, with or without a policy file.

Without a policy file the defaults in code are evaluated, without the import
of oslo.policy: it takes as long as the rest of a quick command. A test
ensures that both give the same results.
"""

from collections.abc import Collection
from collections.abc import Iterable
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache import policies
from pvm_imagecache import text
from pvm_imagecache.policies import other_packages
from pvm_imagecache.policies import policy_file as policy_files
from pvm_imagecache.policies import remote
from pvm_imagecache.policies import rules
from pvm_imagecache.system import identity

if TYPE_CHECKING:
    from oslo_policy import policy


_OTHER_DOMAIN: Final = (
    ' The token is for neither the system nor a domain of keystone_domains in '
    '[pvm_imagecache], so the default rules do not count its roles.'
)


def check(
    rule: rules.Rule,
    user: identity.Identity,
    policy_file: str,
    hint: str = '',
) -> None:
    """Check that the access policy allows something to a user.

    :param rule: the rule.
    :param user: the user, with their roles.
    :param policy_file: path of the policy file, which need not exist.
    :param hint: how to get more roles, for the message; '' or text that
        starts with a space.
    :raises NotAuthorized: if the policy does not allow it.
    :raises ConfigurationError: if the policy file is invalid.
    :raises PolicyFileRefused: if the policy file cannot be relied on, or if
        a rule of it cannot be evaluated.
    """
    if policy_files.exists(policy_file):
        enforcer = _enforcer(policy_file, user.default_rules_apply, rule)
        try:
            allowed = _by_file(enforcer, rule, user)
        except Exception as error:
            # Remote checks raise errors of many libraries.
            raise exceptions.PolicyFileRefused(
                path=policy_file,
                reason=f'{rule.name} cannot be evaluated: '
                f'{text.one_line(error)}',
            ) from error
        words = str(enforcer.rules.get(rule.name, ''))
    else:
        allowed = user.default_rules_apply and by_default(rule, user.roles)
        words = rules.check_of(rule.persona)
    if not allowed:
        if not user.default_rules_apply:
            hint = _OTHER_DOMAIN + hint
        raise exceptions.NotAuthorized(
            rule=rule.name,
            check=words,
            who=user.who,
            roles=identity.described(user.roles),
            hint=hint,
        )


def by_default(rule: rules.Rule, roles: Collection[str]) -> bool:
    """Evaluate the default of a rule.

    :param rule: the rule.
    :param roles: roles of the user.
    :returns: whether the rule allows it.
    """
    mine = {each.lower() for each in roles}
    return not mine.isdisjoint(rules.ROLES[rule.persona])


def _by_file(
    enforcer: 'policy.Enforcer', rule: rules.Rule, user: identity.Identity
) -> bool:
    # What a token does not have equals nothing, not even "None".
    facts = {
        name: value
        for name, value in (
            ('user_id', user.user_id),
            ('project_id', user.project_id),
            *user.scope.items(),
        )
        if value is not None
    }
    return bool(
        enforcer.authorize(
            rule.name,
            # Rules can compare facts, or put them into an address.
            facts,
            {**facts, 'roles': sorted(user.roles)},
        )
    )


def get_enforcer(
    policy_file: str | None = None, default_rules_apply: bool = True
) -> 'policy.Enforcer':
    """Return an enforcer with the rules of all installed commands.

    Called by the entry point oslo.policy.enforcer. The options of
    [oslo_policy] are ignored: in the configuration of nova they name the
    policy file of nova.

    :param policy_file: path of the policy file, which need not exist; None
        for the default of the option ``policy_file``.
    :param default_rules_apply: False if the default rules allow nothing.
    :returns: the enforcer.
    :raises ConfigurationError: if the file is invalid.
    :raises PolicyFileRefused: if the file cannot be relied on.
    """
    enforcer = _enforcer(policy_file, default_rules_apply)
    _register(enforcer, other_packages.find())
    enforcer.load_rules()
    return enforcer


def _enforcer(
    policy_file: str | None,
    default_rules_apply: bool,
    *more: rules.Rule,
) -> 'policy.Enforcer':
    """Return an enforcer with the rules of this project, and others.

    Other packages are imported only if the policy file refers to a rule that
    is not known.
    """
    from oslo_config import cfg
    from oslo_policy import opts
    from oslo_policy import policy

    from pvm_imagecache.conf import access
    from pvm_imagecache.system import yaml_files

    if policy_file is None:
        policy_file = next(
            each.default
            for each in access.OPTIONS
            if each.name == 'policy_file'
        )
    conf = cfg.ConfigOpts()
    opts._register(conf)
    conf([], default_config_files=[], default_config_dirs=[], use_env=False)
    conf.set_override('policy_dirs', [], group='oslo_policy')
    conf.set_override(
        'remote_ssl_verify_server_crt', True, group='oslo_policy'
    )
    enforcer = policy.Enforcer(conf, policy_file=policy_file)
    enforcer.suppress_deprecation_warnings = True
    enforcer.register_defaults(policies.built_in(default_rules_apply))
    _register(enforcer, more)
    if not policy_files.exists(policy_file):
        enforcer.load_rules()
        return enforcer
    try:
        # A few lines can describe rules of any size.
        with open(policy_file, encoding='utf-8') as file:
            policy_files.check_content(yaml_files.load(file, unique=True))
        enforcer.load_rules()
        if not enforcer.check_rules():
            _register(enforcer, other_packages.find())
            enforcer.load_rules(force_reload=True)
        enforcer.check_rules(raise_on_violation=True)
        remote.check(enforcer.rules)
    except Exception as error:
        # YAML, the parser of rules and the file system raise many errors.
        raise exceptions.ConfigurationError(
            reason=f'Policy file {policy_file} cannot be used: '
            f'{text.one_line(error)}.'
        ) from error
    return enforcer


def _register(enforcer: 'policy.Enforcer', more: Iterable[rules.Rule]) -> None:
    """Add rules that the enforcer does not have yet."""
    for each in more:
        if each.name not in enforcer.registered_rules:
            enforcer.register_default(policies.as_default(each))
