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

"""Tests of the facade of the cache."""

import dataclasses
import os
import time
import types

import fixtures

from pvm_imagecache import cache as cache_module
from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import removal
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import prefetch
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import lru
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.listeners import dispatch
from pvm_imagecache.listeners import metrics_file
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS, POOL = instance_disk.Outcome.BYPASS, instance_disk.Outcome.POOL
Total = models.Total
BASE_NAME = naming.base_image_name(base.IMAGE_ID)
OTHER_ID = 'ffffffff-ffff-0000-0000-000000000000'


class ManagerTestCase(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.manager = self.make_manager()

    def make_manager(self, **kwargs):
        return manager.ImageManager(
            self.driver,
            self.source,
            self.catalog,
            self.locks,
            self.settings,
            self.policies,
            **kwargs,
        )

    def create(self, name='disk', image=None, **kwargs):
        return self.manager.create_disk(image or self.image, name, **kwargs)


class MetadataTest(ManagerTestCase):
    """What policies can know of images is recorded."""

    def setUp(self):
        super().setUp()
        self.image = dataclasses.replace(
            self.image,
            metadata=image_module.Metadata(
                'ops', ('golden',), (('os_distro', 'aix'), ('secret', 'x'))
            ),
        )
        self.settings = cache_module.Settings(image_properties=('os_distro',))
        self.manager = self.make_manager()

    def recorded(self):
        return self.catalog.image_metadata.list('pool')

    def test_a_miss_and_a_prefetch_record_the_chosen_properties(self):
        known = {
            self.image.id: image_module.Metadata(
                'ops', ('golden',), (('os_distro', 'aix'),)
            )
        }
        self.create()
        self.assertEqual(known, self.recorded())
        self.manager.purge(self.manager.list())
        self.manager.prefetch(self.image)
        self.assertEqual(known, self.recorded())

    def test_a_hit_records_what_has_changed(self):
        self.create('a')
        self.image = dataclasses.replace(
            self.image, metadata=image_module.Metadata('dev')
        )
        self.check(self.create('b'), HIT)
        self.assertEqual('dev', self.recorded()[self.image.id].project_id)

    def test_a_deploy_works_if_it_cannot_be_recorded(self):
        self.catalog.broken = {'image_metadata.record'}
        self.check(self.create(), MISS)
        self.assertEqual({}, self.recorded())


class CreateTest(ManagerTestCase):
    def test_a_miss_and_a_hit_are_in_the_history(self):
        self.check(self.create('a'), MISS)
        self.check(self.create('b'), HIT)
        self.assertEqual(
            {'miss': Total(1, self.size, 0), 'hit': Total(1, 0, self.size)},
            self.catalog.history.totals('pool'),
        )

    def test_a_bypass_is_in_the_history(self):
        self.settings = cache_module.Settings(enabled=False)
        self.manager = self.make_manager()
        self.check(self.create(), BYPASS)
        self.assertEqual(
            {'bypass': Total(1, self.size, 0)},
            self.catalog.history.totals('pool'),
        )

    def test_a_deploy_works_without_a_catalog(self):
        self.catalog = facade.Catalog('/dev/null/c.sqlite')
        self.manager = self.make_manager()
        self.check(self.create(), BYPASS)

    def test_a_deploy_works_if_the_history_cannot_be_written(self):
        self.catalog.broken = {'history.add'}
        self.check(self.create(), MISS)
        self.assertEqual({}, self.catalog.history.totals('pool'))

    def test_size_and_progress_reach_the_deploy(self):
        reported = []
        done = self.create(
            size=3 * base.GIB, progress=lambda *args: reported.append(args)
        )
        self.assertEqual(3 * base.GIB, done.disk.capacity)
        self.assertTrue(reported)

    def test_a_bad_name_is_refused_before_anything_is_done(self):
        for name in ('', 'sixteen_letters_', 'a b', self.base_name):
            self.assertRaises(exceptions.DiskNameInvalid, self.create, name)
        self.assertEqual([], self.source.opened)
        self.check_nothing_left()

    def test_a_name_may_be_as_long_as_the_pool_accepts(self):
        class Long(fakes.FakeDriver):
            max_name_length = 20

        self.driver = Long()
        self.manager = self.make_manager()
        self.create('sixteen_letters_')
        self.assertRaises(exceptions.DiskNameInvalid, self.create, 'x' * 21)

    def test_a_bad_format_is_refused_before_anything_is_done(self):
        self.assertRaises(
            exceptions.ImageFormatUnsupported,
            self.create,
            image=dataclasses.replace(self.image, disk_format='vmdk'),
        )
        self.check_nothing_left()

    def test_a_disk_that_is_too_small_is_refused(self):
        self.assertRaises(exceptions.DiskTooSmall, self.create, size=1)
        self.assertEqual({}, self.catalog.history.totals('pool'))


class DeleteTest(ManagerTestCase):
    def test_an_instance_disk_is_deleted(self):
        disk = self.create().disk
        self.assertEqual(disk, self.manager.delete_disk('disk'))
        self.assertEqual([self.base_name], self.driver.names())

    def test_a_missing_disk_is_an_error(self):
        error = self.assertRaises(
            exceptions.DiskNotFound, self.manager.delete_disk, 'disk'
        )
        self.assertIn('the pool', str(error))

    def test_a_mapped_disk_is_not_deleted(self):
        # A platform that would not refuse it.
        self.create()
        self.driver.taken = {'disk'}
        error = self.assertRaises(
            exceptions.DiskInUse, self.manager.delete_disk, 'disk'
        )
        self.assertIn('mapped to a partition', str(error))
        self.assertIn('disk', self.driver.names())

    def test_a_cached_image_is_not_deleted(self):
        self.create()
        error = self.assertRaises(
            exceptions.DiskNotOurs, self.manager.delete_disk, self.base_name
        )
        self.assertIn(self.image.id, str(error))
        self.check_cached()

    def test_a_base_image_in_progress_is_not_deleted(self):
        self.leave_behind()
        self.assertRaises(
            exceptions.DiskNotOurs, self.manager.delete_disk, self.base_name
        )
        self.assertIn(self.base_name, self.driver.names())

    def test_an_untracked_disk_named_like_a_base_image_is_deleted(self):
        self.driver.add(self.base_name)
        self.manager.delete_disk(self.base_name)
        self.assertEqual([], self.driver.names())

    def test_a_deletion_that_is_refused_is_an_error(self):
        self.create()
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.manager.delete_disk, 'disk'
        )

    def test_the_catalog_is_not_read_if_the_pool_caches_images_itself(self):
        self.driver = fakes.FakePool()
        self.driver.add('disk')
        self.catalog.broken = {'base_images.get'}
        self.make_manager().delete_disk('disk')
        self.assertEqual([], self.driver.names())


