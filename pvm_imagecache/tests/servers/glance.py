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

"""Start a real Glance API server, and look after it from the outside.

The server is a process of its own, see ``glance_wsgi``; nothing of Glance is
imported here. It lives in one directory and ends with the process that
started it. What tests need beyond Glance's API, such as the pace of
downloads, faults, and the files of the store, is on the launcher.
"""

from collections import abc
import contextlib
import dataclasses
import hashlib
from http import client as http_client
import io
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import time
import types
import typing

from glanceclient.v2 import client as glance_client
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
import requests

from pvm_imagecache.tests.servers import glance_wsgi
from pvm_imagecache.tests.servers import process as process_module

# How long the server may take to start and to stop, seconds. It needs five
# to ten seconds for the first start of a state directory.
_START_TIMEOUT = 120.0
# How long the control API may take to answer, seconds.
_CONTROL_TIMEOUT = 30.0
_LOG_TAIL_LINES = 40
_COPY_SIZE = 1 << 20

Data: typing.TypeAlias = bytes | str | os.PathLike[str]


class GlanceServerError(Exception):
    """The server did not start, or did not do as it was told."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A request for an image's data, which may still be under way.

    :ivar image_id: the image's id, as the request spelled it
    :ivar time: when the request came, seconds since the epoch
    :ivar status: HTTP status of the answer
    :ivar bytes_sent: image data handed to the connection
    """

    image_id: str
    time: float
    status: int
    bytes_sent: int


