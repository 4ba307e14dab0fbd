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

"""What jobs do: power partitions on and off, rescan a disk."""

from __future__ import annotations

import collections.abc

from pvm_imagecache.simulator import jobs
from pvm_imagecache.simulator import partitions


class Operations:
    """The operations of a host, for jobs.Jobs."""

    def __init__(
        self,
        all_partitions: partitions.Partitions,
        disk_exists: collections.abc.Callable[[str], bool],
    ) -> None:
        self._partitions = all_partitions
        self._disk_exists = disk_exists

    def table(self) -> dict[tuple[str, str], jobs.Operation]:
        return {
            ('LogicalPartition', 'PowerOn'): self._power_on,
            ('LogicalPartition', 'PowerOff'): self._power_off,
            ('LogicalPartition', 'CloseVterm'): self._close_terminal,
            ('VirtualIOServer', 'RescanVirtualDisk'): self._rescan,
        }

    def _power_on(
        self, target: str, parameters: jobs.Parameters
    ) -> jobs.Parameters:
        if self._partitions.get(target).running:
            raise jobs.JobFailed(
                {
                    'returnCode': '1',
                    'result': 'HSCL3681 The partition is already activated.',
                }
            )
        self._partitions.power(target, running=True)
        return {'returnCode': '0'}

    def _power_off(
        self, target: str, parameters: jobs.Parameters
    ) -> jobs.Parameters:
        if not self._partitions.get(target).running:
            raise jobs.JobFailed(
                {
                    'returnCode': '1',
                    'result': 'HSCL1558 The partition cannot be shut down '
                    'because it is not activated.',
                }
            )
        self._partitions.power(
            target, running=parameters.get('restart') == 'true'
        )
        return {'returnCode': '0'}

    def _close_terminal(
        self, target: str, parameters: jobs.Parameters
    ) -> jobs.Parameters:
        return {'returnCode': '0'}

    def _rescan(
        self, target: str, parameters: jobs.Parameters
    ) -> jobs.Parameters:
        if not self._disk_exists(parameters.get('VirtualDiskUDID', '')):
            raise jobs.JobFailed(
                {'RETURN_CODE': '-1', 'result': 'The disk does not exist.'}
            )
        return {'RETURN_CODE': '0'}
