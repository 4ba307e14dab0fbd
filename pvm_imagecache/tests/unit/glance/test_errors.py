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

"""Errors of libraries about Glance, as errors of this project."""

import fixtures
from keystoneauth1 import exceptions as ksa_exceptions
import requests

from pvm_imagecache import exceptions
from pvm_imagecache.glance import errors
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import responses


class TranslatedTest(base.TestCase):
    def _raised(self, error, **kwargs):
        """The error that leaves a block in which another one is raised."""
        try:
            with errors.translated('an-id', **kwargs):
                raise error
        except Exception as raised:
            return raised

    def test_every_library_error_becomes_an_image_error(self):
        for error in responses.ERRORS:
            for kwargs in ({}, {'expected': 9, 'received': 4}):
                raised = self._raised(error, **kwargs)
                self.assertIsInstance(raised, exceptions.ImageError)
                self.assertNotIsInstance(raised, OSError)
                self.assertIs(error, raised.__cause__)

    def test_messages_have_one_line_only(self):
        for error in (
            ValueError('one\n two\n'),
            OSError('one\n two\n'),
            ksa_exceptions.Unauthorized('one\n two\n'),
        ):
            self.assertNotIn('\n', str(self._raised(error)))

    def test_errors_of_this_project_are_unchanged(self):
        error = exceptions.ConfigurationError(reason='r')
        self.assertIs(error, self._raised(error))

    def test_interrupts_are_not_translated(self):
        for kind in (KeyboardInterrupt, SystemExit):

            def interrupted(kind=kind):
                with errors.translated('an-id'):
                    raise kind

            self.assertRaises(kind, interrupted)

    def test_a_broken_connection_is_a_truncated_image(self):
        for error in (
            glance_http.Interrupted(responses.FILE_URL, 'reset'),
            requests.exceptions.ChunkedEncodingError('c'),
            requests.exceptions.ConnectionError('c'),
        ):
            raised = self._raised(error, expected=9, received=4)
            self.assertIsInstance(raised, exceptions.ImageTruncated)
            self.assertEqual(
                ('an-id', 9, 4),
                (raised.image, raised.expected, raised.received),
            )
            self.assertTrue(raised.transient)

    def test_a_broken_connection_is_reported_with_its_address(self):
        error = glance_http.Interrupted(responses.FILE_URL, 'timed out')
        for kwargs in ({}, {'expected': 9, 'received': 4}):
            message = str(self._raised(error, **kwargs))
            self.assertIn(responses.FILE_URL, message)
            self.assertIn('timed out', message)

    def test_a_broken_request_means_glance_is_unreachable(self):
        raised = self._raised(
            requests.exceptions.ConnectionError('Connection aborted.')
        )
        self.assertIs(exceptions.GlanceUnreachable, type(raised))
        self.assertTrue(raised.transient)

    def test_a_service_that_restarts_is_a_transient_error(self):
        for text in (
            '[Errno 111] Connection refused',
            '[Errno 113] No route to host',
            'Temporary failure in name resolution',
            'Request to http://glance.invalid/v2/images timed out',
            'anything else',
        ):
            raised = self._raised(ksa_exceptions.ConnectFailure(text))
            self.assertIs(exceptions.GlanceUnreachable, type(raised))
            self.assertTrue(raised.transient)

    def test_a_wrong_address_is_a_permanent_error(self):
        for text in (
            'Name or service not known',
            'certificate verify failed',
            "Invalid URL 'http:///v2'",
        ):
            raised = self._raised(ksa_exceptions.ConnectFailure(text))
            self.assertIs(exceptions.GlanceNotThere, type(raised))
            self.assertFalse(raised.transient)

    def test_the_address_without_an_answer_is_named(self):
        raised = self._raised(
            ksa_exceptions.ConnectFailure(
                'Unable to establish connection to '
                'http://u:hush@glance.invalid:9292/v2/images?token=hush: '
                "HTTPConnectionPool(host='glance.invalid', port=9292): Max "
                'retries exceeded (Caused by [Errno 111] Connection refused)'
            )
        )
        self.assertIn(
            'http://glance.invalid:9292/v2/images: connection refused.',
            str(raised),
        )
        self.assertNotIn('hush', str(raised))

    def _of_status(self, status, url=responses.FILE_URL):
        return self._raised(responses.refused(status, url))

    def test_http_status_decides_what_is_raised(self):
        for status, kind in (
            (401, exceptions.GlanceLogonFailed),
            (403, exceptions.ImageForbidden),
            (404, exceptions.ImageNotFound),
        ):
            raised = self._of_status(status)
            self.assertIs(kind, type(raised))
            self.assertFalse(raised.transient)

    def test_statuses_of_a_moment_are_transient(self):
        for status in (408, 429, 500, 502, 503, 504):
            raised = self._of_status(status)
            self.assertIs(exceptions.GlanceBusy, type(raised))
            self.assertTrue(raised.transient)

    def test_every_other_status_fails_for_good(self):
        # Nothing is said about the image, nor about permissions.
        for status in (200, 204, 302, 400, 405, 409, 410, 416, 501, 505, 599):
            raised = self._of_status(status)
            self.assertIs(exceptions.GlanceFailed, type(raised))
            self.assertFalse(raised.transient)

    def test_only_a_request_for_an_image_says_that_it_is_missing(self):
        for path in ('', '/v2/images', '/v2/schemas/image', '/login'):
            for status in (403, 404):
                raised = self._of_status(status, f'http://g.invalid{path}')
                self.assertIs(exceptions.GlanceFailed, type(raised))

    def test_the_status_and_the_address_are_in_the_message(self):
        for status in (200, 400, 401, 403, 404, 408, 429, 500, 501, 503, 504):
            message = str(self._of_status(status))
            self.assertIn(str(status), message)
            self.assertIn(responses.FILE_URL, message)

    def test_the_delay_that_the_server_wants_is_kept(self):
        raised = self._raised(responses.refused(429, retry_after=7.0))
        self.assertEqual(7.0, raised.retry_after)

    def test_unknown_errors_are_logged_and_not_shown(self):
        logger = self.useFixture(fixtures.FakeLogger())
        raised = self._raised(KeyError('bad value.'))
        self.assertIs(exceptions.GlanceFailed, type(raised))
        self.assertNotIn('KeyError', str(raised))
        self.assertNotIn('bad value', str(raised))
        self.assertIn("KeyError: 'bad value.'", logger.output)
        self.assertFalse(raised.transient)
