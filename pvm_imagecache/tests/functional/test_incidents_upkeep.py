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

"""Incidents of other image caches: whose is it, and how does it go away?

Each class is named after an incident, and says what happened where.
"""

from collections.abc import Callable
import logging
import sqlite3
from typing import Any
from unittest import mock

import fixtures
from oslo_utils import units
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import simulator
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers.ssp import image_unit
from pvm_imagecache.tests import images
from pvm_imagecache.tests.functional import incidents

SIZE = 3 * units.Mi + 17


class Incident05ReusedIdTestCase(incidents.IncidentTestCase):
    """An image's id came again with other content, and the old was served.

    OSSN-0075; nova-powervm's key was twelve digits of the id, which whoever
    makes an image may choose.
    """

    def replace(self, image_id: str, data: bytes) -> None:
        """Delete an image, purge the database, and create it anew."""
        self.glance.client().images.delete(image_id)
        for table in (
            'image_properties',
            'image_locations',
            'image_members',
            'image_tags',
        ):
            self.sql(f'DELETE FROM {table} WHERE image_id = ?', image_id)
        self.sql('DELETE FROM images WHERE id = ?', image_id)
        self.store(data, id=image_id)

    def test_an_id_is_used_again(self) -> None:
        image_id = self.store_raw(SIZE, 1)
        self.deploy(image_id, 'vm1')
        self.replace(image_id, images.raw_bytes(SIZE, 2))
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm2')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm3')
        )
        self.assert_cached(image_id)

    def test_it_is_used_again_during_a_deploy(self) -> None:
        image_id = self.store_raw(SIZE, 1)
        image = self.image(image_id)
        self.replace(image_id, images.raw_bytes(SIZE, 2))
        self.assertRaises(
            exceptions.ImageCorrupt, self.manager.create_disk, image, 'vm1'
        )
        self.assert_nothing_left()

    def test_it_is_used_again_with_another_format(self) -> None:
        data = images.qcow2_bytes(units.Gi, SIZE)
        image_id = self.store(data, 'qcow2')
        self.deploy(image_id, 'vm1')
        self.sql(
            'UPDATE images SET disk_format = ? WHERE id = ?', 'raw', image_id
        )
        # What is cached as qcow2 is not served as raw; nor do its bytes boot.
        self.assertRaises(
            exceptions.ImageFormatWrong, self.deploy, image_id, 'vm2'
        )
        self.sql(
            'UPDATE images SET disk_format = ? WHERE id = ?', 'qcow2', image_id
        )
        self.deploy(image_id, 'vm3')
        self.assertEqual(
            {'vm1': 'qcow2', 'vm3': 'qcow2'},
            {
                each['name']: each['file_format']
                for each in self.powervm.control.disks()
                if each['name'].startswith('vm')
            },
        )

    def test_two_share_what_the_name_keeps(self) -> None:
        one, two = (
            self.store_raw(
                SIZE, seed, id=f'12121212-3434-4000-8000-00000000000{seed}'
            )
            for seed in (1, 2)
        )
        self.assertEqual(
            naming.base_image_name(one), naming.base_image_name(two)
        )
        for image_id in (one, two):
            for outcome in ('miss', 'hit'):
                self.assertEqual(
                    outcome,
                    self.deploy(image_id, f'{outcome}_{image_id[-1]}').value,
                )
        self.assert_cached(one, two)


