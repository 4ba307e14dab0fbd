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

"""What a catalogue keeps through upgrades, restarts and clock steps."""

import contextlib
import os
import sqlite3
import threading
import types

from pvm_imagecache import boot_clock
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import catalog_schema
from pvm_imagecache import exceptions
from pvm_imagecache.tests.unit import base

_ROW = (
    "INSERT INTO base_images VALUES ('pool', '{name}', '{name}', 'n', 10,"
    " NULL, 'raw', 'sha256', 'ab', NULL, '{state}', 'lease-{name}', 'h/1',"
    " 'udid-{name}', 1073741824, 10, 5.0, 5.0, {ready}, {used}, 3)"
)
_YEARS = 10 * 365 * 86400.0


class ClockTestCase(base.TestCase):
    """A host whose clocks the test sets."""

    def setUp(self):
        super().setUp()
        self.now, self.up, self.boot = 1e9, 100.0, 'first'
        self.patch(
            catalog_module,
            'time',
            types.SimpleNamespace(time=lambda: self.now),
        )
        self.patch(boot_clock, 'uptime', lambda: self.up)
        self.patch(boot_clock, 'boot', lambda: self.boot)
        os.mkdir(self.path('state'))
        self.catalog = self.open()

    def open(self):
        made = catalog_module.Catalog(self.path('state', 'c.sqlite'))
        self.addCleanup(made.close)
        return made

    def make_ready(self, name='disk'):
        image = base.image_of(b'x', f'{name:0>8}-0000-0000-0000-000000000000')
        record = self.catalog.begin('pool', name, image)
        self.catalog.created(record, f'udid-{name}', base.GIB)
        self.catalog.commit(record, image)
        return self.catalog.get('pool', name)

    def later(self, seconds):
        self.now += seconds
        self.up += seconds

    def restart(self, seconds_down=500.0):
        self.now += seconds_down
        self.up, self.boot = 20.0, self.boot + '+'

    def age(self, name='disk'):
        return self.catalog.clock() - self.catalog.get('pool', name).used_clock


class AgeTest(ClockTestCase):
    def test_time_passes(self):
        self.make_ready()
        self.later(1000)
        self.assertEqual(1000, self.age())
        self.catalog.used(self.catalog.get('pool', 'disk'))
        self.assertEqual(0, self.age())

    def test_steps_of_the_clock(self):
        self.make_ready()
        self.later(1000)
        for step in (_YEARS, -_YEARS, -_YEARS):
            self.now += step
            self.assertEqual(1000, self.age())
            self.later(10)
            self.catalog.tick()
            self.assertEqual(1010, self.age())
            self.later(-10)
            self.catalog.used(self.catalog.get('pool', 'disk'))
            self.later(1000)

    def test_a_restart_of_the_service(self):
        self.make_ready()
        self.later(1000)
        self.catalog = self.open()
        self.assertEqual(1000, self.age())

    def test_a_restart_of_the_host(self):
        self.make_ready()
        self.later(1000)
        self.catalog.tick()
        self.restart()
        # The time for which it was down does not count.
        self.assertEqual(1020, self.age())
        self.later(5)
        self.catalog.tick()
        self.later(5)
        self.assertEqual(1030, self.age())

    def test_no_age_is_ever_less_than_nothing(self):
        self.make_ready()
        self.later(1000)
        self.catalog.used(self.catalog.get('pool', 'disk'))
        self.restart(-_YEARS)
        self.assertGreaterEqual(self.age(), 0)
        self.assertLess(self.age(), 100)

    def test_a_host_that_does_not_tell_its_boots(self):
        self.boot = ''
        self.make_ready()
        self.later(100)
        self.up = 3.0
        self.assertGreaterEqual(self.age(), 0)


