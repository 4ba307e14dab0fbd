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

"""Slow and broken answers, through a proxy in front of a real Glance."""

import types
from typing import Any

from keystoneauth1 import token_endpoint
from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import manager
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests.servers import proxy

SIZE = 3 * units.Mi + 17
#: Seconds: the limit of requests, and more than that.
_TIMEOUT = 1
_LONGER = 2.5
_LONG = 60

Kind = proxy.Kind


class GlanceAnswersTestCase(base.FunctionalTestCase):
    options = f'first_byte_timeout = {_LONG}\n'

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_raw(SIZE)
        self.proxy = proxy.Proxy(self.glance.url)
        self.proxy.__enter__()
        self.addCleanup(self.proxy.__exit__, None, None, None)
        self.conf_file.write_text(
            self.conf_file.read_text().replace(
                f'endpoint = {self.glance.url}',
                f'endpoint = {self.proxy.url}\ntimeout = {_TIMEOUT}',
            )
        )
        self.manager = self.make_manager()

    @property
    def context(self) -> Any:
        auth = token_endpoint.Token(self.proxy.url, self.glance.token())
        return types.SimpleNamespace(
            global_id=None,
            user_id='user',
            project_id='demo',
            get_auth_plugin=lambda: auth,
        )

    def deploy(
        self, name: str = 'vm1', made: manager.ImageManager | None = None
    ) -> instance_disk.Outcome:
        done = (made or self.manager).create_disk(
            self.image(self.image_id), name, context=self.context
        )
        self.assert_holds(name, self.image_id, SIZE)
        return done.outcome

    def test_the_first_byte_may_take_longer(self) -> None:
        slow = proxy.Fault(pause=_LONGER)
        for kind in (Kind.DATA, Kind.CHECK):
            self.proxy.inject(kind, slow)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy('vm1'))
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy('vm2'))
        for kind in (Kind.DATA, Kind.CHECK):
            self.assertEqual(1, len(self.proxy.requests(kind)))

    def test_the_first_byte_after_the_headers_may_take_longer(self) -> None:
        self.proxy.inject(Kind.DATA, proxy.Fault(pause_at=0, seconds=_LONGER))
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy())
        self.assertEqual([], self.proxy.requests(Kind.RANGE))

    def test_later_bytes_have_the_limit_of_requests(self) -> None:
        self.proxy.inject(Kind.DATA, proxy.Fault(pause_at=1, seconds=_LONG))
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy())
        (resumed,) = self.proxy.requests(Kind.RANGE)
        self.assertEqual('bytes=1-', resumed.byte_range)

    def test_metadata_have_the_limit_of_requests(self) -> None:
        self.proxy.inject(Kind.METADATA, proxy.Fault(pause=_LONG), count=None)
        error = self.assertRaises(exceptions.GlanceUnreachable, self.deploy)
        self.assertIn(f'{self.proxy.url}/v2/images/', str(error))
        self.assertIn('timed out', str(error))

    def test_progress_is_not_limited_by_a_count(self) -> None:
        cut = proxy.Fault(reset_at=50_000)
        for kind in (Kind.DATA, Kind.RANGE):
            self.proxy.inject(kind, cut, count=None)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy())
        self.assertGreater(len(self.proxy.requests(Kind.RANGE)), 50)

    def test_one_byte_at_each_attempt_is_no_progress(self) -> None:
        cut = proxy.Fault(reset_at=1)
        for kind in (Kind.DATA, Kind.RANGE):
            self.proxy.inject(kind, cut, count=None)
        error = self.assertRaises(exceptions.ImageTruncated, self.deploy)
        self.assertEqual(SIZE, error.expected)
        self.assertLess(len(self.proxy.requests(Kind.RANGE)), 10)
        self.assertEqual({}, self.disks())

    def test_the_command_names_address_and_status(self) -> None:
        for fault, texts in (
            (proxy.status(504), ('HTTP 504 Gateway Timeout',)),
            (proxy.page(), ('HTTP 200 OK', 'a web page')),
            (proxy.status(400), ('HTTP 400 Bad Request',)),
            (proxy.redirection('http://sso.invalid/x'), ('HTTP 302', 'sso')),
        ):
            self.proxy.clear()
            self.proxy.inject(Kind.METADATA, fault, count=None)
            done = self.run_shell('prefetch', self.image_id)
            self.assertEqual(1, done.returncode, done)
            for text in (*texts, f'{self.proxy.url}/v2/images/'):
                self.assertIn(text, done.stderr)
            for text in ('Traceback', '<html', 'Exception', 'Error:'):
                self.assertNotIn(text, done.stderr)