class PrefetchTest(ManagerTestCase):
    def test_an_image_is_fetched_once(self):
        self.assertTrue(self.manager.prefetch(self.image).fetched)
        self.assertFalse(self.manager.prefetch(self.image).fetched)
        self.check_cached()
        self.assertEqual(
            {'prefetch': Total(1, self.size, 0)},
            self.catalog.history.totals('pool'),
        )

    def test_a_cached_image_gets_the_name_that_it_has_now(self):
        self.manager.prefetch(self.image)
        renamed = dataclasses.replace(self.image, name='new')
        self.assertFalse(self.manager.prefetch(renamed).fetched)
        self.assertEqual('new', self.manager.find('new').image.name)
        (event,) = self.catalog.history.list('pool', actions=['rename'])
        self.assertEqual(
            (self.image.id, 'new', 'was "an image"'),
            (event.image_id, event.image_name, event.detail),
        )

    def test_a_name_that_cannot_be_recorded_does_not_matter(self):
        self.manager.prefetch(self.image)
        self.catalog.broken = {'base_images.rename'}
        renamed = dataclasses.replace(self.image, name='new')
        self.assertFalse(self.manager.prefetch(renamed).fetched)

    def test_only_names_of_cached_or_pinned_images_are_recorded(self):
        self.assertFalse(self.manager.record_name('x', 'a name'))
        self.manager.pin('x', name='a name')
        self.assertFalse(self.manager.record_name('x', 'a name'))
        self.assertFalse(self.manager.record_name('x', None))
        self.assertTrue(self.manager.record_name('x', 'new'))
        self.assertEqual({'x': 'new'}, self.catalog.history.last_names('pool'))

    def test_prefetch_fails_if_the_cache_is_disabled(self):
        self.settings = cache_module.Settings(enabled=False)
        self.assertRaises(
            exceptions.CacheDisabled, self.make_manager().prefetch, self.image
        )
        self.assertEqual([], self.source.opened)

    def test_prefetch_fails_if_the_pool_caches_images_itself(self):
        self.driver = fakes.FakePool()
        error = self.assertRaises(
            exceptions.NotSupported, self.make_manager().prefetch, self.image
        )
        self.assertIn('caches images itself', str(error))


