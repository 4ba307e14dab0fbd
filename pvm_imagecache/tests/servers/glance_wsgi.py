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

"""The process that serves a real Glance API, started by ``glance.py``.

``python -m pvm_imagecache.tests.servers.glance_wsgi --state-dir DIR`` writes
Glance's configuration into DIR, creates its database there, and serves its
WSGI application on a loopback port until its standard input reaches its end
or it gets SIGTERM. Around the application lie the pace and the faults of
image downloads, and a small control API to set them. Glance is imported only
once all of that stands.
"""

import argparse
from collections import abc
import contextlib
import dataclasses
import fcntl
import importlib
import json
import os
import pathlib
import re
import signal
import socket
import socketserver
import struct
import sys
import termios
import threading
import time
import typing
from wsgiref import headers
from wsgiref import simple_server
from wsgiref import types

HOST = '127.0.0.1'
READY_FILE = 'ready.json'
IMAGES_DIR = 'images'
DATABASE_FILE = 'glance.sqlite'
CONTROL_PREFIX = '/control/'
#: The variable of the environment with the password of Keystone's admin.
KEYSTONE_PASSWORD = 'KEYSTONE_TEST_PASSWORD'
#: Where the data of images are for Glance's http store.
STORE_PREFIX = '/store/'
#: The backend of images whose data lie at an address.
HTTP_BACKEND = 'web'
#: What the server can store images in: files; files that cannot be read in
#: parts, as with Ceph RBD, Swift and S3; an HTTP server.
STORES = ('file', 'rbd', 'http')

# The pieces image data is read from the store and sent in, bytes.
_CHUNK = 1 << 20
# A slow download is sent in pieces of a fiftieth of a second, but no smaller
# than this, bytes.
_SMALLEST_PIECE = 4096
# How far a paced download may run behind and still catch up, seconds. A link
# that stood still longer has lost that time.
_CATCH_UP = 0.25
# How long a request's unread body is read off after the response, seconds.
_LINGER = 10.0
# How long an orderly exit may take before it is cut short, seconds.
_EXIT_GRACE = 5.0

_DATA_PATH = re.compile(r'/v2(?:\.\d+)?/images/([^/]+)/file/?')

# Nothing below loosens Glance: its policy is the one in its code, uploads
# are inspected as by default ([image_format] require_image_format_match).
# Random bytes declared raw pass that inspection unless they happen to end
# their first sector as an MBR does; what pvm_imagecache.tests.images makes
# never does.
_GLANCE_CONF = """\
[DEFAULT]
use_stderr = true
enabled_backends = fs:file, web:http
worker_self_reference_url = http://{host}:{port}

[database]
connection = sqlite:///{state}/{database}

[glance_store]
default_backend = fs

[fs]
filesystem_store_datadir = {state}/{images}
filesystem_store_chunk_size = {chunk}

[os_glance_staging_store]
filesystem_store_datadir = {state}/staging

[os_glance_tasks_store]
filesystem_store_datadir = {state}/tasks

[oslo_concurrency]
lock_path = {state}/locks

[oslo_policy]
policy_file = {state}/policy.yaml

[paste_deploy]
config_file = {state}/glance-api-paste.ini
"""

_PASTE_INI = """\
[composite:glance-api]
paste.composite_factory = glance.api:root_app_factory
/: api
/healthcheck: healthcheck

[composite:api]
paste.composite_factory = glance.api:pipeline_factory
default = cors http_proxy_to_wsgi versionnegotiation tokenauth context rootapp

[composite:rootapp]
paste.composite_factory = glance.api:root_app_factory
/: apiversions
/v2: apiv2app

[app:apiversions]
paste.app_factory = glance.api.versions:create_resource

[app:apiv2app]
paste.app_factory = glance.api.v2.router:API.factory

[app:healthcheck]
paste.app_factory = oslo_middleware:Healthcheck.app_factory

[filter:versionnegotiation]
paste.filter_factory = \
glance.api.middleware.version_negotiation:VersionNegotiationFilter.factory

[filter:context]
paste.filter_factory = \
glance.api.middleware.context:ContextMiddleware.factory

[filter:tokenauth]
paste.filter_factory = \
pvm_imagecache.tests.servers.token_auth:filter_factory

[filter:cors]
paste.filter_factory = oslo_middleware.cors:filter_factory
oslo_config_project = glance
oslo_config_program = glance-api

[filter:http_proxy_to_wsgi]
paste.filter_factory = oslo_middleware:HTTPProxyToWSGI.factory
"""

