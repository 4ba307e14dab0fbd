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

"""Evictions and room for deploys, in a pool that is full."""

import contextlib
import dataclasses
import time
import types

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import lru
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.system import locks
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS = instance_disk.Outcome.BYPASS


class EvictorTestCase(base.CacheTestCase):
    """Three images of a GiB each are cached in a pool of four."""

    gib = 4
    policy = lru.LRUPolicy(None, None)

    def setUp(self):
        super().setUp()
        self.policies = (pipeline.NamedPolicy('test', self.policy),)
        self.settings = cache_module.Settings(
            stall_timeout=base.PATIENCE, minimum_age=0
        )
        self.patch(evictor, 'LOCK_TIMEOUT', 0)
        self.patch(evictor, 'FREEING_TIMEOUT', 0)
        self.others = []
        for digit in 'abc':
            other, _ = self.another(f'{digit * 8}-0000-0000-0000-{"0" * 12}')
            self.prefetch(other)
            self.others.append(other)

    @property
    def evictor(self):
        return evictor.Evictor(self.cache)

    def ids(self):
        """The first characters of the ids of what is cached."""
        return ''.join(
            sorted(
                each.image.id[0]
                for each in self.catalog.base_images.list('pool')
            )
        )

    def record_of(self, number):
        return self.catalog.base_images.get('pool', self.disk_name(number))

    def disk_name(self, number):
        return naming.base_image_name(self.others[number].id)

    def make_space(self, gib, **kwargs):
        return self.evictor.make_space(gib * base.GIB, **kwargs)

    def use(self, *numbers):
        self.catalog.pins.set_in_use(
            'pool', [self.others[number].id for number in numbers]
        )

    def pin(self, *numbers):
        for number in numbers:
            self.catalog.pins.pin('pool', self.others[number].id, '', None)


class MakeRoomTest(EvictorTestCase):
    def test_there_is_enough(self):
        self.assertTrue(self.make_space(1))
        self.assertEqual('abc', self.ids())

    def test_the_least_recently_used_goes(self):
        self.catalog.base_images.record_hit(
            self.catalog.base_images.list('pool')[0]
        )
        self.assertTrue(self.make_space(2))
        self.assertEqual('ac', self.ids())
        self.assertEqual(2 * base.GIB, self.driver.pool().free)

    def test_nothing_goes_in_vain(self):
        self.assertFalse(self.make_space(5))
        self.assertEqual('abc', self.ids())

    def test_nothing_goes_in_vain_as_the_last_resort(self):
        self.pin(0)
        self.assertFalse(self.make_space(4, last_resort=True))
        self.assertEqual('abc', self.ids())

    def test_what_is_in_use_goes_as_the_last_resort(self):
        self.use(0, 1, 2)
        self.assertFalse(self.make_space(2))
        self.assertEqual('abc', self.ids())
        self.assertTrue(self.make_space(2, last_resort=True))
        self.assertEqual(2, len(self.ids()))

    def test_what_is_young_goes_as_the_last_resort(self):
        self.settings = dataclasses.replace(self.settings, minimum_age=1e9)
        self.assertFalse(self.make_space(2))
        self.assertTrue(self.make_space(2, last_resort=True))
        self.assertEqual('bc', self.ids())

    def test_what_may_go_goes_first(self):
        self.use(0)
        self.assertTrue(self.make_space(2, last_resort=True))
        self.assertEqual('ac', self.ids())

    def test_what_it_is_needed_for_stays(self):
        self.assertTrue(self.make_space(2, for_image=self.others[0].id))
        self.assertEqual('ac', self.ids())

    def test_the_platform_refuses_though_there_is_enough(self):
        self.assertTrue(self.make_space(1, refused=True))
        self.assertEqual('bc', self.ids())

    def test_others_go_for_what_can_not_be_removed(self):
        for last_resort in (False, True):
            self.driver.taken = {self.disk_name(0)}
            self.assertTrue(self.make_space(2, last_resort=last_resort))
            self.assertEqual('ac', self.ids())
            self.driver.taken = set()
            self.prefetch(self.others[1])
            self.catalog.base_images.record_hit(self.record_of(2))

    def test_it_ends_where_nothing_can_be_removed(self):
        self.driver.taken = {self.disk_name(number) for number in range(3)}
        self.assertFalse(self.make_space(2))
        self.driver.taken.pop()
        self.assertFalse(self.make_space(3, last_resort=True))

    def test_somebody_else_is_at_it(self):
        with self.locks.hold('room-pool', 0):
            self.assertFalse(self.make_space(2))
        self.assertEqual('abc', self.ids())

    def test_nothing_goes_by_itself(self):
        self.settings = dataclasses.replace(self.settings, automatic=False)
        self.assertFalse(self.make_space(2, last_resort=True))
        self.settings = dataclasses.replace(self.settings, automatic=True)
        for policies in (
            (),
            (pipeline.NamedPolicy('none', none.NonePolicy()),),
        ):
            self.policies = policies
            self.assertFalse(self.make_space(2, last_resort=True))
        self.assertEqual('abc', self.ids())

    def test_a_catalogue_that_fails_makes_no_room(self):
        self.catalog.broken = {'instance_disks.list', 'base_images.remove'}
        self.driver.before['delete'] = fakes.refusal
        self.assertFalse(self.make_space(2))

    def test_it_is_waited_for_what_becomes_free_late(self):
        self.patch(evictor, 'FREEING_TIMEOUT', base.PATIENCE)
        self.patch(evictor, 'time', self)
        pool, self.waits = self.driver.pool, 0

        def late():
            found = pool()
            if self.waits < 3 and len(self.ids()) < 3:
                return dataclasses.replace(found, free=found.free - base.GIB)
            return found

        self.driver.pool = late
        self.assertTrue(self.make_space(2))
        self.assertEqual((3, 'bc'), (self.waits, self.ids()))

    def monotonic(self):
        return 0.0

    def time(self):
        return 1e9

    def sleep(self, seconds):
        self.waits += 1


