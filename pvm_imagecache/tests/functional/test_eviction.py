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

"""Images that go by themselves, and room for deploys, on the simulator."""

from unittest import mock

from oslo_utils import units

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache import simulator
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import seams


class _Base(base.FunctionalTestCase):
    #: GiB of the volume group.
    room = 10

    def setUp(self) -> None:
        self.volume_groups = (simulator.Group('cachevg', self.room),)
        super().setUp()
        self.manager = self.make_manager()

    def deploy(
        self, image_id: str, name: str, gib: int = 0
    ) -> instance_disk.Outcome:
        """Make a disk, and compare all of it."""
        done = self.manager.create_disk(
            self.image(image_id), name, gib * units.Gi
        )
        self.assert_holds(name, image_id, gib * units.Gi)
        return done.outcome

    def plant_images(self, count: int) -> None:
        """Base images, as if they had been fetched."""
        driver, catalog = self.manager.driver, self.catalog()
        pool = driver.pool_id()
        planted = [
            image_module.Image(
                id=f'{number:08d}-0000-4000-8000-{number:012d}',
                name=f'image{number}',
                size=units.Mi,
                virtual_size=units.Mi,
                disk_format='raw',
                os_hash_algo='sha256',
                os_hash_value='0' * 64,
                checksum=None,
            )
            for number in range(count)
        ]
        records = [
            seams.start_fill(
                catalog, pool, naming.base_image_name(each.id), each
            )
            for each in planted
        ]
        disks = driver.create_disks(
            [
                driver_base.NewDisk(
                    record.disk_name,
                    units.Mi,
                    'raw',
                    seams.label_of(record),
                )
                for record in records
            ]
        )
        for record, disk in zip(records, disks, strict=True):
            seams.set_disk(catalog, record, disk)
            seams.finish_fill(catalog, record)

    def cached(self) -> list[str | None]:
        """The names of the cached images, and that they have disks."""
        records = self.manager.list()
        self.assertLessEqual(
            {each.disk_name for each in records}, set(self.disks())
        )
        return [each.image.name for each in records]


class WatermarkTestCase(_Base):
    """Forty images in a group that they fill to 95 %."""

    room = 42
    options = 'eviction_policies = watermark\nminimum_age = 0\n'

    def test_eviction_stops_at_the_low_watermark(self) -> None:
        self.plant_images(40)
        done = self.manager.run_cleanup()
        assert done.eviction
        # 80 % of 42 GiB are 33.6.
        self.assertEqual(7 * units.Gi, done.eviction.freed)
        self.assertEqual(
            [f'image{number}' for number in range(7, 40)], self.cached()
        )
        again = self.manager.run_cleanup()
        assert again.eviction
        self.assertEqual((), again.eviction.results)

    def test_pinned_images_and_images_in_use_are_kept(self) -> None:
        self.plant_images(40)
        ids = [each.image.id for each in self.manager.list()]
        self.manager.pin(ids[0])
        self.manager.run_cleanup(in_use=[ids[1]])
        self.assertEqual(
            [
                'image0',
                *(f'image{number}' for number in range(9, 40)),
                'image1',
            ],
            self.cached(),
        )
        self.assertLess(
            0,
            seams.images_in_use(self.catalog(), self.manager.driver.pool_id())[
                ids[1]
            ],
        )


