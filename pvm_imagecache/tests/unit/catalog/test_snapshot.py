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

import array
import contextlib
import os
import sqlite3
import subprocess
import sys
import time

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import snapshot
from pvm_imagecache.system import private_files
from pvm_imagecache.tests.unit import base


class SnapshotTest(base.TestCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path('state'))
        self.database = self.path('state', 'c')
        self.live = sqlite3.connect(self.database, isolation_level=None)
        self.addCleanup(self.live.close)
        self.live.execute('PRAGMA journal_mode = WAL')
        self.live.execute('PRAGMA wal_autocheckpoint = 0')
        self.live.execute('CREATE TABLE t (a, b)')

    def read(self):
        with private_files.opened(self.path('state')) as directory:
            return snapshot.read(directory, 'c')

    def rows(self):
        with contextlib.closing(sqlite3.connect(':memory:')) as copy:
            copy.deserialize(self.read())
            return copy.execute('SELECT a, length(b) FROM t').fetchall()

    def add(self, *numbers):
        self.live.executemany(
            'INSERT INTO t VALUES (?, ?)',
            [(each, 'x' * 3000) for each in numbers],
        )

    def test_what_is_only_in_the_log_is_seen(self):
        self.add(*range(20))
        self.assertEqual([(each, 3000) for each in range(20)], self.rows())

    def test_a_write_after_a_recent_one_may_have_the_same_time(self):
        files = (self.database, f'{self.database}-wal')
        for each in files:
            os.utime(each, (1, 1))
        known = snapshot.last_change(self.database)
        self.assertEqual(2, len(known))
        self.assertEqual(known, snapshot.last_change(self.database))
        for each in files:
            # Also after the clock was set back.
            os.utime(each, (time.time() + 3600,) * 2)
            self.assertIsNone(snapshot.last_change(self.database))
            os.utime(each, (1, 1))

    def test_what_is_not_committed_is_not_seen(self):
        self.add(1)
        self.live.execute('BEGIN')
        self.live.execute('PRAGMA cache_size = 1')
        self.add(*range(2, 200))
        self.assertEqual([(1, 3000)], self.rows())
        self.live.execute('COMMIT')
        self.assertEqual(199, len(self.rows()))

    def test_what_was_written_back_is_seen(self):
        self.add(1)
        for mode in ('PASSIVE', 'RESTART', 'TRUNCATE'):
            self.live.execute(f'PRAGMA wal_checkpoint({mode})')
            self.assertEqual([(1, 3000)], self.rows()[:1])
            # After a restart the log begins with new pages, and ends with
            # old ones.
            self.add(2)
        self.assertEqual(4, len(self.rows()))

    def test_pages_that_were_freed_are_not_seen(self):
        self.live.execute('PRAGMA auto_vacuum = FULL')
        self.add(*range(50))
        self.live.execute('DELETE FROM t WHERE a > 3')
        self.live.execute('VACUUM')
        self.assertEqual([(each, 3000) for each in range(4)], self.rows())

    def test_a_reader_holds_nothing_back(self):
        self.add(*range(50))
        with contextlib.closing(sqlite3.connect(':memory:')) as copy:
            copy.deserialize(self.read())
            copy.execute('BEGIN')
            copy.execute('SELECT * FROM t').fetchone()
            self.add(51)
            self.assertEqual(
                0,
                self.live.execute(
                    'PRAGMA wal_checkpoint(TRUNCATE)'
                ).fetchone()[0],
            )
        self.assertEqual(0, os.path.getsize(f'{self.database}-wal'))

    def test_locks_of_this_process_are_kept(self):
        # To close the file would release them.
        self.live.execute('BEGIN IMMEDIATE')
        self.rows()
        self.live.execute('COMMIT')
        self.live.execute('PRAGMA journal_mode = DELETE')
        self.live.execute('BEGIN EXCLUSIVE')
        self.read()
        other = (
            'import sqlite3, sys;'
            'sqlite3.connect(sys.argv[1], timeout=0).execute('
            '"SELECT * FROM t").fetchall()'
        )
        done = subprocess.run(
            [sys.executable, '-c', other, self.database],
            capture_output=True,
            text=True,
        )
        self.assertEqual(1, done.returncode)
        self.assertIn('database is locked', done.stderr)

    def test_no_descriptor_is_left_open(self):
        self.live.close()
        # What Python opens once, it keeps.
        self.rows()
        before = base.descriptors()
        for _ in range(3):
            self.rows()
        self.assertEqual(before, base.descriptors())

    def test_any_change_of_a_byte_of_the_log_gives_an_older_state(self):
        self.add(1)
        self.add(2)
        with open(f'{self.database}-wal', 'r+b') as file:
            content = bytearray(file.read())
            for at in range(0, len(content), 997):
                changed = bytearray(content)
                changed[at] ^= 0xFF
                file.seek(0)
                file.write(changed)
                file.flush()
                with contextlib.suppress(sqlite3.DatabaseError):
                    self.assertIn(self.rows(), ([], [(1, 3000)]))
            file.seek(0)
            file.write(content)

    def test_a_file_that_is_too_large_is_refused(self):
        for name in ('c', 'c-wal'):
            with open(self.path('state', name), 'r+b') as file:
                size = os.path.getsize(file.name)
                file.truncate(snapshot.MAX_SIZE + 1)
                self.assertRaises(exceptions.CatalogRefused, self.read)
                file.truncate(size)

    def test_a_log_for_huge_databases_is_refused(self):
        header = array.array('I', [0x377F0683, 3007000, 512, 0, 1, 1])
        if sys.byteorder == 'little':
            header.byteswap()
        log = header.tobytes()
        sums = snapshot._sums(log, True, (0, 0))
        log += b''.join(each.to_bytes(4) for each in sums)
        frame = (1).to_bytes(4) + (1 << 31).to_bytes(4)
        sums = snapshot._sums(frame, True, sums)
        sums = snapshot._sums(bytes(512), True, sums)
        log += frame + log[16:24]
        log += b''.join(each.to_bytes(4) for each in sums) + bytes(512)
        self.live.close()
        with open(f'{self.database}-wal', 'wb') as file:
            file.write(log)
        self.assertRaises(sqlite3.DatabaseError, self.read)

    def test_another_file_is_refused(self):
        self.live.close()
        with open(self.path('state', 'c'), 'wb') as file:
            file.write(b'not a database')
        self.assertRaises(sqlite3.DatabaseError, self.read)
