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

"""Images of Glance: look-ups, and verified streams."""

import contextlib
import errno
import hashlib
import http.client
import io
import ssl
import struct
import threading
import types

from glanceclient import exc as glance_exceptions
import hypothesis
from hypothesis import strategies
from keystoneauth1 import exceptions as ksa_exceptions
import requests
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache import exceptions
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base

CHUNK = image_source.CHUNK_SIZE

#: Whatever the libraries below may raise while an image is read.
ERRORS = (
    BrokenPipeError(errno.EPIPE, 'Broken pipe'),
    OSError(errno.EPIPE, 'Corrupted image. Checksum was a, expected b'),
    ConnectionResetError(errno.ECONNRESET, 'reset'),
    OSError('no errno'),
    TimeoutError(),
    ValueError('v'),
    KeyError('k'),
    RuntimeError(),
    MemoryError(),
    AssertionError(),
    ssl.SSLError('s'),
    http.client.IncompleteRead(b'partial'),
    urllib3_exceptions.ProtocolError('p'),
    urllib3_exceptions.ReadTimeoutError(None, 'url', 'm'),
    requests.exceptions.ChunkedEncodingError('c'),
    requests.exceptions.ConnectionError('c'),
    requests.exceptions.ReadTimeout('r'),
    requests.exceptions.ContentDecodingError('d'),
    glance_exceptions.CommunicationError('c'),
    glance_exceptions.HTTPUnauthorized('u'),
    glance_exceptions.HTTPForbidden('f'),
    glance_exceptions.HTTPNotFound('n'),
    glance_exceptions.HTTPServiceUnavailable('s'),
    glance_exceptions.HTTPInternalServerError('i'),
    ksa_exceptions.Unauthorized('u'),
    ksa_exceptions.ConnectFailure('c'),
    ksa_exceptions.EndpointNotFound('e'),
    ksa_exceptions.MissingAuthPlugin('m'),
)


class _Body:
    """Parts of an image, as an iterator that can be closed."""

    def __init__(self, parts, error=None):
        self._parts = iter(parts)
        self._error = error
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._parts)
        except StopIteration:
            if self._error:
                raise self._error from None
            raise

    def close(self):
        self.closed = True


class _Images:
    """The images of a Glance, as glanceclient shows them."""

    def __init__(self, *found, body=()):
        self.found = found
        self.body = body
        self.asked = []

    def get(self, image_id):
        self.asked.append(image_id)
        for each in self.found:
            if each['id'].lower() == image_id.lower():
                return each
        raise glance_exceptions.HTTPNotFound(image_id)

    def list(self, filters=None):
        name = (filters or {}).get('name')
        return (
            each for each in self.found if name in (None, each.get('name'))
        )

    def data(self, image_id, do_checksum=True):
        self.asked.append((image_id, do_checksum))
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


def _entry(image_id=base.IMAGE_ID, **values):
    return {
        'id': image_id,
        'name': 'an image',
        'status': 'active',
        'size': 7,
        'disk_format': 'raw',
        'container_format': 'bare',
        'virtual_size': None,
        'os_hash_algo': 'sha512',
        'os_hash_value': 'aa',
        'checksum': 'bb',
    } | values


def _source(*args, **kwargs):
    found = _Images(*args, **kwargs)
    source = image_source.ImageSource(
        lambda context: types.SimpleNamespace(images=found)
    )
    source.images = found
    return source


def _parts(content, size):
    return [
        content[start : start + size] for start in range(0, len(content), size)
    ]