class FindTest(ManagerTestCase):
    def setUp(self):
        super().setUp()
        self.other, _ = self.another(OTHER_ID, name='other')
        self.manager.prefetch(self.image)
        self.manager.prefetch(self.other)

    def test_list_returns_the_cached_images(self):
        self.assertEqual(
            [self.image, self.other],
            [each.image for each in self.manager.list()],
        )

    def test_list_returns_the_least_recently_used_first(self):
        self.create()
        self.assertEqual(
            [self.other, self.image],
            [each.image for each in self.manager.list()],
        )

    def test_an_image_is_found_by_id_prefix_and_name(self):
        for text in (self.image.id, 'an image', '3', self.image.id[:-1]):
            self.assertEqual(self.image, self.manager.find(text).image)

    def test_an_id_is_preferred_to_a_name(self):
        third, _ = self.another(
            'eeeeeeee-ffff-0000-0000-000000000000', name=OTHER_ID
        )
        self.manager.prefetch(third)
        self.assertEqual(self.other, self.manager.find(OTHER_ID).image)
        self.assertEqual(third, self.manager.find('eeee').image)

    def test_an_image_that_is_not_cached_is_not_found(self):
        for text in ('', 'image', 'nothing', OTHER_ID.upper(), OTHER_ID[1:]):
            self.assertRaises(
                exceptions.ImageNotCached, self.manager.find, text
            )

    def test_an_ambiguous_text_is_an_error_that_names_the_ids(self):
        third, _ = self.another(
            'ffffeeee-ffff-0000-0000-000000000000', name='other'
        )
        self.manager.prefetch(third)
        for text in ('other', 'ffff'):
            error = self.assertRaises(
                exceptions.ImageAmbiguous, self.manager.find, text
            )
            self.assertIn(OTHER_ID, str(error))
            self.assertIn(third.id, str(error))

    def test_the_catalog_that_a_disk_belongs_to_is_known(self):
        other = self.driver.add(
            'other',
            label=ownership.label(models.new_fill_id(catalog_id='5e1f0c2a')),
        )
        self.assertEqual('5e1f0c2a', self.manager.other_catalog_of(other))
        self.manager.create_disk(self.image, 'disk')
        own = self.driver.find_disk('disk')
        self.assertEqual('', self.manager.other_catalog_of(own))
        self.assertEqual('5e1f0c2a', self.manager.other_catalog_of(other))
        self.catalog.broken = {'identity.own'}
        for disk in (own, other):
            self.assertRaises(
                exceptions.CatalogError, self.manager.other_catalog_of, disk
            )
        self.assertEqual(
            '', self.manager.other_catalog_of(self.driver.add('unlabelled'))
        )

    def test_usage_counts_images_bytes_and_actions(self):
        self.create()
        usage = self.manager.usage()
        self.assertEqual((2, 2 * base.GIB), (usage.images, usage.cached))
        self.assertEqual(3 * base.GIB, usage.pool.used)
        self.assertEqual({'prefetch', 'hit'}, set(usage.totals))
        self.assertEqual(Total(1, 0, self.size), usage.totals['hit'])

    def test_usage_is_consistent_while_images_are_fetched(self):
        real, late = (
            self.catalog.base_images.list,
            self.another('e' + OTHER_ID[1:]),
        )

        def come_between(pool):
            self.catalog.base_images.list = real
            self.prefetch(late[0])
            return real(pool)

        self.catalog.base_images.list = come_between
        usage = self.manager.usage()
        self.assertEqual(3, len(self.manager.list()))
        self.assertEqual((2, 2 * base.GIB), (usage.images, usage.cached))
        self.assertEqual(2 * base.GIB, usage.pool.used)

    def test_a_pool_that_caches_images_itself_has_no_cached_images(self):
        self.driver = fakes.FakePool()
        self.manager = self.make_manager()
        self.assertFalse(self.manager.caches_images)
        self.assertRaises(exceptions.NotSupported, self.manager.list)
        self.assertRaises(exceptions.NotSupported, self.manager.find, 'x')
        self.assertRaises(exceptions.NotSupported, self.manager.purge, [])
        self.assertEqual(
            (0, 0), (self.manager.usage().images, self.manager.usage().cached)
        )
        self.assertIs(POOL, self.create().outcome)


