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

"""The minimum rate of a download.

A server that sends a byte now and then is never silent for long. Without a
minimum rate, its downloads would hold the lock of an image, and the deploy,
forever. Only the time is counted for which data is waited for: the disks may
be as slow as they are.
"""

from typing import Final

from pvm_imagecache.system import content

#: Seconds of waiting in which the mean rate is measured.
WINDOW: Final = 60.0


class TooSlow(Exception):
    """A download that is slower than the minimum rate.

    The parameters are kept as attributes.

    :param rate: measured, in bytes per second.
    :param minimum: in bytes per second.
    """

    def __init__(self, rate: float, minimum: float) -> None:
        super().__init__(f'{rate:.0f} bytes/s')
        self.rate = rate
        self.minimum = minimum


class Pace:
    """Measures the rate of one download, which may be resumed.

    :param minimum: bytes per second; 0 for no minimum.
    :param grace: seconds for which the first bytes of all resumed answers
        together may be waited for, without being counted.
    """

    def __init__(self, minimum: float, grace: float) -> None:
        self._minimum = minimum
        self._grace = grace
        self._count = 0
        self._seconds = 0.0

    def waited_for_resumption(self, seconds: float) -> None:
        """Count the wait for the first bytes of a resumed answer.

        :param seconds: of the wait.
        """
        granted = min(seconds, self._grace)
        self._grace -= granted
        self._seconds += seconds - granted

    def waited(self, seconds: float) -> None:
        """Count a wait while a part of the data is received.

        :param seconds: of the wait.
        :raises TooSlow: if the mean rate is less than the minimum, and the
            part should be complete by now.
        """
        self._seconds += seconds
        if self._minimum:
            part = content.PART_SIZE / self._minimum
            self._check(WINDOW + part)

    def received(self, count: int, seconds: float) -> None:
        """Count bytes.

        :param count: how many bytes have arrived.
        :param seconds: for which they were waited for.
        :raises TooSlow: if the mean rate of the last :data:`WINDOW` seconds
            of waiting, or a little more, is less than the minimum.
        """
        self._count += count
        self._seconds += seconds
        self._check(WINDOW)

    def _check(self, window: float) -> None:
        if self._seconds < window:
            return
        rate = self._count / self._seconds
        self._count, self._seconds = 0, 0.0
        if rate < self._minimum:
            raise TooSlow(rate, self._minimum)
