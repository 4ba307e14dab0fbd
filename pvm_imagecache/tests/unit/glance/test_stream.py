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

"""Streams of image data: exact, verified, resumed, inspected."""

import contextlib
import hashlib
import logging
import struct
import threading

import fixtures
import hypothesis
from hypothesis import strategies
import requests

from pvm_imagecache import exceptions
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import pace
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import retry
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes
from pvm_imagecache.tests.unit.glance import responses

CHUNK = image_stream.CHUNK_SIZE


class StreamTest(base.TestCase):
    def _stream(self, content, parts=None, error=None, begin=True, **values):
        whole = b''.join([content] if parts is None else parts)
        size = max(map(len, parts or [content]))
        stream = image_stream.ImageStream(
            base.image_of(content, **values),
            lambda position: responses.Body(
                responses.parts_of(whole[position:], size), error
            ),
            # Generated content may look like anything.
            inspect_raw=False,
        )
        self.addCleanup(stream.close)
        if begin:
            stream.begin()
        return stream

    def _read(self, stream, begin=False):
        """What can be read, and the error that it ended with."""
        pieces = []
        try:
            if begin:
                stream.begin()
            for piece in stream:
                pieces.append(piece)
        except exceptions.ImageError as error:
            return b''.join(pieces), error
        return b''.join(pieces), None

    def test_all_sizes_are_read_exactly(self):
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
                stream = self._stream(
                    content, responses.parts_of(content, part)
                )
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
    def test_parts_of_any_size_are_read_exactly(self, parts, chunk):
        content = b''.join(parts)
        hypothesis.assume(content)
        self.patch(image_stream, 'CHUNK_SIZE', chunk)
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
        self.patch(image_stream, 'CHUNK_SIZE', chunk)
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
        stream = image_stream.ImageStream(
            image,
            lambda position: responses.Body(
                responses.parts_of(bytes(content[position:]), size)
            ),
            inspect_raw=False,
        )
        read, error = self._read(stream, begin=True)
        stream.close()
        self.assertIsNotNone(error)
        self.assertLess(len(read), image.size)
        self.assertTrue(bytes(content).startswith(read))

    def test_a_corrupt_image_is_never_complete(self):
        content = images.raw_bytes(3 * CHUNK)
        for at in (0, CHUNK, 3 * CHUNK - 1):
            damaged = bytearray(content)
            damaged[at] ^= 1
            stream = self._stream(
                content, responses.parts_of(bytes(damaged), 65536)
            )
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

    def test_a_small_corrupt_image_yields_no_byte(self):
        read, error = self._read(self._stream(b'abc', [b'abd']))
        self.assertEqual(b'', read)
        self.assertIsInstance(error, exceptions.ImageCorrupt)

    def test_an_image_that_ends_early_is_refused(self):
        content = images.raw_bytes(2 * CHUNK)
        for size in (CHUNK, 2 * CHUNK - 1):
            read, error = self._read(
                self._stream(
                    content,
                    responses.parts_of(content[:size], 65536),
                    begin=False,
                ),
                begin=True,
            )
            self.assertIsInstance(error, exceptions.ImageTruncated)
            self.assertEqual(
                (2 * CHUNK, size), (error.expected, error.received)
            )
            self.assertTrue(error.transient)
            self.assertLess(len(read), size)

    def test_an_image_that_does_not_end_is_refused(self):
        content = images.raw_bytes(2 * CHUNK)
        for more in (b'x', content, content * 4):
            body = responses.Body(responses.parts_of(content + more, 65536))
            stream = image_stream.ImageStream(
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
        self.assertRaises(
            exceptions.ImageTruncated,
            self._stream,
            b'abc',
            [b'ab'],
            os_hash_algo=None,
            checksum=None,
        )
        for parts in ([b'abcd'], [b'ab', b'cd']):
            read, error = self._read(
                self._stream(
                    b'abc',
                    parts,
                    begin=False,
                    os_hash_algo=None,
                    checksum=None,
                ),
                begin=True,
            )
            self.assertIsInstance(error, exceptions.ImageTruncated)
            self.assertEqual(b'', read)

    def test_an_image_without_hash_is_accepted(self):
        stream = self._stream(b'abc', os_hash_algo=None, checksum=None)
        self.assertEqual((b'abc', None), self._read(stream))

    def test_md5_of_an_old_image_is_checked(self):
        old = {'os_hash_algo': None, 'os_hash_value': None}
        stream = self._stream(b'abc', **old)
        self.assertEqual((b'abc', None), self._read(stream))
        _, error = self._read(self._stream(b'abc', [b'abd'], **old))
        self.assertEqual('md5', error.algorithm)

    def test_md5_is_checked_if_the_hash_is_unknown(self):
        _, error = self._read(
            self._stream(b'abc', [b'abd'], os_hash_algo='blake17')
        )
        self.assertEqual('md5', error.algorithm)

    def test_a_hash_of_any_characters_is_compared(self):
        _, error = self._read(self._stream(b'abc', os_hash_value='é'))
        self.assertIsInstance(error, exceptions.ImageCorrupt)

    def test_a_hash_in_capitals_is_accepted(self):
        value = hashlib.sha512(b'abc').hexdigest().upper()
        self.assertEqual(
            (b'abc', None),
            self._read(self._stream(b'abc', os_hash_value=value)),
        )

    def test_every_error_while_reading_is_translated(self):
        content = images.raw_bytes(2 * CHUNK)
        for raised in responses.ERRORS:
            for size in (CHUNK, CHUNK + 65536):
                stream = self._stream(
                    content, responses.parts_of(content[:size], 65536), raised
                )
                read, error = self._read(stream)
                self.assertIs(raised, error.__cause__)
                self.assertNotIsInstance(error, OSError)
                self.assertLess(len(read), len(content))
                stream.close()

    def test_every_error_at_the_beginning_is_translated(self):
        for raised in responses.ERRORS:
            stream = image_stream.ImageStream(
                base.image_of(b'abc'),
                lambda position, raised=raised: responses.Body([], raised),
            )
            error = self.assertRaises(exceptions.ImageError, stream.begin)
            self.assertIs(raised, error.__cause__)

    def test_a_broken_connection_is_reported_with_its_bytes(self):
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
        stream = self._stream(content, responses.parts_of(content, CHUNK))
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

    def test_a_stream_that_never_began_can_be_closed(self):
        image_stream.ImageStream(base.image_of(b'abc'), self.fail).close()

    def test_a_body_without_close_is_accepted(self):
        stream = image_stream.ImageStream(
            base.image_of(b'abc'), lambda position: iter([b'abc'])
        )
        stream.begin()
        self.assertEqual((b'abc', None), self._read(stream))
        stream.close()


class SlowTest(base.TestCase):
    def test_a_slow_download_is_not_resumed(self):
        opened = []

        def open_at(position):
            opened.append(position)
            yield b'x' * 1000
            raise pace.TooSlow(10, 1 << 16)

        stream = image_stream.ImageStream(
            base.image_of(b'x' * 5000), open_at, inspect_raw=False
        )
        error = self.assertRaises(exceptions.ImageTooSlow, stream.begin)
        self.assertTrue(error.transient)
        self.assertIn('10 B per second. The minimum is 64 KiB', str(error))
        self.assertEqual([0], opened)


class ResumeTest(base.TestCase):
    """A broken connection is opened again."""

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
                responses.Body(
                    responses.parts_of(content[position:count], 65536), error
                )
            )
            return self.bodies[-1]

        stream = image_stream.ImageStream(
            base.image_of(content), open_at, inspect_raw=False
        )
        self.addCleanup(stream.close)
        return stream

    def _whole(self, content, stream):
        stream.begin()
        self.assert_bytes(content, b''.join(stream))
        self.assertEqual(len(content), stream.bytes_received)

    def test_a_download_continues_where_it_broke(self):
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

    def test_a_break_before_the_first_byte_is_retried(self):
        self._whole(b'abc', self._stream(b'abc', (0, OSError())))

    def test_a_failure_to_open_is_retried(self):
        content = images.raw_bytes(2 * CHUNK)
        attempts = []

        def open_at(position):
            attempts.append(position)
            if len(attempts) in (1, 3):
                raise exceptions.GlanceUnreachable(reason='away')
            error = OSError() if len(attempts) == 2 else None
            return responses.Body([content[position:][:CHUNK]], error)

        stream = image_stream.ImageStream(base.image_of(content), open_at)
        self.addCleanup(stream.close)
        self._whole(content, stream)
        self.assertEqual([0, 0, CHUNK, CHUNK], attempts)

    @base.generated
    @hypothesis.given(
        strategies.binary(min_size=1, max_size=100),
        strategies.lists(strategies.integers(1, 20), max_size=20),
    )
    def test_exact_bytes_wherever_it_breaks(self, content, breaks):
        self.patch(image_stream, 'CHUNK_SIZE', 16)
        stream = self._stream(
            content, *[(count, OSError()) for count in breaks]
        )
        self._whole(content, stream)
        stream.close()

    def test_attempts_without_a_byte_are_limited(self):
        most = len(image_stream.RETRY_DELAYS)
        self._whole(b'abc', self._stream(b'abc', *[(0, OSError())] * most))
        last = ConnectionError('the last')
        stream = self._stream(b'abc', *[(0, OSError())] * most, (0, last))
        error = self.assertRaises(exceptions.ImageError, stream.begin)
        self.assertIs(last, error.__cause__)
        self.assertEqual(most + 1, len(self.opened_at))

    def test_interruptions_are_not_counted_while_bytes_arrive(self):
        content = images.raw_bytes(3 * CHUNK)
        self._whole(
            content, self._stream(content, *[(40_000, OSError())] * 200)
        )
        self.assertGreater(len(self.opened_at), 70)

    def test_a_few_bytes_at_each_attempt_are_no_progress(self):
        content = images.raw_bytes(CHUNK)
        stream = self._stream(content, *[(1, OSError())] * 100)
        self.assertRaises(exceptions.ImageError, stream.begin)
        self.assertEqual(
            len(image_stream.RETRY_DELAYS) + 1, len(self.opened_at)
        )

    def test_all_bytes_before_a_break_are_the_whole_image(self):
        content = images.raw_bytes(CHUNK)
        stream = self._stream(content, (CHUNK, OSError()))
        self._whole(content, stream)
        self.assertEqual([0], self.opened_at)

    def test_an_end_before_the_size_is_an_interruption(self):
        content = images.raw_bytes(2 * CHUNK)
        stream = self._stream(content, (CHUNK + 5, None))
        self._whole(content, stream)
        self.assertEqual([0, CHUNK + 5], self.opened_at)

    def test_why_a_download_is_not_resumed_is_in_the_message(self):
        def open_at(position):
            if position:
                raise responses.refused(503)
            return responses.Body(
                [b'a'], glance_http.Interrupted('http://g.invalid', 'reset')
            )

        stream = image_stream.ImageStream(base.image_of(b'abc'), open_at)
        self.addCleanup(stream.close)
        error = self.assertRaises(exceptions.ImageInterrupted, stream.begin)
        self.assertEqual((3, 1), (error.expected, error.received))
        for text in ('http://g.invalid', 'reset', 'HTTP 503'):
            self.assertIn(text, str(error))

    def test_the_delay_that_glance_asks_for_is_kept(self):
        slept = []
        self.patch(image_stream.time, 'sleep', slept.append)
        self.patch(image_stream, 'RETRY_DELAYS', (0.5, 2.0, 8.0))
        stream = self._stream(
            b'abc',
            (0, responses.refused(503, retry_after=4.0)),
            (0, responses.refused(503, retry_after=1.0)),
            (0, responses.refused(503, retry_after=3600.0)),
        )
        self._whole(b'abc', stream)
        self.assertEqual([4.0, 2.0, retry.LONGEST_RETRY_AFTER], slept)

    def test_permanent_errors_are_not_retried(self):
        for error in (
            responses.refused(400),
            responses.refused(401),
            responses.refused(403),
            responses.refused(404),
            ValueError('a defect'),
        ):
            stream = self._stream(b'abc', (1, error))
            raised = self.assertRaises(exceptions.ImageError, stream.begin)
            self.assertFalse(raised.transient)
            self.assertEqual([0], self.opened_at)

    def test_a_wrong_image_is_not_fetched_again(self):
        content = images.raw_bytes(2 * CHUNK)
        for wrong in (content[:-1] + b'?', content + b'x'):
            stream = self._stream(wrong)
            stream.image = base.image_of(content)
            stream.begin()
            self.assertRaises(exceptions.ImageError, list, stream)
            self.assertEqual([0], self.opened_at)

    def test_content_that_changed_meanwhile_is_refused(self):
        content = images.raw_bytes(2 * CHUNK)
        bodies = [
            responses.Body([content[:CHUNK]], OSError()),
            responses.Body([images.raw_bytes(CHUNK, seed=9)]),
        ]
        stream = image_stream.ImageStream(
            base.image_of(content), lambda position: bodies.pop(0)
        )
        self.addCleanup(stream.close)
        stream.begin()
        self.assertRaises(exceptions.ImageCorrupt, list, stream)

    def test_an_interruption_is_logged_with_image_and_bytes(self):
        logger = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        content = images.raw_bytes(CHUNK)
        self._whole(
            content, self._stream(content, (65536, ConnectionResetError()))
        )
        self.assertIn(
            'Download of an image (3e865d14) interrupted at 64 KiB; '
            'resuming in 0.0 s: ',
            logger.output,
        )


