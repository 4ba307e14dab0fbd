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

"""The records of base images, and the file that they are in."""

import contextlib
import dataclasses
import glob
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import types

import hypothesis
from hypothesis import stateful
from hypothesis import strategies
import testtools

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import catalog_file
from pvm_imagecache import catalog_schema
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base

POPULATING = catalog_module.State.POPULATING
READY = catalog_module.State.READY
Total = catalog_module.Total
EVICTING = catalog_module.State.EVICTING

_OTHER = """
import sys
from pvm_imagecache import catalog, exceptions, image
here = catalog.Catalog(sys.argv[1])
print('ready', flush=True)
sys.stdin.readline()
begun = 0
for number in range(20):
    try:
        here.begin('pool', f'disk{number}', image.Image(
            id=sys.argv[2], name=None, size=1, disk_format='raw'))
        begun += 1
    except exceptions.CatalogConflict:
        pass
    here.add_history('pool', 'tried', bytes_fetched=1)
print(begun)
"""


class CatalogTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.image = base.image_of(b'some bytes')
        self.catalog = self.make_catalog()

    def make_catalog(self):
        catalog = catalog_module.Catalog(self.path('state', 'c.sqlite'))
        self.addCleanup(catalog.close)
        return catalog

    def begin(self, name='disk', pool='pool'):
        return self.catalog.begin(pool, name, self.image)

    def make_ready(self, name='disk', pool='pool'):
        record = self.begin(name, pool)
        self.catalog.created(record, f'udid of {name}', base.GIB)
        self.catalog.commit(record, self.image)
        return self.catalog.get(pool, name)

    def in_child(self, function):
        """Call a function in a forked process; it must return."""
        pid = os.fork()
        if not pid:
            status = 1
            try:
                function()
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(0, os.waitpid(pid, 0)[1])


