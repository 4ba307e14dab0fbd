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


"""The file of the catalog."""

import contextlib
import errno
import glob
import os
import signal
import sqlite3
import stat
import sys
import tempfile
import threading
import time

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.catalog import schema
from pvm_imagecache.catalog import snapshot
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import private_files
from pvm_imagecache.system import terminal
from pvm_imagecache.tests.unit.catalog import base

_ADD = 'INSERT INTO pool_names (name, pool) VALUES (?, ?)'


class FileTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.file = self.open()

    def open(self, path=None, **kwargs):
        opened = catalog_file.CatalogFile(path or self.catalog_path, **kwargs)
        self.addCleanup(opened.close)
        return opened

    def add(self, name='vg', pool='pool', file=None):
        with (file or self.file).transaction() as connection:
            connection.execute(_ADD, (name, pool))

    def names(self, file=None):
        with (file or self.file).session() as connection:
            return [
                row.text('name')
                for row in connection.rows(
                    'SELECT name FROM pool_names ORDER BY name'
                )
            ]

    def set_aside(self):
        return [
            name
            for name in glob.glob(f'{self.catalog_path}.corrupt-*')
            if not name.endswith(('-wal', '-shm'))
        ]


class SessionTest(FileTestCase):
    def raise_in(self, block, error):
        """Raise in a session or transaction; return what comes out."""
        try:
            with block() as connection:
                if block == self.file.transaction:
                    connection.execute(_ADD, ('new', 'pool'))
                raise error
        except BaseException as raised:
            return raised

    def test_an_error_of_the_caller_is_raised_unchanged(self):
        self.add()
        for block in (self.file.session, self.file.transaction):
            for error in (
                ValueError('x'),
                KeyError('x'),
                OverflowError('x'),
                OSError(5, 'Input/output error'),
                exceptions.ImagePinned(image='x'),
                sqlite3.IntegrityError('x'),
                GeneratorExit(),
            ):
                self.assertIs(error, self.raise_in(block, error))
                self.assertEqual(['vg'], self.names())

    def test_an_error_of_sqlite_is_a_catalog_error(self):
        for block in (self.file.session, self.file.transaction):
            for error in (
                sqlite3.OperationalError('no luck'),
                sqlite3.DatabaseError('no luck'),
                sqlite3.DataError('no luck'),
            ):
                raised = self.raise_in(block, error)
                self.assertIsInstance(raised, exceptions.CatalogError)
                self.assertIs(error, raised.__cause__)
                self.assertIn('no luck', str(raised))
                self.assertEqual([], self.names())

    def test_a_value_that_sqlite_cannot_store_is_a_catalog_error(self):
        for value in (1 << 63, 'a\ud800b', object()):
            self.assertRaises(exceptions.CatalogError, self.add, 'vg', value)
        with self.file.transaction() as connection:
            self.assertRaises(
                sqlite3.DataError,
                connection.executemany,
                _ADD,
                [('a', 1 << 63), ('b', 'c')],
            )
        self.assertEqual([], self.names())

    def test_the_error_of_a_failed_transaction_is_the_first_one(self):
        error = ValueError('of the caller')
        try:
            with self.file.transaction() as connection:
                connection.execute(_ADD, ('new', 'pool'))
                self.file.close()
                raise error
        except ValueError as raised:
            self.assertIs(error, raised)
        self.assertEqual([], self.names())

    def test_a_nested_session_uses_the_same_connection(self):
        self.add()
        self.file.close()
        for file in (self.file, self.open(read_only=True)):
            with file.session() as outer, file.session() as inner:
                self.assertIs(outer, inner)
                self.assertEqual(['vg'], self.names(file))
            file.close()

    def test_a_nested_transaction_is_a_part_of_the_outer_one(self):
        with self.file.transaction():
            self.add('a')
            self.add('b')
            self.assertEqual([], self.sql('SELECT * FROM pool_names'))
        self.assertEqual(2, len(self.sql('SELECT * FROM pool_names')))

    def test_a_full_disk_is_a_catalog_error(self):
        with self.file.session() as connection:
            connection.execute('PRAGMA max_page_count = 1')
        error = self.assertRaises(
            exceptions.CatalogError,
            lambda: [self.add(f'{n}{"x" * 5000}') for n in range(100)],
        )
        self.assertIn('is full', str(error))
        self.file.close()
        self.add()


