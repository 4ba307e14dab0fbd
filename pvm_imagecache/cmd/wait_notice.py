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

"""Notices on the standard error while a command waits for another system.

PowerVM may take minutes to copy a disk, and a service that hangs is given up
only after its time-out. Meanwhile a notice says what the command waits
for, and how long it has been running. The code that waits declares what it
waits for: see :mod:`pvm_imagecache.system.waiting`.
"""

import threading
import time
from typing import Final

from pvm_imagecache import text
from pvm_imagecache.system import terminal
from pvm_imagecache.system import waiting

#: Seconds without output before the first notice. The interval doubles with
#: each notice, up to the longest.
_FIRST: Final = 10.0
_LONGEST: Final = 60.0


class _State:
    """State of the process, which has one terminal."""

    watch: '_Watch | None' = None
    last_output = 0.0


def start() -> None:
    """Print notices while the current thread waits."""
    stop()
    note_output()
    _State.watch = _Watch(threading.get_ident())
    _State.watch.start()


def stop() -> None:
    """Print no more notices."""
    if _State.watch is not None:
        _State.watch.end()
        _State.watch = None


def note_output() -> None:
    """Postpone the next notice, because something else was printed."""
    _State.last_output = time.monotonic()


class _Watch(threading.Thread):
    """The thread that prints the notices.

    :param watched: identifier of the thread that is watched.
    """

    def __init__(self, watched: int) -> None:
        super().__init__(name='pvm_imagecache-waiting', daemon=True)
        self._watched = watched
        self._began = time.monotonic()
        self._ended = threading.Event()
        waiting.watch(watched)

    def end(self) -> None:
        """Print nothing more."""
        self._ended.set()
        waiting.unwatch(self._watched)

    def run(self) -> None:
        """Print a notice whenever nothing was printed for an interval."""
        interval = _FIRST
        while not self._ended.wait(
            _State.last_output + interval - time.monotonic()
        ):
            if time.monotonic() < _State.last_output + interval:
                # Something else was printed meanwhile.
                interval = _FIRST
                continue
            elapsed = time.monotonic() - self._began
            message = notice(waiting.current(self._watched), elapsed)
            if message and not self._ended.is_set():
                terminal.write(message)
            note_output()
            interval = min(2 * interval, _LONGEST)


def notice(what: str | None, elapsed: float) -> str:
    """Return the text of a notice.

    :param what: what the command waits for; None if that was not declared.
    :param elapsed: seconds since the command started.
    :returns: the notice; '' if the wait is not to be reported.
    """
    if what == waiting.NOT_REPORTED:
        return ''
    running = f'({text.duration(round(elapsed))} elapsed)'
    return f'Waiting for {what} {running}' if what else f'Working {running}'