class DeployTest(EvictorTestCase):
    """The bytes are right, and what has to go goes."""

    def test_a_miss(self):
        self.check(self.deploy(), MISS)
        self.assertEqual('3bc', self.ids())
        self.check_cached()

    def test_a_prefetch(self):
        self.driver.add('foreign')
        self.prefetch()
        self.assertEqual('3bc', self.ids())

    def test_a_miss_that_can_not_be_cached(self):
        self.driver.add('foreign')
        self.pin(0, 1)
        self.check(self.deploy(), BYPASS)
        # What is not of use does not go.
        self.assertEqual('ab', self.ids())

    def test_a_hit_beside_another_one(self):
        self.deploy('earlier')
        self.check(self.deploy(), HIT)
        self.assertEqual('3c', self.ids())

    def test_its_own_base_image_is_in_the_way(self):
        self.catalog.base_images.list('pool')
        for each in self.catalog.base_images.list('pool'):
            self.driver.vanish(each.disk_name)
            self.catalog.base_images.remove(each)
        self.prefetch()
        for number in range(3):
            self.driver.add(f'foreign{number}')
        self.check(self.deploy(), BYPASS)
        self.assertEqual('', self.ids())
        self.assertNotIn(self.base_name, self.driver.names())

    def test_pinned_ones_cost_the_deploy(self):
        self.pin(0, 1, 2)
        self.driver.add('foreign')
        self.assertRaises(exceptions.NotEnoughSpace, self.deploy)
        self.assertEqual('abc', self.ids())

    def test_it_goes_on_where_nothing_may_be_cached(self):
        self.settings = dataclasses.replace(self.settings, enabled=False)
        self.driver.add('foreign')
        self.check(self.deploy(), BYPASS)
        self.assertEqual('bc', self.ids())


