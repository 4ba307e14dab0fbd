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

import io
import types
import urllib.parse

from glanceclient import exc as glance_exceptions
from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa_exceptions
import requests

from pvm_imagecache import exceptions
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import responses


class _Images:
    """The images of a Glance, as glanceclient shows them."""

    def __init__(self, *found, body=()):
        self.found = found
        self.body = body
        self.asked = []

    def data(self, image_id, do_checksum=True):
        self.asked.append((image_id, do_checksum))
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


class _Http:
    """The requests for metadata."""

    def __init__(self, *found):
        self.found = found
        self.paths = []

    def get(self, url):
        self.paths.append(url)
        parsed = urllib.parse.urlsplit(url)
        if parsed.path == '/v2/images':
            return None, self._list(dict(urllib.parse.parse_qsl(parsed.query)))
        wanted = parsed.path.removeprefix('/v2/images/')
        for each in self.found:
            if each['id'].lower() == wanted.lower():
                return None, each
        raise glance_exceptions.HTTPNotFound(wanted)

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


def _source(*args, **kwargs):
    found = _Images(*args, **kwargs)
    http = _Http(*args)
    source = image_source.ImageSource(
        lambda context: types.SimpleNamespace(images=found, http_client=http)
    )
    source.images, source.paths = found, http.paths
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
            lambda context: (
                contexts.append(context)
                or types.SimpleNamespace(http_client=_Http(_entry()))
            )
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

    def test_unavailable_glance_is_a_transient_error(self):
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

    def test_a_name_precedes_a_prefix_of_an_id(self):
        self.assertTrue(self._found('aaaa').startswith('cccc'))

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


class OpenTest(base.TestCase):
    def _open(self, body, content=b'abc'):
        source = _source(body=body)
        return source, source.open(base.image_of(content))

    def test_open_yields_all_bytes_and_closes(self):
        body = responses.Body([b'a', b'', b'bc'])
        source, opened = self._open(body)
        with opened as stream:
            self.assertEqual(b'abc', b''.join(stream))
        self.assertTrue(body.closed)
        self.assertEqual(3, stream.bytes_received)
        # glanceclient must not check: it would raise EPIPE.
        self.assertEqual([(base.IMAGE_ID, False)], source.images.asked)

    def test_open_refuses_an_answer_without_content(self):
        for body in (None, types.SimpleNamespace(__wrapped__=None)):
            _, opened = self._open(body)
            self.assertRaises(exceptions.ImageHasNoData, opened.__enter__)

    def test_open_refuses_data_without_bytes(self):
        for parts in ([], [b''], [b'', b'']):
            body = responses.Body(parts)
            _, opened = self._open(body)
            self.assertRaises(exceptions.ImageHasNoData, opened.__enter__)
            self.assertTrue(body.closed)

    def test_open_refuses_data_that_is_forbidden(self):
        _, opened = self._open(glance_exceptions.HTTPForbidden())
        error = self.assertRaises(exceptions.ImageForbidden, opened.__enter__)
        self.assertIn('download_image', str(error))

    def test_every_error_of_a_library_is_translated(self):
        for raised in responses.ERRORS:
            _, opened = self._open(raised)
            error = self.assertRaises(exceptions.ImageError, opened.__enter__)
            self.assertIs(raised, error.__cause__)

    def test_a_failing_block_closes_the_data(self):
        body = responses.Body([b'abc'])
        _, opened = self._open(body)

        def fail():
            with opened:
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.assertTrue(body.closed)

    def test_errors_of_the_block_are_not_translated(self):
        _, opened = self._open(responses.Body([b'abc']))

        def fail():
            with opened:
                raise BrokenPipeError

        self.assertRaises(BrokenPipeError, fail)


class RangeTest(base.TestCase):
    """Requests for a part of the data."""

    def _answer(self, status, content):
        answer = requests.Response()
        answer.raw = io.BytesIO(content)
        answer.status_code = status
        return answer

    def _source(self, answer, body=()):
        """A source whose requests for a part get an answer, or an error."""
        self.requests = []

        def request(client, url, method, **kwargs):
            self.requests.append((url, method, kwargs))
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.patch(adapter.Adapter, 'request', request)
        return image_source.ImageSource(
            lambda context: types.SimpleNamespace(
                images=_Images(body=body), http_client=object()
            )
        )

    def _request(self, part):
        return (
            f'/v2/images/{base.IMAGE_ID}/file',
            'GET',
            {'headers': {'Range': part}, 'stream': True},
        )

    def _resumed(self, answer):
        """The bytes of an image whose data breaks after three of them."""
        broken = responses.Body([b'abc'], ConnectionResetError())
        source = self._source(answer, broken)
        with source.open(base.image_of(b'abcdef')) as stream:
            content = b''.join(stream)
        self.assertEqual([self._request('bytes=3-')], self.requests)
        return content

    def test_a_broken_download_continues_with_the_rest(self):
        self.assertEqual(b'abcdef', self._resumed(self._answer(206, b'def')))

    def test_a_server_without_ranges_may_send_all_again(self):
        self.assertEqual(
            b'abcdef', self._resumed(self._answer(200, b'abcdef'))
        )

    def test_check_readable_asks_for_one_byte(self):
        source = self._source(self._answer(206, b'a'))
        source.check_readable(base.image_of(b'abc'))
        self.assertEqual([self._request('bytes=0-0')], self.requests)

    def test_check_readable_reports_a_missing_permission(self):
        for raised, kind in (
            (ksa_exceptions.Forbidden(), exceptions.ImageForbidden),
            (ksa_exceptions.NotFound(), exceptions.ImageNotFound),
            (ksa_exceptions.Unauthorized(), exceptions.GlanceLogonFailed),
        ):
            source = self._source(raised)
            error = self.assertRaises(
                kind, source.check_readable, base.image_of(b'abc')
            )
            self.assertIs(raised, error.__cause__)
            self.assertEqual(1, len(self.requests))

    def test_check_readable_is_repeated_after_transient_errors(self):
        source = self._source(ksa_exceptions.ConnectFailure('away'))
        self.assertRaises(
            exceptions.GlanceUnreachable,
            source.check_readable,
            base.image_of(b'abc'),
        )
        self.assertEqual(
            len(image_stream.RETRY_DELAYS) + 1, len(self.requests)
        )
