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

from glanceclient import exc as glance_exceptions
from keystoneauth1 import exceptions as ksa_exceptions
import requests

from pvm_imagecache import exceptions
from pvm_imagecache.glance import errors
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

    def test_a_broken_request_means_glance_is_unreachable(self):
        raised = self._raised(
            requests.exceptions.ConnectionError('Connection aborted.')
        )
        self.assertIs(exceptions.GlanceUnreachable, type(raised))
        self.assertTrue(raised.transient)

    def test_a_refused_connection_is_a_permanent_error(self):
        raised = self._raised(
            requests.exceptions.ConnectionError('[111] Connection refused')
        )
        self.assertIsInstance(raised, exceptions.GlanceNotThere)
        self.assertFalse(raised.transient)
        self.assertIn('connection refused', str(raised))

    def test_http_status_decides_what_is_raised(self):
        for error, kind in (
            (glance_exceptions.HTTPForbidden(), exceptions.ImageForbidden),
            (glance_exceptions.HTTPNotFound(), exceptions.ImageNotFound),
            (
                glance_exceptions.HTTPUnauthorized(),
                exceptions.GlanceLogonFailed,
            ),
            (
                glance_exceptions.HTTPServiceUnavailable(),
                exceptions.GlanceUnreachable,
            ),
            (glance_exceptions.HTTPConflict(), exceptions.GlanceFailed),
        ):
            self.assertIs(kind, type(self._raised(error)))

    def test_unknown_errors_are_reported_with_their_kind(self):
        raised = self._raised(ValueError('bad value.'))
        self.assertIs(exceptions.GlanceFailed, type(raised))
        self.assertIn('ValueError: bad value', str(raised))
        self.assertFalse(raised.transient)
