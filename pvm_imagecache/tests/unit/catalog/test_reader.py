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

"""What is read from the catalog without PowerVM."""

import os

import hypothesis
from hypothesis import strategies
from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import reader
from pvm_imagecache.conf import cache as cache_conf
from pvm_imagecache.tests.unit.catalog import base

_ID = '{:0>8}-0000-4000-8000-000000000000'


class ReaderTestCase(base.CatalogTestCase):
    def setUp(self):
        super().setUp()
        self.reader = reader.CatalogReader(self.catalog, 'pool')

    def add(self, number, name='an image'):
        image = base.image_of(b'x', _ID.format(number), name=name)
        return self.make_ready(f'disk{number}', image=image).image.id


class MissingCatalogTest(ReaderTestCase):
    def test_a_missing_catalog_is_empty_and_not_created(self):
        self.assertEqual([], self.reader.list())
        self.assertEqual({}, self.reader.pins())
        self.assertEqual({}, self.reader.in_use())
        self.assertEqual({}, self.reader.metadata())
        self.assertEqual([], self.reader.history(image='x'))
        self.assertRaises(exceptions.ImageNotCached, self.reader.find, 'x')
        self.assertFalse(os.path.exists(self.path('state')))


class MetadataTest(ReaderTestCase):
    def test_it_is_read_by_image(self):
        image_id = self.add(1)
        known = image_module.Metadata('ops', ('golden',))
        self.catalog.image_metadata.record('pool', image_id, known)
        self.assertEqual({image_id: known}, self.reader.metadata())


class FindTest(ReaderTestCase):
    def test_find_accepts_id_name_and_prefix(self):
        first, second = self.add('1a', 'one'), self.add('2b', 'two')
        for text, found in (
            (first, first),
            ('one', first),
            ('0000002', second),
        ):
            self.assertEqual(found, self.reader.find(text).image.id)
        for text in ('', 'three', '3'):
            self.assertRaises(
                exceptions.ImageNotCached, self.reader.find, text
            )

    def test_find_refuses_an_ambiguous_name(self):
        ids = [self.add(number, 'twin') for number in range(8)]
        error = self.assertRaises(
            exceptions.ImageAmbiguous, self.reader.find, 'twin'
        )
        self.assertIn(ids[0], str(error))
        self.assertIn('and 3 more', str(error))

    @base.generated
    @hypothesis.given(
        strategies.text('0123', max_size=5),
        strategies.sets(strategies.text('0123', min_size=1, max_size=4)),
    )
    def test_matching_prefers_an_exact_id_to_prefixes(self, text, ids):
        found = reader.matching(text, {each: {f'n{each}'} for each in ids})
        if text in ids:
            self.assertEqual([text], found)
        elif text:
            self.assertEqual(
                {each for each in ids if each.startswith(text)}, set(found)
            )
        else:
            self.assertEqual([], found)

    @base.generated
    @hypothesis.given(
        strategies.text('abAB1-', max_size=5),
        strategies.dictionaries(
            strategies.text('abAB1-', min_size=1, max_size=4),
            strategies.sets(strategies.text('abAB1-', max_size=4), max_size=2),
        ),
    )
    def test_matching_never_takes_an_id_for_a_name(self, text, names):
        found = reader.matching(text, names)
        if image_module.looks_like_id(text):
            self.assertEqual(
                found, reader.matching(text, dict.fromkeys(names, ()))
            )
        self.assertEqual(
            [each for each, known in names.items() if text and text in known],
            reader.matching(text, names, by_name=True),
        )

    def test_a_prefix_in_several_spellings_is_ambiguous(self):
        self.assertEqual(
            ['ab-1', 'AB12'],
            reader.matching('ab', {'ab-1': (), 'AB12': (), 'ac': ()}),
        )
        self.assertEqual(['ab-1'], reader.matching('ab', {'ab-1': ()}))
        self.assertEqual([], reader.matching('AB', {'ab-1': ()}))

    def test_a_name_that_looks_like_an_id_is_hinted_at(self):
        self.add('1a', 'cafe')
        error = self.assertRaises(
            exceptions.ImageNotCached, self.reader.find, 'cafe'
        )
        self.assertIn('use --name', str(error))
        self.assertTrue(self.reader.find('cafe', by_name=True))