class SignatureTest(base.TestCase):
    """Streams whose signature is verified."""

    def _read(self, content, verifier, **values):
        stream = image_stream.ImageStream(
            base.image_of(content, **values),
            lambda position: iter(responses.parts_of(content[position:], 999)),
            verifier,
        )
        self.addCleanup(stream.close)
        stream.begin()
        received = []
        try:
            for piece in stream:
                received.append(piece)
        except exceptions.ImageError as error:
            return b''.join(received), error
        return b''.join(received), None

    def test_the_verifier_gets_all_bytes_before_the_last_are_yielded(self):
        content = images.raw_bytes(2 * CHUNK + 5)
        verifier = fakes.Verifier(content)
        received, error = self._read(content, verifier)
        self.assertIsNone(error)
        self.assert_bytes(content, received)
        self.assert_bytes(content, bytes(verifier.taken))
        self.assertEqual(1, verifier.verified)

    def test_a_wrong_signature_holds_the_last_piece_back(self):
        for values in ({}, {'os_hash_value': None, 'checksum': None}):
            content = images.raw_bytes(2 * CHUNK + 5)
            received, error = self._read(
                content, fakes.Verifier(b'other'), **values
            )
            self.assertIsInstance(error, exceptions.ImageSignatureInvalid)
            self.assertLess(len(received), len(content))

    def test_corrupt_data_is_reported_as_that(self):
        content = images.raw_bytes(CHUNK + 5)
        _, error = self._read(
            content, fakes.Verifier(b'other'), os_hash_value='00'
        )
        self.assertIsInstance(error, exceptions.ImageCorrupt)

    def test_a_verifier_that_fails_ends_the_stream(self):
        content = images.raw_bytes(20 * CHUNK)
        verifier = fakes.Verifier(content)
        verifier.fails_with = exceptions.ImageSignatureInvalid(
            image='x', reason='no'
        )
        received, error = self._read(content, verifier)
        self.assertIs(verifier.fails_with, error)
        self.assertLess(len(received), len(content))