class GetTest(base.TestCase):
    def _refused(self, kind, *args, **values):
        return self.assertRaises(
            kind, _source(_entry(**values)).get, *args or (base.IMAGE_ID,)
        )

    def test_found(self):
        image = _source(_entry()).get(base.IMAGE_ID)
        self.assertEqual(
            (base.IMAGE_ID, 'an image', 7, 'raw', None, 'sha512', 'aa', 'bb'),
            (
                image.id,
                image.name,
                image.size,
                image.disk_format,
                image.virtual_size,
                image.os_hash_algo,
                image.os_hash_value,
                image.checksum,
            ),
        )

    def test_of_an_old_glance(self):
        entry = _entry(virtual_size=9)
        for name in (
            'os_hash_algo',
            'os_hash_value',
            'checksum',
            'name',
            'container_format',
        ):
            del entry[name]
        image = _source(entry).get(base.IMAGE_ID)
        self.assertEqual(
            (None, 9, None), (image.name, image.virtual_size, image.digest)
        )

    def test_the_context_reaches_the_client(self):
        contexts = []
        source = image_source.ImageSource(
            lambda context: (
                contexts.append(context)
                or types.SimpleNamespace(images=_Images(_entry()))
            )
        )
        source.get(base.IMAGE_ID, 'context')
        source.find('an image')
        self.assertEqual(['context', None], contexts)

    def test_not_there(self):
        error = self.assertRaises(
            exceptions.ImageNotFound, _source().get, base.IMAGE_ID
        )
        self.assertEqual(base.IMAGE_ID, error.image)

    def test_an_id_in_other_case_is_another_image(self):
        self._refused(exceptions.ImageNotFound, base.IMAGE_ID.upper())

    def test_not_active(self):
        for status in (
            'queued',
            'saving',
            'importing',
            'deactivated',
            'killed',
            'deleted',
            'pending_delete',
        ):
            error = self._refused(exceptions.ImageNotActive, status=status)
            self.assertIn(f'"{status}"', str(error))

    def test_without_data(self):
        for size in (None, 0):
            self._refused(exceptions.ImageHasNoData, size=size)

    def test_formats(self):
        for disk_format in ('vmdk', 'iso', 'vhd', None):
            self._refused(
                exceptions.ImageFormatUnsupported, disk_format=disk_format
            )
        for container in ('ova', 'ovf', 'compressed', 'docker'):
            error = self._refused(
                exceptions.ImageFormatUnsupported, container_format=container
            )
            self.assertIn('container format', str(error))
        self.assertEqual(
            'qcow2',
            _source(_entry(disk_format='qcow2'))
            .get(base.IMAGE_ID)
            .disk_format,
        )

    def test_every_error_becomes_one_of_ours(self):
        for raised in ERRORS:

            def fail(context, raised=raised):
                raise raised

            source = image_source.ImageSource(fail)
            for call in (source.get, source.find):
                error = self.assertRaises(
                    exceptions.ImageError, call, base.IMAGE_ID
                )
                self.assertIs(raised, error.__cause__)
            self.assertNotIn('\n', str(error))

    def test_errors_that_mean_the_credentials(self):
        for raised in (
            glance_exceptions.HTTPUnauthorized(),
            ksa_exceptions.Unauthorized(),
            ksa_exceptions.MissingAuthPlugin(),
            ksa_exceptions.EndpointNotFound(),
        ):

            def fail(context, raised=raised):
                raise raised

            error = self.assertRaises(
                exceptions.GlanceLogonFailed,
                image_source.ImageSource(fail).get,
                base.IMAGE_ID,
            )
            self.assertFalse(error.transient)

    def test_errors_that_pass(self):
        for raised in (
            glance_exceptions.HTTPServiceUnavailable(),
            ksa_exceptions.ConnectFailure(),
            requests.exceptions.ConnectionError('two\n lines'),
        ):

            def fail(context, raised=raised):
                raise raised

            error = self.assertRaises(
                exceptions.GlanceUnreachable,
                image_source.ImageSource(fail).get,
                base.IMAGE_ID,
            )
            self.assertTrue(error.transient)


class FindTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.source = _source(
            _entry(),
            _entry('3e86ffff-8c1e-4615-b73f-f78eaecabfbd', name='other'),
            _entry('aaaaffff-8c1e-4615-b73f-f78eaecabfbd', name='twin'),
            _entry('bbbbffff-8c1e-4615-b73f-f78eaecabfbd', name='twin'),
            _entry('ccccffff-8c1e-4615-b73f-f78eaecabfbd', name='aaaa'),
        )

    def _found(self, text):
        return self.source.find(text).id

    def test_by_id(self):
        self.assertEqual(base.IMAGE_ID, self._found(base.IMAGE_ID))
        self.assertEqual([base.IMAGE_ID], self.source.images.asked)

    def test_by_id_in_other_case(self):
        self.assertRaises(
            exceptions.ImageNotFound, self.source.find, base.IMAGE_ID.upper()
        )

    def test_by_name(self):
        self.assertEqual(base.IMAGE_ID, self._found('an image'))

    def test_by_the_start_of_an_id(self):
        self.assertEqual(base.IMAGE_ID, self._found('3e865'))
        self.assertEqual(base.IMAGE_ID, self._found(base.IMAGE_ID[:-1]))

    def test_a_name_goes_before_the_start_of_an_id(self):
        self.assertTrue(self._found('aaaa').startswith('cccc'))

    def test_ambiguous(self):
        for text in ('twin', '3e86'):
            error = self.assertRaises(
                exceptions.ImageAmbiguous, self.source.find, text
            )
            self.assertEqual(
                2,
                error.matches.count('ffff')
                + error.matches.count(base.IMAGE_ID),
            )

    def test_many_are_not_all_listed(self):
        source = _source(
            *[
                _entry(
                    f'abcd{number:04}-0000-0000-0000-000000000000', name=None
                )
                for number in range(9)
            ]
        )
        error = self.assertRaises(
            exceptions.ImageAmbiguous, source.find, 'abcd'
        )
        self.assertIn('abcd0004-', str(error))
        self.assertIn('(no name) and 4 more', str(error))

    def test_nothing(self):
        for text in (
            'no such image',
            'image',
            '3',
            '3e87',
            '',
            '3E865',
            'an image ',
        ):
            self.assertRaises(exceptions.ImageNotFound, self.source.find, text)

    def test_not_usable(self):
        source = _source(_entry(status='queued'))
        self.assertRaises(exceptions.ImageNotActive, source.find, 'an image')


class OpenTest(base.TestCase):
    def _open(self, body, content=b'abc'):
        source = _source(body=body)
        return source, source.open(base.image_of(content))

    def test_all_bytes(self):
        body = _Body([b'a', b'', b'bc'])
        source, opened = self._open(body)
        with opened as stream:
            self.assertEqual(b'abc', b''.join(stream))
        self.assertTrue(body.closed)
        self.assertEqual(3, stream.bytes_received)
        # glanceclient must not check: it would raise EPIPE.
        self.assertEqual([(base.IMAGE_ID, False)], source.images.asked)

    def test_http_204(self):
        for body in (None, types.SimpleNamespace(__wrapped__=None)):
            _, opened = self._open(body)
            self.assertRaises(exceptions.ImageHasNoData, opened.__enter__)

    def test_no_bytes(self):
        for parts in ([], [b''], [b'', b'']):
            body = _Body(parts)
            _, opened = self._open(body)
            self.assertRaises(exceptions.ImageHasNoData, opened.__enter__)
            self.assertTrue(body.closed)

    def test_may_not_be_read(self):
        _, opened = self._open(glance_exceptions.HTTPForbidden())
        error = self.assertRaises(exceptions.ImageForbidden, opened.__enter__)
        self.assertIn('download_image', str(error))

    def test_every_error_becomes_one_of_ours(self):
        for raised in ERRORS:
            _, opened = self._open(raised)
            error = self.assertRaises(exceptions.ImageError, opened.__enter__)
            self.assertIs(raised, error.__cause__)

    def test_a_block_that_fails_closes_it(self):
        body = _Body([b'abc'])
        _, opened = self._open(body)

        def fail():
            with opened:
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertTrue(body.closed)

    def test_errors_of_the_block_are_left_alone(self):
        _, opened = self._open(_Body([b'abc']))

        def fail():
            with opened:
                raise BrokenPipeError

        self.assertRaises(BrokenPipeError, fail)


