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

"""A small HTTP proxy in front of a service, which can be out of service."""

from collections import abc
import dataclasses
from http import client as http_client
from http import server
import threading
import typing
from urllib import parse

_DROPPED: typing.Final = frozenset(
    {'connection', 'content-length', 'date', 'server', 'transfer-encoding'}
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is answered in place of the service.

    :ivar status: HTTP status; 0 closes the connection without an answer.
    :ivar kind: content type.
    :ivar body: content.
    :ivar headers: other headers.
    """

    status: int = 503
    kind: str = 'text/html'
    body: bytes = b'<html><body>out of service</body></html>'
    headers: abc.Mapping[str, str] = dataclasses.field(default_factory=dict)


class Front(server.ThreadingHTTPServer):
    """A proxy on a loopback port, as its context manager.

    :param upstream: URL of the service.
    :ivar url: URL of the proxy.
    :ivar requests: method and path of each request so far.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.upstream = parse.urlsplit(upstream)
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.requests: list[str] = []
        self._answers: list[Answer] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> typing.Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def fail(self, count: int, answer: Answer = Answer()) -> None:
        """Answer the next requests in place of the service."""
        with self._lock:
            self._answers = [answer] * count

    def take(self, request: str) -> Answer | None:
        """Note a request; return what it is answered with, if not passed."""
        with self._lock:
            self.requests.append(request)
            return self._answers.pop(0) if self._answers else None


class _Handler(server.BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        answer = self.server.take(f'{self.command} {self.path}')
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        self.close_connection = True
        if answer is None:
            self._pass_on(body)
        elif answer.status:
            self._send(
                answer.status,
                {'Content-Type': answer.kind, **answer.headers},
                answer.body,
            )

    do_POST = do_DELETE = do_PUT = do_HEAD = do_GET

    def _pass_on(self, body: bytes) -> None:
        upstream = self.server.upstream
        connection = http_client.HTTPConnection(upstream.netloc, timeout=60)
        try:
            # The service makes links from the header Host.
            connection.request(
                self.command,
                upstream.path + self.path,
                body or None,
                dict(self.headers.items()),
            )
            response = connection.getresponse()
            self._send(
                response.status,
                dict(response.getheaders()),
                response.read(),
            )
        finally:
            connection.close()

    def _send(
        self, status: int, headers: abc.Mapping[str, str], body: bytes
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _DROPPED:
                self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Connection', 'close')
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def log_message(self, *args: typing.Any) -> None:
        """Requests are recorded instead."""
