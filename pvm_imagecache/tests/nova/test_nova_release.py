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

"""What differs between the releases of nova."""

from importlib import metadata
import types
from typing import Any
from unittest import mock

import fixtures
from oslotest import base

from nova import service_auth
from pvm_imagecache import exceptions
from pvm_imagecache.tests import packages
from pvm_imagecache.virt import driver
from pvm_imagecache.virt import nova_release


class CheckTestCase(base.BaseTestCase):
    """Releases that were not tested are refused or reported."""

    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())

    def installed(self, **versions: str | None) -> Any:
        found = {'nova': '34.0.0', 'pypowervm': '1.1.27'} | versions
        return mock.patch.object(
            metadata,
            'distributions',
            lambda name: [packages.Distribution(found[name])],
        )

    def test_tested_releases_are_accepted_silently(self) -> None:
        for nova in ('31.0.0', '32.3.0', '33.0.2', '34.0.0'):
            with self.installed(nova=nova):
                nova_release.check()
        self.assertEqual('', self.log.output)

    def test_an_older_release_stops_nova_compute(self) -> None:
        for name, version, supported in (
            ('nova', '30.1.0', 'nova 31 (OpenStack 2025.1)'),
            ('pypowervm', '1.1.20', 'pypowervm 1.1.27'),
        ):
            with self.installed(**{name: version}):
                error = self.assertRaises(
                    exceptions.ReleaseTooOld,
                    driver.PowerVMDriver(mock.Mock()).init_host,
                    'host',
                )
            for words in (f'{name} {version}', supported, 'pvm_imagecache '):
                self.assertIn(words, str(error))

    def test_a_release_that_is_not_known_is_reported(self) -> None:
        with self.installed(nova=None):
            nova_release.check()
        self.assertIn('nova unknown was not tested', self.log.output)

    def test_a_newer_release_is_reported_once(self) -> None:
        with self.installed(nova='35.0.0'):
            nova_release.check()
        self.assertEqual(1, self.log.output.count('nova 35.0.0 was not'))


class UserAuthTestCase(base.BaseTestCase):
    """Both names of one function are known."""

    def test_each_name_is_called_with_the_context(self) -> None:
        context = object()
        for name in ('get_auth_plugin', 'get_service_user_token_auth_plugin'):
            called = mock.Mock()
            with mock.patch.object(
                nova_release,
                'service_auth',
                types.SimpleNamespace(**{name: called}),
            ):
                found = nova_release.user_auth(context)
            self.assertIs(called.return_value, found)
            called.assert_called_once_with(context)

    def test_this_release_of_nova_has_one_of_them(self) -> None:
        names = ('get_auth_plugin', 'get_service_user_token_auth_plugin')
        self.assertTrue([name for name in names if name in vars(service_auth)])
