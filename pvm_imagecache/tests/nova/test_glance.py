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

from http import server
import json
import threading
from typing import Any

from keystoneauth1 import loading
import nova.conf
from oslo_utils.fixture import uuidsentinel as uuids

from nova import context as nova_context
from nova import test
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
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
        other = self.start()
        self.flags(
            api_servers=[other.url, 'http://nowhere.invalid'], group='glance'
        )
        self.get(self.context())
        self.assertEqual(
            (0, 1), (len(self.glance.headers), len(other.headers))
        )
        self.assertEqual('token of the user', other.headers[0]['X-Auth-Token'])

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
