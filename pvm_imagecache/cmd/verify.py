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

"""The command that holds the catalogue against the pool."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from pvm_imagecache.cmd import base


class VerifyCache(base.Lister):
    """Hold the catalogue against the disks, and tidy up after the dead.

    What a process that was killed has left behind, incomplete disks and
    web/File entries, is removed; cached images whose disk is gone are
    forgotten; what others could have changed is served no more. What living
    processes are at is left alone. Prints what was done; nothing where all
    was right.
    """

    _failed = False

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        found = self.app.manager.reconcile()
        self._failed = bool(found.failed)
        rows = [(name, 'incomplete, removed') for name in found.removed]
        rows += [(name, 'gone, forgotten') for name in found.forgotten
                 if name not in found.removed]
        rows += [(name, f'quarantined: {reason}')
                 for name, reason in found.quarantined]
        rows += [(name, 'not known to the cache: see "adopt"')
                 for name in found.untracked]
        rows += [(name, f'stays: {reason}') for name, reason in found.failed]
        return ('Disk', 'Result'), rows

    def run(self, parsed_args: argparse.Namespace) -> int:
        return super().run(parsed_args) or int(self._failed)