class Incident06ForeignDisksTestCase(incidents.IncidentTestCase):
    """A clean-up deleted files that it had not made.

    metal3 ironic-image #333.
    """

    def clean_up(self) -> None:
        """All there is that takes disks away."""
        self.manager.reconcile()
        self.run_shell('purge', '--all', '--yes')
        self.manager.purge(self.manager.list())
        self.manager.reconcile()

    def test_disks_that_are_called_as_ours(self) -> None:
        image_id = self.store_raw(SIZE)
        foreign = [
            self.plant(name)
            for name in (
                'i_aaaaaaaa_bbbb',
                'i_notes',
                'b_server_1234',
                'r_server_1234',
                'imagecache_1',
            )
        ]
        foreign.append(
            self.plant(naming.base_image_name(image_id), 2 * units.Gi)
        )
        self.deploy(self.store_raw(SIZE, 1), 'vm1')
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm2')
        )
        self.clean_up()
        for each in foreign:
            self.assert_untouched(each)
        self.assertEqual(len(foreign) + 2, len(self.disks()))

    def test_a_disk_in_the_place_of_a_cached_image(self) -> None:
        image_id = self.store_raw(SIZE)
        name = naming.base_image_name(image_id)
        for number, clean_up in enumerate(
            (
                lambda: self.manager.purge(self.manager.list()),
                self.manager.reconcile,
                self.clean_up,
            )
        ):
            self.assertEqual(
                instance_disk.Outcome.MISS,
                self.deploy(image_id, f'vm{number}'),
            )
            self.delete_as_a_stranger(name)
            foreign = self.plant(name, 2 * units.Gi)
            clean_up()
            self.assert_untouched(foreign)
            self.assertEqual(
                instance_disk.Outcome.BYPASS,
                self.deploy(image_id, f'other{number}'),
            )
            self.assert_untouched(foreign)
            self.delete_as_a_stranger(name)

    def test_a_disk_in_the_place_of_a_half_written_image(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        self.kill_in_the_middle(image_id, 'dead')
        name = naming.base_image_name(image_id)
        for disk in (name, 'dead'):
            self.delete_as_a_stranger(disk)
        foreign = [self.plant(name), self.plant('dead')]
        self.clean_up()
        for each in foreign:
            self.assert_untouched(each)

    def test_disks_in_the_place_of_what_a_dead_process_wanted(self) -> None:
        self.deploy(self.store_raw(SIZE, 1), 'vm1')
        image_id = self.store_raw(SIZE)
        self.powervm.control.add_fault(
            'latency', kind='VolumeGroup.update', seconds=600
        )
        seen = self.last_request()
        worker = self.start_worker(image_id, 'dead')
        self.wait_until(lambda: self.rows('VolumeGroup.update', seen))
        worker.kill()
        worker.wait()
        self.powervm.control.clear_faults()
        foreign = [
            self.plant(naming.base_image_name(image_id)),
            self.plant('dead'),
        ]
        self.clean_up()
        for each in foreign:
            self.assert_untouched(each)

    def test_a_disk_that_comes_between_reading_and_writing(self) -> None:
        image_id = self.store_raw(SIZE)
        self.in_between('between1', self.deploy, image_id, 'vm1')
        self.in_between('between2', self.deploy, image_id, 'vm2')
        self.in_between('between3', self.manager.purge, self.manager.list())
        self.in_between('between4', self.manager.delete_disk, 'vm1')
        self.assertEqual(
            {'vm2', 'between1', 'between2', 'between3', 'between4'},
            set(self.disks()),
        )

    def in_between(
        self, name: str, call: Callable[..., Any], *args: Any
    ) -> None:
        """Another client makes a disk while our update is on its way."""
        self.manager.usage()
        seen = self.last_request()
        self.powervm.control.add_fault(
            'latency', kind='VolumeGroup.update', count=1, seconds=0.5
        )
        done = self.thread(call, *args)
        self.wait_until(lambda: self.rows('VolumeGroup.update', seen))
        foreign = self.plant(name)
        self.assertIsNone(self.rows('VolumeGroup.update', seen)[0]['status'])
        done.result()
        self.assertEqual(
            412, self.rows('VolumeGroup.update', seen)[0]['status']
        )
        self.assert_untouched(foreign)

    def delete_as_a_stranger(self, name: str) -> None:
        self.other_manager(f'state_path = {self.directory}/other').delete_disk(
            name
        )


class Incident07StorageFullTestCase(incidents.IncidentTestCase):
    """Storage was full, and a deploy failed that would have fitted alone.

    nova-powervm needed room for the cached image first. Cinder has made a
    bypass of it from the start.
    """

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 3),
    )

    def test_room_for_the_disk_alone(self) -> None:
        image_id = self.store_raw(SIZE)
        self.assertEqual(
            instance_disk.Outcome.BYPASS,
            self.deploy(image_id, 'vm1', 3 * units.Gi),
        )
        self.assert_nothing_left('vm1')

    def test_the_platform_has_less_than_it_says(self) -> None:
        self.manager.usage()
        self.powervm.control.add_fault(
            'no_space', kind='VolumeGroup.update', count=1
        )
        image_id = self.store_raw(SIZE)
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm1')
        )
        self.assert_nothing_left('vm1')
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm2')
        )

    def test_what_does_not_fit_alone_fails_and_takes_nothing(self) -> None:
        image_id = self.store_raw(SIZE)
        self.assertRaises(
            exceptions.NotEnoughSpace,
            self.manager.create_disk,
            self.image(image_id),
            'vm1',
            4 * units.Gi,
        )
        self.assert_nothing_left()

    def test_a_prefetch_takes_no_more_than_there_is(self) -> None:
        foreign = self.plant('large', 3 * units.Gi)
        self.assertRaises(
            exceptions.NotEnoughSpace,
            self.manager.prefetch,
            self.image(self.store_raw(SIZE)),
        )
        self.assert_untouched(foreign)
        self.assert_nothing_left('large')


