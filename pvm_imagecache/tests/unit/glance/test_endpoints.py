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

"""Addresses with versions, and several servers."""

import threading
from unittest import mock

from hypothesis import given
from hypothesis import strategies

from pvm_imagecache.glance import endpoints
from pvm_imagecache.tests.unit import base

_HOSTS = strategies.sampled_from(
    ['glance', '10.0.0.1:9292', '[fd00::1]:9292', 'u:p@glance.example.com']
)
_PREFIXES = strategies.sampled_from(
    ['', '/image', '/a/b', '/v2x', '/vms', '/v', '/2', '/v2/x', '/version2']
)
_VERSIONS = strategies.sampled_from(
    ['', '/v2', '/v2.15', '/v1', '/v2.0', '/V2', '/v10.200']
)
_ENDS = strategies.sampled_from(['', '/', '//', '?a=b', '/?a=b', '/#part'])


class WithoutVersionTest(base.TestCase):
    @given(_HOSTS, _PREFIXES, _VERSIONS, _ENDS)
    def test_version_and_end_are_removed(self, host, prefix, version, end):
        self.assertEqual(
            f'http://{host}{prefix}',
            endpoints.without_version(f'http://{host}{prefix}{version}{end}'),
        )

    @given(_HOSTS, _PREFIXES)
    def test_an_address_without_version_stays(self, host, prefix):
        url = f'https://{host}{prefix}'
        self.assertEqual(url, endpoints.without_version(url))

    def test_blanks_around_it_are_removed(self):
        self.assertEqual(
            'http://g', endpoints.without_version(' http://g/v2 ')
        )

    def test_placeholders_of_keystoneauth_stay(self):
        self.assertEqual(
            'http://g/%(project_id)s',
            endpoints.without_version('http://g/%(project_id)s/v2'),
        )


class WithSchemeTest(base.TestCase):
    def test_a_scheme_is_added_where_there_is_none(self):
        for server, expected in (
            ('glance:9292', 'http://glance:9292'),
            ('10.0.0.1:9292/image', 'http://10.0.0.1:9292/image'),
            ('http://glance', 'http://glance'),
            ('https://glance:9292', 'https://glance:9292'),
        ):
            self.assertEqual(expected, endpoints.with_scheme(server))


class ServersTest(base.TestCase):
    URLS = ('http://a', 'http://b', 'http://c')

    def _firsts(self, servers, count):
        return [
            servers.usable_first(servers.for_attempt())[0]
            for _ in range(count)
        ]

    def test_an_attempt_has_every_server(self):
        servers = endpoints.Servers(self.URLS)
        for _ in range(4):
            self.assertEqual(sorted(self.URLS), sorted(servers.for_attempt()))

    def test_each_attempt_begins_with_the_next_server(self):
        servers = endpoints.Servers(self.URLS)
        firsts = self._firsts(servers, 6)
        self.assertEqual(sorted(self.URLS), sorted(firsts[:3]))
        self.assertEqual(firsts[:3], firsts[3:])

    def test_the_order_differs_between_processes(self):
        orders = {
            tuple(self._firsts(endpoints.Servers(self.URLS), 3))
            for _ in range(200)
        }
        self.assertEqual(6, len(orders))

    def test_a_server_named_twice_is_one_server(self):
        servers = endpoints.Servers(('http://a', 'http://a', 'http://b'))
        self.assertEqual(2, len(servers.for_attempt()))

    def test_a_server_that_failed_is_the_last_one_for_a_minute(self):
        servers = endpoints.Servers(self.URLS)
        with mock.patch.object(
            endpoints.time, 'monotonic', autospec=True
        ) as now:
            now.return_value = 1000.0
            servers.failed('http://b')
            for _ in range(6):
                order = servers.usable_first(servers.for_attempt())
                self.assertEqual('http://b', order[-1])
            now.return_value = 1061.0
            self.assertIn('http://b', self._firsts(servers, 3))

    def test_a_server_that_answered_is_used_again(self):
        servers = endpoints.Servers(self.URLS)
        servers.failed('http://b')
        servers.answered('http://b')
        self.assertIn('http://b', self._firsts(servers, 3))

    def test_all_may_have_failed(self):
        servers = endpoints.Servers(self.URLS)
        for url in self.URLS:
            servers.failed(url)
        self.assertEqual(sorted(self.URLS), sorted(self._firsts(servers, 3)))

    def test_threads_share_the_servers_evenly(self):
        servers = endpoints.Servers(self.URLS)
        firsts = []

        def use():
            for _ in range(100):
                firsts.append(servers.for_attempt()[0])

        threads = [threading.Thread(target=use) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(
            [200, 200, 200], [firsts.count(url) for url in self.URLS]
        )
