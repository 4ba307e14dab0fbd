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

"""What is read from the catalogue alone."""

import os
import sqlite3

import hypothesis
from hypothesis import strategies

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache import records
from pvm_imagecache.tests.unit import base

_ID = '{:0>8}-0000-4000-8000-000000000000'


class RecordsTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.catalog = self.open()
        self.records = records.Records(self.catalog, 'pool')

    def open(self, **kwargs):
        made = catalog_module.Catalog(self.path('state', 'c.sqlite'), **kwargs)
        self.addCleanup(made.close)
        return made

    def add(self, number, name='an image'):
        image = base.image_of(b'x', _ID.format(number), name=name)
        record = self.catalog.begin('pool', f'disk{number}', image)
        self.catalog.created(record, f'udid{number}', base.GIB)
        self.catalog.commit(record, image)
        return image.id


class NothingThereTest(RecordsTestCase):
    def test_nothing_is_made_by_looking(self):
        self.assertEqual([], self.records.list())
        self.assertEqual({}, self.records.pins())
        self.assertEqual({}, self.records.in_use())
        self.assertEqual([], self.records.history(image='x'))
        self.assertRaises(exceptions.ImageNotCached, self.records.find, 'x')
        self.assertFalse(os.path.exists(self.path('state')))


class FindTest(RecordsTestCase):
    def test_by_id_name_and_start(self):
        first, second = self.add('1a', 'one'), self.add('2b', 'two')
        for text, found in (
            (first, first),
            ('one', first),
            ('0000002', second),
        ):
            self.assertEqual(found, self.records.find(text).image.id)
        for text in ('', 'three', '3'):
            self.assertRaises(
                exceptions.ImageNotCached, self.records.find, text
            )

    def test_several(self):
        ids = [self.add(number, 'twin') for number in range(8)]
        error = self.assertRaises(
            exceptions.ImageAmbiguous, self.records.find, 'twin'
        )
        self.assertIn(ids[0], str(error))
        self.assertIn('and 3 more', str(error))

    @base.generated
    @hypothesis.given(
        strategies.text('0123', max_size=5),
        strategies.sets(strategies.text('0123', min_size=1, max_size=4)),
    )
    def test_whoever_is_meant_is_unique_or_all_that_match(self, text, ids):
        found = records.matching(text, {each: {f'n{each}'} for each in ids})
        if text in ids:
            self.assertEqual([text], found)
        elif text:
            self.assertEqual(
                {each for each in ids if each.startswith(text)}, set(found)
            )
        else:
            self.assertEqual([], found)


class PinnedTest(RecordsTestCase):
    def setUp(self):
        super().setUp()
        self.assertIsNone(self.records.find_pinned('x'))
        self.cached = self.add('1a', 'debian')
        self.add('2b', 'not pinned')
        self.gone, self.nameless = _ID.format('3c'), _ID.format('4d')
        for action, name in (('miss', 'rhel'), ('pin', None)):
            self.catalog.add_history(
                'pool', action, image_id=self.gone, image_name=name
            )
        for each in (self.cached, self.gone, self.nameless):
            self.catalog.pin('pool', each, '', None)

    def test_by_id_start_and_name(self):
        for found, texts in (
            ((self.cached, 'debian'), (self.cached, '0000001', 'debian')),
            ((self.gone, 'rhel'), (self.gone, '0000003', 'rhel')),
            ((self.nameless, None), (self.nameless, '0000004')),
            (None, ('', 'not pinned', '0000002', 'nobody')),
        ):
            for text in texts:
                self.assertEqual(found, self.records.find_pinned(text), text)

    def test_several(self):
        error = self.assertRaises(
            exceptions.ImageAmbiguous, self.records.find_pinned, '00'
        )
        self.assertIn(f'{self.gone} (rhel)', str(error))
        self.assertIn(f'{self.nameless} (no name)', str(error))


