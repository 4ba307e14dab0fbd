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


"""The records of base images."""

import dataclasses
import os

import hypothesis
from hypothesis import stateful
from hypothesis import strategies
import testtools

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.tests.unit.catalog import base


class BaseImagesTest(base.ClockTestCase):
    def setUp(self):
        super().setUp()
        self.images = self.catalog.base_images

    def assert_refused(self, *changes):
        for change in changes:
            self.assertRaises(exceptions.CatalogConflict, change)

    def test_a_new_catalog_has_no_records(self):
        self.assertIsNone(self.get())
        self.assertEqual([], self.images.list('pool'))
        self.assertEqual([], self.images.states('pool'))

    def test_start_fill_returns_the_stored_record(self):
        record = self.start_fill()
        self.assertEqual(record, self.get())
        self.assertIs(base.POPULATING, record.state)
        self.assertEqual(self.image, record.image)
        self.assertIn(f'/{os.getpid()}', record.holder)
        self.assertEqual(
            (None, None, 0, None, None, 0, None),
            (
                record.udid,
                record.capacity,
                record.bytes_done,
                record.ready_at,
                record.last_used_at,
                record.hits,
                record.reason,
            ),
        )

    def test_every_attribute_of_an_image_is_stored(self):
        image = image_module.Image(
            id='ABC',
            name='na\u00efve \U0001f4be "name"; --',
            size=2**62,
            disk_format='qcow2',
            virtual_size=2**40,
            os_hash_algo='a',
            os_hash_value='b',
            checksum='c',
        )
        self.assertEqual(
            image, self.images.start_fill('pool', 'disk', image).image
        )
        image = image_module.Image(
            id='ABC', name=None, size=1, disk_format='raw'
        )
        self.assertEqual(
            image, self.images.start_fill('pool', 'other', image).image
        )

    def test_an_image_that_sqlite_cannot_store_is_a_catalog_error(self):
        for values in ({'size': 2**63}, {'name': 'a\ud800b'}):
            self.assertRaises(
                exceptions.CatalogError,
                self.images.start_fill,
                'pool',
                'disk',
                base.image_of(b'', **values),
            )
        self.assertEqual([], self.images.list('pool'))

    def test_a_fill_that_is_finished_makes_the_record_ready(self):
        record = self.start_fill()
        self.images.set_disk(record, 'udid', 2 * base.GIB)
        self.images.set_progress(record, 5)
        found = self.get()
        self.assertEqual(
            (base.POPULATING, 'udid', 2 * base.GIB, 5),
            (found.state, found.udid, found.capacity, found.bytes_done),
        )
        self.images.finish_fill(record, self.image)
        found = self.get()
        self.assertEqual(
            (base.READY, self.image.size, record.fill_id),
            (found.state, found.bytes_done, found.fill_id),
        )
        self.assertIsNotNone(found.ready_at)
        self.assertEqual(found.ready_at, found.last_used_at)

    def test_states_returns_disk_name_fill_id_and_state(self):
        first, second = self.start_fill('a'), self.make_ready('b')
        self.start_fill('c', pool='other pool')
        self.assertEqual(
            {
                ('a', first.fill_id, base.POPULATING),
                ('b', second.fill_id, base.READY),
            },
            set(self.images.states('pool')),
        )

    def test_get_many_returns_the_records_that_exist_by_disk_name(self):
        names = ['i_a', 'i_B', 'i_c.c', 'i_d']
        first, second, third = (
            self.images.start_fill('pool', name, self.image)
            for name in names[:3]
        )
        self.images.start_fill('other', names[3], self.image)
        self.assertEqual(
            {names[0]: first, names[1]: second, names[2]: third},
            self.images.get_many('pool', [*names, 'i_unknown', names[0]]),
        )
        self.assertEqual(
            {names[1]: second}, self.images.get_many('pool', names[1:2])
        )
        self.assertEqual({}, self.images.get_many('pool', []))

    def test_get_many_takes_more_names_than_sqlite_takes_parameters(self):
        record = self.start_fill()
        names = [f'i_{number}' for number in range(40_000)]
        self.assertEqual(
            [record],
            [
                *self.images.get_many(
                    'pool', [*names, record.disk_name]
                ).values()
            ],
        )

    def test_adopt_creates_a_ready_record(self):
        images = self.open('ann').base_images
        record = images.adopt('pool', 'disk', self.image, 'udid', base.GIB)
        self.assertEqual(record, self.get())
        self.assertEqual(
            (base.READY, 'udid', base.GIB, self.image.size, 'adopted by ann'),
            (
                record.state,
                record.udid,
                record.capacity,
                record.bytes_done,
                record.holder,
            ),
        )
        self.assertEqual(record.ready_clock, record.used_clock)
        self.assert_refused(
            lambda: images.adopt('pool', 'disk', self.image, 'other', 1)
        )
        self.assertEqual(record, self.get())

    def test_finish_fill_stores_the_virtual_size(self):
        record = self.start_fill()
        self.images.set_disk(record, 'udid', base.GIB)
        self.images.finish_fill(
            record, base.image_of(b'some bytes', virtual_size=77)
        )
        self.assertEqual(77, self.get().image.virtual_size)

    def test_finish_fill_stores_what_was_verified(self):
        record = self.images.start_fill('pool', 'disk', self.image)
        self.images.set_disk(record, 'udid', 1)
        self.assertIsNone(self.images.get('pool', 'disk').verified_signature)
        self.images.finish_fill(record, self.image, 'fingerprint')
        self.assertEqual(
            'fingerprint', self.images.get('pool', 'disk').verified_signature
        )

    def test_a_new_fill_is_not_verified(self):
        record = self.images.start_fill('pool', 'disk', self.image)
        self.images.set_disk(record, 'udid', 1)
        self.images.finish_fill(record, self.image, 'fingerprint')
        again = self.images.start_fill(
            'pool', 'disk', self.image, record.fill_id
        )
        self.assertIsNone(again.verified_signature)

    def test_finish_fill_is_refused_without_a_udid(self):
        record = self.start_fill()
        self.assert_refused(
            lambda: self.images.finish_fill(record, self.image)
        )
        self.images.set_disk(record, '', base.GIB)
        self.assert_refused(
            lambda: self.images.finish_fill(record, self.image)
        )
        self.assertIs(base.POPULATING, self.get().state)

    def test_finish_fill_is_refused_without_a_record(self):
        record = self.start_fill()
        self.images.remove(record)
        self.assert_refused(
            lambda: self.images.finish_fill(record, self.image)
        )
        self.assertIsNone(self.get())

    def test_a_ready_record_cannot_be_filled_again(self):
        record = self.make_ready()
        self.assert_refused(
            lambda: self.images.finish_fill(record, self.image),
            lambda: self.images.set_disk(record, 'other', 1),
            lambda: self.images.set_progress(record, 1),
        )
        self.assertEqual(record, self.get())

    def test_start_fill_refuses_a_second_record_of_a_name(self):
        record = self.start_fill()
        error = self.assertRaises(exceptions.CatalogConflict, self.start_fill)
        self.assertIn('disk has a record already', str(error))
        self.assertEqual(record, self.get())
        self.start_fill(pool='other pool')
        self.start_fill('other_disk')

    def test_start_fill_with_a_fill_id_replaces_the_record(self):
        self.images.start_fill('pool', 'disk', self.image, 'c' * 32)
        image = base.image_of(b'other bytes')
        record = self.images.start_fill('pool', 'disk', image, 'c' * 32)
        self.assertEqual(('c' * 32, image), (record.fill_id, record.image))
        self.assertEqual([record], self.images.list('pool'))

    def test_disk_names_are_case_sensitive(self):
        self.start_fill('i_abcdef01_2345')
        self.start_fill('i_ABCDEF01_2345')
        self.assertEqual(2, len(self.images.list('pool')))

    def test_a_record_of_an_earlier_fill_changes_nothing(self):
        stale = self.start_fill()
        self.images.set_disk(stale, 'udid', base.GIB)
        self.images.remove(stale)
        current = self.start_fill()
        self.images.set_disk(current, 'new udid', base.GIB)
        current = self.get()
        self.assert_refused(
            lambda: self.images.set_disk(stale, 'x', 1),
            lambda: self.images.set_progress(stale, 9),
            lambda: self.images.finish_fill(stale, self.image),
            lambda: self.images.start_eviction(stale),
            lambda: self.images.quarantine(stale, 'x'),
        )
        self.images.record_hit(stale)
        self.images.cancel_eviction(stale)
        self.images.remove(stale)
        self.assertEqual(current, self.get())

    def test_fill_ids_of_two_fills_differ(self):
        self.assertNotEqual(
            self.start_fill('a').fill_id, self.start_fill('b').fill_id
        )

    def test_an_evicted_record_can_be_removed_twice(self):
        for record in (self.start_fill('a'), self.make_ready('b')):
            self.images.start_eviction(record)
            found = self.get(record.disk_name)
            self.assertIs(base.EVICTING, found.state)
            # Again, by the process that cleans up after a crash.
            self.images.start_eviction(found)
            self.images.remove(found)
            self.images.remove(found)
        self.assertEqual([], self.images.list('pool'))

    def test_cancel_eviction_restores_a_ready_record(self):
        record = self.make_ready()
        self.images.start_eviction(record)
        self.images.cancel_eviction(record)
        self.assertEqual(record, self.get())

    def test_cancel_eviction_restores_a_quarantined_record(self):
        self.images.quarantine(self.make_ready(), 'it was changed')
        record = self.get()
        self.assertEqual(
            (base.QUARANTINED, 'it was changed'),
            (record.state, record.reason),
        )
        self.images.start_eviction(record)
        self.images.cancel_eviction(record)
        self.assertEqual(record, self.get())

    def test_cancel_eviction_makes_no_incomplete_image_ready(self):
        record = self.start_fill()
        self.images.cancel_eviction(record)
        self.assertEqual(record, self.get())
        self.images.start_eviction(record)
        self.images.cancel_eviction(record)
        self.assertIs(base.EVICTING, self.get().state)

    def test_start_eviction_is_refused_if_the_state_has_changed(self):
        record = self.start_fill()
        self.images.set_disk(record, 'udid', base.GIB)
        self.images.finish_fill(record, self.image)
        self.assert_refused(lambda: self.images.start_eviction(record))
        self.assertIs(base.READY, self.get().state)

    def test_start_eviction_is_refused_for_a_pinned_image(self):
        record = self.make_ready()
        self.catalog.pins.pin('pool', record.image.id, '', None)
        self.assertRaises(
            exceptions.ImagePinned, self.images.start_eviction, record
        )
        self.assertEqual(record, self.get())
        self.catalog.pins.unpin('pool', record.image.id)
        self.images.start_eviction(record)

    def test_record_hit_counts_hits_of_one_record(self):
        record, other = self.make_ready(), self.make_ready('other')
        self.images.record_hit(record)
        self.images.record_hit(record)
        self.assertEqual(2, self.get().hits)
        self.assertEqual(other, self.get('other'))

    def test_rename_changes_the_name_of_one_image_of_one_pool(self):
        record = self.make_ready()
        self.images.rename('other pool', record.image.id, 'x')
        self.images.rename('pool', 'other image', 'x')
        self.assertEqual(record, self.get())
        for name in ('new', None):
            self.images.rename('pool', record.image.id, name)
            self.assertEqual(
                dataclasses.replace(
                    record, image=dataclasses.replace(record.image, name=name)
                ),
                self.get(),
            )

    def test_list_returns_the_least_recently_used_first(self):
        for name in 'abc':
            self.later(1)
            self.make_ready(name)
        self.later(1)
        self.start_fill('filling')
        self.make_ready('elsewhere', pool='other pool')
        self.later(1)
        self.images.record_hit(self.get('a'))
        self.assertEqual(
            ['b', 'c', 'filling', 'a'],
            [each.disk_name for each in self.images.list('pool')],
        )

    def test_a_clock_that_is_set_back_makes_no_record_older(self):
        record = self.make_ready()
        self.later(1)
        self.now = 1.0
        self.images.record_hit(record)
        found = self.get()
        self.assertEqual((1, 1.0), (found.hits, found.last_used_at))
        self.assertGreater(found.used_clock, record.used_clock)

    def test_malformed_values_are_catalog_errors(self):
        for column, value in (
            ('state', 'baked'),
            ('size', 'large'),
            ('hits', 1.5),
            ('image_id', b'x'),
            ('udid', b'x'),
            ('capacity', 'x'),
            ('created_at', 'today'),
            ('used_clock', b'\xff'),
        ):
            record = self.make_ready()
            self.sql(f'UPDATE base_images SET {column} = ?', (value,))
            for call in (self.images.list, lambda pool: self.get(pool=pool)):
                error = self.assertRaises(
                    exceptions.CatalogError, call, 'pool'
                )
                self.assertIn(column, str(error))
            self.images.remove(record)

    def test_states_with_an_unknown_state_is_a_catalog_error(self):
        self.make_ready()
        self.sql("UPDATE base_images SET state = 'baked'")
        error = self.assertRaises(
            exceptions.CatalogError, self.images.states, 'pool'
        )
        self.assertIn('baked', str(error))