class StreamTest(base.TestCase):
    def _stream(self, content, parts=None, error=None, **values):
        whole = b''.join([content] if parts is None else parts)
        size = max(map(len, parts or [content]))
        stream = image_source.ImageStream(
            base.image_of(content, **values),
            lambda position: _Body(_parts(whole[position:], size), error),
        )
        self.addCleanup(stream.close)
        stream.begin()
        return stream

    def _read(self, stream):
        """What can be read, and the error that it ended with."""
        pieces = []
        try:
            for piece in stream:
                pieces.append(piece)
        except exceptions.ImageError as error:
            return b''.join(pieces), error
        return b''.join(pieces), None

    def test_exact_bytes(self):
        for size in (
            1,
            512,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            2 * CHUNK,
            3 * CHUNK + 7,
        ):
            content = images.raw_bytes(size, seed=size)
            for part in (CHUNK, 65536, 65521, size):
                stream = self._stream(content, _parts(content, part))
                pieces = list(stream)
                self.assert_bytes(content, b''.join(pieces))
                self.assertEqual(size, stream.bytes_received)
                self.assertNotIn(b'', pieces)
                if CHUNK % part == 0:
                    self.assertLessEqual(max(map(len, pieces)), CHUNK)
                stream.close()

    @base.generated
    @hypothesis.given(
        strategies.lists(strategies.binary(max_size=40), min_size=1),
        strategies.sampled_from([1, 7, 16]),
    )
    def test_exact_bytes_of_any_parts(self, parts, chunk):
        content = b''.join(parts)
        hypothesis.assume(content)
        self.patch(image_source, 'CHUNK_SIZE', chunk)
        stream = self._stream(content, parts)
        pieces = list(stream)
        stream.close()
        self.assert_bytes(content, b''.join(pieces))
        # Never more than a chunk and what came last.
        self.assertLess(max(map(len, pieces)), chunk + max(map(len, parts)))

    @base.generated
    @hypothesis.given(
        strategies.lists(strategies.binary(max_size=40), min_size=1),
        strategies.sampled_from([1, 7, 16]),
        strategies.data(),
    )
    def test_a_wrong_image_is_never_complete(self, parts, chunk, data):
        content = bytearray(b''.join(parts))
        hypothesis.assume(content)
        image = base.image_of(bytes(content))
        self.patch(image_source, 'CHUNK_SIZE', chunk)
        damage = data.draw(
            strategies.sampled_from(['flip', 'cut', 'add', 'swap'])
        )
        at = data.draw(strategies.integers(0, len(content) - 1))
        if damage == 'flip':
            content[at] ^= 1
        elif damage == 'cut':
            del content[at:]
        elif damage == 'add':
            content[at:at] = b'more'
        else:
            content = content[at:] + content[:at]
        hypothesis.assume(
            hashlib.sha512(content).hexdigest() != image.os_hash_value
        )
        size = data.draw(strategies.integers(1, 20))
        stream = image_source.ImageStream(
            image, lambda position: _Body(_parts(bytes(content), size))
        )
        try:
            stream.begin()
            read, error = self._read(stream)
        except exceptions.ImageHasNoData as empty:
            read, error = b'', empty
        stream.close()
        self.assertIsNotNone(error)
        self.assertLess(len(read), image.size)
        self.assertTrue(bytes(content).startswith(read))

    def test_corrupt(self):
        content = images.raw_bytes(3 * CHUNK)
        for at in (0, CHUNK, 3 * CHUNK - 1):
            damaged = bytearray(content)
            damaged[at] ^= 1
            stream = self._stream(content, _parts(bytes(damaged), 65536))
            read, error = self._read(stream)
            self.assertIsInstance(error, exceptions.ImageCorrupt)
            self.assertFalse(error.transient)
            self.assertEqual('sha512', error.algorithm)
            self.assertEqual(
                hashlib.sha512(content).hexdigest(), error.expected
            )
            self.assertEqual(hashlib.sha512(damaged).hexdigest(), error.actual)
            # The last piece is kept back.
            self.assertEqual(2 * CHUNK, len(read))

    def test_corrupt_and_small(self):
        read, error = self._read(self._stream(b'abc', [b'abd']))
        self.assertEqual(b'', read)
        self.assertIsInstance(error, exceptions.ImageCorrupt)

    def test_too_short(self):
        content = images.raw_bytes(2 * CHUNK)
        for size in (1, CHUNK, 2 * CHUNK - 1):
            read, error = self._read(
                self._stream(content, _parts(content[:size], 65536))
            )
            self.assertIsInstance(error, exceptions.ImageTruncated)
            self.assertEqual(
                (2 * CHUNK, size), (error.expected, error.received)
            )
            self.assertTrue(error.transient)
            self.assertLess(len(read), size)

    def test_too_long(self):
        content = images.raw_bytes(2 * CHUNK)
        for more in (b'x', content, content * 4):
            body = _Body(_parts(content + more, 65536))
            stream = image_source.ImageStream(
                base.image_of(content), lambda position, body=body: body
            )
            self.addCleanup(stream.close)
            stream.begin()
            read, error = self._read(stream)
            self.assertIsInstance(error, exceptions.ImageTruncated)
            self.assertLess(len(read), len(content))
            # It does not read what it will refuse anyway.
            self.assertLessEqual(stream.bytes_received, 3 * CHUNK)

    def test_size_is_checked_without_a_hash_too(self):
        for parts in ([b'ab'], [b'abcd'], [b'ab', b'cd']):
            read, error = self._read(
                self._stream(b'abc', parts, os_hash_algo=None, checksum=None)
            )
            self.assertIsInstance(error, exceptions.ImageTruncated)
            self.assertEqual(b'', read)

    def test_without_a_hash(self):
        stream = self._stream(b'abc', os_hash_algo=None, checksum=None)
        self.assertEqual((b'abc', None), self._read(stream))

    def test_md5_of_an_old_image(self):
        old = {'os_hash_algo': None, 'os_hash_value': None}
        stream = self._stream(b'abc', **old)
        self.assertEqual((b'abc', None), self._read(stream))
        _, error = self._read(self._stream(b'abc', [b'abd'], **old))
        self.assertEqual('md5', error.algorithm)

    def test_md5_where_the_hash_is_unknown(self):
        _, error = self._read(
            self._stream(b'abc', [b'abd'], os_hash_algo='blake17')
        )
        self.assertEqual('md5', error.algorithm)

    def test_hash_in_capitals(self):
        value = hashlib.sha512(b'abc').hexdigest().upper()
        self.assertEqual(
            (b'abc', None),
            self._read(self._stream(b'abc', os_hash_value=value)),
        )

    def test_every_error_becomes_one_of_ours(self):
        content = images.raw_bytes(2 * CHUNK)
        for raised in ERRORS:
            for size in (CHUNK, CHUNK + 65536, 2 * CHUNK):
                stream = self._stream(
                    content, _parts(content[:size], 65536), raised
                )
                read, error = self._read(stream)
                self.assertIs(raised, error.__cause__)
                self.assertNotIsInstance(error, OSError)
                self.assertLess(len(read), len(content))
                stream.close()

    def test_every_error_at_the_beginning_does_too(self):
        for raised in ERRORS:
            stream = image_source.ImageStream(
                base.image_of(b'abc'),
                lambda position, raised=raised: _Body([], raised),
            )
            error = self.assertRaises(exceptions.ImageError, stream.begin)
            self.assertIs(raised, error.__cause__)

    def test_a_connection_that_breaks_is_told_with_the_bytes(self):
        _, error = self._read(
            self._stream(
                bytes(2 * CHUNK),
                [bytes(CHUNK)],
                requests.exceptions.ChunkedEncodingError('broken'),
            )
        )
        self.assertIsInstance(error, exceptions.ImageTruncated)
        self.assertEqual((2 * CHUNK, CHUNK), (error.expected, error.received))

    def _hashing(self):
        return [
            each
            for each in threading.enumerate()
            if each.name == 'pvm_imagecache-hash'
        ]

    def test_hashing_ends_with_the_stream(self):
        stream = self._stream(b'abc')
        self._read(stream)
        self.assertEqual([], self._hashing())
        stream.close()
        stream.close()

    def test_hashing_ends_when_the_stream_is_abandoned(self):
        content = bytes(40 * CHUNK)
        stream = self._stream(content, _parts(content, CHUNK))
        pieces = iter(stream)
        for _ in range(20):
            next(pieces)
        self.assertEqual(1, len(self._hashing()))
        stream.close()
        self.assertEqual([], self._hashing())

    def test_hashing_ends_when_the_stream_fails(self):
        stream = self._stream(bytes(2 * CHUNK), [bytes(CHUNK)], ValueError())
        self.assertIsNotNone(self._read(stream)[1])
        stream.close()
        self.assertEqual([], self._hashing())

    def test_closing_what_was_not_begun(self):
        image_source.ImageStream(base.image_of(b'abc'), self.fail).close()

    def test_a_body_that_can_not_be_closed(self):
        stream = image_source.ImageStream(
            base.image_of(b'abc'), lambda position: iter([b'abc'])
        )
        stream.begin()
        self.assertEqual((b'abc', None), self._read(stream))
        stream.close()


