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

"""Rates for copies and uploads.

Each transfer has a clock of its own and shares one with all others of its
kind: bytes spent move a due time on, and the transfer sleeps until then.
Sleeping to a due time instead of for a duration keeps the rate exact however
late the scheduler wakes the thread.
"""

from __future__ import annotations

import collections.abc
import threading
import time

Rate = collections.abc.Callable[[], int]

# A transfer that was held up (by a slow disk, not by its rate) may catch up
# this many seconds, so that hitches do not lower the rate.
_CREDIT = 2.0
# Shorter sleeps are saved up: they would cost more than they pace.
_SHORTEST_SLEEP = 0.002


class Stopped(Exception):
    """The simulator is being stopped; the transfer ends where it is."""


class Clock:
    """When the bytes spent so far are due at some rate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due = 0.0

    def start(self) -> None:
        """A transfer begins: time that passed idle is no credit for it."""
        with self._lock:
            self._due = max(self._due, time.monotonic())

    def spend(self, size: int, rate: int) -> float:
        """Spend bytes at a rate (bytes/s); the monotonic time they are due."""
        if rate <= 0:
            return 0.0
        with self._lock:
            start = max(self._due, time.monotonic() - _CREDIT)
            self._due = start + size / rate
            return self._due


class Pace:
    """The rates of one transfer: its own and that of all together."""

    def __init__(
        self, own: Rate, total: Rate, shared: Clock, stop: threading.Event
    ) -> None:
        self._own_rate = own
        self._total_rate = total
        self._own = Clock()
        self._shared = shared
        self._stop = stop
        self._own.start()
        shared.start()

    def spent(self, size: int) -> None:
        """Account for bytes moved; sleeps where the rates ask for it.

        :raises Stopped: when the simulator is being stopped.
        """
        if self._stop.is_set():
            raise Stopped()
        due = max(
            self._own.spend(size, self._own_rate()),
            self._shared.spend(size, self._total_rate()),
        )
        if not due:
            return
        wait = due - time.monotonic()
        if wait >= _SHORTEST_SLEEP and self._stop.wait(wait):
            raise Stopped()
