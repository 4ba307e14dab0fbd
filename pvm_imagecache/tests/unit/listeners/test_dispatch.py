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

"""Delivery of events: no listener harms the cache or the others."""

import threading

import fixtures

from pvm_imagecache import events
from pvm_imagecache import plugins
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.listeners import dispatch
from pvm_imagecache.tests.unit import base


class _Listener(events.EventListener):
    """Does with an event what it was made with."""

    api_version = 1

    def __init__(self, notify=None, close=None, use=None):
        self.events = []
        self.closed = threading.Event()
        self._notify, self._close, self._use = notify, close, use

    @classmethod
    def from_conf(cls, conf):
        return cls()

    def notify(self, event):
        self.events.append(event.code)
        if self._notify:
            self._notify(event)

    def use(self, usage):
        if self._use:
            self._use(usage)

    def close(self):
        self.closed.set()
        if self._close:
            self._close()


class _StrangeError(Exception):
    def __str__(self):
        raise RuntimeError('no text')


def _raise(error):
    def call(*args):
        raise error

    return call


def event(code):
    return events.Event(
        events.Kind.DEPLOYED, 'pool', 'id', 'disk', 1, code=code
    )


class DispatcherTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.end = threading.Event()

    def dispatcher(self, *listeners, built_in=False, others=()):
        made = dispatch.Dispatcher(
            [
                plugins.LoadedListener(
                    f'l{number}', each, 'theirs 1.5', built_in
                )
                for number, each in enumerate(listeners)
            ],
            others,
        )
        self.addCleanup(made.close)
        self.addCleanup(self.end.set)
        return made

    def test_all_receive_each_event_in_order(self):
        for built_in in (True, False):
            one, other, function = _Listener(), _Listener(), []
            made = self.dispatcher(
                one, other, built_in=built_in, others=[function.append]
            )
            for number in range(9):
                made(event(str(number)))
            made.close()
            expected = [str(number) for number in range(9)]
            self.assertEqual(expected, one.events)
            self.assertEqual(expected, other.events)
            self.assertEqual(expected, [each.code for each in function])
            for each in (one, other):
                self.assertTrue(each.closed.is_set())

    def test_what_one_raises_harms_nothing(self):
        for built_in in (True, False):
            for error in (
                RuntimeError('no luck'),
                _StrangeError(),
                *((SystemExit(3), GeneratorExit()) if not built_in else ()),
            ):
                bad = _Listener(_raise(error), _raise(error))
                good = _Listener()
                made = self.dispatcher(bad, good, built_in=built_in)
                for code in 'abc':
                    made(event(code))
                made.close()
                self.assertEqual(['a', 'b', 'c'], bad.events)
                self.assertEqual(['a', 'b', 'c'], good.events)
                self.assertTrue(good.closed.is_set())
        self.assertIn(
            'Cache event listener l0 (from theirs 1.5) failed: '
            'RuntimeError: no luck',
            self.log.output,
        )

    def test_one_that_hangs_harms_nothing(self):
        self.patch(dispatch, 'CLOSING_TIMEOUT', 0.2)
        self.patch(dispatch, 'MAX_QUEUED', 3)
        started = threading.Event()

        def hang(event):
            started.set()
            self.end.wait()

        bad, good = _Listener(hang), _Listener()
        made = self.dispatcher(bad, good)
        made(event('first'))
        self.wait(started)
        for number in range(10):
            made(event(str(number)))
            # Its queue must not be full because of the test.
            while len(good.events) < number + 2:
                self.end.wait(0.001)
        self.assertEqual(11, len(good.events))
        self.assertIn('l0 (from theirs 1.5) is too slow', self.log.output)
        made.close()
        self.assertTrue(good.closed.is_set())
        self.assertIn('did not end in time: 3 event(s)', self.log.output)

    def test_no_thread_is_started_without_an_event(self):
        before = threading.active_count()
        made = self.dispatcher(_Listener(), _Listener())
        self.assertEqual(before, threading.active_count())
        made.close()

    def test_they_are_given_the_figures_of_the_cache(self):
        self.patch(time_limit, 'TIME_LIMIT', 0.2)
        given = []
        made = self.dispatcher(
            _Listener(use=_raise(RuntimeError('no luck'))),
            _Listener(use=_raise(SystemExit())),
            _Listener(use=lambda usage: self.end.wait()),
            _Listener(use=lambda usage: given.append(usage())),
        )
        made.use(lambda: 'figures')
        self.assertEqual(['figures'], given)
        for number in range(3):
            self.assertIn(
                f'listener l{number} (from theirs 1.5) failed in use()',
                self.log.output,
            )

    def test_all_listeners_together_end_in_time(self):
        self.patch(dispatch, 'CLOSING_TIMEOUT', 0.2)
        hanging = [_Listener(close=self.end.wait) for _ in range(2)]
        good = _Listener()
        made = dispatch.Dispatcher(
            [
                plugins.LoadedListener(f'l{number}', each, 'theirs', True)
                for number, each in enumerate((*hanging, good))
            ]
        )
        self.addCleanup(self.end.set)
        made.close()
        self.assertTrue(good.closed.is_set())
        for number in range(2):
            self.assertIn(
                f'l{number} (from theirs) did not end in time',
                self.log.output,
            )

    def test_events_after_the_end_are_not_delivered(self):
        for built_in in (True, False):
            closings = []
            one = _Listener(close=lambda found=closings: found.append(1))
            function = []
            made = self.dispatcher(
                one, built_in=built_in, others=[function.append]
            )
            made(event('a'))
            made.close()
            made.close()
            made(event('b'))
            self.assertEqual(['a'], one.events)
            self.assertEqual(['a'], [each.code for each in function])
            self.assertEqual([1], closings)

    def test_a_thread_that_cannot_be_started_harms_nothing(self):
        starts = threading.Thread.start
        refused = []

        def start(thread):
            if thread.name == 'event-listener-l0' and len(refused) < 2:
                refused.append(thread)
                raise RuntimeError("can't start new thread")
            starts(thread)

        self.patch(threading.Thread, 'start', start)
        one, other = _Listener(), _Listener()
        made = self.dispatcher(one, other)
        for code in 'abc':
            made(event(code))
        made.close()
        self.assertEqual(['a', 'b', 'c'], other.events)
        # It gets what waited as soon as there is a thread.
        self.assertEqual(['a', 'b', 'c'], one.events)
        self.assertTrue(one.closed.is_set())
        self.assertIn("can't start new thread", self.log.output)

    def test_an_error_in_use_of_a_built_in_listener_is_logged(self):
        def fail(usage):
            raise ValueError('why')

        made = self.dispatcher(
            _Listener(lambda event: None, use=fail), built_in=True
        )
        made.use(lambda: 'figures')
        self.assertIn('failed: ValueError: why', self.log.output)

    def test_an_error_of_each_class_is_logged_once(self):
        errors = iter(
            [ValueError(1), ValueError(2), KeyError('x'), ValueError(3)]
        )

        def fail(event):
            raise next(errors)

        made = self.dispatcher(_Listener(fail), built_in=True)
        for code in 'abcd':
            made(event(code))
        self.assertEqual(
            ['ValueError: 1', "KeyError: 'x'"],
            [
                line.partition('failed: ')[2]
                for line in self.log.output.splitlines()
                if 'failed: ' in line
            ],
        )