class FindPinnedTest(ReaderTestCase):
    def setUp(self):
        super().setUp()
        self.assertIsNone(self.reader.find_pinned('x'))
        self.cached = self.add('1a', 'debian')
        self.add('2b', 'not pinned')
        self.gone, self.nameless = _ID.format('3c'), _ID.format('4d')
        for action, name in (('miss', 'rhel'), ('pin', None)):
            self.catalog.history.add(
                'pool', action, image_id=self.gone, image_name=name
            )
        for each in (self.cached, self.gone, self.nameless):
            self.catalog.pins.pin('pool', each, '', None)

    def test_find_pinned_accepts_id_prefix_and_name(self):
        for found, texts in (
            ((self.cached, 'debian'), (self.cached, '0000001', 'debian')),
            ((self.gone, 'rhel'), (self.gone, '0000003', 'rhel')),
            ((self.nameless, None), (self.nameless, '0000004')),
            (None, ('', 'not pinned', '0000002', 'unknown')),
        ):
            for text in texts:
                self.assertEqual(found, self.reader.find_pinned(text), text)

    def test_find_pinned_knows_the_newest_name_only(self):
        self.catalog.history.add(
            'pool', 'rename', image_id=self.gone, image_name='rhel-9'
        )
        self.catalog.base_images.rename('pool', self.cached, 'older')
        for text, found in (
            ('rhel-9', (self.gone, 'rhel-9')),
            ('rhel', None),
            ('older', (self.cached, 'older')),
            ('debian', None),
        ):
            self.assertEqual(found, self.reader.find_pinned(text), text)

    def test_names_are_those_of_base_images_or_of_the_history(self):
        names = self.reader.names()
        self.assertEqual(
            ('debian', 'rhel', None),
            tuple(
                names.get(each)
                for each in (self.cached, self.gone, self.nameless)
            ),
        )

    def test_find_pinned_refuses_an_ambiguous_prefix(self):
        error = self.assertRaises(
            exceptions.ImageAmbiguous, self.reader.find_pinned, '00'
        )
        self.assertIn(f'{self.gone} (rhel)', str(error))
        self.assertIn(f'{self.nameless} (no name)', str(error))


class HistoryTest(ReaderTestCase):
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
            self.catalog.history.add(
                'pool',
                action,
                image_id=image_id,
                image_name=name,
                detail='why',
            )
        self.catalog.history.add('other', 'evict', image_id='x')

    def _actions(self, **filters):
        return [each.action for each in self.reader.history(**filters)]

    def test_history_returns_the_newest_first(self):
        self.assertEqual(
            ['purge', 'delete', 'hit', 'pin', 'miss'], self._actions()
        )
        self.assertEqual(['purge', 'delete'], self._actions(limit=2))

    def test_history_of_an_image_by_id_name_and_prefix(self):
        self.assertEqual(['pin', 'miss'], self._actions(image=self.ids[0]))
        self.assertEqual(['purge'], self._actions(image='rhel'))
        self.assertEqual(['purge'], self._actions(image='00000003'))

    def test_a_name_stands_for_all_images_that_had_it(self):
        self.assertEqual(['hit', 'pin', 'miss'], self._actions(image='debian'))

    def test_a_prefix_in_the_history_must_be_unique(self):
        self.assertRaises(
            exceptions.ImageAmbiguous, self.reader.history, image='0000000'
        )
        self.assertRaises(
            exceptions.ImageNotInHistory, self.reader.history, image='unknown'
        )

    def test_history_can_be_limited_to_actions(self):
        self.assertEqual(
            ['purge', 'hit'], self._actions(actions=['hit', 'purge'])
        )
        self.assertEqual([], self._actions(actions=['hit'], image='rhel'))

    def test_history_can_be_limited_to_a_time(self):
        self.sql("UPDATE history SET at = 5 WHERE action = 'hit'")
        self.sql("UPDATE history SET at = 9 WHERE action = 'pin'")
        self.assertEqual(
            ['purge', 'delete', 'pin', 'miss'], self._actions(since=9)
        )