class ResumeTest(base.TestCase):
    """A connection that breaks is made again."""

    def _stream(self, content, *bodies):
        """Each body is an error, and the bytes that come before it."""
        self.opened_at = []
        self.bodies = []
        waiting = list(bodies)

        def open_at(position):
            self.opened_at.append(position)
            count, error = waiting.pop(0) if waiting else (None, None)
            if count is not None:
                count += position
            if position == len(content):
                error = None
            self.bodies.append(
                _Body(_parts(content[position:count], 65536), error)
            )
            return self.bodies[-1]

        stream = image_source.ImageStream(base.image_of(content), open_at)
        self.addCleanup(stream.close)
        return stream

    def _whole(self, content, stream):
        stream.begin()
        self.assert_bytes(content, b''.join(stream))
        self.assertEqual(len(content), stream.bytes_received)

    def test_it_goes_on_where_it_was(self):
        content = images.raw_bytes(3 * CHUNK)
        stream = self._stream(
            content,
            (CHUNK + 7, ConnectionResetError()),
            (0, BrokenPipeError()),
            (9, OSError()),
        )
        self._whole(content, stream)
        self.assertEqual([0, CHUNK + 7, CHUNK + 7, CHUNK + 16], self.opened_at)
        self.assertTrue(all(body.closed for body in self.bodies[:-1]))
        stream.close()
        self.assertTrue(self.bodies[-1].closed)

    def test_it_breaks_before_the_first_byte(self):
        self._whole(b'abc', self._stream(b'abc', (0, OSError())))

    def test_opening_fails(self):
        content = images.raw_bytes(2 * CHUNK)
        attempts = []

        def open_at(position):
            attempts.append(position)
            if len(attempts) in (1, 3):
                raise exceptions.GlanceUnreachable(reason='away')
            error = OSError() if len(attempts) == 2 else None
            return _Body([content[position:][:CHUNK]], error)

        stream = image_source.ImageStream(base.image_of(content), open_at)
        self.addCleanup(stream.close)
        self._whole(content, stream)
        self.assertEqual([0, 0, CHUNK, CHUNK], attempts)

    @base.generated
    @hypothesis.given(
        strategies.binary(min_size=1, max_size=100),
        strategies.lists(strategies.integers(1, 20), max_size=20),
    )
    def test_exact_bytes_wherever_it_breaks(self, content, breaks):
        self.patch(image_source, 'CHUNK_SIZE', 16)
        stream = self._stream(
            content, *[(count, OSError()) for count in breaks]
        )
        self._whole(content, stream)
        stream.close()

    def test_as_often_as_there_are_delays_without_a_byte(self):
        most = len(image_source.RETRY_DELAYS)
        self._whole(b'abc', self._stream(b'abc', *[(0, OSError())] * most))
        first = ConnectionError('the first')
        stream = self._stream(b'abc', (0, first), *[(0, OSError())] * most)
        error = self.assertRaises(exceptions.ImageError, stream.begin)
        # Why attempts were made, not how the last one ended.
        self.assertIs(first, error.__cause__)
        self.assertEqual(most + 1, len(self.opened_at))

    def test_not_for_ever_even_if_bytes_come(self):
        self.patch(image_source, 'MOST_FAILURES', 10)
        content = images.raw_bytes(CHUNK)
        stream = self._stream(content, *[(1, OSError())] * 100)
        self.assertRaises(exceptions.ImageError, stream.begin)
        self.assertEqual(11, len(self.opened_at))

    def test_what_will_not_change_is_not_tried_again(self):
        for error in (
            glance_exceptions.HTTPForbidden(),
            glance_exceptions.HTTPNotFound(),
            glance_exceptions.HTTPUnauthorized(),
            ValueError('a defect'),
        ):
            stream = self._stream(b'abc', (1, error))
            raised = self.assertRaises(exceptions.ImageError, stream.begin)
            self.assertFalse(raised.transient)
            self.assertEqual([0], self.opened_at)

    def test_an_image_that_is_wrong_is_not_fetched_again(self):
        content = images.raw_bytes(2 * CHUNK)
        for wrong in (content[:-1], content[:-1] + b'?', content + b'x'):
            stream = self._stream(wrong)
            stream.image = base.image_of(content)
            stream.begin()
            self.assertRaises(exceptions.ImageError, list, stream)
            self.assertEqual([0], self.opened_at)

    def test_content_changed_while_it_was_broken(self):
        content = images.raw_bytes(2 * CHUNK)
        bodies = [
            _Body([content[:CHUNK]], OSError()),
            _Body([images.raw_bytes(CHUNK, seed=9)]),
        ]
        stream = image_source.ImageStream(
            base.image_of(content), lambda position: bodies.pop(0)
        )
        self.addCleanup(stream.close)
        stream.begin()
        self.assertRaises(exceptions.ImageCorrupt, list, stream)


