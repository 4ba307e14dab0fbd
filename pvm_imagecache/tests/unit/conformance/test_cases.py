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

"""What the conformance suites have in common."""

import unittest

from pvm_imagecache.conformance import cases
from pvm_imagecache.tests.unit import base


class RaisedTest(base.TestCase):
    def test_the_error_is_returned(self):
        def fail():
            raise KeyError('x')

        self.assertIs(self, cases.case(self))
        self.assertEqual(('x',), cases.raised(self, LookupError, fail).args)
        self.assertRaises(
            AssertionError, cases.raised, self, KeyError, lambda: None
        )
        self.assertIsInstance(cases.case(self), unittest.TestCase)

    def assertRaises(self, kind, function, *args, **kwargs):
        """As in testtools 2.7, where it is no context manager."""
        return super().assertRaises(kind, function, *args, **kwargs)