class GlanceServer:
    """A Glance API server on a loopback port.

    :param state_dir: the directory of all its files, made if missing; one
        that served before brings its images back
    :param bandwidth: image data per second of each download, bytes; 0 for
        no limit
    :param store: one of ``glance_wsgi.STORES``: files; files that cannot be
        read in parts, as with Ceph RBD; an HTTP server, by location
    :param python: an interpreter that has Glance
    :param keystone: URL of a Keystone whose tokens are valid, beside those
        of :meth:`token`, and the password of its user "admin"
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        *,
        bandwidth: int = 0,
        store: str = 'file',
        python: str = sys.executable,
        keystone: tuple[str, str] | None = None,
    ) -> None:
        self.store = store
        self.state_dir = pathlib.Path(state_dir).resolve()
        self.log_path = self.state_dir / 'glance.log'
        self._bandwidth = bandwidth
        self._python = python
        self._keystone = keystone
        self._process: subprocess.Popen[bytes] | None = None
        self._earlier_downloads: list[Download] = []
        self._sessions: list[requests.Session] = []
        self._reservation = _reserve_port()
        self._port: int = self._reservation.getsockname()[1]
        self.url = f'http://{glance_wsgi.HOST}:{self._port}'

    def __enter__(self) -> typing.Self:
        try:
            self.start()
        except BaseException:
            self._reservation.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.stop()
        for session in self._sessions:
            session.close()
        self._reservation.close()

    def start(self) -> None:
        """Start the server and wait until it answers.

        :raises GlanceServerError: if it does not, with the end of its log
        """
        if self._process is not None:
            return

        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir.chmod(0o700)
        ready = self.state_dir / glance_wsgi.READY_FILE
        ready.unlink(missing_ok=True)
        self._process = self._spawn()
        try:
            _wait_for(ready, self._process)
        except GlanceServerError as exc:
            self._end_process()
            raise GlanceServerError(f'{exc}\n{self._log_tail()}') from None
        except BaseException:
            self._end_process()
            raise

    def stop(self) -> None:
        """Stop the server, as an administrator would; it may start again."""
        if self._process is None:
            return

        # The server may have been killed, and its record with it.
        with contextlib.suppress(OSError, http_client.HTTPException):
            self._earlier_downloads += self._served_downloads()
        self._end_process()

    def token(
        self,
        user: str = 'admin',
        project: str = 'demo',
        roles: abc.Iterable[str] = ('admin', 'member', 'reader'),
    ) -> str:
        """Return a token of that user, for ``X-Auth-Token``.

        Roles imply no other roles here, as they would with Keystone.
        """
        fields = (user, project, ','.join(roles))
        if any(':' in field for field in fields):
            raise ValueError(f"no colons in tokens' fields: {fields}")
        return ':'.join(fields)

    def client(self, token: str | None = None) -> typing.Any:
        """Return a glanceclient for that token, by default an admin's."""
        session = requests.Session()
        # No proxy that the environment names leads to the loopback.
        session.trust_env = False
        self._sessions.append(session)
        auth = token_endpoint.Token(self.url, token or self.token())
        return glance_client.Client(
            session=ksa_session.Session(auth, session=session)
        )

    def create_image(
        self,
        name: str,
        data: Data,
        disk_format: str = 'raw',
        container_format: str = 'bare',
        id: str | None = None,
        visibility: str = 'public',
        **props: typing.Any,
    ) -> str:
        """Create an image of a file's or the given bytes; return its id."""
        if id is not None:
            props['id'] = id
        images = self.client().images
        image_id: str = images.create(
            name=name,
            disk_format=disk_format,
            container_format=container_format,
            visibility=visibility,
            **props,
        ).id
        with _open(data) as stream:
            images.upload(image_id, stream)

        status = images.get(image_id).status
        if status != 'active':
            raise GlanceServerError(f'image {image_id} is {status}')
        if self.store == 'http':
            self._move_to_http(image_id)
        return image_id

    def data_path(self, image_id: str) -> pathlib.Path:
        """Return where the store keeps an image's data."""
        return self.state_dir / glance_wsgi.IMAGES_DIR / image_id

    def replace_data(self, image_id: str, data: Data) -> None:
        """Give an image other data, with the size and hashes to match.

        Glance refuses uploads that it finds unsafe, yet clouds hold images
        from before it looked. This is how to get one.
        """
        md5, sha512 = hashlib.md5(), hashlib.sha512()
        size = 0
        with _open(data) as source, self.data_path(image_id).open('wb') as to:
            while piece := source.read(_COPY_SIZE):
                md5.update(piece)
                sha512.update(piece)
                size += to.write(piece)

        self._change_database(
            'UPDATE images SET size = ?, checksum = ?, os_hash_value = ?'
            ' WHERE id = ?',
            (size, md5.hexdigest(), sha512.hexdigest(), image_id),
        )

    def _move_to_http(self, image_id: str) -> None:
        """Make an image one whose data are at an address."""
        self._change_database(
            'UPDATE image_locations SET value = ?, meta_data = ?'
            ' WHERE image_id = ?',
            (
                f'{self.url}{glance_wsgi.STORE_PREFIX}{image_id}',
                json.dumps({'store': glance_wsgi.HTTP_BACKEND}),
                image_id,
            ),
        )

    def _change_database(
        self, statement: str, values: tuple[typing.Any, ...]
    ) -> None:
        database = sqlite3.connect(
            self.state_dir / glance_wsgi.DATABASE_FILE, timeout=60
        )
        with contextlib.closing(database), database:
            database.execute(statement, values)

    def downloads(self) -> list[Download]:
        """Return the requests for image data so far, in their order.

        What a stopped server still sent of a download while it went down
        is not counted.
        """
        if self._process is None:
            return list(self._earlier_downloads)
        return self._earlier_downloads + self._served_downloads()

    def reset_downloads(self) -> None:
        """Forget the requests for image data so far."""
        self._earlier_downloads.clear()
        if self._process is not None:
            self._control('DELETE', 'downloads')

    def bandwidth(self) -> int:
        """Return what each download gets, bytes per second, 0 for all."""
        return int(self._control('GET', 'bandwidth'))

    def set_bandwidth(self, bytes_per_s: int) -> None:
        """Set what each download gets, those under way included."""
        self._bandwidth = bytes_per_s
        self._control('PUT', 'bandwidth', bytes_per_s)

    def inject(
        self,
        image_id: str,
        *,
        reset_after: int | None = None,
        stall_after: int | None = None,
        seconds: float = 0.0,
        status: int | None = None,
        count: int = 1,
    ) -> None:
        """Spoil the next downloads of an image, in one of three ways.

        :param image_id: the image's id
        :param reset_after: reset the connection after so many bytes; at 0
            even before the status line
        :param stall_after: send nothing for a while after so many bytes
        :param seconds: how long that while is
        :param status: answer with this HTTP status and no data
        :param count: how many downloads it happens to
        """
        ways = (reset_after, stall_after, status)
        if sum(way is not None for way in ways) != 1 or count < 1:
            raise ValueError('one of reset_after, stall_after, status')

        fault = glance_wsgi.Fault(
            image_id=image_id,
            count=count,
            status=status,
            reset_after=reset_after,
            stall_after=stall_after,
            seconds=seconds,
        )
        self._control('POST', 'faults', dataclasses.asdict(fault))

    def clear_faults(self) -> None:
        """Take back the faults that no download has met yet."""
        self._control('DELETE', 'faults')

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [
            self._python,
            # The directory it starts in holds state, not modules.
            '-P',
            '-m',
            glance_wsgi.__name__,
            f'--state-dir={self.state_dir}',
            f'--port={self._port}',
            f'--bandwidth={self._bandwidth}',
            f'--store={self.store}',
        ]
        environment = _server_environment()
        if self._keystone:
            url, password = self._keystone
            command.append(f'--keystone={url}')
            environment[glance_wsgi.KEYSTONE_PASSWORD] = password
        with self.log_path.open('ab') as log:
            return process_module.end_with_us(
                subprocess.Popen(
                    command,
                    # Its end tells the server that we are gone.
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=self.state_dir,
                    env=environment,
                    umask=0o077,
                    # Ctrl-C is ours to handle.
                    start_new_session=True,
                )
            )

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process_module.end(process)

    def _served_downloads(self) -> list[Download]:
        return [Download(**d) for d in self._control('GET', 'downloads')]

    def _control(
        self, method: str, name: str, body: typing.Any = None
    ) -> typing.Any:
        connection = http_client.HTTPConnection(
            glance_wsgi.HOST, self._port, timeout=_CONTROL_TIMEOUT
        )
        with contextlib.closing(connection):
            connection.request(
                method, glance_wsgi.CONTROL_PREFIX + name, json.dumps(body)
            )
            response = connection.getresponse()
            answer = response.read()
        if response.status != 200:
            raise GlanceServerError(
                f'{method} {name}: {response.status}\n{self._log_tail()}'
            )
        return json.loads(answer)

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors='replace').splitlines()
        return '\n'.join(lines[-_LOG_TAIL_LINES:])


def _reserve_port() -> socket.socket:
    """Return a socket that keeps a port for the server, restarts included.

    A bound socket that does not listen refuses connections, and the kernel
    gives its port to nobody else but who asks for it with SO_REUSEPORT.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reservation.bind((glance_wsgi.HOST, 0))
    return reservation


def _server_environment() -> dict[str, str]:
    """Return our environment, cut and extended for the server."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # OS_GROUP__OPTION would override Glance's configuration.
        if not name.startswith('OS_')
    }
    root = pathlib.Path(glance_wsgi.__file__).parents[3]
    if root.name not in ('site-packages', 'dist-packages'):
        path = [str(root), environment.get('PYTHONPATH', '')]
        environment['PYTHONPATH'] = os.pathsep.join(filter(None, path))
    return environment


def _wait_for(ready: pathlib.Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not ready.exists():
        if process.poll() is not None:
            raise GlanceServerError(
                f'Glance ended at its start, status {process.returncode}'
            )
        if time.monotonic() > deadline:
            raise GlanceServerError(
                f'Glance has not started within {_START_TIMEOUT:.0f} s'
            )
        time.sleep(0.05)


def _open(data: Data) -> typing.BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else open(data, 'rb')
