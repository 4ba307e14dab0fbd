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

"""How long PowerVM may take to copy disks: pure functions.

A copy is made inside of one update of the pool, and a large disk takes hours:
18 hours were reported for 2 TB. So the time limit of an update grows with the
bytes that it copies. Whether the server is alive is found out in another way,
see :mod:`~pvm_imagecache.drivers.rest_liveness`.
"""

from typing import Final

from oslo_utils import units

from pvm_imagecache import platform_facts

#: Bytes per second of the slowest copy that is expected while nothing was
#: measured: a fourth of the slowest one that was reported.
SLOWEST_RATE: Final = 8 * units.Mi
#: A copy may be slower than the measured rate by this factor: other copies
#: and the instances of the host use the same storage.
SLACK: Final = 4
#: Seconds that an update with copies may take at least, as in pypowervm.
LEAST_LIMIT: Final = 3600.0
#: Seconds that an update may take at most, whatever was measured: seven days,
#: in which the slowest copy that was reported copies 18 TiB.
MOST_LIMIT: Final = 7 * 24 * 3600.0


def time_limit(
    size: int, rate: int | None, least: float = LEAST_LIMIT
) -> float:
    """Return how long an update with copies may take.

    :param size: bytes that it copies in all: copies may run one after
        another.
    :param rate: bytes per second of one copy, as it was measured; None if it
        is unknown. Only rates that storage can have are believed, see
        :func:`~pvm_imagecache.platform_facts.believed_rate`.
    :param least: seconds, whatever the size is.
    :returns: seconds; no more than :data:`MOST_LIMIT`, unless ``least`` is.
    """
    return max(least, min(MOST_LIMIT, size / _slowest(rate)))


def size_in(limit: float, rate: int | None) -> int:
    """Return how many bytes one update can copy within a time limit.

    :param limit: seconds.
    :param rate: as for :func:`time_limit`.
    :returns: bytes.
    """
    return int(limit * _slowest(rate))


def _slowest(rate: int | None) -> float:
    if rate is None:
        return SLOWEST_RATE
    return platform_facts.believed_rate(rate) / SLACK
