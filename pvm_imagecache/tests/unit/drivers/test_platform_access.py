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

"""Tests of what a measurement needs of a driver."""

from oslotest import base

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import platform_access
from pvm_imagecache.tests.unit import fakes


class LevelsTest(base.BaseTestCase):
    def test_the_text_changes_with_each_level_and_leaves_out_unknown_ones(
        self,
    ):
        for levels, expected in (
            (('REST 1', 'VIOS 3', '1.1'), 'REST 1, VIOS 3, pypowervm 1.1'),
            (('', '', '1.1'), 'pypowervm 1.1'),
        ):
            self.assertEqual(expected, str(platform_access.Levels(*levels)))


class DriverTest(base.BaseTestCase):
    def test_a_driver_without_access_cannot_be_measured(self):
        error = self.assertRaises(
            exceptions.NotSupported, fakes.FakeDriver().platform_access
        )
        self.assertIn('cannot measure its platform', str(error))
