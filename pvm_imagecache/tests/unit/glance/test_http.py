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

"""Requests to Glance, and what is no answer of it."""

import datetime
import email.utils
import gzip
import logging
import types

from keystoneauth1 import exceptions as ksa_exceptions

from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import scripted

_ENTRY = {'id': base.IMAGE_ID, 'status': 'active', 'name': 'debian'}


class HTTPTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.server = scripted.Server(self)
        self.client = self.server.client()
        self.image_url = f'{self.server.url}/v2/images/{base.IMAGE_ID}'

    def _refused(self, answer, call):
        self.server.answers[:] = [answer]
        error = self.assertRaises(glance_http.BadAnswer, call)
        self.assertEqual([], self.server.answers)
        for secret in ('html', scripted.TOKEN):
            self.assertNotIn(secret, str(error))
        return error


class JSONTest(HTTPTestCase):
    """Requests for one image, and for a list."""

    def _get(self):
        return self.client.get(f'/v2/images/{base.IMAGE_ID}')

    def _list(self):
        return self.client.get('/v2/images?name=debian')

    def test_an_image_is_read(self):
        self.server.answers[:] = [scripted.as_json(_ENTRY)]
        self.assertEqual('debian', self._get()['name'])
        path, headers = self.server.requests[0]
        self.assertEqual(f'/v2/images/{base.IMAGE_ID}', path)
        self.assertEqual(scripted.TOKEN, headers['X-Auth-Token'])

    def test_a_list_is_read(self):
        answer = {'images': [_ENTRY], 'next': '/v2/images?marker=m'}
        self.server.answers[:] = [scripted.as_json(answer)]
        self.assertEqual(answer, self._list())
        self.assertEqual('/v2/images?name=debian', self.server.requests[0][0])

    def test_json_without_a_type_is_accepted(self):
        self.server.answers[:] = [(200, {}, b'{"id": "i", "status": "s"}')]
        self.assertEqual('i', self._get()['id'])

    def test_every_bad_status_has_number_and_address(self):
        for status in (300, 400, 401, 403, 404, 408, 418, 429, 500, 504, 599):
            for headers in ({}, {'Content-Type': 'text/html'}):
                for call in (self._get, self._list):
                    error = self._refused((status, headers, b'oops'), call)
                    self.assertEqual(status, error.status)
                    self.assertIn(f'HTTP {status}', str(error))
                    self.assertIn(f'{self.server.url}/v2/images', str(error))

    def test_the_query_is_not_shown(self):
        error = self._refused(scripted.page(500), self._list)
        self.assertEqual(f'{self.server.url}/v2/images', error.url)
        self.assertNotIn('debian', str(error))

    def test_only_requests_for_one_image_are_about_it(self):
        answer = scripted.page(404)
        self.assertTrue(self._refused(answer, self._get).of_image)
        self.assertFalse(self._refused(answer, self._list).of_image)
        self.assertTrue(
            self._refused(
                answer, lambda: self.client.data(base.IMAGE_ID)
            ).of_image
        )

    def test_a_web_page_is_named_as_that(self):
        for call in (self._get, self._list):
            error = self._refused(scripted.page(200), call)
            self.assertIn('HTTP 200 OK with a web page', str(error))

    def test_an_unexpected_type_is_named(self):
        answer = (200, {'Content-Type': 'text/plain'}, b'{"id": "i"}')
        self.assertIn("'text/plain'", str(self._refused(answer, self._get)))

    def test_json_that_is_not_of_glance_is_refused(self):
        for content in (
            [],
            None,
            'text',
            {},
            {'id': 1, 'status': 'active'},
            {'id': 'i'},
            {'error': {'code': 200}},
        ):
            self._refused(scripted.as_json(content), self._get)
        for content in (
            [],
            {},
            {'images': None},
            {'images': {}},
            {'images': [None]},
            {'images': [{'name': 'n'}]},
            {'images': [], 'next': 7},
        ):
            self._refused(scripted.as_json(content), self._list)

    def test_broken_json_is_refused(self):
        for content in (b'', b'{', b'\xff\xfe', b'[' * 100_000):
            answer = (200, {'Content-Type': 'application/json'}, content)
            self.assertIn('JSON', str(self._refused(answer, self._get)))

    def test_the_token_is_sent_to_no_other_server(self):
        other = scripted.Server(self)
        url = other.url.replace('127.0.0.1', 'localhost')
        error = self._refused(
            scripted.page(302, Location=f'{url}/login?next=secret'), self._get
        )
        self.assertIn('HTTP 302 Found, a redirection to', str(error))
        self.assertIn('/login', str(error))
        self.assertNotIn('secret', str(error))
        self._refused(
            scripted.as_json({'images': [_ENTRY], 'next': f'{url}/v2/images'}),
            self._list,
        )
        self.assertEqual([], other.requests)

    def test_a_redirection_on_the_same_server_is_followed(self):
        self.server.answers[:] = [
            scripted.page(301, Location='/image/v2/images/x'),
            scripted.as_json(_ENTRY),
        ]
        self.assertEqual(base.IMAGE_ID, self._get()['id'])
        self.assertEqual('/image/v2/images/x', self.server.requests[-1][0])

    def test_a_redirection_that_looks_like_the_same_server_is_refused(self):
        # Readers of URLs disagree about which host each of them names.
        other = scripted.Server(self)
        port = self.server.url.rpartition(':')[2]
        there = other.url.removeprefix('http://')
        for location in (
            f'http://127.0.0.1:{port}\\@{there}/',
            f'http://127.0.0.1:{port}@{there}/',
            f'http://{there}\\@127.0.0.1:{port}/',
            f'//{there}/',
            f'\\\\{there}/',
            f'http:\\\\{there}\\',
            f'http://127.0.0.1:{port}#@{there}/',
            f'http://ann:pw@127.0.0.1:{port}/',
            'http://[/',
            'http://127.0.0.1:x/',
        ):
            self.server.answers[:] = [
                scripted.page(302, Location=location),
                scripted.page(403),
            ]
            self.assertRaises(glance_http.BadAnswer, self._get)
        self.assertEqual([], other.requests)

    def test_an_answer_of_any_length_uses_bounded_memory(self):
        self.patch(glance_http, '_MAX_JSON', 1000)
        long = (200, {'Content-Type': 'application/json'}, b' ' * 1001)
        for call in (self._get, self._list):
            self.assertIn(
                'more than 1000 bytes', str(self._refused(long, call))
            )

    def test_an_answer_with_many_values_uses_bounded_memory(self):
        self.patch(glance_http, '_MAX_JSON_VALUES', 1000)
        many = (200, {'Content-Type': 'application/json'}, b'[],' * 1001)
        for call in (self._get, self._list):
            self.assertIn(
                'more than 1000 values', str(self._refused(many, call))
            )

    def test_an_answer_that_expands_uses_bounded_memory(self):
        for level in (logging.DEBUG, logging.INFO):
            # keystoneauth1 reads what it logs.
            logging.getLogger('keystoneauth.session').setLevel(level)
            self.addCleanup(
                logging.getLogger('keystoneauth.session').setLevel,
                logging.NOTSET,
            )
            bomb = (
                200,
                {
                    'Content-Type': 'application/json',
                    'Content-Encoding': 'gzip',
                },
                gzip.compress(b' ' * (20 << 20)),
            )
            self.server.answers[:] = [bomb]
            error = self.assertRaises(
                (glance_http.BadAnswer, ksa_exceptions.ConnectionError),
                self._get,
            )
            self.assertIn('more than', str(error))

    def test_an_unsupported_encoding_is_refused(self):
        for encoding in ('br', 'gzip, gzip'):
            answer = (
                200,
                {
                    'Content-Type': 'application/json',
                    'Content-Encoding': encoding,
                },
                b'{}',
            )
            logging.getLogger('keystoneauth.session').setLevel(logging.INFO)
            self.addCleanup(
                logging.getLogger('keystoneauth.session').setLevel,
                logging.NOTSET,
            )
            self.assertIn(
                f'content encoding {encoding!r}',
                str(self._refused(answer, self._get)),
            )

    def test_redirections_without_end_are_refused(self):
        self.server.answers[:] = [
            scripted.page(302, Location='/again') for _ in range(20)
        ]
        error = self.assertRaises(glance_http.BadAnswer, self._get)
        self.assertEqual(302, error.status)
        self.assertLess(len(self.server.requests), 10)

    def test_the_delay_that_the_server_wants_is_read(self):
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            seconds=50
        )
        for value, low, high in (
            ('7', 7, 7),
            ('0', 0, 0),
            (email.utils.format_datetime(later), 20, 51),
            ('Wed, 21 Oct 2015 07:28:00 GMT', 0, 0),
        ):
            answer = scripted.page(429, **{'Retry-After': value})
            found = self._refused(answer, self._get).retry_after
            self.assertTrue(low <= found <= high, found)
        for value in (
            'soon',
            '-1',
            '1.5',
            '',
            'Wed, 99 Oct',
            'Wed, 21 Oct 2015 07:28:00 +9999999999999',
            f'Wed, 21 Oct 2015 {"9" * 30}:28:00 GMT',
        ):
            answer = scripted.page(503, **{'Retry-After': value})
            self.assertIsNone(self._refused(answer, self._get).retry_after)


