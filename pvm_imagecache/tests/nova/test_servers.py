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

"""Servers that share base images, from the API down to the bytes."""

import os
import threading
from unittest import mock

from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.system import identity
from pvm_imagecache.tests.nova import base

DAY = 24 * 3600
SIZE = 5 * base.MIB + 3


class ServersTestCase(base.NovaTestCase):
    def test_nova_runs_in_the_requested_threads(self) -> None:
        # The other tests do not show in which way they run.
        wanted = os.environ.get(
            'OS_NOVA_DISABLE_EVENTLET_PATCHING', ''
        ).lower()
        # Not by asking eventlet, which nova poisons with native threads.
        self.assertEqual(
            wanted in ('false', '0', 'no'),
            threading.Lock.__module__.startswith('eventlet.'),
        )

    def test_a_base_image_is_evicted_when_it_is_unused(self) -> None:
        image_id = self.store(SIZE)
        first = self.boot(image_id)
        self.assertEqual(SIZE, self.fetched())
        second = self.boot(image_id)
        self.assert_permission_checked()
        for server in (first, second):
            self.assert_boots_from(server, image_id)
        self.assertEqual(
            ['running', 'running'], list(self.partitions().values())
        )
        # While it is in use, its age does not matter.
        passed = 0.0
        uptime = boot_clock.uptime
        with mock.patch.object(
            boot_clock, 'uptime', lambda: uptime() + passed
        ):
            passed = 10.0 * DAY
            self.run_cleanup()
            self.assertEqual(1, len(self.base_images()))
            self._delete_server(first)
            self._delete_server(second)
            self.assert_nothing_left()
            # After its last use it is retained for a day.
            passed += DAY - 600
            self.run_cleanup()
            self.assertEqual(1, len(self.base_images()))
            passed += 700
            self.run_cleanup()
            self.assertEqual(set(), self.base_images())
        self.assertEqual(0, self.fetched())
        self.check_who(image_id)

    def check_who(self, image_id: str) -> None:
        """The history has the user of the request and our own one."""
        pool = self.compute.driver.image_cache.driver.pool_id()
        found = {
            (each.action, each.who) for each in self.catalog.history.list(pool)
        }
        ours = identity.user()
        theirs = f'{self.api.auth_user} as {ours}'
        self.assertLessEqual(
            {
                ('miss', theirs),
                ('hit', theirs),
                ('delete', theirs),
                ('evict', ours),
            },
            found,
        )

    def test_twenty_servers_share_one_fetch(self) -> None:
        self.flags(instances=-1, cores=-1, ram=-1, group='quota')
        image_id = self.store(SIZE)
        server = self._build_server(
            image_uuid=image_id, networks='none', flavor_id=self.flavor
        )
        server['min_count'] = server['max_count'] = 20
        self.api.post_server({'server': server})
        servers = [
            self._wait_for_server_parameter(
                each, {'status': 'ACTIVE'}, max_retries=120
            )
            for each in self.api.get_servers()
        ]
        self.assertEqual(20, len(servers))
        # One fetch; the others only checked the permission.
        self.assert_permission_checked(19, [SIZE])
        disks = {self.disk_of(each)['udid'] for each in servers}
        self.assertEqual(20, len(disks))
        for each in servers:
            self.assert_boots_from(each, image_id)
        for each in servers:
            self.api.delete_server(each['id'])
        for each in servers:
            self._wait_until_deleted(each)
        self.assert_nothing_left()

    def test_the_cache_survives_a_restart_of_compute(self) -> None:
        image_id = self.store(SIZE)
        first = self.boot(image_id)
        self.fetched()
        self.compute = self.restart_compute_service(
            self.compute, keep_hypervisor_state=False
        )
        second = self.boot(image_id)
        self.assert_permission_checked()
        self.assert_boots_from(second, image_id)
        self._delete_server(first)
        self._delete_server(second)
        self.assert_nothing_left()
        self.run_cleanup()
        self.assertEqual(1, len(self.base_images()))
