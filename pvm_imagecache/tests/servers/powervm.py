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

"""Start the PowerVM simulator as a process of its own.

It ends with the process that started it, however that ends: programs that
kill and are killed leave none behind.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import time
import types
import typing

from pvm_imagecache.simulator import control as control_module
from pvm_imagecache.tests.servers import process as process_module

# How long it may take to start, seconds.
_START_TIMEOUT = 60.0


class PowerVMServerError(Exception):
    """The simulator did not start."""


class PowerVMServer:
    """A simulator that runs for the length of a ``with`` block.

    :param state_dir: where disks and state are kept.
    :param options: of its command line.
    """

    def __init__(
        self, state_dir: str | os.PathLike[str], *options: str
    ) -> None:
        self._state_dir = pathlib.Path(state_dir)
        self._options = options
        self._held = contextlib.ExitStack()

    def __enter__(self) -> typing.Self:
        ready = self._state_dir.with_name(f'{self._state_dir.name}-ready')
        with contextlib.ExitStack() as held:
            process = process_module.end_with_us(
                subprocess.Popen(
                    [
                        sys.executable,
                        '-m',
                        'pvm_imagecache.simulator',
                        '--state-dir',
                        str(self._state_dir),
                        '--ready-file',
                        str(ready),
                        '--watch-stdin',
                        *self._options,
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    # Ctrl-C is handled by the parent process.
                    start_new_session=True,
                )
            )
            held.callback(process_module.end, process)
            end = time.monotonic() + _START_TIMEOUT
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise PowerVMServerError('the simulator did not start')
                time.sleep(0.02)
            self.url = ready.read_text().strip()
            self._held = held.pop_all()
        self.port = int(self.url.rpartition(':')[2])
        self.control = control_module.Control(self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: types.TracebackType | None,
    ) -> None:
        self._held.close()


def file_entries(control: control_module.Control) -> int:
    """How many web/File entries there are, by what was asked for."""
    entries = 0
    for row in control.requests():
        done = (row['status'] or 0) // 100 == 2
        entries += row['type'] == 'File.create' and done
        entries -= row['type'] == 'File.delete' and done
    return entries
