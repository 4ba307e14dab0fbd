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

from nova.compute import power_state
from oslotest import base
from pypowervm.wrappers import base_partition as pvm_partition

from pvm_imagecache.virt import power_states


class PowerStatesTestCase(base.BaseTestCase):
    def test_each_state_has_a_power_state(self) -> None:
        state = pvm_partition.LPARState
        for wanted, given in (
            (power_state.RUNNING, state.RUNNING),
            (power_state.RUNNING, state.OPEN_FIRMWARE),
            (power_state.SHUTDOWN, state.NOT_ACTIVATED),
            (power_state.CRASHED, state.ERROR),
            (power_state.NOSTATE, state.UNKNOWN),
            (power_state.NOSTATE, 'something new'),
        ):
            self.assertEqual(wanted, power_states.of(given))
