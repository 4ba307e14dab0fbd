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

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

GIB = base.GIB


class PlainDriver(driver_base.DiskDriver):
    """The methods that every driver must have, and no others."""

    @classmethod
    def from_conf(cls, conf):
        return cls()

    def pool(self):
        return driver_base.Pool('id', 'name', 5 * GIB, 2 * GIB)

    def find_disk(self, name):
        return None

    def delete_disks(self, disks):
        return [driver_base.Deletion(each) for each in disks]


class DiskDriverTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.driver = PlainDriver()
        self.disk = driver_base.Disk('d', 'udid', GIB)
        self.new = driver_base.NewDisk('d', GIB, 'raw')

    def test_the_id_of_the_pool_is_read_by_default(self):
        self.assertEqual('id', self.driver.pool_id())

    def test_methods_of_missing_capabilities_are_not_supported(self):
        for call in (
            self.driver.snapshot,
            self.driver.base_image_snapshot,
            lambda: self.driver.create_disks([self.new]),
            lambda: self.driver.upload(self.disk, iter(()), 0),
            lambda: self.driver.copy_disk(self.disk, self.new),
            lambda: self.driver.remove_uploads(self.disk),
            lambda: self.driver.mapped([self.disk]),
            lambda: self.driver.create_disk_from_image(
                base.image_of(b'x'), self.new, None
            ),
            self.driver.servers,
            lambda: self.driver.mappable(self.disk),
        ):
            error = self.assertRaises(exceptions.NotSupported, call)
            self.assertIn('The driver PlainDriver cannot ', str(error))

    def test_no_uploads_are_stale_by_default(self):
        self.assertEqual((), self.driver.upload_targets())
        self.assertFalse(self.driver.has_stale_uploads())
        self.driver.close()

    def test_base_images_are_chosen_by_their_names(self):
        pool = fakes.FakeDriver()
        pool.add('b_server_8a1c')
        image = pool.add('i_0123abcd_4567')
        snapshot = pool.base_image_snapshot()
        self.assertEqual([image], snapshot.disks)
        self.assertEqual(pool.pool(), snapshot.pool)


class PoolTest(base.TestCase):
    def test_used_space_is_what_is_not_free(self):
        self.assertEqual(3 * GIB, PlainDriver().pool().used)
