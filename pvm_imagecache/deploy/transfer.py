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

"""One stream in, one or several disks out, each written by its own thread.

The slowest disk sets the pace: pieces wait in short queues, so memory is
flat in the size of an image. A disk that fails, or takes nothing for too
long, is left behind, and the others go on. What the disks are, and what a
failed one means, is for the caller to know.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import threading
import time
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import exceptions
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: Pieces that may wait for one disk.
QUEUE_LENGTH: Final = 8
_PROGRESS_INTERVAL: Final = 0.5

#: Called with the bytes that every disk still being written has been given.
Progress = Callable[[int], None]


@dataclasses.dataclass
class Destination:
    """One of the disks that a stream is written to.

    :ivar what: what it is, for messages.
    :ivar write: writes all pieces of an iterable to the disk. It runs in a
        thread of its own and must take an error out of the iterable for
        what it is: the end of the attempt, not the end of the data.
    :ivar error: why it failed; None while, and if, it did not.
    """

    what: str
    write: Callable[[Iterator[bytes]], None]
    error: Exception | None = None


def write_to_all(
    pieces: Iterable[bytes],
    destinations: Sequence[Destination],
    stall_timeout: float,
    progress: Progress | None = None,
) -> None:
    """Write a stream to all destinations; return when all have ended.

    A destination that fails has its ``error`` set. The call raises only if
    the stream itself fails: then every write is aborted and every
    destination has an error too. If all destinations have failed, the rest
    of the stream is not read.

    :param stall_timeout: seconds for which a destination may take nothing.
    :param progress: called about twice a second.
    """
    running: list[_Writer] = []
    try:
        for destination in destinations:
            running.append(_Writer(destination, stall_timeout))
        with interrupts.allowed():
            _feed(pieces, running, progress)
    except BaseException as error:
        for writer in running:
            writer.break_off(error)
        raise
    else:
        for writer in running:
            writer.finish()
    finally:
        for writer in running:
            writer.join()


def _feed(
    pieces: Iterable[bytes],
    running: list['_Writer'],
    progress: Progress | None,
) -> None:
    given = 0
    told_at = time.monotonic()
    for piece in pieces:
        for writer in running:
            writer.put(piece)
        if not any(writer.alive for writer in running):
            return
        given += len(piece)
        if progress and time.monotonic() - told_at >= _PROGRESS_INTERVAL:
            progress(given)
            told_at = time.monotonic()
    if progress:
        progress(given)


class _Writer:
    """The thread that writes one destination, and the queue before it."""

    def __init__(self, destination: Destination, stall_timeout: float) -> None:
        self._destination = destination
        self._stall_timeout = stall_timeout
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._at_end = False
        self._broken_by: BaseException | None = None
        self._ended = False
        self._abandoned = False
        self._thread = threading.Thread(
            target=self._run,
            name=f'pvm_imagecache-{destination.what}',
            daemon=True,
        )
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it makes sense to give it more."""
        return self._destination.error is None

    def put(self, piece: bytes) -> None:
        """Give it a piece, waiting for room for as long as it may stall."""
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._ended or len(self._waiting) < QUEUE_LENGTH,
                self._stall_timeout,
            )
            if not room:
                self._leave_behind()
            if self._ended or not self.alive:
                return
            self._waiting.append(piece)
            self._changed.notify_all()

    def finish(self) -> None:
        """The stream is at its end, and all of it is good."""
        with self._changed:
            self._at_end = True
            self._changed.notify_all()

    def break_off(self, error: BaseException) -> None:
        """Make the write fail: what has come must not be taken as whole."""
        with self._changed:
            if self._broken_by is None:
                self._broken_by = error
            self._waiting.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the disk is written, or will not be.

        The end of a write is bounded by the time-outs of its requests. One
        that was left behind is not waited for: its thread ends when its
        request does.
        """
        if not self._abandoned:
            self._thread.join()

    def _leave_behind(self) -> None:
        error = exceptions.TransferStalled(
            what=self._destination.what, seconds=self._stall_timeout
        )
        LOG.warning('%s', error)
        self._destination.error = error
        self._abandoned = True
        self.break_off(error)

    def _run(self) -> None:
        try:
            self._destination.write(self._pieces())
            if not self._delivered():
                raise exceptions.TransferError(
                    what=f'Writing {self._destination.what}',
                    reason='it ended before all data was taken',
                )
        except BaseException as error:
            # A thread may also be told to exit: that is no success.
            if self._destination.error is None:
                self._destination.error = (
                    error
                    if isinstance(error, Exception)
                    else exceptions.TransferError(
                        what=f'Writing {self._destination.what}',
                        reason=type(error).__name__,
                    )
                )
            LOG.debug(
                'Writing %s ended early: %s', self._destination.what, error
            )
        finally:
            with self._changed:
                self._ended = True
                self._waiting.clear()
                self._changed.notify_all()

    def _delivered(self) -> bool:
        with self._changed:
            return (
                self._at_end
                and not self._waiting
                and (self._broken_by is None)
            )

    def _pieces(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._waiting
                        or self._at_end
                        or self._broken_by is not None
                    )
                )
                if self._broken_by is not None:
                    raise exceptions.TransferAborted(
                        what=self._destination.what, reason=self._broken_by
                    ) from self._broken_by
                if not self._waiting:
                    return
                piece = self._waiting.pop(0)
                self._changed.notify_all()
            yield piece
