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


"""The records of the catalog."""

import os
import socket

from pvm_imagecache.catalog import connection
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit.catalog import base


class HolderNameTest(base.TestCase):
    def test_the_name_has_the_host_and_the_process_id(self):
        self.assertEqual(
            f'{socket.gethostname()}/{os.getpid()}', models.holder_name()
        )


class TotalTest(base.TestCase):
    def test_the_duration_is_not_compared(self):
        self.assertEqual(
            models.Total(1, 2, 3, 4.0), models.Total(1, 2, 3, 5.0)
        )
        self.assertNotEqual(models.Total(1, 2, 3), models.Total(2, 2, 3))


class FillIdTest(base.TestCase):
    def test_a_fill_id_tells_whether_the_whole_disk_is_written(self):
        for _ in range(100):
            for wiped in (False, True):
                for catalog in ('', '0123456789abcdef' * 2):
                    fill_id = models.new_fill_id(wiped, catalog)
                    self.assertRegex(fill_id, connection.FILL_ID)
                    self.assertIs(wiped, models.is_wiped(fill_id))
                    self.assertEqual(catalog[:8], models.catalog_of(fill_id))

    def test_no_two_fills_have_one_id(self):
        self.assertEqual(100, len({models.new_fill_id() for _ in range(100)}))
