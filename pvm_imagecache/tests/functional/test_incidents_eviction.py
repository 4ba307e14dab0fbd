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

"""Incidents of other image caches: what is removed by itself, and when.

Each class is named after an incident, and says what happened where.
"""

from collections.abc import Iterable
import contextlib
import logging
import sqlite3
import time
import types
from typing import Any
from unittest import mock

import fixtures
from keystoneauth1 import _fair_semaphore
from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache import simulator
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.eviction import age
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.functional import incidents

SIZE = units.Mi + 17
HOUR = 3600.0
DAY = 24 * HOUR

#: A catalog as the first release made it.
_FIRST_RELEASE = """
CREATE TABLE base_images (
    pool TEXT NOT NULL, disk_name TEXT NOT NULL, image_id TEXT NOT NULL,
    image_name TEXT, size INTEGER NOT NULL, virtual_size INTEGER,
    disk_format TEXT NOT NULL, os_hash_algo TEXT, os_hash_value TEXT,
    checksum TEXT, state TEXT NOT NULL, lease TEXT NOT NULL,
    holder TEXT NOT NULL, udid TEXT, capacity INTEGER,
    bytes_done INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL,
    progress_at REAL NOT NULL, ready_at REAL, last_used_at REAL,
    hits INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (pool, disk_name)
);
CREATE INDEX base_images_by_image ON base_images (pool, image_id);
CREATE TABLE instance_disks (
    pool TEXT NOT NULL, disk_name TEXT NOT NULL, size INTEGER NOT NULL,
    lease TEXT NOT NULL, holder TEXT NOT NULL, udid TEXT,
    started_at REAL NOT NULL, PRIMARY KEY (pool, disk_name)
);
CREATE TABLE history (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, pool TEXT NOT NULL,
    action TEXT NOT NULL, image_id TEXT, disk_name TEXT,
    bytes_fetched INTEGER, bytes_saved INTEGER, seconds REAL,
    who TEXT NOT NULL, detail TEXT
);
CREATE TABLE totals (
    pool TEXT NOT NULL, action TEXT NOT NULL, times INTEGER NOT NULL,
    bytes_fetched INTEGER NOT NULL, bytes_saved INTEGER NOT NULL,
    PRIMARY KEY (pool, action)
);
PRAGMA user_version = 1;
"""
_FIRST_COLUMNS = (
    'pool, disk_name, image_id, image_name, size, virtual_size,'
    ' disk_format, os_hash_algo, os_hash_value, checksum, state, lease,'
    ' holder, udid, capacity, bytes_done, created_at, progress_at,'
    ' ready_at, last_used_at, hits'
)


def _options(policies: str, **options: dict[str, Any]) -> str:
    """The configuration of policies, without a least age."""
    return f'eviction_policies = {policies}\nminimum_age = 0\n' + ''.join(
        f'\n[pvm_imagecache_{name}]\n'
        + ''.join(f'{key} = {value}\n' for key, value in values.items())
        for name, values in options.items()
    )


AGE = _options('age', age={'max_age': 3600})


class EvictionTestCase(incidents.IncidentTestCase):
    """Images of 1 GiB each on the pool, and clocks that can be set."""

    options = AGE

    def setUp(self) -> None:
        self.passed = self.stepped = 0.0
        self.clock = boot_clock.uptime, time.time
        super().setUp()
        self.useFixture(
            fixtures.MockPatchObject(
                boot_clock, 'uptime', lambda: self.clock[0]() + self.passed
            )
        )
        self.useFixture(
            fixtures.MockPatchObject(
                time, 'time', lambda: self.clock[1]() + self.stepped
            )
        )

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.passed += seconds
        self.stepped += seconds

    def step_clock(self, seconds: float) -> None:
        """Set the clock of the host, as ntpd or an operator does."""
        self.stepped += seconds

    def cache(self, *seeds: int) -> list[str]:
        """Have images cached, one after another."""
        stored = []
        for seed in seeds:
            stored.append(self.store_raw(SIZE, seed))
            self.manager.prefetch(self.image(stored[-1]))
            self.later(1)
        return stored

    def restart(self, options: str | None = None) -> None:
        """Stop the service, and start it again."""
        self.manager.close()
        if options is not None:
            self.conf_file = self.conf_with(options, 'test.conf')
        self.manager = self.make_manager()

    def cached(self) -> set[str]:
        return {each.image.id for each in self.manager.list()}

    def evicted_by(self, in_use: Iterable[str] | None = ()) -> set[str]:
        """The images that a pass removes."""
        before = self.cached()
        self.manager.run_cleanup(in_use)
        self.assert_cached(*(left := self.cached()))
        self.assertEqual(
            left,
            {
                each.image.id
                for each in self.manager.list()
                if each.disk_name in self.disks()
            },
        )
        return before - left


