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

"""The one door to the cache."""

import dataclasses
import time

import fixtures

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import manager
from pvm_imagecache import naming
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.eviction import age
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
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

    def make_manager(self):
        return manager.ImageManager(
            self.driver,
            self.source,
            self.catalog,
            self.locks,
            self.settings,
            self.policies,
        )

    def create(self, name='disk', image=None, **kwargs):
        return self.manager.create_disk(image or self.image, name, **kwargs)


class CreateTest(ManagerTestCase):
    def test_miss_and_hit(self):
        self.check(self.create('a'), MISS)
        self.check(self.create('b'), HIT)
        self.assertEqual(
            {'miss': Total(1, self.size, 0), 'hit': Total(1, 0, self.size)},
            self.catalog.history.totals('pool'),
        )

    def test_bypass(self):
        self.settings = cache_module.Settings(enabled=False)
        self.manager = self.make_manager()
        self.check(self.create(), BYPASS)
        self.assertEqual(
            {'bypass': Total(1, self.size, 0)},
            self.catalog.history.totals('pool'),
        )

    def test_a_history_that_can_not_be_written_matters_to_nobody(self):
        self.catalog = facade.Catalog('/dev/null/c.sqlite')
        self.manager = self.make_manager()
        self.check(self.create(), BYPASS)

    def test_a_history_that_is_locked_matters_to_nobody(self):
        def fail(*args, **kwargs):
            raise exceptions.CatalogError(path='p', reason='locked')

        self.catalog.add_history = fail
        self.check(self.create(), MISS)

    def test_arguments_reach_the_deploy(self):
        told = []
        done = self.create(
            size=3 * base.GIB, progress=lambda *args: told.append(args)
        )
        self.assertEqual(3 * base.GIB, done.disk.capacity)
        self.assertTrue(told)

    def test_names_are_checked_before_anything_is_done(self):
        for name in ('', 'sixteen_letters_', 'a b', self.base_name):
            self.assertRaises(exceptions.DiskNameInvalid, self.create, name)
        self.assertEqual([], self.source.opened)
        self.check_nothing_left()

    def test_names_are_as_long_as_the_pool_takes_them(self):
        class Long(fakes.FakeDriver):
            max_name_length = 20

        self.driver = Long()
        self.manager = self.make_manager()
        self.create('sixteen_letters_')
        self.assertRaises(exceptions.DiskNameInvalid, self.create, 'x' * 21)

    def test_formats_are_checked_before_anything_is_done(self):
        self.assertRaises(
            exceptions.ImageFormatUnsupported,
            self.create,
            image=dataclasses.replace(self.image, disk_format='vmdk'),
        )
        self.check_nothing_left()

    def test_too_small(self):
        self.assertRaises(exceptions.DiskTooSmall, self.create, size=1)
        self.assertEqual({}, self.catalog.history.totals('pool'))


class DeleteTest(ManagerTestCase):
    def test_deleted(self):
        disk = self.create().disk
        self.assertEqual(disk, self.manager.delete_disk('disk'))
        self.assertEqual([self.base_name], self.driver.names())

    def test_not_there(self):
        error = self.assertRaises(
            exceptions.DiskNotFound, self.manager.delete_disk, 'disk'
        )
        self.assertIn('the pool', str(error))

    def test_what_a_partition_has_is_refused(self):
        # A platform that would not refuse it.
        self.create()
        self.driver.taken = {'disk'}
        error = self.assertRaises(
            exceptions.DiskInUse, self.manager.delete_disk, 'disk'
        )
        self.assertIn('mapped to a partition', str(error))
        self.assertIn('disk', self.driver.names())

    def test_a_cached_image_is_refused(self):
        self.create()
        error = self.assertRaises(
            exceptions.DiskNotOurs, self.manager.delete_disk, self.base_name
        )
        self.assertIn(self.image.id, str(error))
        self.check_cached()

    def test_one_that_is_being_filled_is_refused(self):
        self.leave_behind()
        self.assertRaises(
            exceptions.DiskNotOurs, self.manager.delete_disk, self.base_name
        )
        self.assertIn(self.base_name, self.driver.names())

    def test_a_disk_that_only_has_such_a_name_goes(self):
        self.driver.add(self.base_name)
        self.manager.delete_disk(self.base_name)
        self.assertEqual([], self.driver.names())

    def test_refused_by_the_pool(self):
        self.create()
        self.driver.before['delete'] = fakes.refusal
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.manager.delete_disk, 'disk'
        )

    def test_in_a_pool_of_its_own_the_catalogue_is_not_asked(self):
        self.driver = fakes.FakePool()
        self.driver.add('disk')
        self.catalog.broken = {'base_images.get'}
        self.make_manager().delete_disk('disk')
        self.assertEqual([], self.driver.names())


