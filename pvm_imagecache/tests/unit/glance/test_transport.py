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

"""Where requests to Glance are sent, over real connections."""

from http import server
import socket
import threading

import fixtures
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
from keystoneauth1.access import service_catalog

from pvm_imagecache import exceptions
from pvm_imagecache.glance import endpoints
from pvm_imagecache.glance import location
from pvm_imagecache.glance import login
from pvm_imagecache.glance import transport
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import test_location


class _Handler(server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        self.close_connection = True
        if self.server.status:
            self.send_response(self.server.status)
            self.send_header('Content-Length', '0')
            self.end_headers()

    def log_message(self, *args):
        """Requests are recorded instead."""


class _Token(token_endpoint.Token):
    """A token with a service catalog."""

    def __init__(self, catalog):
        super().__init__('http://unused.invalid', 'secret-token')
        self.service_catalog = catalog

    def get_endpoint(self, session, **kwargs):
        return self.service_catalog.url_for(
            **{
                name: kwargs.get(name)
                for name in ('service_type', 'interface', 'region_name')
            }
        )


class TransportTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        self.session = ksa_session.Session(timeout=base.PATIENCE)
        self.session.session.trust_env = False

    def start(self, status=200):
        """Start a server that answers each request with a status."""
        started = server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
        started.daemon_threads = True
        started.status = status
        started.requests = []
        started.url = f'http://127.0.0.1:{started.server_port}'
        thread = threading.Thread(target=started.serve_forever, args=(0.02,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(started.server_close)
        self.addCleanup(started.shutdown)
        return started

    def refusing(self):
        """Return the address of a port where nothing listens."""
        bound = socket.socket()
        self.addCleanup(bound.close)
        bound.bind(('127.0.0.1', 0))
        return f'http://127.0.0.1:{bound.getsockname()[1]}'

    def adapter(self, auth=None, where=None, servers=(), **kwargs):
        return transport.GlanceAdapter(
            self.session,
            auth=login.Login(
                auth or token_endpoint.Token('http://unused.invalid', 't'),
                kwargs.pop('credentials', login.CONFIGURED),
            ),
            where=where or location.from_options(test_location.options()),
            servers=endpoints.Servers(servers) if servers else None,
            **kwargs,
        )

    def attempt(self, adapter):
        adapter.begin_attempt()
        return self.get(adapter)

    def get(self, adapter, path='/v2/images'):
        return adapter.request(path, 'GET', raise_exc=False)


class ServersTest(TransportTestCase):
    """Several servers of Glance."""

    def test_attempts_take_turns(self):
        one, other = self.start(), self.start()
        adapter = self.adapter(servers=(one.url, other.url))
        for _ in range(6):
            self.assertEqual(200, self.attempt(adapter).status_code)
        self.assertEqual((3, 3), (len(one.requests), len(other.requests)))

    def test_the_requests_of_an_attempt_have_the_same_server(self):
        one, other = self.start(), self.start()
        adapter = self.adapter(servers=(one.url, other.url))
        for count in (2, 4):
            adapter.begin_attempt()
            for _ in range(2):
                self.get(adapter)
            requests = sorted((len(one.requests), len(other.requests)))
            self.assertEqual([count - 2, 2], requests)

    def test_a_dead_server_fails_no_request(self):
        for status in (None, 0, 502, 503, 504):
            good = self.start()
            bad = self.refusing() if status is None else self.start(status).url
            adapter = self.adapter(servers=(good.url, bad))
            for count in range(1, 5):
                self.assertEqual(200, self.attempt(adapter).status_code)
                self.assertEqual(count, len(good.requests))
            self.assertIn(f'Glance at {bad} is out of', self.logger.output)

    def test_a_dead_server_is_tried_once_a_minute(self):
        good, bad = self.start(), self.start(503)
        adapter = self.adapter(servers=(good.url, bad.url))
        for _ in range(6):
            self.attempt(adapter)
        self.assertEqual(1, len(bad.requests))

    def test_the_last_answer_is_returned_if_all_are_out_of_service(self):
        one, other = self.start(503), self.start(503)
        adapter = self.adapter(servers=(one.url, other.url))
        self.assertEqual(503, self.get(adapter).status_code)
        self.assertEqual((1, 1), (len(one.requests), len(other.requests)))

    def test_a_failure_that_may_be_over_soon_is_raised_before_others(self):
        for order in (1, -1):
            urls = [self.start(0).url, 'http://glance.invalid'][::order]
            adapter = self.adapter(servers=urls)
            error = self.assertRaises(
                ksa_exceptions.ConnectionError, self.get, adapter
            )
            self.assertIn('aborted', str(error))

    def test_other_answers_are_those_of_glance(self):
        for status in (400, 403, 404, 416, 429, 500):
            one, other = self.start(status), self.start(status)
            adapter = self.adapter(servers=(one.url, other.url))
            self.assertEqual(status, self.get(adapter).status_code)
            self.assertEqual(1, len(one.requests) + len(other.requests))

    def test_a_redirection_leads_to_its_target(self):
        one, other = self.start(), self.start()
        adapter = self.adapter(servers=(one.url,))
        self.get(adapter, f'{other.url}/elsewhere')
        self.assertEqual(['/elsewhere'], other.requests)

    def test_the_limit_of_a_connection_is_short_if_there_are_others(self):
        for limit, expected in (
            ({}, (5.0, base.PATIENCE)),
            ({'timeout': 3}, (3, 3)),
            ({'timeout': (60, 600)}, (5.0, 600)),
        ):
            self.assertEqual(
                expected,
                transport._impatient(limit, self.session)['timeout'],
            )


class CatalogTest(TransportTestCase):
    """The address is in the service catalog."""

    def setUp(self):
        super().setUp()
        self.glance = self.start()
        self.other = self.start()

    def _auth(self, path=''):
        return _Token(
            test_location.catalog(
                ('one', 'public', f'{self.other.url}{path}'),
                ('one', 'internal', f'{self.glance.url}{path}'),
                ('two', 'public', f'{self.other.url}/two{path}'),
            )
        )

    def test_a_version_in_the_address_is_not_doubled(self):
        for path in ('', '/', '/v2', '/v2/', '/v2.15/', '/v1', '/v2?x=y'):
            self.get(self.adapter(self._auth(path)))
        self.assertEqual(['/v2/images'] * 7, self.glance.requests)

    def test_a_path_before_the_version_is_kept(self):
        for path in ('/image', '/image/v2', '/image/v2.15/'):
            self.get(self.adapter(self._auth(path)))
        self.assertEqual(['/image/v2/images'] * 3, self.glance.requests)

    def test_a_percent_sign_in_the_address_is_kept(self):
        self.get(self.adapter(self._auth('/a%20b/v2')))
        self.assertEqual(['/a%20b/v2/images'], self.glance.requests)

    def _where(self, **values):
        return location.from_options(test_location.options(**values))

    def test_internal_is_preferred_to_public(self):
        self.get(self.adapter(self._auth()))
        self.get(self.adapter(self._auth(), self._where(region_name='two')))
        self.assertEqual(['/v2/images'], self.glance.requests)
        self.assertEqual(['/two/v2/images'], self.other.requests)

    def test_a_wrong_region_is_named(self):
        error = self.assertRaises(
            exceptions.ImageServiceNotFound,
            self.get,
            self.adapter(self._auth(), self._where(region_name='three')),
        )
        for part in (
            'in region "three"',
            'one (internal, public), two (public)',
            'region_name and valid_interfaces in [glance]',
        ):
            self.assertIn(part, str(error))

    def test_a_region_must_be_chosen_only_if_that_matters(self):
        auth = _Token(
            test_location.catalog(
                ('one', 'internal', f'{self.glance.url}/v2'),
                ('two', 'internal', self.other.url),
            )
        )
        error = self.assertRaises(
            exceptions.ImageServiceNotFound,
            self.get,
            self.adapter(auth, must_choose=True),
        )
        self.assertIn('one (internal), two (internal)', str(error))
        self.assertEqual([], self.glance.requests + self.other.requests)
        self.get(
            self.adapter(
                auth, self._where(region_name='one'), must_choose=True
            )
        )
        # nova takes the first one.
        self.get(self.adapter(auth))
        self.assertEqual(2, len(self.glance.requests))

    def test_a_catalog_of_nova_is_searched(self):
        auth = _Token(
            service_catalog.ServiceCatalogV2(
                test_location.catalog_of_nova(one=self.glance.url)._catalog
            )
        )
        self.get(self.adapter(auth))
        self.assertEqual(1, len(self.glance.requests))


class RefusalTest(TransportTestCase):
    """Glance refuses the token."""

    def _refused(self, credentials):
        glance = self.start(401)
        error = self.assertRaises(
            exceptions.TokenRefused,
            self.get,
            self.adapter(servers=(glance.url,), credentials=credentials),
            '/v2/images?marker=x',
        )
        self.assertIn(f'Glance at {glance.url}/v2/images refused', str(error))
        self.assertFalse(error.transient)
        return str(error)

    def test_the_configuration_is_blamed_for_its_credentials(self):
        self.assertIn('in [glance]', self._refused(login.CONFIGURED))

    def test_the_configuration_is_not_blamed_for_a_token_of_a_user(self):
        message = self._refused(login.USER_TOKEN)
        self.assertNotIn('[glance]', message)
        self.assertIn('expired', message)
        self.assertIn('send_service_user_token', message)


class TlsTest(TransportTestCase):
    def test_parameters_apply_to_requests_to_glance(self):
        sent = []

        def request(url, method, **kwargs):
            sent.append((kwargs['verify'], kwargs['cert']))
            raise ksa_exceptions.ConnectFailure('no')

        self.patch(self.session, 'request', request)
        adapter = self.adapter(
            servers=('http://g',), tls={'verify': '/ca.pem', 'cert': '/c.pem'}
        )
        self.assertRaises(ksa_exceptions.ConnectFailure, self.get, adapter)
        self.assertEqual([('/ca.pem', '/c.pem')], sent)
