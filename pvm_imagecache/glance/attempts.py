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

"""How often, and when, an interrupted download is resumed."""

from collections.abc import Sequence
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.system import retry

#: Bytes after which an interrupted download has made progress, and the part
#: of the image that is enough if the image is small.
_PROGRESS: Final = 64 * 1024
_PROGRESS_PART: Final = 128


class Attempts:
    """Decides whether a download is resumed, and after which delay.

    Interruptions are not counted while the download makes progress. A few
    bytes at each attempt are no progress: such a download would never end.

    :param size: size of the image in bytes.
    :param delays: seconds to wait before each attempt without progress.
    """

    def __init__(self, size: int, delays: Sequence[float]) -> None:
        self._delays = delays
        self._enough = max(1, min(_PROGRESS, size // _PROGRESS_PART))
        self._failures = 0
        self._failures_from = 0

    def delay(
        self, received: int, error: exceptions.ImageError, *, no_more: bool
    ) -> float | None:
        """Return the delay before the next attempt.

        :param received: bytes that have arrived in all attempts.
        :param error: why the last attempt failed.
        :param no_more: whether the server sent all its data again, and has
            no more of it.
        :returns: seconds to wait, or None if the download has to be given
            up.
        """
        if not error.transient or no_more:
            return None
        if received - self._failures_from >= self._enough:
            self._failures, self._failures_from = 0, received
        if self._failures >= len(self._delays):
            return None
        delay = self._delays[self._failures]
        self._failures += 1
        return retry.delay_after(error, delay)