class BaseImagesMachine(stateful.RuleBasedStateMachine):
    """The records, beside a dict of what they should be."""

    records = stateful.Bundle('records')
    names = strategies.sampled_from(['a', 'b', 'c'])
    udids = strategies.sampled_from(['', 'one', 'two'])

    def __init__(self):
        super().__init__()
        self.test = base.CatalogTestCase('run')
        self.test.setUp()
        self.images = self.test.catalog.base_images
        self.model = {}
        self.were_ready = set()

    def teardown(self):
        self.test.doCleanups()

    def _refused(self, call, *args):
        try:
            call(*args)
        except exceptions.CatalogConflict:
            return
        raise AssertionError('a stale record was changed')

    def _expect(self, record, state, call, *args):
        """Return the model's record if the call is to succeed."""
        known = self.model.get(record.disk_name)
        if (
            known
            and known['fill_id'] == record.fill_id
            and known['state'] is state
        ):
            call(*args)
            return known
        self._refused(call, *args)
        return {}

    @stateful.rule(
        target=records,
        name=names,
        content=strategies.sampled_from([b'x', b'yy']),
    )
    def start_fill(self, name, content):
        image = base.image_of(content)
        if name in self.model:
            self._refused(self.images.start_fill, 'pool', name, image)
            return stateful.multiple()
        record = self.images.start_fill('pool', name, image)
        self.were_ready.discard(name)
        self.model[name] = {
            'state': base.POPULATING,
            'fill_id': record.fill_id,
            'udid': None,
            'image': image,
            'hits': 0,
            'bytes_done': 0,
        }
        return record

    @stateful.rule(target=records, name=names)
    def look(self, name):
        record = self.images.get('pool', name)
        if record is None:
            assert name not in self.model
            return stateful.multiple()
        return record

    @stateful.rule(record=records, udid=udids)
    def set_disk(self, record, udid):
        self._expect(
            record, base.POPULATING, self.images.set_disk, record, udid, 1
        ).update(udid=udid)

    @stateful.rule(record=records, done=strategies.integers(0, 9))
    def set_progress(self, record, done):
        self._expect(
            record, base.POPULATING, self.images.set_progress, record, done
        ).update(bytes_done=done)

    @stateful.rule(record=records)
    def finish_fill(self, record):
        known = self.model.get(record.disk_name)
        if not known or not known['udid']:
            self._refused(self.images.finish_fill, record, record.image)
            return
        known = self._expect(
            record,
            base.POPULATING,
            self.images.finish_fill,
            record,
            record.image,
        )
        if known:
            self.were_ready.add(record.disk_name)
        known.update(state=base.READY, bytes_done=record.image.size)

    @stateful.rule(record=records)
    def record_hit(self, record):
        self.images.record_hit(record)
        known = self.model.get(record.disk_name)
        if known and known['fill_id'] == record.fill_id:
            known['hits'] += 1

    @stateful.rule(record=records)
    def start_eviction(self, record):
        self._expect(
            record, record.state, self.images.start_eviction, record
        ).update(state=base.EVICTING)

    @stateful.rule(record=records)
    def cancel_eviction(self, record):
        self.images.cancel_eviction(record)
        known = self.model.get(record.disk_name)
        if (
            known
            and known['fill_id'] == record.fill_id
            and known['state'] is base.EVICTING
            and record.disk_name in self.were_ready
        ):
            known['state'] = base.READY

    @stateful.rule(record=records)
    def remove(self, record):
        self.images.remove(record)
        known = self.model.get(record.disk_name)
        if known and known['fill_id'] == record.fill_id:
            del self.model[record.disk_name]

    @stateful.rule()
    def reopen(self):
        self.test.catalog.close()

    @stateful.invariant()
    def agree(self):
        found = {
            each.disk_name: {
                name: getattr(each, name)
                for name in (
                    'state',
                    'fill_id',
                    'udid',
                    'image',
                    'hits',
                    'bytes_done',
                )
            }
            for each in self.images.list('pool')
        }
        assert found == self.model, f'{found} != {self.model}'


class BaseImagesMachineTest(testtools.TestCase):
    def test_records_change_as_those_of_a_dict_do(self):
        stateful.run_state_machine_as_test(
            BaseImagesMachine,
            settings=hypothesis.settings(
                base.generated, max_examples=25, stateful_step_count=25
            ),
        )