class DataTest(HTTPTestCase):
    """Requests for the data of an image."""

    def _data(self, part=None):
        with self.client.data(base.IMAGE_ID, part) as response:
            return response.status_code, response.content

    def test_data_are_returned(self):
        self.server.answers[:] = [
            scripted.data(b'abc'),
            (200, {}, b'abc'),
            (204, {}),
        ]
        self.assertEqual((200, b'abc'), self._data())
        self.assertEqual((200, b'abc'), self._data())
        self.assertEqual((204, b''), self._data())
        path, headers = self.server.requests[0]
        self.assertEqual(f'/v2/images/{base.IMAGE_ID}/file', path)
        self.assertEqual(scripted.TOKEN, headers['X-Auth-Token'])
        # Positions would be those of compressed data.
        self.assertEqual('identity', headers['Accept-Encoding'])

    def test_a_part_is_requested(self):
        self.server.answers[:] = [scripted.part(b'b', 'bytes 1-1/3')] * 2
        self.assertEqual((206, b'b'), self._data(glance_http.Part(1, 1)))
        self._data(glance_http.Part(1))
        self.assertEqual(['bytes=1-1', 'bytes=1-'], self.server.ranges())

    def test_what_is_no_data_is_refused(self):
        for kind in (
            'text/html',
            'application/json',
            'text/plain',
            'multipart/byteranges',
        ):
            answer = (200, {'Content-Type': kind}, b'abc')
            error = self._refused(answer, self._data)
            self.assertIn('in place of the data of an image', str(error))

    def test_other_statuses_are_refused(self):
        for status in (201, 202, 203, 206, 304, 400, 416, 503):
            answer = (status, scripted.OCTETS, b'abc')
            self.assertEqual(status, self._refused(answer, self._data).status)

    def test_an_id_cannot_change_the_path(self):
        self.server.answers[:] = [scripted.data(b'abc')]
        self.client.data('../x?y').close()
        self.assertEqual(
            '/v2/images/..%2Fx%3Fy/file', self.server.requests[0][0]
        )