class PrefetchTest(ManagerTestCase):
    def test_fetched_once(self):
        self.assertTrue(self.manager.prefetch(self.image).fetched)
        self.assertFalse(self.manager.prefetch(self.image).fetched)
        self.check_cached()
        self.assertEqual(
            {'prefetch': Total(1, self.size, 0)},
            self.catalog.history.totals('pool'),
        )

    def test_switched_off(self):
        self.settings = cache_module.Settings(enabled=False)
        self.assertRaises(
            exceptions.CacheDisabled, self.make_manager().prefetch, self.image
        )
        self.assertEqual([], self.source.opened)

    def test_nothing_to_prefetch_into(self):
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

    def test_list(self):
        self.assertEqual(
            [self.image, self.other],
            [each.image for each in self.manager.list()],
        )

    def test_list_has_the_least_recently_used_first(self):
        self.create()
        self.assertEqual(
            [self.other, self.image],
            [each.image for each in self.manager.list()],
        )

    def test_found(self):
        for text in (self.image.id, 'an image', '3', self.image.id[:-1]):
            self.assertEqual(self.image, self.manager.find(text).image)

    def test_an_id_goes_before_a_name(self):
        third, _ = self.another(
            'eeeeeeee-ffff-0000-0000-000000000000', name=OTHER_ID
        )
        self.manager.prefetch(third)
        self.assertEqual(self.other, self.manager.find(OTHER_ID).image)
        self.assertEqual(third, self.manager.find('eeee').image)

    def test_not_found(self):
        for text in ('', 'image', 'nothing', OTHER_ID.upper(), OTHER_ID[1:]):
            self.assertRaises(
                exceptions.ImageNotCached, self.manager.find, text
            )

    def test_ambiguous(self):
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

    def test_usage(self):
        self.create()
        usage = self.manager.usage()
        self.assertEqual((2, 2 * base.GIB), (usage.images, usage.cached))
        self.assertEqual(3 * base.GIB, usage.pool.used)
        self.assertEqual({'prefetch', 'hit'}, set(usage.totals))
        self.assertEqual(Total(1, 0, self.size), usage.totals['hit'])

    def test_usage_is_of_one_moment(self):
        images, late = self.catalog.images, self.another('e' + OTHER_ID[1:])

        def come_between(pool):
            self.catalog.images = images
            self.prefetch(late[0])
            return images(pool)

        self.catalog.images = come_between
        usage = self.manager.usage()
        self.assertEqual(3, len(self.manager.list()))
        self.assertEqual((2, 2 * base.GIB), (usage.images, usage.cached))
        self.assertEqual(2 * base.GIB, usage.pool.used)

    def test_a_pool_that_keeps_images_itself(self):
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

    def test_all(self):
        results = self._purge()
        self.assertEqual({self.image.id, OTHER_ID}, set(results))
        self.assertTrue(all(each.removed for each in results.values()))
        self.assertEqual([], self.manager.list())
        # What was copied from them is whole.
        self.assertEqual(['disk', 'other'], self.driver.names())
        self.assert_bytes(self.content, self.driver.content('disk'))
        self.assertEqual(
            Total(2, 0, 0), self.catalog.history.totals('pool')['purge']
        )

    def test_one(self):
        self._purge(self.manager.find(OTHER_ID))
        self.check_cached()
        self.assertEqual(1, len(self.manager.list()))

    def test_none(self):
        self.assertEqual([], self.manager.purge([]))
        self.assertEqual(2, len(self.manager.list()))

    def test_it_is_fetched_again_afterwards(self):
        self._purge()
        self.check(self.create('again'), MISS)
        self.check_cached()

    def test_what_is_busy_stays(self):
        before = self.record()
        with self.locks.hold(f'image-pool-{self.base_name}', 0):
            results = self._purge()
        self.assertFalse(results[self.image.id].removed)
        self.assertIn('being filled', results[self.image.id].reason)
        self.assertTrue(results[OTHER_ID].removed)
        self.assertEqual(before, self.record())
        self.check(self.create('again'), HIT)

    def test_what_was_fetched_anew_meanwhile_stays(self):
        stale = self.record()
        self._purge(stale)
        self.manager.prefetch(self.image)
        self.assertFalse(self._purge(stale)[self.image.id].removed)
        self.check_cached()

    def test_what_is_gone_is_not_purged_twice(self):
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

    def test_a_disk_that_can_not_be_deleted_stays(self):
        before = self.record()
        self._fail_one(exceptions.PowerVMRequestFailed)
        self.assertEqual(before, self.record())
        self.check(self.create('hit'), HIT)
        del self.driver.before['delete']
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertEqual(['disk', 'hit', 'other'], self.driver.names())

    def test_a_disk_whose_deletion_may_yet_come_is_served_no_more(self):
        self._fail_one(exceptions.PowerVMBusy)
        self.assertIs(models.State.EVICTING, self.record().state)
        del self.driver.before['delete']
        self.check(self.create('again'), MISS)
        self.check_cached()

    def test_a_deletion_that_may_yet_come_is_made_by_the_next_purge(self):
        self._fail_one(exceptions.PowerVMBusy)
        del self.driver.before['delete']
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertEqual(['disk', 'other'], self.driver.names())

    def test_a_disk_that_is_gone_already(self):
        self.driver.vanish(self.base_name)
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertIsNone(self.record())

    def test_a_disk_that_was_replaced_is_not_ours(self):
        self.driver.vanish(self.base_name)
        theirs = self.driver.add(self.base_name)
        self._purge()
        self.assertEqual(theirs, self.driver.find_disk(self.base_name))

    def test_a_left_over_of_a_dead_process(self):
        self._purge()
        self.leave_behind()
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertNotIn(self.base_name, self.driver.names())
        self.assertEqual(set(), self.driver.uploads)

    def test_a_left_over_whose_udid_nobody_was_told(self):
        self._purge()
        self.leave_behind(udid=False)
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertEqual(['disk', 'other'], self.driver.names())

    def test_a_left_over_that_may_yet_come(self):
        self._purge()
        record = self.catalog.base_images.start_fill(
            'pool', self.base_name, self.image
        )
        purged = self._purge()[self.image.id]
        self.assertFalse(purged.removed)
        self.assertIn('may yet make', purged.reason)
        # PowerVM had been asked for it, and was at it all the time.
        self.driver.add(self.base_name, label=ownership.label(record.fill_id))
        self.assertEqual((self.base_name,), self.manager.reconcile().removed)
        self.assertNotIn(self.base_name, self.driver.names())

    def test_a_left_over_that_will_not_come_any_more(self):
        self._purge()
        self.catalog.base_images.start_fill('pool', self.base_name, self.image)
        self.patch(reconciler, 'LONGEST_REQUEST', 0)
        self.assertTrue(self._purge()[self.image.id].removed)
        self.assertIsNone(self.record())

    def test_a_left_over_that_may_not_be_ours(self):
        self._purge()
        self.leave_behind(udid=False, label='')
        purged = self._purge()[self.image.id]
        self.assertFalse(purged.removed)
        self.assertIn('did not make', purged.reason)
        self.assertIn(self.base_name, self.driver.names())

    def test_reconcile(self):
        self._purge()
        self.leave_behind()
        self.assertEqual((self.base_name,), self.manager.reconcile().removed)
        self.driver = fakes.FakePool()
        self.assertRaises(
            exceptions.NotSupported, self.make_manager().reconcile
        )

    def test_locks_are_given_back(self):
        self._purge()
        for name in (self.base_name, 'i_ffffffff_ffff'):
            self.assertTrue(self.locks.is_free(f'image-pool-{name}'))