class InterruptTest(FileTestCase):
    """Ctrl-C at each line of a transaction."""

    def setUp(self):
        super().setUp()
        for number in interrupts.SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        hook = sys.unraisablehook
        self.addCleanup(setattr, sys, 'unraisablehook', hook)
        self.patch(terminal, 'write', lambda message: None)
        # A coverage tool has one.
        self.addCleanup(sys.settrace, sys.gettrace())

    def interrupt(self, at):
        """Add a name; return whether a line was left to interrupt at."""
        left = at

        def on_line(frame, event, argument):
            nonlocal left
            if event == 'line':
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGINT)
            return on_line

        def on_call(frame, event, argument):
            path = frame.f_code.co_filename
            return on_line if path in traced else None

        traced = (
            catalog_file.__file__,
            catalog_connection.__file__,
            contextlib.__file__,
        )
        interrupts.install()
        sys.settrace(on_call)
        try:
            self.add(f'interrupted {at}')
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        return left <= 0

    def test_what_is_written_after_an_interrupt_is_stored(self):
        at, interrupted = 1, True
        while interrupted:
            interrupted = self.interrupt(at)
            name = f'after {at}'
            self.add(name)
            self.assertEqual(
                [(name,)],
                self.sql(f"SELECT name FROM pool_names WHERE name = '{name}'"),
            )
            at += 1
        self.assertGreater(at, 50)


class OpenTest(FileTestCase):
    def test_files_are_private_under_any_umask(self):
        for umask in (0o000, 0o077):
            self.addCleanup(os.umask, os.umask(umask))
            directory = self.path(f'{umask:o}')
            self.add(file=self.open(os.path.join(directory, 'c.sqlite')))
            self.assertEqual(
                [
                    'c.sqlite',
                    'c.sqlite-shm',
                    'c.sqlite-wal',
                    'catalog.id',
                    'locks',
                ],
                sorted(os.listdir(directory)),
            )
            self.assertEqual(0o750, stat.S_IMODE(os.stat(directory).st_mode))
            for name, mode in {
                'c.sqlite': 0o640,
                'c.sqlite-wal': 0o640,
                'c.sqlite-shm': 0o600,
                'catalog.id': 0o600,
                'locks': 0o700,
            }.items():
                found = os.stat(os.path.join(directory, name))
                self.assertEqual(mode, stat.S_IMODE(found.st_mode), name)

    def test_an_empty_file_becomes_another_file(self):
        # A user of the group may hold a lock on it.
        os.mkdir(self.path('state'), 0o750)
        with open(self.catalog_path, 'wb') as file:
            self.add('a')
            self.assertNotEqual(
                os.fstat(file.fileno()).st_ino,
                os.stat(self.catalog_path).st_ino,
            )
        self.assertEqual(['a'], self.names())

    def test_files_of_root_belong_to_the_owner_of_the_directory(self):
        if os.geteuid():
            self.skipTest('only root can give files away')
        os.mkdir(self.path('state'))
        os.chown(self.path('state'), 12345, 54321)
        os.chmod(os.path.dirname(self.path()), 0o755)
        os.chmod(self.path(), 0o755)
        self.add()
        for name in os.listdir(self.path('state')):
            found = os.stat(self.path('state', name))
            self.assertEqual(
                (12345, 54321), (found.st_uid, found.st_gid), name
            )

    def test_a_new_file_is_in_wal_mode_and_of_this_version(self):
        self.add()
        self.assertEqual([('wal',)], self.sql('PRAGMA journal_mode'))
        self.assertEqual([(schema.VERSION,)], self.sql('PRAGMA user_version'))

    def test_a_new_file_is_complete_before_it_has_its_name(self):
        def renamed(directory, name, new_name):
            names = os.listdir(directory.path)
            self.assertEqual([], [each for each in names if each == new_name])
            with sqlite3.connect(f'{directory.path}/{name}') as opened:
                found = opened.execute('PRAGMA journal_mode').fetchall()
                found += opened.execute('PRAGMA user_version').fetchall()
            opened.close()
            self.assertEqual([('wal',), (schema.VERSION,)], found)
            real(directory, name, new_name)

        real = private_files.Directory.rename
        self.patch(private_files.Directory, 'rename', renamed)
        self.add()
        self.assertEqual(['vg'], self.names())

    def test_a_file_that_cannot_be_written_leaves_nothing(self):
        def fail(*args):
            raise OSError(errno.ENOSPC, 'No space left on device')

        self.patch(os, 'fsync', fail)
        self.assertRaises(exceptions.CatalogError, self.add)
        self.assertEqual(['locks'], os.listdir(self.path('state')))

    def test_an_empty_file_is_replaced(self):
        self.write_file(b'')
        self.add()
        self.assertEqual(['vg'], self.names())

    def test_a_link_is_refused(self):
        os.mkdir(self.path('state'))
        os.symlink(self.path('target'), self.catalog_path)
        self.assertRaises(exceptions.CatalogError, self.add)
        self.assertFalse(os.path.exists(self.path('target')))

    def test_a_file_that_is_moved_away_is_not_used_any_more(self):
        self.add()
        os.rename(self.catalog_path, self.catalog_path + '.old')
        self.assertEqual([], self.names())
        self.add('later')
        self.file.close()
        self.assertEqual(['later'], self.names())

    def test_no_descriptor_is_left_open(self):
        def descriptors():
            return len(os.listdir('/proc/self/fd'))

        before = descriptors()
        self.add()
        self.file.close()
        self.write_file(b'this is not a database')
        self.names()
        self.file.close()
        self.sql('PRAGMA user_version = 99')
        for _ in range(3):
            self.assertRaises(exceptions.CatalogTooNew, self.add)
            self.assertRaises(
                exceptions.CatalogTooNew, self.names, self.open(read_only=True)
            )
            self.assertEqual(99, catalog_file.version_of(self.catalog_path))
        self.assertEqual(before, descriptors())


