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

"""Authentication with Keystone."""

from keystoneauth1 import exceptions as ksa_exceptions

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import clouds
from pvm_imagecache.cmd import keystone
from pvm_imagecache.tests.unit import base


class SessionTest(base.TestCase):
    def _session(self, **options):
        return keystone.session(
            clouds.Credentials(
                'password', {'auth_url': 'http://127.0.0.1:9/v3'} | options
            )
        )

    def test_a_deprecated_option_is_accepted(self):
        made = self._session(user_name='ann', tenant_name='ops', password='p')
        self.assertEqual('ops', made.auth._project_name)

    def test_an_unknown_type_is_refused(self):
        self.assertRaises(
            exceptions.KeystoneFailed,
            keystone.session,
            clouds.Credentials('nonsense', {}),
        )

    def test_another_keystone_is_not_asked(self):
        for trusted in (
            ['https://k/v3'],
            ['http://127.0.0.1:9/identity'],
            ['https://127.0.0.1:9/v3'],
            [],
        ):
            error = self.assertRaises(
                exceptions.KeystoneFailed,
                keystone.authenticate,
                self._session(),
                trusted,
            )
            self.assertIn('is not the Keystone', str(error))

    def test_the_password_of_a_url_is_not_shown(self):
        error = self.assertRaises(
            exceptions.KeystoneFailed,
            keystone.authenticate,
            self._session(auth_url='https://ann:hush@k/v3'),
            ['https://bob:hush@other/v3'],
        )
        self.assertIn('https://k/v3 is not the Keystone', str(error))
        self.assertIn('https://other/v3', str(error))
        self.assertNotIn('hush', str(error))

    def _authenticate(self, error):
        """Authenticate while Keystone fails with an error."""
        session = self._session(username='ann', password='secret')
        self.asked = []

        def get_access(session):
            self.asked.append(session)
            raise error

        self.patch(session.auth, 'get_access', get_access)
        self.patch(keystone, 'RETRY_DELAYS', (0, 0, 0))
        raised = self.assertRaises(
            exceptions.KeystoneFailed,
            keystone.authenticate,
            session,
            ['http://127.0.0.1:9/v3'],
        )
        self.assertIn('http://127.0.0.1:9/v3', str(raised))
        return str(raised)

    def test_an_outage_is_retried(self):
        for error, says in (
            (ksa_exceptions.ServiceUnavailable(), 'HTTP 503'),
            (ksa_exceptions.GatewayTimeout(), 'HTTP 504'),
            (
                ksa_exceptions.ConnectFailure('... Connection refused'),
                'connection refused',
            ),
            (ksa_exceptions.DiscoveryFailure('<html>'), 'login page'),
        ):
            self.assertIn(says, self._authenticate(error))
            self.assertEqual(4, len(self.asked))

    def test_wrong_credentials_are_not_retried(self):
        message = self._authenticate(
            ksa_exceptions.Unauthorized('Wrong password.')
        )
        self.assertIn('rejected the credentials: HTTP 401', message)
        self.assertEqual(1, len(self.asked))

    def test_a_wrong_address_is_not_retried(self):
        self.assertIn(
            'HTTP 404', self._authenticate(ksa_exceptions.NotFound())
        )
        self.assertEqual(1, len(self.asked))

    def test_urls_are_compared_without_version_and_case(self):
        for one in (
            'https://K.example/v3/',
            'https://k.example',
            'HTTPS://k.example/v3',
        ):
            self.assertEqual('https://k.example', keystone._normalized(one))
        self.assertEqual(
            'https://k/identity', keystone._normalized('https://k/identity/v3')
        )
