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

"""The bytes of an image: read, resumed and verified.

No error of a library leaves this module: see
:mod:`pvm_imagecache.glance.errors`.
"""

from collections.abc import Callable
from collections.abc import Iterator
import time
from typing import Final
from typing import NoReturn

from oslo_log import log as logging

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text
from pvm_imagecache.glance import attempts
from pvm_imagecache.glance import errors
from pvm_imagecache.glance import hashing
from pvm_imagecache.glance import headers
from pvm_imagecache.glance import signatures
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

#: Bytes of one piece of a stream. The work per piece does not matter at this
#: size, nor does the memory that a few pieces need.
CHUNK_SIZE: Final = 1024 * 1024
#: Seconds to wait before each attempt to resume a download. The first one
#: applies again after some bytes have arrived.
RETRY_DELAYS: Final = (0.5, 2.0, 8.0)


class ImageStream:
    """The bytes of one image, verified before the last of them are yielded.

    Iterate over it once, after :meth:`begin`: it yields pieces of about
    :data:`CHUNK_SIZE` bytes. The last piece is held back until size, hash and
    signature are known to be right, so a wrong image cannot be completed by
    accident. The hash is computed in a separate thread. A broken connection
    is opened again at the byte where it broke.

    Iterating raises these errors:

    * :exc:`ImageTruncated` if Glance sends fewer or more bytes than the
      image has, or if the connection breaks and cannot be resumed;
    * :exc:`ImageCorrupt` if the hash differs;
    * :exc:`ImageSignatureWrong` if the signature is not that of the bytes;
    * :exc:`ImageFormatWrong` if it ends as another format;
    * those of :func:`pvm_imagecache.glance.errors.translated` if Glance
      fails.

    :param image: the image; its size and hash are what the bytes are
        compared with.
    :param open_at: opens the data at a position in bytes. What it returns is
        closed if it has a method ``close``.
    :param verifier: verifies the signature of the bytes; None if none is
        required.
    :param inspect_raw: whether to refuse raw images that begin or end as
        another format.
    :ivar image: the image. If Glance did not know its virtual size,
        :meth:`begin` sets it from the header.
    """

    def __init__(
        self,
        image: image_module.Image,
        open_at: Callable[[int], Iterator[bytes]],
        verifier: signatures.Verifier | None = None,
        inspect_raw: bool = True,
    ) -> None:
        self.image = image
        self._verifier = verifier
        self._inspect_raw = inspect_raw
        self._open_at = open_at
        self._body: Iterator[bytes] | None = None
        self._first = b''
        self._received = 0
        self._attempts = attempts.Attempts(image.size, RETRY_DELAYS)
        self._hasher: hashing.Hasher | None = None

    @property
    def bytes_received(self) -> int:
        """How many bytes have arrived from Glance so far."""
        return self._received

    def begin(self) -> None:
        """Wait for the first bytes, and inspect the header in them.

        :raises ImageHasNoData: if Glance sends no bytes.
        :raises ImageTruncated: if Glance sends fewer bytes than the image
            has, and not even one chunk.
        :raises ImageFormatWrong: if the data is not of the declared format.
        :raises ImageUnsafe: if the header is not that of a safe image.
        :raises ImageError: if Glance fails; see
            :func:`pvm_imagecache.glance.errors.translated`.
        """
        self._first = self._next()
        if not self._first:
            raise exceptions.ImageHasNoData(image=self.image.id)
        if len(self._first) < min(CHUNK_SIZE, self.image.size):
            # For example the page of a proxy: its header says nothing about
            # the image.
            self._refuse_length('the stream ended')
        self.image = headers.inspected(
            self.image, self._first, self._inspect_raw
        )

    def __iter__(self) -> Iterator[bytes]:
        digest = self.image.digest
        self._hasher = hasher = hashing.Hasher(
            digest.algorithm if digest else None, self._verifier
        )
        held_back, self._first = self._first, b''
        end = b''
        while True:
            hasher.update(held_back)
            end = headers.end_of(end, held_back)
            following = self._next()
            if not following:
                break
            if self._received > self.image.size:
                break
            yield held_back
            held_back = following
        self._verify(digest, hasher)
        if self._inspect_raw:
            headers.check_end(self.image, end)
        yield held_back

    def close(self) -> None:
        """Close the connection to Glance, and stop the hashing thread.

        May be called more than once.
        """
        if self._hasher:
            self._hasher.stop()
        self._close_body()

    def _next(self) -> bytes:
        """Return the next piece, made of the small parts that Glance sends."""
        parts: list[bytes] = []
        size = 0
        while size < CHUNK_SIZE and (part := self._next_part()):
            parts.append(part)
            size += len(part)
        return b''.join(parts)

    @waiting.on('Glance')
    def _next_part(self) -> bytes:
        """Return the next bytes; resume the download if it breaks."""
        cause: exceptions.ImageError | None = None
        while True:
            try:
                return self._read()
            except exceptions.ImageError as error:
                no_more = getattr(self._body, 'no_more', False)
                self._close_body()
                if isinstance(error, exceptions.ImageTooSlow):
                    # Resumed again and again, it would never end.
                    raise
                if error.transient and self._received == self.image.size:
                    # All of it is there, and is verified now.
                    return b''
                cause = cause or error
                delay = self._attempts.delay(
                    self._received, error, no_more=no_more
                )
                if delay is None:
                    self._give_up(error, cause, no_more=no_more)
                    raise
                self._wait(error, delay)

    def _give_up(
        self,
        error: exceptions.ImageError,
        cause: exceptions.ImageError,
        *,
        no_more: bool,
    ) -> None:
        """Raise what says more than the last error, if there is something."""
        if not error.transient or not isinstance(
            cause, exceptions.ImageTruncated
        ):
            return
        if no_more:
            raise self._truncated(
                exceptions.ImageIncomplete, f'{cause.reason}, twice'
            ) from error
        if not isinstance(error, exceptions.ImageTruncated):
            # Why the download broke says as much as why it was not resumed.
            raise self._truncated(
                exceptions.ImageInterrupted,
                f'{cause.reason}; it could not be resumed: '
                + text.one_line(error),
            ) from error

    def _truncated(
        self, kind: type[exceptions.ImageTruncated], reason: str
    ) -> exceptions.ImageTruncated:
        return kind(
            image=self.image.id,
            expected=self.image.size,
            received=self._received,
            reason=reason,
        )

    def _wait(self, error: exceptions.ImageError, delay: float) -> None:
        LOG.warning(
            'Download of %(image)s interrupted at %(received)s; resuming '
            'in %(delay).1f s: %(error)s',
            {
                'image': self.image.label,
                'received': text.size(self._received),
                'delay': delay,
                'error': error,
            },
        )
        time.sleep(delay)

    def _read(self) -> bytes:
        """Return the next bytes, b'' at the end; open the data if needed."""
        with errors.translated(
            self.image.id, expected=self.image.size, received=self._received
        ):
            if self._body is None:
                self._body = self._open_at(self._received)
            part = next((each for each in self._body if each), b'')
        self._received += len(part)
        if not part and 0 < self._received < self.image.size:
            # The length of an answer is not always known in advance.
            self._refuse_length('the stream ended')
        return part

    def _close_body(self) -> None:
        body, self._body = self._body, None
        close = getattr(body, 'close', None)
        if close:
            try:
                close()
            except Exception as error:
                # The data is complete, or was given up, without this.
                LOG.debug(
                    'Could not close the data of image %(image)s: %(error)s',
                    {'image': self.image.id, 'error': error},
                )

    def _verify(
        self, digest: image_module.Digest | None, hasher: hashing.Hasher
    ) -> None:
        if self._received > self.image.size:
            self._refuse_length('more than it has')
        actual = hasher.hexdigest()
        if digest and actual and actual != digest.value:
            raise exceptions.ImageCorrupt(
                image=self.image.id,
                algorithm=digest.algorithm,
                expected=digest.value,
                actual=actual,
            )
        hasher.verify()

    def _refuse_length(self, reason: str) -> NoReturn:
        raise self._truncated(exceptions.ImageTruncated, reason)