class CorruptTest(FileTestCase):
    def test_a_corrupt_file_is_set_aside(self):
        self.add()
        self.file.close()
        for content in (b'this is not a database', b'x' * 8192):
            self.write_file(content)
            self.assertEqual([], self.names())
            self.add('new')
            self.file.close()
            self.assertEqual(['new'], self.names())
            self.file.close()
            (kept,) = self.set_aside()
            with open(kept, 'rb') as file:
                self.assertEqual(content, file.read())
            os.remove(kept)
        self.assertIn('is corrupt', self.logger.output)

    def test_a_file_that_may_be_intact_is_not_set_aside(self):
        self.add()
        self.file.close()
        self.patch(catalog_file, 'BUSY_TIMEOUT', 0)
        self.sql('PRAGMA journal_mode = DELETE')
        holder = sqlite3.connect(self.catalog_path, isolation_level=None)
        self.addCleanup(holder.close)
        holder.execute('BEGIN EXCLUSIVE')
        self.assertRaises(exceptions.CatalogError, self.names)
        holder.execute('COMMIT')
        self.assertEqual([], self.set_aside())
        self.assertEqual(['vg'], self.names())

    def test_a_file_with_damaged_pages_is_set_aside(self):
        for number in range(20):
            self.add(f'vg{number}')
        self.file.close()
        with open(self.catalog_path, 'r+b') as file:
            file.seek(4096)
            file.write(b'\xff' * (os.path.getsize(self.catalog_path) - 4096))
        self.assertEqual([], self.names())
        self.assertEqual(1, len(self.set_aside()))

    def test_a_file_that_is_damaged_while_it_is_open_is_set_aside(self):
        self.add()
        self.names()
        self.sql('PRAGMA wal_checkpoint(TRUNCATE)')
        with open(self.catalog_path, 'r+b') as file:
            file.write(b'\xff' * os.path.getsize(self.catalog_path))
        # SQLite may have the pages in its cache.
        with contextlib.suppress(exceptions.CatalogError):
            self.names()
        self.file.close()
        self.assertEqual([], self.names())
        self.assertEqual(1, len(self.set_aside()))

    def test_a_report_of_damage_in_a_transaction_is_a_catalog_error(self):
        self.add()

        def write():
            with self.file.transaction() as connection:
                connection.execute(_ADD, ('new', 'pool'))
                with self.file.session():
                    raise sqlite3.DatabaseError('malformed')

        error = self.assertRaises(exceptions.CatalogError, write)
        self.assertIn('malformed', str(error))
        self.assertEqual(['vg'], self.names())
        self.assertEqual([], self.set_aside())

    def test_a_file_without_our_tables_is_a_catalog_error(self):
        os.mkdir(self.path('state'))
        self.sql(f'PRAGMA user_version = {schema.VERSION}')
        self.assertRaises(exceptions.CatalogError, self.names)


