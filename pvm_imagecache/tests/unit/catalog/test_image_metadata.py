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

"""What eviction policies can know of cached images besides."""

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.tests.unit import base as unit_base
from pvm_imagecache.tests.unit.catalog import base

_KNOWN = image_module.Metadata(
    'project', ('a', 'b'), (('os_distro', 'aix'), ('x', 'y'))
)


class ImageMetadataTest(base.ClockTestCase):
    def cache(self, image_id, pool='pool'):
        self.catalog.base_images.start_fill(
            pool, f'i_{image_id}', unit_base.image_of(b'x', image_id)
        )

    def test_it_is_kept(self):
        self.cache('one')
        self.catalog.image_metadata.record('pool', 'one', _KNOWN)
        self.assertEqual(
            {'one': _KNOWN}, self.catalog.image_metadata.list('pool')
        )
        self.assertEqual({}, self.catalog.image_metadata.list('other'))

    def test_it_is_replaced(self):
        self.cache('one')
        self.catalog.image_metadata.record('pool', 'one', _KNOWN)
        fresh = image_module.Metadata('another')
        self.catalog.image_metadata.record('pool', 'one', fresh)
        self.assertEqual(
            {'one': fresh}, self.catalog.image_metadata.list('pool')
        )

    def test_it_is_kept_as_long_as_the_image_is_cached(self):
        self.catalog.image_metadata.record('pool', 'two', _KNOWN)
        self.assertEqual({}, self.catalog.image_metadata.list('pool'))
        for name in ('one', 'two'):
            self.cache(name)
            self.catalog.image_metadata.record('pool', name, _KNOWN)
        found = self.catalog.base_images.get('pool', 'i_one')
        self.catalog.base_images.remove(found)
        self.catalog.image_metadata.record(
            'pool', 'two', image_module.Metadata('another')
        )
        self.assertEqual(
            ['two'], list(self.catalog.image_metadata.list('pool'))
        )

    def test_a_malformed_record_is_an_error_of_the_catalog(self):
        self.cache('one')
        for value in ('[1]', 'x', '{}x', '["a", ["b"]]', '7'):
            for column in ('tags', 'properties'):
                self.catalog.image_metadata.record('pool', 'one', _KNOWN)
                self.sql(f"UPDATE image_metadata SET {column} = '{value}'")
                self.assertRaises(
                    exceptions.CatalogError,
                    self.catalog.image_metadata.list,
                    'pool',
                )
                self.catalog.image_metadata.record('pool', 'one', _KNOWN)
                self.assertEqual(
                    {'one': _KNOWN}, self.catalog.image_metadata.list('pool')
                )
