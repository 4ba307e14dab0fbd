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

"""Clients from the configuration; none of them asks anybody anything."""

from unittest import mock

from keystoneauth1 import _fair_semaphore
from keystoneauth1 import session as ksa_session
from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache.conf import glance
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


class FactoryTest(base.TestCase):
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

    def _refused(self, text):
        client_for = glance_client.factory(self._conf(text))
        error = self.assertRaises(
            exceptions.ConfigurationError, client_for, None
        )
        self.assertIn('[glance]', str(error))
        return str(error)

    def test_without_credentials(self):
        self.assertIn('auth_type', self._refused('[glance]\n'))

    def test_of_an_unknown_kind(self):
        self._refused('[glance]\nauth_type = no_such_kind\n')

    def test_an_option_that_is_missing_is_named(self):
        for name in ('auth_url', 'username', 'password'):
            text = ''.join(
                f'{line}\n'
                for line in _PASSWORD.splitlines()
                if not line.startswith(name)
            )
            self.assertIn(name, self._refused(text))

    def test_the_credentials_of_the_user(self):
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

    def test_where_credentials_are_presented(self):
        self.assertEqual(
            ['http://keystone.invalid/v3'],
            glance_client.auth_urls(self._conf(_PASSWORD)),
        )
        self.assertEqual([], glance_client.auth_urls(self._conf('[glance]\n')))

    def test_one_client_for_the_configured_user(self):
        client_for = glance_client.factory(self._conf(_PASSWORD))
        client = client_for(None)
        self.assertIs(client, client_for(None))
        self.assertTrue(client.images)
        self.assertNotIn('hush-hush', repr(client))

    def test_a_clock_that_is_set_back_stops_nobody(self):
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


class WhereTest(base.TestCase):
    def _where(self, **values):
        conf = cfg.ConfigOpts()
        glance.register(conf)
        conf([], default_config_files=[], default_config_dirs=[])
        for name, value in values.items():
            conf.set_override(name, value, 'glance')
        return glance_client._where(conf.glance)

    def test_the_catalogue_of_keystone(self):
        where = self._where()
        self.assertEqual(
            ('image', None),
            (where['service_type'], where['endpoint_override']),
        )

    def test_an_address(self):
        where = self._where(api_servers=['http://a', 'http://b'])
        self.assertEqual('http://a', where['endpoint_override'])
        where = self._where(
            api_servers=['http://a'], endpoint_override='http://c'
        )
        self.assertEqual('http://c', where['endpoint_override'])

    def test_region_and_interfaces(self):
        where = self._where(region_name='r', valid_interfaces=['internal'])
        self.assertEqual(
            ('r', ['internal']), (where['region_name'], where['interface'])
        )
