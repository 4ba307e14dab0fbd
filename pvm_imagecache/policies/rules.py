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


@dataclasses.dataclass(frozen=True)
class Rule:
    """What may be done, in the words of the command line."""

    name: str
    persona: Persona
    description: str
    commands: tuple[str, ...]


def _rule(
    name: str, persona: Persona, description: str, *commands: str
) -> Rule:
    return Rule(PREFIX + name, persona, description, commands or (name,))


LIST: Final = _rule(
    'list', Persona.READER, 'See which images are cached.')
SHOW: Final = _rule(
    'show', Persona.READER, 'See all that is known of a cached image.')
USAGE: Final = _rule(
    'usage', Persona.READER,
    'See how full the pool is and what the cache saves.')
HISTORY: Final = _rule(
    'history', Persona.READER, 'See who did what, and when.')
EXPLAIN: Final = _rule(
    'explain', Persona.READER,
    'See why images stay or go, and what a command would do.', 'explain',
    'evict --dry-run', 'purge --dry-run', 'adopt --dry-run')
PLUGINS: Final = _rule(
    'plugins', Persona.READER, 'See which plugins are installed.',
    'plugin list')
PREFETCH: Final = _rule(
    'prefetch', Persona.ADMIN, 'Fetch images into the cache.')
PIN: Final = _rule(
    'pin', Persona.ADMIN, 'Have images stay in the cache, or let them go.',
    'pin', 'unpin')
EVICT: Final = _rule(
    'evict', Persona.ADMIN, 'Remove the images that the policies choose.')
PURGE: Final = _rule(
    'purge', Persona.ADMIN, 'Take images out of the cache.')
VERIFY: Final = _rule(
    'verify', Persona.ADMIN,
    'Hold the catalogue against the disks, and tidy up.')
ADOPT: Final = _rule(
    'adopt', Persona.ADMIN,
    'Serve images from disks that the cache did not fill.')
CREATE_DISK: Final = _rule(
    'create_disk', Persona.ADMIN, 'Make a disk from an image.',
    'disk create')
DELETE_DISK: Final = _rule(
    'delete_disk', Persona.ADMIN, 'Delete a disk.', 'disk delete')
DEFAULT: Final = _rule(
    'default', Persona.ADMIN,
    'Use a command that another package brings, unless it names a rule.',
    '(commands of plugins)')

ALL: Final = (
    LIST, SHOW, USAGE, HISTORY, EXPLAIN, PLUGINS, PREFETCH, PIN, EVICT,
    PURGE, VERIFY, ADOPT, CREATE_DISK, DELETE_DISK, DEFAULT)
