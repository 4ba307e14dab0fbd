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

"""Tests of the disks that one deploy creates."""

import fixtures

from pvm_imagecache import exceptions
from pvm_imagecache.deploy import new_disks
from pvm_imagecache.deploy import steps
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes

CHUNK = image_stream.CHUNK_SIZE


class _UnreachableDriver(fakes.FakeDriver):
    """A pool that cannot be reached to delete disks."""

    def delete_disks(self, disks):
        raise exceptions.PowerVMUnreachable(url='u', reason='r', hint='')


class NewDisksTestCase(base.CacheTestCase):
    def setUp(self):
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        self.reports, self.deleted = [], []
        self.disks = self.new_disks()

    def new_disks(self):
        return new_disks.NewDisks(
            self.cache,
            steps.Steps(self.size, lambda *args: self.reports.append(args)),
            self.deleted.append,
        )

    def create(self, *names):
        with self.disks.changing(*names):
            return self.driver.create_disks(
                [driver_base.NewDisk(each, base.GIB, 'raw') for each in names]
            )

    def check_may_exist(self, *names):
        """Exactly these of the disks may exist, and be incomplete."""
        self.assertEqual(
            set(names), {each for each in 'abc' if self.disks.may_exist(each)}
        )


class ChangingTest(NewDisksTestCase):
    def _fail(self, error, *names):
        def request():
            with self.disks.changing(*names):
                raise error

        self.assertRaises(type(error), request)

    def test_no_disk_exists_at_first(self):
        self.check_may_exist()

    def test_created_disk_may_be_incomplete(self):
        self.create('a', 'b')
        self.check_may_exist('a', 'b')

    def test_disk_may_exist_during_the_request(self):
        with self.disks.changing('a'):
            self.check_may_exist('a')

    def test_settled_disk_is_complete(self):
        self.create('a', 'b')
        self.disks.settle('a')
        self.check_may_exist('b')

    def test_what_is_not_known_of_a_request_is_kept(self):
        error = exceptions.PowerVMUnreachable(url='u', reason='r', hint='')
        self._fail(error, 'a', 'b')
        self._fail(
            exceptions.PowerVMRequestFailed(action='a', reason='r'), 'c'
        )
        self.assertEqual(
            [error, error, None], [self.disks.unanswered(n) for n in 'abc']
        )
        self.disks.settle('a')
        self.assertEqual(
            [None, error], [self.disks.unanswered(n) for n in 'ab']
        )

    def test_refused_request_creates_no_disk(self):
        self._fail(
            exceptions.PowerVMRequestFailed(action='a', reason='r'), 'a'
        )
        self.check_may_exist()

    def test_refused_request_keeps_earlier_disks_marked(self):
        self.create('a')
        self._fail(exceptions.DiskExists(name='a', pool='p'), 'a', 'b')
        self.check_may_exist('a')

    def test_unanswered_request_may_create_the_disk(self):
        self._fail(
            exceptions.PowerVMUnreachable(url='u', reason='r', hint=''), 'a'
        )
        self.check_may_exist('a')

    def test_timed_out_request_may_create_the_disk(self):
        self._fail(
            exceptions.PowerVMTimedOut(url='u', reason='r', hint=''), 'a'
        )
        self.check_may_exist('a')

    def test_unclear_result_may_be_the_disk(self):
        self._fail(exceptions.DiskUnclear(name='a', reason='r'), 'a')
        self.check_may_exist('a')

    def test_interrupted_request_may_create_the_disk(self):
        self._fail(KeyboardInterrupt(), 'a')
        self.check_may_exist('a')


