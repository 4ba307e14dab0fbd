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
