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

"""Calls of a driver in another process."""

import tempfile

from pvm_imagecache.conformance import process
from pvm_imagecache.tests.unit.conformance import test_driver as drivers


class ProcessTest(drivers.DriverTestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.options = {
            'pvm_imagecache': {'disk_driver': 'theirs'},
            'pvm_imagecache_directory': {
                'path': directory.name,
                'capacity_gib': 3,
            },
        }
        self.useFixture(self.package(drivers.CORRECT))

    def test_its_disks_are_those_of_this_process(self):
        udid = process.call(self.options, 'create', 'a')
        self.assertEqual(udid, process.call(self.options, 'find', 'a'))
        self.assertEqual(udid, process.call(self.options, 'delete', 'a'))
        self.assertIsNone(process.call(self.options, 'find', 'a'))

    def test_a_failure_is_reported(self):
        self.options['pvm_imagecache']['disk_driver'] = 'absent'
        error = self.assertRaises(
            RuntimeError, process.call, self.options, 'pool_id'
        )
        self.assertIn('There is no plugin "absent"', str(error))

    def test_a_process_that_is_not_killed_is_reported(self):
        self.options['pvm_imagecache']['disk_driver'] = 'absent'
        error = self.assertRaises(
            RuntimeError,
            process.crash,
            self.options,
            self.directory,
            'an-id',
            3 << 20,
        )
        self.assertIn('was not killed', str(error))
