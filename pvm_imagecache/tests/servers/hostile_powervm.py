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
"""A server at the address of PowerVM that answers as a test wants it to."""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import os
import socket
import socketserver
import tempfile
import threading
import types
import typing

WEB = 'http://www.ibm.com/xmlns/systems/power/firmware/web/mc/2012_10/'
ATOM = 'http://www.w3.org/2005/Atom'
_MAX_BODY = 1 << 20


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as it came; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_logon(self) -> bool:
        return self.path.endswith('/web/Logon') and self.method == 'PUT'


Answer = bytes | Iterable[bytes]


def answer(
    body: bytes | str = b'',
    status: int = 200,
    reason: str = 'Reason',
    **headers: str,
) -> bytes:
    """Return a complete answer; underscores in names become hyphens."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f'HTTP/1.1 {status} {reason}', 'X-MC-Type: PVM']
    lines += [f'{k.replace("_", "-")}: {v}' for k, v in headers.items()]
    if 'Content_Length' not in headers:
        lines.append(f'Content-Length: {len(body)}')
    return (
        '\r\n'.join(lines).encode() + b'\r\nConnection: close\r\n\r\n' + body
    )


def logon(path: str, tag: str = 'X-API-SessionFile') -> bytes:
    """Return the answer to a logon: the path of a file, or a token."""
    return answer(
        f'<LogonResponse xmlns="{WEB}" schemaVersion="V1_3_0">'
        f'<{tag}>{path}</{tag}></LogonResponse>'
    )


def redirection(url: str, status: int = 302) -> bytes:
    """Return a redirection."""
    return answer(b'', status, Location=url)


class HostilePowerVM:
    """Runs for the length of a ``with`` block.

    :param decide: returns the answer to a request, or its parts.
    :ivar requests: what came so far.
    """

    def __init__(
        self, decide: Callable[[Request], Answer], address: str = '127.0.0.1'
    ) -> None:
        self.requests: list[Request] = []
        self._decide = decide
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(self) -> None:
                try:
                    outer._serve(self.rfile, self.wfile)
                except (OSError, ValueError):
                    return

        class Server(socketserver.ThreadingTCPServer):
            address_family = (
                socket.AF_INET6 if ':' in address else socket.AF_INET
            )
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True
            request_queue_size = 64

        self._server = Server((address, 0), Handler)
        self.host = address
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def url(self) -> str:
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'http://{host}:{self.port}'

    def received(self) -> str:
        """Return all that came, as one text."""
        return '\n'.join(
            f'{each.method} {each.path} {each.headers} '
            f'{each.body.decode("latin-1")}'
            for each in list(self.requests)
        )

    def _serve(self, rfile: typing.Any, wfile: typing.Any) -> None:
        method, path, _ = rfile.readline(65536).decode('latin-1').split(' ')
        headers = {}
        while line := rfile.readline(65536).decode('latin-1').strip():
            name, _, value = line.partition(':')
            headers[name.lower()] = value.strip()
        request = Request(method, path, headers, _body(rfile, headers))
        self.requests.append(request)
        found = self._decide(request)
        for part in (found,) if isinstance(found, bytes) else found:
            wfile.write(part)

    def __enter__(self) -> typing.Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: types.TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _body(rfile: typing.Any, headers: dict[str, str]) -> bytes:
    """Return the beginning of a body; read it all if it has a length."""
    if 'chunked' not in headers.get('transfer-encoding', ''):
        return bytes(rfile.read(int(headers.get('content-length', 0))))
    body = b''
    while size := int(rfile.readline(100), 16):
        body = (body + rfile.read(size))[:_MAX_BODY]
        rfile.readline(100)
    rfile.readline(100)
    return body


class TokenDirectory:
    """Writes token files as NovaLink does: one for each logon."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix='tokens-')

    def new(self, content: str = 'a-token\n') -> str:
        fd, path = tempfile.mkstemp(dir=self.path)
        with os.fdopen(fd, 'w') as file:
            file.write(content)
        return path