class PurgeTest(ManagerTestCase):
    def setUp(self):
        super().setUp()
        self.other, self.other_content = self.another(OTHER_ID)
        self.create()
        self.create('other', self.other)

    def _purge(self, *records):
        return {
            each.base_image.image.id: each
            for each in self.manager.purge(records or self.manager.list())
        }

    def test_all_images_are_purged(self):
        results = self._purge()
        self.assertEqual({self.image.id, OTHER_ID}, set(results))
        self.assertTrue(all(each.removed for each in results.values()))
        self.assertEqual([], self.manager.list())
        # Disks that were copied from them are complete.
        self.assertEqual(['disk', 'other'], self.driver.names())
        self.assert_bytes(self.content, self.driver.content('disk'))
        self.assertEqual(
            Total(2, 0, 0), self.catalog.history.totals('pool')['purge']
        )

    def test_one_image_is_purged(self):
        self._purge(self.manager.find(OTHER_ID))
        self.check_cached()
        self.assertEqual(1, len(self.manager.list()))

    def test_no_image_is_purged_of_an_empty_list(self):
        self.assertEqual([], self.manager.purge([]))
        self.assertEqual(2, len(self.manager.list()))

    def test_a_purged_image_is_fetched_again(self):
        self._purge()
        self.check(self.create('again'), MISS)
        self.check_cached()

    def test_purge_keeps_an_image_in_progress(self):
        before = self.record()
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            results = self._purge()
        self.assertFalse(results[self.image.id].removed)
        self.assertEqual(removal.BUSY, results[self.image.id].reason)
        self.assertTrue(results[OTHER_ID].removed)
        self.assertEqual(before, self.record())
        self.check(self.create('again'), HIT)

    def test_purge_keeps_an_image_that_was_fetched_again(self):
        stale = self.record()
        self._purge(stale)
        self.manager.prefetch(self.image)
        self.assertFalse(self._purge(stale)[self.image.id].removed)
        self.check_cached()

    def test_an_image_is_not_purged_twice(self):
        stale = self.record()
        self._purge(stale)
        self.assertFalse(self._purge(stale)[self.image.id].removed)

    def _fail_one(self, kind):
        def fail(disk):
            if disk.name == self.base_name:
                raise kind(action='delete it', reason='why')

        self.driver.before['delete'] = fail
        results = self._purge()
        self.assertFalse(results[self.image.id].removed)
        self.assertIn('why', results[self.image.id].reason)
        self.assertTrue(results[OTHER_ID].removed)

    def test_an_image_whose_deletion_is_refused_is_served_again(self):
        before = self.record()
        self._fail_one(exceptions.PowerVMRequestFailed)
        self.assertEqual(before, self.record())
        self.check(self.create('hit'), HIT)
        del self.driver.before['delete']
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertEqual(['disk', 'hit', 'other'], self.driver.names())

    def test_an_image_whose_deletion_is_uncertain_is_not_served(self):
        self._fail_one(exceptions.PowerVMBusy)
        self.assertIs(models.State.EVICTING, self.record().state)
        del self.driver.before['delete']
        self.check(self.create('again'), MISS)
        self.check_cached()

    def test_the_next_purge_finishes_an_uncertain_deletion(self):
        self._fail_one(exceptions.PowerVMBusy)
        del self.driver.before['delete']
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertEqual(['disk', 'other'], self.driver.names())

    def test_the_record_of_a_missing_disk_is_purged(self):
        self.driver.vanish(self.base_name)
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertIsNone(self.record())

    def test_purge_keeps_a_disk_that_replaced_ours(self):
        self.driver.vanish(self.base_name)
        theirs = self.driver.add(self.base_name)
        self._purge()
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_purge_removes_an_incomplete_base_image(self):
        self._purge()
        self.leave_behind()
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertNotIn(self.base_name, self.driver.names())
        self.assertEqual(set(), self.driver.uploads)

    def test_purge_removes_an_incomplete_base_image_without_udid(self):
        self._purge()
        self.leave_behind(udid=False)
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertEqual(['disk', 'other'], self.driver.names())

    def test_purge_keeps_a_record_whose_disk_may_appear(self):
        self._purge()
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        purged = self._purge()[self.image.id]
        self.assertFalse(purged.removed)
        self.assertEqual(removal.MAY_APPEAR, purged.reason)
        # PowerVM was still working on the request.
        self.driver.add(self.base_name, label=ownership.label(record.fill_id))
        self.assertEqual((self.base_name,), self.manager.reconcile().removed)
        self.assertNotIn(self.base_name, self.driver.names())

    def test_purge_removes_a_record_whose_disk_cannot_appear(self):
        self._purge()
        self.catalog.base_images.start_fill('pool', self.base_name, self.image)
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertIsNone(self.record())

    def test_purge_keeps_a_record_whose_name_a_foreign_disk_has(self):
        self._purge()
        self.leave_behind(udid=False, label='')
        purged = self._purge()[self.image.id]
        self.assertFalse(purged.removed)
        self.assertEqual(removal.MAY_APPEAR, purged.reason)
        self.patch(ownership, 'LONGEST_REQUEST', 0)
        purged = self._purge()[self.image.id]
        self.assertFalse(purged.removed)
        self.assertIn('the cache did not create', purged.reason)
        self.assertIn(self.base_name, self.driver.names())

    def test_reconcile_removes_an_incomplete_base_image(self):
        self._purge()
        self.leave_behind()
        self.assertEqual((self.base_name,), self.manager.reconcile().removed)
        self.driver = fakes.FakePool()
        self.assertRaises(
            exceptions.NotSupported, self.make_manager().reconcile
        )

    def test_purge_releases_all_locks(self):
        self._purge()
        for name in (self.base_name, 'i_ffffffff_ffff'):
            self.assertTrue(self.locks.is_free(f'image-pool-{name}'))


class CleanupTest(ManagerTestCase):
    def history(self):
        """Return the details of the cleanup runs, oldest first."""
        return [
            each.detail
            for each in reversed(
                self.catalog.history.list('pool', actions=['cleanup'])
            )
        ]

    def test_the_work_of_a_run_is_in_the_history(self):
        self.leave_behind()
        self.manager.run_cleanup()
        self.assertEqual(
            ['1 incomplete disk(s) removed, 1 record(s) removed'],
            self.history(),
        )

    def test_a_run_without_work_is_recorded_but_not_in_the_history(self):
        self.prefetch()
        self.assertIsNone(self.manager.usage().last_run)
        for now in (5e8, 6e8):
            self.patch(time, 'time', lambda now=now: now)
            self.assertEqual(
                'nothing to do', self.manager.run_cleanup().summary
            )
            self.assertEqual(
                models.LastRun(now, ''),
                self.manager.usage().last_run,
            )
        self.assertEqual([], self.history())

    def test_the_history_has_the_begin_and_the_end_of_an_error(self):
        self.prefetch()
        failing = {'choose': 'first'}

        class Bad(lru.LRUPolicy):
            def choose(self, view):
                if failing:
                    raise RuntimeError(failing['choose'])
                return []

        self.policies = [pipeline.NamedPolicy('bad', Bad(None, None))]
        self.manager = self.make_manager()
        skipped = 'policy bad failed and was skipped: RuntimeError: '
        for said in ('first', 'first', 'second', 'second', None, None):
            failing.clear()
            if said:
                failing['choose'] = said
            self.manager.run_cleanup()
            self.assertEqual(
                skipped + said if said else '',
                self.manager.usage().last_run.error,
            )
        self.assertEqual(
            [f'{skipped}first', f'{skipped}second', 'nothing to do'],
            self.history(),
        )

    def test_a_run_succeeds_if_it_cannot_be_recorded(self):
        self.catalog.broken = {'pools.record_run'}
        self.assertEqual('nothing to do', self.manager.run_cleanup().summary)

    def test_a_failing_policy_is_skipped_and_reported(self):
        class Bad(none.NonePolicy):
            def choose(self, view):
                raise RuntimeError('broken')

        self.policies = [
            pipeline.NamedPolicy('bad', Bad()),
            pipeline.NamedPolicy('age', age.AgePolicy(-1)),
        ]
        self.settings = cache_module.Settings(minimum_age=0)
        self.manager = self.make_manager()
        self.prefetch()
        done = self.manager.run_cleanup()
        self.assertEqual(
            '1 image(s) evicted (1 GiB), policy bad failed and was skipped: '
            'RuntimeError: broken',
            done.summary,
        )
        self.assertEqual([done.summary], self.history())

    def test_a_run_that_cannot_evict_reports_the_reason(self):
        self.patch(evictor, 'LOCK_TIMEOUT', 0)
        self.policies = [pipeline.NamedPolicy('age', age.AgePolicy(-1))]
        self.manager = self.make_manager()
        with self.cache.eviction_lock(0):
            done = self.manager.run_cleanup()
        self.assertIsNone(done.eviction)
        self.assertIn('nothing was evicted: Waited', done.summary)
        self.assertEqual([done.summary], self.history())