class HeaderTest(base.TestCase):
    def _begun(self, content, disk_format='qcow2', **values):
        stream = image_stream.ImageStream(
            base.image_of(content, disk_format=disk_format, **values),
            lambda position: responses.Body(responses.parts_of(content, 1000)),
        )
        self.addCleanup(stream.close)
        stream.begin()
        return stream

    def _refused(self, content):
        error = self.assertRaises(exceptions.ImageUnsafe, self._begun, content)
        self.assertFalse(error.transient)
        return str(error)

    def test_the_virtual_size_is_read_from_the_header(self):
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

    def test_a_backing_file_is_refused(self):
        self.assertIn(
            'backing file',
            self._refused(
                images.qcow2_bytes(base.GIB, backing_file='/etc/shadow')
            ),
        )

    def test_a_data_file_is_refused(self):
        content = bytearray(images.qcow2_bytes(base.GIB))
        content[72:80] = struct.pack('>Q', 1 << 2)
        self.assertIn('data_file', self._refused(bytes(content)))

    def test_unknown_features_are_refused(self):
        content = bytearray(images.qcow2_bytes(base.GIB))
        content[72:80] = struct.pack('>Q', 1 << 40)
        self.assertIn('features', self._refused(bytes(content)))

    def test_content_that_is_not_qcow2_is_refused(self):
        for content in (
            images.raw_bytes(4096),
            b'x',
            b'QFI\xfb',
            bytes(511),
        ):
            self.assertIn('does not begin with', self._refused(content))

    def test_a_vhd_footer_is_refused_before_the_last_piece(self):
        # A fixed VHD begins as a raw disk.
        for length in (512, 5000, CHUNK, CHUNK + 3, 2 * CHUNK + 511):
            content = images.raw_bytes(length) + b'conectix'.ljust(512, b'\0')
            stream = self._begun(content, 'raw')
            received = []
            error = self.assertRaises(
                exceptions.ImageFormatWrong, received.extend, stream
            )
            self.assertIn('a VHD image', str(error))
            self.assertLess(sum(map(len, received)), len(content))

    def test_a_short_answer_is_not_taken_for_the_image(self):
        # The page of a proxy says nothing about the image.
        self.patch(image_stream, 'RETRY_DELAYS', ())
        page = b'<html>Log in</html>'
        for disk_format in ('raw', 'qcow2'):
            stream = image_stream.ImageStream(
                base.image_of(b'', size=5000, disk_format=disk_format),
                lambda position: iter([page[position:]]),
            )
            self.addCleanup(stream.close)
            error = self.assertRaises(exceptions.ImageTruncated, stream.begin)
            self.assertEqual(19, error.received)

    def test_raw_content_is_inspected_unless_that_is_switched_off(self):
        for content in (
            images.qcow2_bytes(base.GIB, backing_file='/etc'),
            images.raw_bytes(700) + b'conectix'.ljust(512, b'\0'),
        ):
            stream = image_stream.ImageStream(
                base.image_of(content),
                lambda position, content=content: iter([content]),
                inspect_raw=False,
            )
            self.addCleanup(stream.close)
            stream.begin()
            self.assertIsNone(stream.image.virtual_size)
            self.assert_bytes(content, b''.join(stream))

    @base.generated
    @hypothesis.given(strategies.binary(max_size=600))
    def test_any_header_is_accepted_or_unsafe(self, content):
        with contextlib.suppress(exceptions.ImageUnsafe):
            self._begun(b'QFI\xfb' + content)
