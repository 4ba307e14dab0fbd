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

"""The data in one answer of Glance."""

import gzip
import http.client
import io
import logging
import threading

import hypothesis
from hypothesis import strategies
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import noauth
from keystoneauth1 import session
import requests

from pvm_imagecache.glance import body
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import pace
from pvm_imagecache.system import content as content_module
from pvm_imagecache.system import streaming
from pvm_imagecache.tests.servers import hostile_powervm
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import responses


class _Raw(io.BytesIO):
    """Bytes as urllib3 returns them."""

    def stream(self, size, decode_content):
        while part := self.read(size):
            yield part


class _Broken(_Raw):
    """Bytes that end with an error."""

    def __init__(self, content, error):
        super().__init__(content)
        self._error = error

    def read(self, size=-1):
        part = super().read(size)
        if not part:
            raise self._error
        return part


def _response(raw):
    response = requests.Response()
    response.raw = raw
    response.url = f'{responses.FILE_URL}?token=hush'
    return response


class BodyTest(base.TestCase):
    @base.generated
    @hypothesis.given(
        strategies.binary(max_size=100), strategies.integers(0, 120)
    )
    def test_the_beginning_is_skipped(self, content, skip):
        self.patch(content_module, 'PART_SIZE', 7)
        found = body.Body(_response(_Raw(content)), skip)
        self.assertEqual(content[skip:], b''.join(found))

    def test_no_part_is_empty(self):
        self.patch(content_module, 'PART_SIZE', 7)
        found = body.Body(_response(_Raw(bytes(100))), 50)
        self.assertNotIn(b'', list(found))

    def test_a_broken_connection_is_reported_with_its_address(self):
        for raised in (
            ConnectionResetError(104, 'Connection reset by peer'),
            TimeoutError('timed out'),
            requests.exceptions.ChunkedEncodingError('c'),
            http.client.IncompleteRead(b'x'),
        ):
            found = body.Body(_response(_Broken(b'abc', raised)))
            self.assertEqual(b'abc', next(found))
            error = self.assertRaises(glance_http.Interrupted, next, found)
            self.assertEqual(responses.FILE_URL, error.url)
            self.assertIs(raised, error.__cause__)

    def test_the_end_of_data_that_is_known_already_is_noticed(self):
        for content, skip, no_more in (
            (b'abc', 3, True),
            (b'abc', 4, False),
            (b'abcd', 3, False),
            (b'abc', 0, False),
        ):
            found = body.Body(_response(_Raw(content)), skip)
            self.assertFalse(found.no_more)
            list(found)
            self.assertIs(no_more, found.no_more)

    def test_data_cut_at_the_same_byte_again_is_their_end(self):
        for raised, no_more in (
            (http.client.IncompleteRead(b'x'), True),
            (ConnectionResetError(), False),
        ):
            found = body.Body(_response(_Broken(b'abc', raised)), 3)
            self.assertRaises(glance_http.Interrupted, next, found)
            self.assertIs(no_more, found.no_more)

    def test_close_closes_the_answer(self):
        raw = _Raw(b'abc')
        body.Body(_response(raw)).close()
        self.assertTrue(raw.closed)


class _Clock:
    """Time that passes only in a read of a :class:`_Slow` server."""

    now = 0.0

    def monotonic(self):
        return self.now


class _Slow(_Raw):
    """A server that needs some seconds for each byte, and for its error."""

    def __init__(self, content, clock, seconds, error=None):
        super().__init__(content)
        self._clock, self._seconds, self._error = clock, seconds, error

    def read(self, size=-1):
        self._clock.now += self._seconds
        part = super().read(1)
        if not part and self._error:
            raise self._error
        return part


class PaceTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.clock = _Clock()
        self.patch(body, 'time', self.clock)

    def read(self, seconds, minimum, resumed_at=None, between=0.0):
        """Read 100 bytes, each of which takes some seconds."""
        found = body.Body(
            _response(_Slow(bytes(100), self.clock, seconds)),
            pace=pace.Pace(minimum, 600),
            resumed_at=resumed_at,
        )
        count = 0
        for part in found:
            count += len(part)
            self.clock.now += between
        return count

    def test_a_byte_now_and_then_is_too_slow(self):
        self.assertRaises(pace.TooSlow, self.read, 5, 1)

    def test_an_answer_with_the_minimum_rate_is_complete(self):
        self.assertEqual(100, self.read(5, 0.2))
        self.assertEqual(100, self.read(5, 0))

    def test_the_time_of_answers_that_break_counts(self):
        limit = pace.Pace(1, 600)

        def stalled():
            """One byte, and a minute later the end of the connection."""
            found = body.Body(
                _response(_Slow(b'a', self.clock, 60, OSError())),
                pace=limit,
                resumed_at=self.clock.now,
            )
            list(found)

        # Five answers take the ten minutes that are granted.
        for _ in range(5):
            self.assertRaises(glance_http.Interrupted, stalled)
        self.assertRaises(pace.TooSlow, stalled)

    def test_the_time_of_slow_disks_does_not_count(self):
        self.assertEqual(100, self.read(0.1, 5, between=1000))

    def test_the_first_byte_does_not_count(self):
        self.clock.now = 500
        self.assertEqual(100, self.read(0, 5, resumed_at=0))


class UnfinishedPartTest(base.TestCase):
    """A server that sends bytes forever, and no part of the data."""

    def client(self, headers, begin, forever):
        gone = threading.Event()

        def answer(request):
            yield b'HTTP/1.1 200 OK\r\n' + headers + b'\r\n\r\n' + begin
            while not gone.wait(0.01):
                yield forever

        server = hostile_powervm.HostilePowerVM(answer)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        self.addCleanup(gone.set)
        return glance_http.make_client(
            session.Session(noauth.NoAuth(), timeout=base.PATIENCE),
            min_rate=1 << 20,
            endpoint_override=server.url,
        )

    def test_image_data_is_too_slow(self):
        self.patch(pace, 'WINDOW', 0.2)
        octets = b'Content-Type: application/octet-stream\r\n'
        chunked = octets + b'Transfer-Encoding: chunked'
        for headers, begin, forever in (
            (octets + b'Content-Length: 1000000', b'', b'x'),
            (chunked, b'10000\r\n', b'x'),
            (chunked, b'1\r\nx\r\n10000;', b'x'),
            (chunked, b'1\r\nx\r\n0\r\n', b'a: b\r\n'),
            (
                octets + b'Content-Encoding: gzip\r\nContent-Length: 1000000',
                gzip.compress(b'')[:10],
                # An empty block of data.
                b'\0\0\0\xff\xff',
            ),
        ):
            client = self.client(headers, begin, forever)
            found = body.Body(client.data('an-id'), pace=client.pace())
            self.addCleanup(found.close)
            self.assertRaises(pace.TooSlow, list, found)

    def test_an_answer_of_json_takes_too_long(self):
        self.patch(streaming, 'MAX_SECONDS', 0.2)
        self.patch(glance_http, '_MAX_JSON_SECONDS', 0.2)
        # An answer that is logged is read before it is asked for.
        for level, expected in (
            (logging.DEBUG, ksa_exceptions.ConnectFailure),
            (logging.INFO, glance_http.BadAnswer),
        ):
            self.set_level('keystoneauth.session', level)
            client = self.client(
                b'Content-Type: application/json\r\n'
                b'Transfer-Encoding: chunked',
                b'10000\r\n',
                b' ',
            )
            error = self.assertRaises(expected, client.get, '/v2/images')
            self.assertIn('takes more than', str(error))

    def set_level(self, name, level):
        logger = logging.getLogger(name)
        self.addCleanup(logger.setLevel, logger.level)
        logger.setLevel(level)
