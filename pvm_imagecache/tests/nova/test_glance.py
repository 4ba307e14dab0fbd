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

"""Which Glance is asked, and with which credentials."""

import contextlib
from http import server
import json
import threading
from typing import Any

from keystoneauth1 import loading
from keystoneauth1 import session as ksa_session
from keystoneauth1.identity import v3
import nova.conf
from oslo_config import fixture as config_fixture
from oslo_utils.fixture import uuidsentinel as uuids
import requests

from nova import context as nova_context
from nova import service_auth
from nova import test
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import front
from pvm_imagecache.tests.servers import regions
from pvm_imagecache.virt import glance

CONF = nova.conf.CONF


class Glance(server.ThreadingHTTPServer):
    """A Glance with one image, which records the headers of requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.headers: list[Any] = []

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'


class Handler(server.BaseHTTPRequestHandler):
    server: Glance

    def do_GET(self) -> None:
        answer: dict[str, Any] = {'name': 'image', 'properties': {}}
        if '/schemas/' not in self.path:
            self.server.headers.append(self.headers)
            answer = {
                'id': uuids.image,
                'name': 'an image',
                'status': 'active',
                'size': 1,
                'disk_format': 'raw',
                'container_format': 'bare',
            }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Requests are recorded instead."""


class GlanceTestCase(test.NoDBTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.glance = self.start()
        self.source = glance.source()

    def start(self) -> Glance:
        started = Glance()
        thread = threading.Thread(target=started.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(started.server_close)
        self.addCleanup(started.shutdown)
        return started

    def context(self, **values: Any) -> nova_context.RequestContext:
        """The context of a request, with the catalog that Keystone gave."""
        defaults = {
            'auth_token': 'token of the user',
            'service_catalog': [
                {
                    'type': 'image',
                    'name': 'glance',
                    'endpoints': [
                        {
                            'region': 'RegionOne',
                            'publicURL': self.glance.url,
                            'internalURL': self.glance.url,
                        }
                    ],
                }
            ],
        }
        return nova_context.RequestContext(
            'user', 'project', **{**defaults, **values}
        )

    def get(
        self, context: nova_context.RequestContext | None
    ) -> image_module.Image:
        return self.source.get(uuids.image, context)

    def sent(self, name: str) -> list[str | None]:
        """Return the values of a header, one for each request."""
        return [each[name] for each in self.glance.headers]

    def test_a_source_is_made_without_a_request(self) -> None:
        self.assertEqual([], self.glance.headers)

    def test_a_request_has_the_token_of_its_user(self) -> None:
        self.assertEqual('an image', self.get(self.context()).name)
        self.get(self.context(auth_token='token of another user'))
        self.assertEqual(
            ['token of the user', 'token of another user'],
            self.sent('X-Auth-Token'),
        )
        self.assertEqual([None, None], self.sent('X-Service-Token'))

    def test_glance_gets_the_request_id_of_nova(self) -> None:
        context = self.context(global_request_id=f'req-{uuids.request}')
        self.get(context)
        self.assertEqual(
            [f'req-{uuids.request}'], self.sent('X-OpenStack-Request-ID')
        )

    def test_the_endpoint_is_that_of_the_catalog(self) -> None:
        other = self.start()
        context = self.context()
        (service,) = context.service_catalog
        (endpoint,) = service['endpoints']
        service['endpoints'].insert(
            0,
            {
                'region': 'RegionTwo',
                'publicURL': other.url,
                'internalURL': other.url,
            },
        )
        self.flags(region_name=endpoint['region'], group='glance')
        self.get(context)
        self.assertEqual(
            (1, 0), (len(self.glance.headers), len(other.headers))
        )

    def test_configured_servers_precede_the_catalog(self) -> None:
        servers = [self.start(), self.start()]
        self.flags(
            api_servers=[f'{each.url}/v2' for each in servers],
            # As in nova.
            endpoint_override='http://nowhere.invalid',
            group='glance',
        )
        for _ in range(4):
            self.get(self.context())
        self.assertEqual(
            (0, 2, 2),
            tuple(len(each.headers) for each in (self.glance, *servers)),
        )
        self.assertEqual(
            'token of the user', servers[0].headers[0]['X-Auth-Token']
        )

    def test_a_dead_server_fails_no_request(self) -> None:
        self.flags(
            api_servers=['http://127.0.0.1:9', self.glance.url],
            group='glance',
        )
        for _ in range(4):
            self.get(self.context())
        self.assertEqual(4, len(self.glance.headers))

    def test_internal_is_preferred_to_public(self) -> None:
        context = self.context()
        (service,) = context.service_catalog
        service['endpoints'][0]['publicURL'] = 'http://nowhere.invalid'
        self.get(context)
        del service['endpoints'][0]['internalURL']
        service['endpoints'][0]['publicURL'] = f'{self.glance.url}/v2.15/'
        self.get(context)
        self.assertEqual(2, len(self.glance.headers))

    def test_a_wrong_region_is_named(self) -> None:
        self.flags(region_name='three', group='glance')
        error = self.assertRaises(
            exceptions.ImageServiceNotFound, self.get, self.context()
        )
        self.assertIn('in region "three"', str(error))
        self.assertIn('RegionOne (internal, public)', str(error))

    def test_the_service_user_joins_the_user(self) -> None:
        # Glance accepts an expired token of the user with it.
        CONF.register_opts(
            loading.get_auth_plugin_conf_options('admin_token'),
            group='service_user',
        )
        self.flags(
            send_service_user_token=True,
            auth_type='admin_token',
            token='token of nova',
            endpoint='http://nowhere.invalid',
            group='service_user',
        )
        self.get(self.context())
        self.assertEqual(['token of the user'], self.sent('X-Auth-Token'))
        self.assertEqual(['token of nova'], self.sent('X-Service-Token'))

    def test_an_incomplete_service_user_is_left_out(self) -> None:
        self.flags(send_service_user_token=True, group='service_user')
        self.get(self.context())
        self.assertEqual(['token of the user'], self.sent('X-Auth-Token'))
        self.assertEqual([None], self.sent('X-Service-Token'))

    def test_no_image_is_read_without_a_user(self) -> None:
        # nova's [glance] has no credentials.
        self.assertRaises(exceptions.ConfigurationError, self.get, None)
        self.assertEqual([], self.glance.headers)


class CloudTestCase(test.NoDBTestCase):
    """A real Keystone, and a real Glance that checks tokens with it."""

    def setUp(self) -> None:
        super().setUp()
        held = contextlib.ExitStack()
        self.addCleanup(held.close)
        held.enter_context(seams.short_retries())
        service_auth.reset_globals()
        self.addCleanup(service_auth.reset_globals)
        self.cloud = regions.cloud()
        self.front = held.enter_context(
            front.Front(self.cloud.keystone.unversioned_url)
        )
        self.image_id = self.cloud.glances['one'].create_image(
            'an image', b'some bytes'
        )
        self.flags(region_name='one', group='glance')
        self.source = glance.source()

    def context(self) -> nova_context.RequestContext:
        """The context of a request with a new token of user ann."""
        transport = requests.Session()
        transport.trust_env = False
        auth = v3.Password(
            self.cloud.keystone.url,
            username='ann',
            password=regions.SECRET,
            user_domain_id='default',
            project_name='ops',
            project_domain_id='default',
        )
        access = auth.get_access(ksa_session.Session(session=transport))
        catalog = [
            {
                'type': service['type'],
                'name': service['name'],
                'endpoints': [
                    {
                        'region': each['region'],
                        f'{each["interface"]}URL': each['url'],
                    }
                    for each in service['endpoints']
                ],
            }
            for service in access.service_catalog.catalog
        ]
        return nova_context.RequestContext(
            access.user_id,
            access.project_id,
            auth_token=access.auth_token,
            service_catalog=catalog,
        )

    def use_service_user(self, **options: Any) -> None:
        """Configure [service_user], with Keystone behind the proxy."""
        # One of the options is required: other tests must not have it.
        self.useFixture(config_fixture.Config(CONF)).register_opts(
            loading.get_auth_plugin_conf_options('password'),
            group='service_user',
        )
        self.flags(
            group='service_user',
            **{
                'send_service_user_token': True,
                'auth_type': 'password',
                'auth_url': self.front.url,
                'username': 'nova',
                'password': regions.SECRET,
                'project_name': 'service',
                'user_domain_name': 'Default',
                'project_domain_name': 'Default',
            }
            | options,
        )

    def refused(self, expected: type[Exception]) -> str:
        """Return the message of an error that a request must raise."""
        error = self.assertRaises(
            expected, self.source.get, self.image_id, self.context()
        )
        for text in (regions.SECRET, '<', 'Error:', 'Exception'):
            self.assertNotIn(text, str(error))
        return str(error)

    def test_a_version_in_the_catalog_is_not_doubled(self) -> None:
        found = self.source.get(self.image_id, self.context())
        self.assertEqual('an image', found.name)

    def test_a_short_outage_of_keystone_fails_nothing(self) -> None:
        self.use_service_user()
        for answer in (
            front.Answer(503),
            front.Answer(429),
            front.Answer(200),
            front.Answer(0),
        ):
            service_auth.reset_globals()
            self.front.fail(2, answer)
            found = self.source.get(self.image_id, self.context())
            self.assertEqual('an image', found.name)

    def test_the_token_of_the_service_is_fetched_once(self) -> None:
        self.use_service_user()
        for _ in range(3):
            self.source.get(self.image_id, self.context())
        self.assertEqual(1, self.front.requests.count('POST /v3/auth/tokens'))

    def test_a_long_outage_is_one_of_keystone(self) -> None:
        self.use_service_user()
        self.front.fail(100)
        message = self.refused(exceptions.KeystoneUnreachable)
        for part in (
            f'Keystone at {self.front.url}',
            'HTTP 503',
            'the credentials in [service_user]',
        ):
            self.assertIn(part, message)
        self.assertNotIn('Glance', message)

    def test_a_stopped_keystone_is_an_outage(self) -> None:
        self.use_service_user(auth_url='http://127.0.0.1:9')
        message = self.refused(exceptions.KeystoneUnreachable)
        self.assertIn('Keystone at http://127.0.0.1:9', message)
        self.assertIn('connection refused', message)

    def test_wrong_credentials_of_the_service_are_named(self) -> None:
        self.use_service_user(password='wrong')
        message = self.refused(exceptions.TokenRefused)
        self.assertIn('the credentials in [service_user]', message)
        self.assertEqual(1, self.front.requests.count('POST /v3/auth/tokens'))

    def test_invalid_options_of_the_service_are_named(self) -> None:
        for options in ({'auth_type': 'nonsense'}, {'auth_url': None}):
            service_auth.reset_globals()
            self.use_service_user(**options)
            self.assertIn(
                '[service_user]', self.refused(exceptions.ConfigurationError)
            )

    def test_a_revoked_token_does_not_blame_the_configuration(self) -> None:
        context = self.context()
        self.cloud.keystone.revoke(context.auth_token)
        error = self.assertRaises(
            exceptions.TokenRefused, self.source.get, self.image_id, context
        )
        self.assertIn('the token of the user', str(error))
        self.assertIn('send_service_user_token', str(error))
        self.assertNotIn('[glance]', str(error))
        self.use_service_user()
        error = self.assertRaises(
            exceptions.TokenRefused, self.source.get, self.image_id, context
        )
        self.assertIn('service_token_roles', str(error))
        self.assertNotIn('[glance]', str(error))
