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

import fixtures
from keystoneauth1 import _fair_semaphore
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import noauth
from keystoneauth1 import session as ksa_session
from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache.glance import client as glance_client
from pvm_imagecache.glance import location
from pvm_imagecache.glance import login
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
        access = _access()
        asked = []

        def access_of_user():
            asked.append(True)
            return access

        for text, times in ((_PASSWORD, 0), ('[glance]\n', 1)):
            client = glance_client.factory(
                self._conf(text), access_of_user=access_of_user
            )(None)
            self.assertEqual(times, len(asked))
        self.assertIs(access.session, client.http_client.session)
        self.assertEqual(
            'the credentials of cloud "c"',
            client.http_client.auth.credentials.whose,
        )

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
        self.assertTrue(client.http_client)
        self.assertNotIn('hush-hush', repr(client))

    def test_a_clock_set_back_delays_no_request(self):
        client = glance_client.factory(
            self._conf(
                '[glance]\nauth_type = none\nendpoint = http://127.0.0.1:9\n'
            )
        )(None)
        with mock.patch.object(
            _fair_semaphore,
            'time',
            mock.Mock(time=lambda: 0.0, sleep=mock.Mock()),
        ) as clock:
            self.assertRaises(
                ksa_exceptions.ConnectFailure, client.get, '/v2/images/any'
            )
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
        self.assertRaises(AttributeError, client.get, '/v2/images/any')
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
        self.assertEqual(
            'http://glance.invalid', client.http_client.get_endpoint()
        )
        self.assertIs(login.USER_TOKEN, client.http_client.auth.credentials)
        self.assertEqual('req-1', client.http_client.global_request_id)
        self.assertIsNot(client, client_for(context))


class LocationTest(ClientTestCase):
    """Where a client finds Glance."""

    def _adapter(self, options='', **user):
        conf = self._conf(f'[glance]\n{options}')
        return glance_client.factory(
            conf, access_of_user=lambda: _access(**user)
        )(None).http_client

    def _of_servers(self, options='', **user):
        servers = self._adapter(options, **user)._servers
        return sorted(servers.for_attempt()) if servers else None

    def test_the_default_is_the_service_catalog(self):
        found = self._adapter()
        self.assertEqual(
            ('image', None, ['internal', 'public'], None),
            (
                found.service_type,
                found.region_name,
                found.interface,
                found._servers,
            ),
        )

    def test_all_servers_are_used_without_versions(self):
        self.assertEqual(
            ['http://a', 'http://b/image', 'https://c:9292'],
            self._of_servers(
                'api_servers = http://a/v2,http://b/image/v2.15/,'
                'https://c:9292/\n'
            ),
        )

    def test_servers_precede_the_override(self):
        options = 'endpoint_override = http://c/v2/\n'
        self.assertEqual(['http://c'], self._of_servers(options))
        self.assertEqual(
            ['http://a'], self._of_servers(f'{options}api_servers = http://a')
        )

    def test_a_server_without_scheme_is_used_with_a_warning(self):
        logger = self.useFixture(fixtures.FakeLogger())
        self.assertEqual(
            ['http://ann:secret@glance:9292'],
            self._of_servers('api_servers = ann:secret@glance:9292'),
        )
        self.assertIn(
            '"http://glance:9292" in [glance] has no scheme', logger.output
        )
        self.assertNotIn('secret', logger.output)

    def test_all_clients_take_turns_at_the_servers(self):
        client_for = glance_client.factory(
            self._conf('[glance]\napi_servers = http://a,http://b\n')
        )
        context = types.SimpleNamespace(
            global_id='req-1', get_auth_plugin=lambda: noauth.NoAuth()
        )
        one, other = (client_for(context).http_client for _ in range(2))
        self.assertEqual(one._order, other._order[::-1])

    def test_each_attempt_begins_with_the_next_server(self):
        client_for = glance_client.factory(
            self._conf(f'{_PASSWORD}\napi_servers = http://a,http://b\n')
        )
        orders = [client_for(None).http_client._order for _ in range(4)]
        self.assertEqual(orders[:2], orders[2:])
        self.assertEqual(orders[0], orders[1][::-1])

    def test_options_that_are_set_precede_those_of_the_user(self):
        user = {
            'region': 'R1',
            'interfaces': ('admin',),
            'servers': ('http://u/v2',),
        }
        found = self._adapter(**user)
        self.assertEqual(
            ('R1', ['admin']), (found.region_name, found.interface)
        )
        self.assertEqual(['http://u'], self._of_servers(**user))
        options = (
            'region_name = R2\nvalid_interfaces = public\n'
            'endpoint_override = http://g\n'
        )
        found = self._adapter(options, **user)
        self.assertEqual(
            ('R2', ['public']), (found.region_name, found.interface)
        )
        self.assertEqual(['http://g'], self._of_servers(options, **user))

    def test_the_user_does_not_move_configured_credentials(self):
        found = glance_client.factory(
            self._conf(_PASSWORD),
            access_of_user=lambda: _access(region='R1', servers=('http://u',)),
        )(None).http_client
        self.assertEqual((None, None), (found.region_name, found._servers))

    def test_tls_and_time_limit_that_are_set_apply_to_glance(self):
        for options, expected in (
            ('', {}),
            ('insecure = true\n', {'verify': False}),
            ('cafile = /ca.pem\n', {'verify': '/ca.pem'}),
            ('certfile = /c.pem\n', {'cert': '/c.pem'}),
            (
                'certfile = /c.pem\nkeyfile = /k.pem\n',
                {'cert': ('/c.pem', '/k.pem')},
            ),
        ):
            self.assertEqual(expected, self._adapter(options)._tls)
        self.assertEqual(7.0, self._adapter('timeout = 7\n').session.timeout)


def _access(**where):
    """The access of the user of a command."""
    session = ksa_session.Session()
    return glance_client.UserAccess(
        session,
        noauth.NoAuth(),
        location.Location(**where),
        'cloud "c"',
    )
