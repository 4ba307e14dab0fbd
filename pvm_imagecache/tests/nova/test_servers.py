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

"""Servers, from the API down to the bytes of their disks."""

import os
from unittest import mock

from nova.tests import fixtures as nova_fixtures

from nova import exception
from nova import monkey_patch
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.system import identity
from pvm_imagecache.tests import images
from pvm_imagecache.tests.nova import base
from pvm_imagecache.virt import boot_disks

DAY = 24 * 3600
SIZE = 5 * base.MIB + 3


class ServersTestCase(base.NovaTestCase):
    def test_nova_runs_in_the_requested_threads(self) -> None:
        # The other tests do not show in which way they run.
        wanted = os.environ.get(
            'OS_NOVA_DISABLE_EVENTLET_PATCHING', ''
        ).lower()
        self.assertEqual(
            wanted in ('false', '0', 'no'), monkey_patch.is_patched()
        )

    def test_a_base_image_is_evicted_when_it_is_unused(self) -> None:
        image_id = self.store(SIZE)
        first = self.boot(image_id)
        self.assertEqual(SIZE, self.fetched())
        second = self.boot(image_id)
        # One byte is requested, to check the permission of the user.
        self.assertEqual(1, self.fetched())
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
        downloads = self.server.downloads()
        # One fetch; the others only checked the permission.
        self.assertEqual(
            [1] * 19 + [SIZE], sorted(each.bytes_sent for each in downloads)
        )
        disks = {self.disk_of(each)['udid'] for each in servers}
        self.assertEqual(20, len(disks))
        for each in servers:
            self.assert_boots_from(each, image_id)
        for each in servers:
            self.api.delete_server(each['id'])
        for each in servers:
            self._wait_until_deleted(each)
        self.assert_nothing_left()

    def test_a_taken_disk_name_is_replaced_by_another(self) -> None:
        image_id = self.store(SIZE)
        with mock.patch.object(
            boot_disks,
            'short_names',
            lambda name, uuid: ['b_same', f'b_{uuid[:8]}'],
        ):
            first, second = self.boot(image_id), self.boot(image_id)
            for server in (first, second):
                self.assert_boots_from(server, image_id)
            self._delete_server(second)
            self.assertEqual({'b_same'}, set(self.instance_disks()))
            self.assert_boots_from(first, image_id)
            # The first name still belongs to the first server.
            self._delete_server(first)
        self.assert_nothing_left()

    def test_a_rebuild_replaces_the_disk(self) -> None:
        before, after = self.store(SIZE), self.store(SIZE, seed=1)
        server = self.boot(before)
        udid = self.disk_of(server)['udid']
        server = self._rebuild_server(server, after)
        self.assert_boots_from(server, after)
        self.assertNotEqual(udid, self.disk_of(server)['udid'])
        self.assertEqual(1, len(self.instance_disks()))
        self.assertEqual(['running'], list(self.partitions().values()))
        self._delete_server(server)
        self.assert_nothing_left()

    def test_servers_are_stopped_started_and_rebooted(self) -> None:
        server = self.boot(self.store(SIZE))
        self._stop_server(server)
        self.assertEqual(['not activated'], list(self.partitions().values()))
        self._start_server(server)
        self._reboot_server(server, hard=False)
        self._reboot_server(server, hard=True)
        self.assertEqual(['running'], list(self.partitions().values()))
        # An operator stops it, and nova notices.
        self.compute.driver._partitions.power_off(
            self.compute.driver._partitions.find(server['id'])
        )
        self.assertEqual(
            4, self.compute.manager._get_power_state(self.instance(server))
        )
        self._delete_server(server)
        self.assert_nothing_left()

    def test_a_disk_attached_by_an_operator_is_kept(self) -> None:
        # nova must not delete a disk that an operator attached.
        server = self.boot(self.store(SIZE))
        driver = self.compute.driver
        plain = self.powervm.control.plant_disk(
            'cachevg', 'their_data', base.GIB
        )
        self.attach(server, 'their_data')
        self.assertEqual(
            [server['OS-EXT-SRV-ATTR:instance_name']],
            self.disks()['their_data']['mapped_to'],
        )
        self._delete_server(server)
        self.assertEqual({'their_data'}, set(self.instance_disks()))
        self.assertEqual(plain['udid'], self.disks()['their_data']['udid'])
        self.assertEqual([], self.disks()['their_data']['mapped_to'])
        self.assertEqual([], driver.list_instances())

    def test_a_server_without_partition_is_deleted(self) -> None:
        server = self.boot(self.store(SIZE))
        partitions = self.compute.driver._partitions
        partition = partitions.find(server['id'])
        partitions.power_off(partition)
        partitions.delete(partition)
        self.assertRaises(
            exception.InstanceNotFound,
            self.compute.driver.get_info,
            self.instance(server),
        )
        self._delete_server(server)
        self.assertEqual({}, self.partitions())

    def test_the_cache_survives_a_restart_of_compute(self) -> None:
        image_id = self.store(SIZE)
        first = self.boot(image_id)
        self.fetched()
        self.compute = self.restart_compute_service(
            self.compute, keep_hypervisor_state=False
        )
        second = self.boot(image_id)
        self.assertEqual(1, self.fetched())
        self.assert_boots_from(second, image_id)
        self._delete_server(first)
        self._delete_server(second)
        self.assert_nothing_left()
        self.run_cleanup()
        self.assertEqual(1, len(self.base_images()))


