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

"""Look-ups of images, permission checks, and opening their data."""

import urllib.parse

from keystoneauth1 import exceptions as ksa_exceptions
import requests

from pvm_imagecache import exceptions
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import responses
from pvm_imagecache.tests.unit.glance import scripted


class _Client:
    """A Glance that has these images, none of them hidden."""

    def __init__(self, *found):
        self.found = found
        self.paths = []

    def get(self, url):
        self.paths.append(url)
        parsed = urllib.parse.urlsplit(url)
        if parsed.path == '/v2/images':
            return self._list(dict(urllib.parse.parse_qsl(parsed.query)))
        wanted = parsed.path.removeprefix('/v2/images/')
        for each in self.found:
            if each['id'].lower() == wanted.lower():
                return each
        raise responses.refused(404)

    def _list(self, query):
        name = query.get('name', '').removeprefix('eq:')
        return {
            'images': [
                each
                for each in self.found
                if not name or (each['name'] or '').lower() == name.lower()
            ]
            if 'os_hidden' not in query
            else []
        }


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


def _source(*found):
    client = _Client(*found)
    source = image_source.ImageSource(lambda context: client)
    source.paths = client.paths
    return source


class GetTest(base.TestCase):
    def _refused(self, kind, *args, **values):
        return self.assertRaises(
            kind, _source(_entry(**values)).get, *args or (base.IMAGE_ID,)
        )

    def test_get_returns_all_that_glance_knows(self):
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

    def test_get_accepts_images_of_an_old_glance(self):
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
            lambda context: contexts.append(context) or _Client(_entry())
        )
        source.get(base.IMAGE_ID, 'context')
        source.find('an image')
        self.assertEqual(['context', None, None], contexts)

    def test_get_refuses_a_missing_image(self):
        error = self.assertRaises(
            exceptions.ImageNotFound, _source().get, base.IMAGE_ID
        )
        self.assertEqual(base.IMAGE_ID, error.image)

    def test_get_refuses_an_id_in_other_case(self):
        self._refused(exceptions.ImageNotFound, base.IMAGE_ID.upper())

    def test_get_refuses_images_that_are_not_active(self):
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

    def test_get_refuses_images_without_data(self):
        for size in (None, 0):
            self._refused(exceptions.ImageHasNoData, size=size)

    def test_get_refuses_formats_that_cannot_boot(self):
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

    def test_every_error_of_a_library_is_translated(self):
        for raised in responses.ERRORS:

            def fail(context, raised=raised):
                raise raised

            source = image_source.ImageSource(fail)
            for call in (source.get, source.find):
                error = self.assertRaises(
                    exceptions.ImageError, call, base.IMAGE_ID
                )
                self.assertIs(raised, error.__cause__)
            self.assertNotIn('\n', str(error))

    def test_refused_credentials_are_reported_as_such(self):
        for raised in (
            responses.refused(401),
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

    def test_unavailable_glance_is_a_transient_error(self):
        for raised in (
            responses.refused(503),
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

    def test_find_by_id_sends_one_request(self):
        self.assertEqual(base.IMAGE_ID, self._found(base.IMAGE_ID))
        self.assertEqual([f'/v2/images/{base.IMAGE_ID}'], self.source.paths)

    def test_find_refuses_an_id_in_other_case(self):
        self.assertRaises(
            exceptions.ImageNotFound, self.source.find, base.IMAGE_ID.upper()
        )

    def test_find_accepts_a_name(self):
        self.assertEqual(base.IMAGE_ID, self._found('an image'))

    def test_find_accepts_a_prefix_of_an_id(self):
        self.assertEqual(base.IMAGE_ID, self._found('3e865'))
        self.assertEqual(base.IMAGE_ID, self._found(base.IMAGE_ID[:-1]))

    def test_a_prefix_of_an_id_precedes_a_name(self):
        self.assertTrue(self._found('aaaa').startswith('aaaa'))
        found = self.source.find('aaaa', by_name=True)
        self.assertTrue(found.id.startswith('cccc'))

    def test_find_refuses_several_matches(self):
        for text in ('twin', '3e86'):
            error = self.assertRaises(
                exceptions.ImageAmbiguous, self.source.find, text
            )
            self.assertEqual(
                2,
                error.matches.count('ffff')
                + error.matches.count(base.IMAGE_ID),
            )

    def test_find_lists_twenty_of_many_matches(self):
        source = _source(
            *[
                _entry(
                    f'abcd{number:04}-0000-0000-0000-000000000000', name=None
                )
                for number in range(24)
            ]
        )
        error = self.assertRaises(
            exceptions.ImageAmbiguous, source.find, 'abcd'
        )
        self.assertIn('abcd0019-', str(error))
        self.assertIn('(no name, active) and 4 more', str(error))

    def test_find_refuses_what_matches_no_image(self):
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

    def test_find_refuses_images_that_are_not_active(self):
        source = _source(_entry(status='queued'))
        self.assertRaises(exceptions.ImageNotActive, source.find, 'an image')


class _Asking(base.TestCase):
    """A source that asks a server with prepared answers."""

    def setUp(self):
        super().setUp()
        self.server = scripted.Server(self)
        client = self.server.client()
        self.source = image_source.ImageSource(lambda context: client)

    def _answers(self, *answers):
        self.server.answers[:] = answers
        self.server.requests.clear()


class OpenTest(_Asking):
    def _open(self, answer, content=b'abc'):
        self._answers(*[answer] * 4)
        return self.source.open(base.image_of(content))

    def test_open_yields_all_bytes(self):
        with self._open(scripted.data(b'abc')) as stream:
            self.assertEqual(b'abc', b''.join(stream))
        self.assertEqual(3, stream.bytes_received)
        self.assertEqual([None], self.server.ranges())

    def test_open_refuses_an_answer_without_content(self):
        for answer in ((204, {}), scripted.data(b'')):
            self.assertRaises(
                exceptions.ImageHasNoData, self._open(answer).__enter__
            )
            self.assertEqual(1, len(self.server.requests))

    def test_open_refuses_data_that_is_forbidden(self):
        error = self.assertRaises(
            exceptions.ImageForbidden,
            self._open(scripted.page(403)).__enter__,
        )
        self.assertIn('download_image', str(error))
        self.assertIn(f'{self.server.url}/v2/images/', str(error))

    def test_open_refuses_a_web_page(self):
        error = self.assertRaises(
            exceptions.GlanceFailed, self._open(scripted.page(200)).__enter__
        )
        self.assertIn('a web page', str(error))

    def test_every_error_of_a_library_is_translated(self):
        for raised in responses.ERRORS:

            def fail(context, raised=raised):
                raise raised

            opened = image_source.ImageSource(fail).open(base.image_of(b'a'))
            error = self.assertRaises(exceptions.ImageError, opened.__enter__)
            self.assertIs(raised, error.__cause__)

    def test_a_failing_block_closes_the_data(self):
        body = responses.Body([b'abc'])
        self.patch(self.source, '_data', lambda *args: body)

        def fail():
            with self.source.open(base.image_of(b'abc')):
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertTrue(body.closed)

    def test_errors_of_the_block_are_not_translated(self):
        def fail():
            with self._open(scripted.data(b'abc')):
                raise BrokenPipeError

        self.assertRaises(BrokenPipeError, fail)


#: Answers to a request for a part by what cannot read parts.
_NO_PARTS = (
    scripted.page(400),
    scripted.page(405),
    scripted.page(416),
    scripted.page(501),
    scripted.part(b'def', 'bytes 0-5/6'),
    scripted.part(b'def', 'bytes 3-5/*'),
    scripted.part(b'def', 'bytes 2-4/6'),
    scripted.data(b'abcdef', 206),
    (206, {'Content-Type': 'multipart/byteranges; boundary=b'}, b'--b'),
)


class ResumeTest(_Asking):
    """A download that breaks after three of six bytes."""

    def _resumed(self, *answers):
        cut = (200, {**scripted.OCTETS, 'Content-Length': 6}, b'abc')
        self._answers(cut, *answers)
        with self.source.open(base.image_of(b'abcdef')) as stream:
            return b''.join(stream)

    def test_a_broken_download_continues_with_the_rest(self):
        self.assertEqual(
            b'abcdef', self._resumed(scripted.part(b'def', 'bytes 3-5/6'))
        )
        self.assertEqual([None, 'bytes=3-'], self.server.ranges())

    def test_a_server_may_send_all_again(self):
        self.assertEqual(b'abcdef', self._resumed(scripted.data(b'abcdef')))
        self.assertEqual([None, 'bytes=3-'], self.server.ranges())

    def test_a_server_without_parts_is_asked_for_the_whole(self):
        for answer in _NO_PARTS:
            self.assertEqual(
                b'abcdef', self._resumed(answer, scripted.data(b'abcdef'))
            )
            self.assertEqual([None, 'bytes=3-', None], self.server.ranges())

    def test_a_refusal_at_the_resumption_is_final(self):
        for status, kind in (
            (401, exceptions.GlanceLogonFailed),
            (403, exceptions.ImageForbidden),
            (404, exceptions.ImageNotFound),
            (410, exceptions.GlanceFailed),
        ):
            self.assertRaises(kind, self._resumed, scripted.page(status))
            self.assertEqual(2, len(self.server.requests))

    def test_an_image_that_is_cut_in_the_store_costs_two_downloads(self):
        cut = (200, {**scripted.OCTETS, 'Content-Length': 6}, b'abc')
        error = self.assertRaises(
            exceptions.ImageTruncated, self._resumed, scripted.page(400), cut
        )
        self.assertEqual((6, 3), (error.expected, error.received))
        self.assertEqual(3, len(self.server.requests))


class CheckReadableTest(_Asking):
    def _check(self, *answers):
        self._answers(*answers)
        self.source.check_readable(base.image_of(b'abc'))

    def test_glance_is_asked_for_one_byte(self):
        self._check(scripted.part(b'a', 'bytes 0-0/3'))
        self.assertEqual(['bytes=0-0'], self.server.ranges())

    def test_a_server_may_send_everything(self):
        self._check(scripted.data(b'abc'))
        self.assertEqual(['bytes=0-0'], self.server.ranges())

    def test_data_without_a_type_is_known_by_its_length(self):
        self._check((200, {'Content-Length': '3'}, b'abc'))

    def test_a_server_without_parts_is_asked_for_the_whole(self):
        for answer in _NO_PARTS:
            self._check(answer, scripted.data(b'abc'))
            self.assertEqual(['bytes=0-0', None], self.server.ranges())

    def test_a_missing_permission_is_reported(self):
        for status, kind in (
            (403, exceptions.ImageForbidden),
            (404, exceptions.ImageNotFound),
            (401, exceptions.GlanceLogonFailed),
        ):
            for before in ((), (scripted.page(400),)):
                self.assertRaises(
                    kind, self._check, *before, scripted.page(status)
                )
                self.assertEqual(len(before) + 1, len(self.server.requests))

    def test_permission_is_never_assumed(self):
        for answers in (
            [scripted.page(200)],
            [scripted.page(302, Location='http://sso.invalid/login')],
            [scripted.page(410)],
            [scripted.as_json({})],
            [scripted.page(400), scripted.page(400)],
            [scripted.page(501), scripted.page(501)],
            [scripted.page(416), scripted.page(200)],
            [(204, {})] * 2,
            [(204, scripted.OCTETS)] * 2,
            [(200, {'Content-Length': '0'})],
            [(200, {'Content-Length': '0', **scripted.OCTETS})],
            [(200, {'Content-Length': '4'}, b'abcd')],
            [(200, {}, b'a login page')],
        ):
            error = self.assertRaises(
                exceptions.GlanceFailed, self._check, *answers
            )
            self.assertFalse(error.transient)
            self.assertEqual([], self.server.answers)

    def test_transient_errors_are_retried(self):
        for status in (408, 429, 500, 502, 503, 504):
            attempts = len(image_stream.RETRY_DELAYS) + 1
            error = self.assertRaises(
                exceptions.GlanceBusy,
                self._check,
                *[scripted.page(status)] * attempts,
            )
            self.assertIn(f'HTTP {status}', str(error))
            self.assertEqual(attempts, len(self.server.requests))
            self._check(
                scripted.page(status), scripted.part(b'a', 'bytes 0-0/3')
            )