class CleanupHistoryTest(ManagerTestCase):
    """What reconciliation did, as the history has it."""

    def history(self):
        return [
            (each.action, each.disk_name, each.image_id, each.detail)
            for each in self.catalog.history.list(
                'pool', actions=['discard', 'quarantine']
            )
        ]

    def test_a_removed_disk_is_in_the_history(self):
        self.leave_behind()
        self.manager.reconcile()
        self.assertEqual(
            [('discard', self.base_name, None, 'incomplete, removed')],
            self.history(),
        )

    def test_a_removed_record_is_in_the_history(self):
        self.prefetch()
        self.driver.vanish(self.base_name)
        self.manager.run_cleanup()
        self.assertEqual(
            [
                (
                    'discard',
                    self.base_name,
                    None,
                    'disk missing, record removed',
                )
            ],
            self.history(),
        )

    def test_a_quarantine_is_in_the_history_with_its_image(self):
        self.prefetch()
        self.driver.taken = {self.base_name}
        self.manager.run_cleanup()
        ((action, name, image_id, detail),) = self.history()
        self.assertEqual(
            ('quarantine', self.base_name, self.image.id),
            (action, name, image_id),
        )
        self.assertIn('mapped', detail)

    def test_reconcile_looks_for_stale_uploads_again(self):
        self.manager.run_cleanup()
        udid = self.create().disk.udid
        self.driver.uploads.add(udid)
        self.manager.run_cleanup()
        self.assertEqual({udid}, self.driver.uploads)
        self.manager.reconcile()
        self.assertEqual(set(), self.driver.uploads)


class InUseTest(ManagerTestCase):
    """Images that instances of this host use."""

    def setUp(self):
        super().setUp()
        self.prefetch()

    def forecast(self, **kwargs):
        return [
            reason
            for _, reason in self.manager.forecast(
                self.manager.list(), **kwargs
            )
        ]

    def purge(self, **kwargs):
        return [
            each.removed
            for each in self.manager.purge(self.manager.list(), **kwargs)
        ]

    def test_a_run_records_the_images_in_use(self):
        self.manager.run_cleanup([self.image.id])
        self.assertIn(self.image.id, self.manager.reader().in_use())

    def test_a_run_that_does_not_know_them_keeps_the_images_in_use(self):
        self.manager.run_cleanup([self.image.id])
        self.manager.run_cleanup()
        self.assertIn(self.image.id, self.manager.reader().in_use())
        self.manager.run_cleanup([])
        self.assertEqual({}, self.manager.reader().in_use())

    def test_purge_keeps_an_image_in_use_if_it_is_asked_to(self):
        self.manager.run_cleanup([self.image.id])
        self.assertIn(self.image.id, self.forecast(spare_in_use=True)[0])
        self.assertEqual([False], self.purge(spare_in_use=True))
        self.check_cached()

    def test_purge_removes_an_image_in_use_otherwise(self):
        self.manager.run_cleanup([self.image.id])
        self.assertEqual([''], self.forecast())
        self.assertEqual([True], self.purge())

    def test_purge_keeps_a_pinned_image(self):
        self.manager.pin(self.image.id)
        self.assertIn('pinned', self.forecast()[0])
        self.assertEqual([False], self.purge())
        self.assertTrue(self.manager.unpin(self.image.id))
        self.assertFalse(self.manager.unpin(self.image.id))
        self.assertEqual([True], self.purge())

    def test_the_forecast_names_an_image_in_progress(self):
        with self.cache.fill_lock(self.base_name, 0):
            self.assertEqual([removal.BUSY], self.forecast())

    def test_pins_and_unpins_are_in_the_history(self):
        self.manager.pin(self.image.id, 'a note', name='an image')
        self.manager.unpin(self.image.id)
        self.manager.unpin(self.image.id)
        self.assertEqual(
            [('unpin', None), ('pin', 'a note')],
            [
                (each.action, each.detail)
                for each in self.catalog.history.list(
                    'pool', actions=['pin', 'unpin']
                )
            ],
        )

    def test_an_adoption_is_in_the_history(self):
        self.purge()
        disk = self.driver.add(self.base_name, content=self.content)
        self.assertEqual(disk, self.manager.adoptable(self.image))
        self.assertEqual(disk.udid, self.manager.adopt(self.image).udid)
        self.assertEqual(1, self.catalog.history.totals('pool')['adopt'].times)

    def test_a_purge_is_in_the_history_with_its_reason(self):
        self.manager.purge(self.manager.list(), reason='security')
        (event,) = self.catalog.history.list('pool', actions=['purge'])
        self.assertEqual(
            (self.image.id, 'security'), (event.image_id, event.detail)
        )