class Incident09UndeletableTestCase(incidents.IncidentTestCase):
    """One entry that could not be deleted stopped the clean-up of all.

    Or it filled the log at every pass: kubernetes #54440, #71869.
    """

    def test_a_purge_continues_past_an_undeletable_disk(self) -> None:
        stored = [self.store_raw(SIZE, seed) for seed in range(3)]
        for image_id in stored:
            self.manager.prefetch(self.image(image_id))
        stuck = self.manager.list()[0].image.id
        self.map_disk(naming.base_image_name(stuck))
        results = {
            each.base_image.image.id: each
            for each in self.manager.purge(self.manager.list())
        }
        self.assertEqual(
            {image_id: image_id != stuck for image_id in stored},
            {image_id: each.removed for image_id, each in results.items()},
        )
        self.assertIn('mapped', results[stuck].reason)
        self.assert_cached(stuck)
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy(stuck, 'vm1'))

    def test_a_cleanup_run_continues_past_an_undeletable_disk(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        self.kill_in_the_middle(image_id, 'dead')
        stuck = naming.base_image_name(image_id)
        partition = self.map_disk(stuck)
        found = self.manager.reconcile()
        self.assertEqual(('dead',), found.removed)
        self.assertEqual([stuck], [name for name, _ in found.failed])

        # From then on every pass does as much, and warns of it no more.
        passes = [self.look_at_a_pass() for _ in range(3)]
        self.assertEqual([passes[0]] * 3, passes)
        self.assertEqual('', passes[0][1])
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm1')
        )

        self.unmap_disk(partition)
        self.assertEqual((stuck,), self.manager.reconcile().removed)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm2')
        )

    def look_at_a_pass(self) -> tuple[list[str], str]:
        """The requests of a pass, and what it warned of."""
        seen = self.last_request()
        with fixtures.FakeLogger(level=logging.WARNING) as log:
            found = self.manager.reconcile()
        self.assertEqual(1, len(found.failed))
        return self.kinds_since(seen), log.output


