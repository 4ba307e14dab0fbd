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

"""The rules of the access policy, with their defaults.

They are plain data, so that a command can evaluate the defaults without the
import of oslo.policy. :mod:`pvm_imagecache.policies` offers them to
oslo.policy. Commands of other packages get their rules from :func:`define`.
"""

import dataclasses
import enum
import functools
import re
from typing import Final

PREFIX: Final = 'pvm_imagecache:'
#: What the name of a rule of another package looks like.
_NAME: Final = re.compile(r'[A-Za-z0-9][\w.-]*:[A-Za-z0-9][\w.:-]*', re.ASCII)


class Persona(enum.Enum):
    """A kind of users. The value is the name of its rule."""

    READER = f'{PREFIX}reader'
    """Users with read-only access."""

    ADMIN = f'{PREFIX}admin'
    """Users who may change the cache."""


#: The roles of a persona. A user needs one of them.
ROLES: Final = {
    Persona.READER: ('reader', 'admin'),
    Persona.ADMIN: ('admin',),
}


def check_of(persona: Persona) -> str:
    """Return the check of a persona, in the language of policy files.

    :param persona: the persona.
    :returns: the check string.
    """
    return ' or '.join(f'role:{each}' for each in ROLES[persona])


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule of the access policy.

    :ivar name: name of the rule, with the prefix.
    :ivar persona: users to whom it allows the commands by default.
    :ivar description: what it allows.
    :ivar commands: the commands, with options if it is only about these.
    """

    name: str
    persona: Persona
    description: str
    commands: tuple[str, ...]


_ALL: Final[list[Rule]] = []


def _rule(
    persona: Persona, name: str, description: str, *commands: str
) -> Rule:
    """Add a rule. Without commands it is for the command of that name."""
    rule = Rule(PREFIX + name, persona, description, commands or (name,))
    _ALL.append(rule)
    return rule


_for_readers: Final = functools.partial(_rule, Persona.READER)
_for_admins: Final = functools.partial(_rule, Persona.ADMIN)


LIST: Final = _for_readers('list', 'List the cached images.')
SHOW: Final = _for_readers('show', 'Show the details of a cached image.')
USAGE: Final = _for_readers(
    'usage', 'Show the size of the cache and its statistics.'
)
METRICS: Final = _for_admins(
    'write_metrics', 'Write metrics to a file.', 'usage --textfile'
)
HISTORY: Final = _for_readers('history', 'Show the event log of the cache.')
EXPLAIN: Final = _for_readers(
    'explain',
    'Explain why images are kept, and show what commands would do.',
    'explain',
    'evict --dry-run',
    'purge --dry-run',
    'adopt --dry-run',
    'platform check --dry-run',
)
PLUGINS: Final = _for_readers(
    'plugins', 'List installed plugins.', 'plugin list'
)
PLATFORM: Final = _for_readers(
    'platform', 'Show what was measured of the platform.', 'platform show'
)
PREFETCH: Final = _for_admins('prefetch', 'Fetch images into the cache.')
PIN: Final = _for_admins(
    'pin',
    'Protect images from eviction, or remove that protection.',
    'pin',
    'unpin',
)
EVICT: Final = _for_admins(
    'evict', 'Remove the images that the eviction policies select.'
)
PURGE: Final = _for_admins('purge', 'Remove images from the cache.')
VERIFY: Final = _for_admins(
    'verify', 'Check cached images against PowerVM and Glance, and clean up.'
)
ADOPT: Final = _for_admins(
    'adopt', 'Register existing base disks as cached images.'
)
CHECK_PLATFORM: Final = _for_admins(
    'check_platform',
    'Measure the platform with disks that are created and deleted.',
    'platform check',
)
CREATE_DISK: Final = _for_admins(
    'create_disk', 'Create a disk from an image.', 'disk create'
)
DELETE_DISK: Final = _for_admins(
    'delete_disk', 'Delete an instance disk.', 'disk delete'
)
DEFAULT: Final = _for_admins(
    'default',
    'Use a command of another package that has no rule of its own.',
    '(commands of other packages)',
)

ALL: Final = tuple(_ALL)


def define(
    name: str,
    description: str,
    *commands: str,
    persona: Persona = Persona.ADMIN,
) -> Rule:
    """Return a rule for the commands of another package.

    An operator can change it in the policy file, like every other rule.

    :param name: name of the rule: a prefix of the package's own, a colon and
        what the rule allows, such as ``"inventory:report"``.
    :param description: what it allows, one sentence, for the sample of the
        policy file.
    :param commands: the commands, with options if the rule is only about
        these. Default: the part of the name after the colon.
    :param persona: users to whom the rule allows the commands by default.
    :returns: the rule, for ``rule`` or ``dry_run_rule`` of a command.
    :raises ValueError: if the name, the description or the persona cannot be
        used.
    """
    rule = Rule(
        name,
        persona,
        description,
        commands or (str(name).partition(':')[2],),
    )
    if found := fault(rule):
        raise ValueError(found)
    return rule


def fault(rule: object) -> str:
    """Return why something cannot be the rule of a command.

    :param rule: what a command has as its rule.
    :returns: the reason, without a final stop; '' if it is a rule.
    """
    if not isinstance(rule, Rule):
        return f'{rule!r} is not a rule: use pvm_imagecache.policies.rules'
    if rule in ALL:
        return ''
    if not isinstance(rule.name, str) or not _NAME.fullmatch(rule.name):
        return f'the name {rule.name!r} of its rule is not "prefix:name"'
    if rule.name.casefold().startswith(PREFIX):
        return (
            f'the name {rule.name!r} of its rule begins with "{PREFIX}", '
            'which only the rules of pvm_imagecache do'
        )
    if not isinstance(rule.persona, Persona):
        return f'the persona of its rule {rule.name} is {rule.persona!r}'
    if not isinstance(rule.description, str) or not rule.description.strip():
        return f'its rule {rule.name} has no description'
    if (
        not isinstance(rule.commands, list | tuple)
        or not rule.commands
        or not all(
            isinstance(each, str) and each and each.isprintable()
            for each in rule.commands
        )
    ):
        return f'its rule {rule.name} names no commands'
    return ''