class PartTest(base.TestCase):
    """What servers answer that were asked for the rest of an image."""

    def _answer(self, content):
        answer = requests.Response()
        answer.raw = io.BytesIO(content)
        return answer

    @base.generated
    @hypothesis.given(
        strategies.binary(max_size=100), strategies.integers(0, 120)
    )
    def test_what_was_there_is_left_out(self, content, left_out):
        self.patch(image_source, '_PART_SIZE', 7)
        self.assertEqual(
            content[left_out:],
            b''.join(image_source._content(self._answer(content), left_out)),
        )

    def _rest(self, status, content, position=3):
        """What the source takes for the data from a position on."""
        answer = self._answer(content)
        answer.status_code = status
        asked = []

        def request(client, url, method, **kwargs):
            asked.append((url, method, kwargs))
            return answer

        self.patch(image_source.adapter.Adapter, 'request', request)
        source = image_source.ImageSource(
            lambda context: types.SimpleNamespace(http_client=object())
        )
        rest = source._data(base.IMAGE_ID, position, None)
        self.assertEqual(
            [
                (
                    f'/v2/images/{base.IMAGE_ID}/file',
                    'GET',
                    {
                        'headers': {'Range': f'bytes={position}-'},
                        'stream': True,
                    },
                )
            ],
            asked,
        )
        return b''.join(rest)

    def test_the_rest(self):
        self.assertEqual(b'def', self._rest(206, b'def'))

    def test_all_of_it(self):
        self.assertEqual(b'def', self._rest(200, b'abcdef'))