class PinTest(ClockTestCase):
    def test_for_ever(self):
        self.catalog.pin('pool', 'image', 'why', None)
        self.later(_YEARS)
        self.restart()
        pin = self.catalog.pins('pool')['image']
        self.assertEqual(('why', None), (pin.note, pin.seconds_left))
        self.assertEqual({}, self.catalog.pins('other'))

    def test_for_a_while(self):
        self.catalog.pin('pool', 'image', '', 100)
        self.now += _YEARS
        self.later(99)
        self.assertEqual(1, self.catalog.pins('pool')['image'].seconds_left)
        self.later(1)
        self.assertEqual({}, self.catalog.pins('pool'))

    def test_again(self):
        self.catalog.pin('pool', 'image', 'old', 100)
        self.catalog.pin('pool', 'image', 'new', None)
        self.assertEqual('new', self.catalog.pins('pool')['image'].note)
        self.assertTrue(self.catalog.unpin('pool', 'image'))
        self.assertFalse(self.catalog.unpin('pool', 'image'))
        self.assertEqual({}, self.catalog.pins('pool'))

    def test_what_is_pinned_is_not_evicted(self):
        record = self.make_ready()
        self.catalog.pin('pool', record.image.id, '', None)
        self.assertRaises(
            exceptions.ImagePinned, self.catalog.start_eviction, record
        )
        self.catalog.unpin('pool', record.image.id)
        self.catalog.start_eviction(record)


class InUseTest(ClockTestCase):
    def test_the_last_pass_counts(self):
        self.catalog.set_in_use('pool', ['a', 'b', 'a'])
        self.later(10)
        self.catalog.set_in_use('pool', iter(['b', 'c']))
        self.catalog.set_in_use('other', ['z'])
        self.assertEqual(
            dict.fromkeys('bc', self.now), self.catalog.in_use('pool')
        )

    def test_use_by_instances_is_use(self):
        record = self.make_ready()
        self.make_ready('other')
        self.later(1000)
        self.catalog.set_in_use('pool', [record.image.id])
        self.assertEqual((0, 1000), (self.age(), self.age('other')))
        self.assertEqual(
            ['other', 'disk'],
            [each.disk_name for each in self.catalog.images('pool')],
        )

    def test_what_is_not_there_yet_is_not_used(self):
        # It may be there already for a server that is just being made.
        record = self.catalog.begin('pool', 'disk', base.image_of(b'x'))
        self.catalog.set_in_use('pool', [record.image.id])
        self.assertEqual(record, self.catalog.get('pool', 'disk'))


class LabelsTest(ClockTestCase):
    def test_they_are_remembered(self):
        # Until one of ours is seen without, all disks have theirs; and one
        # that is seen with it says more.
        self.assertTrue(self.catalog.keeps_labels('pool'))
        for seen, kept in (
            (False, False),
            (False, False),
            (True, True),
            (False, True),
        ):
            self.catalog.saw_labels('pool', seen)
            self.assertEqual(kept, self.open().keeps_labels('pool'))
        self.assertTrue(self.catalog.keeps_labels('other'))