class EvictTest(EvictorTestCase):
    policy = age.AgePolicy(-1)

    def results(self, done):
        return {
            each.base_image.image.id[0]: each.removed for each in done.results
        }

    def test_a_dry_run_is_the_run(self):
        self.pin(1)
        dry = self.evictor.plan()
        self.assertEqual('abc', self.ids())
        done = self.evictor.evict()
        self.assertEqual('b', self.ids())

        def of(found):
            return [
                (each.image.image_id, each.policy, each.code)
                for each in found.plan.choices
            ]

        self.assertEqual(of(dry), of(done))
        self.assertEqual(2 * base.GIB, done.freed)
        self.assertEqual(0, dry.freed)

    def _between(self, act):
        """Do something after the policies have chosen."""
        started = self.catalog.start_eviction

        def start(record):
            if act:
                act.pop()()
            return started(record)

        self.catalog.start_eviction = start

    def test_one_that_is_used_meanwhile_stays(self):
        get = self.catalog.get

        def used_before(pool, name):
            found = get(pool, name)
            if found and found.image.id[0] == 'b' and not found.hits:
                self.catalog.base_images.record_hit(found)
                found = get(pool, name)
            return found

        self.catalog.get = used_before
        done = self.evictor.evict()
        self.assertEqual(
            {'a': True, 'b': False, 'c': True}, self.results(done)
        )
        self.assertEqual('b', self.ids())

    def test_one_that_is_pinned_meanwhile_stays(self):
        self._between([lambda: self.pin(2)])
        done = self.evictor.evict()
        self.assertEqual(
            {'a': True, 'b': True, 'c': False}, self.results(done)
        )
        self.assertEqual('c', self.ids())

    def test_one_that_is_being_filled_stays(self):
        name = self.catalog.base_images.list('pool')[0].disk_name
        with self.locks.hold(f'image-pool-{name}', 0):
            done = self.evictor.evict()
        self.assertFalse(self.results(done)['a'])
        self.assertEqual('a', self.ids())

    def test_one_that_can_not_be_removed_keeps_no_other(self):
        def refuse(disk):
            if disk.name.startswith('i_b'):
                fakes.refusal()

        self.driver.before['delete'] = refuse
        done = self.evictor.evict()
        self.assertEqual('b', self.ids())
        self.assertIn(
            'refused',
            next(each.reason for each in done.results if not each.removed),
        )
        (record,) = self.catalog.base_images.list('pool')
        self.assertIs(models.State.READY, record.state)

    def test_one_that_a_partition_has_stays(self):
        self.driver.taken = {
            self.catalog.base_images.list('pool')[0].disk_name
        }
        self.evictor.evict()
        self.assertEqual('a', self.ids())

    def test_what_went_is_in_the_history(self):
        self.evictor.evict()
        self.assertEqual(3, self.catalog.history.totals('pool')['evict'].times)

    def test_switched_off(self):
        self.settings = dataclasses.replace(self.settings, automatic=False)
        self.assertEqual((), self.evictor.evict().results)
        self.assertEqual('abc', self.ids())

    def test_a_snapshot_spares_requests(self):
        found = reconciler.reconcile(self.cache).snapshot
        self.driver.calls = []
        self.driver.pool = self.fail
        self.assertEqual(3, len(self.evictor.evict(found).results))
        self.assertEqual(['delete'] * 3, self.driver.calls)

    def test_a_snapshot_that_is_not_so_any_more(self):
        found = reconciler.reconcile(self.cache).snapshot
        self.driver.taken = {self.disk_name(0)}
        removal.remove(self.cache, [self.catalog.base_images.list('pool')[1]])
        self.driver.calls = []
        done = self.evictor.evict(found)
        self.assertIn('mapped', self.driver.calls)
        self.assertEqual(
            [False, True], [each.removed for each in done.results]
        )

    def test_what_is_not_as_it_was_stays(self):
        record = self.record_of(0)
        check = self.evictor._check([record])
        check(record)
        self.catalog.base_images.record_hit(record)
        self.assertRaises(exceptions.CatalogConflict, check, self.record_of(0))
        # Of what is in quarantine the next pass takes care.
        self.catalog.base_images.quarantine(record, 'it was changed')
        self.assertRaises(
            exceptions.CatalogConflict,
            self.evictor._check([self.record_of(0)]),
            self.record_of(0),
        )

    def test_a_snapshot_from_before_we_had_to_wait(self):
        found = reconciler.reconcile(self.cache).snapshot
        self.patch(evictor, 'LOCK_TIMEOUT', base.PATIENCE)
        other = contextlib.ExitStack()
        other.enter_context(self.cache.eviction_lock(0))

        def meanwhile(seconds):
            self.driver.taken.add(self.disk_name(0))
            other.close()

        self.patch(
            locks,
            'time',
            types.SimpleNamespace(monotonic=time.monotonic, sleep=meanwhile),
        )
        self.evictor.evict(found)
        self.assertEqual('a', self.ids())

    def test_what_a_partition_had_in_the_snapshot_stays(self):
        self.driver.taken = {self.disk_name(0)}
        found = reconciler.Snapshot(
            self.driver.pool(),
            frozenset(self.driver.taken),
            self.catalog.base_images.list('pool'),
        )
        self.evictor.evict(found)
        self.assertEqual('a', self.ids())
