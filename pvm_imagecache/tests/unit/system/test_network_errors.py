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

"""Plain causes of network errors."""

import errno
import http.client
import socket
import ssl

import hypothesis
from hypothesis import strategies
import requests
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache.system import network_errors
from pvm_imagecache.tests.unit import base


class PlainCauseTest(base.TestCase):
    def test_a_cause_is_found_in_wrapped_errors(self):
        refused = urllib3_exceptions.NewConnectionError(
            None, 'Failed to establish: [Errno 111] Connection refused'
        )
        error = requests.exceptions.ConnectionError(
            urllib3_exceptions.MaxRetryError(None, '/v2/images', refused)
        )
        self.assertEqual(
            'connection refused', network_errors.plain_cause(error)
        )

    def test_causes_are_found_in_messages_of_libraries(self):
        for error, cause in (
            (
                ConnectionRefusedError(111, 'Connection refused'),
                'connection refused',
            ),
            (
                socket.gaierror(-2, 'Name or service not known'),
                'name or service not known',
            ),
            (
                ssl.SSLError(
                    '[SSL: WRONG_VERSION_NUMBER] wrong version '
                    'number (_ssl.c:1006)'
                ),
                'wrong version number',
            ),
            (
                ssl.SSLError(
                    '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify '
                    'failed: self-signed certificate'
                ),
                'certificate verify failed',
            ),
            (TimeoutError('The read operation timed out'), 'timed out'),
        ):
            self.assertEqual(cause, network_errors.plain_cause(error))

    def test_text_of_python_is_no_cause(self):
        for error in (
            urllib3_exceptions.ProtocolError(
                'Connection broken: IncompleteRead(3 bytes read)',
                http.client.IncompleteRead(b'abc', 3),
            ),
            urllib3_exceptions.ProtocolError('Response ended prematurely'),
        ):
            self.assertEqual(
                'closed before the end of the data',
                network_errors.plain_cause(error),
            )
        for error in (KeyError('k'), OSError('<html>'), ValueError()):
            self.assertIsNone(network_errors.known_cause(error))

    def test_errors_of_eventlet_have_the_same_causes(self):
        for name, cause in (
            ('ECONNREFUSED', 'connection refused'),
            ('EHOSTUNREACH', 'no route to host'),
            ('ENETUNREACH', 'network is unreachable'),
            ('ETIMEDOUT', 'timed out'),
            ('ECONNRESET', 'connection reset by peer'),
        ):
            error = OSError(getattr(errno, name), name)
            self.assertEqual(cause, network_errors.plain_cause(error))

    def test_an_address_that_is_not_of_http_is_a_cause(self):
        cause = network_errors.plain_cause(
            requests.exceptions.InvalidSchema(
                "No connection adapters were found for 'k:5000/v3'"
            )
        )
        self.assertEqual('neither http nor https', cause)
        self.assertTrue(network_errors.is_permanent(cause))

    def test_the_more_specific_cause_is_reported(self):
        error = urllib3_exceptions.ProtocolError(
            'Connection aborted.',
            ConnectionResetError(104, 'Connection reset by peer'),
        )
        self.assertEqual(
            'connection reset by peer', network_errors.plain_cause(error)
        )

    def test_case_of_the_message_does_not_matter(self):
        self.assertEqual(
            'connection refused',
            network_errors.plain_cause(OSError('CONNECTION REFUSED')),
        )

    def test_an_unknown_message_is_reported_on_one_line(self):
        self.assertEqual(
            'two lines', network_errors.plain_cause(OSError('two\n lines.'))
        )

    def test_an_error_without_message_is_reported_by_kind(self):
        self.assertEqual(
            'TimeoutError', network_errors.plain_cause(TimeoutError())
        )

    @base.generated
    @hypothesis.given(strategies.text())
    def test_a_cause_is_one_line_and_never_empty(self, message):
        cause = network_errors.plain_cause(OSError(message))
        self.assertEqual(1, len(cause.splitlines()))


class IsPermanentTest(base.TestCase):
    def _is_permanent(self, message):
        return network_errors.is_permanent(
            network_errors.plain_cause(OSError(message))
        )

    def test_causes_that_persist_are_permanent(self):
        for message in (
            '[Errno 111] Connection refused',
            'Name or service not known',
            'No route to host',
            'certificate verify failed: expired',
            'wrong version number',
            'Invalid URL "keystone": No scheme supplied',
            'Failed to parse: http://[',
            'Invalid URL',
        ):
            self.assertTrue(self._is_permanent(message), message)

    def test_other_causes_are_transient(self):
        for message in (
            'Temporary failure in name resolution',
            'Network is unreachable',
            'Read timed out.',
            'Connection reset by peer',
            'Connection aborted.',
            'something else',
            '',
        ):
            self.assertFalse(self._is_permanent(message), message)

    def test_a_service_that_restarts_may_be_back_soon(self):
        for message, restarts in (
            ('[Errno 111] Connection refused', True),
            ('No route to host', True),
            ('Name or service not known', False),
            ('certificate verify failed: expired', False),
        ):
            cause = network_errors.plain_cause(OSError(message))
            self.assertIs(restarts, network_errors.is_at_restart(cause))


class AddressTest(base.TestCase):
    def test_the_address_is_found_in_messages_of_libraries(self):
        for message, found in (
            (
                'Unable to establish connection to http://g:9292/v2/x: Max',
                'http://g:9292/v2/x',
            ),
            (
                'Request to https://g/v2/images?name=x timed out',
                'https://g/v2/images',
            ),
            (
                'SSL exception connecting to https://u:p@g/v3/auth: bad',
                'https://g/v3/auth',
            ),
            (
                'Unexpected exception for http://[::1]:9292/v2.',
                'http://[::1]:9292/v2',
            ),
            ('timed out', None),
        ):
            self.assertEqual(found, network_errors.address(OSError(message)))