class ExplainTest(ManagerTestCase):
    def setUp(self):
        super().setUp()
        self.policies = [pipeline.NamedPolicy('age', age.AgePolicy(-1))]
        self.settings = cache_module.Settings(minimum_age=0)
        self.manager = self.make_manager()
        self.prefetch()

    def explain(self):
        return self.manager.explain(self.record())

    def test_an_explanation_has_the_policy_that_selects_the_image(self):
        found = self.explain()
        self.assertEqual('age', found.choice.policy)
        self.assertEqual(
            (self.record(), None, None, None, True),
            (
                found.base_image,
                found.veto,
                found.pin,
                found.in_use_at,
                found.automatic,
            ),
        )

    def test_an_explanation_has_the_pin_and_its_veto(self):
        self.manager.pin(self.image.id, 'a note')
        found = self.explain()
        self.assertEqual('a note', found.pin.note)
        self.assertIs(eviction_base.Veto.PINNED, found.veto)
        self.assertIsNone(found.choice)

    def test_an_explanation_has_the_last_use_by_instances(self):
        self.manager.run_cleanup([self.image.id])
        found = self.explain()
        self.assertIs(eviction_base.Veto.IN_USE, found.veto)
        self.assertIsNotNone(found.in_use_at)

    def test_a_dry_run_evicts_nothing(self):
        done = self.manager.evict(dry_run=True)
        self.assertEqual((1, 0), (len(done.plan.choices), done.freed))
        self.check_cached()
        self.assertEqual(base.GIB, self.manager.evict().freed)
        self.assertIsNone(self.record())


class NamesElsewhereTest(ManagerTestCase):
    def test_names_that_this_pool_needs_are_returned(self):
        self.create('vm1')
        self.driver.disks_elsewhere = lambda: [
            (driver_base.Disk(name, 'u', 1), 'volume group x')
            for name in ('vm1', 'theirs', self.base_name, 'starting')
        ]
        self.catalog.instance_disks.start('pool', 'starting', 5)
        self.assertEqual(
            dict.fromkeys(
                ['vm1', self.base_name, 'starting'], 'volume group x'
            ),
            self.manager.names_elsewhere(),
        )
        self.driver.disks_elsewhere = list
        self.assertEqual({}, self.manager.names_elsewhere())

    def test_a_refused_name_is_in_the_history(self):
        def refuse(*args):
            raise exceptions.DiskExistsElsewhere(name='vm1', pool='x')

        self.driver.before['create_disks'] = refuse
        self.assertRaises(
            exceptions.DiskExistsElsewhere,
            self.manager.create_disk,
            self.image,
            'vm1',
        )
        event = self.catalog.history.last_of_disk('pool', 'vm1')
        self.assertEqual('refuse', event.action)


class MetricsTest(ManagerTestCase):
    def run_with(self, path):
        listener = plugins.LoadedListener(
            'metrics', metrics_file.MetricsFile(lambda: path), '', True
        )
        made = self.make_manager(listener=dispatch.Dispatcher([listener]))
        self.addCleanup(made.close)
        return made.run_cleanup()

    def test_a_cleanup_run_writes_the_metrics_file(self):
        path = self.path('metrics.prom')
        self.run_with(path)
        self.assertTrue(os.path.getsize(path))

    def test_a_run_succeeds_if_the_metrics_cannot_be_written(self):
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            done = self.run_with('/dev/null/metrics.prom')
        self.assertEqual('nothing to do', done.summary)
        self.assertIn('metrics', logs.output[0])


class PoolNameTest(ManagerTestCase):
    def test_the_pool_is_recorded_under_its_name_once_there_is_a_catalog(
        self,
    ):
        made = self.make_manager(pool_name='the name')
        made.usage()
        self.assertFalse(self.catalog.exists)
        made.prefetch(self.image)
        self.assertEqual('pool', self.catalog.pools.id_of('the name'))

    def test_an_operation_succeeds_if_the_pool_cannot_be_recorded(self):
        self.catalog.broken = {'pools.record_name'}
        made = self.make_manager(pool_name='the name')
        self.assertTrue(made.prefetch(self.image).fetched)
        self.catalog.broken = set()
        made.usage()
        self.assertEqual('pool', self.catalog.pools.id_of('the name'))