class AgeTest(base.ClockTestCase):
    def test_the_age_is_the_time_since_the_last_use(self):
        opened = reader.CatalogReader(self.catalog, 'pool')
        self.make_ready()
        self.later(100)
        self.assertEqual(100, opened.age(self.get()))
        self.catalog.base_images.record_hit(self.get())
        self.later(7)
        self.assertEqual(7, opened.age(self.get()))

    def test_the_age_of_an_unused_image_is_the_time_since_its_start(self):
        opened = reader.CatalogReader(self.catalog, 'pool')
        self.start_fill()
        self.later(50)
        self.assertEqual(50, opened.age(self.get()))


class ListTest(ReaderTestCase):
    def test_base_images_pins_and_uses_of_the_pool_are_returned(self):
        image_id = self.add('1a')
        self.catalog.pins.pin('pool', image_id, 'why', None)
        self.catalog.pins.set_in_use('pool', [image_id])
        other = reader.CatalogReader(self.catalog, 'other')
        self.assertEqual(
            [image_id], [each.image.id for each in self.reader.list()]
        )
        self.assertEqual('why', self.reader.pins()[image_id].note)
        self.assertEqual([image_id], [*self.reader.in_use()])
        self.assertEqual(
            ([], {}, {}), (other.list(), other.pins(), other.in_use())
        )


class OpenReaderTest(base.CatalogTestCase):
    def setUp(self):
        super().setUp()
        self.patch(
            cache_conf,
            'GROUP',
            # Overrides are kept in the group, which is shared otherwise.
            cfg.OptGroup(cache_conf.GROUP.name),
        )
        self.conf = cfg.ConfigOpts()
        cache_conf.register(self.conf)
        self.conf([], default_config_files=[], default_config_dirs=[])
        self.conf.set_override(
            'state_path', self.path('state'), cache_conf.GROUP.name
        )
        self.catalog_path = cache_conf.catalog_path(self.conf)
        self.catalog = self.open()

    def record_pool(self):
        self.catalog.pools.record_name(cache_conf.pool_name(self.conf), 'pool')

    def test_a_known_pool_is_read_without_writing(self):
        record = self.start_fill()
        self.record_pool()
        self.catalog.close()
        before = sorted(os.listdir(self.path('state')))
        opened = reader.open_reader(self.conf)
        self.assertEqual([record], opened.list())
        self.assertEqual(before, sorted(os.listdir(self.path('state'))))

    def test_there_is_no_reader_of_a_pool_that_was_never_found(self):
        self.start_fill()
        self.assertIsNone(reader.open_reader(self.conf))

    def test_there_is_no_reader_of_a_missing_catalog(self):
        self.assertIsNone(reader.open_reader(self.conf))
        self.assertFalse(os.path.exists(self.path('state')))

    def test_there_is_no_reader_of_a_catalog_to_be_upgraded(self):
        self.record_pool()
        self.catalog.close()
        self.sql('PRAGMA user_version = 5')
        self.assertIsNone(reader.open_reader(self.conf))
        self.assertEqual([(5,)], self.sql('PRAGMA user_version'))

    def test_there_is_no_reader_of_a_corrupt_catalog(self):
        self.write_file(b'this is not a database' * 100)
        self.assertIsNone(reader.open_reader(self.conf))

    def test_a_catalog_without_read_permission_is_a_catalog_error(self):
        self.record_pool()
        self.catalog.close()
        self.let_others_in()

        def child():
            self.as_unprivileged_user()
            error = self.assertRaises(
                exceptions.CatalogError, reader.open_reader, self.conf
            )
            self.assertIn('Permission denied', str(error))

        for path, mode in (
            (self.catalog_path, 0o600),
            (self.path('state'), 0o700),
        ):
            os.chmod(path, 0)
            self.in_child(child)
            os.chmod(path, mode)
