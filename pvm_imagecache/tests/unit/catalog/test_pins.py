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


"""Pinned images and images in use."""

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit.catalog import base


class PinTest(base.ClockTestCase):
    def setUp(self):
        super().setUp()
        self.pins = self.catalog.pins

    def test_a_pin_without_a_duration_does_not_end(self):
        self.pins.pin('pool', 'image', 'why', None)
        self.later(base.YEARS)
        self.reboot()
        pin = self.pins.list('pool')['image']
        self.assertEqual(
            ('image', 'why', None), (pin.image_id, pin.note, pin.seconds_left)
        )
        self.assertEqual({}, self.pins.list('other'))

    def test_a_pin_ends_after_its_duration(self):
        self.pins.pin('pool', 'image', '', 100)
        self.now += base.YEARS
        self.later(99)
        self.assertEqual(1, self.pins.list('pool')['image'].seconds_left)
        self.later(1)
        self.assertEqual({}, self.pins.list('pool'))

    def test_a_second_pin_replaces_the_first(self):
        self.pins.pin('pool', 'image', 'old', 100)
        self.pins.pin('pool', 'image', 'new', None)
        self.assertEqual('new', self.pins.list('pool')['image'].note)

    def test_a_long_note_makes_no_pin_unreadable(self):
        self.catalog.pins.pin('pool', 'image', 'x' * 200_000, None)
        (pin,) = self.catalog.pins.list('pool').values()
        self.assertEqual('x' * models.LONGEST_NOTE, pin.note)

    def test_unpin_returns_whether_the_image_was_pinned(self):
        self.pins.pin('pool', 'image', '', None)
        self.assertFalse(self.pins.unpin('other', 'image'))
        self.assertTrue(self.pins.unpin('pool', 'image'))
        self.assertFalse(self.pins.unpin('pool', 'image'))
        self.assertEqual({}, self.pins.list('pool'))

    def test_a_pin_names_the_user_of_the_catalog(self):
        self.open('ann (project ops)').pins.pin('pool', 'image', '', None)
        self.assertEqual(
            'ann (project ops)', self.pins.list('pool')['image'].who
        )

    def test_a_read_only_catalog_lists_its_pins(self):
        self.pins.pin('pool', 'image', '', None)
        self.catalog.close()
        self.assertEqual(
            ['image'], [*self.open(read_only=True).pins.list('pool')]
        )

    def test_a_malformed_pin_is_a_catalog_error(self):
        self.pins.pin('pool', 'image', '', None)
        self.sql("UPDATE pins SET until_clock = 'x'")
        self.assertRaises(exceptions.CatalogError, self.pins.list, 'pool')


class InUseTest(base.ClockTestCase):
    def test_the_images_of_the_last_run_replace_those_before(self):
        pins = self.catalog.pins
        pins.set_in_use('pool', ['a', 'b', 'a'])
        self.later(10)
        pins.set_in_use('pool', iter(['b', 'c']))
        pins.set_in_use('other', ['z'])
        self.assertEqual(dict.fromkeys('bc', self.now), pins.in_use('pool'))

    def test_use_by_instances_counts_as_use_of_the_base_image(self):
        record = self.make_ready()
        self.make_ready('other', image=base.image_of(b'x', 'of_the_other'))
        self.later(1000)
        self.catalog.pins.set_in_use('pool', [record.image.id])
        self.assertEqual((0, 1000), (self.age(), self.age('other')))
        self.assertEqual(
            ['other', 'disk'],
            [each.disk_name for each in self.catalog.base_images.list('pool')],
        )

    def test_use_by_instances_does_not_change_a_populating_record(self):
        # The instance may be one that is being created.
        record = self.start_fill()
        self.catalog.pins.set_in_use('pool', [record.image.id])
        self.assertEqual(record, self.get())

    def test_an_error_of_the_iterable_is_raised_unchanged(self):
        self.catalog.pins.set_in_use('pool', ['a'])

        def ids():
            yield 'b'
            raise ValueError('of the caller')

        self.assertRaises(
            ValueError, self.catalog.pins.set_in_use, 'pool', ids()
        )
        self.assertEqual(['a'], [*self.catalog.pins.in_use('pool')])
