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

"""Whose turn it is: updates of volume groups, and uploads."""

from __future__ import annotations

import collections.abc
import contextlib
import threading

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import pacing
from pvm_imagecache.simulator import settings as settings_module

# Seconds between looks at a limit that may have been changed.
_LOOK = 0.1


class Updates:
    """Updates that run, of one volume group at most one at a time."""

    def __init__(self, settings: settings_module.Settings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        # VIOS of each volume group with an update.
        self._running: dict[str, str] = {}

    @contextlib.contextmanager
    def queued(self, group: str, vios: str) -> collections.abc.Iterator[None]:
        """Wait for the update that runs, if any."""
        with self._changed:
            self._changed.wait_for(lambda: group not in self._running)
            self._running[group] = vios
        try:
            yield
        finally:
            self._end(group)

    @contextlib.contextmanager
    def set(self, group: str, vios: str) -> collections.abc.Iterator[None]:
        """Wait, or be refused, as it is set.

        :raises RestError: 412, or 500 for a busy VIOS.
        """
        ways = settings_module.ConcurrentUpdates
        with self._changed:
            way = self._settings.concurrent_updates
            if way == ways.REFUSED and group in self._running:
                raise errors.stale_etag()
            if way == ways.BUSY and vios in self._running.values():
                raise errors.vios_busy(vios)
            self._changed.wait_for(lambda: group not in self._running)
            self._running[group] = vios
        try:
            yield
        finally:
            self._end(group)

    def _end(self, group: str) -> None:
        with self._changed:
            del self._running[group]
            self._changed.notify_all()


class Uploads:
    """Uploads that run."""

    def __init__(
        self, settings: settings_module.Settings, stop: threading.Event
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._changed = threading.Condition()
        self._running = 0

    @contextlib.contextmanager
    def one(self) -> collections.abc.Iterator[None]:
        """Wait, or be refused, as it is set.

        :raises RestError: 503.
        :raises pacing.Stopped: when the simulator is being stopped.
        """
        with self._changed:
            while self._is_full():
                if (
                    self._settings.uploads_over_limit
                    == settings_module.OverLimit.REFUSED
                ):
                    raise errors.too_many_uploads(self._settings.upload_limit)
                self._changed.wait(_LOOK)
                if self._stop.is_set():
                    raise pacing.Stopped()
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def _is_full(self) -> bool:
        return 0 < self._settings.upload_limit <= self._running