class Incident04UsedWhileEvictedTestCase(EvictionTestCase):
    """An image was removed between the check and its use.

    nova LP 1256838, 1470437, 1273556, whose first mend was reverted.
    """

    def test_an_image_evicted_before_its_copy_is_fetched_again(self) -> None:
        (image_id,) = self.cache(1)
        other = self.other_manager()
        copy_disk = self.manager.driver.copy_disk

        def too_late(*args: Any) -> Any:
            self.assertTrue(other.purge(other.list())[0].removed)
            return copy_disk(*args)

        with mock.patch.object(self.manager.driver, 'copy_disk', too_late):
            self.assertEqual(
                instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
            )
        self.assert_cached(image_id)

    def test_a_copy_during_an_eviction_is_whole(self) -> None:
        # The deploy reads the volume group, and sees the disk; meanwhile
        # another process marks it, and waits for its turn to delete it.
        (image_id,) = self.cache(1)
        other = self.other_manager()
        listed = other.list()
        other.usage()
        seen = self.last_request()
        self.powervm.control.add_fault(
            'latency', kind='VolumeGroup.get', count=1, seconds=1
        )
        deploy = self.thread(self.deploy, image_id, 'vm1')
        self.wait_until(lambda: self.rows('VolumeGroup.get', seen))
        purge = self.thread(other.purge, listed)
        self.wait_until(
            lambda: (
                (record := self.record(image_id)) is None
                or record.state.value != 'ready'
            )
        )
        self.assertIsNone(self.rows('VolumeGroup.get', seen)[0]['status'])
        self.assertEqual([True], [each.removed for each in purge.result()])
        self.assertEqual(instance_disk.Outcome.MISS, deploy.result())
        self.assert_cached(image_id)

    def test_an_image_used_after_its_selection_is_kept(self) -> None:
        old, other_id = self.cache(1, 2)
        self.later(2 * HOUR)
        choose = age.AgePolicy.choose

        def slow(policy: age.AgePolicy, view: Any) -> Any:
            chosen = list(choose(policy, view))
            self.assertEqual(2, len(chosen))
            self.assertEqual(
                instance_disk.Outcome.HIT, self.deploy(old, 'vm1')
            )
            return chosen

        with mock.patch.object(age.AgePolicy, 'choose', slow):
            self.assertEqual({other_id}, self.evicted_by())
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy(old, 'vm2'))

    def test_deploys_beside_evictions(self) -> None:
        self.restart(_options('age', age={'max_age': 0}))
        (image_id,) = self.cache(1)
        others = self.other_manager(_options('age', age={'max_age': 0}))
        names = [f'vm{number}' for number in range(6)]
        deploys = [self.thread(self.deploy, image_id, name) for name in names]
        while not all(each.done() for each in deploys):
            others.run_cleanup([])
        outcomes = {each.result() for each in deploys}
        self.assertLessEqual(
            outcomes,
            {
                instance_disk.Outcome.HIT,
                instance_disk.Outcome.MISS,
                instance_disk.Outcome.BYPASS,
            },
        )
        for name in names:
            self.assert_whole(name, image_id)
        self.assert_cached(*self.cached())


class Incident07StorageFullOfCachedImagesTestCase(EvictionTestCase):
    """Storage was full of cached images, and a deploy failed for it."""

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 4),
    )
    options = _options('watermark')

    def test_they_make_room(self) -> None:
        first, second, third = self.cache(1, 2, 3)
        new = self.store_raw(SIZE, 4)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(new, 'vm1', 2 * units.Gi)
        )
        self.assert_cached(third, new)

    def test_nothing_is_evicted_that_would_not_help(self) -> None:
        # Not even all of them would be enough to cache the image as well.
        stored = self.cache(1, 2, 3)
        self.plant('other')
        new = self.store_raw(SIZE, 4)
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(new, 'vm1', 3 * units.Gi)
        )
        self.assert_cached()
        self.assertEqual({'other', 'vm1'}, set(self.disks()))
        self.assertEqual(3, len(stored))

    def test_not_more_than_is_needed(self) -> None:
        # A policy chooses all of them; one is enough.
        self.restart(_options('age,watermark', age={'max_age': 60}))
        first, *others = self.cache(1, 2, 3)
        self.later(HOUR)
        new = self.store_raw(SIZE, 4)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy(new, 'vm1'))
        self.assert_cached(*others, new)

    def test_an_image_in_use_is_evicted_before_a_deploy_fails(self) -> None:
        stored = self.cache(1, 2, 3)
        self.manager.run_cleanup(stored)
        new = self.store_raw(SIZE, 4)
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy(new, 'vm1'))
        self.assert_cached(*stored)
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy(new, 'vm2'))
        self.assertEqual(2, len(self.cached()))
        self.assert_cached(*self.cached())

    def test_a_pinned_image_is_kept(self) -> None:
        stored = self.cache(1, 2, 3)
        for each in stored:
            self.manager.pin(each)
        new = self.store_raw(SIZE, 4)
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy(new, 'vm1'))
        self.assertRaises(
            exceptions.NotEnoughSpace,
            self.manager.create_disk,
            self.image(new),
            'vm2',
        )
        self.assert_cached(*stored)
        self.assertEqual(4, len(self.disks()))

    def test_without_policies_nothing_is_evicted(self) -> None:
        self.restart(_options('none'))
        stored = self.cache(1, 2, 3)
        new = self.store_raw(SIZE, 4)
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy(new, 'vm1'))
        self.assert_cached(*stored)


