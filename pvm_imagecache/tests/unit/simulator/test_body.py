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

import io

import hypothesis
from hypothesis import strategies
from oslotest import base

from pvm_imagecache.simulator import body


def chunked(pieces, extension=b'', trailer=b''):
    out = [
        b'%x%s\r\n%s\r\n' % (len(piece), extension, piece)
        for piece in pieces
        if piece
    ]
    return b''.join(out) + b'0\r\n' + trailer + b'\r\n'


class Dribble(io.RawIOBase):
    """A socket that hands out pieces of given sizes."""

    def __init__(self, data, sizes):
        self._data = data
        self._sizes = iter(sizes)

    def readable(self):
        return True

    def readinto(self, buffer):
        size = min(next(self._sizes, 1 << 20), len(buffer))
        got, self._data = self._data[:size], self._data[size:]
        buffer[: len(got)] = got
        return len(got)


class Waiting(Dribble):
    """A socket on which nothing more comes, but that stays open."""

    def readinto(self, buffer):
        if not self._data:
            raise AssertionError('this would wait for ever')
        return super().readinto(buffer)


def a_body(data, sizes=(), **headers):
    return body.Body(
        io.BufferedReader(Dribble(data, sizes), 16),
        {name.replace('_', '-'): value for name, value in headers.items()},
    )


CHUNKED = {'Transfer_Encoding': 'chunked'}


class BodyTest(base.BaseTestCase):
    @hypothesis.given(
        strategies.lists(strategies.binary(max_size=300), max_size=20),
        strategies.lists(strategies.integers(1, 50), max_size=60),
        strategies.sampled_from([b'', b';name=value']),
        strategies.sampled_from([b'', b'Trailer: x\r\n']),
    )
    def test_chunked_bodies_are_joined(
        self, pieces, sizes, extension, trailer
    ):
        got = a_body(chunked(pieces, extension, trailer), sizes, **CHUNKED)
        self.assertEqual(b''.join(pieces), got.read())
        self.assertTrue(got.finished)
        self.assertEqual(len(b''.join(pieces)), got.received)

    @hypothesis.given(
        strategies.binary(max_size=300),
        strategies.lists(strategies.integers(1, 50), max_size=60),
    )
    def test_a_body_ends_at_its_length(self, data, sizes):
        got = a_body(
            data + b'the next request', sizes, Content_Length=str(len(data))
        )
        self.assertEqual(data, got.read())
        self.assertTrue(got.finished)

    @hypothesis.given(
        strategies.lists(
            strategies.binary(min_size=1, max_size=300), max_size=5
        ),
        strategies.sampled_from([16, 64, 1 << 16]),
        strategies.lists(strategies.integers(1, 500), max_size=60),
    )
    def test_never_waits_for_more_than_there_is(self, pieces, buffer, sizes):
        # Headers and body may arrive in one go, with nothing after them.
        stream = io.BufferedReader(
            Waiting(b'headers\r\n' + chunked(pieces), sizes), buffer
        )
        self.assertEqual(b'headers\r\n', stream.readline())
        got = body.Body(stream, {'Transfer-Encoding': 'chunked'})
        self.assertEqual(b''.join(pieces), got.read())

    def test_no_length_is_an_empty_body(self):
        self.assertEqual(b'', a_body(b'more').read())

    @hypothesis.given(
        strategies.lists(
            strategies.binary(min_size=1, max_size=100),
            min_size=1,
            max_size=10,
        ),
        strategies.integers(0, 200),
    )
    def test_a_trip_fires_at_its_byte(self, pieces, after):
        got = a_body(chunked(pieces), **CHUNKED)
        tripped = []
        got.trip_after(after, lambda: tripped.append(got.received))
        data = b''.join(pieces)
        self.assertEqual(data, got.read())
        self.assertEqual([after] if after <= len(data) else [], tripped)

    def test_trips_in_order(self):
        got = a_body(b'x' * 100, Content_Length='100')
        tripped = []
        for after in (50, 20, 20):
            got.trip_after(after, lambda: tripped.append(got.received))
        got.read()
        self.assertEqual([20, 20, 50], tripped)

    def test_drain_ignores_trips(self):
        got = a_body(chunked([b'x' * 100]), **CHUNKED)
        got.trip_after(10, self.fail)
        got.drain()
        self.assertTrue(got.finished)

    def test_a_truncated_body_is_refused(self):
        for data in (b'', b'5\r\nab', b'5\r\nabcde\r\n', b'5', b'0\r\n'):
            self.assertRaises(body.Truncated, a_body(data, **CHUNKED).read)
        self.assertRaises(
            body.Truncated, a_body(b'ab', Content_Length='3').read
        )

    def test_a_malformed_body_is_refused(self):
        for data in (b'zz\r\n', b'1\r\nab\r\n', b'1' * 10000):
            self.assertRaises(body.Malformed, a_body(data, **CHUNKED).read)
        self.assertRaises(body.Malformed, a_body, b'', Content_Length='x')