class LifeTest(CatalogTestCase):
    def test_is_empty_at_first(self):
        self.assertIsNone(self.catalog.get('pool', 'disk'))
        self.assertEqual([], self.catalog.images('pool'))

    def test_a_new_record(self):
        record = self.begin()
        self.assertEqual(record, self.catalog.get('pool', 'disk'))
        self.assertIs(POPULATING, record.state)
        self.assertEqual(self.image, record.image)
        self.assertIn(f'/{os.getpid()}', record.holder)
        self.assertEqual(
            (None, None, 0, None, None, 0),
            (
                record.udid,
                record.capacity,
                record.bytes_done,
                record.ready_at,
                record.last_used_at,
                record.hits,
            ),
        )

    def test_every_fact_of_an_image_is_kept(self):
        image = image_module.Image(
            id='ABC',
            name='naïve \U0001f4be "name"; --',
            size=2**62,
            disk_format='qcow2',
            virtual_size=2**40,
            os_hash_algo='a',
            os_hash_value='b',
            checksum='c',
        )
        self.assertEqual(
            image, self.catalog.begin('pool', 'disk', image).image
        )
        image = image_module.Image(
            id='ABC', name=None, size=1, disk_format='raw'
        )
        self.assertEqual(
            image, self.catalog.begin('pool', 'other', image).image
        )

    def test_from_populating_to_ready(self):
        record = self.begin()
        self.catalog.created(record, 'udid', 2 * base.GIB)
        self.catalog.progressed(record, 5)
        found = self.catalog.get('pool', 'disk')
        self.assertEqual(
            (POPULATING, 'udid', 2 * base.GIB, 5),
            (found.state, found.udid, found.capacity, found.bytes_done),
        )
        self.catalog.commit(record, self.image)
        found = self.catalog.get('pool', 'disk')
        self.assertEqual(
            (READY, self.image.size, record.lease),
            (found.state, found.bytes_done, found.lease),
        )
        self.assertIsNotNone(found.ready_at)
        self.assertEqual(found.ready_at, found.last_used_at)

    def test_commit_keeps_the_virtual_size(self):
        record = self.begin()
        self.catalog.created(record, 'udid', base.GIB)
        self.catalog.commit(
            record, base.image_of(b'some bytes', virtual_size=77)
        )
        self.assertEqual(
            77, self.catalog.get('pool', 'disk').image.virtual_size
        )

    def test_commit_needs_a_disk(self):
        record = self.begin()
        self.assertRaises(
            exceptions.CatalogConflict, self.catalog.commit, record, self.image
        )
        self.catalog.created(record, '', base.GIB)
        self.assertRaises(
            exceptions.CatalogConflict, self.catalog.commit, record, self.image
        )
        self.assertIs(POPULATING, self.catalog.get('pool', 'disk').state)

    def test_commit_needs_a_record(self):
        record = self.begin()
        self.catalog.remove(record)
        self.assertRaises(
            exceptions.CatalogConflict, self.catalog.commit, record, self.image
        )
        self.assertIsNone(self.catalog.get('pool', 'disk'))

    def test_what_is_ready_is_filled_no_more(self):
        record = self.make_ready()
        for change in (
            lambda: self.catalog.commit(record, self.image),
            lambda: self.catalog.created(record, 'other', 1),
            lambda: self.catalog.progressed(record, 1),
        ):
            self.assertRaises(exceptions.CatalogConflict, change)
        self.assertEqual(record, self.catalog.get('pool', 'disk'))

    def test_a_name_is_taken_once_in_a_pool(self):
        record = self.begin()
        error = self.assertRaises(exceptions.CatalogConflict, self.begin)
        self.assertIn('disk has a record already', str(error))
        self.assertEqual(record, self.catalog.get('pool', 'disk'))
        self.begin(pool='other pool')
        self.begin('other disk')

    def test_two_spellings_of_a_name_are_two(self):
        self.begin('i_abcdef01_2345')
        self.begin('i_ABCDEF01_2345')
        self.assertEqual(2, len(self.catalog.images('pool')))

    def test_a_stale_lease_changes_nothing(self):
        stale = self.begin()
        self.catalog.created(stale, 'udid', base.GIB)
        self.catalog.remove(stale)
        current = self.begin()
        self.catalog.created(current, 'new udid', base.GIB)
        current = self.catalog.get('pool', 'disk')
        for change in (
            lambda: self.catalog.created(stale, 'x', 1),
            lambda: self.catalog.progressed(stale, 9),
            lambda: self.catalog.commit(stale, self.image),
            lambda: self.catalog.start_eviction(stale),
        ):
            self.assertRaises(exceptions.CatalogConflict, change)
        self.catalog.used(stale)
        self.catalog.remove(stale)
        self.assertEqual(current, self.catalog.get('pool', 'disk'))

    def test_leases_differ(self):
        self.assertNotEqual(self.begin('a').lease, self.begin('b').lease)

    def test_eviction(self):
        for record in (self.begin('a'), self.make_ready('b')):
            self.catalog.start_eviction(record)
            found = self.catalog.get('pool', record.disk_name)
            self.assertIs(EVICTING, found.state)
            # Again, by whoever cleans up after the first.
            self.catalog.start_eviction(found)
            self.catalog.remove(found)
            self.catalog.remove(found)
        self.assertEqual([], self.catalog.images('pool'))

    def test_eviction_that_is_given_up(self):
        record = self.make_ready()
        self.catalog.start_eviction(record)
        self.catalog.stop_eviction(record)
        self.assertEqual(record, self.catalog.get('pool', 'disk'))

    def test_nothing_becomes_ready_that_was_not(self):
        record = self.begin()
        self.catalog.stop_eviction(record)
        self.assertEqual(record, self.catalog.get('pool', 'disk'))
        self.catalog.start_eviction(record)
        self.catalog.stop_eviction(record)
        self.assertIs(EVICTING, self.catalog.get('pool', 'disk').state)

    def test_eviction_of_what_has_changed_since_it_was_seen(self):
        record = self.begin()
        self.catalog.created(record, 'udid', base.GIB)
        self.catalog.commit(record, self.image)
        self.assertRaises(
            exceptions.CatalogConflict, self.catalog.start_eviction, record
        )
        self.assertIs(READY, self.catalog.get('pool', 'disk').state)

    def test_hits_are_counted(self):
        record, other = self.make_ready(), self.make_ready('other')
        self.catalog.used(record)
        self.catalog.used(record)
        self.assertEqual(2, self.catalog.get('pool', 'disk').hits)
        self.assertEqual(other, self.catalog.get('pool', 'other'))

    def test_the_least_recently_used_comes_first(self):
        for name in 'abc':
            self.make_ready(name)
        self.begin('filling')
        self.make_ready('elsewhere', pool='other pool')
        self.catalog.used(self.catalog.get('pool', 'a'))
        self.assertEqual(
            ['b', 'c', 'filling', 'a'],
            [each.disk_name for each in self.catalog.images('pool')],
        )

    def test_a_clock_that_is_set_back_makes_nothing_older(self):
        record = self.make_ready()
        self.patch(
            catalog_module, 'time', types.SimpleNamespace(time=lambda: 1.0)
        )
        self.catalog.used(record)
        found = self.catalog.get('pool', 'disk')
        self.assertEqual((1, 1.0), (found.hits, found.last_used_at))
        self.assertGreater(found.used_clock, record.used_clock)


