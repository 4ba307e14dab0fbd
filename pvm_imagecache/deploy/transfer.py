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

The slowest disk sets the pace: pieces wait in short queues, so memory does
not grow with the size of the image. A disk that fails, or accepts no data for
too long, is abandoned, and the others continue. The caller decides what a
failed disk means.
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
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

#: Pieces that wait for one disk at most.
QUEUE_LENGTH: Final = 8
#: Bytes of a piece of zeros.
_ZEROS: Final = 1 << 20
_PROGRESS_INTERVAL: Final = 0.5

#: Called with the bytes that were given to each disk so far.
Progress = Callable[[int], None]


@dataclasses.dataclass
class Destination:
    """A disk that a stream is written to.

    :ivar what: its name in messages.
    :ivar write: writes all pieces of an iterable to the disk. It runs in a
        thread of its own. An exception of the iterable aborts the write; it
        must not be taken for the end of the data.
    :ivar error: why the write failed; None while it runs, or if it
        succeeded.
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

    A destination that fails has its ``error`` set. If all destinations have
    failed, the rest of the stream is not read.

    :param pieces: the stream.
    :param destinations: where it is written to.
    :param stall_timeout: seconds for which a destination may accept nothing.
    :param progress: is called about twice a second, if given.
    :raises Exception: what the stream raises. Every write is aborted then,
        and every destination has an error too.
    """
    running: list[_Writer] = []
    try:
        for destination in destinations:
            running.append(_Writer(destination, stall_timeout))
        with interrupts.allowed():
            _feed(pieces, running, progress)
    except BaseException as error:
        for writer in running:
            writer.abort(error)
        raise
    else:
        for writer in running:
            writer.finish()
    finally:
        for writer in running:
            writer.join()


def with_zeros(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the pieces of a stream, and zeros after them.

    :param pieces: the stream; its errors are raised.
    :param size: bytes to yield in all; no zeros if the stream has as many.
    :returns: the pieces.
    """
    left = size
    for piece in pieces:
        left -= len(piece)
        yield piece
    zeros = bytes(_ZEROS)
    while left > 0:
        yield zeros[:left]
        left -= _ZEROS


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
    """The thread that writes one destination, and its queue."""

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
        """Whether it accepts more data."""
        return self._destination.error is None

    @waiting.on('PowerVM')
    def put(self, piece: bytes) -> None:
        """Queue a piece; wait for space in the queue until the time limit."""
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._ended or len(self._waiting) < QUEUE_LENGTH,
                self._stall_timeout,
            )
            if not room:
                self._abandon()
            if self._ended or not self.alive:
                return
            self._waiting.append(piece)
            self._changed.notify_all()

    def finish(self) -> None:
        """Note the end of the stream, which was verified."""
        with self._changed:
            self._at_end = True
            self._changed.notify_all()

    def abort(self, error: BaseException) -> None:
        """Abort the write, so that no partial data is taken for complete."""
        with self._changed:
            if self._broken_by is None:
                self._broken_by = error
            self._waiting.clear()
            self._changed.notify_all()

    @waiting.on('PowerVM')
    def join(self) -> None:
        """Wait for the end of the write.

        The time limits of its requests bound it. An abandoned write is not
        waited for: its thread ends when its request does.
        """
        if not self._abandoned:
            self._thread.join()

    def _abandon(self) -> None:
        error = exceptions.TransferStalled(
            what=self._destination.what, seconds=self._stall_timeout
        )
        LOG.warning('%s', error)
        self._destination.error = error
        self._abandoned = True
        self.abort(error)

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