class Incident09UndeletableByAPassTestCase(EvictionTestCase):
    """One image that could not be deleted stopped the clean-up of all.

    Or it filled the log at every pass: kubernetes #54440, #71869.
    """

    def test_a_mapped_image_is_kept_until_unmapped(self) -> None:
        stored = self.cache(1, 2, 3)
        stuck = stored[1]
        partition = self.map_disk(naming.base_image_name(stuck))
        self.later(2 * HOUR)
        self.assertEqual({stored[0], stored[2]}, self.evicted_by())
        # What a partition can change is served no more.
        self.assertEqual(
            instance_disk.Outcome.BYPASS, self.deploy(stuck, 'vm1')
        )
        self.manager.run_cleanup([])
        self.says_no_more_of(stuck)

        self.unmap_disk(partition)
        self.manager.run_cleanup([])
        self.assert_nothing_left('vm1')
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy(stuck, 'vm2'))

    def says_no_more_of(self, stuck: str) -> None:
        """Each pass does the same, and warns of nothing again."""
        passes = []
        for _ in range(3):
            seen = self.last_request()
            with fixtures.FakeLogger(level=logging.WARNING) as log:
                self.manager.run_cleanup([])
            passes.append((self.kinds_since(seen), log.output))
        self.assertEqual([passes[0]] * 3, passes)
        self.assertEqual('', passes[0][1])
        self.assert_cached(stuck)

    def test_the_platform_never_deletes_it(self) -> None:
        (stuck,) = self.cache(1)
        self.later(2 * HOUR)
        self.powervm.control.add_fault(
            'status', kind='VolumeGroup.update', status=500
        )
        with fixtures.FakeLogger(level=logging.WARNING) as log:
            self.assertEqual(set(), self.evicted_by())
        self.assertIn(stuck[:8], log.output)
        self.says_no_more_of(stuck)
        self.powervm.control.clear_faults()
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy(stuck, 'vm1'))

    def test_the_platform_refuses_to_delete(self) -> None:
        stored = self.cache(1, 2, 3)
        self.later(2 * HOUR)
        # All at once, and then the first of them alone.
        self.powervm.control.add_fault(
            'status', kind='VolumeGroup.update', count=2, status=500
        )
        self.assertEqual(2, len(self.evicted_by()))
        (left,) = self.cached()
        self.assertIn(left, stored)
        self.assertEqual({left}, self.evicted_by())


class Incident10ForgottenAgesTestCase(EvictionTestCase):
    """A restart forgot the ages, and everything unused went at once.

    kubernetes #119642, #119711.
    """

    def setUp(self) -> None:
        super().setUp()
        (self.old,) = self.cache(1)
        self.later(HOUR / 2)
        (self.new,) = self.cache(2)

    def ages_are_kept(self) -> None:
        self.assertEqual(set(), self.evicted_by())
        self.later(HOUR / 2)
        self.assertEqual({self.old}, self.evicted_by())
        self.later(HOUR / 2)
        self.assertEqual({self.new}, self.evicted_by())

    def test_the_service_is_restarted(self) -> None:
        self.restart()
        self.ages_are_kept()

    def test_the_host_is_restarted(self) -> None:
        # The time for which it was down is nobody's fault.
        self.manager.usage()
        self.reboot(10 * DAY)
        self.ages_are_kept()

    def test_the_first_pass_comes_late_after_that(self) -> None:
        self.manager.usage()
        self.reboot(DAY)
        self.later(HOUR / 2)
        self.assertEqual({self.old}, self.evicted_by())

    def test_it_is_restarted_with_a_wrong_clock(self) -> None:
        for wrong in (10 * DAY, -20 * DAY):
            self.reboot(wrong)
            self.assertEqual(set(), self.evicted_by())

    def reboot(self, down: float) -> None:
        self.manager.run_cleanup([])
        self.manager.close()
        self.step_clock(down)
        self.passed = 5 - self.clock[0]()
        self.useFixture(
            fixtures.MockPatchObject(
                boot_clock, 'boot', lambda boot=f'boot {down}': boot
            )
        )
        self.manager = self.make_manager()

    def test_an_upgrade_keeps_the_ages_of_images(self) -> None:
        self.manager.close()
        self.as_the_first_release_wrote_it(
            self.directory / 'state' / 'catalog.sqlite'
        )
        self.manager = self.make_manager()
        self.assertEqual(set(), self.evicted_by())
        self.later(HOUR / 2)
        self.assertEqual({self.old}, self.evicted_by())
        self.assertEqual(
            instance_disk.Outcome.HIT, self.deploy(self.new, 'vm1')
        )

    @staticmethod
    def as_the_first_release_wrote_it(path: Any) -> None:
        new = sqlite3.connect(path)
        columns = _FIRST_COLUMNS.replace('lease', 'fill_id').replace(
            'progress_at', 'created_at'
        )
        rows = new.execute(f'SELECT {columns} FROM base_images')
        found = rows.fetchall()
        new.close()
        for each in path.parent.glob(path.name + '*'):
            each.unlink()
        old = sqlite3.connect(path)
        old.executescript(_FIRST_RELEASE)
        marks = ', '.join('?' * len(found[0]))
        old.executemany(f'INSERT INTO base_images VALUES ({marks})', found)
        old.commit()
        old.close()