class HistoryTest(CatalogTestCase):
    def test_totals(self):
        self.assertEqual({}, self.catalog.totals('pool'))
        self.catalog.add_history('pool', 'miss', bytes_fetched=10)
        self.catalog.add_history('pool', 'miss', bytes_fetched=5)
        self.catalog.add_history('pool', 'hit', bytes_saved=7)
        self.catalog.add_history('pool', 'hit', bytes_saved=8)
        self.catalog.add_history('pool', 'purge')
        self.catalog.add_history('other', 'hit', bytes_saved=100)
        self.assertEqual(
            {
                'miss': Total(2, 15, 0),
                'hit': Total(2, 0, 15),
                'purge': Total(1, 0, 0),
            },
            self.catalog.totals('pool'),
        )
        self.assertEqual(
            {'hit': Total(1, 0, 100)}, self.catalog.totals('other')
        )

    def test_the_history_is_kept_for_a_while_and_counted_for_ever(self):
        self.patch(catalog_module, 'HISTORY_LENGTH', 3)
        for number in range(10):
            self.catalog.add_history('pool', 'hit', detail=str(number))
        with sqlite3.connect(self.catalog.path) as connection:
            rows = connection.execute(
                'SELECT detail FROM history ORDER BY id'
            ).fetchall()
        self.assertEqual([('7',), ('8',), ('9',)], rows)
        self.assertEqual(10, self.catalog.totals('pool')['hit'].times)

    def test_history_and_totals_are_written_together(self):
        self.catalog.add_history('pool', 'hit')
        with sqlite3.connect(self.catalog.path) as connection:
            connection.execute('DROP TABLE totals')
        self.assertRaises(
            exceptions.CatalogError, self.catalog.add_history, 'pool', 'hit'
        )
        with sqlite3.connect(self.catalog.path) as connection:
            self.assertEqual(
                (1,),
                connection.execute('SELECT COUNT(*) FROM history').fetchone(),
            )
        # The one that failed holds no lock on the file.
        self.begin()

    def test_who_it_was(self):
        self.catalog.add_history('pool', 'purge', detail='why')
        made = catalog_module.Catalog(self.catalog.path, 'ann (project ops)')
        self.addCleanup(made.close)
        made.add_history('pool', 'pin')
        made.pin('pool', 'image', '', None)
        self.assertEqual(
            ['ann (project ops)', identity.user()],
            [each.who for each in self.catalog.history('pool')],
        )
        self.assertEqual(
            'ann (project ops)', self.catalog.pins('pool')['image'].who
        )


