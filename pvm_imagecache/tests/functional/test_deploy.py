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

"""Deploys through the cache: every byte, every request."""

import json

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import simulator
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images

MISS_REQUESTS = [
    'File.create',
    'File.create',
    'File.delete',
    'File.delete',
    'File.upload',
    'File.upload',
    'VolumeGroup.get',
    'VolumeGroup.update',
]


class DeployTestCase(base.FunctionalTestCase):
    """Miss, then hit, with all bytes compared."""

    def deploy_twice(self, image_id: str, size: int = 0) -> None:
        manager = self.make_manager()
        image = self.image(image_id)

        first = manager.create_disk(image, 'vm1', size)
        self.assertEqual(instance_disk.Outcome.MISS, first.outcome)
        self.assertEqual(image.size, first.bytes_fetched)
        self.assertEqual(image.size, self.fetched())

        second = manager.create_disk(image, 'vm2', size)
        self.assertEqual(instance_disk.Outcome.HIT, second.outcome)
        self.assertEqual(0, second.bytes_fetched)
        self.assertEqual(0, self.fetched())

        for disk in ('vm1', 'vm2'):
            self.assert_holds(disk, image_id, max(size, image.size))
        (cached,) = manager.list()
        self.assert_holds(cached.disk_name, image_id, image.size)
        self.assertEqual(0, self.file_entries())

    def test_raw_of_one_byte(self) -> None:
        self.deploy_twice(self.store_raw(1))

    def test_raw_just_below_a_mebibyte(self) -> None:
        self.deploy_twice(self.store_raw(units.Mi - 1))

    def test_raw_just_above_a_mebibyte(self) -> None:
        self.deploy_twice(self.store_raw(units.Mi + 1))

    def test_raw_on_a_larger_disk(self) -> None:
        self.deploy_twice(self.store_raw(5 * units.Mi), 3 * units.Gi)

    def test_raw_above_a_gibibyte(self) -> None:
        path = self.directory / 'image'
        images.write_raw(path, units.Gi + units.Mi + 1, seed=3)
        image_id = self.store(path)
        path.unlink()
        self.deploy_twice(image_id)
        self.assertEqual(
            {2 * units.Gi},
            {each['capacity_bytes'] for each in self.powervm.control.disks()},
        )

    def test_qcow2_images_are_cached_as_qcow2(self) -> None:
        for number, size in enumerate(
            (1, units.Mi - 1, units.Mi + 1, 5 * units.Mi)
        ):
            self.start_powervm_again(number)
            image_id = self.store(
                images.qcow2_bytes(units.Gi, size, seed=number), 'qcow2'
            )
            self.deploy_twice(image_id)
            self.assertEqual(
                {'qcow2'},
                {each['file_format'] for each in self.powervm.control.disks()},
            )

    def start_powervm_again(self, number: int) -> None:
        self.directory = self.directory / str(number)
        self.directory.mkdir()
        self.start_powervm()

    def test_qcow2_disk_has_the_virtual_size(self) -> None:
        image_id = self.store(
            images.qcow2_bytes(7 * units.Gi, units.Mi), 'qcow2'
        )
        self.deploy_twice(image_id)
        self.assertEqual(
            {'vm1': 7 * units.Gi, 'vm2': 7 * units.Gi},
            {
                each['name']: each['capacity_bytes']
                for each in self.powervm.control.disks()
                if each['name'].startswith('vm')
            },
        )

    def test_a_miss_and_a_hit_make_no_extra_requests(self) -> None:
        manager = self.make_manager()
        image = self.image(self.store_raw(units.Mi))
        # The first disk shows that the pool keeps labels.
        manager.create_disk(self.image(self.store_raw(units.Mi, 1)), 'vm0')
        seen = self.last_request()
        manager.create_disk(image, 'vm1')
        self.assertEqual(MISS_REQUESTS, sorted(self.kinds_since(seen)))
        seen = self.last_request()
        manager.create_disk(image, 'vm2')
        self.assertEqual(
            ['VolumeGroup.get', 'VolumeGroup.update'], self.kinds_since(seen)
        )

    def test_every_update_has_an_etag(self) -> None:
        manager = self.make_manager()
        image = self.image(self.store_raw(units.Mi))
        for name in ('vm1', 'vm2'):
            manager.create_disk(image, name)
        manager.purge(manager.list())
        manager.delete_disk('vm1')
        updates = [
            row
            for row in self.powervm.control.requests()
            if row['type'] == 'VolumeGroup.update'
        ]
        self.assertEqual(4, len(updates))
        for row in updates:
            self.assertTrue(row['if_match'])

    def test_a_prefetch_makes_the_first_deploy_a_hit(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(3 * units.Mi)
        image = self.image(image_id)
        self.assertTrue(manager.prefetch(image).fetched)
        self.assertEqual(image.size, self.fetched())
        again = manager.prefetch(image)
        self.assertFalse(again.fetched)
        self.assertEqual(0, again.bytes_fetched)
        self.assertEqual(
            instance_disk.Outcome.HIT,
            manager.create_disk(image, 'vm1').outcome,
        )
        self.assertEqual(0, self.fetched())
        self.assert_holds('vm1', image_id, image.size)

    def test_purge_leaves_the_disks_of_vms(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(3 * units.Mi)
        image = self.image(image_id)
        for name in ('vm1', 'vm2'):
            manager.create_disk(image, name)
        (result,) = manager.purge(manager.list())
        self.assertTrue(result.removed)
        self.assertEqual([], list(manager.list()))
        self.assertEqual({'vm1', 'vm2'}, set(self.disks()))
        for name in ('vm1', 'vm2'):
            self.assert_holds(name, image_id, image.size)
        self.assertEqual(
            instance_disk.Outcome.MISS,
            manager.create_disk(image, 'vm3').outcome,
        )

    def test_the_cache_survives_a_restart(self) -> None:
        image_id = self.store_raw(3 * units.Mi)
        first = self.make_manager()
        first.create_disk(self.image(image_id), 'vm1')
        first.close()
        second = self.make_manager()
        self.assertEqual(
            instance_disk.Outcome.HIT,
            second.create_disk(self.image(image_id), 'vm2').outcome,
        )
        self.assert_holds('vm2', image_id, units.Mi)

    def test_closing_logs_off(self) -> None:
        manager = self.make_manager()
        manager.usage()
        manager.close()
        self.assertEqual('Logon.delete', self.kinds_since(0)[-1])

    def test_a_disabled_cache_is_bypassed(self) -> None:
        manager = self.make_manager(
            self.write_conf(
                f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
                'volume_group_name = cachevg\nenabled = false'
            )
        )
        image_id = self.store_raw(units.Mi)
        for name in ('vm1', 'vm2'):
            done = manager.create_disk(self.image(image_id), name)
            self.assertEqual(instance_disk.Outcome.BYPASS, done.outcome)
            self.assert_holds(name, image_id, units.Mi)
        self.assertEqual({'vm1', 'vm2'}, set(self.disks()))
        self.assertRaises(
            exceptions.CacheDisabled, manager.prefetch, self.image(image_id)
        )

    def test_images_that_share_the_start_of_their_ids(self) -> None:
        ids = [
            'aaaaaaaa-bbbb-4000-8000-000000000001',
            'aaaaaaaa-bbbb-4000-8000-000000000002',
            'AAAAAAAA-BBBB-4000-8000-000000000001',
        ]
        for seed, image_id in enumerate(ids):
            self.store_raw(2 * units.Mi, seed, id=image_id)
        manager = self.make_manager()
        outcomes = []
        for number in range(2):
            for place, image_id in enumerate(ids):
                name = f'vm{number}_{place}'
                done = manager.create_disk(self.image(image_id), name)
                outcomes.append(done.outcome)
                self.assert_holds(name, image_id, units.Mi)
        # Each has a disk name of its own.
        self.assertEqual(
            [instance_disk.Outcome.MISS] * 3 + [instance_disk.Outcome.HIT] * 3,
            outcomes,
        )

    def test_an_id_with_other_content(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(2 * units.Mi, 1)
        manager.create_disk(self.image(image_id), 'vm1')
        self.glance.replace_data(image_id, images.raw_bytes(units.Mi, 2))
        done = manager.create_disk(self.image(image_id), 'vm2')
        self.assertEqual(instance_disk.Outcome.MISS, done.outcome)
        self.assert_holds('vm2', image_id, units.Mi)
        self.assertEqual(
            instance_disk.Outcome.HIT,
            manager.create_disk(self.image(image_id), 'vm3').outcome,
        )
        self.assert_holds('vm3', image_id, units.Mi)

    def test_a_foreign_disk_has_the_name_of_the_base_image(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(2 * units.Mi)
        foreign = self.directory / 'foreign'
        foreign.write_bytes(b'not ours' * 1000)
        name = 'i_' + image_id.replace('-', '_')[:13]
        self.powervm.control.plant_disk(
            'cachevg', name, 2 * units.Gi, content=str(foreign)
        )
        for disk in ('vm1', 'vm2'):
            done = manager.create_disk(self.image(image_id), disk)
            self.assertEqual(instance_disk.Outcome.BYPASS, done.outcome)
            self.assertIn(name, done.reason)
            self.assert_holds(disk, image_id, units.Mi)
        base.assert_same_bytes(self, foreign, self.disks()[name])

    def test_an_untracked_base_image_is_replaced(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(2 * units.Mi)
        half = self.directory / 'half'
        half.write_bytes(
            self.glance.data_path(image_id).read_bytes()[: units.Mi]
        )
        name = 'i_' + image_id.replace('-', '_')[:13]
        self.powervm.control.plant_disk(
            'cachevg', name, units.Gi, content=str(half)
        )
        for disk, outcome in (
            ('vm1', instance_disk.Outcome.MISS),
            ('vm2', instance_disk.Outcome.HIT),
        ):
            done = manager.create_disk(self.image(image_id), disk)
            self.assertEqual(outcome, done.outcome)
            self.assert_holds(disk, image_id, units.Mi)

    def test_an_adopted_disk_is_served(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(2 * units.Mi)
        name = 'i_' + image_id.replace('-', '_')[:13]
        self.powervm.control.plant_disk(
            'cachevg',
            name,
            units.Gi,
            content=str(self.glance.data_path(image_id)),
        )
        self.assertEqual((name,), manager.reconcile().untracked)
        manager.adopt(self.image(image_id))
        self.assertEqual((), manager.reconcile().untracked)
        # The adoption inspects the header.
        self.glance.reset_downloads()
        done = manager.create_disk(self.image(image_id), 'vm1')
        self.assertEqual(instance_disk.Outcome.HIT, done.outcome)
        self.assert_holds('vm1', image_id, units.Mi)
        self.assertEqual(0, self.fetched())

    def test_a_deleted_base_image_is_fetched_again(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(2 * units.Mi)
        manager.create_disk(self.image(image_id), 'vm1')
        self.delete_as_a_stranger(manager.list()[0].disk_name)
        done = manager.create_disk(self.image(image_id), 'vm2')
        self.assertEqual(instance_disk.Outcome.MISS, done.outcome)
        self.assert_holds('vm2', image_id, units.Mi)

    def test_a_replaced_base_image_is_not_served(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(2 * units.Mi)
        manager.create_disk(self.image(image_id), 'vm1')
        name = manager.list()[0].disk_name
        self.delete_as_a_stranger(name)
        self.powervm.control.plant_disk('cachevg', name, units.Gi)
        done = manager.create_disk(self.image(image_id), 'vm2')
        self.assertEqual(instance_disk.Outcome.BYPASS, done.outcome)
        self.assert_holds('vm2', image_id, units.Mi)
        self.assertIn(name, self.disks())

    def delete_as_a_stranger(self, name: str) -> None:
        stranger = self.make_manager(
            self.write_conf(
                f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
                f'volume_group_name = cachevg\nenabled = false\n'
                f'state_path = {self.directory}/other',
                'stranger.conf',
            )
        )
        stranger.delete_disk(name)

    def test_too_small_a_disk(self) -> None:
        manager = self.make_manager()
        image_id = self.store(
            images.qcow2_bytes(3 * units.Gi, units.Mi), 'qcow2'
        )
        for _ in range(2):
            self.assertRaises(
                exceptions.DiskTooSmall,
                manager.create_disk,
                self.image(image_id),
                'vm1',
                2 * units.Gi,
            )
            self.assertNotIn('vm1', self.disks())
            manager.prefetch(self.image(image_id))

    def test_an_existing_disk_is_not_replaced(self) -> None:
        manager = self.make_manager()
        self.powervm.control.plant_disk('cachevg', 'vm1', units.Gi)
        image_id = self.store_raw(units.Mi)
        for _ in range(2):
            self.assertRaises(
                exceptions.DiskExists,
                manager.create_disk,
                self.image(image_id),
                'vm1',
            )
            manager.prefetch(self.image(image_id))
        self.assertEqual(2, len(self.disks()))

    def test_files_are_private(self) -> None:
        manager = self.make_manager()
        manager.create_disk(self.image(self.store_raw(1)), 'vm1')
        state = self.directory / 'state'
        for path in [state, *state.rglob('*')]:
            mode = path.stat().st_mode & 0o777
            expected = 0o750 if path.is_dir() else 0o640
            # Readers hold no lock, in no way.
            if (
                'locks' in path.parts
                or path.name.endswith('-shm')
                or path.name == 'catalog.id'
            ):
                expected &= 0o700
            self.assertEqual(expected, mode, path)

    def test_the_shell_shows_cached_images(self) -> None:
        image_id = self.store_raw(2 * units.Mi)
        for name in ('vm1', 'vm2'):
            done = self.run_shell(
                'disk', 'create', image_id, name, '-f', 'json'
            )
            self.assertEqual(0, done.returncode, done.stderr)
            self.assert_holds(name, image_id, units.Mi)
        self.assertEqual('hit', json.loads(done.stdout)['outcome'])
        listed = json.loads(self.run_shell('list', '-f', 'json').stdout)
        self.assertEqual(
            [(image_id, 'ready', 1)],
            [(row['ID'], row['State'], row['Hits']) for row in listed],
        )


class RoomTestCase(base.FunctionalTestCase):
    """Pools with little room; 3 GiB in all."""

    volume_groups = (simulator.Group('cachevg', 3),)

    def test_room_for_the_instance_disk_only(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(units.Mi)
        done = manager.create_disk(self.image(image_id), 'vm1', 3 * units.Gi)
        self.assertEqual(instance_disk.Outcome.BYPASS, done.outcome)
        self.assertIn('3 GiB free', done.reason)
        self.assert_holds('vm1', image_id, 3 * units.Gi)
        self.assertEqual([], list(manager.list()))

    def test_no_room_at_all(self) -> None:
        manager = self.make_manager()
        self.powervm.control.plant_disk('cachevg', 'other', 2 * units.Gi)
        image_id = self.store_raw(units.Mi)
        self.assertRaises(
            exceptions.NotEnoughSpace,
            manager.create_disk,
            self.image(image_id),
            'vm1',
            2 * units.Gi,
        )
        self.assertEqual({'other'}, set(self.disks()))
        self.assertEqual([], list(manager.list()))
