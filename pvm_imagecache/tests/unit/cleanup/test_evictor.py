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

"""Tests of evictions and of making space, in a pool that is full."""

import contextlib
import dataclasses
import itertools
import time
import types

import hypothesis
from hypothesis import strategies

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.eviction import admission
from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import base as eviction_base
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
        """Return the first characters of the IDs of the cached images."""
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


class MakeSpaceTest(EvictorTestCase):
    def test_nothing_is_evicted_if_there_is_enough_space(self):
        self.assertTrue(self.make_space(1))
        self.assertEqual('abc', self.ids())

    def test_the_least_recently_used_image_is_evicted(self):
        self.catalog.base_images.record_hit(
            self.catalog.base_images.list('pool')[0]
        )
        self.assertTrue(self.make_space(2))
        self.assertEqual('ac', self.ids())
        self.assertEqual(2 * base.GIB, self.driver.pool().free)

    def test_nothing_is_evicted_if_it_would_not_be_enough(self):
        self.assertFalse(self.make_space(5))
        self.assertEqual('abc', self.ids())

    def test_the_last_resort_evicts_nothing_if_it_would_not_be_enough(self):
        self.pin(0)
        self.assertFalse(self.make_space(4, last_resort=True))
        self.assertEqual('abc', self.ids())

    def count_disks(self, used, limit):
        pool = self.driver.pool

        def counted():
            return dataclasses.replace(pool(), disks=used, max_disks=limit)

        self.driver.pool = counted

    def test_images_are_evicted_for_the_number_of_disks(self):
        for used, limit, disks, left in (
            (3, 4, 2, 2),
            (4, 4, 1, 1),
            (None, None, 1, 0),
        ):
            self.count_disks(used, limit)
            self.assertTrue(self.make_space(0, disks=disks))
            self.assertEqual(left, len(self.ids()))
        self.assertFalse(self.make_space(0, disks=1))

    def test_nothing_is_evicted_if_too_many_disks_would_be_left(self):
        self.pin(0, 1)
        self.count_disks(4, 4)
        self.assertFalse(self.make_space(0, disks=2, last_resort=True))
        self.assertEqual('abc', self.ids())

    def test_the_last_resort_evicts_images_in_use(self):
        self.use(0, 1, 2)
        self.assertFalse(self.make_space(2))
        self.assertEqual('abc', self.ids())
        self.assertTrue(self.make_space(2, last_resort=True))
        self.assertEqual(2, len(self.ids()))

    def test_the_last_resort_evicts_young_images(self):
        self.settings = dataclasses.replace(self.settings, minimum_age=1e9)
        self.assertFalse(self.make_space(2))
        self.assertTrue(self.make_space(2, last_resort=True))
        self.assertEqual('bc', self.ids())

    def test_the_last_resort_prefers_what_policies_select(self):
        self.use(0)
        self.assertTrue(self.make_space(2, last_resort=True))
        self.assertEqual('ac', self.ids())

    def test_the_image_of_the_deploy_is_kept(self):
        self.assertTrue(self.make_space(2, for_image=self.others[0].id))
        self.assertEqual('ac', self.ids())

    def test_the_last_resort_keeps_the_image_of_the_deploy(self):
        self.use(0, 1, 2)
        self.assertTrue(
            self.make_space(2, last_resort=True, for_image=self.others[0].id)
        )
        self.assertIn('a', self.ids())
        self.assertFalse(
            self.make_space(4, last_resort=True, for_image=self.others[0].id)
        )

    def test_the_whole_size_is_freed_if_powervm_refused_the_disk(self):
        self.assertTrue(self.make_space(1, refused=True))
        self.assertEqual('bc', self.ids())

    def test_another_image_is_evicted_for_one_that_cannot_be_removed(self):
        for last_resort in (False, True):
            self.driver.taken = {self.disk_name(0)}
            self.assertTrue(self.make_space(2, last_resort=last_resort))
            self.assertEqual('ac', self.ids())
            self.driver.taken = set()
            self.prefetch(self.others[1])
            self.catalog.base_images.record_hit(self.record_of(2))

    def test_make_space_fails_if_nothing_can_be_removed(self):
        self.driver.taken = {self.disk_name(number) for number in range(3)}
        self.assertFalse(self.make_space(2))
        self.driver.taken.pop()
        self.assertFalse(self.make_space(3, last_resort=True))

    def test_make_space_fails_while_another_process_evicts(self):
        with self.locks.hold('room-pool', 0):
            self.assertFalse(self.make_space(2))
        self.assertEqual('abc', self.ids())

    def test_nothing_is_evicted_if_eviction_is_not_automatic(self):
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

    def test_make_space_fails_if_the_disks_cannot_be_deleted(self):
        self.catalog.broken = {'instance_disks.list', 'base_images.remove'}
        self.driver.before['delete'] = fakes.refusal
        self.assertFalse(self.make_space(2))

    def test_make_space_waits_until_the_space_is_free(self):
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
    """Deploys get the right bytes, and evict what they need to."""

    def test_a_miss_evicts_the_least_recently_used_image(self):
        self.check(self.deploy(), MISS)
        self.assertEqual('3bc', self.ids())
        self.check_cached()

    def test_a_prefetch_evicts_the_least_recently_used_image(self):
        self.driver.add('foreign')
        self.prefetch()
        self.assertEqual('3bc', self.ids())

    def test_a_miss_that_cannot_be_cached_evicts_only_what_it_needs(self):
        self.driver.add('foreign')
        self.pin(0, 1)
        self.check(self.deploy(), BYPASS)
        # What would not help is not evicted.
        self.assertEqual('ab', self.ids())

    def test_a_hit_evicts_other_images(self):
        self.deploy('earlier')
        self.check(self.deploy(), HIT)
        self.assertEqual('3c', self.ids())

    def test_a_deploy_evicts_its_own_base_image_as_the_last_resort(self):
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

    def test_a_deploy_fails_rather_than_evicting_pinned_images(self):
        self.pin(0, 1, 2)
        self.driver.add('foreign')
        self.assertRaises(exceptions.NotEnoughSpace, self.deploy)
        self.assertEqual('abc', self.ids())

    def test_a_bypass_evicts_images_if_the_cache_is_disabled(self):
        self.settings = dataclasses.replace(self.settings, enabled=False)
        self.driver.add('foreign')
        self.check(self.deploy(), BYPASS)
        self.assertEqual('bc', self.ids())


