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

"""For how long the host has been up: a clock that nobody sets.

Linux counts it while the host sleeps, too; it begins anew with each boot.
"""

import functools
import time
from typing import Final

_BOOT_ID: Final = '/proc/sys/kernel/random/boot_id'


@functools.cache
def boot() -> str:
    """The id of this boot of the host; '' where the system has none."""
    try:
        with open(_BOOT_ID, encoding='ascii') as file:
            return file.read().strip()
    except OSError:
        return ''


def uptime() -> float:
    """Seconds since the host was booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
