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

"""A small HTTP proxy in front of a real Glance, which misbehaves on request.

It knows the kinds of the requests that the product makes, and can answer
each kind wrongly: with another status, a web page, wrong or missing headers,
too few or too many bytes, late, or not at all. Faults apply to a number of
requests, or to all. The other requests go to Glance and back unchanged::

    with proxy.Proxy(glance.url) as front:
        front.inject(proxy.Kind.DATA, proxy.status(503), count=2)
"""

from collections import abc
import contextlib
import dataclasses
import enum
from http import client as http_client
from http import server as http_server
import socket
import struct
import threading
import time
import types
import typing
import urllib.parse

_PIECE = 1 << 16
_TIMEOUT = 60.0
#: Of the connection, not of the content.
_HOP_BY_HOP = {'connection', 'keep-alive', 'transfer-encoding'}
_PAGE = (
    b'<!DOCTYPE html><html><head><title>Log on</title></head>'
    b'<body><h1>Welcome</h1></body></html>'
)


class Kind(enum.Enum):
    """What is requested."""

    METADATA = 'metadata'
    LIST = 'list'
    #: All data of an image.
    DATA = 'data'
    #: The rest of the data, from a byte on.
    RANGE = 'range'
    #: The first byte, which is how permission is checked.
    CHECK = 'check'
    OTHER = 'other'


def kind_of(path: str, byte_range: str | None) -> Kind:
    """Return the kind of a request."""
    parts = urllib.parse.urlsplit(path).path.strip('/').split('/')
    with contextlib.suppress(ValueError):
        parts = parts[parts.index('v2') + 1 :]
        if parts == ['images']:
            return Kind.LIST
        if parts[0] == 'images' and len(parts) == 2:
            return Kind.METADATA
        if parts[0] == 'images' and parts[2:] == ['file']:
            if byte_range is None:
                return Kind.DATA
            return Kind.CHECK if byte_range == 'bytes=0-0' else Kind.RANGE
    return Kind.OTHER


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with an answer.

    What is not set is as Glance answers.

    :ivar status: HTTP status.
    :ivar body: the whole content; Glance is not asked then.
    :ivar headers: in place of those of Glance; None for leaving one out.
    :ivar ignore_range: whether the request is sent on without ``Range``.
    :ivar cut_at: bytes after which the connection is closed, as a part of
        the length that the header announces.
    :ivar extra: bytes that follow the content, and count as a part of it.
    :ivar pause: seconds before the answer begins.
    :ivar pause_at: bytes of the content after which there is a pause.
    :ivar seconds: how long that pause is.
    :ivar reset_at: bytes of the content after which the connection is reset;
        -1 for before the status line.
    """

    status: int | None = None
    body: bytes | None = None
    headers: tuple[tuple[str, str | None], ...] = ()
    ignore_range: bool = False
    cut_at: float | None = None
    extra: bytes = b''
    pause: float = 0.0
    pause_at: int | None = None
    seconds: float = 0.0
    reset_at: int | None = None


def status(code: int, **headers: str) -> Fault:
    """Return the fault of an error, with a page as proxies send it."""
    return Fault(
        status=code,
        body=b'<html><body><h1>%d Error</h1></body></html>' % code,
        headers=(
            ('Content-Type', 'text/html'),
            *(
                (name.replace('_', '-'), each)
                for name, each in headers.items()
            ),
        ),
    )


def page() -> Fault:
    """Return the fault of a logon page, with the status 200."""
    return Fault(
        status=200, body=_PAGE, headers=(('Content-Type', 'text/html'),)
    )


def redirection(target: str) -> Fault:
    """Return the fault of a redirection."""
    return Fault(status=302, body=_PAGE, headers=(('Location', target),))


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that arrived.

    :ivar kind: what was requested.
    :ivar byte_range: the header ``Range``.
    :ivar faulty: whether a fault applied to it.
    """

    kind: Kind
    path: str
    byte_range: str | None
    faulty: bool


@dataclasses.dataclass
class _Rule:
    kind: Kind
    fault: Fault
    count: int | None
    skip: int


