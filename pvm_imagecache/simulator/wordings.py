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

"""What the VIOS says of a refusal: known wordings, by name, and free text.

The REST API has no error code for a full volume group or a name in use: the
texts of the AIX commands behind it are all that a client gets. They differ
between levels and languages, and 0516-822 ends all of them.
"""

from __future__ import annotations

_MKLV = '0516-822 mklv: Unable to create logical volume.'
_ALLOCP = (
    '0516-404 allocp: This system cannot fulfill the allocation request. '
    'There are not enough free partitions or not enough physical volumes to '
    'keep strictness and satisfy allocation requests.'
)
_GETLVNAME = (
    '0516-360 getlvname: The device name {name} is already used; choose a '
    'different name.'
)

SPACE = {
    'allocp': 'The volume group {group} does not have enough free space: '
    '{wanted} bytes wanted, {free} bytes free. ' + _ALLOCP,
    'mklv': f'{_ALLOCP} {_MKLV}',
    'mklv-only': _MKLV,
    'volumes': '0516-814 mklv: No other physical volumes are available for '
    f'allocation in the volume group. {_MKLV}',
    'pool': 'Insufficient free space in the storage pool {group}.',
    'translated': '0516-404 allocp: Das System kann die Anforderung nicht '
    'erf\u00fcllen. Es sind nicht gen\u00fcgend freie Partitionen vorhanden. '
    '0516-822 mklv: Der logische Datentr\u00e4ger kann nicht erstellt werden.',
}
NAME = {
    'rest': 'A virtual disk named {name} exists already in the volume group '
    '{group}.',
    'mklv': f'{_GETLVNAME} {_MKLV}',
    'mklv-only': _MKLV,
    'lvm': '0516-020 mklv: Logical volume name or minor number already in '
    f'use. {_MKLV}',
    'special-file': '0516-832 mklv: Special file /dev/{name} or /dev/r{name} '
    f'already exists. {_MKLV}',
    'translated': '0516-360 getlvname: Der Einheitenname {name} wird bereits '
    'verwendet. 0516-822 mklv: Der logische Datentr\u00e4ger kann nicht '
    'erstellt werden.',
}
# The REST server knows the disks of the group, AIX those of the others.
MIXED = 'mixed'
_LONGEST = 4000


def check(known: dict[str, str], wording: str) -> str:
    """Return a wording that is known, or free text with a space in it.

    :raises ValueError: for any other.
    """
    if wording in known or (' ' in wording and len(wording) <= _LONGEST):
        return wording
    raise ValueError(
        f'{wording!r} is neither of {", ".join(known)} nor a sentence of at '
        f'most {_LONGEST} characters'
    )


def text(known: dict[str, str], wording: str, **values: object) -> str:
    """The words, with {name} and the like replaced."""
    words = known.get(wording, wording)
    for name, value in values.items():
        words = words.replace(f'{{{name}}}', str(value))
    return words