class ManyTestCase(_Base):
    room = 600
    options = 'eviction_policies = age\nminimum_age = 0\n'

    def write_conf(self, *args: str, **kwargs: str) -> object:
        path = super().write_conf(*args, **kwargs)
        path.write_text(
            path.read_text() + '[pvm_imagecache_age]\nmax_age = 0\n'
        )
        return path

    #: The pool, the mappings, and one update.
    PASS = ('VolumeGroup.get', 'VirtualIOServer.get', 'VolumeGroup.update')

    def setUp(self) -> None:
        super().setUp()
        # The first pass of a new catalog looks for old uploads as well.
        self.manager.run_cleanup()

    def removed(self, done: seams.CleanupResult) -> int:
        assert done.eviction
        return len([each for each in done.eviction.results if each.removed])

    def test_one_update_evicts_500_images(self) -> None:
        self.plant_images(500)
        seen = self.last_request()
        done = self.manager.run_cleanup()
        self.assertEqual([*self.PASS], self.kinds_since(seen))
        self.assertEqual(500, self.removed(done))
        self.assertEqual({}, self.disks())
        seen = self.last_request()
        self.manager.run_cleanup()
        self.assertEqual(['VolumeGroup.get'], self.kinds_since(seen))

    def test_eviction_is_retried_after_a_foreign_update(self) -> None:
        self.plant_images(5)
        mapped = self.manager.driver.mapped

        def come_between(disks: object) -> object:
            self.powervm.control.plant_disk('cachevg', 'between', units.Gi)
            return mapped(disks)  # type: ignore[arg-type]

        seen = self.last_request()
        with mock.patch.object(self.manager.driver, 'mapped', come_between):
            done = self.manager.run_cleanup()
        self.assertEqual(5, self.removed(done))
        self.assertEqual(['between'], list(self.disks()))
        self.assertEqual(
            [*self.PASS, 'VolumeGroup.get', 'VolumeGroup.update'],
            self.kinds_since(seen),
        )

    def test_a_concurrent_eviction_is_tolerated(self) -> None:
        self.plant_images(5)
        other = self.make_manager()
        reconcile = reconciler.reconcile
        seen: list[int] = []

        def come_between(parts: cache_module.Cache) -> object:
            found = reconcile(parts)
            other.purge(other.list()[:2])
            seen.append(self.last_request())
            return found

        with mock.patch.object(reconciler, 'reconcile', come_between):
            done = self.manager.run_cleanup()
        self.assertEqual(3, self.removed(done))
        self.assertEqual('VolumeGroup.get', self.kinds_since(seen[0])[0])
        self.assertEqual({}, self.disks())

    def test_stale_uploads_are_looked_for_once(self) -> None:
        self.powervm.control.add_fault('status', kind='File.delete')
        with mock.patch.object(powervm, 'RETRY_DELAYS', (0, 0)):
            self.manager.prefetch(self.image(self.store_raw(units.Mi)))
        self.powervm.control.clear_faults()
        self.assertEqual(1, self.file_entries())
        self.manager.pin(self.manager.list()[0].image.id)
        # Whoever comes first tidies up.
        self.make_manager().run_cleanup()
        self.assertEqual(0, self.file_entries())
        # It does not know that yet.
        self.manager.run_cleanup()
        seen = self.last_request()
        self.manager.run_cleanup()
        self.assertEqual([*self.PASS[:2]], self.kinds_since(seen))


class RoomTestCase(_Base):
    """A deploy that needs what the cache has taken."""

    room = 40
    options = 'minimum_age = 0\n'

    def test_30_gib_of_the_least_recently_used(self) -> None:
        self.plant_images(40)
        image_id = self.store_raw(units.Mi)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1', 30)
        )
        self.assertEqual(
            [f'image{number}' for number in range(31, 40)], self.cached()[:-1]
        )

    def test_no_more_than_is_needed_without_the_cache(self) -> None:
        self.plant_images(40)
        image_id = self.store_raw(units.Mi)
        # With its base image the deploy would need 41.
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm1', 40)
        )
        self.assertEqual([], self.cached())

    def test_a_hit_evicts_only_for_missing_space(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.deploy(image_id, 'vm0')
        self.plant_images(38)
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm1')
        )
        self.assertEqual(38, len(self.cached()))
        # There is room for it when all others go, and not otherwise.
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2', 37)
        )
        self.assertEqual(1, len(self.cached()))

    def test_the_own_base_image_is_evicted_last(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.deploy(image_id, 'vm0')
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm1', 39)
        )
        self.assertEqual([], self.cached())

    def test_a_pinned_image_is_kept_though_the_deploy_fails(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.manager.prefetch(self.image(image_id))
        self.manager.pin(image_id)
        self.assertRaises(
            exceptions.NotEnoughSpace, self.deploy, image_id, 'vm1', 40
        )
        self.assertEqual(1, len(self.cached()))
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm1', 39)
        )

    def test_an_image_in_use_is_evicted_before_a_deploy_fails(self) -> None:
        self.plant_images(40)
        self.manager.run_cleanup(
            [each.image.id for each in self.manager.list()]
        )
        self.assertEqual(40, len(self.cached()))
        image_id = self.store_raw(units.Mi)
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm1', 3)
        )
        self.assertEqual(37, len(self.cached()))


