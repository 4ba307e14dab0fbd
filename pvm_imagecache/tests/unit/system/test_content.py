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

"""Contents of answers that are larger than they look."""

import gzip
import io
import itertools
import tracemalloc
import zlib

import hypothesis
from hypothesis import strategies
import requests
from urllib3 import exceptions as urllib3_exceptions
from urllib3 import response as urllib3_response

from pvm_imagecache.system import content
from pvm_imagecache.tests.unit import base

GIB = 1 << 30


def _answer(data, encoding=None):
    response = requests.Response()
    response.raw = urllib3_response.HTTPResponse(
        io.BytesIO(data), preload_content=False
    )
    if encoding is not None:
        response.headers['Content-Encoding'] = encoding
    return response


def _bomb(size):
    """Return zeros, compressed."""
    made = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return (
        b''.join(made.compress(zeros) for _ in range(size >> 20))
        + made.flush()
    )


class PartsTest(base.TestCase):
    @base.generated
    @hypothesis.given(
        strategies.binary(max_size=300_000),
        strategies.sampled_from(
            [
                (None, bytes),
                ('identity', bytes),
                ('gzip', gzip.compress),
                (' GZIP ', gzip.compress),
                ('x-gzip', gzip.compress),
                ('deflate', zlib.compress),
                ('deflate', lambda data: zlib.compress(data)[2:-4]),
                (
                    'gzip',
                    lambda data: gzip.compress(data) + gzip.compress(b''),
                ),
            ]
        ),
    )
    def test_every_encoding_is_decoded(self, data, how):
        encoding, encode = how
        parts = list(content.parts(_answer(encode(data), encoding)))
        self.assert_bytes(data, b''.join(parts))
        for part in parts:
            self.assertTrue(0 < len(part) <= content.PART_SIZE)

    def test_a_bomb_needs_no_memory(self):
        bomb = _bomb(GIB // 4)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        size = sum(map(len, content.parts(_answer(bomb, 'gzip'))))
        self.assertEqual(GIB // 4, size)
        self.assertLess(tracemalloc.get_traced_memory()[1], 4 << 20)

    def test_other_encodings_are_not_supported(self):
        for encoding in ('br', 'zstd', 'gzip, gzip', 'compress', 'x'):
            answer = _answer(b'', encoding)
            self.assertFalse(content.is_supported(answer))
            self.assertRaises(
                urllib3_exceptions.DecodeError, content.parts, answer
            )

    def test_a_content_of_no_encoding_is_an_error(self):
        for encoding in ('gzip', 'deflate'):
            self.assertRaises(
                urllib3_exceptions.DecodeError,
                list,
                content.parts(_answer(b'x' * 99, encoding)),
            )

    def test_a_content_that_was_read_is_returned_again(self):
        answer = _answer(b'abc')
        self.assertEqual(b'abc', answer.content)
        self.assertEqual([b'abc'], list(content.parts(answer)))


class HasManyValuesTest(base.TestCase):
    def test_values_are_counted(self):
        for text, count in (
            (b'1', 0),
            (b'[1, 2, 3]', 3),
            (b'{"a": {}, "b": [[]]}', 5),
            (b'\xff', 0),
        ):
            self.assertFalse(content.has_many_values(text, count))
            if count:
                self.assertTrue(content.has_many_values(text, count - 1))


class ReadTest(base.TestCase):
    def test_a_content_with_the_limit_is_read(self):
        self.assertEqual(b'abc', content.read(_answer(b'abc'), 3, 10))

    def test_a_larger_content_is_refused(self):
        for data, encoding in ((b'abcd', None), (_bomb(GIB // 16), 'gzip')):
            error = self.assertRaises(
                content.TooMuch, content.read, _answer(data, encoding), 3, 10
            )
            self.assertIn('more than 3 bytes', str(error))

    def test_a_slow_content_is_refused(self):
        ticks = itertools.count(0, 60)
        self.patch(content.time, 'monotonic', lambda: next(ticks))
        error = self.assertRaises(
            content.TooMuch, content.read, _answer(b'a'), 3, 10
        )
        self.assertIn('10 s', str(error))
