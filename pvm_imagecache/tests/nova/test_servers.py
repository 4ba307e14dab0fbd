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

"""Servers, from the API down to the bytes of their disks."""

from pvm_imagecache.tests.nova import base


class ServersTestCase(base.NovaTestCase):

    def test_two_servers_of_one_image(self) -> None:
        image_id = self.store(5 * base.MIB + 3)
        first = self.boot(image_id)
        self.assertEqual(5 * base.MIB + 3, self.fetched())
        second = self.boot(image_id)
        # One byte is asked for, to know whether the user may have it.
        self.assertEqual(1, self.fetched())
        for server in (first, second):
            self.assert_boots_from(server, image_id)
        self.assertEqual(['running', 'running'],
                         list(self.partitions().values()))
        self._delete_server(first)
        self._delete_server(second)
        self.assert_nothing_left()
        self.assertEqual(1, len(self.base_images()))