class Incident11LowMarkIgnoredTestCase(EvictionTestCase):
    """Above the high mark everything went; the low mark was ignored.

    kubernetes #92925.
    """

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 10),
    )
    options = _options('watermark', watermark={'high': 80, 'low': 60})

    def test_down_to_the_low_mark(self) -> None:
        foreign = self.plant('other', 3 * units.Gi)
        stored = self.cache(1, 2, 3, 4, 5)
        # 8 of 10 GiB: the high mark is not passed yet.
        self.assertEqual(set(), self.evicted_by())
        self.deploy(stored[0], 'vm1')
        # The oldest has just been used.
        self.assertEqual(set(stored[1:4]), self.evicted_by())
        self.assert_untouched(foreign)
        self.assert_whole('vm1', stored[0])
        # Between the marks nothing happens.
        stored += self.cache(6)
        self.assertEqual(set(), self.evicted_by())


class Incident12LimitsTestCase(EvictionTestCase):
    """Limits: only one of two set, none set, an image above the limit.

    Cinder LP 1792944, 1701696; Glance LP 1039854.
    """

    def limit(self, **limits: int) -> None:
        self.restart(_options('lru', lru=limits))

    def test_only_the_number(self) -> None:
        self.limit(max_images=2)
        stored = self.cache(1, 2, 3, 4)
        self.assertEqual(set(stored[:2]), self.evicted_by())

    def test_only_the_size(self) -> None:
        self.limit(max_gib=3)
        stored = self.cache(1, 2, 3, 4)
        self.assertEqual(set(stored[:1]), self.evicted_by())

    def test_each_of_two_limits_applies(self) -> None:
        self.limit(max_images=3, max_gib=1)
        stored = self.cache(1, 2, 3, 4)
        self.assertEqual(set(stored[:3]), self.evicted_by())
        self.limit(max_images=1, max_gib=100)
        stored = stored[3:] + self.cache(5, 6)
        self.assertEqual(set(stored[:2]), self.evicted_by())

    def test_no_limit_evicts_no_image(self) -> None:
        self.limit()
        self.cache(1, 2, 3, 4)
        self.assertEqual(set(), self.evicted_by())

    def test_an_image_above_the_limit(self) -> None:
        # It is of use for deploys at the same time, then it goes, and the
        # small one, which is within the limit, has no reason to.
        self.limit(max_gib=1)
        (small,) = self.cache(1)
        (large,) = self.cache(2)
        with contextlib.closing(
            sqlite3.connect(self.directory / 'state' / 'catalog.sqlite')
        ) as catalog:
            catalog.execute(
                'UPDATE base_images SET capacity = ? WHERE image_id = ?',
                (2 * units.Gi, large),
            )
            catalog.commit()
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy(large, 'vm1'))
        # A pass would notice that the disk is not what the record says.
        self.assertEqual(
            [large],
            [
                each.base_image.image.id
                for each in self.manager.evict().results
                if each.removed
            ],
        )
        self.assertEqual((), self.manager.evict().results)
        self.assert_cached(small)


