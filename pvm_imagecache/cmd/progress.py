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

import shutil
import sys
import time
from typing import Final

from pvm_imagecache.cmd import formatting

_STEPS: Final = {
    'fetch': 'Fetching',
    'copy': 'Copying on the host',
    'wait': 'Waiting for the fetch by another process',
}
_BAR_WIDTH: Final = 24
_BAR_INTERVAL: Final = 0.2
_LINE_INTERVAL: Final = 10.0


class Reporter:
    """Tells on stderr how far a transfer is.

    :param what: what is being done, at the beginning of each line.
    """

    def __init__(self, what: str, quiet: bool = False) -> None:
        self._what = what
        self._quiet = quiet
        self._bar = sys.stderr.isatty()
        self._step = ''
        self._started = self._told_at = 0.0
        self._open_line = False

    def __call__(self, step: str, done: int, total: int) -> None:
        """The progress callback of an ImageManager; bytes."""
        if self._quiet:
            return
        now = time.monotonic()
        if step != self._step:
            self._step, self._started, self._told_at = step, now, 0.0
        elif step == 'copy':
            return
        interval = _BAR_INTERVAL if self._bar else _LINE_INTERVAL
        if done < total and now - self._told_at < interval:
            return
        self._told_at = now
        self._tell(self._line(done, total, now - self._started))

    def close(self) -> None:
        """End the line that is being renewed."""
        if self._open_line:
            print(file=sys.stderr, flush=True)
            self._open_line = False

    def _tell(self, line: str) -> None:
        if self._bar:
            # A line that is longer than the terminal can't be renewed.
            width = shutil.get_terminal_size().columns - 1
            print(f'\r\033[K{line[:width]}', end='', file=sys.stderr,
                  flush=True)
            self._open_line = True
        else:
            print(line, file=sys.stderr, flush=True)

    def _line(self, done: int, total: int, seconds: float) -> str:
        line = f'{self._what}: {_STEPS.get(self._step, self._step)}'
        if self._step == 'copy':
            return line
        part = done / total if total else 1.0
        if self._bar:
            filled = int(part * _BAR_WIDTH)
            line += f' [{"#" * filled}{"." * (_BAR_WIDTH - filled)}]'
        line += (f' {part:.0%} of {formatting.size(total)}')
        if self._step == 'fetch' and done and seconds > 0:
            rate = done / seconds
            line += (f', {formatting.size(int(rate))}/s, '
                     f'{(total - done) / rate:.0f} s left')
        return line
