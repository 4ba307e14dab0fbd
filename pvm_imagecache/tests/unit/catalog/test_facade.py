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


"""The catalog as a whole: shared between threads and processes."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.tests.unit.catalog import base

_OTHER_PROCESS = """
import sys
from pvm_imagecache import exceptions, image
from pvm_imagecache.catalog import facade
here = facade.Catalog(sys.argv[1])
print('ready', flush=True)
sys.stdin.readline()
started = 0
for number in range(20):
    try:
        here.base_images.start_fill('pool', f'disk{number}', image.Image(
            id=sys.argv[2], name=None, size=1, disk_format='raw'))
        started += 1
    except exceptions.CatalogConflict:
        pass
    here.history.add('pool', 'tried', bytes_fetched=1)
print(started)
"""


class FailureTest(base.CatalogTestCase):
    """Every call on a file that cannot be used is a CatalogError."""

    def every_read(self):
        return (
            self.get,
            lambda: self.catalog.base_images.list('pool'),
            lambda: self.catalog.base_images.states('pool'),
            lambda: self.catalog.instance_disks.list('pool'),
            lambda: self.catalog.pins.list('pool'),
            lambda: self.catalog.pins.in_use('pool'),
            lambda: self.catalog.pools.keeps_labels('pool'),
            lambda: self.catalog.pools.uploads_are_clean('pool'),
            lambda: self.catalog.pools.last_run('pool'),
            lambda: self.catalog.pools.id_of('vg'),
            lambda: self.catalog.history.list('pool'),
            lambda: self.catalog.history.image_names('pool'),
            lambda: self.catalog.history.totals('pool'),
            self.catalog.clock.now,
        )

    def every_write(self, record, entry):
        images = self.catalog.base_images
        return (
            self.start_fill,
            lambda: images.adopt('pool', 'other', self.image, 'u', 1),
            lambda: images.set_disk(record, 'u', 1),
            lambda: images.set_progress(record, 1),
            lambda: images.finish_fill(record, self.image),
            lambda: images.record_hit(record),
            lambda: images.start_eviction(record),
            lambda: images.cancel_eviction(record),
            lambda: images.quarantine(record, 'x'),
            lambda: images.remove(record),
            lambda: self.catalog.instance_disks.start('pool', 'other', 1),
            lambda: self.catalog.instance_disks.set_udid(entry, 'u'),
            lambda: self.catalog.pins.pin('pool', 'image', '', None),
            lambda: self.catalog.pins.unpin('pool', 'image'),
            lambda: self.catalog.pins.set_in_use('pool', ['image']),
            lambda: self.catalog.pools.record_labels('pool', True),
            lambda: self.catalog.pools.record_uploads('pool', True),
            lambda: self.catalog.pools.record_run('pool'),
            lambda: self.catalog.pools.record_name('vg', 'pool'),
            lambda: self.catalog.history.add('pool', 'a'),
            self.catalog.clock.save,
        )

    def create_both(self):
        return (
            self.make_ready(),
            self.catalog.instance_disks.start('pool', 'vm', 1),
        )

    def test_a_file_of_a_newer_release_is_refused(self):
        started = self.create_both()
        self.catalog.close()
        self.sql('PRAGMA user_version = 99')
        for call in (*self.every_read(), *self.every_write(*started)):
            error = self.assertRaises(exceptions.CatalogTooNew, call)
        self.assertIn('version 99', str(error))
        self.assertEqual([(99,)], self.sql('PRAGMA user_version'))
        self.assertEqual([(1,)], self.sql('SELECT COUNT(*) FROM base_images'))

    def test_a_path_that_cannot_be_used_is_a_catalog_error(self):
        started = self.create_both()
        self.catalog.close()
        self.catalog = facade.Catalog(
            os.path.join(self.catalog.path, 'c.sqlite')
        )
        for call in (*self.every_read(), *self.every_write(*started)):
            self.assertRaises(exceptions.CatalogError, call)

    def test_a_file_without_write_permission_can_be_read(self):
        started = self.create_both()
        self.catalog.close()
        self.let_others_in()
        os.chmod(self.path('state'), 0o555)
        os.chmod(self.catalog_path, 0o444)

        def child():
            self.as_unprivileged_user()
            for call in self.every_write(*started):
                self.assertRaises(exceptions.CatalogError, call)
            for call in self.every_read():
                call()
            self.assertEqual(started[0], self.get())

        self.in_child(child)

    def test_a_directory_without_write_permission_is_a_catalog_error(self):
        self.let_others_in()
        os.mkdir(self.path('state'))
        os.chmod(self.path('state'), 0o555)

        def child():
            self.as_unprivileged_user()
            self.assertRaises(exceptions.CatalogError, self.start_fill)
            self.assertRaises(exceptions.CatalogError, self.get)

        self.in_child(child)


class StoredTest(base.CatalogTestCase):
    def test_records_are_there_when_the_file_is_opened_again(self):
        record = self.make_ready()
        self.catalog.close()
        self.assertEqual(record, self.get())
        self.assertEqual(record, self.open().base_images.get('pool', 'disk'))

    def test_close_can_be_called_at_any_time(self):
        self.catalog.close()
        self.start_fill()
        self.catalog.close()
        self.catalog.close()

    def test_nothing_is_created_before_it_is_needed(self):
        self.assertFalse(self.catalog.exists)
        self.assertEqual(self.catalog_path, self.catalog.path)
        self.assertEqual([], os.listdir(self.directory))
        self.start_fill()
        self.assertTrue(self.catalog.exists)

    def test_a_read_only_catalog_is_only_read(self):
        self.start_fill()
        record = self.get()
        for close in (False, True):
            if close:
                # No process has it open.
                self.catalog.close()
            before = sorted(os.listdir(self.path('state')))
            opened = self.open(read_only=True)
            self.assertEqual([record], opened.base_images.list('pool'))
            self.assertRaises(
                exceptions.CatalogError, opened.history.add, 'pool', 'a'
            )
            self.assertEqual(before, sorted(os.listdir(self.path('state'))))
            opened.close()

    def test_a_read_only_catalog_sees_what_is_written_later(self):
        record = self.make_ready()
        self.catalog.close()
        images = self.open(read_only=True).base_images
        self.assertEqual([record], images.list('pool'))
        # It was not open anywhere, and is not open now.
        self.catalog.base_images.quarantine(record, 'it was changed')
        self.catalog.close()
        self.assertEqual('it was changed', images.get('pool', 'disk').reason)


class TransactionTest(base.CatalogTestCase):
    def test_all_changes_of_a_transaction_are_seen_together(self):
        other = self.open().base_images
        first, second = self.make_ready('a'), self.make_ready('b')
        images = self.catalog.base_images
        with self.catalog.transaction():
            images.start_eviction(first)
            self.assertRaises(
                exceptions.CatalogConflict,
                images.start_eviction,
                dataclasses.replace(second, fill_id='other'),
            )
            images.start_eviction(second)
            self.assertIs(base.READY, other.get('pool', 'a').state)
        for name in ('a', 'b'):
            self.assertIs(base.EVICTING, other.get('pool', name).state)

    def test_an_error_of_the_caller_is_raised_unchanged(self):
        record = self.make_ready()
        for error in (
            ValueError('x'),
            KeyError('x'),
            OverflowError('x'),
            OSError(28, 'No space left on device'),
            exceptions.ImagePinned(image='x'),
            KeyboardInterrupt(),
        ):
            caught = None
            try:
                with self.catalog.transaction():
                    self.catalog.base_images.remove(record)
                    self.catalog.history.add('pool', 'purge')
                    raise error
            except BaseException as raised:
                caught = raised
            self.assertIs(error, caught)
            self.assertEqual(record, self.get())
            self.assertEqual({}, self.catalog.history.totals('pool'))

    def test_an_error_within_a_nested_transaction_undoes_the_outer_one(self):
        record = self.make_ready()

        def write():
            with self.catalog.transaction():
                self.catalog.base_images.remove(record)
                with self.catalog.transaction():
                    self.catalog.history.add('pool', 'purge')
                    raise ValueError('x')

        self.assertRaises(ValueError, write)
        self.assertEqual(record, self.get())
        self.assertEqual({}, self.catalog.history.totals('pool'))

    def test_a_catalog_error_in_the_block_undoes_the_transaction(self):
        record = self.make_ready()

        def write():
            with self.catalog.transaction():
                self.catalog.base_images.remove(record)
                self.catalog.history.add('pool', 'a', seconds=1 << 70)

        self.assertRaises(exceptions.CatalogError, write)
        self.assertEqual(record, self.get())

    def test_other_threads_wait_for_the_end_of_a_transaction(self):
        record = self.make_ready()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(self.get()))
        with self.catalog.transaction():
            self.catalog.base_images.remove(record)
            thread.start()
            thread.join(0.05)
            self.assertEqual([], seen)
            self.start_fill()
        thread.join(base.PATIENCE)
        self.assertIs(base.POPULATING, seen[0].state)


class SharingTest(base.CatalogTestCase):
    def test_two_catalogs_of_one_file_see_the_same(self):
        other = self.open().base_images
        record = self.start_fill()
        self.assertEqual(record, other.get('pool', 'disk'))
        other.set_disk(record, 'udid', base.GIB)
        other.finish_fill(record, self.image)
        self.assertIs(base.READY, self.get().state)

    def test_each_record_is_started_by_one_thread(self):
        def work():
            started = 0
            for number in range(10):
                with contextlib.suppress(exceptions.CatalogConflict):
                    self.start_fill(f'disk{number}')
                    started += 1
                self.catalog.history.add('pool', 'tried', bytes_fetched=1)
            return started

        self.assertEqual(10, sum(self.in_threads(*[work] * 4)))
        self.assertEqual(
            {'tried': models.Total(40, 40, 0)},
            self.catalog.history.totals('pool'),
        )

    def test_threads_can_create_the_file_at_the_same_time(self):
        catalogs = [self.open() for _ in range(4)]
        self.in_threads(
            *[
                lambda each=each: each.history.add('pool', 'opened')
                for each in catalogs
            ]
        )
        self.assertEqual(
            {'opened': models.Total(4, 0, 0)},
            self.catalog.history.totals('pool'),
        )

    def test_a_forked_process_can_write(self):
        record = self.start_fill()
        images = self.catalog.base_images
        self.in_child(
            lambda: (
                images.set_disk(record, 'udid', base.GIB),
                images.finish_fill(record, self.image),
                self.start_fill('of_the_child'),
            )
        )
        self.assertIs(base.READY, self.get().state)
        self.assertIsNotNone(self.get('of_the_child'))
        images.remove(record)

    def test_a_catalog_without_id_is_an_error_of_the_catalog(self):
        self.assertEqual(32, len(self.catalog.catalog_id))
        self.sql('DELETE FROM identity')
        error = self.assertRaises(
            exceptions.CatalogError, getattr, self.catalog, 'catalog_id'
        )
        self.assertIn('it has no ID', str(error))

    def test_a_forked_process_closes_nothing_of_its_parent(self):
        self.start_fill()
        self.in_child(self.catalog.close)
        self.start_fill('later')
        self.assertEqual(2, len(self.open().base_images.list('pool')))

    def test_each_record_is_started_by_one_process(self):
        os.mkdir(self.path('state'))
        processes = []
        for name in 'ab':
            process = subprocess.Popen(
                [
                    sys.executable,
                    '-c',
                    _OTHER_PROCESS,
                    self.catalog.path,
                    name,
                ],
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
        started = [int(process.communicate()[0]) for process in processes]
        self.assertEqual(20, sum(started))
        self.assertEqual(20, len(self.catalog.base_images.list('pool')))
        self.assertEqual(
            {'tried': models.Total(40, 40, 0)},
            self.catalog.history.totals('pool'),
        )