class Incident13LostPinTestCase(EvictionTestCase):
    """Pinned images were collected, as the flag was lost on the way.

    kubernetes #120055.
    """

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 10),
    )
    options = _options(
        'age,lru,watermark',
        age={'max_age': 60},
        lru={'max_images': 1},
        watermark={'high': 10, 'low': 0},
    )

    def setUp(self) -> None:
        super().setUp()
        self.pinned, self.other = self.cache(1, 2)
        self.manager.pin(self.pinned, 'needed')

    def stays(self) -> None:
        self.later(DAY)
        self.assertNotIn(
            self.pinned,
            {
                each.image.image_id
                for each in self.manager.evict(dry_run=True).plan.choices
            },
        )
        self.assertNotIn(self.pinned, self.evicted_by())
        self.manager.purge(self.manager.list())
        self.assert_cached(self.pinned)

    def test_a_pin_survives_cleanup_runs_and_purges(self) -> None:
        self.later(DAY)
        self.assertEqual({self.other}, self.evicted_by())
        self.stays()
        self.run_shell('purge', '--all', '--yes')
        self.run_shell('evict')
        self.assert_cached(self.pinned)

    def test_a_pin_survives_a_use(self) -> None:
        self.deploy(self.pinned, 'vm1')
        self.stays()

    def test_after_a_restart(self) -> None:
        self.restart()
        self.stays()

    def test_a_pin_survives_another_fetch(self) -> None:
        self.other_manager(f'state_path = {self.directory}/other').delete_disk(
            naming.base_image_name(self.pinned)
        )
        self.assertEqual(
            (naming.base_image_name(self.pinned),),
            self.manager.reconcile().forgotten,
        )
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(self.pinned, 'vm1')
        )
        self.stays()

    def test_a_pin_precedes_the_fetch(self) -> None:
        self.manager.unpin(self.pinned)
        self.pinned = self.store_raw(SIZE, 3)
        self.manager.pin(self.pinned)
        self.manager.prefetch(self.image(self.pinned))
        self.stays()

    def test_a_pin_of_another_process_applies(self) -> None:
        self.other_manager().pin(self.other)
        self.later(DAY)
        self.assertEqual(set(), self.evicted_by())

    def test_an_unpinned_image_is_evicted(self) -> None:
        self.manager.unpin(self.pinned)
        self.later(DAY)
        self.assertEqual({self.pinned, self.other}, self.evicted_by())


class Incident18UsedButJudgedUnusedTestCase(EvictionTestCase):
    """Images in use were judged unused, and went.

    After rescue, unshelve, rebuild, resize and migration, each in its way:
    nova LP 1732428, 1006616, 1075701. That nova finds all of them is up to
    nova; here is what is made of what it found.
    """

    def test_an_image_in_use_is_kept(self) -> None:
        used, unused = self.cache(1, 2)
        self.later(2 * HOUR)
        self.assertEqual({unused}, self.evicted_by([used, 'not cached']))
        self.assertEqual(instance_disk.Outcome.HIT, self.deploy(used, 'vm1'))

    def test_it_ages_from_the_last_use(self) -> None:
        (image_id,) = self.cache(1)
        for _ in range(3):
            self.later(2 * HOUR)
            self.assertEqual(set(), self.evicted_by([image_id]))
        self.later(HOUR / 2)
        self.assertEqual(set(), self.evicted_by())
        self.later(HOUR)
        self.assertEqual({image_id}, self.evicted_by())

    def test_nobody_knows_what_is_in_use(self) -> None:
        (image_id,) = self.cache(1)
        self.manager.run_cleanup([image_id])
        self.later(2 * HOUR)
        self.assertEqual(set(), self.evicted_by(None))
        self.restart()
        self.assertEqual(set(), self.evicted_by(None))
        self.assertEqual((), self.other_manager(AGE).evict().results)

    def test_in_the_spelling_of_somebody_else(self) -> None:
        image_id = self.store_raw(
            SIZE, id='ABCDEF00-1111-4000-8000-00000000aaaa'
        )
        self.manager.prefetch(self.image(image_id))
        self.later(2 * HOUR)
        self.assertEqual(set(), self.evicted_by([image_id]))

    def test_a_wrong_judgement_harms_no_server(self) -> None:
        (image_id,) = self.cache(1)
        for name in ('vm1', 'vm2'):
            self.deploy(image_id, name)
        self.later(2 * HOUR)
        self.assertEqual({image_id}, self.evicted_by())
        for name in ('vm1', 'vm2'):
            self.assert_whole(name, image_id)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm3')
        )

    def test_eviction_is_switched_off(self) -> None:
        self.restart(
            AGE + '\n[image_cache]\nremove_unused_base_images = false\n'
        )
        self.cache(1, 2)
        self.later(2 * DAY)
        self.assertEqual(set(), self.evicted_by())


