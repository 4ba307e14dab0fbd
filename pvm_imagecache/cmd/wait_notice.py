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

"""A word now and then while a command waits for somebody.

PowerVM may take minutes to copy a disk, and a service that hangs is given
up only after its time-out. Whoever looks at the terminal meanwhile is told
for whom is waited, and how long already.
"""

import contextlib
import sys
import threading
import time
import types
from typing import Final

from pvm_imagecache import text

#: Seconds of silence before the first word; each later one comes after
#: twice as long, up to the longest.
_FIRST: Final = 10.0
_LONGEST: Final = 60.0
#: By the module that is at it, for whom is waited. The first one counts.
_WHOM: Final = (
    ('pvm_imagecache.cmd.confirmation', ''),
    ('pvm_imagecache.system.locks', 'another process'),
    ('pvm_imagecache.cmd.keystone', 'Keystone'),
    ('pvm_imagecache.glance', 'Glance'),
    ('pvm_imagecache.drivers', 'PowerVM'),
)


class _State:
    """Of the process, which has one terminal."""

    watch: '_Watch | None' = None
    said_at = 0.0


def start() -> None:
    """Have a word said from now on, where nothing else is."""
    stop()
    said()
    _State.watch = _Watch(threading.current_thread())
    _State.watch.start()


def stop() -> None:
    """No more words."""
    if _State.watch is not None:
        _State.watch.end()
        _State.watch = None


def said() -> None:
    """Somebody else has said something."""
    _State.said_at = time.monotonic()


class _Watch(threading.Thread):
    """Looks at what a thread does.

    :param watched: that thread.
    """

    def __init__(self, watched: threading.Thread) -> None:
        super().__init__(name='pvm_imagecache-waiting', daemon=True)
        self._watched = watched
        self._began = time.monotonic()
        self._ended = threading.Event()

    def end(self) -> None:
        """Say nothing more."""
        self._ended.set()

    def run(self) -> None:
        patience = _FIRST
        while not self._ended.wait(
            _State.said_at + patience - time.monotonic()
        ):
            if time.monotonic() < _State.said_at + patience:
                # Others have had their say.
                patience = _FIRST
                continue
            whom = for_whom(
                sys._current_frames().get(self._watched.ident or 0)
            )
            if whom:
                self._say(whom)
            said()
            patience = min(2 * patience, _LONGEST)

    def _say(self, whom: str) -> None:
        so_far = text.duration(round(time.monotonic() - self._began))
        with contextlib.suppress(OSError, ValueError):
            print(
                f'Still waiting for {whom}, {so_far} since the beginning.',
                file=sys.stderr,
                flush=True,
            )


def for_whom(frame: types.FrameType | None) -> str:
    """For whom a thread waits, by what it is at; '' where it asks a user."""
    modules = []
    while frame is not None:
        modules.append(str(frame.f_globals.get('__name__')))
        frame = frame.f_back
    for module, whom in _WHOM:
        if any(f'{each}.'.startswith(f'{module}.') for each in modules):
            return whom
    return 'the work to end'