class Incident14PruneDuringDownloadTestCase(incidents.IncidentTestCase):
    """A manual prune took the lease of a download that was in flight.

    moby #53335.
    """

    def setUp(self) -> None:
        super().setUp()
        self.flying_id = self.store_raw(incidents.HELD_SIZE, 1)
        self.cached_id = self.store_raw(SIZE, 2)
        self.manager.prefetch(self.image(self.cached_id))

    def test_purge_by_the_shell(self) -> None:
        with self.slow_glance():
            flying = self.thread(self.deploy, self.flying_id, 'vm1')
            self.hold_fetch(self.flying_id)
            done = self.run_shell('purge', '--all', '--yes')
            self.assertEqual(1, done.returncode)
            self.assertIn('kept: fetch or copy in progress', done.stdout)
            self.assertFalse(self.is_fetched(self.flying_id))
        self.assertEqual(instance_disk.Outcome.MISS, flying.result())
        self.assert_cached(self.flying_id)

    def test_a_cleanup_run_keeps_a_running_fetch(self) -> None:
        with self.slow_glance():
            flying = self.thread(self.deploy, self.flying_id, 'vm1')
            self.hold_fetch(self.flying_id)
            for manager in (self.manager, self.other_manager()):
                found = self.in_time(manager.reconcile)
                self.assertEqual(
                    ((), (), ()),
                    (found.removed, found.forgotten, found.failed),
                )
        self.assertEqual(instance_disk.Outcome.MISS, flying.result())
        self.assert_cached(self.flying_id, self.cached_id)

    def test_before_the_disk_is_there(self) -> None:
        self.manager.usage()
        seen = self.last_request()
        self.powervm.control.add_fault(
            'latency', kind='VolumeGroup.update', count=1, seconds=3
        )
        flying = self.thread(self.deploy, self.flying_id, 'vm1')
        self.wait_until(lambda: self.rows('VolumeGroup.update', seen))
        other = self.other_manager()
        found = other.reconcile()
        self.assertEqual(((), ()), (found.removed, found.forgotten))
        self.assertEqual(
            [False],
            [
                each.removed
                for each in other.purge([self.manager.find(self.flying_id)])
            ],
        )
        self.assertIsNone(self.rows('VolumeGroup.update', seen)[0]['status'])
        self.assertEqual(instance_disk.Outcome.MISS, flying.result())
        self.assert_cached(self.flying_id, self.cached_id)


class Incident19OlderReleaseTestCase(incidents.IncidentTestCase):
    """Entries of the older release had no checksum and became unusable.

    Longhorn #4085.
    """

    def test_what_was_cached_by_its_md5_alone(self) -> None:
        image_id = self.store_raw(SIZE)
        image = self.image(image_id)
        self.manager.create_disk(incidents.with_md5_only(image), 'vm1')
        self.assertIsNone(self.manager.list()[0].image.os_hash_value)
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2')
        )

    def test_nor_does_the_other_direction(self) -> None:
        image_id = self.store_raw(SIZE)
        self.deploy(image_id, 'vm1')
        done = self.manager.create_disk(
            incidents.with_md5_only(self.image(image_id)), 'vm2'
        )
        self.assertEqual(instance_disk.Outcome.HIT, done.outcome)
        self.assert_whole('vm2', image_id)

    def plant_old(self) -> tuple[str, str]:
        """What nova-powervm has cached: an image, and its disk's name."""
        image_id = self.store_raw(SIZE)
        name = naming.base_image_name(image_id)
        self.powervm.control.plant_disk(
            'cachevg',
            name,
            units.Gi,
            content=str(self.glance.data_path(image_id)),
        )
        self.assert_whole(name, image_id)
        return image_id, name

    def test_what_the_older_driver_cached(self) -> None:
        # Nothing tells whether it is whole: a new one takes its place.
        image_id, _ = self.plant_old()
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2')
        )
        self.assert_cached(image_id)
        self.assertEqual(3, len(self.disks()))

    def test_what_an_operator_knows_to_be_whole(self) -> None:
        image_id, name = self.plant_old()
        before = self.disks()[name]
        self.manager.adopt(self.image(image_id))
        # The adoption inspects the header.
        self.glance.reset_downloads()
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm1')
        )
        self.assertEqual([], self.downloads_of(image_id))
        self.assert_cached(image_id)
        self.assertEqual(before, self.disks()[name])

    def test_what_a_partition_has(self) -> None:
        image_id, name = self.plant_old()
        before = self.disks()[name]
        self.map_disk(name)
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm1')
        )
        self.assertRaises(
            exceptions.ImageNotAdoptable,
            self.manager.adopt,
            self.image(image_id),
        )
        self.manager.reconcile()
        self.assertEqual(before, self.disks()[name])


