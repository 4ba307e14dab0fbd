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

"""Our own plugins pass the suites for plugins, and bad ones do not."""

import unittest

from pvm_imagecache import fixtures
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes


class AgeTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'age'
    options = {'pvm_imagecache_age': {'max_age': 86400}}


class LRUTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'lru'
    options = {'pvm_imagecache_lru': {'max_images': 3, 'max_gib': 20}}


class WatermarkTest(fixtures.PolicyConformance, unittest.TestCase):
    policy = 'watermark'
    options = {'pvm_imagecache_watermark': {'high': 50, 'low': 20}}


class NoneTest(fixtures.PolicyConformance, unittest.TestCase):
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


class _Bad(eviction_base.EvictionPolicy):
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


class BadPolicyTest(base.TestCase):
    """What each test of the suite is there to find."""

    def _failures(self, choose):
        class Suite(fixtures.PolicyConformance, unittest.TestCase):
            policy = 'none'

            def make_policy(self):
                return _Bad(choose)

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Suite).run(result)
        return {
            test.id().rpartition('.')[2]
            for test, _ in result.failures + result.errors
        }

    def test_a_good_one(self):
        self.assertEqual(
            set(), self._failures(lambda view: _of(view.candidates()))
        )

    def test_bad_ones(self):
        calls = []

        def flaky(view):
            calls.append(view)
            return _of(view.candidates())[: len(calls) % 2]

        for name, choose in (
            (
                'test_it_answers_with_decisions',
                lambda view: [each.image_id for each in view.candidates()],
            ),
            (
                'test_it_answers_with_decisions',
                lambda view: [eviction_base.Decision('x', 'c', 'r')],
            ),
            (
                'test_it_answers_with_decisions',
                lambda view: [
                    eviction_base.Decision(each.image_id, '', '')
                    for each in view.candidates()
                ],
            ),
            (
                'test_it_chooses_nothing_twice',
                lambda view: _of(view.candidates()[:1] * 2),
            ),
            (
                'test_it_leaves_alone_what_is_vetoed',
                lambda view: _of(view.images),
            ),
            ('test_it_decides_by_the_view_alone', flaky),
            (
                'test_the_order_of_the_view_does_not_matter',
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
                'test_an_empty_cache',
                lambda view: [eviction_base.Decision('x', 'c', 'r')],
            ),
            ('test_it_chooses_nothing_twice', _endless),
        ):
            self.assertIn(name, self._failures(choose))


class BadDriverTest(base.TestCase):
    """A driver that gets something wrong is found out."""

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

    def test_one_that_deletes_by_name(self):
        class Driver(fakes.FakeDriver):
            def delete_disks(self, disks):
                return super().delete_disks(
                    [self.find_disk(each.name) or each for each in disks]
                )

        self.assertEqual(
            {'test_a_disk_of_the_same_name_is_not_deleted'},
            self._failures(Driver),
        )

    def test_one_that_copies_blindly(self):
        class Driver(fakes.FakeDriver):
            def copy_disk(self, source, new, still_valid=None):
                return super().copy_disk(source, new)

        self.assertEqual(
            {'test_a_copy_of_what_is_not_valid'}, self._failures(Driver)
        )

    def test_one_that_loses_bytes(self):
        class Driver(fakes.FakeDriver):
            def copy_disk(self, source, new, still_valid=lambda: True):
                made = super().copy_disk(source, new, still_valid)
                self._contents[made.udid][-1:] = b''
                return made

        self.assertEqual(
            {'test_bytes_arrive_and_are_copied'}, self._failures(Driver)
        )

    def test_one_that_says_all_is_mapped(self):
        class Driver(fakes.FakeDriver):
            def mapped(self, disks):
                return set(disks)

        self.assertEqual(
            {'test_nobody_has_a_new_disk'}, self._failures(Driver)
        )
        self.assertIs(driver_base.Disk, type(Driver().add('x')))
