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

"""The conformance suite of the cache on a driver."""

from collections.abc import Iterable
import contextlib
import os
import tempfile
import threading
from typing import Final

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager
from pvm_imagecache import naming
from pvm_imagecache.catalog import facade
from pvm_imagecache.conf import types
from pvm_imagecache.conformance import cases
from pvm_imagecache.conformance import driver as driver_suite
from pvm_imagecache.conformance import images as images_module
from pvm_imagecache.conformance import process
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.system import locks

_Outcome = instance_disk.Outcome
#: Seconds to wait for threads.
_PATIENCE: Final = 60.0
_SIZE: Final = 3 * (1 << 20) + 17


class _Everything(eviction_base.EvictionPolicy):
    """Chooses all images."""

    api_version = eviction_base.API_VERSION

    @classmethod
    def from_conf(cls, conf: types.Conf) -> '_Everything':
        """Make the policy.

        :param conf: not used.
        :returns: the policy.
        """
        return cls()

    def choose(
        self, view: eviction_base.CacheView
    ) -> Iterable[eviction_base.Decision]:
        """Choose all images without a veto.

        :param view: the snapshot.
        :returns: a decision for each.
        """
        return [
            eviction_base.Decision(each.image_id, 'test', 'the test')
            for each in view.candidates()
        ]


