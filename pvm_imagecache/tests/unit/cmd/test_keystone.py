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

import os
import types

from keystoneauth1 import exceptions as ksa_exceptions
import requests

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import clouds
from pvm_imagecache.cmd import keystone
from pvm_imagecache.system import caller
from pvm_imagecache.tests.servers import hostile_powervm as hostile
from pvm_imagecache.tests.unit import base

_CALLER = caller.Caller((12345,), {12345: (12345,)})


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

    def serve(self, decide):
        server = hostile.HostilePowerVM(decide)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def authenticate_at(self, server):
        self.patch(keystone, 'RETRY_DELAYS', ())
        url = f'{server.url}/v3'
        made = self._session(
            auth_url=url,
            username='ann',
            password='hush-hush',
            project_name='ops',
            user_domain_id='default',
            project_domain_id='default',
        )
        return self.assertRaises(
            exceptions.KeystoneFailed, keystone.authenticate, made, [url]
        )

    def test_a_redirection_takes_no_password_to_another_server(self):
        other = self.serve(lambda request: hostile.answer('{}'))
        for status in (301, 302, 303, 307, 308):
            server = self.serve(
                lambda request, status=status: hostile.redirection(
                    f'{other.url}/v3', status
                )
            )
            error = self.authenticate_at(server)
            self.assertIn('not from the Identity API', str(error))
            self.assertIn('hush-hush', server.received())
        self.assertEqual([], other.requests)

    def test_a_redirection_on_the_same_server_is_kept(self):
        made = self._session()
        (hook,) = made.session.hooks['response']
        for target, kept in (
            ('http://k/v3/', True),
            ('https://k/v3', True),
            ('/v3', True),
            ('http://other/v3', False),
            ('http://k:80@other/v3', False),
            ('http://k:81/v3', False),
        ):
            response = requests.Response()
            response.url, response.status_code = 'http://k/v3', 302
            response.headers['Location'] = target
            hook(response, stream=False)
            self.assertEqual(kept, 'Location' in response.headers)

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


class CallerTest(base.TestCase):
    """Credentials of a user on whose behalf the command runs."""

    def session(self, auth_type='password', **kwargs):
        return keystone.session(
            clouds.Credentials(
                auth_type,
                {
                    'auth_url': 'http://127.0.0.1:9/v3',
                    'application_credential_id': 'x',
                    'application_credential_secret': 'x',
                },
                **kwargs,
            ),
            _CALLER,
        )

    def test_only_some_plugins_are_accepted(self):
        for name in keystone.ALLOWED_TYPES:
            self.assertIsNotNone(self.session(name).auth)
        for name in ('v3websso', 'v3oidcpassword', 'none', 'V3Password', ''):
            error = self.assertRaises(
                exceptions.AuthTypeRefused, self.session, name
            )
            self.assertIn('v3applicationcredential', str(error))

    def test_the_environment_is_not_used(self):
        self.assertIs(False, self.session().session.trust_env)

    def test_certificates_are_always_verified(self):
        self.assertIs(True, self.session(verify=False).verify)

    def test_certificates_are_copied_with_the_rights_of_the_user(self):
        path = self.useFixture(base.TextFile(self.path('ca.pem'), 'CA')).path
        os.chmod(path, 0o600)
        self.assertRaises(exceptions.KeystoneFailed, self.session, verify=path)
        self.assertRaises(
            exceptions.KeystoneFailed, self.session, verify='ca.pem'
        )
        if os.geteuid() != 0:
            self.skipTest('only root can take the rights of another user')
        for each in (self.directory, os.path.dirname(self.directory)):
            os.chmod(each, 0o755)
        os.chown(path, 12345, -1)
        made = self.session(verify=path, certificate=(path, path))
        os.unlink(path)
        for each in (made.verify, *made.cert):
            with open(each) as file:
                self.assertEqual('CA', file.read())

    def test_the_configuration_decides_whom_to_trust(self):
        for insecure, cafile, verify in (
            (False, None, True),
            (False, '/ca.pem', '/ca.pem'),
            (True, None, False),
        ):
            made = keystone.configured_session(
                self.session(),
                types.SimpleNamespace(insecure=insecure, cafile=cafile),
            )
            self.assertEqual(verify, made.verify)
            self.assertIs(False, made.session.trust_env)

    def test_a_keystone_can_require_the_certificate_of_the_user(self):
        session = self.session()
        session.cert = ('/proc/self/fd/8', '/proc/self/fd/9')
        made = keystone.configured_session(
            session, types.SimpleNamespace(insecure=False, cafile=None)
        )
        self.assertEqual(session.cert, made.cert)


class ScopeTest(base.TestCase):
    def access(self, **facts):
        names = (
            'username',
            'user_domain_id',
            'user_domain_name',
            'project_name',
            'project_domain_id',
            'project_domain_name',
            'domain_id',
            'domain_name',
        )
        return types.SimpleNamespace(
            **dict.fromkeys(names) | {'system_scoped': False} | facts
        )

    def test_domains_and_the_system_count(self):
        for counts, facts in (
            (True, {'project_domain_id': 'default'}),
            (True, {'domain_id': 'default'}),
            (True, {'system_scoped': True}),
            (False, {'project_domain_id': 'other'}),
            (False, {'domain_id': 'other', 'user_domain_id': 'default'}),
            (False, {'project_domain_name': 'default'}),
            (False, {}),
        ):
            self.assertIs(
                counts, keystone._is_of(self.access(**facts), ['default'])
            )

    def test_rules_get_the_facts_that_a_token_has(self):
        self.assertEqual(
            {'domain_id': 'd', 'system_scope': 'all'},
            keystone._scope(self.access(domain_id='d', system_scoped=True)),
        )