class NothingByItselfTestCase(_Base):
    """The operator has said that images stay."""

    room = 2
    options = 'eviction_policies = none\nminimum_age = 0\n'

    def test_no_room_is_made(self) -> None:
        self.plant_images(2)
        image_id = self.store_raw(units.Mi)
        self.assertRaises(
            exceptions.NotEnoughSpace, self.deploy, image_id, 'vm1'
        )
        self.assertEqual(2, len(self.cached()))


class FairUseTestCase(_Base):
    """A user deploys many images, beside images that others deploy."""

    room = 8
    options = 'max_gib = 3\nminimum_age = 0\n'

    def deploy_once(self, image_id: str) -> str:
        self.names = getattr(self, 'names', 0) + 1
        name = f'vm{self.names}'
        outcome = self.deploy(image_id, name)
        self.manager.delete_disk(name)
        return outcome.value

    def test_popular_images_survive_those_that_are_deployed_once(self) -> None:
        popular = [self.store_raw(units.Mi, seed) for seed in (1, 2)]
        for image_id in popular * 3:
            self.deploy_once(image_id)
        for seed in range(10, 16):
            self.assertEqual('miss', self.deploy_once(self.store(b'x' * seed)))
            self.assertLessEqual(self.manager.usage().cached, 3 * units.Gi)
        tiny = self.store(b'tiny')
        for _ in range(4):
            self.deploy_once(tiny)
        for image_id in popular:
            self.assertEqual('hit', self.deploy_once(image_id))

    def test_a_full_pool_is_shared_in_the_same_way(self) -> None:
        self.manager = self.make_manager(
            self.write_conf(
                self.conf_file.read_text()
                .split('[glance]')[0]
                .split('\n', 2)[2]
                .replace('max_gib = 3\n', ''),
                'unlimited.conf',
            )
        )
        popular = [self.store_raw(units.Mi, seed) for seed in range(7)]
        for image_id in popular * 3:
            self.deploy_once(image_id)
        for seed in range(10, 16):
            self.deploy_once(self.store(b'x' * seed))
        self.manager.run_cleanup(())
        for image_id in popular:
            self.assertEqual('hit', self.deploy_once(image_id))

    def test_a_lowered_limit_applies_at_the_next_cleanup_run(self) -> None:
        for seed in range(3):
            self.manager.prefetch(self.image(self.store_raw(units.Mi, seed)))
        self.conf_file.write_text(
            self.conf_file.read_text().replace('max_gib = 3', 'max_gib = 1')
        )
        self.make_manager().run_cleanup(())
        self.assertEqual(1, len(self.manager.list()))
        done = self.run_shell('history', '--action', 'evict', '-f', 'json')
        self.assertIn('the cache is larger than max_gib, 1 GiB', done.stdout)


class QuarantineTestCase(_Base):
    """A base image that a partition was given."""

    def test_a_quarantined_image_is_not_served(self) -> None:
        image_id = self.store_raw(2 * units.Mi)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        name = self.manager.list()[0].disk_name
        self.map_disk(self.manager, name)
        results = self.manager.purge(self.manager.list())
        self.assertIn('mapped', results[0].reason)
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm2')
        )

        found = self.manager.run_cleanup().reconciliation
        self.assertEqual([name], [each for each, _ in found.quarantined])
        with open(self.disks()[name], 'r+b') as file:
            file.write(b'by the partition')
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(image_id, 'vm3')
        )
        self.manager.run_cleanup()
        self.assertIs(models.State.QUARANTINED, self.manager.list()[0].state)

        self.unmap_disk(self.manager, name)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm4')
        )
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(image_id, 'vm5')
        )
        self.assertEqual(
            (), self.manager.run_cleanup().reconciliation.quarantined
        )

    def test_a_cleanup_run_removes_a_quarantined_image(self) -> None:
        image_id = self.store_raw(2 * units.Mi)
        self.deploy(image_id, 'vm1')
        name = self.manager.list()[0].disk_name
        self.map_disk(self.manager, name)
        self.manager.run_cleanup()
        self.unmap_disk(self.manager, name)
        self.assertEqual(
            (name,), self.manager.run_cleanup().reconciliation.removed
        )
        self.assertEqual(['vm1'], list(self.disks()))
