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

from types import SimpleNamespace

from oslotest import base

from pvm_imagecache.virt import imagecache


class ImagesInUseTestCase(base.BaseTestCase):
    def test_images_of_all_instances_are_in_use(self) -> None:
        self.assertEqual(
            {'a', 'b'},
            imagecache.images_in_use(
                [
                    SimpleNamespace(image_ref=each)
                    for each in ('a', '', None, 'b', 'a')
                ]
            ),
        )
        self.assertEqual(set(), imagecache.images_in_use([]))