class FairUseTest(EvictorTestCase):
    """Images that others deploy, and images of a user who deploys many."""

    def deploy_new(self, number, image=None):
        """Deploy an image, and delete the disk; return the outcome."""
        if image is None:
            image, _ = self.another(f'{number:08x}-1111-4111-8111-{"1" * 12}')
        name = f'new{number}'
        done = self.deploy(name, image)
        self.driver.vanish(name)
        self.catalog.history.add(
            'pool', done.outcome.value, image_id=image.id, disk_name=name
        )
        return done.outcome

    def make_popular(self, *numbers, hits=2):
        for number in numbers:
            for _ in range(hits):
                self.catalog.base_images.record_hit(self.record_of(number))

    def let_days_pass(self, days):
        uptime = boot_clock.uptime() + days * 86400
        self.patch(boot_clock, 'uptime', lambda: uptime)

    def test_images_that_are_deployed_once_displace_no_popular_ones(self):
        self.make_popular(0, 1)
        for number in range(5):
            self.deploy_new(number)
        self.assertLessEqual({'a', 'b'}, set(self.ids()))

    def test_a_new_image_is_cached_if_others_were_not_deployed_twice(self):
        self.make_popular(0, 1)
        self.assertIs(MISS, self.deploy_new(1))
        self.assertIs(HIT, self.deploy_new(2, self.source_image(1)))

    def source_image(self, number):
        return self.another(f'{number:08x}-1111-4111-8111-{"1" * 12}')[0]

    def test_a_tiny_image_displaces_no_popular_one_however_often(self):
        self.make_popular(0, 1, 2)
        image = self.source_image(1)
        for number in range(10):
            self.assertIs(BYPASS, self.deploy_new(number, image))
        self.assertEqual('abc', self.ids())

    def test_an_image_displaces_those_that_are_deployed_less(self):
        self.make_popular(0, 1, 2)
        image = self.source_image(1)
        # As if it filled its disk.
        self.patch(admission, 'disk_size', lambda size: base.GIB)
        self.patch(
            admission.Newcomer,
            'worth',
            property(lambda newcomer: newcomer.deploys),
        )
        outcomes = [self.deploy_new(number, image) for number in range(5)]
        self.assertEqual([BYPASS] * 3 + [MISS, HIT], outcomes)

    def test_popular_images_that_are_idle_are_displaced(self):
        self.make_popular(0, 1, 2)
        self.let_days_pass(2)
        self.assertIs(MISS, self.deploy_new(1))
        self.assertEqual(3, len(self.ids()))

    def test_an_operator_displaces_any_image(self):
        self.make_popular(0, 1, 2)
        self.driver.add('foreign')
        self.prefetch()
        self.assertEqual(3, len(self.ids()))
        self.check_cached()

    @hypothesis.settings(base.generated, max_examples=10)
    @hypothesis.given(
        strategies.lists(strategies.integers(0, 3), min_size=16, max_size=16)
    )
    def test_images_do_not_displace_each_other_again_and_again(self, order):
        for each in self.catalog.base_images.list('pool'):
            self.driver.vanish(each.disk_name)
            self.catalog.base_images.remove(each)
        # There is space for one base image and a disk.
        for number in range(2):
            if f'foreign{number}' not in self.driver.names():
                self.driver.add(f'foreign{number}')
        run = next(self.runs)
        images = [self.source_image(run + number) for number in range(4)]
        cached, misses = None, 0
        for number, which in enumerate(order):
            outcome = self.deploy_new(number, images[which])
            self.assertEqual(which == cached, outcome is HIT)
            if outcome is MISS:
                cached, misses = which, misses + 1
        # An image is displaced only while it was deployed once.
        self.assertLessEqual(misses, len(set(order)) + 1)

    runs = itertools.count(1000, 10)