class CacheConformance(driver_suite.DriverHarness):
    """Tests of the cache on a driver: a mixin for a ``TestCase``.

    It is used like :class:`DriverConformance`, with the same methods. The
    images are in memory. A driver that passes both suites can serve as the
    pool of a cache.
    """

    #: Seconds without progress after which a disk is given up.
    stall_timeout: float = 300

    def setUp(self) -> None:
        """Make the driver, a state directory, and an image."""
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        cases.case(self).addCleanup(directory.cleanup)
        self._state = directory.name
        self.images = images_module.MemoryImages()
        self.image = self.images.add(size=_SIZE)
        self.manager = self.make_manager(self.driver)
        before = {each.name for each in self.driver.snapshot().disks}
        cases.case(self).addCleanup(self._delete_all_but, before)

    def make_manager(
        self, driver: driver_base.DiskDriver, state: str = ''
    ) -> manager.ImageManager:
        """Return a manager of the pool, as a process of the host has it.

        :param driver: of the pool.
        :param state: path of the state directory; that of the test by
            default, as for a second process of the same host.
        :returns: the manager; the driver is not closed with it.
        """
        state = state or self._state
        return manager.ImageManager(
            driver,
            self.images,
            facade.Catalog(os.path.join(state, 'catalog.sqlite'), 'tester'),
            locks.LockDirectory(os.path.join(state, 'locks')),
            cache_module.Settings(
                minimum_age=0, stall_timeout=self.stall_timeout
            ),
            [pipeline.NamedPolicy('everything', _Everything())],
        )

    def _delete_all_but(self, before: set[str]) -> None:
        self.driver.delete_disks(
            [
                each
                for each in self.driver.snapshot().disks
                if each.name not in before
            ]
        )

    def _deploy(
        self,
        name: str,
        expected: _Outcome,
        image: image_module.Image | None = None,
        by: manager.ImageManager | None = None,
    ) -> driver_base.Disk:
        """Create a disk; check the outcome and every byte."""
        image = image or self.image
        done = (by or self.manager).create_disk(image, name)
        self._check_bytes(done.disk, image)
        cases.case(self).assertIs(
            expected,
            done.outcome,
            f'the deploy of {name} was a {done.outcome.value}, not a '
            f'{expected.value}: {done.reason or "no reason was given"}',
        )
        return done.disk

    def _check_bytes(
        self, disk: driver_base.Disk, image: image_module.Image
    ) -> None:
        content = self.images.content(image)
        cases.case(self).assertTrue(
            content == self.read(disk, len(content)),
            f'disk {disk.name} does not have the bytes of the image',
        )

    def _base_images(self) -> list[driver_base.Disk]:
        return [
            each
            for each in self.driver.snapshot().disks
            if naming.is_base_image_name(each.name)
        ]

    def _check_nothing_cached(self) -> None:
        cases.case(self).assertEqual(
            ([], []),
            (list(self.manager.list()), self._base_images()),
            'the base image and its record must be gone',
        )

    def test_a_miss_caches_the_image(self) -> None:
        """The first deploy fetches the image and caches it."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        (found,) = self.manager.list()
        (disk,) = self._base_images()
        cases.case(self).assertEqual(
            (found.disk_name, found.udid), (disk.name, disk.udid)
        )
        self._check_bytes(disk, self.image)

    def test_a_hit_reads_nothing_from_the_source(self) -> None:
        """The next deploys copy the base image."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        for number in range(2, 5):
            self._deploy(f'pvmic_d{number}', _Outcome.HIT)
        cases.case(self).assertEqual([self.image.id], self.images.downloads)

    def test_a_prefetched_image_is_a_hit(self) -> None:
        """A deploy after a prefetch is a hit."""
        cases.case(self).assertTrue(self.manager.prefetch(self.image).fetched)
        cases.case(self).assertFalse(self.manager.prefetch(self.image).fetched)
        self._deploy('pvmic_d1', _Outcome.HIT)

    def test_a_restarted_process_serves_hits(self) -> None:
        """What one process cached, others serve."""
        second = self.make_manager(self.second())
        self._deploy('pvmic_d1', _Outcome.MISS)
        self._deploy('pvmic_d2', _Outcome.HIT, by=second)
        cases.case(self).assertEqual([self.image.id], self.images.downloads)
        second.purge(second.list())
        self._check_nothing_cached()
        self._deploy('pvmic_d3', _Outcome.MISS)

    def test_an_evicted_image_frees_its_disk(self) -> None:
        """What the policies select is removed from the pool."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        done = self.manager.evict()
        cases.case(self).assertEqual(
            [True],
            [each.removed for each in done.results],
            'a base image must be removed when a policy selects it',
        )
        self._check_nothing_cached()
        self._deploy('pvmic_d2', _Outcome.MISS)

    def test_an_image_in_use_survives_purge_of_others(self) -> None:
        """A purge removes the named image and no other disk."""
        other = self.images.add('another', _SIZE)
        disks = [
            self._deploy('pvmic_d1', _Outcome.MISS),
            self._deploy('pvmic_d2', _Outcome.MISS, other),
        ]
        (found,) = [
            each
            for each in self.manager.list()
            if each.image.id == self.image.id
        ]
        self.manager.purge([found])
        cases.case(self).assertEqual(
            [other.id], [each.image.id for each in self.manager.list()]
        )
        for disk, image in zip(disks, (self.image, other), strict=True):
            self._check_bytes(disk, image)
        self._deploy('pvmic_d3', _Outcome.HIT, other)

    def test_a_copy_survives_its_base_image(self) -> None:
        """Instance disks do not depend on the base image."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        disk = self._deploy('pvmic_d2', _Outcome.HIT)
        self.manager.purge(self.manager.list())
        self._check_bytes(disk, self.image)

    def test_an_existing_disk_is_adopted(self) -> None:
        """A disk that was filled without the cache can be registered."""
        name = naming.base_image_name(self.image.id)
        (disk,) = self.driver.create_disks(
            [driver_base.NewDisk(name, self.image.size, 'raw')]
        )
        content = self.images.content(self.image)
        self.driver.upload(disk, iter([content]), len(content))
        adopted = self.manager.adopt(self.image)
        cases.case(self).assertEqual(
            (disk.name, disk.udid), (adopted.disk_name, adopted.udid)
        )
        self._deploy('pvmic_d1', _Outcome.HIT)

    def test_an_error_of_the_source_leaves_nothing(self) -> None:
        """A deploy whose image cannot be read leaves no disk."""

        def fail(image_id: str) -> None:
            if self.images.downloads.count(image_id):
                raise exceptions.ImageForbidden(image=image_id)

        before = self.driver.snapshot().disks
        self.images.before_piece = fail
        with contextlib.suppress(exceptions.PVMImageCacheError):
            self.manager.create_disk(self.image, 'pvmic_d1')
        self.images.before_piece = None
        cases.case(self).assertEqual(
            {each.name for each in before},
            {each.name for each in self.driver.snapshot().disks},
            'a deploy that failed must leave no disk',
        )
        self._deploy('pvmic_d1', _Outcome.MISS)

    def test_a_crowd_shares_one_download(self) -> None:
        """Deploys of one image at the same time share one download."""
        managers = [self.manager, self.make_manager(self.second())]
        errors: list[BaseException] = []

        def deploy(number: int) -> None:
            try:
                done = managers[number % 2].create_disk(
                    self.image, f'pvmic_d{number}'
                )
                self._check_bytes(done.disk, self.image)
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=deploy, args=(number,), daemon=True)
            for number in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join(_PATIENCE)
        for error in errors:
            raise error
        cases.case(self).assertEqual(
            [self.image.id],
            self.images.downloads,
            'deploys of one image at the same time must share one download',
        )
        cases.case(self).assertEqual(1, len(self.manager.list()))

    def test_a_crash_leaves_nothing_after_a_cleanup_run(self) -> None:
        """What a killed process leaves, the next cleanup run removes."""
        if self._options is None:
            cases.case(self).skipTest('define configure()')
        process.crash(self._options or {}, self._state, self.image.id, _SIZE)
        self.manager.run_cleanup(())
        self._check_nothing_cached()
        cases.case(self).assertEqual([], list(self.driver.upload_targets()))
        self._deploy('pvmic_d1', _Outcome.MISS)
        self._deploy('pvmic_d2', _Outcome.HIT)

    def test_a_cleanup_run_keeps_what_is_used(self) -> None:
        """A cleanup run keeps images in use, and reports no error."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        done = self.manager.run_cleanup([self.image.id])
        cases.case(self).assertEqual('', done.error_summary)
        self._deploy('pvmic_d2', _Outcome.HIT)

    def test_a_lost_base_image_is_fetched_again(self) -> None:
        """A base image that another client deleted is not served."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        self.driver.delete_disks(self._base_images())
        self._deploy('pvmic_d2', _Outcome.MISS)
        self._deploy('pvmic_d3', _Outcome.HIT)

    def test_a_mapped_base_image_is_not_removed(self) -> None:
        """A base image that a partition uses is kept."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        (disk,) = self._base_images()
        self.map(disk)
        self.manager.evict()
        cases.case(self).assertEqual(
            [disk],
            self._base_images(),
            'a base image that a partition uses must not be removed',
        )

    def test_a_full_pool_makes_room(self) -> None:
        """A deploy that finds no space evicts base images."""
        self._deploy('pvmic_d1', _Outcome.MISS)
        larger = self.driver.pool().free + 1
        self.manager.create_disk(
            self.images.add('another', _SIZE), 'pvmic_d3', larger
        )
        cases.case(self).assertEqual(
            [],
            [
                each
                for each in self._base_images()
                if each.name == naming.base_image_name(self.image.id)
            ],
            'a deploy that finds no space must evict base images',
        )

    def test_a_second_host_does_not_replace_base_images(self) -> None:
        """A base image of another catalog is detected by its label."""
        first = self._deploy('pvmic_d1', _Outcome.MISS)
        (disk,) = self._base_images()
        if disk.label in driver_base.NO_LABEL:
            return
        with tempfile.TemporaryDirectory() as state:
            other = self.make_manager(self.second(), state)
            self._deploy('pvmic_d2', _Outcome.BYPASS, by=other)
        cases.case(self).assertEqual([disk], self._base_images())
        self._check_bytes(first, self.image)
