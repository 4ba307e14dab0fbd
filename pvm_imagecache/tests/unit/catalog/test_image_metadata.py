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

"""Image metadata in the catalog."""

import sqlite3

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

    def test_a_malformed_record_affects_no_other_image(self):
        self.cache('one')
        self.cache('two')
        self.catalog.image_metadata.record('pool', 'two', _KNOWN)
        for value in (
            '[1]',
            'x',
            '{}x',
            '["a", ["b"]]',
            '7',
            '"ab"',
            '{"a": "b"}',
            '["\\ud800"]',
            '[["a", "\\udfff"]]',
            '["' + 40_001 * 'x' + '"]',
            1000 * '[' + 1000 * ']',
        ):
            for column in ('tags', 'properties'):
                self.catalog.image_metadata.record('pool', 'one', _KNOWN)
                self.sql(
                    f"UPDATE image_metadata SET {column} = '{value}'"
                    " WHERE image_id = 'one'"
                )
                self.assertEqual(
                    {'two': _KNOWN}, self.catalog.image_metadata.list('pool')
                )
        self.catalog.image_metadata.record('pool', 'one', _KNOWN)
        self.assertEqual(
            {'one': _KNOWN, 'two': _KNOWN},
            self.catalog.image_metadata.list('pool'),
        )

    def test_no_user_can_make_a_record_that_cannot_be_read(self):
        # Glance admits 128 tags of 255 characters, and 6 bytes are written
        # for each of these.
        tags = tuple(f'{number:03}' + 252 * '\u65e5' for number in range(128))
        properties = tuple((each, each) for each in tags)
        self.cache('one')
        self.catalog.image_metadata.record(
            'pool', 'one', image_module.Metadata('project', tags, properties)
        )
        found = self.catalog.image_metadata.list('pool')['one']
        self.assertEqual('project', found.project_id)
        for kept, known in (
            (found.tags, tags),
            (found.properties, properties),
        ):
            self.assertLess(10, len(kept))
            self.assertEqual(known[: len(kept)], kept)

    def test_what_cannot_be_read_again_is_left_out(self):
        self.cache('one')
        for bad in ('\ud800', 'x' * 50_000):
            self.catalog.image_metadata.record(
                'pool',
                'one',
                image_module.Metadata(
                    'project',
                    ('first', bad, 'last'),
                    (('a', bad), (bad, 'b'), ('name', 'value')),
                ),
            )
            self.assertEqual(
                {
                    'one': image_module.Metadata(
                        'project', ('first', 'last'), (('name', 'value'),)
                    )
                },
                self.catalog.image_metadata.list('pool'),
            )

    def test_a_record_of_another_pool_is_not_used(self):
        self.cache('one')
        self.cache('one', 'other')
        self.catalog.image_metadata.record('other', 'one', _KNOWN)
        self.assertEqual({}, self.catalog.image_metadata.list('pool'))
        fresh = image_module.Metadata('another')
        self.catalog.image_metadata.record('pool', 'one', fresh)
        self.assertEqual(
            {'one': _KNOWN}, self.catalog.image_metadata.list('other')
        )

    def test_an_unchanged_record_is_not_written(self):
        self.cache('one')
        self.catalog.image_metadata.record('pool', 'one', _KNOWN)
        self.sql(
            'CREATE TRIGGER refuse BEFORE INSERT ON image_metadata'
            " BEGIN SELECT RAISE(ABORT, 'written'); END"
        )
        self.catalog.image_metadata.record('pool', 'one', _KNOWN)
        self.assertRaises(
            sqlite3.IntegrityError,
            self.catalog.image_metadata.record,
            'pool',
            'one',
            image_module.Metadata('another'),
        )