class LimitTest(EvictorTestCase):
    """The size of the whole cache is limited: three GiB are full."""

    gib = 10

    def setUp(self):
        super().setUp()
        self.limit(3)

    def limit(self, gib):
        self.settings = dataclasses.replace(
            self.settings, max_bytes=int(gib * base.GIB)
        )

    def test_a_fetch_evicts_what_exceeds_the_limit(self):
        self.check(self.deploy(), MISS)
        self.assertEqual('3bc', self.ids())
        self.check(self.deploy('two'), HIT)

    def test_a_prefetch_evicts_what_exceeds_the_limit(self):
        self.assertTrue(self.prefetch().fetched)
        self.assertEqual('3bc', self.ids())

    def test_an_image_that_would_displace_popular_ones_is_bypassed(self):
        for number in range(3):
            self.catalog.base_images.record_hit(self.record_of(number))
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn('limited to 3 GiB (max_gib', done.reason)
        self.assertEqual('abc', self.ids())
        self.check_only_disk_is_new()

    def check_only_disk_is_new(self):
        self.assertEqual(
            {'disk', *(self.disk_name(number) for number in range(3))},
            set(self.driver.names()),
        )

    def test_an_image_larger_than_the_limit_evicts_nothing(self):
        self.limit(0.5)
        self.check(self.deploy(), BYPASS)
        self.assertEqual('abc', self.ids())
        error = self.assertRaises(exceptions.CacheLimitReached, self.prefetch)
        self.assertIn('larger than the limit', str(error))

    def test_pinned_images_are_kept_whatever_the_limit(self):
        self.pin(0, 1, 2)
        self.check(self.deploy(), BYPASS)
        self.assertRaises(exceptions.CacheLimitReached, self.prefetch)
        self.evictor.evict()
        self.assertEqual('abc', self.ids())

    def test_nothing_is_evicted_if_eviction_is_not_automatic(self):
        self.settings = dataclasses.replace(self.settings, automatic=False)
        self.check(self.deploy(), BYPASS)
        self.assertEqual('abc', self.ids())

    def test_a_cleanup_run_evicts_what_exceeds_a_lowered_limit(self):
        self.limit(1)
        (first, second) = self.evictor.preview().choices
        self.assertEqual('max-gib', first.code)
        self.assertEqual(2, len(self.evictor.evict().results))
        self.assertEqual('c', self.ids())
        self.assertEqual((), self.evictor.evict().plan.choices)
        self.assertIn('1 GiB', second.reason)

    def test_two_fetches_at_the_same_time_do_not_exceed_the_limit(self):
        self.limit(4)
        other, _ = self.another('ffffffff-1111-4111-8111-111111111111')

        def interfere(*args, **kwargs):
            # Another process has been admitted, too.
            self.catalog.base_images.start_fill(
                'pool', naming.base_image_name(other.id), other
            )

        self.patch(evictor.Evictor, 'admit', interfere)
        done = self.deploy()
        self.check(done, BYPASS)
        self.assertIn('at the same time', done.reason)

    def test_a_pool_that_cannot_be_read_costs_no_deploy(self):
        original = self.driver.pool
        calls = itertools.count()

        def pool():
            if not next(calls):
                fakes.refusal()
            return original()

        self.patch(self.driver, 'pool', pool)
        self.check(self.deploy(), BYPASS)
        self.assertEqual('abc', self.ids())


