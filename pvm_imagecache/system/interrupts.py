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

"""Delay Ctrl-C and similar signals until it is safe to stop.

A request that creates a disk must not be interrupted: it would be unknown
whether the disk will appear. Code declares with :func:`deferred` where it
cannot be interrupted, and with :func:`allowed` where it can be after all.

Commands call :func:`install`; a signal then takes effect at the end of the
block. In a process that does not call it, such as nova-compute, nothing in
this module has an effect.
"""

from collections.abc import Iterator
import contextlib
import signal
import sys
import threading
import types
from typing import Final

from pvm_imagecache.system import terminal

#: The signals that are handled.
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: The signal with this number in a row takes effect anywhere.
_FORCED_AT: Final = 3


class _State:
    """State of the main thread, in which Python handles signals."""

    deferred = False
    pending: int | None = None
    last: int = signal.SIGINT
    received = 0


def install(*, deferred: bool = False) -> None:
    """Handle the signals of this process here. Call it in the main thread.

    :param deferred: whether interrupts are deferred from now on, except in
        blocks of :func:`allowed`.
    """
    _State.received, _State.pending = 0, None
    _State.deferred = deferred
    sys.unraisablehook = _raise_again
    for number in SIGNALS:
        signal.signal(number, _handle)


def ignore() -> None:
    """Ignore the signals from now on, because the process is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _State.deferred = False


def check() -> None:
    """Raise a pending interrupt now, unless interrupts are deferred.

    For loops that would not notice it otherwise. Has no effect outside the
    main thread.

    :raises KeyboardInterrupt: if SIGINT is pending.
    :raises SystemExit: if another signal is pending.
    """
    if _is_main():
        _deliver()


def is_pending() -> bool:
    """Check if an interrupt waits for the end of a block.

    :returns: True if one does.
    """
    return _State.pending is not None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delay interrupts until the end of the block.

    An interrupt is raised after the block, unless the block itself raised an
    error: then it stays pending. The third signal takes effect immediately.

    :raises KeyboardInterrupt: if SIGINT arrived during the block.
    :raises SystemExit: if another signal arrived during the block.
    """
    with _switched(True):
        yield


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Allow interrupts inside a block in which they are deferred.

    :raises KeyboardInterrupt: if SIGINT is pending, or when it arrives.
    :raises SystemExit: the same for another signal.
    """
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
    _State.received += 1
    if _State.received >= _FORCED_AT:
        _State.pending = None
        _raise(number)
    elif _State.received > 1:
        terminal.write(
            '\nCleaning up. Press Ctrl-C again to quit now; run "verify" '
            'afterwards.'
        )
    elif _State.deferred:
        _State.pending = number
        terminal.write(
            '\nInterrupted: waiting for the running copy, then cleaning up. '
            'Ctrl-C twice more to quit at once.'
        )
    else:
        _raise(number)


def _raise_again(unraisable: 'sys.UnraisableHookArgs') -> None:
    """Raise an interrupt that Python ignored in ``__del__`` at next check."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt | SystemExit):
        _State.pending = _State.last
    else:
        sys.__unraisablehook__(unraisable)


def _raise(number: int) -> None:
    _State.last = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