class StoredTest(CatalogTestCase):
    def _write(self, content):
        os.makedirs(self.path('state'), exist_ok=True)
        with open(self.catalog.path, 'wb') as file:
            file.write(content)

    def _sql(self, statement):
        connection = sqlite3.connect(self.catalog.path, isolation_level=None)
        self.addCleanup(connection.close)
        return connection.execute(statement)

    def _every_call(self, record):
        return (
            lambda: self.catalog.get('pool', 'disk'),
            lambda: self.catalog.images('pool'),
            lambda: self.catalog.totals('pool'),
            *self._every_change(record),
        )

    def _every_change(self, record):
        return (
            self.begin,
            lambda: self.catalog.created(record, 'u', 1),
            lambda: self.catalog.progressed(record, 1),
            lambda: self.catalog.commit(record, self.image),
            lambda: self.catalog.used(record),
            lambda: self.catalog.start_eviction(record),
            lambda: self.catalog.remove(record),
            lambda: self.catalog.add_history('pool', 'a'),
        )

    def test_everything_is_there_when_it_is_opened_again(self):
        record = self.make_ready()
        self.catalog.close()
        self.assertEqual(record, self.catalog.get('pool', 'disk'))
        self.assertEqual(record, self.make_catalog().get('pool', 'disk'))

    def test_close_is_harmless(self):
        self.catalog.close()
        self.begin()
        self.catalog.close()
        self.catalog.close()

    def test_nothing_is_made_before_it_is_needed(self):
        self.assertEqual([], os.listdir(self.directory))

    def test_modes_under_any_umask(self):
        for umask in (0o000, 0o077):
            self.addCleanup(os.umask, os.umask(umask))
            self.catalog = catalog_module.Catalog(
                self.path(f'{umask:o}', 'c.sqlite')
            )
            self.addCleanup(self.catalog.close)
            self.begin()
            directory = self.path(f'{umask:o}')
            self.assertEqual(
                ['c.sqlite', 'c.sqlite-shm', 'c.sqlite-wal', 'c.sqlite.lock'],
                sorted(os.listdir(directory)),
            )
            self.assertEqual(0o750, stat.S_IMODE(os.stat(directory).st_mode))
            for name in os.listdir(directory):
                found = os.stat(os.path.join(directory, name))
                self.assertEqual(0o640, stat.S_IMODE(found.st_mode), name)

    def test_files_of_root_belong_to_the_owner_of_the_directory(self):
        if os.geteuid():
            self.skipTest('only root can give files away')
        os.mkdir(self.path('state'))
        os.chown(self.path('state'), 12345, 54321)
        self.begin()
        for name in os.listdir(self.path('state')):
            found = os.stat(self.path('state', name))
            self.assertEqual(
                (12345, 54321), (found.st_uid, found.st_gid), name
            )

    def test_it_is_in_wal_mode(self):
        self.begin()
        self.assertEqual(('wal',), self._sql('PRAGMA journal_mode').fetchone())
        self.assertEqual(
            (catalog_schema.VERSION,),
            self._sql('PRAGMA user_version').fetchone(),
        )

    def test_a_corrupt_file_is_set_aside(self):
        self.begin()
        self.catalog.close()
        for content in (b'this is no database', b'x' * 8192):
            self._write(content)
            self.assertEqual([], self.catalog.images('pool'))
            record = self.begin()
            self.catalog.close()
            self.assertEqual([record], self.catalog.images('pool'))
            self.catalog.close()
            (kept,) = self._set_aside()
            with open(kept, 'rb') as file:
                self.assertEqual(content, file.read())
            os.remove(kept)

    def _set_aside(self):
        return glob.glob(f'{self.catalog.path}.corrupt-*')

    def test_what_may_be_whole_is_not_set_aside(self):
        self.begin()
        self.catalog.close()
        self.patch(catalog_file, '_BUSY_TIMEOUT', 0)
        self._sql('PRAGMA journal_mode = DELETE')
        self._sql('PRAGMA locking_mode = EXCLUSIVE')
        holder = sqlite3.connect(self.catalog.path, isolation_level=None)
        self.addCleanup(holder.close)
        holder.execute('BEGIN EXCLUSIVE')
        self.assertRaises(exceptions.CatalogError, self.catalog.images, 'pool')
        holder.execute('COMMIT')
        self.assertEqual([], self._set_aside())
        self.assertEqual(1, len(self.catalog.images('pool')))

    def test_a_file_whose_pages_are_damaged(self):
        for number in range(20):
            self.begin(f'disk{number}')
        self.catalog.close()
        with open(self.catalog.path, 'r+b') as file:
            file.seek(4096)
            file.write(b'\xff' * (os.path.getsize(self.catalog.path) - 4096))
        self.assertEqual([], self.catalog.images('pool'))
        self.assertEqual(
            1,
            len(
                [
                    name
                    for name in os.listdir(os.path.dirname(self.catalog.path))
                    if '.corrupt-' in name
                    and not name.endswith(('-wal', '-shm'))
                ]
            ),
        )

    def test_a_file_that_is_damaged_while_it_is_open(self):
        self.begin()
        self.catalog.images('pool')
        with self.catalog._session() as connection:
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        with open(self.catalog.path, 'r+b') as file:
            file.write(b'\xff' * os.path.getsize(self.catalog.path))
        # SQLite may still know the pages by heart.
        with contextlib.suppress(exceptions.CatalogError):
            self.catalog.images('pool')
        self.catalog.close()
        self.assertEqual([], self.catalog.images('pool'))

    def test_a_file_that_is_moved_away_while_it_is_open(self):
        self.begin()
        os.rename(self.catalog.path, self.catalog.path + '.old')
        self.assertEqual([], self.catalog.images('pool'))
        self.begin()
        self.catalog.close()
        self.assertEqual(1, len(self.catalog.images('pool')))

    def test_a_file_without_our_tables(self):
        os.mkdir(self.path('state'))
        self._sql(f'PRAGMA user_version = {catalog_schema.VERSION}')
        self.assertRaises(exceptions.CatalogError, self.catalog.images, 'pool')

    def test_the_file_of_a_newer_release(self):
        record = self.begin()
        self.catalog.close()
        self._sql('PRAGMA user_version = 99')
        for call in self._every_call(record):
            error = self.assertRaises(exceptions.CatalogTooNew, call)
        self.assertIn('version 99', str(error))
        self.assertEqual((99,), self._sql('PRAGMA user_version').fetchone())
        self.assertEqual(
            (1,), self._sql('SELECT COUNT(*) FROM base_images').fetchone()
        )

    def test_a_place_that_can_not_be_used(self):
        record = self.begin()
        self.catalog.close()
        self.catalog = catalog_module.Catalog(
            os.path.join(self.catalog.path, 'c.sqlite')
        )
        for call in self._every_call(record):
            self.assertRaises(exceptions.CatalogError, call)

    def test_a_link_is_refused(self):
        os.mkdir(self.path('state'))
        os.symlink(self.path('target'), self.catalog.path)
        self.assertRaises(exceptions.CatalogError, self.begin)
        self.assertFalse(os.path.exists(self.path('target')))

    def _as_nobody(self):
        """For a child process that root has forked."""
        if not os.geteuid():
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)

    def _reachable(self):
        directory = self.directory
        while directory != '/':
            if os.stat(directory).st_uid == os.geteuid():
                mode = stat.S_IMODE(os.stat(directory).st_mode)
                os.chmod(directory, mode | 0o111)
            directory = os.path.dirname(directory)

    def test_a_directory_that_may_not_be_written(self):
        self._reachable()
        os.mkdir(self.path('state'))
        os.chmod(self.path('state'), 0o555)

        def child():
            self._as_nobody()
            self.assertRaises(exceptions.CatalogError, self.begin)
            self.assertRaises(
                exceptions.CatalogError, self.catalog.images, 'pool'
            )

        self.in_child(child)

    def test_a_file_that_may_only_be_read(self):
        record = self.make_ready()
        self.catalog.close()
        self._reachable()
        os.chmod(self.path('state'), 0o555)
        os.chmod(self.catalog.path, 0o444)

        def child():
            self._as_nobody()
            for call in self._every_change(record):
                self.assertRaises(exceptions.CatalogError, call)
            self.assertEqual(record, self.catalog.get('pool', 'disk'))
            self.assertEqual([record], self.catalog.images('pool'))

        self.in_child(child)

    def test_who_only_reads_sees_what_is_written_later(self):
        record = self.make_ready()
        self.catalog.close()
        reader = catalog_module.Catalog(self.catalog.path, read_only=True)
        self.addCleanup(reader.close)
        self.assertEqual([record], reader.images('pool'))
        # It was not open anywhere, and is not any more.
        self.catalog.quarantine(record, 'it was changed')
        self.catalog.close()
        self.assertEqual('it was changed', reader.get('pool', 'disk').reason)

    def test_no_room_is_told_of_as_that(self):
        self.begin()
        with self.catalog._session() as connection:
            connection.execute('PRAGMA max_page_count = 1')
        error = self.assertRaises(
            exceptions.CatalogError,
            lambda: [
                self.catalog.add_history('pool', 'a', detail='x' * 5000)
                for _ in range(100)
            ],
        )
        self.assertIn('is full', str(error))

    def test_a_file_that_somebody_keeps_locked(self):
        self.patch(catalog_file, '_BUSY_TIMEOUT', 0)
        record = self.begin()
        self._sql('BEGIN IMMEDIATE')
        for call in (
            lambda: self.begin('other'),
            lambda: self.catalog.progressed(record, 1),
            lambda: self.catalog.used(record),
            lambda: self.catalog.remove(record),
            lambda: self.catalog.add_history('pool', 'a'),
        ):
            error = self.assertRaises(exceptions.CatalogError, call)
            self.assertIn('locked', str(error))
        # Reading goes on.
        self.assertEqual(record, self.catalog.get('pool', 'disk'))

    def test_the_kinds_of_being_busy(self):
        for code, is_busy in (
            (sqlite3.SQLITE_BUSY, True),
            (sqlite3.SQLITE_BUSY_RECOVERY, True),
            (sqlite3.SQLITE_READONLY, False),
            (None, False),
        ):
            error = sqlite3.OperationalError('x')
            if code is not None:
                error.sqlite_errorcode = code
            self.assertEqual(is_busy, catalog_file._means_busy(error))

    def test_waiting_leaves_others_their_turn(self):
        # As green threads have one when somebody sleeps, and not while
        # SQLite does.
        record = self.begin()
        holder = sqlite3.connect(self.catalog.path, isolation_level=None)
        self.addCleanup(holder.close)
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 3:
                holder.execute('COMMIT')

        self.patch(catalog_file.time, 'sleep', sleep)
        for call in (
            lambda: self.begin('other'),
            lambda: self.catalog.progressed(record, 1),
            lambda: self.catalog.used(record),
            lambda: self.catalog.remove(record),
            lambda: self.catalog.saw_labels('pool', True),
            lambda: self.catalog.add_history('pool', 'a'),
        ):
            holder.execute('BEGIN IMMEDIATE')
            pauses.clear()
            call()
            self.assertEqual(3, len(pauses))
            self.assertLessEqual(max(pauses), 0.1)

    def test_no_descriptor_is_left_open(self):
        before = base.descriptors()
        self.begin()
        self.catalog.close()
        self._write(b'this is no database')
        self.catalog.images('pool')
        self.catalog.close()
        with contextlib.closing(
            sqlite3.connect(self.catalog.path)
        ) as connection:
            connection.execute('PRAGMA user_version = 99')
        for _ in range(3):
            self.assertRaises(exceptions.CatalogTooNew, self.begin)
        self.assertEqual(before, base.descriptors())