# Added to the filter tokenauth if tokens of a Keystone are valid too.
_AUTHTOKEN = """
auth_type = password
auth_url = {url}
username = admin
password = {password}
project_name = admin
user_domain_id = default
project_domain_id = default
service_token_roles = service
service_token_roles_required = true
token_cache_time = -1
"""


@dataclasses.dataclass
class Transfer:
    """One request for an image's data.

    :ivar image_id: the image's id, as the request spelled it
    :ivar time: when the request came, seconds since the epoch
    :ivar status: HTTP status of the answer, 0 before there is one
    :ivar bytes_sent: image data handed to the socket so far
    """

    image_id: str
    time: float
    status: int = 0
    bytes_sent: int = 0


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next downloads of an image.

    :ivar image_id: the image's id
    :ivar count: how many downloads it happens to
    :ivar status: HTTP status to answer with instead of the data
    :ivar reset_after: bytes after which the connection is reset
    :ivar stall_after: bytes after which the data stops for a while
    :ivar seconds: how long it stops
    """

    image_id: str
    count: int = 1
    status: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    seconds: float = 0.0

    @property
    def offset(self) -> int | None:
        """Byte before which it happens."""
        if self.reset_after is not None:
            return self.reset_after
        return self.stall_after

    def strike(self, connection: socket.socket) -> None:
        """Do to the connection what this fault is about."""
        if self.reset_after is not None:
            _reset(connection)
            raise ConnectionAbortedError('injected reset')
        time.sleep(self.seconds)


class Controls:
    """What may be changed while the server runs, and what it has seen.

    The public methods ``VERB_noun`` answer ``VERB /control/noun``; they take
    and return what JSON can say.
    """

    def __init__(self, bandwidth: int) -> None:
        self.bandwidth = bandwidth
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._transfers: list[Transfer] = []

    def begin(self, image_id: str) -> tuple[Transfer, Fault | None]:
        """Note a download, and take the fault that awaits it if any."""
        transfer = Transfer(image_id, time.time())
        with self._lock:
            self._transfers.append(transfer)
            return transfer, self._take_fault(image_id)

    def _take_fault(self, image_id: str) -> Fault | None:
        for fault in self._faults:
            if fault.image_id == image_id:
                fault.count -= 1
                if not fault.count:
                    self._faults.remove(fault)
                return fault
        return None

    def get_bandwidth(self, body: typing.Any) -> typing.Any:
        return self.bandwidth

    def put_bandwidth(self, body: typing.Any) -> typing.Any:
        self.bandwidth = int(body)
        return self.bandwidth

    def get_downloads(self, body: typing.Any) -> typing.Any:
        with self._lock:
            return [
                dataclasses.asdict(transfer)
                for transfer in self._transfers
                if transfer.status
            ]

    def delete_downloads(self, body: typing.Any) -> typing.Any:
        with self._lock:
            self._transfers.clear()

    def post_faults(self, body: typing.Any) -> typing.Any:
        with self._lock:
            self._faults.append(Fault(**body))

    def delete_faults(self, body: typing.Any) -> typing.Any:
        with self._lock:
            self._faults.clear()


class ControlAPI:
    """Serve the controls as JSON under their own path, the rest to Glance."""

    def __init__(self, app: types.WSGIApplication, controls: Controls) -> None:
        self._app = app
        self._controls = controls

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> abc.Iterable[bytes]:
        path = environ['PATH_INFO']
        if not path.startswith(CONTROL_PREFIX):
            return self._app(environ, start_response)

        name = f'{environ["REQUEST_METHOD"]}_{path[len(CONTROL_PREFIX) :]}'
        operation = getattr(self._controls, name.lower())
        answer = json.dumps(operation(_read_json(environ))).encode()
        start_response(
            '200 OK',
            [
                ('Content-Type', 'application/json'),
                ('Content-Length', str(len(answer))),
            ],
        )
        return [answer]


def _read_json(environ: types.WSGIEnvironment) -> typing.Any:
    body = environ['wsgi.input'].read()
    return json.loads(body) if body else None


class Pacer:
    """Let the bytes of one download through at the bandwidth that is set.

    A piece is let through when its last byte would have arrived over a link
    of that bandwidth, reckoned from the start of the download, so that
    sleeping too long does not add up.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._bandwidth = 0
        self._due = 0.0

    def piece(self, size: int) -> int:
        """Return how many of the next bytes to send at once."""
        bandwidth = self._controls.bandwidth
        if not bandwidth:
            return size
        return min(size, max(_SMALLEST_PIECE, bandwidth // 50))

    def wait(self, size: int) -> None:
        """Wait until that many bytes may go."""
        bandwidth = self._controls.bandwidth
        if not bandwidth:
            return

        now = time.monotonic()
        if bandwidth != self._bandwidth or now - self._due > _CATCH_UP:
            self._bandwidth = bandwidth
            self._due = now

        self._due += size / bandwidth
        if self._due > now:
            time.sleep(self._due - now)


class Downloads:
    """Note, pace and disturb the downloads of image data."""

    def __init__(self, app: types.WSGIApplication, controls: Controls) -> None:
        self._app = app
        self._controls = controls

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> abc.Iterable[bytes]:
        match = _DATA_PATH.fullmatch(environ['PATH_INFO'])
        if environ['REQUEST_METHOD'] != 'GET' or not match:
            return self._app(environ, start_response)

        transfer, fault = self._controls.begin(match[1])
        if fault and fault.status:
            transfer.status = fault.status
            start_response(
                f'{fault.status} Injected Fault', [('Content-Length', '0')]
            )
            return []

        def noting_start(
            status: str,
            headers: list[tuple[str, str]],
            exc_info: typing.Any = None,
        ) -> abc.Callable[[bytes], object]:
            transfer.status = int(status[:3])
            return start_response(status, headers, exc_info)

        data = self._app(environ, noting_start)
        if transfer.status not in (200, 206):
            return data
        return self._send(data, transfer, fault, environ['pvm.connection'])

    def _send(
        self,
        data: abc.Iterable[bytes],
        transfer: Transfer,
        fault: Fault | None,
        connection: socket.socket,
    ) -> abc.Iterator[bytes]:
        pacer = Pacer(self._controls)
        with _closing(data):
            for piece in self._pieces(data, pacer, fault, connection):
                pacer.wait(len(piece))
                # Counted before it is sent: a client that has it all must
                # not find a smaller count.
                transfer.bytes_sent += len(piece)
                yield piece

    def _pieces(
        self,
        data: abc.Iterable[bytes],
        pacer: Pacer,
        fault: Fault | None,
        connection: socket.socket,
    ) -> abc.Iterator[bytes]:
        sent = 0
        fault_at = fault.offset if fault else None
        for chunk in data:
            start = 0
            while start < len(chunk):
                if fault and sent == fault_at:
                    fault.strike(connection)
                size = pacer.piece(len(chunk) - start)
                if fault_at is not None and sent < fault_at:
                    size = min(size, fault_at - sent)
                yield chunk[start : start + size]
                start += size
                sent += size


@contextlib.contextmanager
def _closing(data: abc.Iterable[bytes]) -> abc.Iterator[None]:
    try:
        yield
    finally:
        close = getattr(data, 'close', None)
        if close:
            close()


def _reset(connection: socket.socket) -> None:
    """Reset the connection once the peer has got all that was sent."""
    deadline = time.monotonic() + _LINGER
    unsent = struct.pack('i', 1)
    while any(unsent) and time.monotonic() < deadline:
        # A reset discards what still waits in the socket, and the fault is
        # to come after an exact number of bytes. TIOCOUTQ: bytes that the
        # peer has not acknowledged.
        unsent = fcntl.ioctl(connection, termios.TIOCOUTQ, unsent)
        time.sleep(0.001)

    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
    )
    # Closing the socket object alone would wait for its file objects, and
    # the HTTP server shuts a connection down in good order.
    os.close(connection.detach())


class RequestBody:
    """A request's body, plain or chunked, that ends where the body ends.

    Glance closes its input once it has read an upload; here that must not
    close the connection.
    """

    def __init__(
        self, stream: typing.BinaryIO, length: int, chunked: bool
    ) -> None:
        self._stream = stream
        # Bytes left of the body, or of the current chunk.
        self._left = length
        self._chunked = chunked

    def read(self, size: int = -1) -> bytes:
        pieces = []
        while size != 0:
            piece = self._read_some(size if size > 0 else _CHUNK)
            if not piece:
                break
            pieces.append(piece)
            if size > 0:
                size -= len(piece)
        return b''.join(pieces)

    def _read_some(self, size: int) -> bytes:
        if self._chunked and not self._left:
            self._next_chunk()
        size = min(size, self._left)
        piece = self._stream.read(size)
        if len(piece) < size:
            raise ConnectionAbortedError('the client left amid its upload')
        self._left -= size
        if self._chunked and piece and not self._left:
            self._stream.readline()
        return piece

    def _next_chunk(self) -> None:
        header = self._stream.readline()
        if not header:
            raise ConnectionAbortedError('the client left amid its upload')
        self._left = int(header.split(b';')[0], 16)
        if not self._left:
            self._chunked = False
            while self._stream.readline().strip():
                pass

    def readline(self, size: int = -1) -> bytes:
        raise NotImplementedError('Glance reads blocks')

    def readlines(self, hint: int = -1) -> list[bytes]:
        raise NotImplementedError('Glance reads blocks')

    def __iter__(self) -> abc.Iterator[bytes]:
        return iter(lambda: self.read(_CHUNK), b'')

    def close(self) -> None:
        """Leave the connection open."""


class GatewayHandler(simple_server.ServerHandler):
    """Run the application for one request, the connection's only one."""

    http_version = '1.1'
    # Otherwise the variables of the process, HTTP_PROXY say, would look
    # like headers of every request.
    os_environ: dict[str, str] = {}

    # What the standard library's stubs leave out.
    headers: headers.Headers
    result: abc.Iterable[bytes] | None
    request_handler: simple_server.WSGIRequestHandler

    def cleanup_headers(self) -> None:
        super().cleanup_headers()
        # Bodies that end short of their length make a kept connection
        # useless for the next request.
        self.headers['Connection'] = 'close'

    def release(self) -> None:
        """Close what the application returned, if a failure left it open."""
        if self.result is not None and hasattr(self.result, 'close'):
            self.result.close()


class RequestHandler(simple_server.WSGIRequestHandler):
    """Speak HTTP/1.1, chunked uploads included, on one connection."""

    protocol_version = 'HTTP/1.1'
    rbufsize = 256 * 1024
    # Headers and body leave in separate writes.
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return

        body = self._body()
        gateway = GatewayHandler(
            typing.cast(typing.BinaryIO, body),
            typing.cast(typing.BinaryIO, self.wfile),
            self.get_stderr(),
            self.get_environ(),
        )
        gateway.request_handler = self
        application = self.server.get_app()  # type: ignore[attr-defined]
        try:
            gateway.run(application)
        finally:
            gateway.release()
        self._drain(body)

    def _body(self) -> RequestBody:
        encoding = self.headers.get('Transfer-Encoding', '')
        return RequestBody(
            typing.cast(typing.BinaryIO, self.rfile),
            int(self.headers.get('Content-Length') or 0),
            chunked=encoding.lower() == 'chunked',
        )

    def get_environ(self) -> types.WSGIEnvironment:
        environ = super().get_environ()
        environ['wsgi.input_terminated'] = True
        environ['pvm.connection'] = self.connection
        return environ

    def _drain(self, body: RequestBody) -> None:
        # Closing with input unread resets the connection, and a client that
        # still sends its refused upload would never see the answer.
        deadline = time.monotonic() + _LINGER
        with contextlib.suppress(OSError, ValueError):
            while body.read(_CHUNK) and time.monotonic() < deadline:
                pass


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """One thread for each connection, on the loopback interface."""

    daemon_threads = True
    request_queue_size = 128
    # The launcher keeps the port reserved with a socket of its own.
    allow_reuse_port = True

    def server_bind(self) -> None:
        # HTTPServer's would look the host's name up in the DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]
        self.setup_environ()


def write_config(
    state_dir: pathlib.Path, port: int, keystone: str = ''
) -> None:
    """Write all that Glance reads at its start.

    :param keystone: URL of the Keystone whose tokens are valid, if any. The
        password of its administrator is in the environment.
    """
    for name in (IMAGES_DIR, 'staging', 'tasks', 'locks'):
        (state_dir / name).mkdir(exist_ok=True)

    config = _GLANCE_CONF.format(
        # oslo.config substitutes what follows a dollar sign.
        state=str(state_dir).replace('$', '$$'),
        database=DATABASE_FILE,
        images=IMAGES_DIR,
        chunk=_CHUNK,
        host=HOST,
        port=port,
    )
    (state_dir / 'glance-api.conf').write_text(config)
    paste = _PASTE_INI
    if keystone:
        factory = 'token_auth:filter_factory\n'
        options = _AUTHTOKEN.format(
            url=keystone, password=os.environ[KEYSTONE_PASSWORD]
        )
        paste = paste.replace(factory, factory + options.lstrip())
    (state_dir / 'glance-api-paste.ini').write_text(paste)
    # Empty, lest a policy file of this machine be found instead.
    (state_dir / 'policy.yaml').write_text('{}\n')


def tune_sqlite(*, parallel_writes: bool) -> None:
    """Make sqlite bear parallel requests.

    Left alone, two requests that read and then write in one transaction
    cannot both go on, and one of them fails at once with "database is
    locked" however long the busy timeout.

    :param parallel_writes: start each transaction as one that writes. The
        service must then end every transaction with its request: another
        one waits for it even if it only reads.
    """
    from sqlalchemy import engine
    from sqlalchemy import event
    from sqlalchemy import pool

    @event.listens_for(pool.Pool, 'connect')
    def set_pragmas(connection: typing.Any, record: typing.Any) -> None:
        connection.execute('PRAGMA busy_timeout = 60000')
        connection.execute('PRAGMA journal_mode = WAL')
        # The state need not outlive a power failure.
        connection.execute('PRAGMA synchronous = OFF')

    if not parallel_writes:
        return

    @event.listens_for(engine.Engine, 'before_cursor_execute', retval=True)
    def begin_immediate(
        connection: typing.Any,
        cursor: typing.Any,
        statement: str,
        parameters: typing.Any,
        *rest: typing.Any,
    ) -> tuple[str, typing.Any]:
        if statement == 'BEGIN':
            statement = 'BEGIN IMMEDIATE'
        return statement, parameters


def sync_database(state_dir: pathlib.Path) -> None:
    """Create Glance's database unless that has been done."""
    from glance.cmd import manage
    from glance.common import config
    from oslo_config import cfg
    from oslo_log import log

    done = state_dir / 'database-created'
    if done.exists():
        return

    for remains in state_dir.glob(f'{DATABASE_FILE}*'):
        remains.unlink()
    log.register_options(cfg.CONF)
    config.set_config_defaults()
    cfg.CONF(
        [],
        project='glance',
        prog='glance-api',
        default_config_files=[str(state_dir / 'glance-api.conf')],
    )
    manage.DbCommands().sync()
    # The application parses the command line itself, and until Glance 32 it
    # registers options for it first, which is refused after a parsing.
    cfg.CONF.clear()
    done.touch()


class StoreFiles:
    """Serve the data of images to the http store, the rest to Glance."""

    def __init__(
        self, app: types.WSGIApplication, state_dir: pathlib.Path
    ) -> None:
        self._app = app
        self._directory = state_dir / IMAGES_DIR

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> abc.Iterable[bytes]:
        path = environ['PATH_INFO']
        if not path.startswith(STORE_PREFIX):
            return self._app(environ, start_response)
        file = self._directory / pathlib.PurePath(path).name
        if not file.is_file():
            start_response('404 Not Found', [('Content-Length', '0')])
            return []
        start_response(
            '200 OK', [('Content-Length', str(file.stat().st_size))]
        )
        if environ['REQUEST_METHOD'] == 'HEAD':
            return []
        return _read(file)


def _read(file: pathlib.Path) -> abc.Iterator[bytes]:
    with file.open('rb') as data:
        while piece := data.read(_CHUNK):
            yield piece


def forbid_ranges() -> None:
    """Give the file store the capabilities of the one for Ceph RBD."""
    from glance_store import capabilities
    from glance_store._drivers import filesystem

    filesystem.Store._CAPABILITIES = capabilities.BitMasks.RW_ACCESS


def load_application(
    state_dir: pathlib.Path, store: str
) -> types.WSGIApplication:
    """Import Glance and return its application."""
    # Glance parses the command line of its process.
    sys.argv[1:] = []
    os.environ['OS_GLANCE_CONFIG_DIR'] = str(state_dir)
    tune_sqlite(parallel_writes=True)
    sync_database(state_dir)
    # On its way out Glance asks for a thread pool even if it had none, and
    # then it is too late to import this.
    importlib.import_module('concurrent.futures.thread')
    if store == 'rbd':
        forbid_ranges()
    from glance.wsgi import api

    return typing.cast(types.WSGIApplication, api.application)


def write_ready(state_dir: pathlib.Path, port: int) -> pathlib.Path:
    """Tell the launcher, in one step, that the server answers."""
    ready = state_dir / READY_FILE
    draft = ready.with_suffix('.tmp')
    draft.write_text(json.dumps({'port': port, 'pid': os.getpid()}))
    return draft.replace(ready)


def stop_at_end_of_input(stop: abc.Callable[[], None]) -> None:
    """Stop once standard input has ended, that is once the parent is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop()


def serve(server: Server, state_dir: pathlib.Path) -> None:
    """Answer requests until the server is shut down."""
    server.server_activate()
    ready = write_ready(state_dir, server.server_port)
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        ready.unlink(missing_ok=True)
        server.server_close()


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--state-dir', type=pathlib.Path, required=True)
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument(
        '--bandwidth',
        type=int,
        default=0,
        help='bytes per second of each download, 0 for no limit',
    )
    parser.add_argument(
        '--keystone',
        metavar='URL',
        default='',
        help='accept the tokens of this Keystone too',
    )
    parser.add_argument('--store', choices=STORES, default='file')
    return parser.parse_args()


def main() -> None:
    """Serve Glance until the parent goes or asks for the end."""
    arguments = parse_arguments()
    state_dir = arguments.state_dir.resolve()
    server = Server(
        (HOST, arguments.port), RequestHandler, bind_and_activate=False
    )
    server.server_bind()

    def stop() -> None:
        # Glance waits for its tasks on the way out, we do not for ever.
        timer = threading.Timer(_EXIT_GRACE, os._exit, [1])
        timer.daemon = True
        timer.start()
        server.shutdown()

    def on_sigterm(*_: typing.Any) -> None:
        # Shutting the server down waits for the loop that was interrupted.
        threading.Thread(target=stop, daemon=True).start()

    signal.signal(signal.SIGTERM, on_sigterm)
    threading.Thread(
        target=stop_at_end_of_input, args=(stop,), daemon=True
    ).start()

    write_config(state_dir, server.server_port, arguments.keystone)
    controls = Controls(arguments.bandwidth)
    application = Downloads(
        load_application(state_dir, arguments.store), controls
    )
    server.set_app(StoreFiles(ControlAPI(application, controls), state_dir))
    serve(server, state_dir)


if __name__ == '__main__':
    main()
