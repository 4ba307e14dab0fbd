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


"""The uptime of the host: a clock that cannot be set.

Linux counts it while the host is suspended, too; it starts at 0 with each
boot.
"""

import functools
import time
from typing import Final

#: Where Linux reports the ID of the boot.
BOOT_ID_PATH: Final = '/proc/sys/kernel/random/boot_id'


@functools.cache
def boot() -> str:
    """Return the ID of this boot of the host.

    :returns: the ID; '' if the system has none.
    """
    try:
        with open(BOOT_ID_PATH, encoding='ascii') as file:
            return file.read().strip()
    except OSError:
        return ''


def uptime() -> float:
    """Return the uptime of the host.

    :returns: seconds since the host was booted.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
