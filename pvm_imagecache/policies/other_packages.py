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

"""The access policy rules of commands of other packages.

A command declares its rules in its class. They are found by an import of the
command, which is made only where a rule matters that is not built in: for the
sample of the policy file, for its check, and for a policy file that refers to
such a rule.
"""

from collections.abc import Iterator
import logging

from pvm_imagecache.policies import rules
from pvm_imagecache.system import entry_points

LOG = logging.getLogger(__name__)


def find() -> tuple[rules.Rule, ...]:
    """Return the rules of the installed commands of other packages.

    A command that cannot be imported is left out, with a warning.

    :returns: the rules, each name once, sorted by name.
    """
    found: dict[str, rules.Rule] = {}
    for plugin in entry_points.find(entry_points.COMMANDS):
        if plugin.built_in or plugin.conflict:
            continue
        try:
            command = plugin.load()
        except entry_points.ImportFailed as error:
            LOG.warning(
                'The access policy lacks the rules of the command "%s" of '
                '%s: %s',
                plugin.name,
                plugin.distribution,
                error,
            )
            continue
        for rule in declared(command):
            known = found.setdefault(rule.name, rule)
            if known != rule:
                LOG.warning(
                    'The command "%s" of %s defines the rule %s in another '
                    'way than a command before it.',
                    plugin.name,
                    plugin.distribution,
                    rule.name,
                )
    return tuple(found[name] for name in sorted(found))


def declared(command: object) -> Iterator[rules.Rule]:
    """Yield the usable rules that a command declares for itself.

    :param command: the class of the command.
    :yields: rules that are not built in.
    """
    more = getattr(command, 'more_rules', ())
    for each in (
        getattr(command, 'rule', None),
        getattr(command, 'dry_run_rule', None),
        *(more if isinstance(more, list | tuple) else ()),
    ):
        if (
            isinstance(each, rules.Rule)
            and each not in rules.ALL
            and not rules.fault(each)
        ):
            yield each
