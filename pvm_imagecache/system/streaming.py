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

"""HTTP answers that take long: a limit for the first byte, and no lost bytes.

A server may take minutes before it can send the first byte, for example to
attach a volume, and must not be silent for that long afterwards. requests
has one limit for both. The adapter of this module has two: the limit that a
request is sent with applies until the first byte of the body, and a shorter
one applies after it.

The libraries also wait until all bytes that were asked for have arrived, and
lose those that have if the connection breaks. Here bytes are returned as
they arrive.
"""

import functools
import http.client
import io
import logging
import math
import socket
import time
from typing import Any
from typing import Final

from keystoneauth1 import session as ksa_session
import requests
from urllib3 import connectionpool
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache.system import content

#: Bytes of an answer that is read as a whole, such as one of Keystone, and
#: values of JSON in them.
MAX_ANSWER: Final = 4 * 1024 * 1024
MAX_VALUES: Final = 200_000
#: Bytes of an answer that keystoneauth1 reads to log it.
MAX_LOGGED: Final = 16 * 1024 * 1024
#: Seconds in which such answers must arrive.
MAX_SECONDS: Final = 300.0
_SCHEMES: Final = ('http://', 'https://')
#: Where keystoneauth1 logs the content of these types.
_LOG: Final = logging.getLogger('keystoneauth.session')
_LOGGED: Final = ('application/json', 'text/plain')