class HistoryTest(RecordsTestCase):
    def setUp(self):
        super().setUp()
        self.ids = [_ID.format(number) for number in '123']
        for image_id, name, action in (
            (self.ids[0], 'debian', 'miss'),
            (self.ids[0], None, 'pin'),
            (self.ids[1], 'debian', 'hit'),
            (None, None, 'delete'),
            (self.ids[2], 'rhel', 'purge'),
        ):
            self.catalog.add_history(
                'pool',
                action,
                image_id=image_id,
                image_name=name,
                detail='why',
            )
        self.catalog.add_history('other', 'evict', image_id='x')

    def _actions(self, **filters):
        return [each.action for each in self.records.history(**filters)]

    def test_the_newest_first(self):
        self.assertEqual(
            ['purge', 'delete', 'hit', 'pin', 'miss'], self._actions()
        )
        self.assertEqual(['purge', 'delete'], self._actions(limit=2))

    def test_of_an_image(self):
        self.assertEqual(['pin', 'miss'], self._actions(image=self.ids[0]))
        self.assertEqual(['purge'], self._actions(image='rhel'))
        self.assertEqual(['purge'], self._actions(image='00000003'))

    def test_a_name_stands_for_all_who_had_it(self):
        self.assertEqual(['hit', 'pin', 'miss'], self._actions(image='debian'))

    def test_the_start_of_an_id_has_to_be_unique(self):
        self.assertRaises(
            exceptions.ImageAmbiguous, self.records.history, image='0000000'
        )
        self.assertRaises(
            exceptions.ImageNotInHistory, self.records.history, image='nobody'
        )

    def test_by_action(self):
        self.assertEqual(
            ['purge', 'hit'], self._actions(actions=['hit', 'purge'])
        )
        self.assertEqual([], self._actions(actions=['hit'], image='rhel'))

    def test_since(self):
        with sqlite3.connect(self.catalog.path) as file:
            file.execute("UPDATE history SET at = 5 WHERE action = 'hit'")
            file.execute("UPDATE history SET at = 9 WHERE action = 'pin'")
        self.assertEqual(
            ['purge', 'delete', 'pin', 'miss'], self._actions(since=9)
        )


class ReadOnlyTest(RecordsTestCase):
    def test_it_is_read_and_nothing_else(self):
        image_id = self.add(1)
        for close in (False, True):
            if close:
                # Nobody has it open.
                self.catalog.close()
            before = sorted(os.listdir(self.path('state')))
            opened = self.open(read_only=True)
            self.assertEqual(
                [image_id], [each.image.id for each in opened.images('pool')]
            )
            self.assertRaises(
                exceptions.CatalogError, opened.add_history, 'pool', 'a'
            )
            self.assertEqual(before, sorted(os.listdir(self.path('state'))))
            opened.close()

    def test_one_that_is_not_there_is_not_made(self):
        self.assertRaises(
            exceptions.CatalogError, self.open(read_only=True).images, 'pool'
        )
        self.assertFalse(os.path.exists(self.path('state')))

    def test_another_version(self):
        self.add(1)
        with sqlite3.connect(self.catalog.path) as file:
            file.execute('PRAGMA user_version = 3')
        error = self.assertRaises(
            exceptions.CatalogError, self.open(read_only=True).images, 'pool'
        )
        self.assertIn('version 3', str(error))

    def test_a_link_is_not_followed(self):
        self.add(1)
        self.catalog.close()
        os.rename(self.catalog.path, self.path('moved'))
        os.symlink(self.path('moved'), self.catalog.path)
        self.assertRaises(
            exceptions.CatalogError, self.open(read_only=True).images, 'pool'
        )


class PoolNameTest(RecordsTestCase):
    def test_the_last_one_found_counts(self):
        self.assertIsNone(self.catalog.pool_called('vg'))
        for pool in ('one', 'one', 'two'):
            self.catalog.saw_pool('vg', pool)
            self.assertEqual(pool, self.catalog.pool_called('vg'))
        self.assertIsNone(self.catalog.pool_called('other'))
