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

"""Ctrl-C, where it can't do harm.

A request that makes a disk must not be broken off in the middle: nobody
would know whether the disk will come. The work says where it can't be
interrupted; a command that has its signals handled here is then interrupted
a little later. Where nobody has them handled, as in nova-compute, all of
this does nothing.
"""

from collections.abc import Iterator
import contextlib
import signal
import sys
import threading
import types
from typing import Any
from typing import Final

from pvm_imagecache.system import terminal

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Who asks that often is not made to wait for the tidying up.
_INSISTENCE: Final = 3
_FIRST: Final = (
    '\nInterrupted: waiting for the running copy, then cleaning up. Ctrl-C '
    'twice more to quit at once.'
)
_SECOND: Final = (
    '\nCleaning up. Press Ctrl-C again to quit now; run "verify" afterwards.'
)


class _State:
    """Of the main thread, which is the one that gets signals."""

    deferred = False
    pending: int | None = None
    last: int = signal.SIGINT
    came = 0


def install() -> None:
    """Have signals handled here; called by commands, in the main thread."""
    _State.came, _State.pending = 0, None
    sys.unraisablehook = _swallowed
    for number in SIGNALS:
        signal.signal(number, _handle)


def ignore() -> None:
    """No more signals: all that is left to do is to leave."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def check() -> None:
    """Be interrupted now, if that is due; for work that repeats itself."""
    if _is_main():
        _deliver()


def is_pending() -> bool:
    """Whether one waits for the end of a block."""
    return _State.pending is not None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Have interrupts wait for the end of the block."""
    with _switched(True):
        yield


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Let them come again, inside of a block where they wait."""
    with _switched(False):
        check()
        yield


@contextlib.contextmanager
def _switched(value: bool) -> Iterator[None]:
    if not _is_main():
        yield
        return
    before, _State.deferred = _State.deferred, value
    try:
        yield
    finally:
        _State.deferred = before
    _deliver()


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _deliver() -> None:
    if _State.pending is not None and not _State.deferred:
        number, _State.pending = _State.pending, None
        _raise(number)


def _handle(number: int, frame: types.FrameType | None) -> None:
    _State.came += 1
    if _State.came >= _INSISTENCE:
        _State.pending = None
        _raise(number)
    elif _State.came > 1:
        terminal.write(_SECOND)
    elif _State.deferred:
        _State.pending = number
        terminal.write(_FIRST)
    else:
        _raise(number)


def _swallowed(found: Any) -> None:
    """Python lets no exception out of what tidies up an object: ours too.

    It comes again at the next opportunity.
    """
    if isinstance(found.exc_value, KeyboardInterrupt | SystemExit):
        _State.pending = _State.last
    else:
        sys.__unraisablehook__(found)


def _raise(number: int) -> None:
    _State.last = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
