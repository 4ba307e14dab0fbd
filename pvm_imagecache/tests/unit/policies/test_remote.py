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

"""Rules that ask a server."""

import ssl

from pvm_imagecache import exceptions
from pvm_imagecache.policies import enforcer
from pvm_imagecache.policies import rules
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base


class RemoteTest(base.TestCase):
    def load(self, rule):
        path = self.useFixture(
            base.TextFile(
                self.path('policy.yaml'), f'"pvm_imagecache:list": "{rule}"\n'
            )
        ).path
        return enforcer.get_enforcer(path)

    def test_another_host_needs_a_certificate(self):
        for rule in (
            'http://opa.example/x',
            'role:a or (role:b and not http://opa.example/x)',
            'http://localhost@opa.example/x',
            'https://%(user_name)s/x',
            'http://%(user_name)s/x',
            # A user with the name 1@opa.example chooses the server.
            'https://opa.example:%(user_name)s/x',
            'http://localhost:%(user_name)s/x',
            'https://%(user_name)s@opa.example/x',
        ):
            error = self.assertRaises(
                exceptions.ConfigurationError, self.load, rule
            )
            self.assertIn('pvm_imagecache:list', str(error))

    def test_this_host_and_https_are_accepted(self):
        for rule in (
            'http://127.0.0.1:8181/%(user_name)s',
            'https://opa.example/x',
        ):
            found = self.load(rule)
            self.assertIs(
                True, found.conf.oslo_policy.remote_ssl_verify_server_crt
            )

    def test_a_server_without_a_valid_certificate_allows_nothing(self):
        import requests
        from requests import exceptions as requests_exceptions

        asked = []

        def post(url, **kwargs):
            asked.append(kwargs['verify'])
            raise requests_exceptions.SSLError(
                ssl.SSLCertVerificationError('certificate verify failed')
            )

        self.patch(requests, 'post', post)
        path = self.useFixture(
            base.TextFile(
                self.path('policy.yaml'),
                '"pvm_imagecache:list": "https://opa.example/x"\n',
            )
        ).path
        error = self.assertRaises(
            exceptions.PolicyFileRefused,
            enforcer.check,
            rules.LIST,
            identity.Identity('ann', frozenset({'admin'})),
            path,
        )
        self.assertIn('certificate verify failed', str(error))
        self.assertEqual([True], asked)
