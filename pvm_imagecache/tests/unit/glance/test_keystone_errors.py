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

"""What errors of keystoneauth1 say about Keystone.

The errors are made by keystoneauth1 itself, from the answers of a server.
"""

from http import server
import threading

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session as ksa_session
from keystoneauth1.identity import generic

from pvm_imagecache.glance import keystone_errors
from pvm_imagecache.tests.unit import base

OUTAGE = keystone_errors.Kind.OUTAGE
REJECTED = keystone_errors.Kind.REJECTED
WRONG = keystone_errors.Kind.WRONG
HTML = '<html><body>Sign in, KeyError</body></html>'


class _Handler(server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get('Content-Length') or 0))
        status, headers, body = self.server.answer
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *args):
        """Nothing is logged."""


class FaultTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.server = server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
        self.server.daemon_threads = True
        thread = threading.Thread(
            target=self.server.serve_forever, args=(0.02,)
        )
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f'http://127.0.0.1:{self.server.server_port}'

    def fault(self, path, url=None):
        """Return the fault of a logon at the path of an auth_url."""
        session = ksa_session.Session(timeout=base.PATIENCE)
        session.session.trust_env = False
        auth = generic.Password(
            (url or self.url) + path,
            username='u',
            password='p',
            user_domain_name='d',
        )
        # keystoneauth1 raises errors of Python, too, at such answers.
        error = self.assertRaises(Exception, auth.get_token, session)  # noqa: H202, B017
        found = keystone_errors.fault(error)
        for word in ('<', 'Error:', 'Error(', 'Exception', 'object at'):
            self.assertNotIn(word, found.reason)
        return found

    def answer(self, status, kind='text/html', body=HTML, **headers):
        headers = {
            name.replace('_', '-'): value for name, value in headers.items()
        }
        if kind:
            headers['Content-Type'] = kind
        self.server.answer = (status, headers, body)


class FaultTest(FaultTestCase):
    #: With and without the version, which keystoneauth1 then discovers.
    PATHS = ('/v3', '', '/', '/identity')

    def check(self, kind, says):
        for path in self.PATHS:
            found = self.fault(path)
            self.assertIs(kind, found.kind, (path, found))
            self.assertIn(says, found.reason)

    def test_busy_answers_are_outages(self):
        for status in (408, 429, 500, 502, 503, 504):
            for kind in ('text/html', 'application/json', ''):
                self.answer(status, kind)
                self.check(OUTAGE, f'HTTP {status}')

    def test_a_closed_connection_is_an_outage(self):
        self.answer(0)
        self.check(OUTAGE, 'onnection')

    def test_a_refused_connection_is_an_outage(self):
        for path in self.PATHS:
            found = self.fault(path, 'http://127.0.0.1:9')
            self.assertEqual(
                (OUTAGE, 'connection refused'), (found.kind, found.reason)
            )

    def test_an_address_without_scheme_is_wrong(self):
        for url in ('127.0.0.1:5000', 'keystone:5000', 'ftp://k'):
            found = self.fault('/v3', url)
            self.assertIs(WRONG, found.kind, found)

    def test_an_unknown_host_is_wrong(self):
        for path in self.PATHS:
            found = self.fault(path, 'http://keystone.invalid')
            self.assertIn(found.kind, (WRONG, OUTAGE))
            self.assertIn('name', found.reason)

    def test_a_page_of_a_proxy_is_an_outage(self):
        self.answer(200)
        self.check(OUTAGE, 'login page')

    def test_other_json_is_an_outage(self):
        for body in ('{}', '[]', '{"token": 1}', '{"versions": 1}', 'null'):
            self.answer(200, 'application/json', body)
            self.check(OUTAGE, 'not from the Identity API')

    def test_a_refusal_is_no_outage(self):
        for status in (401, 403):
            self.answer(
                status,
                'application/json',
                '{"error": {"message": "You may not."}}',
            )
            self.check(REJECTED, f'HTTP {status}')
            self.assertIn('You may not', self.fault('/v3').reason)

    def test_another_address_is_wrong(self):
        self.answer(404)
        self.check(WRONG, 'HTTP 404')

    def test_the_message_of_keystone_is_shown_without_html(self):
        self.answer(400)
        self.check(WRONG, 'HTTP 400 (Bad Request)')
        self.answer(
            400, 'application/json', '{"error": {"message": "No domain."}}'
        )
        self.check(WRONG, 'No domain')

    def test_a_missing_password_is_named(self):
        # Newer releases of keystoneauth1 raise it; Keystone refuses it else.
        found = keystone_errors.fault(
            Exception('password is a required attribute')
        )
        self.assertIs(WRONG, found.kind)
        self.assertIn('password is a required', found.reason)

    def test_retry_after_is_returned(self):
        for value, expected in (
            ('7', 7.0),
            ('-1', 0.0),
            ('Wed, 21 Oct 2015 07:28:00 GMT', None),
            ('', None),
        ):
            self.answer(429, Retry_After=value)
            for path in self.PATHS:
                self.assertEqual(expected, self.fault(path).retry_after)


class OptionsTest(base.TestCase):
    def test_missing_options_are_wrong(self):
        for error in (
            ksa_exceptions.NoMatchingPlugin('p'),
            ksa_exceptions.MissingAuthPlugin('no plugin'),
        ):
            self.assertIs(WRONG, keystone_errors.fault(error).kind)

    def test_version_2_knows_no_domains(self):
        found = keystone_errors.fault(
            ksa_exceptions.DiscoveryFailure(
                'Cannot use v2 authentication with domain scope'
            )
        )
        self.assertIs(WRONG, found.kind)
        self.assertIn('version 2', found.reason)

    def test_a_long_message_is_cut(self):
        found = keystone_errors.fault(
            ksa_exceptions.AuthorizationFailure('x ' * 1000)
        )
        self.assertLess(len(found.reason), 400)


class AddressTest(base.TestCase):
    def test_address_has_no_password(self):
        for url, expected in (
            ('http://k/v3', 'http://k/v3'),
            ('https://u:secret@k:5000/?a=b', 'https://k:5000/'),
        ):
            auth = generic.Password(url, username='u', password='p')
            self.assertEqual(expected, keystone_errors.address(auth))

    def test_a_plugin_without_address_is_named_so(self):
        self.assertEqual('an unknown address', keystone_errors.address(None))