class HeaderTest(base.TestCase):
    def _begun(self, content, disk_format='qcow2', **values):
        stream = image_source.ImageStream(
            base.image_of(content, disk_format=disk_format, **values),
            lambda position: _Body(_parts(content, 1000)),
        )
        self.addCleanup(stream.close)
        stream.begin()
        return stream

    def _refused(self, content):
        error = self.assertRaises(exceptions.ImageUnsafe, self._begun, content)
        self.assertFalse(error.transient)
        return str(error)

    def test_virtual_size(self):
        content = images.qcow2_bytes(5 * base.GIB)
        stream = self._begun(content)
        self.assertEqual(5 * base.GIB, stream.image.virtual_size)
        self.assert_bytes(content, b''.join(stream))

    def test_the_larger_virtual_size_counts(self):
        content = images.qcow2_bytes(5 * base.GIB)
        for known, counts in ((1, 5 * base.GIB), (7 * base.GIB,) * 2):
            self.assertEqual(
                counts,
                self._begun(content, virtual_size=known).image.virtual_size,
            )

    def test_a_backing_file(self):
        self.assertIn(
            'backing file',
            self._refused(
                images.qcow2_bytes(base.GIB, backing_file='/etc/shadow')
            ),
        )

    def test_a_data_file(self):
        content = bytearray(images.qcow2_bytes(base.GIB))
        content[72:80] = struct.pack('>Q', 1 << 2)
        self.assertIn('data_file', self._refused(bytes(content)))

    def test_unknown_features(self):
        content = bytearray(images.qcow2_bytes(base.GIB))
        content[72:80] = struct.pack('>Q', 1 << 40)
        self.assertIn('features', self._refused(bytes(content)))

    def test_no_qcow2(self):
        for content in (
            images.raw_bytes(4096),
            images.vmdk_bytes(base.GIB),
            b'x',
            b'QFI\xfb',
            bytes(511),
        ):
            self.assertIn('does not begin with', self._refused(content))

    def test_raw_is_taken_as_it_is(self):
        for content in (
            images.qcow2_bytes(base.GIB, backing_file='/etc'),
            b'x',
        ):
            stream = self._begun(content, 'raw')
            self.assertIsNone(stream.image.virtual_size)
            self.assert_bytes(content, b''.join(stream))

    @base.generated
    @hypothesis.given(strategies.binary(max_size=600))
    def test_no_header_raises_anything_else(self, content):
        with contextlib.suppress(exceptions.ImageUnsafe):
            self._begun(b'QFI\xfb' + content)