class FailedSpawnTestCase(base.NovaTestCase):
    """Wherever a spawn fails, nothing is left behind."""

    def check_failing(self, image_id: str, cause: str) -> None:
        """Boot a server that fails to build, and delete it.

        :param cause: in the log; the user does not see it, because the
            scheduler finds no other host.
        """
        server = self.boot(image_id, expected_state='ERROR')
        self.assertIn(cause, self.stdlog.logger.output)
        self.powervm.control.clear_faults()
        self.assert_nothing_left()
        self._delete_server(server)
        self.assert_nothing_left()

    def test_nothing_is_left_after_a_failure_of_powervm(self) -> None:
        image_id = self.store(SIZE)
        for cause, match in (
            ('create partition', {'kind': 'LogicalPartition.create'}),
            ('change the mappings', {'kind': 'VirtualIOServer.update'}),
            ('power on', {'method': 'PUT', 'path_regex': 'do/PowerOn'}),
        ):
            self.powervm.control.add_fault(
                'status', message='No luck.', **match
            )
            self.check_failing(image_id, f'PowerVM refused to {cause}')
        self.assertEqual(1, len(self.base_images()))

    def test_nothing_is_left_after_a_failure_of_glance(self) -> None:
        image_id = self.store(SIZE)
        self.server.inject(image_id, status=403, count=99)
        self.check_failing(image_id, 'may not be downloaded')
        self.assertEqual(set(), self.base_images())

    def test_a_disk_of_another_instance_is_kept(self) -> None:
        # It is not mapped, as one that is being made, or was detached.
        image_id = self.store(SIZE)
        self.server.inject(image_id, status=403, count=99)
        with mock.patch.object(
            boot_disks, 'short_names', lambda name, uuid: ['b_same', 'b_other']
        ):
            for name in ('b_same', 'b_other'):
                theirs = self.powervm.control.plant_disk(
                    'cachevg', name, base.GIB
                )
                server = self.boot(image_id, expected_state='ERROR')
                self._delete_server(server)
                self.assertEqual(theirs['udid'], self.disks()[name]['udid'])

    def test_a_failed_cleanup_is_repeated_by_the_delete(self) -> None:
        self.powervm.control.add_fault(
            'status', method='PUT', path_regex='do/PowerOn'
        )
        # The disk can't be unmapped for now: only the first update passes.
        self.powervm.control.add_fault(
            'status', kind='VirtualIOServer.update', skip=1
        )
        server = self.boot(self.store(SIZE), expected_state='ERROR')
        self.assertIn(
            'Could not clean up after a failed build',
            self.stdlog.logger.output,
        )
        self.assertEqual(1, len(self.instance_disks()))
        self.powervm.control.clear_faults()
        self._delete_server(server)

    def test_servers_with_unsupported_devices_are_refused(self) -> None:
        image_id = self.store(SIZE)
        flavor = self._create_flavor(
            memory_mb=1000, vcpu=1, disk=1, ephemeral=1
        )
        for what, wanted in (
            ('ephemeral disks', {'flavor_id': flavor}),
            ('config drives', {}),
            ('networks', {'networks': 'auto'}),
        ):
            server = self._build_server(
                image_uuid=image_id,
                **({'networks': 'none', 'flavor_id': self.flavor} | wanted),
            )
            server['config_drive'] = what == 'config drives'
            server = self._wait_for_state_change(
                self.api.post_server({'server': server}), 'ERROR'
            )
            self.assertIn(
                f'does not support {what}', server['fault']['message']
            )
            # nova asks for the ephemeral disk's file system by then.
            self.run_cleanup()
            self.assertNotIn('Could not run image', self.stdlog.logger.output)
            self._delete_server(server)
        self.assert_nothing_left()

    def test_a_flavor_that_is_too_small_is_refused(self) -> None:
        image_id = self.server.create_image(
            'large', images.qcow2_bytes(2 * base.GIB), disk_format='qcow2'
        )
        server = self.boot(image_id, expected_state='ERROR')
        self.assertIn('is too small for image', server['fault']['message'])
        self.assert_nothing_left()

    def test_a_server_on_a_volume_is_refused(self) -> None:
        server = self._build_server(networks='none', flavor_id=self.flavor)
        del server['imageRef']
        server['block_device_mapping_v2'] = [
            {
                'source_type': 'volume',
                'destination_type': 'volume',
                'boot_index': 0,
                'uuid': nova_fixtures.CinderFixture.IMAGE_BACKED_VOL,
            }
        ]
        server = self._wait_for_state_change(
            self.api.post_server({'server': server}), 'ERROR'
        )
        self.assertIn('does not support volumes', server['fault']['message'])
        # Its image is called ''.
        self.assertEqual('', self.instance(server).image_ref)
        self.run_cleanup()
        self.assertNotIn('Could not run image', self.stdlog.logger.output)
        self._delete_server(server)
        self.assert_nothing_left()
