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

"""Tests of the probes of a platform check, beside those of a check."""

import threading
import types

import fixtures
from oslotest import base

from pvm_imagecache import platform_facts
from pvm_imagecache.platform_check import bench
from pvm_imagecache.platform_check import probes


class ProbesTest(base.BaseTestCase):
    def test_each_fact_has_one_probe(self):
        facts = [fact for each in probes.ALL for fact in each.facts]
        self.assertEqual(sorted(platform_facts.TYPES), sorted(facts))

    def test_no_probe_needs_more_than_a_check_may_use(self):
        self.assertLessEqual(
            max(each.size for each in probes.ALL), bench.MOST_BYTES
        )

    def test_what_a_probe_does_follows_would(self):
        for each in probes.ALL:
            self.assertRegex(each.what, r'^[a-z]+ .*[^.]$')


class UploadTest(base.BaseTestCase):
    def test_the_rate_is_that_of_all_uploads_together(self):
        clock = types.SimpleNamespace(now=0.0)
        self.useFixture(
            fixtures.MonkeyPatch(
                'pvm_imagecache.platform_check.probes.time',
                types.SimpleNamespace(monotonic=lambda: clock.now),
            )
        )
        sizes = []

        class Bench:
            def upload(self, disk, size):
                sizes.append(size)
                clock.now += 2

        for number in (1, 3):
            clock.now = 0.0
            self.assertEqual(
                probes.UPLOAD_SIZE // 2,
                probes._upload(Bench(), [object()] * number),
            )
        self.assertEqual([probes.UPLOAD_SIZE] * 4, sizes)


class AtOnceTest(base.BaseTestCase):
    def test_calls_run_side_by_side_and_their_errors_are_returned(self):
        met = threading.Barrier(2, timeout=30)

        def fail():
            met.wait()
            raise ValueError('no')

        results = probes._at_once([met.wait, fail])
        errors = [error for error, _ in results if error]
        self.assertEqual(['no'], [str(each) for each in errors])
        self.assertTrue(all(seconds >= 0 for _, seconds in results))