class Incident22PurgeByHandTestCase(incidents.IncidentTestCase):
    """A security fix asked operators to purge cached images by hand.

    There was no command for it: OSSA-2024-003, CVE-2024-32498.
    """

    def test_one_image_beside_a_running_service(self) -> None:
        bad, good = (self.store_raw(SIZE, seed) for seed in (1, 2))
        self.deploy(bad, 'vm1')
        self.deploy(good, 'vm2')
        (row,) = self.shell_json('purge', bad, '--yes')
        self.assertEqual((bad, 'purged'), (row['ID'], row['Result']))
        # The service takes notice, and no server loses its disk.
        self.assert_cached(good)
        self.assert_whole('vm1', bad)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy(bad, 'vm3'))

    def test_all_of_them(self) -> None:
        stored = [self.store_raw(SIZE, seed) for seed in (1, 2, 3)]
        for number, image_id in enumerate(stored):
            self.deploy(image_id, f'vm{number}')
        self.assertEqual(3, len(self.shell_json('purge', '--all', '--yes')))
        self.assert_nothing_left('vm0', 'vm1', 'vm2')
        for number, image_id in enumerate(stored):
            self.assert_whole(f'vm{number}', image_id)

    def test_such_images_are_not_let_in(self) -> None:
        image_id = self.store(images.qcow2_bytes(units.Gi), 'qcow2')
        self.glance.replace_data(
            image_id, images.qcow2_bytes(units.Gi, backing_file='/etc/passwd')
        )
        for call in (
            lambda: self.manager.prefetch(self.image(image_id)),
            lambda: self.manager.create_disk(self.image(image_id), 'vm1'),
        ):
            self.assertRaises(exceptions.ImageUnsafe, call)
            self.assert_nothing_left()


class Incident23BrokenRegistryTestCase(incidents.IncidentTestCase):
    """A broken registry file stopped the manager altogether.

    nova LP 1252659.
    """

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_raw(SIZE)
        self.deploy(self.image_id, 'vm1')
        self.path = self.directory / 'state' / 'catalog.sqlite'

    def restart(self, content: bytes) -> None:
        """Break the file while nothing runs; then the service starts."""
        self.manager.close()
        for path in self.path.parent.glob('catalog.sqlite*'):
            path.unlink()
        self.path.write_bytes(content)
        self.manager = self.make_manager()

    def goes_on(self) -> None:
        self.deploy(self.image_id, 'vm2')
        self.manager.reconcile()
        other_id = self.store_raw(SIZE, 2)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(other_id, 'vm3')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(other_id, 'vm4')
        )
        self.assertEqual(
            {self.image_id, other_id},
            {row['ID'] for row in self.shell_json('list')},
        )
        self.assert_cached(self.image_id, other_id)
        self.assert_whole('vm1', self.image_id)

    def test_a_catalog_of_garbage_is_replaced(self) -> None:
        self.restart(b'{"not": "what it was"}' * 500)
        self.goes_on()

    def test_an_empty_catalog_file_is_replaced(self) -> None:
        self.restart(b'')
        self.goes_on()

    def test_a_truncated_catalog_is_replaced(self) -> None:
        self.manager.close()
        whole = self.path.read_bytes()
        self.restart(whole[: len(whole) // 2])
        self.goes_on()

    def test_broken_under_the_running_service(self) -> None:
        for path in (self.path, self.path.with_name('catalog.sqlite-wal')):
            with path.open('r+b') as file:
                file.write(b'x' * path.stat().st_size)
        self.deploy(self.image_id, 'vm2')
        self.manager.close()
        self.manager = self.make_manager()
        self.manager.delete_disk('vm2')
        self.goes_on()

    def test_of_a_newer_release(self) -> None:
        self.manager.close()
        database = sqlite3.connect(self.path)
        database.execute('PRAGMA user_version = 99')
        database.close()
        kept = self.path.read_bytes()
        self.manager = self.make_manager()
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(self.image_id, 'vm2')
        )
        self.assertEqual(kept, self.path.read_bytes())
        done = self.run_shell('list')
        self.assertEqual(1, done.returncode)
        self.assertIn('Upgrade pvm_imagecache', done.stderr)

    def test_a_directory_as_catalog_is_bypassed(self) -> None:
        self.restart(b'')
        self.path.unlink()
        self.path.mkdir()
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(self.image_id, 'vm2')
        )
        self.assert_whole('vm1', self.image_id)


