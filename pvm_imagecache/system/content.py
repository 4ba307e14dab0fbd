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

"""The content of HTTP answers, with bounded memory and time.

The libraries decode all that a part of the network traffic expands to: a few
KiB can become GiB, and encodings can be nested. Here a piece never expands to
more than :data:`PART_SIZE` bytes, and only encodings with that property are
accepted.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import math
import time
from typing import Final
import zlib

import requests
from urllib3 import exceptions as urllib3_exceptions

#: Bytes that are read, or that a piece expands to, at a time.
PART_SIZE: Final = 64 * 1024
#: Seconds in which a piece must arrive after the first byte of the content. A
#: server can send without end what adds nothing to it, such as empty blocks
#: of compressed data, or headers after the last chunk.
PART_SECONDS: Final = 300.0
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_BITS: Final = {'gzip': _GZIP, 'x-gzip': _GZIP, 'deflate': _ZLIB}
_PLAIN: Final = ('', 'identity')
_STRUCTURE: Final = (b',', b'[', b'{')


class TooMuch(requests.exceptions.ConnectionError):
    """An answer that is larger, or takes longer, than allowed."""


def encoding(response: requests.Response) -> str:
    """Return the encoding of a content.

    :param response: the answer.
    :returns: the value of ``Content-Encoding`` in lower case; '' for none.
    """
    value = response.headers.get('Content-Encoding', '').strip().lower()
    return '' if value in _PLAIN else str(value)


def is_supported(response: requests.Response) -> bool:
    """Return whether :func:`parts` can decode a content.

    :param response: the answer.
    :returns: whether it is not encoded, or as gzip or deflate.
    """
    found = encoding(response)
    return not found or found in _BITS


def parts(
    response: requests.Response, end: float = math.inf
) -> Iterator[bytes]:
    """Yield the content of an answer as it arrives, decoded if needed.

    The limits of time apply to answers of the adapter in
    :mod:`pvm_imagecache.system.streaming`.

    :param response: the answer, whose content is not yet read.
    :param end: when all of it must have arrived, by ``time.monotonic``.
    :returns: pieces of at most :data:`PART_SIZE` bytes, in about as much
        memory.
    :raises urllib3.exceptions.DecodeError: if it cannot be decoded.
    :raises Exception: what the libraries raise if the connection breaks.
    """
    if response._content is not False:
        # It was read, and decoded, before.
        return iter([response.content] if response.content else [])
    raw = _raw(response)
    found = encoding(response)
    if found and found not in _BITS:
        raise urllib3_exceptions.DecodeError('unsupported content encoding')
    return _limited(
        response, _inflated(raw, _BITS[found]) if found else raw, end
    )


def read(response: requests.Response, limit: int, seconds: float) -> bytes:
    """Return the whole content of an answer.

    :param response: the answer, whose content is not yet read.
    :param limit: bytes that the decoded content may have.
    :param seconds: that it may take to arrive.
    :returns: the content.
    :raises TooMuch: if it has more bytes, or takes longer.
    :raises urllib3.exceptions.DecodeError: if it cannot be decoded.
    :raises Exception: what the libraries raise if the connection breaks.
    """
    end = time.monotonic() + seconds
    found, size = [], 0
    for part in parts(response, end):
        size += len(part)
        if size > limit:
            raise TooMuch(f'the answer has more than {limit} bytes')
        if time.monotonic() > end:
            raise TooMuch(f'the answer takes more than {seconds:g} s')
        found.append(part)
    return b''.join(found)


def has_many_values(text: bytes, limit: int) -> bool:
    """Return whether JSON may have more values than allowed.

    Each value needs about a hundred bytes of memory, and may have two
    characters.

    :param text: the JSON; it need not be valid.
    :param limit: values that it may have.
    :returns: whether it has more characters that separate values, which may
        be in strings, too.
    """
    return sum(text.count(each) for each in _STRUCTURE) > limit


def _limited(
    response: requests.Response, pieces: Iterator[bytes], end: float
) -> Iterator[bytes]:
    """Yield pieces, each of which must arrive in time."""
    original = getattr(response.raw, '_original_response', None)
    limit = getattr(original, 'limit_piece', None)
    while True:
        if limit is not None:
            limit(PART_SECONDS, end)
        piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _raw(response: requests.Response) -> Iterator[bytes]:
    """Yield the content as the server sends it."""
    stream = getattr(response.raw, 'stream', None)
    if stream is not None:
        yield from stream(PART_SIZE, decode_content=False)
        return
    while part := response.raw.read(PART_SIZE):
        yield part


def _inflated(raw: Iterable[bytes], bits: int) -> Iterator[bytes]:
    """Yield decompressed content; it may have several members."""
    decoder = None
    try:
        for part in raw:
            while part:
                if decoder is None:
                    decoder = zlib.decompressobj(_window(part, bits))
                piece = decoder.decompress(part, PART_SIZE)
                while piece:
                    yield piece
                    piece = decoder.decompress(
                        decoder.unconsumed_tail, PART_SIZE
                    )
                part = b''
                if decoder.eof:
                    part, decoder = decoder.unused_data.lstrip(b'\0'), None
    except zlib.error as error:
        raise urllib3_exceptions.DecodeError(
            'the content is not of its encoding'
        ) from error


def _window(first: bytes, bits: int) -> int:
    """Return the parameter of zlib; some servers send raw deflate data."""
    if bits == _ZLIB and first[0] & 0x0F != zlib.DEFLATED:
        return -zlib.MAX_WBITS
    return bits
