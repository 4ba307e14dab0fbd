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

"""The rules of policy, each with who may by default.

They are plain data: to evaluate them as they are nothing has to be imported,
which a command that is to answer at once does not wait for. See
:mod:`pvm_imagecache.policies` for the same in the words of oslo.policy.
"""

import dataclasses
import enum
import functools
from typing import Final

PREFIX: Final = 'pvm_imagecache:'


class Persona(enum.Enum):
    """Who a rule lets do something; the value is the name of a rule."""

    READER = f'{PREFIX}reader'
    ADMIN = f'{PREFIX}admin'


#: The roles of which a persona has one.
ROLES: Final = {
    Persona.READER: ('reader', 'admin'),
    Persona.ADMIN: ('admin',),
}


def check_of(persona: Persona) -> str:
    """Who that is, in the language of policy files."""
    return ' or '.join(f'role:{each}' for each in ROLES[persona])


@dataclasses.dataclass(frozen=True)
class Rule:
    """What may be done, in the words of the command line."""

    name: str
    persona: Persona
    description: str
    commands: tuple[str, ...]


_ALL: Final[list[Rule]] = []


def _rule(
    persona: Persona, name: str, description: str, *commands: str
) -> Rule:
    """:param commands: the one of that name where none is given."""
    rule = Rule(PREFIX + name, persona, description, commands or (name,))
    _ALL.append(rule)
    return rule


_for_readers: Final = functools.partial(_rule, Persona.READER)
_for_admins: Final = functools.partial(_rule, Persona.ADMIN)


LIST: Final = _for_readers('list', 'See which images are cached.')
SHOW: Final = _for_readers('show', 'See all that is known of a cached image.')
USAGE: Final = _for_readers(
    'usage', 'See how full the pool is and what the cache saves.'
)
HISTORY: Final = _for_readers('history', 'See who did what, and when.')
EXPLAIN: Final = _for_readers(
    'explain',
    'See why images stay or go, and what a command would do.',
    'explain',
    'evict --dry-run',
    'purge --dry-run',
    'adopt --dry-run',
)
PLUGINS: Final = _for_readers(
    'plugins', 'See which plugins are installed.', 'plugin list'
)
PREFETCH: Final = _for_admins('prefetch', 'Fetch images into the cache.')
PIN: Final = _for_admins(
    'pin', 'Have images stay in the cache, or let them go.', 'pin', 'unpin'
)
EVICT: Final = _for_admins(
    'evict', 'Remove the images that the policies choose.'
)
PURGE: Final = _for_admins('purge', 'Take images out of the cache.')
VERIFY: Final = _for_admins(
    'verify', 'Hold the catalogue against the disks, and tidy up.'
)
ADOPT: Final = _for_admins(
    'adopt', 'Serve images from disks that the cache did not fill.'
)
CREATE_DISK: Final = _for_admins(
    'create_disk', 'Make a disk from an image.', 'disk create'
)
DELETE_DISK: Final = _for_admins(
    'delete_disk', 'Delete a disk.', 'disk delete'
)
DEFAULT: Final = _for_admins(
    'default',
    'Use a command that another package brings, unless it names a rule.',
    '(commands of plugins)',
)

ALL: Final = tuple(_ALL)
