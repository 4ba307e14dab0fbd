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

"""Malformed answers of Glance and Keystone, and malformed files.

A server answers at random: with what Glance and Keystone would answer, with
values changed, with other content, encodings and headers, with answers that
expand or never end, and with broken connections. Everything that is asked
for must end with a result or an error of this project, in little memory.

    python -m pvm_imagecache.tests.stress.fuzz_glance --seconds 1800
"""

import argparse
import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import gzip
import http.server
import itertools
import json
import pathlib
import random
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from typing import Any
from unittest import mock
import uuid
import zlib

from keystoneauth1 import session as ksa_session
from keystoneauth1.identity import v3
import requests

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.cmd import clouds
from pvm_imagecache.cmd import shell
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import location
from pvm_imagecache.glance import login
from pvm_imagecache.glance import pages
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.glance import transport
from pvm_imagecache.policies import enforcer
from pvm_imagecache.tests import seams

#: Seconds in which each call must end.
LONGEST_CALL = 60
#: MiB that the process may need, with the server.
MOST_MEMORY = 300
IMAGE_ID = str(uuid.UUID(int=7))
DATA = bytes(range(256)) * 512
#: Bytes after which an endless answer ends, so that a run does not take long.
_ENDLESS = 64 << 20
_ZEROS = bytes(1 << 20)


def _bomb() -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b''.join(made.compress(_ZEROS) for _ in range(256)) + made.flush()


BOMB = _bomb()


# -- answers


def entry(chance: random.Random) -> dict[str, Any]:
    """An image as Glance describes it."""
    return {
        'id': IMAGE_ID if chance.random() < 0.7 else str(uuid.uuid4()),
        'name': chance.choice(['debian', None, '\ud800', 'x' * 300]),
        'status': 'active',
        'size': len(DATA),
        'disk_format': 'raw',
        'container_format': 'bare',
        'os_hash_algo': 'sha512',
        'os_hash_value': 'ab' * 64,
        'checksum': 'ab' * 16,
        'created_at': '2026-01-01T00:00:00Z',
    }


def token(url: str) -> dict[str, Any]:
    """What Keystone answers to a logon."""
    return {
        'token': {
            'methods': ['password'],
            'user': {'id': 'u', 'name': 'u', 'domain': {'id': 'default'}},
            'expires_at': '2099-01-01T00:00:00.000000Z',
            'issued_at': '2026-01-01T00:00:00.000000Z',
            'project': {'id': 'p', 'name': 'p', 'domain': {'id': 'default'}},
            'roles': [{'id': 'r', 'name': 'member'}],
            'catalog': [
                {
                    'type': 'image',
                    'id': 'i',
                    'name': 'glance',
                    'endpoints': [
                        {
                            'id': 'e',
                            'interface': 'public',
                            'region': 'R',
                            'region_id': 'R',
                            'url': url,
                        }
                    ],
                }
            ],
        }
    }


def value(chance: random.Random) -> Any:
    """Any value that JSON has."""
    return chance.choice(
        [
            None,
            True,
            -1,
            10**400,
            1e308,
            '',
            '\x00\x1b[2J',
            '\ud800',
            'x' * 70_000,
            [],
            [[]],
            {},
            {'id': 1},
            'http://[broken',
            '../../etc/passwd',
        ]
    )


def mutated(chance: random.Random, content: Any) -> Any:
    """A value with some of its parts replaced, removed or added."""
    if chance.random() < 0.05:
        return value(chance)
    if isinstance(content, dict):
        found = {
            each: mutated(chance, part)
            for each, part in content.items()
            if chance.random() > 0.03
        }
        if chance.random() < 0.1:
            found[str(value(chance))[:50]] = value(chance)
        return found
    if isinstance(content, list):
        return [mutated(chance, each) for each in content]
    return content