class SharingTest(CatalogTestCase):
    def test_two_see_the_same(self):
        other = self.make_catalog()
        record = self.begin()
        self.assertEqual(record, other.get('pool', 'disk'))
        other.created(record, 'udid', base.GIB)
        other.commit(record, self.image)
        self.assertIs(READY, self.catalog.get('pool', 'disk').state)

    def test_threads(self):
        def work():
            begun = 0
            for number in range(10):
                try:
                    self.begin(f'disk{number}')
                    begun += 1
                except exceptions.CatalogConflict:
                    pass
                self.catalog.add_history('pool', 'tried', bytes_fetched=1)
            return begun

        self.assertEqual(10, sum(self.in_threads(*[work] * 4)))
        self.assertEqual(
            {'tried': Total(40, 40, 0)}, self.catalog.totals('pool')
        )

    def test_threads_open_it_at_once(self):
        catalogs = [self.make_catalog() for _ in range(4)]
        self.in_threads(
            *[
                lambda each=each: each.add_history('pool', 'opened')
                for each in catalogs
            ]
        )
        self.assertEqual(
            {'opened': Total(4, 0, 0)}, self.catalog.totals('pool')
        )

    def test_at_once(self):
        other = self.make_catalog()
        first, second = self.make_ready('a'), self.make_ready('b')
        with self.catalog.at_once():
            self.catalog.start_eviction(first)
            self.assertRaises(
                exceptions.CatalogConflict,
                self.catalog.start_eviction,
                dataclasses.replace(second, lease='other'),
            )
            self.catalog.start_eviction(second)
            self.assertIs(READY, other.get('pool', 'a').state)
        for name in ('a', 'b'):
            self.assertIs(EVICTING, other.get('pool', name).state)

    def test_at_once_or_not_at_all(self):
        record = self.make_ready()

        def write():
            with self.catalog.at_once():
                self.catalog.remove(record)
                self.catalog.add_history('pool', 'purge')
                raise KeyError('x')

        self.assertRaises(exceptions.CatalogError, write)
        self.assertEqual(record, self.catalog.get('pool', 'disk'))
        self.assertEqual({}, self.catalog.totals('pool'))

    def test_what_is_written_at_once_threads_wait_for(self):
        record = self.make_ready()
        seen = []

        def look():
            seen.append(self.catalog.get('pool', 'disk'))

        with self.catalog.at_once():
            self.catalog.remove(record)
            thread = threading.Thread(target=look)
            thread.start()
            thread.join(0.05)
            self.assertEqual([], seen)
            self.begin()
        thread.join()
        self.assertIs(POPULATING, seen[0].state)

    def test_a_forked_process_has_a_connection_of_its_own(self):
        record = self.begin()
        self.in_child(
            lambda: (
                self.catalog.created(record, 'udid', base.GIB),
                self.catalog.commit(record, self.image),
                self.begin('of the child'),
            )
        )
        self.assertIs(READY, self.catalog.get('pool', 'disk').state)
        self.assertIn(
            'of the child',
            [each.disk_name for each in self.catalog.images('pool')],
        )
        self.catalog.remove(record)

    def test_a_forked_process_uses_nothing_of_its_parent(self):
        self.begin()
        inherited = self.catalog._connection

        def child():
            self.begin('of the child')
            self.assertIsNot(inherited, self.catalog._connection)

        self.in_child(child)
        self.assertIs(inherited, self.catalog._connection)

    def test_a_forked_process_closes_nothing_of_its_parent(self):
        self.begin()
        self.in_child(self.catalog.close)
        self.begin('later')
        self.assertEqual(2, len(self.make_catalog().images('pool')))

    def test_processes_at_once(self):
        os.mkdir(self.path('state'))
        processes = []
        for name in 'ab':
            process = subprocess.Popen(
                [sys.executable, '-c', _OTHER, self.catalog.path, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self.addCleanup(process.kill)
            processes.append(process)
        for process in processes:
            self.assertEqual('ready\n', process.stdout.readline())
        for process in processes:
            process.stdin.write('\n')
            process.stdin.flush()
        begun = [int(process.communicate()[0]) for process in processes]
        self.assertEqual(20, sum(begun))
        self.assertEqual(20, len(self.catalog.images('pool')))
        self.assertEqual(
            {'tried': Total(40, 40, 0)}, self.catalog.totals('pool')
        )


class CatalogMachine(stateful.RuleBasedStateMachine):
    """The catalogue, beside a dict of what it should hold."""

    records = stateful.Bundle('records')
    names = strategies.sampled_from(['a', 'b', 'c'])
    udids = strategies.sampled_from(['', 'one', 'two'])

    def __init__(self):
        super().__init__()
        self.test = CatalogTestCase('run')
        self.test.setUp()
        self.catalog = self.test.catalog
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
        """Returns the model's record if the call is to succeed."""
        known = self.model.get(record.disk_name)
        if (
            known
            and known['lease'] == record.lease
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
    def begin(self, name, content):
        image = base.image_of(content)
        if name in self.model:
            self._refused(self.catalog.begin, 'pool', name, image)
            return stateful.multiple()
        record = self.catalog.begin('pool', name, image)
        self.were_ready.discard(name)
        self.model[name] = {
            'state': POPULATING,
            'lease': record.lease,
            'udid': None,
            'image': image,
            'hits': 0,
            'bytes_done': 0,
        }
        return record

    @stateful.rule(target=records, name=names)
    def look(self, name):
        record = self.catalog.get('pool', name)
        if record is None:
            assert name not in self.model
            return stateful.multiple()
        return record

    @stateful.rule(record=records, udid=udids)
    def created(self, record, udid):
        self._expect(
            record, POPULATING, self.catalog.created, record, udid, 1
        ).update(udid=udid)

    @stateful.rule(record=records, done=strategies.integers(0, 9))
    def progressed(self, record, done):
        self._expect(
            record, POPULATING, self.catalog.progressed, record, done
        ).update(bytes_done=done)

    @stateful.rule(record=records)
    def commit(self, record):
        known = self.model.get(record.disk_name)
        if not known or not known['udid']:
            self._refused(self.catalog.commit, record, record.image)
            return
        known = self._expect(
            record, POPULATING, self.catalog.commit, record, record.image
        )
        if known:
            self.were_ready.add(record.disk_name)
        known.update(state=READY, bytes_done=record.image.size)

    @stateful.rule(record=records)
    def used(self, record):
        self.catalog.used(record)
        known = self.model.get(record.disk_name)
        if known and known['lease'] == record.lease:
            known['hits'] += 1

    @stateful.rule(record=records)
    def start_eviction(self, record):
        self._expect(
            record, record.state, self.catalog.start_eviction, record
        ).update(state=EVICTING)

    @stateful.rule(record=records)
    def stop_eviction(self, record):
        self.catalog.stop_eviction(record)
        known = self.model.get(record.disk_name)
        if (
            known
            and known['lease'] == record.lease
            and known['state'] is EVICTING
            and record.disk_name in self.were_ready
        ):
            known['state'] = READY

    @stateful.rule(record=records)
    def remove(self, record):
        self.catalog.remove(record)
        known = self.model.get(record.disk_name)
        if known and known['lease'] == record.lease:
            del self.model[record.disk_name]

    @stateful.rule()
    def reopen(self):
        self.catalog.close()

    @stateful.invariant()
    def agree(self):
        found = {
            each.disk_name: {
                name: getattr(each, name)
                for name in (
                    'state',
                    'lease',
                    'udid',
                    'image',
                    'hits',
                    'bytes_done',
                )
            }
            for each in self.catalog.images('pool')
        }
        assert found == self.model, f'{found} != {self.model}'


class MachineTest(testtools.TestCase):
    def test_it_is_what_a_dict_would_be(self):
        stateful.run_state_machine_as_test(
            CatalogMachine,
            settings=hypothesis.settings(
                base.generated, max_examples=25, stateful_step_count=25
            ),
        )