class EventsTest(ManagerTestCase):
    def make_manager(self):
        self.events = []
        return super().make_manager(listener=self.events.append)

    def take_events(self):
        taken = [
            (each.kind.value, each.image_id, each.disk_name, each.size)
            for each in self.events
        ]
        self.assertEqual({'pool'}, {each.pool for each in self.events})
        self.events.clear()
        return taken

    def test_the_listener_is_notified_of_fetches_and_purges(self):
        self.create('a')
        cached = [('cached', self.image.id, BASE_NAME, self.size)]
        self.assertEqual(
            [*cached, ('deployed', self.image.id, 'a', self.size)],
            self.take_events(),
        )
        self.create('b')
        self.assertEqual('hit', self.events[0].code)
        self.assertEqual(
            [('deployed', self.image.id, 'b', self.size)], self.take_events()
        )
        self.manager.purge(self.manager.list())
        self.assertEqual('purged by an operator', self.events[0].reason)
        self.assertEqual(
            [('evicted', self.image.id, BASE_NAME, self.size)],
            self.take_events(),
        )
        self.manager.prefetch(self.image)
        self.manager.purge(self.manager.list(), reason='a new release')
        self.assertEqual('a new release', self.events[-1].reason)
        self.take_events()
        self.manager.prefetch(self.image)
        self.manager.prefetch(self.image)
        self.assertEqual(cached, self.take_events())

    def test_the_listener_is_notified_of_evictions(self):
        self.policies = [pipeline.NamedPolicy('age', age.AgePolicy(-1))]
        self.settings = cache_module.Settings(minimum_age=0)
        self.manager = self.make_manager()
        self.prefetch()
        self.events.clear()
        self.manager.run_cleanup()
        self.assertTrue(self.events[0].reason.startswith('age: '))
        self.assertEqual('unused', self.events[0].code)
        self.assertEqual(
            [
                ('evicted', self.image.id, BASE_NAME, self.size),
                ('cleanup', '', '', 0),
            ],
            self.take_events(),
        )

    def test_the_listener_is_notified_of_bypasses(self):
        self.settings = cache_module.Settings(enabled=False)
        self.manager = self.make_manager()
        self.create('a')
        self.assertIn('switched off', self.events[0].reason)
        self.assertEqual(
            [
                ('bypassed', self.image.id, 'a', self.size),
                ('deployed', self.image.id, 'a', self.size),
            ],
            self.take_events(),
        )

    def test_an_event_says_who_did_what_when(self):
        context = types.SimpleNamespace(user_name='ann', project_id='dev')
        before = time.time()
        done = self.create('a', context=context)
        for event in self.events:
            self.assertEqual(
                ('miss', 'dev', self.image.name, self.size),
                (
                    event.code,
                    event.project_id,
                    event.image_name,
                    event.bytes_fetched,
                ),
            )
            self.assertTrue(event.requester.startswith('ann as '))
            self.assertEqual(done.seconds['total'], event.seconds)
            self.assertLessEqual(before, event.at)
        self.events.clear()
        self.manager.purge(self.manager.list())
        self.assertEqual(
            ('purge', self.catalog.who),
            (self.events[0].code, self.events[0].requester),
        )

    def test_the_project_is_that_of_the_image_without_a_request(self):
        self.image = dataclasses.replace(
            self.image, metadata=image_module.Metadata('owner')
        )
        self.manager.prefetch(self.image)
        self.assertEqual(
            ('owner', 'prefetch'),
            (self.events[0].project_id, self.events[0].code),
        )

    def test_failures_are_events_too(self):
        self.source.put(self.image, exceptions.ImageForbidden(image='x'))
        for call in (
            lambda: self.create('a'),
            lambda: self.manager.prefetch(self.image),
        ):
            error = self.assertRaises(exceptions.ImageForbidden, call)
            (event,) = self.events
            self.assertEqual(
                ('failed', 'image-forbidden', str(error), self.image.id),
                (
                    event.kind.value,
                    event.code,
                    event.reason,
                    event.image_id,
                ),
            )
            self.events.clear()

    def test_a_failure_is_an_event_while_powervm_is_unreachable(self):
        def fail():
            raise exceptions.PowerVMTimedOut(url='x', reason='gone', hint='')

        self.driver.pool_id = fail
        error = self.assertRaises(
            exceptions.PVMImageCacheError, self.create, 'a'
        )
        self.assertEqual(
            ('', events.code_of(error)),
            (self.events[-1].pool, self.events[-1].code),
        )

    def test_powervm_is_not_asked_for_the_event_of_a_failure(self):
        self.create('a')
        asked = []
        answer = self.driver.pool_id

        def pool_id():
            asked.append(1)
            return answer()

        def fail(*args):
            asked.clear()
            raise exceptions.ImageForbidden(image='x')

        self.driver.pool_id = pool_id
        self.patch(instance_disk.InstanceDeploy, 'run', fail)
        context = types.SimpleNamespace(user_name='ann', project_id='dev')
        self.assertRaises(
            exceptions.ImageForbidden, self.create, 'b', context=context
        )
        self.assertEqual([], asked)
        event = self.events[-1]
        self.assertEqual(
            ('failed', 'b', 'dev'),
            (event.kind.value, event.disk_name, event.project_id),
        )
        self.assertTrue(event.requester.startswith('ann as '))
        self.assertLessEqual(0, event.seconds)

    def test_the_rest_is_closed_if_the_driver_cannot_be(self):
        closed = []
        self.patch(self.catalog, 'close', lambda: closed.append('catalog'))

        def fail():
            closed.append('driver')
            raise exceptions.PowerVMTimedOut(url='x', reason='gone', hint='')

        self.patch(self.driver, 'close', fail)
        self.assertRaises(exceptions.PowerVMTimedOut, self.manager.close)
        self.assertEqual(['driver', 'catalog'], closed)

    def test_what_a_cleanup_run_finds_is_an_event(self):
        self.create('a')
        self.driver.vanish(BASE_NAME)
        self.events.clear()
        self.manager.run_cleanup()
        self.assertEqual(
            [('discarded', 'disk-missing'), ('cleanup', 'cleanup')],
            [(each.kind.value, each.code) for each in self.events],
        )
        self.assertEqual(BASE_NAME, self.events[0].disk_name)

    def test_a_failing_listener_does_not_fail_operations(self):
        log = self.useFixture(fixtures.FakeLogger())

        def fail(event):
            raise RuntimeError('no luck')

        self.manager = ManagerTestCase.make_manager(self, listener=fail)
        self.check(self.create('a'), MISS)
        self.manager.purge(self.manager.list())
        self.check(self.create('b'), MISS)
        self.assertEqual(
            1, log.output.count('listener failed: RuntimeError: no luck')
        )


