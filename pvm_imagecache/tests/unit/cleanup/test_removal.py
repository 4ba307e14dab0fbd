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

"""Base images that somebody may have changed."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

QUARANTINED = models.State.QUARANTINED
HIT, MISS = instance_disk.Outcome.HIT, instance_disk.Outcome.MISS
BYPASS = instance_disk.Outcome.BYPASS


class QuarantineTest(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.deploy('earlier')

    def reconcile(self):
        return reconciler.reconcile(self.cache)

    def grow(self):
        disk = self.driver._disks[self.base_name]
        self.driver._disks[self.base_name] = dataclasses.replace(
            disk, capacity=2 * disk.capacity
        )

    def take(self):
        self.driver.taken = {self.base_name}

    def test_while_a_partition_has_it(self):
        self.take()
        ((name, reason),) = self.reconcile().quarantined
        self.assertEqual(self.base_name, name)
        self.assertIn('mapped', reason)
        self.assertEqual(
            (QUARANTINED, reason), (self.record().state, self.record().reason)
        )
        self.check(self.deploy(), BYPASS)
        found = self.reconcile()
        self.assertEqual((), found.quarantined)
        self.assertEqual([self.base_name], [each for each, _ in found.failed])
        self.assertIn(self.base_name, self.driver.names())

    def test_afterwards(self):
        self.take()
        self.reconcile()
        self.driver.taken = set()
        self.assertEqual((self.base_name,), self.reconcile().removed)
        self.assertIsNone(self.record())
        self.check(self.deploy(), MISS)

    def test_a_deploy_replaces_it(self):
        self.take()
        self.reconcile()
        self.driver.taken = set()
        self.check(self.deploy(), MISS)
        self.check_cached()

    def test_another_size(self):
        self.grow()
        ((_, reason),) = self.reconcile().quarantined
        self.assertIn('bytes', reason)
        self.check(self.deploy(), MISS)

    def test_it_is_logged_once(self):
        self.take()
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            for _ in range(5):
                self.reconcile()
        self.assertEqual(2, len(logs.records))

    def test_mappings_that_can_not_be_read_harm_nothing(self):
        self.driver.before['mapped'] = fakes.refusal
        found = self.reconcile()
        self.assertEqual(['mappings'], [each for each, _ in found.failed])
        self.check(self.deploy(), HIT)

    def test_a_purge_that_fails_leaves_it_there(self):
        self.take()
        self.reconcile()
        for _ in range(2):
            (result,) = removal.remove(self.cache, [self.record()])
            self.assertFalse(result.removed)
            self.assertIn('mapped', result.reason)
            self.assertIs(QUARANTINED, self.record().state)
        self.driver.taken = set()
        (result,) = removal.remove(self.cache, [self.record()])
        self.assertTrue(result.removed)

    def test_only_what_is_ready(self):
        record = self.record()
        self.catalog.base_images.start_eviction(record)
        self.assertRaises(
            exceptions.CatalogConflict, self.catalog.quarantine, record, 'why'
        )


class RemovalTest(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.prefetch()

    def remove(self):
        (result,) = removal.remove(self.cache, [self.record()])
        return result

    def test_what_may_be_gone_is_looked_at_later(self):
        def unreachable(disk):
            raise exceptions.PowerVMTimedOut(url='', reason='', hint='')

        self.driver.before['delete'] = unreachable
        self.assertFalse(self.remove().removed)
        self.assertIs(models.State.EVICTING, self.record().state)

    def test_what_is_refused_is_served_again(self):
        self.driver.before['delete'] = fakes.refusal
        self.assertFalse(self.remove().removed)
        self.check(self.deploy(), HIT)

    def test_the_same_refusal_is_one_warning(self):
        self.driver.before['delete'] = fakes.refusal
        with self.assertLogs('pvm_imagecache', 'WARNING') as logs:
            for _ in range(5):
                self.remove()
        self.assertEqual(1, len(logs.records))

    def test_no_mapping_is_known(self):
        self.driver.before['mapped'] = fakes.refusal
        self.assertFalse(self.remove().removed)
        self.assertIn(self.base_name, self.driver.names())
        self.check(self.deploy(), HIT)
