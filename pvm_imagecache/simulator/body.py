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

"""Request bodies as they come off the socket.

Chunked bodies are decoded in the receive buffer itself, so that an upload is
written to disk without being copied in memory.
"""

from __future__ import annotations

import collections.abc
import io
import typing

# Received, and so written to disk, at most this many bytes at a time.
_BUFFER = 1 << 20
_MAX_LINE = 8192
_LARGEST_DOCUMENT = 64 << 20


class Headers(typing.Protocol):
    """What is needed of a request's headers; names in any case."""

    def get(self, name: str, /) -> str | None: ...

    def items(self) -> collections.abc.Iterable[tuple[str, str]]: ...


class Truncated(Exception):
    """The client's connection ended within the body."""


class Malformed(Exception):
    """The body is not framed as HTTP wants it."""


class Body:
    """One request's body; to be read once, with fill or read."""

    def __init__(self, stream: io.BufferedReader, headers: Headers) -> None:
        self._stream = stream
        self._chunked = (
            'chunked' in (headers.get('Transfer-Encoding') or '').lower()
        )
        try:
            self._left = int(headers.get('Content-Length') or 0)
        except ValueError:
            raise Malformed('bad Content-Length') from None
        self._framing = _ChunkFraming()
        self._done = not self._chunked and self._left <= 0
        self._buffer: bytearray | None = None
        self._buffered = True
        self._held: list[memoryview] = []
        self._trips: list[tuple[int, collections.abc.Callable[[], None]]] = []
        # Payload bytes handed out so far.
        self.received = 0

    @property
    def finished(self) -> bool:
        return self._done and not self._held

    def trip_after(
        self, size: int, action: collections.abc.Callable[[], None]
    ) -> None:
        """Call this before more than so many bytes are handed out."""
        self._trips.append((size, action))
        self._trips.sort(key=lambda trip: trip[0])

    def fill(self) -> list[memoryview]:
        """The next pieces of the payload, nothing at its end.

        The pieces are valid until the next call.
        """
        while True:
            while self._trips and self.received >= self._trips[0][0]:
                self._trips.pop(0)[1]()
            pieces = self._held or self._receive()
            self._held = []
            if self._trips:
                pieces, self._held = _split(
                    pieces, self._trips[0][0] - self.received
                )
            size = sum(map(len, pieces))
            self.received += size
            if size or (self._done and not self._held):
                return pieces

    def read(self, limit: int = _LARGEST_DOCUMENT) -> bytes:
        """The whole payload, which must be a document of sane size."""
        parts: list[bytes] = []
        while pieces := self.fill():
            parts.extend(map(bytes, pieces))
            if self.received > limit:
                raise Malformed('the document is too large')
        return b''.join(parts)

    def drain(self) -> None:
        """Read and forget what is left, without its trips."""
        self._trips.clear()
        while self.fill():
            pass

    def _receive(self) -> list[memoryview]:
        if self._done:
            return []
        if self._buffer is None:
            self._buffer = bytearray(
                _BUFFER if self._chunked else min(self._left, _BUFFER)
            )
        view = memoryview(self._buffer)
        if not self._chunked:
            view = view[: min(len(view), self._left)]
        size = self._read_into(view)
        if not size:
            raise Truncated()
        if not self._chunked:
            self._left -= size
            self._done = self._left == 0
            return [view[:size]]
        pieces = self._framing.feed(self._buffer, size)
        self._done = self._framing.done
        return pieces

    def _read_into(self, view: memoryview) -> int:
        """At most one system call; what has come already needs none."""
        if self._buffered:
            # What came with the headers: readinto1 would hand it out only
            # together with more, and wait for that.
            self._buffered = False
            early = self._stream.read1(len(view))
            view[: len(early)] = early
            return len(early)
        return self._stream.readinto1(view)


class _ChunkFraming:
    """Finds the payload of a chunked body in the buffers that arrive."""

    def __init__(self) -> None:
        self.done = False
        self._in_chunk = 0
        self._line = b''
        # After a chunk's data comes an empty line, after the last chunk
        # trailers until an empty line.
        self._after_data = False
        self._trailers = False

    def feed(self, buffer: bytearray, size: int) -> list[memoryview]:
        view = memoryview(buffer)
        pieces = []
        at = 0
        while at < size and not self.done:
            if self._in_chunk:
                end = min(at + self._in_chunk, size)
                pieces.append(view[at:end])
                self._in_chunk -= end - at
                self._after_data = not self._in_chunk
                at = end
            else:
                at = self._feed_line(buffer, at, size)
        return pieces

    def _feed_line(self, buffer: bytearray, at: int, size: int) -> int:
        end = buffer.find(b'\n', at, size)
        if end < 0:
            self._line += buffer[at:size]
            if len(self._line) > _MAX_LINE:
                raise Malformed('a chunk header is too long')
            return size
        line = (self._line + buffer[at:end]).strip()
        self._line = b''
        self._take_line(line)
        return end + 1

    def _take_line(self, line: bytes) -> None:
        if self._trailers:
            self.done = not line
        elif self._after_data:
            if line:
                raise Malformed('a chunk is longer than its header says')
            self._after_data = False
        else:
            try:
                self._in_chunk = int(line.partition(b';')[0], 16)
            except ValueError:
                raise Malformed('a chunk header is not a number') from None
            self._trailers = not self._in_chunk


def _split(
    pieces: list[memoryview], size: int
) -> tuple[list[memoryview], list[memoryview]]:
    """Pieces of this many bytes, and the rest."""
    first = []
    for index, piece in enumerate(pieces):
        if len(piece) > size:
            rest = pieces[index + 1 :]
            if size:
                first.append(piece[:size])
            return first, [piece[size:], *rest]
        first.append(piece)
        size -= len(piece)
    return first, []