class StreamingAdapter(ksa_session.TCPKeepAliveAdapter):
    """Sends HTTP requests; see the description of the module.

    :param between_bytes: seconds for which a server may send nothing after
        the first byte of a body; a shorter limit of the request applies
        to these bytes too.
    :param kwargs: parameters of the base class.
    """

    def __init__(self, between_bytes: float, **kwargs: Any) -> None:
        self.between_bytes = between_bytes
        super().__init__(**kwargs)

    def send(
        self, request: Any, stream: Any = False, *args: Any, **kwargs: Any
    ) -> Any:
        """Send a request; called by requests.

        An answer that the libraries would read as a whole is read here, with
        a limit. That includes the answers that keystoneauth1 logs.

        :param request: as requests gives it.
        :param stream: whether the caller reads the content.
        :param args: as requests gives them.
        :param kwargs: as requests gives them.
        :returns: the answer.
        :raises requests.exceptions.RequestException: if there is none, or if
            it is too large.
        """
        response = super().send(request, stream, *args, **kwargs)
        if response.is_redirect:
            # requests reads its content, of any size, whatever is followed.
            response._content = b''
            response._content_consumed = True
            response.raw.close()
        elif not stream:
            _read(response, MAX_ANSWER)
        elif _LOG.isEnabledFor(logging.DEBUG) and _is_logged(response):
            _read(response, MAX_LOGGED)
        return response

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools; called by requests.

        :param args: as requests gives them.
        :param kwargs: as requests gives them.
        """
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            'http': _pool_class(
                connectionpool.HTTPConnectionPool, self.between_bytes
            ),
            'https': _pool_class(
                connectionpool.HTTPSConnectionPool, self.between_bytes
            ),
        }


def use(session: ksa_session.Session, between_bytes: float) -> None:
    """Let a session send its requests with a :class:`StreamingAdapter`.

    A session that does not have the adapters of keystoneauth1 is left as it
    is. May be called more than once for a session.

    :param session: the session of keystoneauth1.
    :param between_bytes: as for the adapter.
    """
    for scheme in _SCHEMES:
        present = session.session.get_adapter(scheme)
        if type(present) is not ksa_session.TCPKeepAliveAdapter:
            continue
        # What newer releases of keystoneauth1 know, and older ones do not.
        tls = {
            name: getattr(present, name)
            for name in ('tls_ciphers', 'tls_min_version')
            if getattr(present, name, None)
        }
        session.mount(scheme, StreamingAdapter(between_bytes, **tls))


def _is_logged(response: requests.Response) -> bool:
    kind = response.headers.get('Content-Type', '').lower()
    return kind.startswith(_LOGGED)


def _read(response: requests.Response, limit: int) -> None:
    """Read the content of an answer, as ``Response.content`` would."""
    try:
        found = content.read(response, limit, MAX_SECONDS)
        if limit <= MAX_ANSWER and content.has_many_values(found, MAX_VALUES):
            raise content.TooMuch(
                f'the answer has more than {MAX_VALUES} values'
            )
        response._content = found
        response._content_consumed = True
        # To guess it needs much memory.
        response.encoding = response.encoding or 'utf-8'
    except urllib3_exceptions.DecodeError as error:
        response.close()
        raise requests.exceptions.ContentDecodingError(error) from error
    except urllib3_exceptions.ReadTimeoutError as error:
        response.close()
        raise requests.exceptions.ConnectionError(error) from error
    except (urllib3_exceptions.HTTPError, OSError) as error:
        response.close()
        if isinstance(error, requests.exceptions.RequestException):
            raise
        raise requests.exceptions.ChunkedEncodingError(error) from error


def _pool_class(base: type[Any], between_bytes: float) -> type[Any]:
    """Return a class of pools whose connections have both limits."""

    connection = type(
        'Connection',
        (base.ConnectionCls,),
        {
            'response_class': functools.partial(
                _Response, between_bytes=between_bytes
            )
        },
    )
    return type(base.__name__, (base,), {'ConnectionCls': connection})


class _Response(http.client.HTTPResponse):
    """An answer that shortens the limit of its socket, and keeps no bytes."""

    def __init__(
        self, sock: Any, *args: Any, between_bytes: float, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self._received = _Received(sock, between_bytes)
        self.fp.close()
        self.fp = io.BufferedReader(self._received)

    def begin(self) -> None:
        super().begin()
        # None if the answer has no body.
        if isinstance(self.fp, io.BufferedReader):
            self._received.expect_body(self.fp)

    def limit_piece(self, seconds: float, end: float) -> None:
        """Limit the time until the next piece of the body is complete.

        :param seconds: after the first byte of the body, or from now.
        :param end: when the whole body must have arrived, by
            ``time.monotonic``.
        """
        self._received.limit_piece(seconds, end)

    def _safe_read(self, amt: int) -> bytes:
        # A chunk of negative size would mean everything that arrives.
        if amt < 0:
            raise http.client.IncompleteRead(b'')
        return super()._safe_read(amt)  # type: ignore[misc]

    def read(self, amt: int | None = None) -> bytes:
        # Chunks are parsed by urllib3, or by the base class.
        if amt is None or self.chunked:
            return super().read(amt)
        return self.read1(amt)


class _Received(io.RawIOBase):
    """The bytes from a socket; the first one of the body is noticed."""

    def __init__(self, sock: Any, between_bytes: float) -> None:
        self._socket: socket.socket = sock
        self._raw = sock.makefile('rb', buffering=0)
        self._between_bytes = between_bytes
        # A server may send a byte of the headers now and then.
        limit = sock.gettimeout()
        self._end = None if limit is None else time.monotonic() + 2 * limit
        self._in_body = False
        self._looking_ahead = False
        self._piece_seconds = math.inf
        self._piece_end = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._looking_ahead:
            return None
        if self._end is not None and time.monotonic() > self._end:
            raise TimeoutError('the headers take too long')
        if not self._in_body and time.monotonic() > self._piece_end:
            raise TimeoutError('the content takes too long')
        count: int | None = self._raw.readinto(buffer)
        if self._in_body and count:
            self._shorten_limit()
        return count

    def limit_piece(self, seconds: float, end: float) -> None:
        """Limit the time of a piece, see :class:`_Response`."""
        self._piece_seconds = seconds
        self._piece_end = min(time.monotonic() + seconds, end)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()

    def expect_body(self, buffered: io.BufferedReader) -> None:
        """Note that what follows is the body.

        The first bytes of it may have arrived with the headers.
        """
        self._in_body = True
        self._end = None
        self._looking_ahead = True
        try:
            ahead = buffered.peek(1)
        finally:
            self._looking_ahead = False
        if ahead:
            self._shorten_limit()

    def _shorten_limit(self) -> None:
        self._in_body = False
        # The first byte has a limit of its own.
        self._piece_end = max(
            self._piece_end, time.monotonic() + self._piece_seconds
        )
        limit = self._socket.gettimeout()
        if limit is None or limit > self._between_bytes:
            self._socket.settimeout(self._between_bytes)