class PassTest(ManagerTestCase):
    def history(self):
        with self.catalog._session() as connection:
            return [
                row['detail']
                for row in connection.execute(
                    "SELECT detail FROM history WHERE action = 'pass'"
                    ' ORDER BY id'
                )
            ]

    def test_what_it_did_is_in_the_history(self):
        self.leave_behind()
        self.manager.run_cleanup()
        self.assertEqual(
            ['1 incomplete disk(s) removed, 1 record(s) forgotten'],
            self.history(),
        )

    def test_nothing_is_not_in_the_history_but_when_it_was_is_known(self):
        self.prefetch()
        self.assertIsNone(self.manager.usage().last_pass)
        for now in (5e8, 6e8):
            self.patch(time, 'time', lambda now=now: now)
            self.assertEqual(
                'nothing to do', self.manager.run_cleanup().summary
            )
            self.assertEqual(
                models.LastRun(now, ''),
                self.manager.usage().last_pass,
            )
        self.assertEqual([], self.history())

    def test_trouble_is_told_when_it_begins_and_when_it_ends(self):
        self.prefetch()
        failing = {'choose': 'first'}

        class Bad(none.NonePolicy):
            def choose(self, view):
                if failing:
                    raise RuntimeError(failing['choose'])
                return []

        self.policies = [pipeline.NamedPolicy('bad', Bad())]
        self.manager = self.make_manager()
        self.patch(evictor.Evictor, 'automatic', True)
        told = 'policy bad had no say: RuntimeError: '
        for said in ('first', 'first', 'second', 'second', None, None):
            failing.clear()
            if said:
                failing['choose'] = said
            self.manager.run_cleanup()
            self.assertEqual(
                told + said if said else '',
                self.manager.usage().last_pass.trouble,
            )
        self.assertEqual(
            [f'{told}first', f'{told}second', 'nothing to do'], self.history()
        )

    def test_a_catalogue_that_can_not_keep_it(self):
        def fail(*args):
            raise exceptions.CatalogError(path='c', reason='disk is full')

        self.patch(self.catalog, 'saw_pass', fail)
        self.assertEqual('nothing to do', self.manager.run_cleanup().summary)

    def test_a_policy_that_had_no_say(self):
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
            '1 image(s) evicted (1 GiB), policy bad had no say: '
            'RuntimeError: broken',
            done.summary,
        )
        self.assertEqual([done.summary], self.history())

    def test_an_eviction_that_can_not_be_made(self):
        self.patch(evictor, 'LOCK_TIMEOUT', 0)
        self.policies = [pipeline.NamedPolicy('age', age.AgePolicy(-1))]
        self.manager = self.make_manager()
        with self.cache.eviction_lock(0):
            done = self.manager.run_cleanup()
        self.assertIsNone(done.eviction)
        self.assertIn('nothing was evicted: Waited', done.summary)
        self.assertEqual([done.summary], self.history())


