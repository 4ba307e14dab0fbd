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

"""A cloud with a real Keystone, and with a real Glance in each region."""

import contextlib
import json
import os
import socket
import threading
import time
import types
from typing import Any

from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
from keystoneauth1.identity import v3
from oslo_utils import units
import requests

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.system import locks
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import front
from pvm_imagecache.tests.servers import glance as glance_server
from pvm_imagecache.tests.servers import regions

_SECRET = regions.SECRET


class RegionTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cloud = regions.cloud()
        self.keystone = self.cloud.keystone
        self.one, self.two = (
            self.cloud.glances[region] for region in ('one', 'two')
        )
        for glance in (self.one, self.two):
            glance.clear_faults()
            glance.set_bandwidth(0)
            glance.reset_downloads()

    def store_in(self, glance: glance_server.GlanceServer, name: str) -> str:
        return glance.create_image(name, images.raw_bytes(units.Mi))

    def configure(self, options: str = '', auth_url: str = '') -> None:
        """Write a configuration; with credentials if it has an auth_url."""
        if auth_url:
            options += f"""
auth_type = password
auth_url = {auth_url}
username = ann
password = {_SECRET}
project_name = ops
user_domain_name = Default
project_domain_name = Default
"""
        path = self.directory / 'regions.conf'
        path.write_text(
            self.conf_file.read_text().partition('[glance]')[0]
            + f'[glance]\n{options}\n'
        )
        self.conf_file = path

    def variables(self, **changes: str) -> dict[str, str]:
        """The environment of user ann."""
        return (
            {
                name: value
                for name, value in os.environ.items()
                if not name.startswith('OS_')
            }
            | self.keystone.environment('ann', _SECRET, 'ops')
            | changes
        )

    def run_with(self, *arguments: str, **kwargs: Any) -> tuple[int, str, str]:
        kwargs.setdefault('env', self.variables())
        done = self.run_shell(*arguments, **kwargs)
        for text in ('Traceback', _SECRET, 'Error:', 'Exception', '<html'):
            self.assertNotIn(text, done.stderr)
        return done.returncode, done.stdout, done.stderr

    def prefetched(self, name: str, **kwargs: Any) -> str:
        """Prefetch an image by name; return its ID."""
        code, output, errors = self.run_with(
            'prefetch', name, '-f', 'json', **kwargs
        )
        self.assertEqual(0, code, errors)
        return str(json.loads(output)[0]['ID'])

    def refused(self, name: str, **kwargs: Any) -> str:
        """Try to prefetch an image by name; return the message."""
        code, _, errors = self.run_with('prefetch', name, **kwargs)
        self.assertEqual(1, code)
        return errors


class RegionTest(RegionTestCase):
    """Region, interface and overrides."""

    def setUp(self) -> None:
        super().setUp()
        self.name = f'image-{self.id()[-20:]}'
        self.ids = {
            'one': self.store_in(self.one, self.name),
            'two': self.store_in(self.two, self.name),
        }
        self.configure()

    def test_variables_choose_the_region(self) -> None:
        for region in ('two', 'one'):
            for url in (self.keystone.url, self.keystone.unversioned_url):
                self.assertEqual(
                    self.ids[region],
                    self.prefetched(
                        self.name,
                        env=self.variables(
                            OS_REGION_NAME=region, OS_AUTH_URL=url
                        ),
                    ),
                )

    def test_a_cloud_chooses_the_region(self) -> None:
        (self.directory / 'clouds.yaml').write_text(f"""
clouds:
  prod:
    auth: &auth
      auth_url: {self.keystone.unversioned_url}
      username: ann
      password: {_SECRET}
      project_name: ops
      user_domain_name: Default
      project_domain_name: Default
    region_name: two
  list:
    auth: *auth
    regions: [two, one]
  dead:
    auth: *auth
    region_name: one
    interface: public
  override:
    auth: *auth
    image_endpoint_override: {self.two.url}/v2
""")
        for arguments, changes, region in (
            ('prod', {}, 'two'),
            ('prod', {'OS_REGION_NAME': 'one'}, 'one'),
            ('list', {}, 'two'),
            ('list', {'OS_REGION_NAME': 'one'}, 'one'),
            ('dead', {'OS_INTERFACE': 'internal'}, 'one'),
            ('override', {}, 'two'),
        ):
            self.assertEqual(
                self.ids[region],
                self.prefetched(
                    self.name,
                    env={
                        name: value
                        for name, value in self.variables().items()
                        if not name.startswith('OS_')
                    }
                    | {'OS_CLOUD': arguments}
                    | changes,
                    cwd=self.directory,
                ),
            )

    def test_options_precede_the_variables(self) -> None:
        self.configure('region_name = two')
        env = self.variables(OS_REGION_NAME='one')
        self.assertEqual(self.ids['two'], self.prefetched(self.name, env=env))
        self.configure(f'endpoint_override = {self.one.url}/v2/')
        env = self.variables(OS_REGION_NAME='two')
        self.assertEqual(self.ids['one'], self.prefetched(self.name, env=env))

    def test_a_variable_overrides_the_address(self) -> None:
        env = self.variables(
            OS_IMAGE_ENDPOINT_OVERRIDE=f'{self.two.url}/v2.15/'
        )
        self.assertEqual(self.ids['two'], self.prefetched(self.name, env=env))

    def test_a_wrong_region_is_named_with_the_others(self) -> None:
        errors = self.refused(
            self.name, env=self.variables(OS_REGION_NAME='three')
        )
        self.assertIn('in region "three"', errors)
        self.assertIn('one (internal, public), two (public)', errors)
        self.assertIn('OS_* variables', errors)

    def test_a_missing_region_is_named(self) -> None:
        # Both regions have a public address, only "one" an internal one.
        env = self.variables(OS_INTERFACE='public')
        errors = self.refused(self.name, env=env)
        self.assertIn('none is chosen', errors)
        self.assertIn('one (internal, public), two (public)', errors)

    def test_a_wrong_interface_is_named(self) -> None:
        errors = self.refused(
            self.name, env=self.variables(OS_INTERFACE='admin')
        )
        self.assertIn('interface admin', errors)
        self.assertIn('one (internal, public), two (public)', errors)

    def test_credentials_in_the_configuration_use_its_region(self) -> None:
        for auth_url in (self.keystone.url, self.keystone.unversioned_url):
            self.configure('region_name = two', auth_url)
            self.assertEqual(
                self.ids['two'],
                self.prefetched(
                    self.name, env=self.variables(OS_REGION_NAME='one')
                ),
            )
        self.configure('region_name = three', self.keystone.url)
        errors = self.refused(self.name)
        self.assertIn('in region "three"', errors)
        self.assertIn('region_name and valid_interfaces in [glance]', errors)


