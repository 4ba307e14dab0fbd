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

import contextlib
import threading
import time

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import change_queue
from pvm_imagecache.drivers.localdisk import changes
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups

new = volume_groups.new


def create(name):
    return changes.Request([changes.Create(new(name))])


def copy(name):
    source = driver_base.Disk('source', 'udid', base.GIB)
    return changes.Request(
        [changes.Copy(new(name), source, still_valid=lambda: True)]
    )


class ChangeQueueTest(base.TestCase):
    """Threads that wait share an update with the one that has the turn."""

    def setUp(self):
        super().setUp()
        self.before_update = lambda names: None
        #: For each update that was carried out, the names in it.
        self.updates = []
        self.queue = change_queue.ChangeQueue(
            'vg', self._update, contextlib.nullcontext
        )

    def _update(self, batch):
        names = sorted(each.name for each in changes.new_disks(batch))
        self.before_update(names)
        self.updates.append(names)
        for each in batch:
            each.disks = [new.name for new in each.new_disks]
            each.done = True

    def submit_during(self, first, *others):
        """Submit requests while the update of the first one is made.

        Returns what became of each of them: a list of disks, or an error.
        """
        began = threading.Event()
        before_update = self.before_update

        def hold_first(names):
            self.before_update = before_update
            began.set()
            give_up = time.monotonic() + base.PATIENCE
            while self.queue.waiting < len(others):
                self.assertLess(time.monotonic(), give_up)
                time.sleep(0)
            before_update(names)

        def result_of(request):
            try:
                return self.queue.submit(request)
            except exceptions.PVMImageCacheError as error:
                return error

        def wait_and_submit(request):
            self.wait(began)
            return result_of(request)

        self.before_update = hold_first
        return self.in_threads(
            lambda: result_of(first),
            *[
                lambda request=request: wait_and_submit(request)
                for request in others
            ],
        )

    def test_a_request_is_answered_with_its_disks(self):
        self.assertEqual(['a'], self.queue.submit(create('a')))
        self.assertEqual([['a']], self.updates)
        self.assertEqual(0, self.queue.waiting)

    def test_requests_that_wait_share_an_update(self):
        results = self.submit_during(
            create('first'), *[create(name) for name in 'abcd']
        )
        self.assertEqual([['first'], list('abcd')], self.updates)
        self.assertEqual([['first'], ['a'], ['b'], ['c'], ['d']], results)

    def test_requests_are_tried_alone_after_a_refused_update(self):
        def refuse(names):
            if 'bad' in names:
                raise exceptions.PowerVMRequestFailed(
                    action='a', reason='it is bad'
                )

        self.before_update = refuse
        results = self.submit_during(
            create('first'), create('good'), create('bad'), create('fine')
        )
        self.assertEqual(['good'], results[1])
        self.assertEqual('PowerVM refused to a: it is bad', str(results[2]))
        self.assertEqual(['fine'], results[3])
        self.assertEqual(['first'], self.updates[0])
        self.assertEqual([['fine'], ['good']], sorted(self.updates[1:]))

    def test_an_interrupt_fails_the_whole_batch(self):
        def interrupt(names):
            if names != ['first']:
                raise KeyboardInterrupt

        self.before_update = interrupt
        requests = [create(name) for name in 'ab']

        def submit(request):
            return self.assertRaises(
                KeyboardInterrupt, self.queue.submit, request
            )

        began, real = threading.Event(), self.before_update

        def hold_first(names):
            self.before_update = real
            began.set()
            give_up = time.monotonic() + base.PATIENCE
            while self.queue.waiting < 2:
                self.assertLess(time.monotonic(), give_up)
                time.sleep(0)

        self.before_update = hold_first
        self.in_threads(
            lambda: self.queue.submit(create('first')),
            *[
                lambda request=request: (self.wait(began), submit(request))
                for request in requests
            ],
        )
        for each in requests:
            self.assertTrue(each.done)
            self.assertIsInstance(each.error, KeyboardInterrupt)
        self.assertEqual([['first']], self.updates)

    def test_requests_are_served_after_an_interrupt(self):
        def interrupt(names):
            raise KeyboardInterrupt

        self.before_update = interrupt
        self.assertRaises(KeyboardInterrupt, self.queue.submit, create('a'))
        self.assertEqual(0, self.queue.waiting)
        self.before_update = lambda names: None
        self.assertEqual(['b'], self.queue.submit(create('b')))
        self.assertEqual([['b']], self.updates)

    def test_an_interrupt_while_waiting_for_the_lock_drops_the_request(self):
        @contextlib.contextmanager
        def interrupted():
            raise KeyboardInterrupt
            yield

        locked = change_queue.ChangeQueue('vg', self._update, interrupted)
        self.assertRaises(KeyboardInterrupt, locked.submit, create('a'))
        # No other thread must carry it out.
        self.assertEqual(0, locked.waiting)
        self.assertEqual([], self.updates)

    def test_requests_without_copies_do_not_wait_for_copies(self):
        self.submit_during(
            create('first'), copy('slow'), create('a'), create('b')
        )
        self.assertEqual([['first'], ['a', 'b'], ['slow']], self.updates)

    def test_copies_that_wait_share_an_update(self):
        self.submit_during(create('first'), *[copy(name) for name in 'abc'])
        self.assertEqual([['first'], list('abc')], self.updates)

    def test_the_lock_is_held_during_updates_only(self):
        held = []

        @contextlib.contextmanager
        def exclusive():
            held.append(True)
            yield
            held.pop()

        seen = []
        self.before_update = lambda names: seen.append(list(held))
        queue = change_queue.ChangeQueue('vg', self._update, exclusive)
        queue.submit(create('a'))
        self.assertEqual(([[True]], []), (seen, held))

    def test_copies_are_combined_up_to_a_number_of_bytes(self):
        for most, expected in (
            (2 * base.GIB, [['a', 'b'], ['c']]),
            (2 * base.GIB - 1, [['a'], ['b'], ['c']]),
            (0, [['a'], ['b'], ['c']]),
        ):
            self.updates.clear()
            self.queue = change_queue.ChangeQueue(
                'vg',
                self._update,
                contextlib.nullcontext,
                lambda most=most: most,
            )
            self.submit_during(
                create('first'), *(copy(each) for each in 'abc')
            )
            self.assertEqual([['first'], *expected], self.updates)

    def test_no_request_is_tried_alone_if_powervm_does_not_answer(self):
        tried = []

        def time_out(names):
            if names != ['first']:
                tried.append(names)
                raise exceptions.PowerVMTimedOut(url='u', reason='r', hint='')

        self.before_update = time_out
        requests = [copy(each) for each in 'ab']
        self.submit_during(create('first'), *requests)
        self.assertEqual([['a', 'b']], tried)
        for each in requests:
            self.assertIsInstance(each.error, exceptions.PowerVMTimedOut)
