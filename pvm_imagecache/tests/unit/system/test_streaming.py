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

"""Answers that take long, or break, with real servers."""

import gzip
import itertools
import threading
import types

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session as ksa_session
import requests
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache.system import content
from pvm_imagecache.system import streaming
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import scripted

#: Seconds; of no limit is it tested how long it is, only which one applies.
_SHORT = 0.2
_LONG = 20


def _quick_clock():
    """Return a clock that ticks an hour at each look."""
    ticks = itertools.count(0, 3600)
    return lambda: next(ticks)


class StreamingTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.server = scripted.Server(self)
        self.session = ksa_session.Session()
        streaming.use(self.session, _SHORT)
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)

    def _get(self, *parts, **headers):
        self.server.answers[:] = [(200, headers, *parts)]
        return self.session.get(
            f'{self.server.url}/data', stream=True, timeout=(_LONG, _LONG)
        )

    def _pause(self):
        """Wait for longer than the short limit."""
        self.go_on.wait(3 * _SHORT)

    def test_the_first_byte_may_take_longer(self):
        for headers in ({}, {'Content-Length': 6}):
            response = self._get(self._pause, b'abcdef', **headers)
            self.assertEqual(b'abcdef', response.content)

    def test_an_answer_without_pauses_is_complete(self):
        data = bytes(range(256)) * 4096
        for headers in ({}, {'Content-Length': len(data)}):
            response = self._get(data, **headers)
            self.assert_bytes(data, response.content)

    def test_a_chunked_answer_is_complete(self):
        response = self._get(
            b'3\r\nabc\r\n',
            b'3\r\ndef\r\n0\r\n\r\n',
            **{'Transfer-Encoding': 'chunked'},
        )
        self.assertEqual(b'abcdef', response.content)

    def test_an_answer_that_is_read_as_a_whole_is_bounded(self):
        self.patch(streaming, 'MAX_ANSWER', 1000)
        for size in (1000, 1001):
            for encoded in (False, True):
                data = bytes(size)
                headers = {}
                if encoded:
                    data = gzip.compress(data)
                    headers = {'Content-Encoding': 'gzip'}
                self.server.answers[:] = [(200, headers, data)]
                if size == 1000:
                    found = self.session.get(self.server.url)
                    self.assertEqual(bytes(size), found.content)
                else:
                    error = self.assertRaises(
                        ksa_exceptions.ConnectFailure,
                        self.session.get,
                        self.server.url,
                    )
                    self.assertIn('more than 1000 bytes', str(error))

    def test_the_content_of_a_redirection_is_not_read(self):
        self.server.answers[:] = [
            (
                302,
                {'Location': '/other', 'Content-Encoding': 'gzip'},
                b'not gzip',
                lambda: self.go_on.wait(_LONG),
            )
        ]
        response = self.session.get(
            self.server.url, stream=True, redirect=False
        )
        self.assertEqual((302, b''), (response.status_code, response.content))

    def test_a_chunk_of_negative_size_is_refused(self):
        response = self._get(
            b'-1\r\n',
            *[bytes(65536)] * 20,
            **{'Transfer-Encoding': 'chunked'},
        )
        with response:
            self.assertRaises(
                requests.exceptions.RequestException,
                b''.join,
                response.iter_content(4096),
            )

    def test_what_adds_nothing_to_the_content_ends(self):
        self.patch(content, 'PART_SECONDS', _SHORT)
        chunked = {'Transfer-Encoding': 'chunked'}
        header = b'\x1f\x8b\x08\0\0\0\0\0\0\3'
        for first, repeated, headers in (
            # Blocks of compressed data that are empty.
            (header, b'\0\0\0\xff\xff' * 2000, {'Content-Encoding': 'gzip'}),
            # Headers after the last chunk.
            (b'0\r\n', b'a: b\r\n' * 2000, chunked),
            # Chunks without data, each in a stream of its own.
            (
                header,
                (b'\3\0' + bytes(8) + header) * 1000,
                {'Content-Encoding': 'gzip'},
            ),
        ):
            response = self._get(first, *[repeated] * 200_000, **headers)
            with response:
                self.assertRaises(
                    urllib3_exceptions.ReadTimeoutError,
                    b''.join,
                    content.parts(response),
                )

    def test_a_piece_that_arrives_byte_by_byte_ends(self):
        self.patch(content, 'PART_SECONDS', _SHORT)
        for first in (b'1;', b'ffff\r\n'):
            parts = [lambda: self.go_on.wait(_SHORT / 10), b'a'] * 1000
            response = self._get(
                first, *parts, **{'Transfer-Encoding': 'chunked'}
            )
            with response:
                self.assertRaises(
                    urllib3_exceptions.ReadTimeoutError,
                    b''.join,
                    content.parts(response),
                )

    def test_the_first_byte_of_a_piece_may_take_longer(self):
        self.patch(content, 'PART_SECONDS', _SHORT)
        response = self._get(
            self._pause,
            b'3\r\nabc\r\n0\r\n\r\n',
            **{'Transfer-Encoding': 'chunked'},
        )
        self.assertEqual(b'abc', b''.join(content.parts(response)))

    def test_headers_that_never_end_are_given_up(self):
        self.patch(
            streaming, 'time', types.SimpleNamespace(monotonic=_quick_clock())
        )
        self.server.answers[:] = [(200, {'X-Long': 'x' * 100}, b'')]
        self.assertRaises(
            ksa_exceptions.ConnectionError,
            self.session.get,
            self.server.url,
            timeout=1,
        )

    def _stalled(self, *parts, **headers):
        """The server sends these parts, and nothing for a long time."""
        response = self._get(*parts, lambda: self.go_on.wait(_LONG), **headers)
        with response:
            error = self.assertRaises(
                requests.exceptions.ConnectionError,
                b''.join,
                response.iter_content(4096),
            )
        # The server would close the connection after the long limit.
        self.assertIn('timed out', str(error))

    def test_later_bytes_have_the_short_limit(self):
        for size in (1, 100, 8192, 100_000):
            self._stalled(
                self._pause, bytes(size), **{'Content-Length': 200_000}
            )

    def test_bytes_that_come_with_the_headers_count(self):
        self._stalled(b'a', **{'Content-Length': 200_000})

    def test_later_chunks_have_the_short_limit(self):
        self._stalled(
            self._pause,
            b'3\r\nabc\r\n',
            **{'Transfer-Encoding': 'chunked'},
        )

    def test_a_shorter_limit_of_the_request_is_kept(self):
        session = ksa_session.Session()
        streaming.use(session, _LONG)
        self.server.answers[:] = [
            (200, {'Content-Length': 9}, b'a', lambda: self.go_on.wait(_LONG))
        ]
        response = session.get(
            self.server.url, stream=True, timeout=(_LONG, _SHORT)
        )
        with response:
            error = self.assertRaises(
                requests.exceptions.ConnectionError,
                b''.join,
                response.iter_content(1),
            )
        self.assertIn('timed out', str(error))

    def test_bytes_are_returned_as_they_arrive(self):
        arrived = threading.Event()
        response = self._get(
            b'abc',
            lambda: arrived.wait(_LONG),
            b'def',
            **{'Content-Length': 6},
        )
        parts = response.raw.stream(4096, decode_content=False)
        self.assertEqual(b'abc', next(parts))
        arrived.set()
        self.assertEqual(b'def', b''.join(parts))

    def test_bytes_before_the_end_of_the_connection_are_not_lost(self):
        response = self._get(b'abc', **{'Content-Length': 6})
        parts = response.raw.stream(4096, decode_content=False)
        self.assertEqual(b'abc', next(parts))

    def test_an_answer_without_content_is_accepted(self):
        self.server.answers[:] = [(204, {})]
        self.assertEqual(b'', self.session.get(self.server.url).content)

    def test_a_session_is_prepared_once(self):
        before = self.session.adapters['http://']
        streaming.use(self.session, _SHORT)
        self.assertIs(before, self.session.adapters['http://'])
        self.assertIsInstance(before, streaming.StreamingAdapter)
        self.assertIsInstance(
            self.session.adapters['https://'], streaming.StreamingAdapter
        )

    def test_an_adapter_of_someone_else_is_kept(self):
        session = ksa_session.Session()
        own = requests.adapters.HTTPAdapter()
        session.mount('http://', own)
        streaming.use(session, _SHORT)
        self.assertIs(own, session.adapters['http://'])
