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

"""Tests of the parts that operations of one pool share."""

import dataclasses
import os
import pathlib

from pvm_imagecache import cache as cache_module
from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import facade
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

LOGGER = 'pvm_imagecache'


class PlatformFactsTest(base.CacheTestCase):
    def test_the_facts_are_those_of_the_pool_at_this_moment(self):
        self.assertIsNone(self.cache.platform_facts().granularity)
        facts = self.catalog.platform_facts
        facts.record('other', {'granularity': 9}, {}, '')
        facts.record('pool', {'granularity': 5}, {}, '')
        self.assertEqual(5, self.cache.platform_facts().granularity)

    def test_the_lower_rate_of_copies_is_believed(self):
        facts, history = self.catalog.platform_facts, self.catalog.history
        for measured, of_deploys, rate in (
            (None, None, None),
            (None, 5, 5),
            (7, None, 7),
            (7, 5, 5),
            (5, 7, 5),
        ):
            facts.record('pool', {'copy_rate': measured or 1}, {}, '')
            if measured is None:
                facts.record('pool', {}, {'copy_rate': 'why'}, '')
            self.patch(history, 'copy_rate', lambda pool, r=of_deploys: r)
            self.assertEqual(rate, self.cache.platform_facts().copy_rate)

    def test_a_label_that_was_seen_shows_that_labels_are_kept(self):
        pools = self.catalog.pools
        self.assertIsNone(self.cache.platform_facts().keeps_labels)
        pools.record_labels('other', True)
        self.assertIsNone(self.cache.platform_facts().keeps_labels)
        pools.record_labels('pool', True)
        self.assertIs(True, self.cache.platform_facts().keeps_labels)
        pools.record_labels('pool', False)
        self.assertIsNone(self.cache.platform_facts().keeps_labels)
        for measured in (True, False):
            self.catalog.platform_facts.record(
                'pool', {'keeps_labels': measured}, {}, ''
            )
            self.assertIs(measured, self.cache.platform_facts().keeps_labels)

    def test_to_ask_creates_no_catalog(self):
        cache = dataclasses.replace(
            self.cache, catalog=facade.Catalog(self.path('none', 'catalog'))
        )
        self.assertEqual(
            platform_facts.PlatformFacts(), cache.platform_facts()
        )
        self.assertFalse(os.path.exists(self.path('none')))

    def test_nothing_is_known_without_a_readable_catalog(self):
        self.catalog.platform_facts.record('pool', {'granularity': 5}, {}, '')
        self.catalog.broken = {'platform_facts.read'}
        self.assertEqual(
            platform_facts.PlatformFacts(), self.cache.platform_facts()
        )


class OwnCatalogsTest(base.CacheTestCase):
    def test_a_lost_catalog_owns_its_disks(self):
        catalog = facade.Catalog(self.path('other', 'c.sqlite'))
        cache = dataclasses.replace(self.cache, catalog=catalog)
        own = {catalog.identity.id[:8]}
        self.assertEqual(own, cache.own_catalogs())
        catalog.close()
        for path in pathlib.Path(self.path('other')).glob('c.sqlite*'):
            path.unlink()
        self.assertEqual(own, cache.own_catalogs())
        self.assertFalse(catalog.exists)

    def test_a_cache_that_never_was_owns_nothing(self):
        for directory in (self.path(), self.path('none')):
            catalog = facade.Catalog(f'{directory}/c.sqlite')
            cache = dataclasses.replace(self.cache, catalog=catalog)
            self.assertEqual(frozenset(), cache.own_catalogs())


