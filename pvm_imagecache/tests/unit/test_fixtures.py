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

"""The public names of the conformance suites."""

import unittest

from pvm_imagecache import fixtures
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes


class FakeDriverTest(fixtures.DriverConformance, unittest.TestCase):
    """The driver of the unit tests follows the contract, too."""

    def make_driver(self):
        return fakes.FakeDriver()

    def make_second_driver(self):
        """All drivers of a pool in memory are the same object."""
        return self.driver

    def read(self, disk, size):
        return self.driver.content(disk.name, size)

    def map(self, disk):
        self.driver.taken.add(disk.name)

    def test_an_upload_needs_little_memory(self):
        """The disks of this pool are in memory."""


class OldTesttoolsTest(FakeDriverTest):
    def assertRaises(self, kind, function, *args, **kwargs):
        """As in testtools 2.7, where it is no context manager."""
        with super().assertRaises(kind) as caught:
            function(*args, **kwargs)
        return caught.exception


class NamesTest(base.TestCase):
    def test_all_names_are_documented(self):
        for name in fixtures.__all__:
            found = getattr(fixtures, name)
            if name != 'NOW':
                self.assertTrue(found.__doc__, name)