class Proxy:
    """A proxy on a loopback port.

    :param target: URL of the server behind it.
    :ivar url: of the proxy.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._requests: list[Request] = []
        self._closing = threading.Event()
        self._server = _Server(('127.0.0.1', 0), _Handler)
        self._server.proxy = self
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={'poll_interval': 0.02},
            daemon=True,
        )

    def __enter__(self) -> typing.Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def inject(
        self, kind: Kind, fault: Fault, *, count: int | None = 1, skip: int = 0
    ) -> None:
        """Answer requests wrongly.

        The first fault of a kind applies first.

        :param kind: which requests.
        :param fault: what is wrong.
        :param count: how many requests; None for all.
        :param skip: how many requests before are answered correctly.
        """
        with self._lock:
            self._rules.append(_Rule(kind, fault, count, skip))

    def clear(self) -> None:
        """Answer all requests correctly, and forget those until now."""
        with self._lock:
            self._rules.clear()
            self._requests.clear()

    def requests(self, kind: Kind | None = None) -> list[Request]:
        """Return the requests so far, of one kind or of all."""
        with self._lock:
            return [
                each for each in self._requests if kind in (None, each.kind)
            ]

    def take_fault(self, path: str, byte_range: str | None) -> Fault:
        """Note a request, and return how it is answered."""
        kind = kind_of(path, byte_range)
        with self._lock:
            fault = self._take(kind)
            self._requests.append(
                Request(kind, path, byte_range, fault is not None)
            )
        return fault or Fault()

    def _take(self, kind: Kind) -> Fault | None:
        for rule in self._rules:
            if rule.kind is not kind:
                continue
            if rule.skip:
                rule.skip -= 1
                return None
            if rule.count is not None:
                rule.count -= 1
                if not rule.count:
                    self._rules.remove(rule)
            return rule.fault
        return None

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the proxy exists."""
        self._closing.wait(seconds)


class _Server(http_server.ThreadingHTTPServer):
    proxy: Proxy
    daemon_threads = True
    request_queue_size = 128

    def handle_error(
        self, request: typing.Any, client_address: object
    ) -> None:
        """Print nothing: clients leave whenever they like."""


class _Handler(http_server.BaseHTTPRequestHandler):
    """One request on each connection."""

    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self.close_connection = True
        fault = self.server.proxy.take_fault(
            self.path, self.headers.get('Range')
        )
        if fault.pause:
            self.server.proxy.sleep(fault.pause)
        if fault.reset_at == -1:
            self._reset()
            return
        with contextlib.suppress(OSError, http_client.HTTPException):
            if fault.body is not None:
                self._send(fault, 200, [], iter([fault.body]), len(fault.body))
            else:
                self._forward(fault)

    def log_message(self, *_: typing.Any) -> None:
        """Print nothing."""

    def _forward(self, fault: Fault) -> None:
        target = urllib.parse.urlsplit(self.server.proxy.target)
        connection = http_client.HTTPConnection(
            target.netloc, timeout=_TIMEOUT
        )
        with contextlib.closing(connection):
            headers = dict(self.headers)
            if fault.ignore_range:
                headers.pop('Range', None)
            connection.request('GET', self.path, headers=headers)
            answer = connection.getresponse()
            length = answer.getheader('Content-Length')
            self._send(
                fault,
                answer.status,
                answer.getheaders(),
                iter(lambda: answer.read(_PIECE), b''),
                int(length) if length is not None else None,
            )

    def _send(
        self,
        fault: Fault,
        code: int,
        headers: abc.Iterable[tuple[str, str]],
        pieces: abc.Iterator[bytes],
        length: int | None,
    ) -> None:
        self.send_response_only(fault.status or code)
        replaced = {name.lower() for name, _ in fault.headers}
        for name, value in headers:
            if name.lower() not in {*replaced, *_HOP_BY_HOP, 'content-length'}:
                self.send_header(name, value)
        if length is not None and 'content-length' not in replaced:
            self.send_header('Content-Length', str(length + len(fault.extra)))
        for name, changed in fault.headers:
            if changed is not None:
                self.send_header(name, changed)
        self.send_header('Connection', 'close')
        self.end_headers()
        self._send_content(fault, pieces, length)

    def _send_content(
        self, fault: Fault, pieces: abc.Iterator[bytes], length: int | None
    ) -> None:
        cut = None
        if fault.cut_at is not None:
            cut = int((length or 0) * fault.cut_at)
        sent = 0
        for piece in _cut(pieces, fault.pause_at, fault.reset_at, cut):
            if sent == fault.pause_at:
                self.server.proxy.sleep(fault.seconds)
            if sent == fault.reset_at:
                self._reset()
                return
            if sent == cut:
                return
            self.wfile.write(piece)
            sent += len(piece)
        self.wfile.write(fault.extra)

    def _reset(self) -> None:
        """Reset the connection once the peer has what was sent."""
        # Bytes on their way would be lost, and a fault has its place.
        time.sleep(0.05)
        self.connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
        )
        # The server shuts a connection down in good order before it closes
        # it: close the descriptor under it.
        socket.close(self.connection.detach())


def _cut(
    pieces: abc.Iterator[bytes], *places: int | None
) -> abc.Iterator[bytes]:
    """Yield the same bytes, with a new piece at each of these places."""
    wanted = sorted(place for place in places if place is not None)
    position = 0
    for piece in pieces:
        start = 0
        for place in wanted:
            if position < place < position + len(piece):
                yield piece[start : place - position]
                start = place - position
        yield piece[start:]
        position += len(piece)
