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

"""Progress of long work: a line that renews itself, or plain lines."""

import collections
import contextlib
import shutil
import sys
import time
from typing import Final

from pvm_imagecache import text
from pvm_imagecache.cmd import wait_notice
from pvm_imagecache.system import interrupts

_STEPS: Final = {
    'fetch': 'Fetching',
    'copy': 'Copying on the host',
    'wait': 'Waiting for another process',
}
_BAR_WIDTH: Final = 24
_LEAST_BAR_WIDTH: Final = 5
_LEAST_WHAT: Final = 12
_BAR_INTERVAL: Final = 0.2
_LINE_INTERVAL: Final = 10.0
#: Seconds: a rate is that of the last so many, and of no fewer than these.
_RATE_WINDOW: Final = 15.0
_LEAST_WINDOW: Final = 1.0


class Reporter:
    """Tells on stderr how far a transfer is.

    :param what: what is being done, at the beginning of each line.
    """

    def __init__(self, what: str, quiet: bool = False) -> None:
        self._what = text.printable(what)
        self._quiet = quiet
        self._bar = sys.stderr.isatty()
        self._step = ''
        self._told_at = 0.0
        self._open_line = False
        #: When how many bytes had been moved.
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def __call__(self, step: str, done: int, total: int) -> None:
        """The progress callback of an ImageManager; bytes."""
        interrupts.check()
        if self._quiet:
            return
        now = time.monotonic()
        if step != self._step:
            self._step, self._told_at = step, 0.0
            self._seen.clear()
        elif step == 'copy':
            return
        self._note(now, done)
        interval = _BAR_INTERVAL if self._bar else _LINE_INTERVAL
        if done < total and now - self._told_at < interval:
            return
        self._told_at = now
        self._tell(self._line(done, total))

    def close(self) -> None:
        """End the line that is being renewed."""
        if self._open_line:
            self._open_line = False
            self._print('\n')

    def _note(self, now: float, done: int) -> None:
        """Remember how far it was, for as long as that makes a rate."""
        while len(self._seen) > 1 and now - self._seen[1][0] >= _RATE_WINDOW:
            self._seen.popleft()
        self._seen.append((now, done))

    def _rate(self) -> float:
        """Bytes per second of late; 0 where that is not known yet.

        What came before the first look came from a buffer, who knows when.
        """
        (began, at_first), (ended, at_last) = self._seen[0], self._seen[-1]
        if ended - began < _LEAST_WINDOW:
            return 0.0
        return (at_last - at_first) / (ended - began)

    def _tell(self, line: str) -> None:
        wait_notice.said()
        if self._bar:
            # A line that is longer than the terminal can't be renewed.
            self._open_line = True
            self._print(f'\r\033[K{line[: _columns()]}')
        else:
            self._print(f'{line}\n')

    @staticmethod
    def _print(text: str) -> None:
        # The work goes on if nobody can be told.
        with contextlib.suppress(OSError):
            print(text, end='', file=sys.stderr, flush=True)

    def _line(self, done: int, total: int) -> str:
        step = f': {_STEPS.get(self._step, self._step)}'
        if self._step == 'copy':
            return self._what + step
        part = done / total if total else 1.0
        how_far = f' {part:.0%} of {text.size(total)}'
        rate = self._rate()
        if rate > 0:
            how_far += f', {text.size(int(rate))}/s'
            if done < total:
                left = round((total - done) / rate)
                how_far += f', {text.duration(left)} left'
        what = self._shortened(len(step + how_far)) + step
        return f'{what}{self._bar_of(part, len(what + how_far))}{how_far}'

    def _shortened(self, others: int) -> str:
        """What is being done, so that all else has room on the line."""
        room = max(_columns() - others, _LEAST_WHAT)
        if not self._bar or len(self._what) <= room:
            return self._what
        return f'{self._what[: room - 3]}...'

    def _bar_of(self, part: float, taken: int) -> str:
        """A bar in the room that is left on the line, if there is any."""
        width = min(_columns() - taken - len(' []'), _BAR_WIDTH)
        if not self._bar or width < _LEAST_BAR_WIDTH:
            return ''
        filled = int(part * width)
        return f' [{"#" * filled}{"." * (width - filled)}]'


def _columns() -> int:
    """Characters of a line of the terminal, less the cursor's."""
    return shutil.get_terminal_size().columns - 1