class EventsTest(ManagerTestCase):
    def make_manager(self):
        self.events = []
        made = super().make_manager()
        made._cache = dataclasses.replace(
            made._cache, listener=lambda event: self.events.append(event)
        )
        return made

    def take_told(self):
        told = [
            (each.kind.value, each.image_id, each.disk_name, each.size)
            for each in self.events
        ]
        self.assertEqual({'pool'}, {each.pool for each in self.events})
        self.events.clear()
        return told

    def test_what_is_told(self):
        self.create('a')
        cached = [('cached', self.image.id, BASE_NAME, self.size)]
        self.assertEqual(cached, self.take_told())
        self.create('b')
        self.assertEqual([], self.events)
        self.manager.purge(self.manager.list())
        self.assertEqual('purged by an operator', self.events[0].reason)
        self.assertEqual(
            [('evicted', self.image.id, BASE_NAME, self.size)],
            self.take_told(),
        )
        self.manager.prefetch(self.image)
        self.manager.prefetch(self.image)
        self.assertEqual(cached, self.take_told())

    def test_evicted(self):
        self.policies = [pipeline.NamedPolicy('age', age.AgePolicy(-1))]
        self.settings = cache_module.Settings(minimum_age=0)
        self.manager = self.make_manager()
        self.prefetch()
        self.events.clear()
        self.manager.run_cleanup()
        self.assertTrue(self.events[0].reason.startswith('age: '))
        self.assertEqual(
            [('evicted', self.image.id, BASE_NAME, self.size)],
            self.take_told(),
        )

    def test_bypassed(self):
        self.settings = cache_module.Settings(enabled=False)
        self.manager = self.make_manager()
        self.create('a')
        self.assertIn('switched off', self.events[0].reason)
        self.assertEqual(
            [('bypassed', self.image.id, 'a', self.size)], self.take_told()
        )

    def test_a_listener_that_fails(self):
        log = self.useFixture(fixtures.FakeLogger())

        def fail(event):
            raise RuntimeError('no luck')

        self.manager._cache = dataclasses.replace(
            self.manager._cache, listener=fail
        )
        self.check(self.create('a'), MISS)
        self.manager.purge(self.manager.list())
        self.check(self.create('b'), MISS)
        self.assertIn("told to nobody: RuntimeError('no luck')", log.output)