class RetainedTest(EvictorTestCase):
    """Base images that keep space from instances."""

    def retained(self):
        return ''.join(
            sorted(each.image.id[0] for each in self.evictor.retained('pool'))
        )

    def test_images_that_can_be_evicted_at_once_are_not_retained(self):
        self.use(0, 1)
        self.settings = dataclasses.replace(self.settings, minimum_age=1e9)
        self.assertEqual('', self.retained())

    def test_pinned_and_busy_images_are_retained(self):
        self.pin(0)
        self.catalog.base_images.start_eviction(self.record_of(1))
        self.assertEqual('ab', self.retained())

    def test_all_images_are_retained_without_automatic_eviction(self):
        self.settings = dataclasses.replace(self.settings, automatic=False)
        self.assertEqual('abc', self.retained())


class EvictTest(EvictorTestCase):
    policy = age.AgePolicy(-1)

    def results(self, done):
        return {
            each.base_image.image.id[0]: each.removed for each in done.results
        }

    def test_the_preview_is_what_an_eviction_does(self):
        self.pin(1)
        preview = self.evictor.preview()
        self.assertEqual('abc', self.ids())
        done = self.evictor.evict()
        self.assertEqual('b', self.ids())

        def of(plan):
            return [
                (each.image.image_id, each.policy, each.code)
                for each in plan.choices
            ]

        self.assertEqual(2, len(of(preview)))
        self.assertEqual(of(preview), of(done.plan))
        self.assertEqual(2 * base.GIB, done.freed)
        self.assertEqual(preview.freed, done.freed)

    def evict_meanwhile(self, number, act):
        """Evict; do something to one image after a policy selected it."""
        acts = [act]

        class Meanwhile(age.AgePolicy):
            def choose(policy, view):
                chosen = super().choose(view)
                if acts:
                    acts.pop()(self.record_of(number))
                return chosen

        self.policies = (pipeline.NamedPolicy('test', Meanwhile(-1)),)
        done = self.evictor.evict()
        self.assertEqual(3, len(done.plan.choices))
        return self.results(done)

    def test_an_image_that_is_used_meanwhile_is_kept(self):
        self.assertEqual(
            {'a': True, 'b': False, 'c': True},
            self.evict_meanwhile(1, self.catalog.base_images.record_hit),
        )
        self.assertEqual('b', self.ids())

    def test_an_image_that_is_pinned_meanwhile_is_kept(self):
        self.assertEqual(
            {'a': True, 'b': True, 'c': False},
            self.evict_meanwhile(2, lambda record: self.pin(2)),
        )
        self.assertEqual('c', self.ids())

    def test_an_image_that_is_quarantined_meanwhile_is_kept(self):
        # The next cleanup run removes it.
        self.assertEqual(
            {'a': False, 'b': True, 'c': True},
            self.evict_meanwhile(
                0,
                lambda record: self.catalog.base_images.quarantine(
                    record, 'changed'
                ),
            ),
        )
        self.assertIs(models.State.QUARANTINED, self.record_of(0).state)

    def test_an_image_that_is_fetched_again_meanwhile_is_kept(self):
        def fetch_again(record):
            self.catalog.base_images.remove(record)
            self.driver.vanish(record.disk_name)
            self.prefetch(self.others[0])

        self.assertEqual(
            {'a': False, 'b': True, 'c': True},
            self.evict_meanwhile(0, fetch_again),
        )
        self.assertEqual('a', self.ids())

    def test_an_image_that_is_removed_meanwhile_is_not_reported_as_evicted(
        self,
    ):
        def remove(record):
            removal.remove(self.cache, [record])

        self.assertEqual(
            {'a': False, 'b': True, 'c': True},
            self.evict_meanwhile(0, remove),
        )
        self.assertEqual(2, self.catalog.history.totals('pool')['evict'].times)

    def test_an_image_in_progress_is_kept(self):
        name = self.catalog.base_images.list('pool')[0].disk_name
        with self.locks.hold(f'image-pool-{name}', 0):
            done = self.evictor.evict()
        self.assertFalse(self.results(done)['a'])
        self.assertEqual('a', self.ids())

    def test_an_image_that_cannot_be_removed_keeps_no_other(self):
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

    def test_a_mapped_image_is_kept_in_the_cache(self):
        self.driver.taken = {
            self.catalog.base_images.list('pool')[0].disk_name
        }
        self.evictor.evict()
        self.assertEqual('a', self.ids())

    def test_each_eviction_is_in_the_history(self):
        self.evictor.evict()
        events = self.catalog.history.list('pool', actions=['evict'])
        self.assertEqual(
            sorted(
                (each.id, naming.base_image_name(each.id))
                for each in self.others
            ),
            sorted((each.image_id, each.disk_name) for each in events),
        )
        for each in events:
            self.assertTrue(each.detail.startswith('test: '))
            self.assertTrue(each.code)

    def test_an_eviction_succeeds_if_the_history_cannot_be_written(self):
        self.catalog.broken = {'history.add'}
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            done = self.evictor.evict()
        self.assertEqual(3 * base.GIB, done.freed)
        self.assertIn('3 image(s)', logs.output[0])

    def test_only_images_that_were_removed_count_as_freed(self):
        self.driver.taken = {self.disk_name(0)}
        done = self.evictor.evict()
        self.assertEqual(3 * base.GIB, done.plan.freed)
        self.assertEqual(2 * base.GIB, done.freed)

    def test_evict_fails_while_another_process_evicts(self):
        with self.cache.eviction_lock(0):
            self.assertRaises(exceptions.LockTimeout, self.evictor.evict)
        self.assertEqual('abc', self.ids())

    def test_evict_fails_if_the_pool_cannot_be_read(self):
        self.driver.pool = fakes.refusal
        self.assertRaises(exceptions.PowerVMRequestFailed, self.evictor.evict)
        self.assertTrue(self.locks.is_free('room-pool'))

    def test_evict_and_preview_do_nothing_if_eviction_is_not_automatic(self):
        self.settings = dataclasses.replace(self.settings, automatic=False)
        self.assertEqual((), self.evictor.evict().results)
        self.assertEqual((), self.evictor.preview().choices)
        self.assertEqual('abc', self.ids())

    def test_a_current_snapshot_saves_requests(self):
        found = reconciler.reconcile(self.cache).snapshot
        self.driver.calls = []
        self.driver.pool = self.fail
        self.assertEqual(3, len(self.evictor.evict(found).results))
        self.assertEqual(['delete'] * 3, self.driver.calls)

    def test_a_snapshot_that_is_not_current_is_not_used(self):
        found = reconciler.reconcile(self.cache).snapshot
        self.driver.taken = {self.disk_name(0)}
        removal.remove(self.cache, [self.catalog.base_images.list('pool')[1]])
        self.driver.calls = []
        done = self.evictor.evict(found)
        self.assertIn('mapped', self.driver.calls)
        self.assertEqual(
            [False, True], [each.removed for each in done.results]
        )

    def test_a_snapshot_from_before_a_wait_is_not_used(self):
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

    def test_an_image_that_the_snapshot_shows_as_mapped_is_kept(self):
        self.driver.taken = {self.disk_name(0)}
        found = reconciler.Snapshot(
            self.driver.pool(),
            frozenset(self.driver.taken),
            self.catalog.base_images.list('pool'),
        )
        self.evictor.evict(found)
        self.assertEqual('a', self.ids())


