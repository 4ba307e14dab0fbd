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

"""HTTP: connections, requests and answers, and what faults do to them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import ipaddress
import socket
import socketserver
import struct
import threading
import traceback
import typing

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import body as body_module
from pvm_imagecache.simulator import browsers
from pvm_imagecache.simulator import control
from pvm_imagecache.simulator import control_api
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import faults
from pvm_imagecache.simulator import host as host_module
from pvm_imagecache.simulator import pacing
from pvm_imagecache.simulator import request_log
from pvm_imagecache.simulator import rest

# What a body may still send after its answer was decided, so that the client
# gets to read the answer: seconds without any byte.
_LINGER = 30.0
_LARGEST_CONTROL = 1 << 20


class _Reset(Exception):
    """Reset the client's connection instead of answering."""


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Each connection has a thread of its own."""

    # Threads are joined by stop(), after their sockets have been shut.
    block_on_close = False
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], host: host_module.Host
    ) -> None:
        if ':' in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.host = host
        self.api = rest.Api(
            host.resources,
            host.files,
            host.jobs,
            host.sessions,
            host.settings,
        )
        self.control = control_api.ControlApi(host)
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}

    @property
    def is_local(self) -> bool:
        """Whether only this host reaches it."""
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback

    @property
    def url(self) -> str:
        name, port = str(self.server_address[0]), self.server_address[1]
        return (
            f'http://[{name}]:{port}'
            if ':' in name
            else (f'http://{name}:{port}')
        )

    def server_bind(self) -> None:
        # Not HTTPServer's, which looks its own name up in the DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])

    def process_request(
        self, request: typing.Any, client_address: typing.Any
    ) -> None:
        thread = threading.Thread(
            target=self._converse,
            args=(request, client_address),
            daemon=True,
            name='simulator-connection',
        )
        with self._lock:
            self._connections[request] = thread
        thread.start()

    def _converse(
        self, request: socket.socket, client_address: typing.Any
    ) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(request, None)

    def stop(self) -> None:
        """Close every connection and wait for its thread."""
        self.host.stop.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join()

    def handle_error(
        self, request: typing.Any, client_address: typing.Any
    ) -> None:
        """A connection that breaks is the client's affair."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    rbufsize = 1 << 16
    server: Server

    def version_string(self) -> str:
        return 'pvm-imagecache-simulator'

    def log_message(self, format: str, *args: object) -> None:
        """The request log is for that."""

    def do_GET(self) -> None:
        self._serve()

    do_PUT = do_POST = do_DELETE = do_PATCH = do_GET

    def _serve(self) -> None:
        if browsers.is_suspect(self.headers, self.server.is_local):
            # A page in a browser may reach this address too.
            self.close_connection = True
            self.send_error(403, 'Not for browsers')
            return
        try:
            body = body_module.Body(
                typing.cast(typing.Any, self.rfile), self.headers
            )
            if self.path.startswith(control_api.PREFIX):
                self._serve_control(body)
            else:
                self._serve_rest(body)
        except (_Reset, body_module.Malformed):
            self._reset()
        except (pacing.Stopped, body_module.Truncated, OSError):
            self.close_connection = True

    def _serve_control(self, body: body_module.Body) -> None:
        address = ipaddress.ip_address(self.client_address[0])
        if not address.is_loopback or (
            self.headers.get(control.HEADER) != control.HEADER_VALUE
        ):
            # There is no authentication: only for users of this host.
            self.close_connection = True
            self.send_error(
                403,
                f'{control.HEADER}: {control.HEADER_VALUE} is missing, or '
                'the client is on another host',
            )
            return
        status, answer = self.server.control.handle(
            self.command, self.path, body.read(_LARGEST_CONTROL)
        )
        self._send(
            rest.Answer(status, answer, {'Content-Type': 'application/json'})
        )

    def _serve_rest(self, body: body_module.Body) -> None:
        route = rest.route(self.command, self.path)
        token = self.headers.get('X-API-Session')
        row = self.server.host.log.begin(
            self.command,
            self.path,
            route.kind,
            self.headers.get('If-Match'),
            hashlib.sha256(token.encode()).hexdigest()[:8] if token else None,
        )
        request = rest.Request(
            self.command,
            self.path,
            route,
            self.headers,
            body,
            f'http://{self.headers.get("Host")}'
            if self.headers.get('Host')
            else self.server.host.base_url,
        )
        answer: rest.Answer | None = None
        try:
            answer = self._answer(request, row)
        finally:
            self.server.host.log.end(
                row,
                None if answer is None else answer.status,
                body.received,
                0 if answer is None else _length(answer),
            )
        self.close_connection |= not body.finished
        self._send(answer)
        self._leave(body)

    def _answer(
        self, request: rest.Request, row: request_log.Row
    ) -> rest.Answer:
        hits = self.server.host.faults.hitting(
            request.route.kind, request.method, request.target
        )
        row.fault = hits[-1].action.value if hits else None
        try:
            for rule in hits:
                self._strike(rule, request)
            answer = self.server.api.handle(request)
        except errors.RestError as error:
            answer = self._refusal(error, request)
        except (
            _Reset,
            pacing.Stopped,
            body_module.Truncated,
            body_module.Malformed,
            ConnectionError,
        ):
            raise
        except Exception as exc:
            # Like the real server: an entry, not a closed connection.
            traceback.print_exc()
            answer = self._refusal(
                errors.RestError(500, f'Unexpected error occurred: {exc!r}'),
                request,
            )
        return (
            self._strike_answer(hits[-1], request, answer) if hits else answer
        )

    def _strike_answer(
        self, rule: faults.Rule, request: rest.Request, answer: rest.Answer
    ) -> rest.Answer:
        if rule.action == faults.Action.LOSE_ANSWER:
            self._sleep(rule.seconds)
            raise _Reset()
        if rule.action == faults.Action.FAIL_AFTER:
            return self._refusal(
                errors.RestError(rule.status, rule.message), request
            )
        if rule.action == faults.Action.REPLACE_ANSWER:
            return dataclasses.replace(answer, body=rule.message.encode())
        return answer

    def _refusal(
        self, error: errors.RestError, request: rest.Request
    ) -> rest.Answer:
        text = atom.error_entry(error, request.target, request.headers)
        return rest.Answer(
            error.status, text.encode(), {'Content-Type': atom.CONTENT_TYPE}
        )

    def _strike(self, rule: faults.Rule, request: rest.Request) -> None:
        """Do what can be done before the request is handled."""
        actions = faults.Action
        if rule.action == actions.LATENCY:
            self._sleep(rule.seconds)
        elif rule.action == actions.STATUS:
            raise errors.RestError(rule.status, rule.message)
        elif rule.action == actions.VIOS_BUSY:
            raise errors.vios_busy('vios')
        elif rule.action == actions.PRECONDITION:
            raise errors.stale_etag()
        elif rule.action == actions.NO_SPACE:
            raise errors.no_space('volume group', 1 << 30, 0)
        elif rule.action == actions.RESET_BEFORE:
            raise _Reset()
        elif rule.action == actions.HANG:
            self._sleep(rule.seconds)
            raise _Reset()
        elif rule.action == actions.EXPIRE_SESSION:
            self._expire(request)
        elif rule.action == actions.BREAK_COPIES:
            request.work.copy_limit = rule.bytes
        else:
            self._strike_later(rule, request)

    def _strike_later(self, rule: faults.Rule, request: rest.Request) -> None:
        def reset() -> None:
            raise _Reset()

        if rule.action == faults.Action.RESET_AFTER_BYTES:
            request.body.trip_after(rule.bytes, reset)
        elif rule.action == faults.Action.EXPIRE_AFTER_BYTES:
            request.body.trip_after(rule.bytes, lambda: self._expire(request))
        elif rule.action == faults.Action.STALL_AFTER_BYTES:
            request.body.trip_after(
                rule.bytes, lambda: self._sleep(rule.seconds)
            )

    def _expire(self, request: rest.Request) -> None:
        self.server.host.sessions.forget(request.token)
        raise errors.unauthorized()

    def _sleep(self, seconds: float) -> None:
        if self.server.host.stop.wait(seconds):
            raise pacing.Stopped()

    def _send(self, answer: rest.Answer) -> None:
        self.send_response(answer.status)
        self.send_header('X-MC-Type', 'PVM')
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header('Content-Length', str(_length(answer)))
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        if answer.file is not None:
            self._send_file(*answer.file)
        elif answer.body:
            self.wfile.write(answer.body)

    def _send_file(self, path: str, size: int) -> None:
        with open(path, 'rb') as file:
            self.connection.sendfile(file, 0, size)

    def _leave(self, body: body_module.Body) -> None:
        """After an early answer, take what the client still sends.

        To close at once would reset the connection, and the client would
        never see the answer.
        """
        if body.finished:
            return
        self.connection.settimeout(_LINGER)
        body.drain()

    def _reset(self) -> None:
        """Close the connection the hard way (RST)."""
        self.close_connection = True
        raw = socket.socket(fileno=self.connection.detach())
        raw.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
        )
        raw.close()


def _length(answer: rest.Answer) -> int:
    return answer.file[1] if answer.file is not None else len(answer.body)
