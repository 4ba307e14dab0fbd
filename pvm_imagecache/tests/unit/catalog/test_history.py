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


"""The history and its totals."""

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.catalog import history as catalog_history
from pvm_imagecache.catalog import models
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit.catalog import base


class HistoryTest(base.CatalogTestCase):
    def setUp(self):
        super().setUp()
        self.history = self.catalog.history

    def test_the_newest_event_of_a_disk_is_returned(self):
        self.assertIsNone(self.history.last_of_disk('pool', 'vm1'))
        for action in ('miss', 'delete'):
            self.history.add('pool', action, disk_name='vm1', image_id='a')
        self.history.add('pool', 'hit', disk_name='vm2')
        self.history.add('other', 'hit', disk_name='vm1')
        found = self.history.last_of_disk('pool', 'vm1')
        self.assertEqual(('delete', 'a'), (found.action, found.image_id))

    def test_the_rate_of_copies_is_that_of_large_hits(self):
        gib = 1 << 30
        self.assertIsNone(self.history.copy_rate('pool'))
        for action, saved, seconds in (
            ('hit', gib - 1, 1.0),
            ('hit', gib, 0.0),
            ('hit', None, 1.0),
            ('miss', gib, 1.0),
        ):
            self.history.add(
                'pool', action, bytes_saved=saved, seconds=seconds
            )
        self.assertIsNone(self.history.copy_rate('pool'))
        for seconds in (1.0, 8.0, 1000.0):
            self.history.add('pool', 'hit', bytes_saved=gib, seconds=seconds)
        self.assertEqual(gib // 8, self.history.copy_rate('pool'))
        self.assertIsNone(self.history.copy_rate('other'))

    def test_only_the_latest_events_show_the_rate_of_copies(self):
        self.patch(catalog_history, '_LATEST', 3)
        self.history.add('pool', 'hit', bytes_saved=1 << 30, seconds=1.0)
        for rate in (1 << 30, 1 << 30, 1 << 30, None):
            self.assertEqual(rate, self.history.copy_rate('pool'))
            self.history.add('other', 'evicted')

    def test_a_rate_that_no_storage_has_is_not_returned(self):
        for number, (saved, seconds, expected) in enumerate(
            (
                (1 << 40, 1e-320, platform_facts.MOST_RATE),
                (1 << 62, 1e-9, platform_facts.MOST_RATE),
                (1 << 30, 1e9, platform_facts.LEAST_RATE),
            )
        ):
            pool = f'pool{number}'
            self.history.add(pool, 'hit', bytes_saved=saved, seconds=seconds)
            self.assertEqual(expected, self.history.copy_rate(pool))

    def test_names_of_disks_are_found(self):
        self.history.add('pool', 'hit', disk_name='vm1')
        self.history.add('other', 'hit', disk_name='vm2')
        self.history.add('pool', 'cleanup')
        self.assertEqual(
            {'vm1'}, self.history.disk_names('pool', ['vm1', 'vm2', 'vm3'])
        )

    def test_deploys_of_images_are_counted(self):
        for action in ('hit', 'miss', 'bypass', 'prefetch', 'pin', 'evict'):
            self.history.add('pool', action, image_id='a')
            self.history.add('other', action, image_id='a')
        self.history.add('pool', 'hit', image_id='b')
        self.history.add('pool', 'hit')
        self.assertEqual({'a': 3, 'b': 1}, self.history.deploys('pool', 0))
        self.assertEqual({}, self.history.deploys('pool', 1e12))
        self.assertEqual({}, self.history.deploys('nowhere', 0))

    def test_totals_are_the_sums_of_each_action_of_a_pool(self):
        self.assertEqual({}, self.history.totals('pool'))
        self.history.add('pool', 'miss', bytes_fetched=10, seconds=1.5)
        self.history.add('pool', 'miss', bytes_fetched=5, seconds=2.0)
        self.history.add('pool', 'hit', bytes_saved=7)
        self.history.add('pool', 'hit', bytes_saved=8)
        self.history.add('pool', 'purge')
        self.history.add('other', 'hit', bytes_saved=100)
        totals = self.history.totals('pool')
        self.assertEqual(
            {
                'miss': models.Total(2, 15, 0),
                'hit': models.Total(2, 0, 15),
                'purge': models.Total(1, 0, 0),
            },
            totals,
        )
        self.assertEqual(3.5, totals['miss'].seconds)
        self.assertEqual(
            {'hit': models.Total(1, 0, 100)}, self.history.totals('other')
        )

    def test_only_the_newest_events_are_kept_but_all_are_counted(self):
        self.patch(catalog_history, 'HISTORY_LENGTH', 3)
        for number in range(10):
            self.history.add('pool', 'hit', detail=str(number))
        self.assertEqual(
            ['9', '8', '7'],
            [each.detail for each in self.history.list('pool')],
        )
        self.assertEqual(10, self.history.totals('pool')['hit'].times)

    def test_event_and_total_are_written_together(self):
        self.history.add('pool', 'hit')
        self.sql('DROP TABLE totals')
        self.assertRaises(
            exceptions.CatalogError, self.history.add, 'pool', 'hit'
        )
        self.assertEqual(1, len(self.history.list('pool')))
        # The one that failed holds no lock on the file.
        self.start_fill()

    def test_an_event_names_the_user_of_the_catalog_by_default(self):
        self.history.add('pool', 'purge', detail='why')
        opened = self.open('ann (project ops)').history
        opened.add('pool', 'pin')
        opened.add('pool', 'evict', who='nova')
        self.assertEqual(
            ['nova', 'ann (project ops)', identity.user()],
            [each.who for each in self.history.list('pool')],
        )

    def test_list_returns_all_attributes_of_an_event(self):
        values = {
            'image_id': 'i',
            'image_name': 'n',
            'disk_name': 'd',
            'bytes_fetched': 1,
            'bytes_saved': 2,
            'seconds': 0.5,
            'who': 'w',
            'detail': 'x',
            'code': 'c',
        }
        self.history.add('pool', 'evict', **values)
        (event,) = self.history.list('pool')
        self.assertEqual(
            models.HistoryEvent(at=event.at, action='evict', **values), event
        )

    def test_a_long_reason_makes_no_event_unreadable(self):
        self.catalog.history.add('pool', 'hit', detail='x' * 200_000)
        (event,) = self.catalog.history.list('pool')
        self.assertEqual(set('x'), set(event.detail))

    def test_list_of_no_images_is_empty(self):
        self.history.add('pool', 'hit', image_id='i')
        self.assertEqual([], self.history.list('pool', images=[]))
        self.assertEqual(1, len(self.history.list('pool', images=['i'])))

    def test_image_names_has_all_names_of_an_image(self):
        for image_id, name in (
            ('a', 'one'),
            ('a', 'two'),
            ('a', 'two'),
            ('b', None),
            (None, 'three'),
        ):
            self.history.add('pool', 'hit', image_id=image_id, image_name=name)
        self.assertEqual(
            {'a': {'one', 'two'}, 'b': {None}},
            self.history.image_names('pool'),
        )

    def test_last_names_has_the_newest_name_of_an_image(self):
        for pool, image_id, name in (
            ('pool', 'a', 'two'),
            ('pool', 'a', 'one'),
            ('pool', 'a', None),
            ('pool', 'b', None),
            ('pool', None, 'three'),
            ('other', 'a', 'four'),
        ):
            self.history.add(pool, 'hit', image_id=image_id, image_name=name)
        self.assertEqual({'a': 'one'}, self.history.last_names('pool'))

    def test_malformed_values_are_catalog_errors(self):
        self.history.add('pool', 'hit', image_id='i', image_name='n')
        self.sql("UPDATE history SET at = 'x', image_name = ?", (b'x',))
        self.sql("UPDATE totals SET times = 'x'")
        for call in (
            self.history.list,
            self.history.image_names,
            self.history.totals,
        ):
            self.assertRaises(exceptions.CatalogError, call, 'pool')