class Incident20NeverEndingTestCase(EvictionTestCase):
    """Pruning never ended, since database and disk disagreed.

    Glance's cache pruned until the size was right, by what was on disk,
    and took what to delete from the database.
    """

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 10),
    )
    options = _options(
        'lru,watermark',
        lru={'max_images': 2},
        watermark={'high': 20, 'low': 10},
    )

    def settles(self) -> None:
        """From now on each pass does nothing, by as few requests."""
        self.manager.run_cleanup([])
        passes = []
        for _ in range(3):
            seen = self.last_request()
            done = self.in_time(self.manager.run_cleanup, [])
            self.assertEqual((), done.eviction.results)
            passes.append(self.kinds_since(seen))
        self.assertEqual([passes[0]] * 3, passes)
        self.assertNotIn('VolumeGroup.update', passes[0])
        self.assertLess(len(passes[0]), 10)

    def test_disks_are_gone(self) -> None:
        stored = self.cache(1, 2, 3)
        for image_id in stored:
            self.delete_as_a_stranger(naming.base_image_name(image_id))
        self.settles()
        self.assertEqual(set(), self.cached())

    def test_untracked_disks_are_never_touched(self) -> None:
        foreign = [
            self.plant(f'i_aaaaaaaa_000{number}') for number in range(8)
        ]
        self.cache(1)
        self.settles()
        self.assertEqual(set(), self.cached())
        for each in foreign:
            self.assert_untouched(each)

    def test_the_database_is_lost(self) -> None:
        self.cache(1, 2, 3)
        self.manager.close()
        for path in (self.directory / 'state').glob('catalog.sqlite*'):
            path.unlink()
        self.manager = self.make_manager()
        self.settles()
        self.assertEqual(3, len(self.disks()))

    def test_a_stale_record_of_a_foreign_disk_is_removed(self) -> None:
        self.cache(1)
        pool, image_id = self.manager.driver.pool_id(), self.store_raw(9)
        name = naming.base_image_name(image_id)
        seams.start_fill(self.catalog(), pool, name, self.image(image_id))
        foreign = self.plant(name)
        self.later(ownership.LONGEST_REQUEST + 1)
        with fixtures.FakeLogger(level=logging.WARNING):
            self.manager.run_cleanup([])
        with fixtures.FakeLogger(level=logging.WARNING) as log:
            done = self.manager.run_cleanup([])
        self.assertEqual(((), ''), (done.reconciliation.failed, log.output))
        self.assertIsNone(self.record(image_id))
        self.assert_untouched(foreign)

    def delete_as_a_stranger(self, name: str) -> None:
        self.other_manager(f'state_path = {self.directory}/other').delete_disk(
            name
        )


class Incident21SharedStorageTestCase(EvictionTestCase):
    """A host was down; its image counted as unused, and was deleted.

    It was on storage that the hosts shared, and servers ran on it: the
    OpenStack operations guide, "DAIR".
    """

    cluster = ('cluster1', 100.0)

    def test_no_host_evicts_from_shared_storage(self) -> None:
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\ndisk_driver = ssp\n' + AGE
        )
        image_id = self.store_raw(SIZE)
        down, up = self.make_manager(), self.make_manager()
        down.create_disk(self.image(image_id), 'boot_1')
        down.close()
        before = self.disks()
        self.later(10 * DAY)
        for call in (
            lambda: up.run_cleanup([]),
            up.evict,
            lambda: up.purge([]),
        ):
            self.assertRaises(exceptions.NotSupported, call)
        self.assertEqual(before, self.disks())
        self.assert_whole('boot_1', image_id)

    def test_two_hosts_never_know_of_each_others_images(self) -> None:
        # Two volume groups with one state directory, by mistake.
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = secondvg\n' + AGE
        )
        # Names of disks are unique on a VIOS.
        second = self.powervm.control.add_vios('vios2')
        self.powervm.control.add_volume_group(
            second['uuid'], 'secondvg', 8 * units.Gi
        )
        down, up = self.make_manager(), self.manager
        image_id = self.store_raw(SIZE)
        for manager in (down, up):
            manager.prefetch(self.image(image_id))
        down.close()
        self.later(2 * HOUR)
        up.run_cleanup([])
        self.assertEqual([], list(up.list()))
        again = self.make_manager()
        self.assertEqual([image_id], [each.image.id for each in again.list()])
        self.assertEqual(
            instance_disk.Outcome.HIT,
            again.create_disk(self.image(image_id), 'vm1').outcome,
        )
        self.assert_whole('vm1', image_id)


class Incident25PromisedSpaceTestCase(EvictionTestCase):
    """Freed space was only promised, and not there for the new image.

    Cinder, ensure_space.
    """

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 3),
    )
    options = _options('watermark')

    def test_space_that_is_freed_later_is_awaited(self) -> None:
        (old,) = self.cache(1)
        self.plant('other')
        self.free_slowly()
        new = self.store_raw(SIZE, 2)
        self.assertEqual(instance_disk.Outcome.MISS, self.deploy(new, 'vm1'))
        self.assert_cached(new)

    def free_slowly(self) -> None:
        """What is deleted takes up its space for a while yet."""
        delete_disks = self.manager.driver.delete_disks
        stranger = self.other_manager(f'state_path = {self.directory}/other')

        def shadowed(disks: Any) -> Any:
            done = delete_disks(disks)
            self.powervm.control.plant_disk('cachevg', 'shadow', units.Gi)
            self.thread(free)
            return done

        def free() -> None:
            time.sleep(1)
            stranger.delete_disk('shadow')

        self.useFixture(
            fixtures.MockPatchObject(
                self.manager.driver, 'delete_disks', shadowed
            )
        )

    def test_missing_promised_space_bypasses_the_cache(self) -> None:
        # Two of three GiB are free, so that one image is not enough.
        (old,) = self.cache(1)
        new = self.store_raw(SIZE, 2)
        self.refuse(1)
        self.assertEqual(instance_disk.Outcome.BYPASS, self.deploy(new, 'vm1'))
        self.assert_cached(old)

    def test_nor_after_all_that_may_go_is_gone(self) -> None:
        self.cache(1, 2)
        new = self.store_raw(SIZE, 3)
        self.refuse(100)
        self.assertRaises(
            exceptions.NotEnoughSpace,
            self.manager.create_disk,
            self.image(new),
            'vm1',
            2 * units.Gi,
        )
        self.assertLess(len(self.rows('VolumeGroup.update')), 20)
        self.assertNotIn('vm1', self.disks())

    def refuse(self, count: int) -> None:
        self.manager.usage()
        self.powervm.control.add_fault(
            'no_space', kind='VolumeGroup.update', count=count
        )


