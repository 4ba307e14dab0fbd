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

"""Tests of what the operations of the manager return."""

import hypothesis
from hypothesis import strategies

from pvm_imagecache import results
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cleanup import test_ownership

GIB = base.GIB
POOL = driver_base.Pool('pool', 'the pool', 10 * GIB, 4 * GIB)

counts = strategies.integers(0, 3)


class UsageTest(base.TestCase):
    def usage(self, **totals):
        return results.Usage(
            POOL,
            1,
            GIB,
            {name: models.Total(*of) for name, of in totals.items()},
        )

    def test_bytes_are_the_sums_of_all_actions(self):
        usage = self.usage(
            hit=(2, 0, 50), miss=(1, 100, 0), prefetch=(1, 20, 0)
        )
        self.assertEqual((120, 50), (usage.bytes_fetched, usage.bytes_saved))

    def test_an_empty_catalog_has_fetched_and_saved_nothing(self):
        usage = self.usage()
        self.assertEqual(
            (0, 0, 0.0, None),
            (
                usage.bytes_fetched,
                usage.bytes_saved,
                usage.seconds_saved,
                usage.last_run,
            ),
        )

    def test_no_seconds_are_saved_without_hits(self):
        self.assertEqual(0.0, self.usage(miss=(1, 100, 0, 10.0)).seconds_saved)

    def test_the_saved_seconds_are_unknown_if_nothing_was_fetched(self):
        for totals in (
            {'hit': (1, 0, 100, 1.0)},
            {'hit': (1, 0, 100, 1.0), 'miss': (1, 100, 0, 0.0)},
        ):
            self.assertIsNone(self.usage(**totals).seconds_saved)

    def test_the_saved_seconds_assume_the_mean_rate_of_all_fetches(self):
        usage = self.usage(
            hit=(2, 0, 200, 3.0),
            miss=(1, 100, 0, 30.0),
            bypass=(1, 100, 0, 10.0),
            purge=(1, 0, 0, 1000.0),
        )
        self.assertEqual(200 * 40.0 / 200 - 3.0, usage.seconds_saved)

    def test_the_saved_seconds_are_negative_if_copies_are_slower(self):
        usage = self.usage(hit=(1, 0, 100, 60.0), miss=(1, 100, 0, 10.0))
        self.assertEqual(-50.0, usage.seconds_saved)


class CleanupResultTest(base.TestCase):
    def result(
        self,
        forgotten=0,
        removed=0,
        failed=0,
        quarantined=0,
        evicted=0,
        kept=0,
        faults=(),
        error='',
    ):
        record = test_ownership.record_of()
        return results.CleanupResult(
            reconciler.Reconciliation(
                ('x',) * forgotten,
                ('x',) * removed,
                (('x', 'why'),) * failed,
                (('x', 'why'),) * quarantined,
            ),
            None
            if error
            else evictor.Eviction(
                pipeline.Plan(faults=faults),
                (removal.RemovalResult(record, True),) * evicted
                + (removal.RemovalResult(record, False, 'why'),) * kept,
            ),
            error,
        )

    def test_a_run_that_did_nothing_has_a_summary(self):
        result = self.result()
        self.assertEqual(
            ('', '', 'nothing to do'),
            (result.work, result.error_summary, result.summary),
        )

    def test_the_work_names_each_kind_with_its_count(self):
        self.assertEqual(
            '2 image(s) evicted (2 GiB), 3 incomplete disk(s) removed, '
            '1 record(s) removed, 4 quarantined',
            self.result(
                forgotten=1, removed=3, quarantined=4, evicted=2, kept=1
            ).work,
        )

    def test_the_error_summary_names_each_kind_of_failure(self):
        self.assertEqual(
            '2 selected but kept, 1 could not be cleaned up, '
            'policy bad failed and was skipped: why',
            self.result(
                kept=2, failed=1, faults=(('bad', 'why'),)
            ).error_summary,
        )

    def test_the_error_of_the_eviction_is_in_the_summaries(self):
        result = self.result(removed=1, error='no lock')
        self.assertEqual('nothing was evicted: no lock', result.error_summary)
        self.assertEqual(
            '1 incomplete disk(s) removed, nothing was evicted: no lock',
            result.summary,
        )

    @base.generated
    @hypothesis.given(
        counts, counts, counts, counts, counts, counts, strategies.booleans()
    )
    def test_the_summary_has_the_work_and_the_errors(
        self, forgotten, removed, failed, quarantined, evicted, kept, broken
    ):
        result = self.result(
            forgotten,
            removed,
            failed,
            quarantined,
            evicted,
            kept,
            error='broken' if broken else '',
        )
        if broken:
            evicted = kept = 0
        self.assertEqual(
            bool(forgotten or removed or quarantined or evicted),
            bool(result.work),
        )
        self.assertEqual(
            bool(failed or kept or broken), bool(result.error_summary)
        )
        self.assertIn(result.work, result.summary)
        self.assertIn(result.error_summary, result.summary)
        self.assertEqual(1, len(result.summary.splitlines()))
