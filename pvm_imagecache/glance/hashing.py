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
"""Hash and signature of a stream, computed beside the transfer."""

import hashlib
import queue
import threading
from typing import Final

from pvm_imagecache.glance import signatures

#: Pieces that may wait to be hashed.
_QUEUE_LENGTH: Final = 8


class Hasher:
    """Computes a hash, and feeds a verifier, in a thread of its own.

    hashlib and cryptography release the GIL, so the thread runs beside the
    transfer.

    :param algorithm: of the hash, as in :mod:`hashlib`; None for no hash.
    :param verifier: gets the same bytes; None if no signature is required.
    """

    def __init__(
        self,
        algorithm: str | None,
        verifier: signatures.Verifier | None = None,
    ) -> None:
        self._hash = (
            hashlib.new(algorithm, usedforsecurity=False)
            if algorithm
            else None
        )
        self._verifier = verifier
        self._error: Exception | None = None
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_QUEUE_LENGTH)
        self._stopped = False
        self._thread: threading.Thread | None = None
        if self._hash or verifier:
            self._thread = threading.Thread(
                target=self._run, name='pvm_imagecache-hash', daemon=True
            )
            self._thread.start()

    def update(self, piece: bytes) -> None:
        """Take the next bytes; wait while too many wait to be hashed.

        :param piece: the bytes.
        """
        if self._thread:
            self._pieces.put(piece)

    def hexdigest(self) -> str | None:
        """Return the hash of all bytes. No more can be taken afterwards.

        :returns: the hash, hexadecimal; None if none is computed.
        """
        self._end()
        return self._hash.hexdigest() if self._hash else None

    def verify(self) -> None:
        """Verify the signature. No more bytes can be taken afterwards.

        :raises ImageSignatureWrong: if it is not that of the bytes.
        """
        self._end()
        if self._error:
            raise self._error
        if self._verifier:
            self._verifier.verify()

    def stop(self) -> None:
        """End the thread; may be called more than once."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        if self._thread and self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            # The queue is emptied whatever happens: update() must not block.
            if not self._stopped:
                self._take(piece)

    def _take(self, piece: bytes) -> None:
        if self._hash:
            self._hash.update(piece)
        if self._verifier and not self._error:
            try:
                self._verifier.update(piece)
            except Exception as error:
                # Raised by verify(): the hash says whether the data is the
                # reason.
                self._error = error