class FirstVetoTest(EvictorTestCase):
    """The strongest reason why an image is kept comes first."""

    def veto(self, record=None, clock=None, **values):
        record = record or self.record_of(0)
        arguments = {
            'minimum_age': 0,
            'pins': (),
            'in_use': (),
            'busy': (),
        } | values
        return evictor.first_veto(
            record,
            record.ready_clock if clock is None else clock,
            **arguments,
        )

    def test_an_unused_image_has_no_veto(self):
        self.assertIsNone(self.veto())

    def test_vetoes_are_ordered_by_their_strength(self):
        ids = {self.others[0].id}
        arguments = {
            'pins': ids,
            'busy': ids,
            'in_use': ids,
            'minimum_age': 10,
        }
        for name, veto in (
            ('pins', eviction_base.Veto.PINNED),
            ('busy', eviction_base.Veto.BUSY),
            ('in_use', eviction_base.Veto.IN_USE),
            ('minimum_age', eviction_base.Veto.YOUNG),
        ):
            self.assertIs(veto, self.veto(**arguments))
            del arguments[name]
        self.assertIsNone(self.veto(**arguments))

    def test_an_image_that_is_not_ready_is_busy(self):
        for state in models.State:
            record = dataclasses.replace(self.record_of(0), state=state)
            self.assertIs(
                None
                if state is models.State.READY
                else eviction_base.Veto.BUSY,
                self.veto(record),
            )

    def test_an_image_is_young_until_the_minimum_age(self):
        ready = self.record_of(0).ready_clock
        for seconds, veto in (
            (9.5, eviction_base.Veto.YOUNG),
            (10.5, None),
        ):
            self.assertIs(
                veto, self.veto(None, ready + seconds, minimum_age=10)
            )


