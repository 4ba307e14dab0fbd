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

"""Notifications about images: what is sent, and what is lost."""

from collections.abc import Callable
import threading
import time
from typing import Any
from unittest import mock

from nova import context as nova_context
from nova import rpc
from nova import test
from pvm_imagecache import events
from pvm_imagecache import naming
from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.tests.nova import base
from pvm_imagecache.virt import notifications

SIZE = 3 * base.MIB + 1
PATIENCE = 30
FAULT = 'Could not send image cache notifications'


class Bus:
    """A message bus in place of nova's, which can fail or hang.

    :ivar sent: publisher, event type and payload of each notification.
    :ivar error: raised in place of a delivery, if set.
    :ivar free: while it is not set, deliveries hang.
    :ivar tried: is released at the beginning of each delivery.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.tried = threading.Semaphore(0)

    def notifier(self, publisher_id: str) -> Any:
        """Take the place of ``rpc.get_versioned_notifier``."""

        def info(context: Any, event_type: str, payload: Any) -> None:
            assert isinstance(context, nova_context.RequestContext)
            self.tried.release()
            self.free.wait()
            if self.error:
                raise self.error
            self.sent.append((publisher_id, event_type, payload))

        return mock.Mock(info=info)


class NotifierTestCase(test.NoDBTestCase):
    """The queue in front of the message bus."""

    def setUp(self) -> None:
        super().setUp()
        self.flags(host='here')
        self.bus = Bus()
        self.addCleanup(self.bus.free.set)
        patch = mock.patch.object(
            rpc, 'get_versioned_notifier', self.bus.notifier
        )
        patch.start()
        self.addCleanup(patch.stop)

    def notifier(self, queued: int = 1000) -> notifications.Notifier:
        before = set(threading.enumerate())
        with mock.patch.object(notifications, 'MAX_QUEUED', queued):
            made = notifications.Notifier()
        started = set(threading.enumerate()) - before
        self.addCleanup(self.end, made, started)
        self.addCleanup(self.bus.free.set)
        return made

    def end(
        self, made: notifications.Notifier, started: set[threading.Thread]
    ) -> None:
        """Wait for the thread of a notifier: the next test has its own bus."""

        def has_ended() -> bool:
            made.close()
            return not any(each.is_alive() for each in started)

        self.wait(has_ended)

    def event(
        self, number: int = 0, kind: events.Kind = events.Kind.CACHED
    ) -> events.Event:
        return events.Event(
            kind, 'pool', f'image {number}', f'i_{number}', number, 'why'
        )

    def images(self) -> list[str]:
        """The images of the notifications that were sent."""
        return [
            payload['nova_object.data']['image_id']
            for _, _, payload in self.bus.sent
        ]

    def log(self) -> str:
        return self.stdlog.logger.output

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, 'it did not happen')
            time.sleep(0.01)

    def hanging(self, queued: int) -> notifications.Notifier:
        """Return a notifier that hangs in its first delivery."""
        self.bus.free.clear()
        notifier = self.notifier(queued)
        notifier(self.event())
        self.assertTrue(self.bus.tried.acquire(timeout=PATIENCE))
        return notifier

    def test_the_payload_describes_the_image(self) -> None:
        notifier = self.notifier()
        notifier(self.event(7, events.Kind.EVICTED))
        notifier.close()
        ((publisher, event_type, payload),) = self.bus.sent
        self.assertEqual('nova-compute:here', publisher)
        self.assertEqual('pvm_imagecache.image.evicted', event_type)
        self.assertEqual(
            ('PVMImageCachePayload', 'pvm_imagecache', '1.0'),
            (
                payload['nova_object.name'],
                payload['nova_object.namespace'],
                payload['nova_object.version'],
            ),
        )
        self.assertEqual(
            {
                'host': 'here',
                'pool_id': 'pool',
                'image_id': 'image 7',
                'image_size': 7,
                'disk_name': 'i_7',
                'reason': 'why',
            },
            payload['nova_object.data'],
        )

    def test_each_kind_has_its_event_type(self) -> None:
        notifier = self.notifier()
        for kind in (
            events.Kind.CACHED,
            events.Kind.EVICTED,
            events.Kind.BYPASSED,
        ):
            notifier(self.event(kind=kind))
        notifier.close()
        self.assertEqual(
            [
                f'pvm_imagecache.image.{each}'
                for each in ('cached', 'evicted', 'bypassed')
            ],
            [event_type for _, event_type, _ in self.bus.sent],
        )

    def test_close_sends_what_is_queued_in_order(self) -> None:
        notifier = self.hanging(10)
        for number in range(1, 5):
            notifier(self.event(number))
        self.assertEqual([], self.bus.sent)
        self.bus.free.set()
        notifier.close()
        self.assertEqual([f'image {each}' for each in range(5)], self.images())
        self.assertNotIn(FAULT, self.log())

    def test_events_beyond_a_full_queue_are_lost(self) -> None:
        notifier = self.hanging(3)
        # The first one has left the queue.
        for number in range(1, 7):
            notifier(self.event(number))
        self.bus.free.set()
        self.wait(lambda: len(self.bus.sent) >= 4)
        notifier.close()
        self.assertEqual([f'image {each}' for each in range(4)], self.images())

    def test_lost_events_are_logged_once(self) -> None:
        notifier = self.hanging(3)
        with mock.patch.object(notifications, 'MAX_QUEUED', 3):
            for number in range(10):
                notifier(self.event(number))
        self.assertEqual(1, self.log().count(FAULT))
        self.assertIn('the queue is full with 3 notifications', self.log())

    def test_a_failed_delivery_is_logged_once(self) -> None:
        notifier = self.notifier()
        self.bus.error = RuntimeError('no bus')
        for number in range(3):
            notifier(self.event(number))
            self.assertTrue(self.bus.tried.acquire(timeout=PATIENCE))
        self.wait(lambda: f'{FAULT}, will retry: no bus' in self.log())
        self.assertEqual(1, self.log().count(FAULT))
        # The next event is sent again; failed ones are lost.
        self.bus.error = None
        notifier(self.event(9))
        notifier.close()
        self.assertEqual(['image 9'], self.images())
        self.assertIn(
            'Able to send image cache notifications again', self.log()
        )

    def test_close_waits_for_a_bounded_time(self) -> None:
        notifier = self.hanging(10)
        with mock.patch.object(notifications, 'CLOSING_TIMEOUT', 0.05):
            notifier.close()
        self.assertEqual([], self.bus.sent)

    def test_close_does_not_wait_for_a_full_queue(self) -> None:
        notifier = self.hanging(1)
        notifier(self.event())
        started = time.monotonic()
        notifier.close()
        self.assertLess(
            time.monotonic() - started, notifications.CLOSING_TIMEOUT
        )


class InterceptedNotifier:
    """A notifier of nova that calls a function before our notifications."""

    def __init__(self, notifier: Any, before: Callable[[], None]) -> None:
        self._notifier = notifier
        self._before = before

    def info(self, context: Any, event_type: str, payload: Any) -> None:
        if event_type.startswith('pvm_imagecache.'):
            self._before()
        self._notifier.info(context, event_type, payload)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._notifier, name)


class ComputeTestCase(base.NovaTestCase):
    """Notifications of nova-compute, through nova's notifier."""

    options = {'volume_group_name': 'cachevg', 'send_notifications': True}

    def test_each_event_is_sent_as_a_notification(self) -> None:
        image_id = self.store(SIZE)
        server = self.boot(image_id)
        cached = self.await_one('pvm_imagecache.image.cached')
        self.assertEqual('nova-compute:compute', cached['publisher_id'])
        payload = cached['payload']
        self.assertEqual(
            ('PVMImageCachePayload', 'pvm_imagecache', '1.0'),
            (
                payload['nova_object.name'],
                payload['nova_object.namespace'],
                payload['nova_object.version'],
            ),
        )
        data = payload['nova_object.data']
        (name,) = self.base_images()
        self.assertEqual(
            ('compute', image_id, SIZE, name, ''),
            (
                data['host'],
                data['image_id'],
                data['image_size'],
                data['disk_name'],
                data['reason'],
            ),
        )
        self._delete_server(server)
        self.run_cleanup()
        uptime = boot_clock.uptime
        with mock.patch.object(
            boot_clock, 'uptime', lambda: uptime() + 100_000
        ):
            self.run_cleanup()
        data = self.await_one('pvm_imagecache.image.evicted')['payload'][
            'nova_object.data'
        ]
        self.assertEqual(image_id, data['image_id'])
        self.assertIn('age: ', data['reason'])
        # An untracked disk has the name.
        other = self.store(SIZE, seed=1)
        self.powervm.control.plant_disk(
            'cachevg', naming.base_image_name(other), 7 * base.GIB
        )
        self.boot(other)
        data = self.await_one('pvm_imagecache.image.bypassed')['payload'][
            'nova_object.data'
        ]
        self.assertEqual(other, data['image_id'])
        self.assertIn('is taken', data['reason'])
        self.assertTrue(data['disk_name'].startswith('b_'))

    def await_one(self, event_type: str) -> dict:
        (found,) = self.notifier.wait_for_versioned_notifications(
            event_type, timeout=30
        )
        return found

    def intercepted(self, before: Callable[[], None]) -> Any:
        """Patch the message bus: our notifications call a function first."""
        notifier_of = rpc.get_versioned_notifier
        return mock.patch.object(
            rpc,
            'get_versioned_notifier',
            lambda publisher_id: InterceptedNotifier(
                notifier_of(publisher_id), before
            ),
        )

    def test_an_unreachable_message_bus_delays_nothing(self) -> None:
        tried, hangs = threading.Semaphore(0), threading.Event()
        self.addCleanup(hangs.set)

        def fail() -> None:
            tried.release()
            raise RuntimeError('no bus')

        with self.intercepted(fail):
            for seed in range(2):
                image_id = self.store(SIZE, seed)
                self.assert_boots_from(self.boot(image_id), image_id)
                self.assertTrue(tried.acquire(timeout=PATIENCE))
            self.await_log(FAULT)
        self.assertEqual(1, self.stdlog.logger.output.count(FAULT))

        def hang() -> None:
            hangs.wait()

        # If something waited for the message bus, this would never end.
        with self.intercepted(hang):
            image_id = self.store(SIZE, seed=2)
            self.assert_boots_from(self.boot(image_id), image_id)
            hangs.set()

    def await_log(self, text: str) -> None:
        for _ in range(300):
            if text in self.stdlog.logger.output:
                return
            time.sleep(0.1)
        self.fail(f'not in the log: {text}')


class SilentTestCase(base.NovaTestCase):
    """By default nothing is sent."""

    def test_no_notification_is_sent_by_default(self) -> None:
        self.boot(self.store(SIZE))
        self.assertEqual(1, len(self.base_images()))
        self.assertEqual(
            [],
            [
                each['event_type']
                for each in self.notifier.versioned_notifications
                if each['event_type'].startswith('pvm_imagecache.')
            ],
        )