def endless(chance: random.Random) -> Iterator[bytes]:
    """An answer that does not end."""
    piece = chance.choice(
        [b' ' * 65536, b'[' * 65536, b'{},' * 20_000, _ZEROS, b'"x",' * 9999]
    )
    for _ in range(_ENDLESS // len(piece)):
        yield piece


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers at random."""

    protocol_version = 'HTTP/1.1'
    timeout = 10

    def handle(self) -> None:
        """Answer; the client may have gone away."""
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer as Glance or Keystone, or otherwise."""
        chance: random.Random = self.server.chance  # type: ignore[attr-defined]
        length = int(self.headers.get('Content-Length') or 0)
        self.rfile.read(length)
        self.close_connection = True
        if chance.random() < 0.5:
            self._plausible(chance)
        else:
            chance.choice(
                [self._strange, self._strange, self._raw, self._changed]
            )(chance)

    do_POST = do_GET

    def _expected(self, chance: random.Random) -> tuple[Any, str]:
        """The content of a right answer, and its type."""
        url = f'http://127.0.0.1:{self.server.server_address[1]}'
        path = self.path.partition('?')[0]
        if path.endswith('/file'):
            return DATA, 'application/octet-stream'
        if path.endswith('/tokens'):
            return token(url), 'application/json'
        if path.endswith('/images'):
            listed: dict[str, Any] = {
                'images': [entry(chance) for _ in range(chance.randrange(4))]
            }
            if chance.random() < 0.8:
                listed['next'] = '/v2/images?marker=x'
            return listed, 'application/json'
        if '/images/' in path:
            return entry(chance), 'application/json'
        links = [{'rel': 'self', 'href': f'{url}/v3/'}]
        return {
            'version': {'id': 'v3.14', 'status': 'stable', 'links': links}
        }, 'application/json'

    def _plausible(self, chance: random.Random) -> None:
        content, kind = self._expected(chance)
        self._send(chance, content, kind)

    def _changed(self, chance: random.Random) -> None:
        content, kind = self._expected(chance)
        self._send(chance, mutated(chance, content), kind)

    def _send(self, chance: random.Random, content: Any, kind: str) -> None:
        data = (
            content
            if isinstance(content, bytes)
            else json.dumps(content).encode(errors='replace')
        )
        self.send_response_only(201 if self.command == 'POST' else 200)
        self.send_header('Content-Type', kind)
        self.send_header('X-Subject-Token', 'hush')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _strange(self, chance: random.Random) -> None:
        """Any status, headers and content."""
        content, kind = self._expected(chance)
        self.send_response_only(
            chance.choice([200, 200, 200, 201, 204, 206, 300, 302, 400, 401])
            if chance.random() < 0.8
            else chance.choice([403, 404, 409, 413, 429, 500, 503, 599, 999])
        )
        self.send_header(
            'Content-Type',
            chance.choice([kind, kind, 'text/plain', 'text/html', 'x', '']),
        )
        for name, values in (
            ('Location', ['/v2/images', 'http://[', 'http://other/', '//']),
            ('Retry-After', ['0', '-1', 'x', '9' * 400]),
            ('Content-Range', ['bytes 0-0/1', 'bytes x', 'bytes 9-1/0']),
            ('X-Subject-Token', ['hush', 'a b']),
            ('Content-Length', ['0', '5', '-1', 'x', '9' * 30]),
            ('Transfer-Encoding', ['chunked', 'x']),
        ):
            if chance.random() < 0.25:
                self.send_header(name, chance.choice(values))
        encoding = ''
        if chance.random() < 0.5:
            encoding = chance.choice(
                ['gzip', 'deflate', 'br', 'zstd', 'gzip, gzip', 'x']
            )
            self.send_header('Content-Encoding', encoding)
        self.end_headers()
        for piece in self._pieces(chance, content, encoding):
            self.wfile.write(piece)

    def _pieces(
        self, chance: random.Random, content: Any, encoding: str
    ) -> Iterator[bytes]:
        choice = chance.random()
        if choice < 0.3:
            yield BOMB
        elif choice < 0.45:
            yield from endless(chance)
        elif choice < 0.6:
            yield gzip.compress(json.dumps(str(content)[:999]).encode())
        elif choice < 0.7:
            yield b'[' * 200_000
        elif choice < 0.8:
            yield chance.randbytes(chance.randrange(1000))
        elif isinstance(content, bytes):
            yield content[: chance.randrange(len(content))]
        else:
            yield json.dumps(mutated(chance, content)).encode()

    def _raw(self, chance: random.Random) -> None:
        """Something that may not be HTTP."""
        self.wfile.write(
            chance.choice(
                [
                    b'',
                    b'\0' * 100,
                    b'HTTP/1.1 200\r\n\r\n{}',
                    b'HTTP/9.9 OK\r\n\r\n',
                    b'HTTP/1.1 200 OK\r\n' + b'A: b\r\n' * 500,
                    b'HTTP/1.1 200 OK\r\nA: ' + b'x' * 200_000,
                    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n'
                    b'\r\nffffffffff\r\n{}',
                    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n'
                    b'\r\n-1\r\n' + _ZEROS * 64,
                    b'HTTP/1.1 100 Continue\r\n\r\n' * 50,
                ]
            )
        )


@contextlib.contextmanager
def server(chance: random.Random) -> Iterator[str]:
    """Run the server; gives its address."""
    made = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    made.daemon_threads = True
    made.chance = chance  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{made.server_address[1]}'
    finally:
        made.shutdown()
        made.server_close()


# -- calls


def source_for(url: str) -> image_source.ImageSource:
    """Images of the server, with a logon at it."""
    session = ksa_session.Session(timeout=2)
    auth = v3.Password(
        f'{url}/v3',
        username='u',
        password='hush',
        user_domain_id='default',
        project_name='p',
        project_domain_id='default',
    )
    client = glance_http.make_client(
        session,
        first_byte_timeout=2,
        transport=transport.GlanceAdapter,
        auth=login.Login(auth, login.CONFIGURED),
        where=location.Location(),
        servers=None,
    )
    return image_source.ImageSource(lambda context: client)


def calls(
    chance: random.Random, url: str, directory: pathlib.Path
) -> dict[str, Callable[[], object]]:
    """What is called, by a name for the report."""
    source = source_for(url)
    image = image_module.Image(
        IMAGE_ID, 'debian', len(DATA), 'raw', checksum='ab' * 16
    )

    def download() -> None:
        with source.open(image) as stream:
            for _ in stream:
                pass

    def cloud() -> None:
        path = directory / 'clouds.yaml'
        path.write_bytes(yaml_file(chance))
        clouds.from_cloud('mine', {'OS_CLIENT_CONFIG_FILE': str(path)})

    def configuration() -> None:
        path = directory / 'nova.conf'
        path.write_bytes(ini_file(chance))
        shell.read_configuration([str(path)], [])

    def policy() -> None:
        path = directory / 'policy.yaml'
        path.write_bytes(yaml_file(chance))
        enforcer.get_enforcer(str(path))

    return {
        'get': lambda: source.get(IMAGE_ID),
        'find by name': lambda: source.find('debian'),
        'find by prefix': lambda: source.find(IMAGE_ID[:9]),
        'shows images': source.shows_images,
        'presence': lambda: source.presence(IMAGE_ID),
        'check readable': lambda: source.check_readable(image),
        'download': download,
        'clouds.yaml': cloud,
        'nova.conf': configuration,
        'policy.yaml': policy,
    }


def yaml_file(chance: random.Random) -> bytes:
    """A file that is YAML, or looks like it."""
    lines = [
        'clouds: {mine: {auth: {auth_url: "http://x", username: u}}}',
        'clouds: &c {mine: *c}',
        'clouds:\n  mine: &m\n    auth: *m',
        'clouds: [mine]',
        'clouds: {mine: {auth: {auth_url: 7}, regions: [1, {name: [2]}]}}',
        '"pvm_imagecache:list": "role:admin or not (role:x"',
        '"pvm_imagecache:list": "rule:pvm_imagecache:list"',
        'a: !!python/object/apply:os.system [id]',
        'a: &a [' + 'x, ' * 50 + 'x]',
        *(
            f'{two}: &{two} [{", ".join([f"*{one}"] * 9)}]'
            for one, two in itertools.pairwise('abcdefghij')
        ),
        '[' * 3000,
        '? ' * 100,
        '2026-99-99: 1',
        '\t- x',
        '%YAML 9.9',
        '\x00',
    ]
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(300))
    if chance.random() < 0.05:
        return b'x: y\n' * 200_000
    start = chance.randrange(len(lines))
    return '\n'.join(
        lines[start : start + chance.choice([1, 2, 3, 10])]
    ).encode()


