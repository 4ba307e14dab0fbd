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

"""Tests of one platform check."""

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.platform_check import bench
from pvm_imagecache.platform_check import check
from pvm_imagecache.platform_check import probes
from pvm_imagecache.system import interrupts
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.platform_check import platforms

_QUEUED = platform_facts.ConcurrentUpdates.QUEUED


class CheckTestCase(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.patch(probes, 'UPLOAD_SIZE', units.Mi)
        self.make()

    def make(self, **settings):
        self.driver = platforms.Platform(**settings)
        self.patch(bench, 'time', self.driver.clock)
        self.updates = [(None, 1.0), (None, 2.0)]

        def at_once(calls):
            for call in calls[:1] if len(calls) == 2 else calls:
                call()
            if len(calls) == 2:
                return self.updates
            return [(None, 1.0)] * len(calls)

        self.patch(probes, '_at_once', at_once)

    def check(self, other=None):
        done = check.run(self.cache, other)
        self.assertEqual([], self.driver.names())
        self.assertEqual([], self.catalog.instance_disks.list('pool'))
        self.facts = self.catalog.platform_facts.read('pool')
        self.reasons = {
            name: each.reason
            for name, each in self.catalog.platform_facts.list('pool').items()
        }
        return done


class RunTest(CheckTestCase):
    def test_all_facts_of_a_platform_are_found(self):
        done = self.check()
        self.assertEqual(check.Outcome((), ()), done)
        facts = self.facts
        self.assertEqual(
            ('REST 1', None, '1.1.27', True, units.Mi, True, True, False),
            (
                facts.platform_level,
                facts.vios_level,
                facts.pypowervm_version,
                facts.keeps_labels,
                facts.granularity,
                facts.fractional_capacity,
                facts.copies_into_larger,
                facts.copies_side_by_side,
            ),
        )
        self.assertEqual(
            (_QUEUED, True, units.Gi, True, 255, None, None),
            (
                facts.concurrent_updates,
                facts.stale_etag_refused,
                facts.copy_rate,
                facts.accepts_qcow2,
                facts.logical_volume_limit,
                facts.names_per_vios,
                facts.new_disk_zeroed,
            ),
        )
        self.assertEqual(
            (
                '0516-404 allocp: not enough partitions in NAME',
                'There is a disk NAME in NAME already',
            ),
            (facts.no_space_words, facts.name_exists_words),
        )
        for name in ('upload_rate', 'upload_rate_6'):
            self.assertGreater(getattr(facts, name), 0)
        self.assertIn('--other-vg', self.reasons['names_per_vios'])
        self.assertIn('cannot read', self.reasons['new_disk_zeroed'])

    def test_another_platform_is_told_from_it(self):
        self.make(
            keeps_labels=False,
            granularity=64 * units.Mi,
            larger=False,
            side_by_side=True,
            qcow2=False,
            limit=None,
            copy_rate=units.Gi // 4,
        )
        self.assertEqual((), self.check().failed)
        facts = self.facts
        self.assertEqual(
            (False, 64 * units.Mi, False, True, False, None, units.Gi // 4),
            (
                facts.keeps_labels,
                facts.granularity,
                facts.copies_into_larger,
                facts.copies_side_by_side,
                facts.accepts_qcow2,
                facts.logical_volume_limit,
                facts.copy_rate,
            ),
        )
        self.assertFalse(self.catalog.pools.keeps_labels('pool'))

    def test_a_shortened_label_is_not_kept(self):
        self.make()
        for length in (10, 11, 27, 29):
            self.driver.label_length = length
            self.assertEqual((), self.check().failed)
            self.assertIs(False, self.facts.keeps_labels)
            self.assertFalse(self.catalog.pools.keeps_labels('pool'))
        self.driver.label_length = 30
        self.check()
        self.assertIs(True, self.facts.keeps_labels)
        self.assertTrue(self.catalog.pools.keeps_labels('pool'))

    def test_labels_that_were_kept_before_an_upgrade_are_so_no_more(self):
        self.make()
        self.check()
        self.assertTrue(self.catalog.pools.keeps_labels('pool'))
        self.driver.keeps_labels = False
        self.check()
        self.assertFalse(self.catalog.pools.keeps_labels('pool'))

    def test_every_granularity_is_found(self):
        for shift in range(20, 32):
            self.make(granularity=1 << shift)
            self.check()
            self.assertEqual(1 << shift, self.facts.granularity)
            self.assertLessEqual(self.driver.most, bench.MOST_BYTES)

    def test_whole_gib_are_the_granularity_without_fractions(self):
        self.make(fractions=False)
        self.check()
        self.assertEqual(
            (False, units.Gi),
            (self.facts.fractional_capacity, self.facts.granularity),
        )

    def test_disks_of_others_are_not_touched(self):
        before = [self.driver.add(f'b_vm{n}', label='x') for n in range(3)]
        check.run(self.cache)
        self.assertEqual(before, self.driver.snapshot().disks)

    def test_the_scope_of_names_is_found_with_another_pool(self):
        for names, expected in (('shared', True), ('own', False)):
            self.make()
            self.driver.other = platforms.Platform(clock=self.driver.clock)
            self.driver.other.pool_id = lambda: 'other'
            if names == 'shared':
                self.driver.other.taken_names = self.driver._disks
            self.check('othervg')
            self.assertIs(expected, self.facts.names_per_vios)
            self.assertEqual([], self.driver.other.names())
            self.assertEqual([], self.catalog.instance_disks.list('other'))

    def test_an_update_that_is_refused_tells_how(self):
        conflict = platforms.refusal('x', 412)
        busy = exceptions.PowerVMBusy(action='a', reason='b')
        for updates, expected in (
            ([(conflict, 0.1), (None, 2.0)], 'refused'),
            ([(None, 2.0), (conflict, 2.1)], 'queued'),
            ([(None, 2.0), (busy, 0.1)], 'busy'),
        ):
            self.make()
            self.updates = updates
            self.check()
            self.assertEqual(expected, self.facts.concurrent_updates.value)

    def test_two_updates_are_not_sent_where_they_could_delete_disks(self):
        self.make(enforced=False)
        done = self.check()
        self.assertIs(False, self.facts.stale_etag_refused)
        self.assertIsNone(self.facts.concurrent_updates)
        self.assertEqual(('concurrent_updates',), done.failed)

    def test_without_etags_the_check_of_them_fails(self):
        self.make(etags=False, enforced=False)
        self.assertIn('stale_etag_refused', self.check().failed)
        self.assertIn('no ETag', self.reasons['stale_etag_refused'])

    def test_a_probe_that_fails_does_not_end_the_check(self):
        def fail(*args):
            raise platforms.refusal(
                'HTTP error 500 for method PUT on path /x: Bad -- at 10.1.2.3'
            )

        self.driver.before['upload'] = fail
        failed = self.check().failed
        self.assertEqual(
            ('upload_rate', 'upload_rate_2', 'upload_rate_3', 'upload_rate_6'),
            failed,
        )
        self.assertEqual(
            'PowerVM refused it: at ADDRESS', self.reasons['upload_rate']
        )
        self.assertEqual(units.Gi, self.facts.copy_rate)

    def test_a_small_pool_is_not_filled(self):
        for gib in (3, 4, 6):
            self.make(gib=gib)
            self.assertIn('upload_rate_6', self.check().failed)
            self.assertLessEqual(
                self.driver.most, max(0, gib * units.Gi - bench.RESERVE)
            )
            self.assertIn('must stay free', self.reasons['upload_rate_6'])

    def test_a_disk_that_cannot_be_deleted_is_reported_and_on_record(self):
        def fail(disk):
            if len(self.driver.sent) > 3:
                raise platforms.refusal('no')

        self.driver.before['delete'] = fail
        done = check.run(self.cache)
        self.assertNotEqual((), done.left)
        self.assertEqual(
            set(self.driver.names()),
            {
                each.disk_name
                for each in self.catalog.instance_disks.list('pool')
            },
        )

    def test_a_lost_answer_leaves_no_disk(self):
        self.driver.unanswered = 1
        done = self.check()
        self.assertIn('granularity', done.failed)
        self.assertEqual(
            'PowerVM did not answer within the time limit',
            self.reasons['granularity'],
        )

    def test_an_interrupt_deletes_the_disks_and_stores_nothing(self):
        pending = []
        self.patch(interrupts, 'is_pending', lambda: bool(pending))

        def progress(number, total, what):
            if number == 11:
                pending.append(True)

        check.run(self.cache, progress=progress)
        self.assertEqual([], self.driver.names())
        self.assertEqual({}, self.catalog.platform_facts.list('pool'))

    def test_one_check_runs_at_a_time(self):
        with self.locks.hold('platform-check-pool', 0):
            self.assertRaises(
                exceptions.PlatformCheckRunning, check.run, self.cache
            )

    def test_a_catalog_that_fails_ends_the_check_without_disks(self):
        self.catalog.broken = {'instance_disks.set_udid'}
        self.assertRaises(exceptions.CatalogError, check.run, self.cache)
        self.assertEqual([], self.driver.names())
