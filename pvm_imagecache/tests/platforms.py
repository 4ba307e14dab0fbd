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

"""Platforms that stress programs run on: settings of the simulator, by name.

Nothing of the product may depend on one of them: see ``--platform`` of the
programs in :mod:`pvm_imagecache.tests.stress`.
"""

import argparse
from typing import Final

from oslo_utils import units

Settings = dict[str, int | str]

#: The disks of the programs have a GiB: a copy takes a quarter of a second.
_RATE: Final = 4 * units.Gi
PLATFORMS: Final[dict[str, Settings]] = {
    'default': {},
    'no-labels': {'labels': 'dropped'},
    'short-labels': {'labels': 'shortened'},
    'granularity': {'granularity': 64 * units.Mi},
    'whole-gib': {'fractions': 'rounded'},
    'serial': {'copies': 'serial', 'copy_rate': _RATE},
    'parallel': {'copies': 'parallel', 'copy_rate': _RATE},
    'busy': {'concurrent_updates': 'busy', 'copy_rate': _RATE},
    'refused': {'concurrent_updates': 'refused', 'copy_rate': _RATE},
    'vios-names': {'name_scope': 'vios', 'name_wording': 'mklv'},
    'vg-names': {'name_scope': 'vg', 'name_wording': 'rest'},
    'same-size': {'copy_larger': 'refused'},
    # All that makes it hard at the same time.
    'hard': {
        'labels': 'dropped',
        'granularity': 64 * units.Mi,
        'concurrent_updates': 'busy',
        'copy_rate': _RATE,
        'name_wording': 'mklv-only',
        'space_wording': 'mklv-only',
    },
}


def options(name: str) -> list[str]:
    """Command line options of the simulator for a platform."""
    return [
        part
        for setting, value in PLATFORMS[name].items()
        for part in (f'--{setting.replace("_", "-")}', str(value))
    ]


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--platform`` to a program's arguments."""
    parser.add_argument(
        '--platform',
        choices=PLATFORMS,
        default='default',
        help='what the simulated platform does where real ones may differ',
    )