class UpgradeTest(ClockTestCase):
    def setUp(self):
        super().setUp()
        with contextlib.closing(sqlite3.connect(self.catalog.path)) as file:
            file.executescript(catalog_schema.STEPS[1])
            for name, state, ready, used in (
                ('new', 'ready', 7.0, 900.0),
                ('old', 'ready', 6.0, 400.0),
                ('half', 'populating', 'NULL', 'NULL'),
            ):
                file.execute(
                    _ROW.format(name=name, state=state, ready=ready, used=used)
                )
            file.execute(
                'INSERT INTO instance_disks VALUES'
                " ('pool', 'vm', 5, 'l', 'h/1', NULL, 5.0)"
            )
            file.execute(
                'INSERT INTO totals VALUES'
                " ('pool', 'hit', 4, 0, 40),"
                " ('pool', 'miss', 3, 9, 0),"
                " ('other', 'hit', 2, 0, 1)"
            )
            # The events of a long time ago are not kept.
            for pool, action, seconds in (
                ('pool', 'hit', 1.0),
                ('pool', 'hit', 2.0),
                ('other', 'hit', 50.0),
                ('pool', 'pin', 'NULL'),
            ):
                file.execute(
                    'INSERT INTO history (at, pool, action, image_id,'
                    f" seconds, who) VALUES (5.0, '{pool}', '{action}',"
                    f" 'i', {seconds}, 'root')"
                )
            file.execute('PRAGMA user_version = 1')
            file.commit()

    def test_nothing_is_forgotten(self):
        found = {each.disk_name: each for each in self.catalog.images('pool')}
        self.assertEqual({'new', 'old', 'half'}, set(found))
        self.assertEqual(
            (catalog_module.State.READY, 'lease-new', 'udid-new', 3, None),
            (
                found['new'].state,
                found['new'].lease,
                found['new'].udid,
                found['new'].hits,
                found['new'].reason,
            ),
        )
        self.assertEqual(4, self.catalog.totals('pool')['hit'].times)
        (entry,) = self.catalog.instance_disks('pool')
        self.assertEqual(('vm', 'l'), (entry.disk_name, entry.lease))

    def test_what_took_how_long_is_estimated(self):
        found = self.catalog.totals('pool')
        self.assertEqual(
            (6.0, 0.0), (found['hit'].seconds, found['miss'].seconds)
        )
        self.assertEqual(100.0, self.catalog.totals('other')['hit'].seconds)
        self.catalog.add_history('pool', 'hit', seconds=0.5)
        self.assertEqual(6.5, self.catalog.totals('pool')['hit'].seconds)

    def test_the_history_is_read_on(self):
        self.catalog.add_history('pool', 'evict', image_id='i', image_name='n')
        found = self.catalog.history('pool')
        self.assertEqual(
            [('evict', 'n'), ('pin', None), ('hit', None), ('hit', None)],
            [(each.action, each.image_name) for each in found],
        )
        self.assertEqual({None}, {each.code for each in found})

    def test_passes_are_kept_from_now_on(self):
        self.catalog.saw_labels('pool', False)
        self.assertIsNone(self.catalog.last_pass('pool'))
        for trouble, is_news in (
            ('', False),
            ('x', True),
            ('x', False),
            ('y', True),
            ('', True),
            ('', False),
        ):
            self.later(10)
            self.assertEqual(is_news, self.catalog.saw_pass('pool', trouble))
            self.assertEqual(
                catalog_module.LastPass(self.now, trouble),
                self.open().last_pass('pool'),
            )
        self.assertFalse(self.catalog.keeps_labels('pool'))
        self.assertIsNone(self.catalog.last_pass('other'))

    def test_nor_what_was_used_before_what(self):
        self.catalog.tick()
        self.assertEqual(500, self.age('old') - self.age('new'))
        self.assertEqual(
            ['old', 'new'],
            [
                each.disk_name
                for each in self.catalog.images('pool')
                if each.ready_at
            ],
        )

    def test_it_is_used_on(self):
        record = self.catalog.get('pool', 'old')
        self.catalog.used(record)
        self.catalog.start_eviction(record)
        self.catalog.remove(record)
        self.make_ready('next')
        self.assertEqual(
            ['half', 'new', 'next'],
            sorted(each.disk_name for each in self.open().images('pool')),
        )

    def test_a_step_that_fails_is_not_taken_by_half(self):
        steps = dict(catalog_schema.STEPS)
        steps[2] += 'CREATE TABLE pins (twice TEXT);'
        self.patch(catalog_schema, 'STEPS', steps)
        self.assertRaises(exceptions.CatalogError, self.catalog.images, 'pool')
        self.catalog.close()
        with contextlib.closing(sqlite3.connect(self.catalog.path)) as file:
            self.assertEqual(
                (1,), file.execute('PRAGMA user_version').fetchone()
            )
            self.assertEqual(
                [],
                file.execute(
                    "SELECT name FROM sqlite_master WHERE name = 'clock'"
                ).fetchall(),
            )


class ForkTest(ClockTestCase):
    def test_while_another_thread_is_at_it(self):
        held, done = threading.Event(), threading.Event()

        def hold():
            with self.catalog._session():
                held.set()
                done.wait(base.PATIENCE)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(base.PATIENCE)
        child = os.fork()
        if not child:
            status = 1
            try:
                status = len(self.catalog.images('pool'))
            finally:
                os._exit(status)
        try:
            self.assertEqual(
                0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            )
        finally:
            done.set()
            thread.join()


class BootClockTest(base.TestCase):
    def test_it_goes_on(self):
        first = boot_clock.uptime()
        self.assertGreater(first, 0)
        self.assertGreaterEqual(boot_clock.uptime(), first)
        self.assertEqual(boot_clock.boot(), boot_clock.boot())

    def test_a_system_without_ids_of_boots(self):
        self.patch(boot_clock, '_BOOT_ID', self.path('nothing'))
        self.assertEqual('', boot_clock.boot.__wrapped__())