class ViewTest(EvictorTestCase):
    """What policies see of an image."""

    def seen(self):
        (found,) = [
            each
            for each in self.evictor.view()[0].images
            if each.image_id == self.others[0].id
        ]
        return found

    def test_nothing_is_known_of_images_of_older_releases(self):
        found = self.seen()
        self.assertEqual(
            (None, frozenset(), {}, None),
            (
                found.project_id,
                found.tags,
                dict(found.properties),
                found.created_at,
            ),
        )
        self.assertEqual(
            ('raw', self.others[0].size), (found.disk_format, found.size)
        )

    def test_what_glance_says_is_seen(self):
        self.catalog.image_metadata.record(
            'pool',
            self.others[0].id,
            image_module.Metadata(
                'ops', ('golden', 'x'), (('os_distro', 'aix'),)
            ),
        )
        found = self.seen()
        self.assertEqual('ops', found.project_id)
        self.assertEqual({'golden', 'x'}, found.tags)
        self.assertEqual({'os_distro': 'aix'}, dict(found.properties))
        self.assertFalse(hasattr(found.properties, '__setitem__'))

    def test_a_malformed_record_does_not_prevent_eviction(self):
        self.catalog.broken = {'image_metadata.list'}
        self.assertIsNone(self.seen().project_id)

    def test_the_time_of_glance_is_in_unix_seconds(self):
        for moment, seconds in (
            ('1970-01-01T00:01:00Z', 60.0),
            ('1970-01-01T00:01:00', 60.0),
            ('1970-01-01T02:01:00+02:00', 60.0),
            ('', None),
            ('yesterday', None),
        ):
            self.assertEqual(seconds, evictor._seconds(moment), moment)