class Incident30ClockStepsTestCase(EvictionTestCase):
    """A clock that was set made files look old, or from the future.

    The OpenStack operations guide; nova's bugs about mtime.
    """

    def test_a_forward_clock_step_does_not_age_images(self) -> None:
        (image_id,) = self.cache(1)
        self.step_clock(10 * 365 * DAY)
        self.assertEqual(set(), self.evicted_by())
        self.later(2 * HOUR)
        self.assertEqual({image_id}, self.evicted_by())

    def test_a_backward_clock_step_does_not_age_images(self) -> None:
        (image_id,) = self.cache(1)
        self.step_clock(-10 * 365 * DAY)
        self.assertEqual(set(), self.evicted_by())
        self.later(2 * HOUR)
        self.assertEqual({image_id}, self.evicted_by())

    def test_what_was_used_last(self) -> None:
        self.restart(_options('lru', lru={'max_images': 1}))
        first, second = self.cache(1, 2)
        image = self.image(first)
        self.step_clock(-DAY)
        self.manager.create_disk(image, 'vm1')
        self.assert_whole('vm1', first)
        self.assertEqual(
            [second, first], [each.image.id for each in self.manager.list()]
        )
        self.assertEqual({second}, self.evicted_by())

    def test_glance_is_not_asked_later_for_it(self) -> None:
        # What keystoneauth1 keeps for limits of rates has a clock, too.
        image_id = self.store_raw(SIZE)
        self.image(image_id)
        sleeps: list[float] = []
        self.useFixture(
            fixtures.MockPatchObject(
                _fair_semaphore,
                'time',
                types.SimpleNamespace(
                    time=lambda: time.time(), sleep=sleeps.append
                ),
            )
        )
        self.step_clock(-DAY)
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(image_id, 'vm1')
        )
        self.assertEqual([], sleeps)

    def test_a_pin_for_a_while(self) -> None:
        (image_id,) = self.cache(1)
        self.manager.pin(image_id, seconds=10 * HOUR)
        for step in (30 * DAY, -60 * DAY):
            self.step_clock(step)
            self.later(2 * HOUR)
            self.assertEqual(set(), self.evicted_by())
        self.later(8 * HOUR)
        self.assertEqual({image_id}, self.evicted_by())

    def test_the_least_age(self) -> None:
        self.restart(AGE.replace('minimum_age = 0', 'minimum_age = 9999'))
        (image_id,) = self.cache(1)
        self.step_clock(DAY)
        self.later(2 * HOUR)
        self.assertEqual(set(), self.evicted_by())
        self.later(HOUR)
        self.assertEqual({image_id}, self.evicted_by())

    def test_a_fetch_across_a_step(self) -> None:
        image_id = self.store_raw(incidents.HELD_SIZE)
        for number, step in enumerate((DAY, -2 * DAY)):
            self.glance.reset_downloads()
            with self.slow_glance():
                first = self.thread(self.deploy, image_id, f'a{number}')
                self.hold_fetch(image_id)
                second = self.thread(self.deploy, image_id, f'b{number}')
                self.step_clock(step)
                found = self.other_manager().reconcile()
                self.assertEqual(((), ()), (found.removed, found.forgotten))
                self.assertFalse(first.done() or second.done())
            self.assertEqual(
                [instance_disk.Outcome.MISS, instance_disk.Outcome.HIT],
                [first.result(), second.result()],
            )
            self.assertEqual(1, len(self.downloads_of(image_id)))
            self.manager.purge(self.manager.list())

    def test_records_of_late_disks_survive_clock_steps(self) -> None:
        # A request of its may take an hour, by any clock.
        image = self.image(self.store_raw(SIZE))
        pool = self.manager.driver.pool_id()
        for step in (30 * DAY, -60 * DAY):
            seams.start_fill(
                self.catalog(), pool, naming.base_image_name(image.id), image
            )
            self.step_clock(step)
            self.assertEqual((), self.manager.reconcile().forgotten)
            self.later(ownership.LONGEST_REQUEST + 1)
            self.assertEqual(1, len(self.manager.reconcile().forgotten))


