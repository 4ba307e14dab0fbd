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

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import keystone
from pvm_imagecache.tests.unit import base

_CLOUDS = """
clouds:
  full:
    auth: {auth_url: 'https://k/v3', username: ann, password: secret}
    cacert: /ca.pem
  lax:
    auth: {auth_url: 'https://k/v3'}
    verify: false
  application:
    auth: {auth_url: 'https://k', application_credential_id: x,
           application_credential_secret: secret}
  vendor: {profile: somebody}
  nonsense: [1, 2]
"""


class CloudTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self._use(_CLOUDS)

    def _use(self, text, secrets=None):
        for name, variable, content in (
            ('clouds.yaml', 'OS_CLIENT_CONFIG_FILE', text),
            ('secure.yaml', 'OS_CLIENT_SECURE_FILE', secrets or ''),
        ):
            path = self.useFixture(base.file(self.path(name), content)).path
            self.useFixture(base.environment(variable, path))

    def test_a_cloud_has_credentials(self):
        found = keystone.from_cloud('full')
        self.assertEqual(
            ('password', '/ca.pem', 'ann'),
            (found.auth_type, found.verify, found.options['username']),
        )
        self.assertNotIn('secret', repr(found))
        self.assertIs(False, keystone.from_cloud('lax').verify)
        self.assertEqual(
            'v3applicationcredential',
            keystone.from_cloud('application').auth_type,
        )

    def test_secrets_come_from_secure_yaml(self):
        self._use(_CLOUDS, 'clouds: {lax: {auth: {password: other}}}')
        self.assertEqual(
            'other', keystone.from_cloud('lax').options['password']
        )

    def test_an_unknown_cloud_is_refused(self):
        for name, says in (
            ('none', 'no cloud "none"'),
            ('nonsense', 'no cloud "nonsense"'),
            ('vendor', 'has no auth_url'),
        ):
            error = self.assertRaises(
                exceptions.KeystoneFailed, keystone.from_cloud, name
            )
            self.assertIn(says, str(error))

    def test_an_invalid_file_is_refused(self):
        for text in ('{', '[]', 'x', ''):
            self._use(text)
            self.assertRaises(
                exceptions.KeystoneFailed, keystone.from_cloud, 'full'
            )

    def test_a_missing_file_is_refused(self):
        os.unlink(self.path('clouds.yaml'))
        self.assertRaises(
            exceptions.KeystoneFailed, keystone.from_cloud, 'full'
        )


class EnvironmentTest(base.TestCase):
    def test_environment_variables_are_credentials(self):
        found = keystone.from_environment(
            {
                'OS_AUTH_URL': 'https://k',
                'OS_USERNAME': 'ann',
                'OS_PASSWORD': 'secret',
                'OS_PROJECT_NAME': 'ops',
                'OS_CACERT': '/ca.pem',
                'HOME': '/root',
            }
        )
        self.assertEqual(
            ('password', '/ca.pem'), (found.auth_type, found.verify)
        )
        self.assertEqual('ops', found.options['project_name'])
        self.assertNotIn('secret', repr(found))

    def test_the_type_follows_from_the_options(self):
        for variables, auth_type in (
            ({'OS_TOKEN': 't'}, 'token'),
            (
                {'OS_APPLICATION_CREDENTIAL_SECRET': 's'},
                'v3applicationcredential',
            ),
            ({'OS_AUTH_TYPE': 'v3oidcpassword'}, 'v3oidcpassword'),
        ):
            self.assertEqual(
                auth_type,
                keystone.from_environment(
                    {'OS_AUTH_URL': 'u', **variables}
                ).auth_type,
            )

    def test_insecure_disables_the_verification(self):
        for value, verify in (
            ('1', False),
            ('true', False),
            ('0', True),
            ('', True),
            ('False', True),
        ):
            self.assertIs(
                verify,
                keystone.from_environment(
                    {'OS_AUTH_URL': 'u', 'OS_INSECURE': value}
                ).verify,
            )

    def test_no_auth_url_means_no_credentials(self):
        self.assertIsNone(keystone.from_environment({'OS_USERNAME': 'a'}))


class SessionTest(base.TestCase):
    def _session(self, **options):
        return keystone.session(
            keystone.Credentials(
                'password', {'auth_url': 'http://127.0.0.1:9/v3', **options}
            )
        )

    def test_a_deprecated_option_is_accepted(self):
        made = self._session(user_name='ann', tenant_name='ops', password='p')
        self.assertEqual('ops', made.auth._project_name)

    def test_an_unknown_type_is_refused(self):
        self.assertRaises(
            exceptions.KeystoneFailed,
            keystone.session,
            keystone.Credentials('nonsense', {}),
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
