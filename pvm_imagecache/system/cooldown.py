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

"""Times in which something is not tried again."""

import threading
import time


class Cooldown:
    """A time in which something is not tried again. Thread-safe.

    :param seconds: how long it lasts.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self._guard = threading.Lock()

    def begin(self) -> bool:
        """Begin the time, unless it runs.

        :returns: False if it runs, because of this or another thread.
        """
        now = time.monotonic()
        with self._guard:
            if self._end is not None and now < self._end:
                return False
            self._end = now + self._seconds
            return True

    def end(self) -> None:
        """End the time now."""
        with self._guard:
            self._end = None
