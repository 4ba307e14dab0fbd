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

"""Authentication plugins that raise errors of this project."""

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import noauth
from keystoneauth1 import plugin
from keystoneauth1 import service_token
from keystoneauth1 import session as ksa_session
from keystoneauth1.access import service_catalog

from pvm_imagecache import exceptions
from pvm_imagecache.glance import login
from pvm_imagecache.tests.unit import base


class Plugin(plugin.BaseAuthPlugin):
    """A plugin with a token, or with an error."""

    auth_url = 'http://keystone/v3'

    def __init__(self, token='t', error=None):
        super().__init__()
        self.token = token
        self.error = error
        self.invalidated = 0
        self.service_catalog = service_catalog.ServiceCatalogV3([])

    def get_token(self, session):
        if self.error:
            raise self.error
        return self.token

    def get_endpoint(self, session, **kwargs):
        if self.error:
            raise self.error
        return 'http://glance'

    def invalidate(self):
        self.invalidated += 1
        return True


class LoginTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.session = ksa_session.Session()

    def refused(self, expected, error, auth=None):
        """Check the error that each method raises for one of a library."""
        made = auth or login.Login(Plugin(error=error), login.CONFIGURED)
        for method in (made.get_headers, made.get_token):
            raised = self.assertRaises(
                exceptions.ImageError, method, self.session
            )
            self.assertIs(expected, type(raised))
            self.assertIn('http://keystone/v3', str(raised))
            self.assertIn('Keystone', str(raised))
        return raised

    def test_methods_call_those_of_the_plugin(self):
        auth = Plugin()
        made = login.Login(auth, login.CONFIGURED)
        self.assertEqual('t', made.get_token(self.session))
        self.assertEqual({'X-Auth-Token': 't'}, made.get_headers(self.session))
        self.assertEqual('http://glance', made.get_endpoint(self.session))
        self.assertEqual({}, made.get_connection_params(self.session))
        self.assertIsNone(made.get_user_id(self.session))
        self.assertIsNone(made.get_project_id(self.session))
        self.assertTrue(made.invalidate())
        self.assertEqual(1, auth.invalidated)

    def test_an_outage_is_transient(self):
        raised = self.refused(
            exceptions.KeystoneUnreachable,
            ksa_exceptions.ServiceUnavailable(),
        )
        self.assertTrue(raised.transient)
        self.assertIn('HTTP 503', str(raised))
        self.assertIn('the credentials in [glance]', str(raised))

    def test_a_wrong_address_is_permanent(self):
        raised = self.refused(
            exceptions.KeystoneNotThere, ksa_exceptions.NotFound()
        )
        self.assertFalse(raised.transient)

    def test_a_refusal_names_the_credentials(self):
        for credentials, says in (
            (login.CONFIGURED, 'Check the auth_* options in [glance]'),
            (login.SERVICE_USER, 'in [service_user]'),
            (login.of_user('cloud "c"'), 'the credentials of cloud "c"'),
        ):
            error = ksa_exceptions.Unauthorized()
            raised = self.refused(
                exceptions.TokenRefused,
                error,
                login.Login(Plugin(error=error), credentials),
            )
            self.assertFalse(raised.transient)
            self.assertIn(says, str(raised))

    def test_the_advice_for_a_user_does_not_blame_the_configuration(self):
        error = ksa_exceptions.Unauthorized()
        raised = self.refused(
            exceptions.TokenRefused,
            error,
            login.Login(Plugin(error=error), login.USER_TOKEN),
        )
        self.assertNotIn('[glance]', str(raised))
        self.assertIn('send_service_user_token', str(raised))

    def test_an_error_of_the_service_token_names_its_credentials(self):
        error = ksa_exceptions.DiscoveryFailure('<html>')
        made = login.Login(
            service_token.ServiceTokenAuthWrapper(
                user_auth=Plugin(),
                service_auth=login.Login(
                    Plugin(error=error), login.SERVICE_USER
                ),
            ),
            login.USER_TOKEN,
        )
        self.assertEqual('t', made.get_token(self.session))
        raised = self.assertRaises(
            exceptions.KeystoneUnreachable, made.get_headers, self.session
        )
        self.assertIn('[service_user]', str(raised))
        self.assertNotIn('<', str(raised))

    def test_a_missing_endpoint_is_none(self):
        for error in (
            ksa_exceptions.EndpointNotFound(),
            ksa_exceptions.EmptyCatalog(),
        ):
            made = login.Login(Plugin(error=error), login.CONFIGURED)
            self.assertIsNone(made.get_endpoint(self.session))

    def test_an_error_of_this_project_stays(self):
        error = exceptions.ConfigurationError(reason='r')
        made = login.Login(Plugin(error=error), login.CONFIGURED)
        self.assertIs(
            error,
            self.assertRaises(
                exceptions.ConfigurationError, made.get_token, self.session
            ),
        )

    def test_the_catalog_is_that_of_the_user(self):
        user = Plugin()
        for auth in (
            user,
            login.Login(user, login.USER_TOKEN),
            service_token.ServiceTokenAuthWrapper(
                user_auth=user, service_auth=Plugin()
            ),
        ):
            made = login.Login(auth, login.CONFIGURED)
            self.assertIs(user.service_catalog, made.get_catalog(self.session))
        made = login.Login(noauth.NoAuth(), login.CONFIGURED)
        self.assertIsNone(made.get_catalog(self.session))
