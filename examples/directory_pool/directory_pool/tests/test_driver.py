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

"""The conformance suite of pvm_imagecache, and tests of the driver."""

import os
import pathlib
import tempfile
import unittest

from directory_pool import driver as driver_module
from pvm_imagecache import exceptions
from pvm_imagecache import fixtures
from pvm_imagecache.drivers import base

GIB = 1 << 30


def options(test):
    """Return the options of a pool in a new directory."""
    directory = tempfile.TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    return {
        'pvm_imagecache': {'disk_driver': 'directory'},
        'pvm_imagecache_directory': {
            'path': directory.name,
            'capacity_gib': 3,
        },
    }


def file_of(driver, disk):
    (path,) = pathlib.Path(driver.pool().name).glob(
        f'{disk.name}~{disk.udid}~*'
    )
    return path


class Pool:
    """What the suites need to know; before them in the list of bases."""

    def configure(self):
        return options(self)

    def read(self, disk, size):
        return file_of(self.driver, disk).read_bytes()[:size]

    def write(self, disk, data):
        with open(file_of(self.driver, disk), 'r+b') as file:
            file.write(data)

    def map(self, disk):
        """A disk whose file has a second link counts as mapped."""
        path = file_of(self.driver, disk)
        os.link(path, path.with_name('of_a_partition'))


class DirectoryTest(Pool, fixtures.DriverConformance, unittest.TestCase):
    pass


class DirectoryCacheTest(Pool, fixtures.CacheConformance, unittest.TestCase):
    pass


class OwnTest(unittest.TestCase):
    def setUp(self):
        self.driver = fixtures.load_driver(
            fixtures.configuration(options(self))
        )
        self.directory = self.driver.pool().name

    def test_labels_of_disks_are_stored(self):
        self.driver.create_disks([base.NewDisk('a', 5, 'raw', 'mine')])
        self.assertEqual(
            'mine',
            driver_module.DirectoryDriver(self.directory, 3 * GIB)
            .find_disk('a')
            .label,
        )
        self.assertEqual(3 * GIB - (1 << 20), self.driver.pool().free)

    def test_a_disk_with_a_second_link_is_mapped(self):
        disk, other = self.driver.create_disks(
            [base.NewDisk(name, 5, 'raw') for name in 'ab']
        )
        os.link(self.driver._file(disk), f'{self.directory}/of_a_partition')
        self.assertEqual({disk}, self.driver.mapped([disk, other]))

    def test_an_upload_of_another_size_is_refused(self):
        (disk,) = self.driver.create_disks([base.NewDisk('a', 5, 'raw')])
        for pieces in ([b'1234'], [b'123', b'456']):
            self.assertRaises(
                exceptions.PowerVMRequestFailed,
                self.driver.upload,
                disk,
                iter(pieces),
                5,
            )

    def test_the_path_is_required(self):
        with self.assertRaisesRegex(
            exceptions.ConfigurationError, driver_module.GROUP.name
        ):
            fixtures.load_driver(
                fixtures.configuration(
                    {'pvm_imagecache': {'disk_driver': 'directory'}}
                )
            )