class FromConfTest(base.CacheTestCase):
    def make_manager(self, **values):
        """Create a manager by its configuration, of a pool in memory."""
        self.patch(plugins, 'load_driver', lambda conf: self.driver)
        self.conf = self.make_conf(
            volume_group_name='vg',
            state_path=self.path('configured'),
            **values,
        )
        made = manager.ImageManager.from_conf(self.conf, self.source)
        self.addCleanup(made.close)
        return made

    def settings_of(self, made):
        """Return the settings that an operation of a manager is given."""
        seen = []

        def see(cache, *args):
            seen.append(cache.settings)
            raise exceptions.CacheDisabled

        self.patch(prefetch, 'Prefetch', see)
        self.assertRaises(exceptions.CacheDisabled, made.prefetch, self.image)
        return seen[0]

    def set_options(self, **values):
        for name, value in values.items():
            self.conf.set_override(name, value, 'pvm_imagecache')

    def test_reconfigure_applies_options_and_policies(self):
        made = self.make_manager(minimum_age=0, eviction_policies=['age'])
        made.prefetch(self.image)
        (record,) = made.list()
        before = made.explain(record)
        self.assertEqual((True, None), (before.automatic, before.veto))
        self.set_options(minimum_age=10**6, eviction_policies=['none'])
        made.reconfigure(self.conf)
        after = made.explain(record)
        self.assertEqual(
            (False, eviction_base.Veto.YOUNG), (after.automatic, after.veto)
        )
        self.assertEqual([record], made.list())

    def test_reconfigure_changes_nothing_if_a_policy_is_unknown(self):
        made = self.make_manager(minimum_age=0, eviction_policies=['age'])
        made.prefetch(self.image)
        self.set_options(minimum_age=10**6, eviction_policies=['x'])
        self.assertRaises(
            exceptions.PluginNotFound, made.reconfigure, self.conf
        )
        explained = made.explain(made.list()[0])
        self.assertEqual((True, None), (explained.automatic, explained.veto))

    def test_reconfigure_keeps_listener_and_log_memory(self):
        def fail(event):
            raise RuntimeError('no luck')

        self.patch(plugins, 'load_driver', lambda conf: self.driver)
        conf = self.make_conf(
            volume_group_name='vg', state_path=self.path('configured')
        )
        made = manager.ImageManager.from_conf(conf, self.source, listener=fail)
        self.addCleanup(made.close)
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            for _ in range(2):
                made.prefetch(self.image)
                made.purge(made.list())
                made.reconfigure(conf)
        self.assertEqual(1, len(logs.output))

    def test_the_options_reach_the_operations(self):
        self.assertEqual(
            cache_module.Settings(
                stall_timeout=7,
                fetch_timeout=8,
                check_download_permission=False,
                minimum_age=9,
            ),
            self.settings_of(
                self.make_manager(
                    stall_timeout=7,
                    fetch_timeout=8,
                    check_download_permission=False,
                    minimum_age=9,
                )
            ),
        )

    def test_a_disabled_cache_is_bypassed(self):
        made = self.make_manager(enabled=False)
        self.check(made.create_disk(self.image, 'disk'), BYPASS)

    def test_catalog_and_locks_are_in_the_state_directory(self):
        made = self.make_manager()
        self.assertTrue(made.caches_images)
        made.prefetch(self.image)
        for name in ('catalog.sqlite', 'locks'):
            self.assertTrue(os.path.exists(self.path('configured', name)))

    def test_the_user_is_in_the_history(self):
        self.patch(plugins, 'load_driver', lambda conf: self.driver)
        conf = self.make_conf(
            volume_group_name='vg', state_path=self.path('configured')
        )
        made = manager.ImageManager.from_conf(
            conf, self.source, who='operator@example'
        )
        self.addCleanup(made.close)
        made.pin(self.image.id)
        self.assertEqual('operator@example', made.pins()[self.image.id].who)

    def test_close_closes_driver_and_catalog(self):
        driver = fakes.FakeDriver()
        catalog = facade.Catalog(self.path('c.sqlite'))
        catalog.base_images.list('pool')
        before = base.descriptors()
        manager.ImageManager(
            driver, None, catalog, None, cache_module.Settings()
        ).close()
        self.assertTrue(driver.closed)
        self.assertLess(base.descriptors(), before)

    def test_an_unknown_policy_is_an_error(self):
        self.assertRaises(
            exceptions.PluginNotFound,
            manager.ImageManager.from_conf,
            self.make_conf(
                volume_group_name='vg', eviction_policies=['none', 'x']
            ),
            None,
        )

    def test_a_missing_option_of_the_driver_is_an_error(self):
        self.assertRaises(
            exceptions.ConfigurationError,
            manager.ImageManager.from_conf,
            self.make_conf(),
            None,
        )
