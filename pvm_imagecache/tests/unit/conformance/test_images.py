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

"""Images in memory."""

from pvm_imagecache import exceptions
from pvm_imagecache import fixtures
from pvm_imagecache.tests.unit import base


class MemoryImagesTest(base.TestCase):
    def test_images_have_their_bytes(self):
        source = fixtures.MemoryImages()
        image = source.add('debian', 3 * (1 << 20) + 5)
        self.assertEqual(image, source.get(image.id))
        with source.open(image) as stream:
            content = b''.join(stream)
        self.assert_bytes(source.content(image), content)
        self.assertEqual(image.size, len(content))
        self.assertEqual([image.id], source.downloads)

    def test_the_same_id_has_the_same_bytes(self):
        one, other = fixtures.MemoryImages(), fixtures.MemoryImages()
        first = one.add(image_id=base.IMAGE_ID)
        second = other.add(image_id=base.IMAGE_ID)
        self.assertEqual(first, second)
        self.assert_bytes(one.content(first), other.content(second))

    def test_an_unknown_image_is_not_found(self):
        source = fixtures.MemoryImages()
        self.assertRaises(exceptions.ImageNotFound, source.get, 'x')
        image = fixtures.MemoryImages().add()
        self.assertRaises(
            exceptions.ImageNotFound, source.check_readable, image
        )

    def test_there_is_no_glance_behind_it(self):
        source = fixtures.MemoryImages()
        self.assertRaises(
            exceptions.ConfigurationError, source.entry, base.IMAGE_ID
        )

    def test_a_test_can_fail_a_download(self):
        source = fixtures.MemoryImages()
        image = source.add()

        def fail(image_id):
            raise exceptions.ImageForbidden(image=image_id)

        source.before_piece = fail

        def read():
            with source.open(image) as stream:
                list(stream)

        self.assertRaises(exceptions.ImageForbidden, read)
