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

"""Credentials and regions of clouds.yaml and of OS_* variables."""

import os

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import clouds
from pvm_imagecache.glance import location
from pvm_imagecache.system import caller
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
  vendor: {profile: another}
  nonsense: [1, 2]
"""


class CloudTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.environment = {}
        self._use(_CLOUDS)

    def _use(self, text, secrets=None):
        for name, variable, content in (
            ('clouds.yaml', 'OS_CLIENT_CONFIG_FILE', text),
            ('secure.yaml', 'OS_CLIENT_SECURE_FILE', secrets or ''),
        ):
            self.environment[variable] = self.useFixture(
                base.TextFile(self.path(name), content)
            ).path

    def _cloud(self, name, **environment):
        return clouds.from_cloud(name, self.environment | environment)

    def test_a_cloud_has_credentials(self):
        found = self._cloud('full')
        self.assertEqual(
            ('password', '/ca.pem', 'ann'),
            (found.auth_type, found.verify, found.options['username']),
        )
        self.assertNotIn('secret', repr(found))
        self.assertIs(False, self._cloud('lax').verify)
        self.assertEqual(
            'v3applicationcredential',
            self._cloud('application').auth_type,
        )

    def test_secrets_come_from_secure_yaml(self):
        self._use(_CLOUDS, 'clouds: {lax: {auth: {password: other}}}')
        self.assertEqual('other', self._cloud('lax').options['password'])

    def test_an_unknown_cloud_is_refused(self):
        for name, says in (
            ('none', 'no cloud "none"'),
            ('nonsense', 'no cloud "nonsense"'),
            ('vendor', 'has no auth_url'),
        ):
            error = self.assertRaises(
                exceptions.KeystoneFailed, self._cloud, name
            )
            self.assertIn(says, str(error))

    def test_an_invalid_file_is_refused(self):
        for text in ('{', '[]', 'x', ''):
            self._use(text)
            self.assertRaises(exceptions.KeystoneFailed, self._cloud, 'full')

    def test_a_message_shows_no_part_of_the_file(self):
        for text in (
            'clouds: {full: {auth: {password: hush-hush: }}}',
            'clouds:\n  full:\n   password: hush-hush\n  - hush-hush',
            'password: "hush-hush',
            'password: %hush-hush',
            'password: hush-hush\x01',
            'password: !!hush-hush 1',
        ):
            self._use(text)
            error = self.assertRaises(
                exceptions.KeystoneFailed, self._cloud, 'full'
            )
            self.assertNotIn('hush', str(error))
            self.assertIn('clouds.yaml', str(error))

    def test_a_missing_file_is_refused(self):
        os.unlink(self.path('clouds.yaml'))
        self.assertRaises(exceptions.KeystoneFailed, self._cloud, 'full')

    def test_keys_may_have_hyphens_and_paths_a_tilde(self):
        self._use("""
clouds:
  c:
    auth: {auth-url: 'https://k', project-name: ops}
    region-name: R2
    cacert: ~/ca.pem
    cert: ~/c.pem
    key: ~/k.pem