def ini_file(chance: random.Random) -> bytes:
    """A file that is a configuration, or looks like one."""
    lines = [
        '[pvm_imagecache]',
        '[glance]',
        '[',
        'max_gib = x',
        'max_gib = nan',
        'state_path = relative',
        'state_path = $state_path',
        'eviction_policies = ,,,',
        'min_transfer_rate = -1',
        'port = 99999999999999999999',
        'a' * 70_000,
        '= x',
        '  continued',
        'x = %(y)s $z ${',
        '\x00\x1b',
    ]
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(300))
    return '\n'.join(
        ['[pvm_imagecache]' if chance.random() < 0.7 else '']
        + chance.choices(lines, k=chance.randrange(6))
    ).encode()


def memory() -> int:
    """The most memory that the process has needed so far, in MiB.

    The figure of getrusage() can be that of the process which started it.
    """
    status = pathlib.Path('/proc/self/status').read_text()
    found = re.search(r'^VmHWM:\s+(\d+) kB$', status, re.MULTILINE)
    assert found is not None
    return int(found[1]) >> 10


def _too_long(*args: Any) -> None:
    raise TimeoutError(f'a call takes more than {LONGEST_CALL} s')


def fuzz(seconds: float, seed: int) -> int:
    """Call until the time is over; returns the number of failures."""
    chance = random.Random(seed)
    outcomes: collections.Counter[str] = collections.Counter()
    failures = 0
    signal.signal(signal.SIGALRM, _too_long)
    end = time.monotonic() + seconds
    with (
        seams.short_retries(),
        mock.patch.object(pages, 'MAX_SECONDS', 5.0),
        tempfile.TemporaryDirectory() as directory,
        server(chance) as url,
    ):
        while time.monotonic() < end:
            made = calls(chance, url, pathlib.Path(directory))
            name = chance.choice(list(made))
            signal.alarm(LONGEST_CALL)
            try:
                made[name]()
                outcomes['results'] += 1
            except exceptions.PVMImageCacheError as error:
                outcomes[type(error).__name__] += 1
                if 'hush' in f'{error} {error!r}' or '\n' in str(error):
                    failures += 1
                    print(f'{name}: a secret or lines in: {error!r}')
            except Exception:
                failures += 1
                print(f'{name}:\n{traceback.format_exc()}')
            finally:
                signal.alarm(0)
            if memory() > MOST_MEMORY:
                print(f'{name}: {memory()} MiB')
                failures += 1
                break
    for kind, count in outcomes.most_common():
        print(f'{count:8} {kind}')
    print(
        f'{outcomes.total()} calls, {memory()} MiB, {failures} failures, '
        f'seed {seed}'
    )
    return failures


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--seed', type=int, default=int(time.time()))
    arguments = parser.parse_args()
    # Warnings about redirections and TLS are not what is looked for.
    requests.packages.urllib3.disable_warnings()  # type: ignore[attr-defined]
    return 1 if fuzz(arguments.seconds, arguments.seed) else 0


if __name__ == '__main__':
    sys.exit(main())
