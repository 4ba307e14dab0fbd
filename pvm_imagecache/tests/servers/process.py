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

"""How tests end their servers, which are processes of their own."""

import os
import signal
import subprocess
import sys
import types
from typing import Final
import weakref

_TIMEOUT = 15.0
#: Servers that end when their standard input does.
_WATCHING: Final[weakref.WeakSet[subprocess.Popen[bytes]]] = weakref.WeakSet()


def end_with_us(
    process: subprocess.Popen[bytes],
) -> subprocess.Popen[bytes]:
    """Have a server end when this process does, however it ends.

    Child processes that are forked later, and outlive this one, do not keep
    the server running.

    :param process: a server that ends at the end of its standard input,
        which must be a pipe.
    :returns: the same process.
    """
    _WATCHING.add(process)
    return process


def _close_in_child() -> None:
    for process in _WATCHING:
        if process.stdin is not None:
            process.stdin.close()


os.register_at_fork(after_in_child=_close_in_child)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server; returns when it is gone.

    :param process: whose standard input is a pipe.
    """
    assert process.stdin is not None
    process.stdin.close()
    process.terminate()
    try:
        process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def exit_on_sigterm() -> None:
    """Let SIGTERM end this program as an exit does: servers are stopped.

    Further ones are ignored: timeout(1) sends two, and the second one would
    break off what the first one has begun.
    """
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: types.FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