class DiscardTest(NewDisksTestCase):
    def test_discarded_disks_are_deleted_and_reported(self):
        disks = self.create('a', 'b')
        self.disks.discard(*disks)
        self.assertEqual([], self.driver.names())
        self.check_may_exist()
        self.assertEqual(disks, self.deleted)

    def test_no_disks_need_no_request(self):
        self.disks.discard()
        self.assertEqual([], self.driver.calls)

    def test_only_deleted_disks_are_reported(self):
        first, second = self.create('a', 'b')
        self.driver.before['delete'] = lambda disk: (
            disk.name == 'a' and fakes.refusal()
        )
        self.disks.discard(first, second)
        self.assertEqual(['a'], self.driver.names())
        self.assertEqual([second], self.deleted)
        self.check_may_exist('a')
        self.assertIn(
            'Could not delete incomplete disk a: ', self.logger.output
        )

    def test_unreachable_pool_is_logged_for_each_disk(self):
        self.driver = _UnreachableDriver()
        self.disks = self.new_disks()
        self.disks.discard(*self.create('a', 'b'))
        self.assertEqual([], self.deleted)
        self.check_may_exist('a', 'b')
        for name in 'ab':
            self.assertIn(f'incomplete disk {name}: ', self.logger.output)

    def test_disk_is_discarded_only_once(self):
        first, second = self.create('a', 'b')
        self.disks.discard(first)
        self.disks.discard(first, second)
        self.assertEqual(2, self.driver.calls.count('delete'))
        self.assertEqual([first, second], self.deleted)

    def test_refused_deletion_is_not_repeated(self):
        (disk,) = self.create('a')
        self.driver.before['delete'] = fakes.refusal
        self.disks.discard(disk)
        self.disks.discard(disk)
        self.assertEqual(1, self.driver.calls.count('delete'))

    def test_new_disk_with_the_udid_of_a_discarded_one_is_deleted(self):
        (disk,) = self.create('a')
        self.disks.discard(disk)
        with self.disks.changing('a'):
            again = driver_base.Disk('a', disk.udid, base.GIB)
        self.disks.discard(again)
        self.assertEqual(2, self.driver.calls.count('delete'))
        self.assertEqual([disk, again], self.deleted)


class WriteTest(NewDisksTestCase):
    def write(self, *disks, **kwargs):
        with self.source.open(self.image) as stream:
            return self.disks.write(stream, disks, **kwargs)

    def test_stream_is_written_to_every_disk(self):
        self.assertEqual([None, None], self.write(*self.create('a', 'b')))
        for name in 'ab':
            self.assert_bytes(self.content, self.driver.content(name))
        # Whether they are complete is for the caller to say.
        self.check_may_exist('a', 'b')

    def test_error_of_one_disk_is_returned(self):
        disks = self.create('a', 'b')
        self.driver.before['upload'] = lambda disk: (
            disk.name == 'a' and fakes.refusal()
        )
        error, no_error = self.write(*disks)
        self.assertIsInstance(error, exceptions.PowerVMRequestFailed)
        self.assertIsNone(no_error)
        self.assertEqual(['a', 'b'], self.driver.names())

    def test_failed_stream_deletes_all_disks(self):
        disks = self.create('a', 'b')
        self.source.put(self.image, self.content[:-5])
        self.assertRaises(exceptions.ImageTruncated, self.write, *disks)
        self.assertEqual([], self.driver.names())
        self.assertEqual(disks, self.deleted)

    def test_progress_is_reported_twice(self):
        done = []
        self.write(*self.create('a'), on_progress=done.append)
        self.assertEqual(self.size, done[-1])
        self.assertEqual(('fetch', self.size, self.size), self.reports[-1])

    def test_stale_upload_is_recorded(self):
        self.catalog.pools.record_uploads('pool', True)
        self.write(*self.create('a'))
        self.assertTrue(self.catalog.pools.uploads_are_clean('pool'))
        self.driver.left = True
        self.write(*self.create('b'))
        self.assertFalse(self.catalog.pools.uploads_are_clean('pool'))

    def test_stale_upload_of_a_failed_stream_is_recorded(self):
        self.catalog.pools.record_uploads('pool', True)
        self.driver.left = True
        self.source.put(self.image, self.content[:CHUNK], KeyboardInterrupt())
        self.assertRaises(KeyboardInterrupt, self.write, *self.create('a'))
        self.assertFalse(self.catalog.pools.uploads_are_clean('pool'))

    def test_failure_to_record_a_stale_upload_is_logged(self):
        self.driver.left = True
        self.catalog.broken = {'pools.record_uploads'}
        self.assertEqual([None], self.write(*self.create('a')))
        self.assertIn('left a File entry', self.logger.output)
