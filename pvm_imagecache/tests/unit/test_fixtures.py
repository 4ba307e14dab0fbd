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

"""The conformance suites: built-in plugins pass, broken ones fail."""

import unittest

from pvm_imagecache import fixtures
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes


class AgeConformanceTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'age'
    options = {'pvm_imagecache_age': {'max_age': 86400}}


class LRUConformanceTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'lru'
    options = {'pvm_imagecache_lru': {'max_images': 3, 'max_gib': 20}}


class WatermarkConformanceTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'watermark'
    options = {'pvm_imagecache_watermark': {'high': 50, 'low': 20}}


class NoneConformanceTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'none'


class FakeDriverTest(fixtures.DriverConformance, unittest.TestCase):
    def make_driver(self):
        return fakes.FakeDriver()

    def read(self, disk, size):
        return self.driver.content(disk.name, size)


class OldTesttoolsTest(FakeDriverTest):
    def assertRaises(self, kind, function, *args, **kwargs):
        """As in testtools 2.7, where it is no context manager."""
        with super().assertRaises(kind) as caught:
            function(*args, **kwargs)
        return caught.exception


class _Policy(eviction_base.EvictionPolicy):
    api_version = eviction_base.API_VERSION

    def __init__(self, choose):
        self._choose = choose

    @classmethod
    def from_conf(cls, conf):
        raise NotImplementedError

    def choose(self, view):
        return self._choose(view)


def _of(images):
    return [
        eviction_base.Decision(each.image_id, 'code', 'reason')
        for each in images
    ]


def _endless(view):
    while view.images:
        yield from _of(view.images)


class BrokenPolicyTest(base.TestCase):
    """Each test of the suite finds the fault that it is for."""

    def _failures(self, choose):
        class Suite(fixtures.PolicyConformance, unittest.TestCase):
            policy = 'none'

            def make_policy(self):
                return _Policy(choose)

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Suite).run(result)
        return {
            test.id().rpartition('.')[2]
            for test, _ in result.failures + result.errors
        }

    def test_a_correct_policy_passes(self):
        self.assertEqual(
            set(), self._failures(lambda view: _of(view.candidates()))
        )

    def test_each_fault_of_a_policy_is_found(self):
        calls = []

        def flaky(view):
            calls.append(view)
            return _of(view.candidates())[: len(calls) % 2]

        for name, choose in (
            (
                'test_it_returns_decisions',
                lambda view: [each.image_id for each in view.candidates()],
            ),
            (
                'test_it_returns_decisions',
                lambda view: [eviction_base.Decision('x', 'c', 'r')],
            ),
            (
                'test_it_returns_decisions',
                lambda view: [
                    eviction_base.Decision(each.image_id, '', '')
                    for each in view.candidates()
                ],
            ),
            (
                'test_it_chooses_no_image_twice',
                lambda view: _of(view.candidates()[:1] * 2),
            ),
            (
                'test_it_chooses_no_vetoed_image',
                lambda view: _of(view.images),
            ),
            ('test_it_decides_by_the_view_alone', flaky),
            (
                'test_the_order_of_images_does_not_matter',
                lambda view: _of(
                    each for each in view.images[:1] if not each.veto
                ),
            ),
            (
                'test_a_shift_of_all_times_changes_nothing',
                lambda view: _of(
                    each
                    for each in view.candidates()
                    if each.last_used_at < fixtures.NOW - 1e6
                ),
            ),
            (
                'test_it_chooses_nothing_of_an_empty_cache',
                lambda view: [eviction_base.Decision('x', 'c', 'r')],
            ),
            ('test_it_chooses_no_image_twice', _endless),
        ):
            self.assertIn(name, self._failures(choose))


class BrokenDriverTest(base.TestCase):
    """A fault of a driver is found by the test that it is for."""

    def _failures(self, driver):
        class Suite(FakeDriverTest):
            def make_driver(self):
                return driver()

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Suite).run(result)
        return {
            test.id().rpartition('.')[2]
            for test, _ in result.failures + result.errors
        }

    def test_a_driver_that_deletes_by_name_fails(self):
        class Driver(fakes.FakeDriver):
            def delete_disks(self, disks):
                return super().delete_disks(
                    [self.find_disk(each.name) or each for each in disks]
                )

        self.assertEqual(
            {'test_a_disk_of_the_same_name_is_not_deleted'},
            self._failures(Driver),
        )

    def test_a_driver_that_copies_an_invalid_source_fails(self):
        class Driver(fakes.FakeDriver):
            def copy_disk(self, source, new, still_valid=None):
                return super().copy_disk(source, new)

        self.assertEqual(
            {'test_an_invalid_source_is_not_copied'}, self._failures(Driver)
        )

    def test_a_driver_that_loses_bytes_fails(self):
        class Driver(fakes.FakeDriver):
            def copy_disk(self, source, new, still_valid=lambda: True):
                made = super().copy_disk(source, new, still_valid)
                self._contents[made.udid][-1:] = b''
                return made

        self.assertEqual(
            {'test_uploaded_bytes_are_stored_and_copied'},
            self._failures(Driver),
        )

    def test_a_driver_that_reports_all_disks_as_mapped_fails(self):
        class Driver(fakes.FakeDriver):
            def mapped(self, disks):
                return set(disks)

        self.assertEqual(
            {'test_a_new_disk_is_not_mapped'}, self._failures(Driver)
        )
        self.assertIs(driver_base.Disk, type(Driver().add('x')))