class BusyTest(FileTestCase):
    def test_a_file_that_stays_locked_is_a_catalog_error(self):
        self.patch(catalog_file, 'BUSY_TIMEOUT', 0)
        self.add()
        self.lock_file()
        error = self.assertRaises(exceptions.CatalogError, self.add, 'new')
        self.assertIn('locked', str(error))
        # Reading is not blocked.
        self.assertEqual(['vg'], self.names())

    def test_only_a_busy_file_is_waited_for(self):
        self.add()
        execute = catalog_connection.Connection.execute
        self.patch(time, 'sleep', lambda seconds: None)
        for code, is_busy in (
            (sqlite3.SQLITE_BUSY, True),
            (sqlite3.SQLITE_BUSY_RECOVERY, True),
            (sqlite3.SQLITE_READONLY, False),
            (None, False),
        ):
            error = sqlite3.OperationalError('not now')
            if code is not None:
                error.sqlite_errorcode = code
            errors = [error]

            def fail_once(self, statement, *args, errors=errors):
                if statement.startswith('BEGIN') and errors:
                    raise errors.pop()
                return execute(self, statement, *args)

            self.patch(catalog_connection.Connection, 'execute', fail_once)
            if is_busy:
                self.add(f'vg{code}')
            else:
                self.assertRaises(exceptions.CatalogError, self.add, 'new')
            self.assertEqual([], errors)

    def test_other_green_threads_run_while_a_transaction_waits(self):
        # They run while this one sleeps, and not while SQLite does.
        self.add()
        holder = self.lock_file()
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 3:
                holder.execute('COMMIT')

        self.patch(time, 'sleep', sleep)
        self.add('new')
        self.assertEqual(3, len(pauses))
        self.assertLessEqual(max(pauses), 0.1)


class ForkTest(FileTestCase):
    def test_a_forked_process_opens_its_own_connection(self):
        self.add()
        with self.file.session() as connection:
            inherited = connection

        def child():
            self.add('of the child')
            with self.file.session() as connection:
                self.assertIsNot(inherited, connection)

        self.in_child(child)
        with self.file.session() as connection:
            self.assertIs(inherited, connection)
        self.assertEqual(['of the child', 'vg'], self.names())

    def test_a_process_can_be_forked_while_a_thread_has_a_session(self):
        self.add()
        held, done = threading.Event(), threading.Event()

        def hold():
            with self.file.session():
                held.set()
                done.wait(base.PATIENCE)

        thread = threading.Thread(target=hold)
        thread.start()
        self.assertTrue(held.wait(base.PATIENCE))
        try:
            self.in_child(lambda: self.assertEqual(['vg'], self.names()))
        finally:
            done.set()
            thread.join()