class Incident24GoneAlreadyTestCase(incidents.IncidentTestCase):
    """To remove what was gone already was an error.

    Glance c232ed7; nova LP 1261442.
    """

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_raw(SIZE)
        self.deploy(self.image_id, 'vm1')

    def test_two_purge_the_same(self) -> None:
        listed = self.manager.list()
        for manager in (self.manager, self.other_manager()):
            manager.purge(listed)
            self.assert_nothing_left('vm1')

    def test_the_disk_of_a_cached_image(self) -> None:
        self.delete_as_a_stranger(naming.base_image_name(self.image_id))
        (result,) = self.manager.purge(self.manager.list())
        self.assertEqual((True, ''), (result.removed, result.reason))
        self.assert_nothing_left('vm1')

    def test_a_cleanup_run_forgets_a_missing_image(self) -> None:
        name = naming.base_image_name(self.image_id)
        self.delete_as_a_stranger(name)
        found = self.manager.reconcile()
        self.assertEqual(
            ((name,), (), ()), (found.forgotten, found.removed, found.failed)
        )
        found = self.manager.reconcile()
        self.assertEqual(
            ((), (), ()), (found.forgotten, found.removed, found.failed)
        )

    def test_an_instance_disk(self) -> None:
        driver = self.manager.driver
        disk = driver.find_disk('vm1')
        assert disk is not None
        for _ in range(2):
            (removal,) = driver.delete_disks([disk])
            self.assertIsNone(removal.error)
        self.assertRaises(
            exceptions.DiskNotFound, self.manager.delete_disk, 'vm1'
        )

    def test_a_purge_tolerates_a_disk_deleted_meanwhile(self) -> None:
        # After the purge has looked, and before it acts.
        others = [self.store_raw(SIZE, seed) for seed in (2, 3)]
        for each in others:
            self.manager.prefetch(self.image(each))
        delete = self.manager.driver.delete_disks

        def later(disks: Any) -> Any:
            self.delete_as_a_stranger(naming.base_image_name(others[0]))
            return delete(disks)

        with mock.patch.object(self.manager.driver, 'delete_disks', later):
            results = self.manager.purge(self.manager.list())
        self.assertEqual([True] * 3, [each.removed for each in results])
        self.assert_nothing_left('vm1')

    def test_the_answer_of_a_deletion_is_lost(self) -> None:
        self.powervm.control.add_fault(
            'lose_answer', kind='VolumeGroup.update', count=1
        )
        (result,) = self.manager.purge(self.manager.list())
        self.assertTrue(result.removed)
        self.assert_nothing_left('vm1')

    def test_the_entry_of_an_upload(self) -> None:
        self.powervm.control.add_fault(
            'lose_answer', kind='File.delete', count=1
        )
        seen = self.last_request()
        with fixtures.FakeLogger(level=logging.WARNING) as log:
            self.deploy(self.store_raw(SIZE, 2), 'vm2')
        self.assertEqual(
            [None, 204, 404],
            sorted(
                (row['status'] for row in self.rows('File.delete', seen)),
                key=lambda status: status or 0,
            ),
        )
        self.assertNotIn('Could not delete', log.output)

    def delete_as_a_stranger(self, name: str) -> None:
        self.other_manager(f'state_path = {self.directory}/other').delete_disk(
            name
        )


