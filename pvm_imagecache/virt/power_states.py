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

"""Translate states of partitions into power states of nova."""

from typing import Final

from nova.compute import power_state
from pypowervm.wrappers import base_partition as pvm_partition

_State = pvm_partition.LPARState

UNKNOWN: Final[int] = power_state.NOSTATE

_STATES: Final[dict[str, int]] = {
    _State.MIGRATING_RUNNING: power_state.RUNNING,
    _State.OPEN_FIRMWARE: power_state.RUNNING,
    _State.RESUMING: power_state.RUNNING,
    _State.RUNNING: power_state.RUNNING,
    _State.SHUTTING_DOWN: power_state.RUNNING,
    _State.STARTING: power_state.RUNNING,
    _State.SUSPENDING: power_state.RUNNING,
    _State.MIGRATING_NOT_ACTIVE: power_state.SHUTDOWN,
    _State.NOT_ACTIVATED: power_state.SHUTDOWN,
    _State.SUSPENDED: power_state.SUSPENDED,
    _State.ERROR: power_state.CRASHED,
}


def of(partition_state: str) -> int:
    """Return the power state of a partition.

    :param partition_state: one of
        ``pypowervm.wrappers.base_partition.LPARState``.
    :returns: one of ``nova.compute.power_state``; :data:`UNKNOWN` for a
        state without equivalent.
    """
    return _STATES.get(partition_state, UNKNOWN)