class ReadOnlyTest(FileTestCase):
    def test_a_file_is_copied_again_only_if_it_was_written(self):
        self.add('a')
        copies = []
        real = snapshot.read
        self.patch(
            snapshot, 'read', lambda *found: copies.append(1) or real(*found)
        )
        file = self.open(read_only=True)
        for each in (self.catalog_path, f'{self.catalog_path}-wal'):
            os.utime(each, (1, 1))
        for _ in range(3):
            self.assertEqual(['a'], self.names(file))
        self.assertEqual(1, len(copies))
        self.add('b')
        self.assertEqual(['a', 'b'], self.names(file))
        self.add('c')
        # Maybe within the same tick of the clock.
        self.assertEqual(['a', 'b', 'c'], self.names(file))
        self.assertEqual(3, len(copies))

    def test_sqlite_without_deserialize_can_be_used(self):
        for name in ('serialize', 'deserialize'):
            self.patch(catalog_connection.Connection, name, None)
        self.patch(tempfile, 'tempdir', self.directory)
        self.add('in the log')
        before = os.listdir(self.directory)
        file = self.open(read_only=True)
        self.assertEqual(['in the log'], self.names(file))
        self.assertRaises(
            exceptions.CatalogError, self.add, 'other', file=file
        )
        self.assertEqual(before, os.listdir(self.directory))

    def test_a_missing_file_is_not_created(self):
        self.assertRaises(
            exceptions.CatalogError, self.names, self.open(read_only=True)
        )
        self.assertFalse(os.path.exists(self.path('state')))

    def test_a_file_of_an_older_version_is_not_upgraded(self):
        self.add()
        self.sql('PRAGMA user_version = 3')
        error = self.assertRaises(
            exceptions.CatalogError, self.names, self.open(read_only=True)
        )
        self.assertIn('schema 3', str(error))
        self.assertEqual([(3,)], self.sql('PRAGMA user_version'))

    def test_a_file_of_a_newer_version_is_refused(self):
        self.add()
        self.sql('PRAGMA user_version = 99')
        self.assertRaises(
            exceptions.CatalogTooNew, self.names, self.open(read_only=True)
        )

    def test_a_link_is_not_followed(self):
        self.add()
        self.file.close()
        os.rename(self.catalog_path, self.path('moved'))
        os.symlink(self.path('moved'), self.catalog_path)
        self.assertRaises(
            exceptions.CatalogError, self.names, self.open(read_only=True)
        )

    def test_a_path_with_special_characters_is_opened(self):
        path = self.path('a?b=c#d%20 \udcff', 'c.sqlite')
        writer = self.open(path)
        self.add(file=writer)
        writer.close()
        self.assertEqual(['vg'], self.names(self.open(path, read_only=True)))
        self.assertEqual(schema.VERSION, catalog_file.version_of(path))


class VersionOfTest(FileTestCase):
    def version(self):
        return catalog_file.version_of(self.catalog_path)

    def test_a_missing_file_has_no_version(self):
        self.assertIsNone(self.version())
        os.mkdir(self.path('state'))
        self.assertIsNone(self.version())
        self.assertEqual([], os.listdir(self.path('state')))

    def test_the_version_is_read_without_writing(self):
        self.add()
        for version in (schema.VERSION, 3, 99):
            self.sql(f'PRAGMA user_version = {version}')
            before = sorted(os.listdir(self.path('state')))
            self.assertEqual(version, self.version())
            self.assertEqual(before, sorted(os.listdir(self.path('state'))))
            self.file.close()

    def test_the_version_of_a_file_that_is_open_is_the_latest(self):
        self.add()
        with self.file.session() as connection:
            connection.execute('PRAGMA user_version = 42')
        self.assertEqual(42, self.version())

    def test_an_unusable_file_is_a_catalog_error(self):
        self.write_file(b'this is not a database' * 100)
        self.assertRaises(exceptions.CatalogError, self.version)
        os.remove(self.catalog_path)
        os.mkdir(self.catalog_path)
        self.assertRaises(exceptions.CatalogError, self.version)
        os.rmdir(self.catalog_path)
        os.symlink(self.path('nothing'), self.catalog_path)
        self.assertRaises(exceptions.CatalogError, self.version)

    def test_a_file_without_permission_is_a_catalog_error(self):
        self.add()
        self.let_others_in()
        os.chmod(self.path('state'), 0)

        def child():
            self.as_unprivileged_user()
            self.assertRaises(exceptions.CatalogError, self.version)

        self.in_child(child)
        os.chmod(self.path('state'), 0o750)