class FromConfTest(base.TestCase):
    def test_reconfigured(self):
        conf = self.make_conf(
            volume_group_name='vg',
            state_path=self.path('state'),
            minimum_age=5,
            eviction_policies=['age'],
        )
        made = manager.ImageManager.from_conf(conf, None)
        self.addCleanup(made.close)
        before = made._cache
        conf.set_override('minimum_age', 6, 'pvm_imagecache')
        conf.set_override('eviction_policies', ['none'], 'pvm_imagecache')
        made.reconfigure(conf)
        self.assertEqual(6, made._cache.settings.minimum_age)
        self.assertEqual(
            ['none'], [each.name for each in made._cache.policies]
        )
        for name in ('driver', 'catalog', 'lock_directory', 'told'):
            self.assertIs(getattr(before, name), getattr(made._cache, name))
        conf.set_override('eviction_policies', ['x'], 'pvm_imagecache')
        conf.set_override('minimum_age', 7, 'pvm_imagecache')
        self.assertRaises(exceptions.PluginNotFound, made.reconfigure, conf)
        self.assertEqual(6, made._cache.settings.minimum_age)

    def test_settings(self):
        conf = self.make_conf(
            volume_group_name='vg',
            state_path=self.path('state'),
            enabled=False,
            stall_timeout=7,
            fetch_timeout=8,
        )
        made = manager.ImageManager.from_conf(conf, None)
        self.addCleanup(made.close)
        self.assertTrue(made.caches_images)
        self.assertEqual(
            cache_module.Settings(
                enabled=False, stall_timeout=7, fetch_timeout=8
            ),
            made._settings,
        )
        self.assertEqual(
            self.path('state', 'catalog.sqlite'), made._catalog.path
        )

    def test_close(self):
        driver = fakes.FakeDriver()
        catalog = facade.Catalog(self.path('c.sqlite'))
        catalog.base_images.list('pool')
        before = base.descriptors()
        manager.ImageManager(
            driver, None, catalog, None, cache_module.Settings()
        ).close()
        self.assertTrue(driver.closed)
        self.assertLess(base.descriptors(), before)

    def test_a_policy_that_there_is_not(self):
        self.assertRaises(
            exceptions.PluginNotFound,
            manager.ImageManager.from_conf,
            self.make_conf(
                volume_group_name='vg', eviction_policies=['none', 'x']
            ),
            None,
        )

    def test_a_driver_that_lacks_an_option(self):
        self.assertRaises(
            exceptions.ConfigurationError,
            manager.ImageManager.from_conf,
            self.make_conf(),
            None,
        )
