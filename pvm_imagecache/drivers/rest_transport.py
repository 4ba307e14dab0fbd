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
"""One request to the REST API: to the given server only, and with an end.

A redirection is an answer like any other: following it would take the token,
the password or the data of an image to any server.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import math
import os
import socket
import threading
import time
from typing import Any

import requests
from requests import adapters
from urllib3 import connectionpool

#: Checks the connection before anything is sent; raises an error otherwise.
Check = Callable[[socket.socket], None]


class Deadline:
    """Ends the connections of a request that takes too long.

    A limit of a socket bounds a single step. A server that sends a byte now
    and then would never reach it.

    :param seconds: until then; :meth:`suspended` starts them again.
    :ivar passed: whether the connections were ended.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._guard = threading.Lock()
        #: Descriptors of the connections; TLS takes over the sockets.
        self._descriptors: list[int] = []
        self._timer: threading.Timer | None = None
        self._over = False

    def __enter__(self) -> 'Deadline':
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._guard:
            self._over = True
            timer = self._timer
            for each in self._descriptors:
                os.close(each)
            self._descriptors.clear()
        if timer is not None:
            timer.cancel()
            timer.join()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Do not count the time of the block, and start it again after.

        The server waits in the block, not this process.

        :returns: a context manager.
        """
        self._end = math.inf
        try:
            yield
        finally:
            self._end = time.monotonic() + self._seconds

    def watch(self, connection: socket.socket) -> None:
        """End a connection too, when the time is over.

        :param connection: the socket.
        """
        with self._guard:
            self._descriptors.append(os.dup(connection.fileno()))

    def end(self) -> None:
        """End the connections now, as if the time were over."""
        with self._guard:
            if not self._over:
                self._end_connections()

    def _start(self) -> None:
        left = min(self._seconds, self._end - time.monotonic())
        self._timer = threading.Timer(max(0.01, left), self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._guard:
            if self._over:
                return
            if time.monotonic() < self._end:
                self._start()
                return
            self._end_connections()

    def _end_connections(self) -> None:
        self.passed = True
        for each in self._descriptors:
            connection = socket.socket(fileno=each)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.detach()


class Session(requests.Session):
    """Sends one request; redirections are not followed.

    :param deadline: of the request.
    :param check: is called with each connection.
    :param trust_env: whether the proxies and certificates of the environment
        are used.
    """

    def __init__(
        self, deadline: Deadline, check: Check, trust_env: bool
    ) -> None:
        super().__init__()
        self.trust_env = trust_env
        # Otherwise ~/.netrc may have a password for the host.
        self.auth = _no_auth
        self.headers.clear()
        self.headers['Accept-Encoding'] = 'identity'

        def opened(connection: socket.socket) -> None:
            deadline.watch(connection)
            check(connection)

        for scheme in ('http://', 'https://'):
            self.mount(scheme, _Adapter(opened))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests would read all of the answer otherwise.

        :param resp: the answer.
        """
        return


def extending(pieces: Iterable[bytes], deadline: Deadline) -> Iterator[bytes]:
    """Yield pieces of an upload; the time of each one counts by itself.

    Where the pieces come from has time limits of its own.

    :param pieces: the data.
    :param deadline: of the request that takes it.
    :returns: the same pieces.
    """
    source = iter(pieces)
    while True:
        with deadline.suspended():
            piece = next(source, None)
        if piece is None:
            return
        yield piece


def _no_auth(request: Any) -> Any:
    return request


class _Adapter(adapters.HTTPAdapter):
    """The adapter of requests, with a hook for new connections."""

    def __init__(self, opened: Check) -> None:
        self._opened = opened
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            'http': _pool_class(
                connectionpool.HTTPConnectionPool, self._opened
            ),
            'https': _pool_class(
                connectionpool.HTTPSConnectionPool, self._opened
            ),
        }

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = (
            self.poolmanager.pool_classes_by_scheme
        )
        return manager


def _pool_class(base: type[Any], opened: Check) -> type[Any]:
    """Return a class of pools that report each new connection."""

    def new_connection(self: Any) -> Any:
        connection = base.ConnectionCls._new_conn(self)
        try:
            opened(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    connection_class = type(
        'Connection', (base.ConnectionCls,), {'_new_conn': new_connection}
    )
    return type(base.__name__, (base,), {'ConnectionCls': connection_class})