class OutageTest(RegionTestCase):
    """Keystone is behind a proxy that fails."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_in(self.two, 'an image')
        held = contextlib.ExitStack()
        self.addCleanup(held.close)
        self.front = held.enter_context(
            front.Front(self.keystone.unversioned_url)
        )

    def client(self, path: str) -> Any:
        self.configure('region_name = two', self.front.url + path)
        self.make_manager()
        return self.source

    def test_a_short_outage_fails_nothing(self) -> None:
        for path in ('', '/v3'):
            for answer in (
                front.Answer(503),
                front.Answer(429, headers={'Retry-After': '0'}),
                front.Answer(502, kind=''),
                front.Answer(504, 'application/json', b'{'),
                front.Answer(200),
                front.Answer(0),
            ):
                source = self.client(path)
                self.front.fail(2, answer)
                self.assertEqual(
                    self.image_id, source.get(self.image_id).id, answer
                )

    def test_a_long_outage_is_one_of_keystone(self) -> None:
        for path in ('', '/v3'):
            for answer, says in (
                (front.Answer(503), 'HTTP 503'),
                (front.Answer(200), 'login page'),
                (front.Answer(0), 'onnection'),
            ):
                source = self.client(path)
                self.front.fail(100, answer)
                error = self.assertRaises(
                    exceptions.KeystoneUnreachable,
                    source.get,
                    self.image_id,
                )
                self.assertIn(f'Keystone at {self.front.url}', str(error))
                self.assertIn(says, str(error))
                self.assertNotIn('<', str(error))
                self.assertNotIn('Glance', str(error))

    def test_a_refused_connection_is_an_outage_of_keystone(self) -> None:
        for path in ('', '/v3'):
            self.configure('region_name = two', f'http://127.0.0.1:9{path}')
            self.make_manager()
            error = self.assertRaises(
                exceptions.KeystoneUnreachable, self.source.get, self.image_id
            )
            self.assertIn('Keystone at http://127.0.0.1:9', str(error))
            self.assertIn('connection refused', str(error))

    def test_wrong_credentials_are_refused_once(self) -> None:
        for path in ('', '/v3'):
            source = self.client(path)
            self.conf_file.write_text(
                self.conf_file.read_text().replace(_SECRET, 'wrong')
            )
            self.make_manager()
            source = self.source
            self.front.requests.clear()
            error = self.assertRaises(
                exceptions.TokenRefused, source.get, self.image_id
            )
            self.assertIn('the credentials in [glance]', str(error))
            self.assertEqual(
                1,
                self.front.requests.count('POST /v3/auth/tokens'),
            )

    def test_the_shell_waits_for_keystone(self) -> None:
        self.configure()
        env = self.variables(OS_AUTH_URL=self.front.url, OS_REGION_NAME='two')
        self.front.fail(2)
        self.assertEqual(
            self.image_id, self.prefetched(self.image_id, env=env)
        )

    def test_the_shell_waits_for_keystone_to_authenticate(self) -> None:
        text = self.conf_file.read_text()
        self.conf_file.write_text(
            text.replace(
                '[glance]',
                'auth_strategy = keystone\n'
                f'keystone_auth_urls = {self.front.url}\n[glance]',
            )
        )
        env = self.variables(OS_AUTH_URL=self.front.url)
        self.front.fail(2)
        code, _, errors = self.run_with('list', env=env)
        self.assertEqual(0, code, errors)
        self.front.fail(100)
        code, _, errors = self.run_with('list', env=env)
        self.assertEqual(1, code)
        self.assertIn(f'Keystone at {self.front.url} cannot', errors)
        self.assertIn('HTTP 503', errors)


class ServersTest(RegionTestCase):
    """Several api_servers."""

    def setUp(self) -> None:
        super().setUp()
        self.bound = socket.socket()
        self.addCleanup(self.bound.close)
        self.bound.bind(('127.0.0.1', 0))
        self.dead = f'http://127.0.0.1:{self.bound.getsockname()[1]}'

    def use(self, *servers: str) -> Any:
        self.configure(f'api_servers = {",".join(servers)}', self.keystone.url)
        return self.make_manager()

    def test_a_dead_server_fails_no_deploy(self) -> None:
        made = self.use(f'{self.dead}/v2', f'{self.one.url}/v2/')
        for number in range(4):
            image_id = self.store_in(self.one, 'an image')
            done = made.create_disk(self.image(image_id), f'disk{number}')
            self.assertIs(instance_disk.Outcome.MISS, done.outcome)

    def test_an_interrupted_download_continues_at_another_server(self) -> None:
        data = images.raw_bytes(8 * units.Mi)
        image_id = self.one.create_image('an image', data)
        with (
            front.Front(self.one.url) as good,
            front.Front(self.one.url) as other,
        ):
            made = self.use(good.url, other.url)
            self.one.inject(image_id, reset_after=3 * units.Mi)
            image = self.image(image_id)
            done = made.create_disk(image, 'disk')
            self.assertEqual(len(data), done.bytes_fetched)
            used = [
                any('/file' in each for each in server.requests)
                for server in (good, other)
            ]
        self.assertEqual([True, True], used)


class TokenTest(RegionTestCase):
    """The token of a user becomes invalid during a deploy."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_in(self.one, 'an image')
        self.configure('region_name = one', self.keystone.url)
        self.made = self.make_manager()
        transport = requests.Session()
        transport.trust_env = False
        self.session = ksa_session.Session(
            v3.Password(
                self.keystone.url,
                username='ann',
                password=_SECRET,
                user_domain_id='default',
                project_name='ops',
                project_domain_id='default',
            ),
            session=transport,
        )
        token = self.session.get_token()
        self.token = token or ''
        self.context = types.SimpleNamespace(
            global_id=None,
            user_id='ann',
            user_name='ann',
            project_id='ops',
            project_name='ops',
            get_auth_plugin=lambda: token_endpoint.Token(
                self.one.url, self.token
            ),
        )

    def when_asked(self, do: Any) -> Any:
        """Hold the lock of the fill; release it after Glance was asked."""
        name = naming.base_image_name(self.image_id)
        lock = seams.image_lock(self.made.driver.pool_id(), name)
        directory = locks.LockDirectory(
            str(seams.lock_directory(self.directory / 'state'))
        )
        held = contextlib.ExitStack()
        held.enter_context(directory.hold(lock, 0))
        self.addCleanup(held.close)
        self.one.reset_downloads()

        def release() -> None:
            self.wait_for_downloads(1)
            self.keystone.revoke(self.token)
            held.close()
            do()

        thread = threading.Thread(target=release)
        thread.start()
        self.addCleanup(thread.join)

    def wait_for_downloads(self, count: int) -> None:
        while len(self.one.downloads()) < count:
            time.sleep(0.02)

    def deploy(self) -> Any:
        return self.made.create_disk(self.found, 'disk', context=self.context)

    def test_a_deploy_that_must_download_names_the_token(self) -> None:
        self.found = self.source.get(self.image_id)
        self.when_asked(lambda: None)
        error = self.assertRaises(exceptions.TokenRefused, self.deploy)
        self.assertIn('the token of the user', str(error))
        self.assertIn('send_service_user_token', str(error))
        self.assertNotIn('[glance]', str(error))
        self.assertNotIn(self.token, str(error))
        self.assertEqual({}, self.disks())

    def test_a_deploy_that_another_one_fetches_for_succeeds(self) -> None:
        self.found = self.source.get(self.image_id)
        other = self.make_manager()
        self.one.set_bandwidth(units.Mi // 2)
        thread = threading.Thread(target=other.prefetch, args=[self.found])
        thread.start()
        self.addCleanup(thread.join)
        self.wait_for_downloads(1)

        def expire() -> None:
            self.wait_for_downloads(2)
            self.keystone.revoke(self.token)
            self.one.set_bandwidth(0)

        expirer = threading.Thread(target=expire)
        expirer.start()
        self.addCleanup(expirer.join)
        done = self.deploy()
        self.assertIs(instance_disk.Outcome.HIT, done.outcome)
        expirer.join()
        self.assertRaises(
            exceptions.TokenRefused,
            self.source.get,
            self.image_id,
            self.context,
        )
