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

"""A web server that gives prepared answers, and a client of Glance for it."""

import contextlib
import http.server
import json
import threading

from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint

from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.tests.unit import base

TOKEN = 'hush-hush'
OCTETS = {'Content-Type': 'application/octet-stream'}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers))
        status, headers, *parts = self.server.answers.pop(0)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        # The client may close the connection at any time.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                if callable(part):
                    self.wfile.flush()
                    part()
                else:
                    self.wfile.write(part)

    def log_message(self, *args):
        """Print nothing."""


class Server:
    """Answers requests one after another, each on its own connection.

    :ivar answers: status, headers, and parts of the content: bytes, or
        functions that are called in between.
    :ivar requests: the paths and headers that were requested.
    """

    def __init__(self, test):
        self._server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), _Handler
        )
        self.answers = self._server.answers = []
        self.requests = self._server.requests = []
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        thread = threading.Thread(
            target=self._server.serve_forever, kwargs={'poll_interval': 0.01}
        )
        thread.start()
        test.addCleanup(thread.join, base.PATIENCE)
        test.addCleanup(self._server.server_close)
        test.addCleanup(self._server.shutdown)

    def client(self, timeout=None, **kwargs):
        """Return a client of Glance that sends its requests here."""
        session = ksa_session.Session(
            token_endpoint.Token(self.url, TOKEN), timeout=timeout
        )
        return glance_http.make_client(session, **kwargs)

    def ranges(self):
        """Return the ranges that were requested, None for a whole."""
        return [headers.get('Range') for _, headers in self.requests]


def data(content, status=200, **headers):
    """Return an answer with the data of an image."""
    return (
        status,
        {**OCTETS, 'Content-Length': len(content), **headers},
        content,
    )


def part(content, content_range):
    """Return an answer with a part of the data of an image."""
    return data(content, 206, **{'Content-Range': content_range})


def as_json(content, status=200, **headers):
    """Return an answer with JSON."""
    return (
        status,
        {'Content-Type': 'application/json', **headers},
        json.dumps(content).encode(),
    )


def page(status, **headers):
    """Return an answer with a web page."""
    return (
        status,
        {'Content-Type': 'text/html; charset=utf-8', **headers},
        b'<html><title>Log on</title></html>',
    )