class Incident45NoSpaceThatIsNoneTestCase(EvictionTestCase):
    """AIX ends every refusal of a logical volume with 0516-822.

    The cache took each of them for lack of space, and evicted all images.
    """

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 1000),
    )
    options = _options('watermark')

    def setUp(self) -> None:
        super().setUp()
        self.stored = self.cache(1, 2, 3)
        self.manager.run_cleanup(self.stored[:1])
        self.new = self.store_raw(SIZE, 4)

    def _refuse(self, message: str, **which: int) -> None:
        self.powervm.control.add_fault(
            'status',
            kind='VolumeGroup.update',
            status=500,
            message=message,
            **which,
        )

    def test_a_name_in_use_evicts_nothing(self) -> None:
        for message in (
            '0516-360 getlvname: The device name is already used; choose a '
            'different name. 0516-822 mklv: Unable to create logical volume',
            '0516-1140 mklv: The volume group is locked. 0516-822 mklv: '
            'Unable to create logical volume',
            '0516-822 mklv: Unable to create logical volume',
        ):
            self._refuse(message)
            error = self.assertRaises(
                exceptions.PVMImageCacheError, self.deploy, self.new, 'vm1'
            )
            self.assertNotIsInstance(error, exceptions.NotEnoughSpace)
            self.assertIn(message, str(error))
            self.assert_cached(*self.stored)
            self.powervm.control.clear_faults()
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(self.new, 'vm1')
        )

    def test_space_that_no_eviction_makes_is_tried_once(self) -> None:
        message = (
            '0516-404 allocp: This system cannot fulfill the allocation '
            'request. 0516-822 mklv: Unable to create logical volume.'
        )
        self._refuse(message, count=1)
        # The next update is a deletion.
        self._refuse(message, skip=1)
        for name in ('vm1', 'vm2', 'vm3'):
            error = self.assertRaises(
                exceptions.SpaceRefused, self.deploy, self.new, name
            )
            self.assertRegex(
                str(error), '99[0-9] GiB free, but PowerVM refused 1 GiB'
            )
            self.assertIn('0516-404', str(error))
        self.powervm.control.clear_faults()
        # Images that no instance uses are evicted, as many as are needed.
        self.assertEqual({self.stored[0]}, self.cached())
        self.assert_cached(self.stored[0])
        self.assertEqual(
            instance_disk.Outcome.MISS, self.deploy(self.new, 'vm1')
        )
        self.assert_cached(self.stored[0], self.new)


class Incident46NameInAnotherGroupTestCase(EvictionTestCase):
    """A name taken in another volume group failed the deploy forever.

    Names of logical volumes are unique on a VIOS (AIX 0516-360).
    """

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 8),
        simulator.Group('datavg', 8),
    )
    options = _options('watermark')

    def setUp(self) -> None:
        super().setUp()
        (self.other,) = self.cache(2)
        self.image_id = self.store_raw(SIZE, 1)

    def _plant_elsewhere(self, name: str) -> None:
        self.powervm.control.plant_disk('datavg', name, units.Gi)

    def _check_deploys(self, expected: instance_disk.Outcome) -> None:
        for name in ('vm1', 'vm2'):
            self.assertEqual(expected, self.deploy(self.image_id, name))
        self.assert_cached(self.other)

    def test_the_base_image(self) -> None:
        name = naming.base_image_name(self.image_id)
        self._plant_elsewhere(name)
        self._check_deploys(instance_disk.Outcome.BYPASS)
        error = self.assertRaises(
            exceptions.BaseImageOccupied,
            self.manager.prefetch,
            self.image(self.image_id),
        )
        self.assertIn(name, str(error))
        self.assertIn('volume group datavg', str(error))

    def test_the_instance_disk(self) -> None:
        self._plant_elsewhere('vm1')
        self.cache(3)
        for image_id in (self.image_id, self.other):
            error = self.assertRaises(
                exceptions.DiskExistsElsewhere, self.deploy, image_id, 'vm1'
            )
            self.assertIn('"vm1" in volume group datavg', str(error))
            # Another name will do.
            self.assertIn(
                self.deploy(image_id, f'a{image_id[:4]}'),
                (instance_disk.Outcome.MISS, instance_disk.Outcome.HIT),
            )

    def test_nobody_knows_where(self) -> None:
        name = naming.base_image_name(self.image_id)
        for message, kind in (
            (f'0516-360 getlvname: The device name {name} is already', 'LV'),
            ('0516-360 getlvname: The device name vm1 is already used', 'vm1'),
        ):
            self.powervm.control.add_fault(
                'status',
                kind='VolumeGroup.update',
                status=500,
                message=message,
                count=1,
            )
            if kind == 'vm1':
                self.assertRaises(
                    exceptions.DiskExistsElsewhere,
                    self.deploy,
                    self.image_id,
                    'vm1',
                )
            else:
                self.assertEqual(
                    instance_disk.Outcome.BYPASS,
                    self.deploy(self.image_id, 'vm0'),
                )