""")
        found = self._cloud('c', HOME='/nowhere')
        home = os.path.expanduser('~')
        self.assertEqual(
            (
                'ops',
                'R2',
                f'{home}/ca.pem',
                (f'{home}/c.pem', f'{home}/k.pem'),
            ),
            (
                found.options['project_name'],
                found.location.region,
                found.verify,
                found.certificate,
            ),
        )

    def test_variables_of_tls_precede_the_file(self):
        found = self._cloud(
            'full', OS_CACERT='/o.pem', OS_CERT='/c.pem', OS_KEY='/k.pem'
        )
        self.assertEqual(
            ('/o.pem', ('/c.pem', '/k.pem')),
            (found.verify, found.certificate),
        )


class LocationTest(base.TestCase):
    """Region, interface and address of Glance."""

    def _cloud(self, text, secret='', **environment):
        values = {}
        for name, variable, content in (
            ('clouds.yaml', 'OS_CLIENT_CONFIG_FILE', text),
            ('secure.yaml', 'OS_CLIENT_SECURE_FILE', secret),
        ):
            if content:
                content = (
                    f'clouds: {{c: {{auth: {{auth_url: u}}, {content}}}}}'
                )
            values[variable] = self.useFixture(
                base.TextFile(self.path(name), content)
            ).path
        return clouds.from_cloud('c', values | environment).location

    def _environment(self, **variables):
        return clouds.from_environment(
            {'OS_AUTH_URL': 'u', **variables}
        ).location

    def test_nothing_is_chosen_by_default(self):
        nothing = location.Location()
        self.assertEqual(nothing, self._environment())
        found = self._cloud('x: y')
        self.assertEqual(
            (None, (), ()), (found.region, found.interfaces, found.servers)
        )

    def test_region(self):
        for text, environment, expected in (
            ('region_name: R1', {}, 'R1'),
            ('region_name: R1', {'OS_REGION_NAME': 'R2'}, 'R2'),
            ('region_name: R1', {'OS_REGION_NAME': ''}, 'R1'),
            ('region_name: R1, image_region_name: R3', {}, 'R3'),
            ('regions: [R1, R2]', {}, 'R1'),
            ('regions: [{name: R1}, R2]', {}, 'R1'),
            ('regions: [R1, R2], region_name: R2', {}, 'R2'),
            ('regions: [R1, R2]', {'OS_REGION_NAME': 'R2'}, 'R2'),
        ):
            self.assertEqual(
                expected, self._cloud(text, **environment).region, text
            )
        self.assertEqual('R2', self._environment(OS_REGION_NAME='R2').region)

    def test_region_of_the_secure_file_takes_precedence(self):
        self.assertEqual(
            'R2', self._cloud('region_name: R1', 'region_name: R2').region
        )

    def test_values_of_a_region_take_precedence(self):
        text = (
            'interface: public, regions: [{name: R1}, {name: R2, values: '
            '{interface: internal, image_endpoint_override: "http://g"}}]'
        )
        found = self._cloud(text, OS_REGION_NAME='R2')
        self.assertEqual(
            (('internal',), ('http://g',)), (found.interfaces, found.servers)
        )
        self.assertEqual(('public',), self._cloud(text).interfaces)

    def test_a_region_that_the_cloud_does_not_have_is_named(self):
        error = self.assertRaises(
            exceptions.KeystoneFailed,
            self._cloud,
            'regions: [R1, R2]',
            OS_REGION_NAME='R3',
        )
        self.assertIn('no region "R3"', str(error))
        self.assertIn('R1, R2', str(error))

    def test_regions_that_are_no_list_are_refused(self):
        for text in ('7', 'R1', '{R1: }'):
            error = self.assertRaises(
                exceptions.KeystoneFailed, self._cloud, f'regions: {text}'
            )
            self.assertIn('not a list', str(error))

    def test_interface(self):
        for text, environment, expected in (
            ('interface: internal', {}, ('internal',)),
            ('endpoint_type: internalURL', {}, ('internalURL',)),
            ('interface: public', {'OS_INTERFACE': 'admin'}, ('admin',)),
            ('interface: public, image_interface: admin', {}, ('admin',)),
            ('interface: [internal, public]', {}, ('internal', 'public')),
        ):
            self.assertEqual(
                expected, self._cloud(text, **environment).interfaces, text
            )
        for variables, expected in (
            ({'OS_INTERFACE': 'internal'}, ('internal',)),
            ({'OS_INTERFACE': 'internal, public'}, ('internal', 'public')),
            ({'OS_ENDPOINT_TYPE': 'adminURL'}, ('adminURL',)),
            ({'OS_IMAGE_INTERFACE': 'admin'}, ('admin',)),
        ):
            self.assertEqual(
                expected, self._environment(**variables).interfaces
            )

    def test_override_type_and_name(self):
        found = self._cloud(
            'image_endpoint_override: "http://g/v2", '
            'image_service_type: image2, image_service_name: other'
        )
        self.assertEqual(
            (('http://g/v2',), 'image2', 'other'),
            (found.servers, found.service_type, found.service_name),
        )
        self.assertEqual(
            ('http://g',),
            self._environment(OS_IMAGE_ENDPOINT_OVERRIDE='http://g').servers,
        )

    def test_variables_give_no_other_address_to_a_cloud(self):
        self.assertEqual(
            (),
            self._cloud('x: y', OS_IMAGE_ENDPOINT_OVERRIDE='http://g').servers,
        )

    def test_only_version_2_of_the_api_is_supported(self):
        for version in ('2', 2, '2.15', 'v2'):
            self._cloud(f'image_api_version: {version}')
            self._environment(OS_IMAGE_API_VERSION=str(version))
        for version in ('1', 'v1.1', '20', 'x'):
            for read in (
                lambda v: self._cloud(f'image_api_version: "{v}"'),
                lambda v: self._environment(OS_IMAGE_API_VERSION=v),
            ):
                error = self.assertRaises(
                    exceptions.ConfigurationError, read, version
                )
                self.assertIn('image_api_version', str(error))


class EnvironmentTest(base.TestCase):
    def test_environment_variables_are_credentials(self):
        found = clouds.from_environment(
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
                clouds.from_environment(
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
                clouds.from_environment(
                    {'OS_AUTH_URL': 'u', 'OS_INSECURE': value}
                ).verify,
            )

    def test_no_auth_url_means_no_credentials(self):
        self.assertIsNone(clouds.from_environment({'OS_USERNAME': 'a'}))


class CallerTest(base.TestCase):
    """Files of a user on whose behalf the command runs."""

    def setUp(self):
        super().setUp()
        self.caller = caller.Caller((12345,), {12345: (12345,)})
        self.patch(caller.Caller, 'home', self.directory)

    def refused(self, **environment):
        return str(
            self.assertRaises(
                exceptions.KeystoneFailed,
                clouds.from_cloud,
                'full',
                environment,
                self.caller,
            )
        )

    def test_the_current_directory_is_not_searched(self):
        self.useFixture(base.TextFile(self.path('clouds.yaml'), _CLOUDS))
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.directory)
        message = self.refused()
        self.assertIn(f'{self.directory}/.config/openstack', message)
        self.assertNotIn('this directory', message)
        self.assertIn(
            'absolute path', self.refused(OS_CLIENT_CONFIG_FILE='clouds.yaml')
        )

    def test_a_file_of_another_user_is_not_read(self):
        path = self.useFixture(
            base.TextFile(self.path('clouds.yaml'), _CLOUDS)
        ).path
        os.chmod(path, 0o600)
        self.assertIn(
            'Permission denied', self.refused(OS_CLIENT_CONFIG_FILE=path)
        )

    def test_a_tilde_is_the_home_of_the_user(self):
        found = clouds.from_environment(
            {'OS_AUTH_URL': 'x', 'OS_CACERT': '~/ca.pem'}, self.caller
        )
        self.assertEqual(f'{self.directory}/ca.pem', found.verify)
