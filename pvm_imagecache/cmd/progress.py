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

"""Progress of transfers: a line that is updated, or plain lines."""

import collections
import shutil
import sys
import time
from typing import Final

from pvm_imagecache import text
from pvm_imagecache.cmd import wait_notice
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import terminal

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
#: Seconds over which a rate is measured: at most, and at least.
_RATE_WINDOW: Final = 15.0
_LEAST_WINDOW: Final = 1.0


class Reporter:
    """Prints the progress of a transfer to the standard error.

    :param what: the object of the transfer, at the start of each line.
    :param quiet: print nothing.
    """

    def __init__(self, what: str, quiet: bool = False) -> None:
        self._what = text.printable(what)
        self._quiet = quiet
        self._bar = sys.stderr.isatty()
        self._step = ''
        self._printed_at = 0.0
        self._open_line = False
        #: Time and bytes done, oldest first.
        self._samples: collections.deque[tuple[float, int]] = (
            collections.deque()
        )

    def __call__(self, step: str, done: int, total: int) -> None:
        """Report progress. The progress callback of an ImageManager.

        :param step: 'fetch', 'copy', 'wait', or a step of a plugin.
        :param done: bytes that were transferred.
        :param total: bytes to transfer.
        :raises KeyboardInterrupt: if an interrupt is pending.
        """
        interrupts.check()
        if self._quiet:
            return
        now = time.monotonic()
        if step != self._step:
            self._step, self._printed_at = step, 0.0
            self._samples.clear()
        elif step == 'copy':
            return
        self._note(now, done)
        interval = _BAR_INTERVAL if self._bar else _LINE_INTERVAL
        if done < total and now - self._printed_at < interval:
            return
        self._printed_at = now
        self._print_line(self._line(done, total))

    def close(self) -> None:
        """End the line that is updated."""
        if self._open_line:
            self._open_line = False
            terminal.write('')

    def _note(self, now: float, done: int) -> None:
        """Add a sample, and drop those that are too old for the rate."""
        while (
            len(self._samples) > 1
            and now - self._samples[1][0] >= _RATE_WINDOW
        ):
            self._samples.popleft()
        self._samples.append((now, done))

    def _rate(self) -> float:
        """Return the current rate in bytes per second; 0 if unknown.

        Bytes before the first sample do not count: they were buffered.
        """
        (began, at_first), (ended, at_last) = (
            self._samples[0],
            self._samples[-1],
        )
        if ended - began < _LEAST_WINDOW:
            return 0.0
        return (at_last - at_first) / (ended - began)

    def _print_line(self, line: str) -> None:
        wait_notice.note_output()
        if self._bar:
            # A line that is longer than the terminal cannot be updated.
            self._open_line = True
            terminal.write(f'\r\033[K{line[: _columns()]}', end='')
        else:
            terminal.write(line)

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
        """Return what is transferred, shortened so that the line fits."""
        room = max(_columns() - others, _LEAST_WHAT)
        if not self._bar or len(self._what) <= room:
            return self._what
        return f'{self._what[: room - 3]}...'

    def _bar_of(self, part: float, taken: int) -> str:
        """Return a bar for the rest of the line; '' if it is too short."""
        width = min(_columns() - taken - len(' []'), _BAR_WIDTH)
        if not self._bar or width < _LEAST_BAR_WIDTH:
            return ''
        filled = int(part * width)
        return f' [{"#" * filled}{"." * (width - filled)}]'


def _columns() -> int:
    """Return the width of the terminal, without the last column."""
    return shutil.get_terminal_size().columns - 1
