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

import logging
import types

import fixtures
from pypowervm import exceptions as pvm_exceptions
from pypowervm.tasks import storage as pvm_storage_tasks
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache.drivers.ssp import image_unit
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers.ssp import pools

NAME = 'image_x_' + 'ab' * 16
#: Markers of other hosts: one sorts before all of ours, the other after.
FIRST, LAST = f'part00000000{NAME}', f'partzzzzzzzz{NAME}'
SIZE = 3 * (1 << 20) + 5
PATIENCE = 60


class NoLuck(Exception):
    """The image cannot be read."""


class Clock:
    """Time that passes only in a sleep.

    :ivar now: in seconds.
    :ivar events: what other hosts do, one call at the end of each sleep.
    """

    def __init__(self):
        self.now = 0.0
        self.events = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.events:
            self.events.pop(0)()


class ImageUnitTestCase(pools.PoolTestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        adapter = self.adapters()
        (pool,) = pvm_storage.SSP.get(adapter)
        self.tier = pvm_storage_tasks.default_tier_for_ssp(pool)
        self.vios_uuid = pvm_vios.VIOS.get(adapter)[0].uuid
        self.image = images.raw_bytes(SIZE, seed=1)
        self.opened = 0
        self.clock = Clock()
        self.patch(
            image_unit,
            'time',
            types.SimpleNamespace(
                monotonic=self.clock.monotonic, sleep=self.clock.sleep
            ),
        )

    def open(self):
        self.opened += 1
        return iter([self.image[: SIZE // 2], self.image[SIZE // 2 :]])

    def broken(self):
        self.opened += 1
        yield self.image[: SIZE // 2]
        raise NoLuck

    def assert_image(self, name):
        self.assert_bytes(self.image, self.content(name, SIZE))


class GetOrUploadTest(ImageUnitTestCase):
    def get(self, open_image=None):
        return image_unit.get_or_upload(
            self.tier,
            NAME,
            self.vios_uuid,
            open_image or self.open,
            SIZE,
            PATIENCE,
        )

    def add(self, name):
        return self.add_unit(self.tier, name)

    def test_a_missing_image_is_uploaded_without_a_wait(self):
        unit = self.get()
        self.assertEqual(NAME, unit.name)
        self.assertEqual({NAME}, set(self.units()))
        self.assertEqual('VirtualIO_Image', self.units()[NAME]['unit_type'])
        self.assert_image(NAME)
        self.assertEqual((1, 0.0), (self.opened, self.clock.now))

    def test_an_existing_image_is_not_uploaded_again(self):
        made = self.get()
        self.assertEqual(made.udid, self.get().udid)
        self.assertEqual(1, self.opened)
        self.assertEqual({NAME}, set(self.units()))

    def test_a_failed_upload_leaves_no_unit(self):
        self.assertRaises(NoLuck, self.get, self.broken)
        self.assertEqual({}, self.units())
        # The next attempt succeeds.
        self.assertEqual(NAME, self.get().name)
        self.assert_image(NAME)

    def test_an_incomplete_unit_is_never_taken_for_complete(self):
        # It cannot be deleted, so its marker must stay.
        self.powervm.control.add_fault(
            'status',
            method='DELETE',
            path_regex='LogicalUnit',
            status=500,
            count=2,
        )
        self.assertRaises(NoLuck, self.get, self.broken)
        (marker,) = set(self.units()) - {NAME}
        self.assertEqual({NAME, marker}, set(self.units()))
        self.assertIn('Could not delete the incomplete', self.log.output)
        self.assertIsNone(self.get())
        self.assertEqual(1, self.opened)

    def test_what_was_created_without_an_answer_is_deleted(self):
        # The marker, and the unit of the image.
        for skip in (0, 1):
            self.powervm.control.add_fault(
                'lose_answer',
                method='PUT',
                path_regex='LogicalUnit',
                skip=skip,
                count=1,
            )
            self.assertRaises(pvm_exceptions.Error, self.get)
            self.assertEqual({}, self.units())
        self.assertEqual(NAME, self.get().name)
        self.assert_image(NAME)

    def test_a_unit_that_was_not_answered_nor_deleted_is_incomplete(self):
        self.powervm.control.add_fault(
            'lose_answer', method='PUT', path_regex='LogicalUnit', skip=1
        )
        self.powervm.control.add_fault(
            'status', method='DELETE', path_regex='LogicalUnit', status=500
        )
        self.assertRaises(pvm_exceptions.Error, self.get)
        self.assertEqual(2, len(self.units()))
        self.assertIsNone(self.get())

    def test_a_refused_unit_leaves_no_marker(self):
        self.powervm.control.add_fault(
            'status',
            method='PUT',
            path_regex='LogicalUnit',
            skip=1,
            status=400,
        )
        self.assertRaises(pvm_exceptions.Error, self.get)
        self.assertEqual({}, self.units())

    def test_the_upload_of_another_host_is_awaited(self):
        marker = self.add(FIRST)
        self.clock.events = [
            lambda: self.add(NAME),
            marker.delete,
        ]
        unit = self.get()
        self.assertEqual(NAME, unit.name)
        self.assertEqual(0, self.opened)
        self.assertEqual(self.units()[NAME]['udid'], unit.udid)
        self.assertEqual({NAME}, set(self.units()))

    def test_an_upload_given_up_by_another_host_is_taken_over(self):
        self.clock.events = [self.add(FIRST).delete]
        self.assertEqual(NAME, self.get().name)
        self.assertEqual(1, self.opened)
        self.assert_image(NAME)

    def test_the_wait_for_a_crashed_host_is_bounded(self):
        self.add(FIRST)
        self.assertIsNone(self.get())
        self.assertEqual((0, float(PATIENCE)), (self.opened, self.clock.now))
        # Its marker may be in use after all: an operator must decide.
        self.assertEqual({FIRST}, set(self.units()))

    def test_a_given_up_wait_is_logged_with_the_units(self):
        self.add(FIRST)
        self.add(NAME)
        self.get()
        self.assertIn(f'made no progress for {PATIENCE} s', self.log.output)
        self.assertIn(
            f'delete the logical units {NAME}, {FIRST}.', self.log.output
        )

    def test_progress_of_another_host_extends_the_wait(self):
        self.add(FIRST)
        # The unit of the image appears just before the patience ends.
        waits = [lambda: None] * 10
        self.clock.events = [*waits, lambda: self.add(NAME), *waits]
        self.assertIsNone(self.get())
        self.assertGreater(self.clock.now, PATIENCE + 50)

    def test_the_marker_that_sorts_first_wins(self):
        for theirs, uploads in ((FIRST, 0), (LAST, 1)):
            self.opened = 0
            markers = []

            def interfere(method, path, theirs=theirs, markers=markers):
                # Another host looked at the same time, and saw no marker.
                if method == 'PUT' and not markers:
                    markers.append(None)
                    markers[0] = self.add(theirs)

            self.adapters.before_request = interfere
            self.clock.events = [lambda: self.add(NAME), lambda: None]
            self.clock.events += [lambda markers=markers: markers[0].delete()]
            unit = self.get()
            self.assertEqual(NAME, unit.name)
            self.assertEqual(uploads, self.opened)
            # The own marker is deleted in any case.
            self.assertEqual(
                {NAME} | ({theirs} if uploads else set()), set(self.units())
            )
            for each in self.units_of_tier():
                each.delete()

    def start_another_host(self, **fault):
        """Have it create the unit just before we do.

        It saw no marker of ours, since it looked before there was one.
        """
        others, puts = [], []

        def interfere(method, path):
            puts.append(method == 'PUT')
            if sum(puts) == 2 and not others:
                others.append(None)
                others[:] = [self.add(LAST), self.add(NAME)]
                if fault:
                    self.powervm.control.add_fault(**fault)

        self.adapters.before_request = interfere
        self.clock.events = [lambda: others[0].delete()]
        return others

    def test_the_unit_of_a_host_that_looked_earlier_is_used(self):
        others = self.start_another_host()
        unit = self.get()
        self.assertEqual(others[1].udid, unit.udid)
        self.assertEqual(0, self.opened)
        self.assertEqual({NAME}, set(self.units()))

    def test_the_unit_of_another_host_is_not_deleted(self):
        # Whose unit it is cannot be seen without an answer.
        others = self.start_another_host(
            action='status', method='PUT', path_regex='LogicalUnit', status=500
        )
        self.assertRaises(pvm_exceptions.Error, self.get)
        self.assertEqual(others[1].udid, self.units()[NAME]['udid'])
        self.assertIn('can have created it', self.log.output)
        self.clock.events.clear()
        others[0].delete()
        # Our marker stays, for an operator to delete.
        (marker,) = set(self.units()) - {NAME}
        self.assertIsNone(self.get())
        self.assertEqual({NAME, marker}, set(self.units()))

    def units_of_tier(self):
        return pvm_storage.LUEnt.get(self.tier.adapter, parent=self.tier)

    def test_units_of_other_images_are_ignored(self):
        for name in ('part00000000image_other', 'image_other'):
            self.add(name)
        self.assertEqual(NAME, self.get().name)
        self.assertEqual((1, 0.0), (self.opened, self.clock.now))

    def test_a_disk_of_the_name_is_no_image(self):
        disk = f'boot_{NAME}'
        self.add_unit(self.tier, disk, pvm_storage.LUType.DISK)
        self.assertEqual(NAME, self.get().name)
        self.assertEqual({NAME, disk}, set(self.units()))


class FillTest(ImageUnitTestCase):
    def fill(self, size, kind, open_image=None):
        return image_unit.fill(
            self.tier,
            'new',
            size,
            kind,
            self.vios_uuid,
            open_image or self.open,
            SIZE,
        )

    def test_a_disk_has_whole_gibibytes(self):
        self.fill(base.GIB + 1, pvm_storage.LUType.DISK)
        self.assertEqual(2 * base.GIB, self.units()['new']['capacity_bytes'])
        self.assertEqual('VirtualIO_Disk', self.units()['new']['unit_type'])
        self.assert_image('new')

    def test_an_image_has_hundredths_of_gibibytes(self):
        for size, hundredths in (
            (1, 1),
            (SIZE, 1),
            (base.GIB, 100),
            (base.GIB + 1, 101),
        ):
            unit = self.fill(size, pvm_storage.LUType.IMAGE)
            self.assertEqual(hundredths, round(unit.capacity * 100))
            self.assertGreaterEqual(unit.capacity * base.GIB, size)
            unit.delete()

    def test_a_failed_fill_deletes_the_unit(self):
        self.assertRaises(
            NoLuck,
            self.fill,
            base.GIB,
            pvm_storage.LUType.DISK,
            self.broken,
        )
        self.assertEqual({}, self.units())

    def test_an_interrupted_fill_deletes_the_unit(self):
        def interrupted():
            raise KeyboardInterrupt

        self.assertRaises(
            KeyboardInterrupt,
            self.fill,
            base.GIB,
            pvm_storage.LUType.DISK,
            interrupted,
        )
        self.assertEqual({}, self.units())

    def test_a_refused_unit_is_not_filled(self):
        self.powervm.control.add_fault('status', method='PUT', status=400)
        self.assertRaises(
            pvm_exceptions.HttpError,
            self.fill,
            base.GIB,
            pvm_storage.LUType.DISK,
        )
        self.assertEqual(0, self.opened)