class NotifyTest(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.event = events.Event(
            events.Kind.CACHED, 'pool', self.image.id, 'disk', 5
        )

    def cache_with(self, listener):
        return dataclasses.replace(self.cache, listener=listener)

    def test_a_cache_without_listener_notifies_nothing(self):
        self.cache.notify(self.event)

    def test_the_listener_is_given_the_event(self):
        seen = []
        self.cache_with(seen.append).notify(self.event)
        self.assertEqual([self.event], seen)

    def test_exceptions_of_the_listener_are_ignored_and_logged_once(self):
        def fail(event):
            raise RuntimeError('no luck')

        cache = self.cache_with(fail)
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            for _ in range(3):
                cache.notify(self.event)
        (message,) = logs.output
        self.assertIn('listener failed: RuntimeError: no luck', message)

    def test_an_exception_that_cannot_be_shown_is_ignored_too(self):
        class Unreadable(Exception):
            def __str__(self):
                raise RuntimeError

            __repr__ = __str__

        def fail(event):
            raise Unreadable

        with self.assertLogs(LOGGER, 'WARNING') as logs:
            self.cache_with(fail).notify(self.event)
        self.assertIn('listener failed: Unreadable', logs.output[0])

    def test_each_different_exception_of_the_listener_is_logged(self):
        reasons = iter('abab')

        def fail(event):
            raise RuntimeError(next(reasons))

        cache = self.cache_with(fail)
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            for _ in range(4):
                cache.notify(self.event)
        self.assertEqual(2, len(logs.output))

    def test_an_interrupt_of_the_listener_is_not_ignored(self):
        def interrupt(event):
            raise KeyboardInterrupt

        self.assertRaises(
            KeyboardInterrupt, self.cache_with(interrupt).notify, self.event
        )

    def test_caches_do_not_share_their_log_memory(self):
        one, other = (
            cache_module.Cache(
                self.driver,
                self.source,
                self.catalog,
                self.locks,
                self.settings,
            )
            for _ in range(2)
        )
        with self.assertLogs(LOGGER, 'WARNING') as logs:
            self.assertTrue(one.warn_once.log('a message'))
            self.assertTrue(other.warn_once.log('a message'))
            self.assertFalse(other.warn_once.log('a message'))
        self.assertEqual(2, len(logs.output))


class LockTest(base.CacheTestCase):
    def other_pool(self):
        driver = fakes.FakeDriver()
        driver.pool_id = lambda: 'other'
        return dataclasses.replace(self.cache, driver=driver)

    def locks_of(self, cache):
        return (
            lambda: cache.fill_lock('disk', 0),
            lambda: cache.instance_disk_lock('disk'),
            lambda: cache.eviction_lock(0),
        )

    def test_a_lock_that_is_held_is_not_waited_for(self):
        for lock in self.locks_of(self.cache):
            with lock():
                self.assertRaises(exceptions.LockTimeout, lock().__enter__)
            with lock():
                pass

    def test_the_three_locks_are_independent(self):
        first, second, third = self.locks_of(self.cache)
        with first(), second(), third():
            pass

    def test_locks_of_two_disks_are_independent(self):
        with (
            self.cache.fill_lock('a', 0),
            self.cache.fill_lock('b', 0),
            self.cache.instance_disk_lock('a'),
            self.cache.instance_disk_lock('b'),
        ):
            pass

    def test_locks_of_two_pools_are_independent(self):
        for ours, others in zip(
            self.locks_of(self.cache),
            self.locks_of(self.other_pool()),
            strict=True,
        ):
            with ours(), others():
                pass

    def test_two_caches_of_one_directory_exclude_each_other(self):
        for ours, same in zip(
            self.locks_of(self.cache), self.locks_of(self.cache), strict=True
        ):
            with ours():
                self.assertRaises(exceptions.LockTimeout, same().__enter__)

    def test_a_fill_lock_is_waited_for_while_seconds_are_left(self):
        left = [0.1, 0.1, 0]
        with self.cache.fill_lock('disk', 0):
            self.assertRaises(
                exceptions.LockTimeout,
                self.cache.fill_lock('disk', lambda: left.pop(0)).__enter__,
            )
        self.assertEqual([], left)

    def test_an_unusable_lock_directory_is_a_catalog_error(self):
        with open(self.path('state'), 'w', encoding='utf-8'):
            pass
        for lock in self.locks_of(self.cache):
            self.assertRaises(exceptions.CatalogError, lock().__enter__)