class HoldsTest(base.TestCase):
    """Whether an answer contains the part that was requested."""

    def _holds(self, first, last, size, content_range, **values):
        response = types.SimpleNamespace(
            status_code=206, headers={'Content-Range': content_range}
        )
        for name, value in values.items():
            setattr(response, name, value)
        return glance_http.holds(response, glance_http.Part(first, last), size)

    def test_the_part_is_believed(self):
        self.assertTrue(self._holds(3, None, 9, 'bytes 3-8/9'))
        self.assertTrue(self._holds(0, 0, 9, 'bytes 0-0/9'))

    def test_another_part_is_not_believed(self):
        for content_range in (
            'bytes 0-8/9',
            'bytes 2-8/9',
            'bytes 4-8/9',
            'bytes 3-7/9',
            'bytes 3-8/10',
            'bytes 3-8/*',
            'bytes */9',
            'bytes 3-8',
            'items 3-8/9',
            '3-8/9',
            '',
            # More digits than Python converts.
            f'bytes 3-8/{"9" * 5000}',
        ):
            self.assertFalse(self._holds(3, None, 9, content_range))

    def test_only_a_partial_answer_is_a_part(self):
        self.assertFalse(
            self._holds(3, None, 9, 'bytes 3-8/9', status_code=200)
        )

    def test_an_encoded_part_is_not_believed(self):
        self.assertFalse(
            self._holds(
                3,
                None,
                9,
                '',
                headers={
                    'Content-Range': 'bytes 3-8/9',
                    'Content-Encoding': 'gzip',
                },
            )
        )


class AddressTest(base.TestCase):
    def test_user_password_query_and_fragment_are_left_out(self):
        self.assertEqual(
            'http://glance.invalid:9292/v2/images',
            glance_http.address(
                'http://u:p@glance.invalid:9292/v2/images?token=t#f'
            ),
        )
