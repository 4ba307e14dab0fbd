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

"""Clients made from the configuration; no request is sent."""

import types
from unittest import mock

from keystoneauth1 import _fair_semaphore
from keystoneauth1 import noauth
from keystoneauth1 import session as ksa_session
from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache.glance import client as glance_client
from pvm_imagecache.tests.unit import base

_PASSWORD = """
[glance]
auth_type = password
auth_url = http://keystone.invalid/v3
username = u
password = hush-hush
project_name = p
user_domain_name = d
project_domain_name = d
"""


class ClientTestCase(base.TestCase):
    """Configurations from the text of a file."""

    def _conf(self, text):
        path = self.useFixture(
            base.TextFile(self.path('nova.conf'), text)
        ).path
        conf = cfg.ConfigOpts()
        conf(
            ['--config-file', path],
            default_config_files=[],
            default_config_dirs=[],
        )
        return conf


class FactoryTest(ClientTestCase):
    def _refused(self, text):
        client_for = glance_client.factory(self._conf(text))
        error = self.assertRaises(
            exceptions.ConfigurationError, client_for, None
        )
        self.assertIn('[glance]', str(error))
        return str(error)

    def test_missing_credentials_are_refused(self):
        self.assertIn('auth_type', self._refused('[glance]\n'))

    def test_an_unknown_auth_type_is_refused(self):
        self._refused('[glance]\nauth_type = no_such_kind\n')

    def test_a_missing_option_is_named(self):
        for name in ('auth_url', 'username', 'password'):
            text = ''.join(
                f'{line}\n'
                for line in _PASSWORD.splitlines()
                if not line.startswith(name)
            )
            self.assertIn(name, self._refused(text))

    def test_credentials_of_the_user_are_the_fallback(self):
        session = ksa_session.Session()
        asked = []

        def session_of_user():
            asked.append(True)
            return session

        for text, times in ((_PASSWORD, 0), ('[glance]\n', 1)):
            client = glance_client.factory(
                self._conf(text), session_of_user=session_of_user
            )(None)
            self.assertEqual(times, len(asked))
        self.assertIs(session, client.http_client.session)

    def test_auth_urls_are_those_of_the_options(self):
        self.assertEqual(
            ['http://keystone.invalid/v3'],
            glance_client.auth_urls(self._conf(_PASSWORD)),
        )
        self.assertEqual([], glance_client.auth_urls(self._conf('[glance]\n')))

    def test_the_client_of_the_options_is_made_once(self):
        client_for = glance_client.factory(self._conf(_PASSWORD))
        client = client_for(None)
        self.assertIs(client, client_for(None))
        self.assertTrue(client.images)
        self.assertNotIn('hush-hush', repr(client))

    def test_a_clock_set_back_delays_no_request(self):
        client = glance_client.factory(self._conf(_PASSWORD))(None)
        with mock.patch.object(
            _fair_semaphore,
            'time',
            mock.Mock(time=lambda: 0.0, sleep=mock.Mock()),
        ) as clock:
            self.assertRaises(Exception, client.images.get, 'any')  # noqa: H202, B017
            clock.sleep.assert_not_called()
            # What it is about: the class does wait.
            with _fair_semaphore.FairSemaphore(None, 0.0) as _:
                pass
            clock.time = lambda: -1.0
            with _fair_semaphore.FairSemaphore(None, 1.0):
                pass
            clock.sleep.assert_called_once()

    def _limits_of_data(self, text):
        """The limits of a connection, and of the first byte of data."""
        client = glance_client.factory(self._conf(text))(None)
        asked = []
        self.patch(
            client.http_client,
            'request',
            lambda *args, **kwargs: asked.append(kwargs['timeout']),
        )
        self.assertRaises(AttributeError, client.data, 'any')
        self.assertRaises(AttributeError, client.images.get, 'any')
        return asked

    def test_the_first_byte_of_data_has_a_limit_of_its_own(self):
        for options, expected in (
            ('', [(60, 600), 60]),
            ('timeout = 7', [(7, 600), 7]),
            ('timeout = 700', [(700, 700), 700]),
            (
                'timeout = 7\n[pvm_imagecache]\nfirst_byte_timeout = 9',
                [(7, 9), 7],
            ),
        ):
            self.assertEqual(
                expected, self._limits_of_data(f'{_PASSWORD}\n{options}\n')
            )

    def test_a_client_of_a_request_acts_for_its_user(self):
        auth = noauth.NoAuth('http://glance.invalid')
        context = types.SimpleNamespace(
            global_id='req-1', get_auth_plugin=lambda: auth
        )
        client_for = glance_client.factory(self._conf('[glance]\n'))
        client = client_for(context)
        self.assertIs(auth, client.http_client.auth)
        self.assertEqual('req-1', client.http_client.global_request_id)
        self.assertIsNot(client, client_for(context))


class EndpointTest(ClientTestCase):
    """Where a client finds Glance."""

    def _adapter(self, options=''):
        conf = self._conf(f'{_PASSWORD}\n{options}')
        return glance_client.factory(conf)(None).http_client

    def test_the_default_is_the_service_catalog(self):
        found = self._adapter()
        self.assertEqual(
            ('image', None), (found.service_type, found.endpoint_override)
        )

    def test_a_configured_address_overrides_the_catalog(self):
        servers = 'api_servers = http://a,http://b\n'
        self.assertEqual('http://a', self._adapter(servers).endpoint_override)
        self.assertEqual(
            'http://c',
            self._adapter(
                f'{servers}endpoint_override = http://c\n'
            ).endpoint_override,
        )

    def test_region_and_interfaces_are_applied(self):
        found = self._adapter('region_name = r\nvalid_interfaces = internal\n')
        self.assertEqual(
            ('r', ['internal']), (found.region_name, found.interface)
        )
