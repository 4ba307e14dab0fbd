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

"""The compute driver: its instances, its node, and builds that fail."""

from unittest import mock

from nova.compute import power_state
from nova.tests import fixtures as nova_fixtures

from nova import context as nova_context
from nova import exception
from pvm_imagecache.tests import images
from pvm_imagecache.tests.nova import base
from pvm_imagecache.virt import boot_disks

SIZE = 5 * base.MIB + 3


class InstancesTestCase(base.NovaTestCase):
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

    def test_instances_are_listed_while_they_exist(self) -> None:
        driver = self.compute.driver
        self.assertEqual([], driver.list_instances())
        server = self.boot(self.store(SIZE))
        instance = self.instance(server)
        self.assertEqual([instance.name], driver.list_instances())
        self.assertEqual(1, driver.get_num_instances())
        self.assertIn(instance.uuid, driver.list_instance_uuids())
        self.assertTrue(driver.instance_exists(instance))
        info = driver.get_info(instance)
        self.assertEqual(power_state.RUNNING, info.state)
        self._delete_server(server)
        self.assertEqual(0, driver.get_num_instances())
        self.assertFalse(driver.instance_exists(instance))
        self.assertRaises(
            exception.InstanceNotFound, driver.get_info, instance
        )

    def test_instances_are_unknown_while_powervm_is_unreachable(self) -> None:
        server = self.boot(self.store(SIZE))
        instance = self.instance(server)
        driver = self.compute.driver
        self.powervm.control.add_fault('reset_before', method='GET')
        self.assertEqual([], driver.list_instances())
        self.assertEqual(0, driver.get_num_instances())
        # nova-compute must not take the instance for deleted.
        self.assertEqual(power_state.NOSTATE, driver.get_info(instance).state)
        self.powervm.control.clear_faults()
        self.assertEqual([instance.name], driver.list_instances())
        self.assertEqual(power_state.RUNNING, driver.get_info(instance).state)

    def test_a_disk_is_kept_if_nova_asks_for_it(self) -> None:
        server = self.boot(self.store(SIZE))
        instance = self.instance(server)
        disk = self.disk_of(server)
        self.compute.driver.cleanup(
            nova_context.get_admin_context(),
            instance,
            None,
            destroy_disks=False,
        )
        self.assertEqual({}, self.partitions())
        self.assertEqual([disk['name']], list(self.instance_disks()))
        self.assertEqual([], self.disks()[disk['name']]['mapped_to'])
        # The name of the disk is in the metadata of the instance.
        self._delete_server(server)
        self.assert_nothing_left()

    def test_errors_of_powervm_reach_the_user(self) -> None:
        server = self.boot(self.store(SIZE))
        instance = self.instance(server)
        driver = self.compute.driver
        context = nova_context.get_admin_context()
        self.powervm.control.add_fault(
            'status', message='No luck', method='PUT', path_regex='/do/'
        )
        self.powervm.control.add_fault(
            'status', message='No luck', kind='VirtualIOServer.update'
        )
        for kind, call in (
            (
                exception.InstancePowerOffFailure,
                lambda: driver.power_off(instance),
            ),
            (
                exception.InstanceRebootFailure,
                lambda: driver.reboot(context, instance, None, 'HARD'),
            ),
            (
                exception.InstanceTerminationFailure,
                lambda: driver.destroy(context, instance, None),
            ),
        ):
            error = self.assertRaises(kind, call)
            self.assertIn('No luck', error.format_message())
        self.powervm.control.clear_faults()
        driver.power_off(instance)
        self.powervm.control.add_fault(
            'status', message='No luck', method='PUT', path_regex='/do/'
        )
        error = self.assertRaises(
            exception.InstancePowerOnFailure,
            driver.power_on,
            context,
            instance,
            None,
        )
        self.assertIn('No luck', error.format_message())

    def test_power_needs_an_existing_partition(self) -> None:
        server = self.boot(self.store(SIZE))
        instance = self.instance(server)
        self._delete_server(server)
        driver = self.compute.driver
        context = nova_context.get_admin_context()
        for call in (
            lambda: driver.power_off(instance),
            lambda: driver.power_on(context, instance, None),
            lambda: driver.reboot(context, instance, None, 'SOFT'),
        ):
            self.assertRaises(exception.InstanceNotFound, call)


class NodeTestCase(base.NovaTestCase):
    def test_the_node_has_the_name_of_the_host(self) -> None:
        self.assertEqual(
            [base.CONF.host], self.compute.driver.get_available_nodes()
        )

    def test_the_last_known_resources_are_reported(self) -> None:
        driver = self.compute.driver
        before = driver.get_available_resource('compute')
        self.powervm.control.add_fault('status', method='GET')
        self.assertEqual(before, driver.get_available_resource('compute'))
        self.assertEqual(
            1, self.stdlog.logger.output.count('Could not reach PowerVM')
        )


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
        server = self._build_server(
            image_uuid=self.store(base.MIB),
            networks='none',
            flavor_id=self.flavor,
        )
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
