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

"""The Glance launcher itself: what other tests take for granted of it.

One server serves the whole module. How fast downloads are is not looked at
here, a busy machine must not fail a test.
"""

import hashlib
from http import client as http_client
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import typing
import unittest

import fixtures
from glanceclient import exc as glance_exc
from oslotest import base

from pvm_imagecache.tests import images
from pvm_imagecache.tests.servers import glance

# Longer than a store's chunk, and no multiple of anything, bytes.
SIZE = 3 * 1024 * 1024 + 12345
# How long to wait for what comes by itself, seconds.
PATIENCE = 30.0

# Start a server, tell its address, and wait to be killed.
PARENT = """
import sys
from pvm_imagecache.tests.servers import glance
with glance.GlanceServer(sys.argv[1]) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def wait_until(condition: typing.Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f'not within {PATIENCE:.0f} s')
        time.sleep(0.05)


def setUpModule() -> None:
    temporary = unittest.enterModuleContext(tempfile.TemporaryDirectory())
    GlanceServerTestCase.directory = pathlib.Path(temporary)
    GlanceServerTestCase.server = unittest.enterModuleContext(
        glance.GlanceServer(GlanceServerTestCase.directory / 'glance')
    )


class GlanceServerTestCase(base.BaseTestCase):
    directory: typing.ClassVar[pathlib.Path]
    server: typing.ClassVar[glance.GlanceServer]

    def setUp(self) -> None:
        super().setUp()
        self.data = images.raw_bytes(SIZE, seed=7)
        self.server.reset_downloads()
        self.addCleanup(self.server.clear_faults)

    def create(self, data: bytes | None = None, **fields: typing.Any) -> str:
        return self.server.create_image(
            self.id()[-80:], self.data if data is None else data, **fields
        )

    def read(self, image_id: str, token: str | None = None) -> bytes:
        client = self.server.client(token)
        return b''.join(client.images.data(image_id))

    def request(
        self, image_id: str, **headers: str
    ) -> tuple[int, bytes, http_client.HTTPResponse]:
        """Ask for an image's data, at the level of HTTP."""
        host = self.server.url.removeprefix('http://')
        connection = http_client.HTTPConnection(host, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request(
            'GET',
            f'/v2/images/{image_id}/file',
            headers={'X-Auth-Token': self.server.token()} | headers,
        )
        response = connection.getresponse()
        return response.status, response.read(), response

    def connect(
        self, method: str, image_id: str, *headers: str
    ) -> socket.socket:
        """Send the head of a request for image data, and nothing more."""
        host, port = self.server.url.removeprefix('http://').split(':')
        connection = socket.create_connection((host, int(port)), PATIENCE)
        self.addCleanup(connection.close)
        head = (
            f'{method} /v2/images/{image_id}/file HTTP/1.1',
            f'Host: {host}',
            f'X-Auth-Token: {self.server.token()}',
            *headers,
        )
        connection.sendall('\r\n'.join(head).encode() + b'\r\n\r\n')
        return connection


class ImagesTestCase(GlanceServerTestCase):
    def test_bytes_come_back(self) -> None:
        self.assertEqual(self.data, self.read(self.create()))

    def test_a_file_comes_back(self) -> None:
        path = self.directory / 'image'
        images.write_raw(path, SIZE, seed=8)

        image_id = self.server.create_image('from a file', path)

        self.assertEqual(path.read_bytes(), self.read(image_id))
        self.assertEqual(
            path.read_bytes(), self.server.data_path(image_id).read_bytes()
        )

    def test_metadata_is_that_of_glance(self) -> None:
        image = self.server.client().images.get(
            self.create(hw_disk_bus='scsi')
        )

        self.assertEqual('active', image.status)
        self.assertEqual(SIZE, image.size)
        self.assertEqual(SIZE, image.virtual_size)
        self.assertEqual('demo', image.owner)
        self.assertEqual('scsi', image.hw_disk_bus)
        self.assertEqual('sha512', image.os_hash_algo)
        self.assertEqual(
            hashlib.sha512(self.data).hexdigest(), image.os_hash_value
        )
        self.assertEqual(hashlib.md5(self.data).hexdigest(), image.checksum)

    def test_an_id_of_choice(self) -> None:
        image_id = '0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0'

        self.assertEqual(image_id, self.create(id=image_id))
        self.assertEqual(image_id.upper(), self.create(id=image_id.upper()))
        self.assertRaises(glance_exc.HTTPConflict, self.create, id=image_id)

    def test_an_empty_image(self) -> None:
        image_id = self.create(b'')

        self.assertEqual(0, self.server.client().images.get(image_id).size)

    def test_a_range_of_data_is_served(self) -> None:
        status, data, _ = self.request(self.create(), Range='bytes=100-199')

        self.assertEqual((206, self.data[100:200]), (status, data))

    def test_disk_formats_and_virtual_sizes_are_known(self) -> None:
        gib = 1 << 30
        for disk_format, data in (
            ('qcow2', images.qcow2_bytes(gib, SIZE)),
            ('vmdk', images.vmdk_bytes(gib, SIZE)),
            ('iso', images.iso_bytes(SIZE)),
        ):
            image_id = self.create(data, disk_format=disk_format)

            image = self.server.client().images.get(image_id)
            self.assertEqual(disk_format, image.disk_format)
            self.assertEqual(SIZE, image.size)
            if disk_format != 'iso':
                self.assertEqual(gib, image.virtual_size)

    def test_format_and_content_must_match(self) -> None:
        exc = self.assertRaises(
            glance_exc.HTTPException, self.create, disk_format='qcow2'
        )

        # The reason is in the answer of newer releases than 30 only.
        self.assertIn('HTTP 415', str(exc))

    def test_unsafe_content_gets_in_by_the_back_door_only(self) -> None:
        safe = images.qcow2_bytes(1 << 30)
        unsafe = images.qcow2_bytes(1 << 30, backing_file='/etc/passwd')
        exc = self.assertRaises(
            glance_exc.HTTPException, self.create, unsafe, disk_format='qcow2'
        )
        self.assertIn('HTTP 415', str(exc))
        image_id = self.create(safe, disk_format='qcow2')

        self.server.replace_data(image_id, unsafe)

        # glanceclient has compared it with the hash.
        self.assertEqual(unsafe, self.read(image_id))

    def test_a_broken_upload_makes_no_image(self) -> None:
        client = self.server.client()
        image_id = client.images.create(
            disk_format='raw', container_format='bare'
        ).id
        connection = self.connect(
            'PUT',
            image_id,
            'Content-Type: application/octet-stream',
            'Transfer-Encoding: chunked',
        )
        connection.sendall(b'1000\r\n' + bytes(0x1000) + b'\r\n')
        connection.close()

        wait_until(
            lambda: (
                'client left amid' in self.server.log_path.read_text()
                and client.images.get(image_id).status == 'queued'
            )
        )
        self.assertFalse(self.server.data_path(image_id).exists())


class StoreTestCase(GlanceServerTestCase):
    def test_a_client_refuses_flipped_bytes(self) -> None:
        image_id = self.create()
        with self.server.data_path(image_id).open('r+b') as stored:
            stored.seek(SIZE // 2)
            stored.write(b'flip')

        self.assertRaises(IOError, self.read, image_id)

    def test_a_truncated_file(self) -> None:
        image_id = self.create()
        with self.server.data_path(image_id).open('r+b') as stored:
            stored.truncate(SIZE // 2)

        self.assertRaises(http_client.IncompleteRead, self.request, image_id)

    def test_a_missing_file(self) -> None:
        image_id = self.create()
        self.server.data_path(image_id).unlink()

        status, data, _ = self.request(image_id)

        self.assertEqual((204, b''), (status, data))


class TokensTestCase(GlanceServerTestCase):
    def test_a_reader_gets_metadata_and_no_data(self) -> None:
        image_id = self.create()
        token = self.server.token('ada', 'demo', ['reader'])

        image = self.server.client(token).images.get(image_id)

        self.assertEqual(SIZE, image.size)
        self.assertRaises(glance_exc.HTTPForbidden, self.read, image_id, token)

    def test_a_member_gets_data(self) -> None:
        token = self.server.token('ada', 'other', ['member', 'reader'])

        self.assertEqual(self.data, self.read(self.create(), token))

    def test_another_projects_private_image(self) -> None:
        image_id = self.create(visibility='private')
        token = self.server.token('eve', 'other', ['member', 'reader'])

        client = self.server.client(token)

        self.assertRaises(glance_exc.HTTPNotFound, client.images.get, image_id)

    def test_only_admins_publish(self) -> None:
        token = self.server.token('ada', 'demo', ['member', 'reader'])
        client = self.server.client(token)

        self.assertRaises(
            glance_exc.HTTPForbidden,
            client.images.create,
            disk_format='raw',
            container_format='bare',
            visibility='public',
        )

    def test_no_token_of_ours(self) -> None:
        image_id = self.create()
        for token in ('', 'nonsense', 'user:project:', 'a:b:c:d'):
            status, _, _ = self.request(image_id, **{'X-Auth-Token': token})
            self.assertEqual(401, status)

    def test_nobody_names_their_own_roles(self) -> None:
        image_id = self.create()
        token = self.server.token('ada', 'demo', ['reader'])
        forged = {'X-Auth-Token': token, 'X-Roles': 'admin,member'}

        status, _, _ = self.request(image_id, **forged)

        self.assertEqual(403, status)

    def test_a_token_without_form(self) -> None:
        self.assertRaises(ValueError, self.server.token, user='a:b')

    def test_proxies_are_not_for_the_loopback(self) -> None:
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy'):
            self.useFixture(
                fixtures.EnvironmentVariable(name, 'http://127.0.0.1:9')
            )

        self.assertEqual(self.data, self.read(self.create()))


class DownloadsTestCase(GlanceServerTestCase):
    def test_they_are_noted(self) -> None:
        before = time.time()
        image_id = self.create()
        reader = self.server.token('ada', 'demo', ['reader'])
        self.read(image_id)
        self.request(image_id, **{'X-Auth-Token': reader})
        self.request(image_id, Range='bytes=0-99')

        noted = self.server.downloads()

        self.assertEqual(
            [
                (image_id, 200, SIZE),
                (image_id, 403, 0),
                (image_id, 206, 100),
            ],
            [(d.image_id, d.status, d.bytes_sent) for d in noted],
        )
        times = [d.time for d in noted]
        self.assertEqual(sorted([before, *times, time.time()])[1:-1], times)

    def test_they_are_forgotten_on_request(self) -> None:
        self.read(self.create())

        self.server.reset_downloads()

        self.assertEqual([], self.server.downloads())

    def test_bandwidth_can_be_set(self) -> None:
        self.addCleanup(self.server.set_bandwidth, 0)
        image_id = self.create()
        self.assertEqual(0, self.server.bandwidth())

        self.server.set_bandwidth(50_000_000)

        self.assertEqual(50_000_000, self.server.bandwidth())
        self.assertEqual(self.data, self.read(image_id))


class FaultsTestCase(GlanceServerTestCase):
    def receive(self, connection: socket.socket, size: int) -> bytes:
        """Read a response's head and so many bytes of its body."""
        with connection.makefile('rb') as stream:
            while stream.readline().strip():
                pass
            return stream.read(size)

    def test_an_injected_status_is_answered(self) -> None:
        image_id = self.create()
        self.server.inject(image_id, status=503, count=2)

        statuses = [self.request(image_id)[0] for _ in range(3)]

        self.assertEqual([503, 503, 200], statuses)

    def test_other_images_are_spared(self) -> None:
        self.server.inject(self.create(), status=503)

        self.assertEqual(self.data, self.read(self.create()))

    def test_an_injected_reset_breaks_a_download(self) -> None:
        image_id = self.create()
        self.server.inject(image_id, reset_after=SIZE - 100)
        connection = self.connect('GET', image_id)

        received = self.receive(connection, SIZE - 100)

        self.assertEqual(self.data[:-100], received)
        self.assertRaises(ConnectionResetError, connection.recv, 1)
        [download] = self.server.downloads()
        self.assertEqual(SIZE - 100, download.bytes_sent)
        self.assertEqual(self.data, self.read(image_id))

    def test_reset_before_the_answer(self) -> None:
        image_id = self.create()
        self.server.inject(image_id, reset_after=0)

        self.assertRaises(ConnectionError, self.request, image_id)

    def test_an_injected_stall_holds_a_download(self) -> None:
        image_id = self.create()
        self.server.inject(image_id, stall_after=1000, seconds=3600)
        connection = self.connect('GET', image_id)

        self.assertEqual(self.data[:1000], self.receive(connection, 1000))
        connection.settimeout(0.2)
        self.assertRaises(TimeoutError, connection.recv, 1)

    def test_the_end_of_a_stall(self) -> None:
        image_id = self.create()
        self.server.inject(image_id, stall_after=1000, seconds=0.01)

        self.assertEqual(self.data, self.read(image_id))

    def test_faults_can_be_taken_back(self) -> None:
        image_id = self.create()
        self.server.inject(image_id, status=503)

        self.server.clear_faults()

        self.assertEqual(self.data, self.read(image_id))

    def test_one_way_at_a_time(self) -> None:
        for ways in ({}, {'status': 503, 'reset_after': 1}):
            self.assertRaises(ValueError, self.server.inject, 'an id', **ways)


class LifeTestCase(GlanceServerTestCase):
    def test_a_restart_keeps_url_and_images(self) -> None:
        image_id = self.create()
        self.read(image_id)
        url, noted = self.server.url, self.server.downloads()
        self.server.set_bandwidth(90_000_000)
        self.addCleanup(self.server.set_bandwidth, 0)

        self.server.stop()

        self.assertRaises(ConnectionRefusedError, self.request, image_id)
        self.assertEqual(noted, self.server.downloads())
        self.server.start()
        self.assertEqual(url, self.server.url)
        self.assertEqual(self.data, self.read(image_id))
        self.assertEqual(90_000_000, self.server.bandwidth())
        self.assertEqual(2, len(self.server.downloads()))

    def test_only_we_may_look(self) -> None:
        mode = self.server.state_dir.stat().st_mode

        self.assertEqual(0o700, mode & 0o777)

    def test_a_failure_to_start_tells_why(self) -> None:
        state_dir = self.directory / 'unfit'
        state_dir.mkdir()
        (state_dir / 'images').write_text('no directory')

        exc = self.assertRaises(
            glance.GlanceServerError, glance.GlanceServer(state_dir).__enter__
        )

        self.assertIn('FileExistsError', str(exc))

    def test_the_server_goes_with_its_parent(self) -> None:
        parent = subprocess.Popen(
            [sys.executable, '-c', PARENT, self.directory / 'orphan'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert parent.stdin
        assert parent.stdout
        with parent.stdin, parent.stdout:
            url = parent.stdout.readline().strip()
            parent.kill()
            parent.wait()

        ready = self.directory / 'orphan' / 'ready.json'
        wait_until(lambda: not ready.exists())
        host = url.removeprefix('http://')
        connection = http_client.HTTPConnection(host, timeout=PATIENCE)
        self.assertRaises(ConnectionRefusedError, connection.connect)