class Incident27DeadMarkerTestCase(incidents.IncidentTestCase):
    """The upload marker of a dead host blocked an image in all the cluster.

    pypowervm waits for it to go away, on each host and for ever.
    """

    cluster = ('cluster1', 100.0)

    def setUp(self) -> None:
        super().setUp()
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\ndisk_driver = ssp\nfetch_timeout = 1\n'
        )
        self.manager = self.make_manager()
        self.image_id = self.store_raw(SIZE)
        self.useFixture(
            fixtures.MockPatchObject(image_unit, '_LOOK_INTERVAL', 0.05)
        )

    def die_in_the_middle(self) -> None:
        """Another host dies while it uploads the image to the pool."""
        self.powervm.control.add_fault(
            'stall_after_bytes',
            kind='File.upload',
            bytes=units.Mi,
            seconds=600,
        )
        worker = self.start_worker(self.image_id, 'dead')
        self.wait_until(lambda: self.rows('File.upload'))
        worker.kill()
        worker.wait()
        self.powervm.control.clear_faults()
        self.assertEqual(1, len(self.markers()))

    def markers(self) -> list[str]:
        return [name for name in self.disks() if name.startswith('part')]

    def test_deploys_go_on(self) -> None:
        self.die_in_the_middle()
        self.deploy(self.image_id, 'boot_1')

    def test_deploys_succeed_after_the_marker_is_removed(self) -> None:
        # As the documentation tells: the marker, and the half image.
        self.die_in_the_middle()
        (tier,) = pvm_storage.Tier.get(self.adapter())
        for unit in pvm_storage.LUEnt.search(
            self.adapter(),
            parent=tier,
            lu_type=pvm_storage.LUType.IMAGE,
        ):
            unit.delete()
        self.assertEqual(
            instance_disk.Outcome.POOL, self.deploy(self.image_id, 'boot_1')
        )
        self.assertEqual(
            instance_disk.Outcome.POOL, self.deploy(self.image_id, 'boot_2')
        )
        self.assertEqual(SIZE, self.downloads_of(self.image_id)[-1].bytes_sent)

    def test_a_failed_upload_leaves_no_marker(self) -> None:
        good = self.spoil(self.image_id, incidents.flip_last)
        self.assertRaises(
            exceptions.ImageCorrupt,
            self.manager.create_disk,
            self.image(self.image_id),
            'boot_1',
        )
        self.assertEqual({}, self.disks())
        self.glance.data_path(self.image_id).write_bytes(good)
        self.assertEqual(
            instance_disk.Outcome.POOL, self.deploy(self.image_id, 'boot_1')
        )


class Incident47OneVIOSIsDownTestCase(incidents.IncidentTestCase):
    """One of two VIOSes was down for an update, and nothing worked."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_raw(SIZE)
        second = self.powervm.control.add_vios('vios2')
        self.powervm.control.add_volume_group(
            second['uuid'], 'othervg', units.Gi
        )
        self.uuids = {
            each.name: each.uuid for each in pvm_vios.VIOS.get(self.adapter())
        }

    def _stop(self, vios: str, action: str = 'status', **kwargs: Any) -> None:
        self.powervm.control.add_fault(
            action,
            method='GET',
            path_regex=f'VirtualIOServer/{self.uuids[vios]}/VolumeGroup',
            **kwargs,
        )

    def test_the_cache_works_without_the_other_one(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        for fault in (
            {'status': 500, 'message': 'RMC connection is not active.'},
            {'status': 503},
            {'action': 'reset_before'},
        ):
            self._stop('vios2', **fault)
            manager = self.other_manager()
            name = f'vm{fault.get("status", 0)}'
            manager.create_disk(self.image(self.image_id), name)
            self.assert_holds(name, self.image_id, SIZE)
            self.powervm.control.clear_faults()
        self.assertIn('vios2', log.output)

    def test_those_that_do_not_answer_are_named(self) -> None:
        self._stop('vios1', status=500, message='RMC is not active.')
        error = self.assertRaises(
            exceptions.VolumeGroupNotVisible, self.other_manager().usage
        )
        self.assertTrue(error.transient)
        self.assertIn('did not answer: vios1', str(error))
        self.assertIn('othervg on vios2', str(error))
        self.assertIn('RMC is not active', str(error))

    def test_the_cause_is_reported_if_none_answers(self) -> None:
        for vios in self.uuids:
            self._stop(vios, status=500, message='Out of order.')
        error = self.assertRaises(
            exceptions.PowerVMRequestFailed, self.other_manager().usage
        )
        self.assertIn('Out of order', str(error))
