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

"""Delivery of events to listeners.

The built-in listeners are called directly, in the order of the option
``listeners``. One of another package has a queue and a daemon thread of its
own, because it may raise, hang or exit. Under eventlet that is a green
thread: a listener that computes, or waits in a library that is not patched,
blocks the service.
"""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import logging as std_logging
import queue
import threading
import time
from typing import Final
from typing import Protocol
from typing import TYPE_CHECKING

from oslo_log import log as logging

from pvm_imagecache import events
from pvm_imagecache import text
from pvm_imagecache.eviction import time_limit
from pvm_imagecache.system import warn_once

if TYPE_CHECKING:
    from pvm_imagecache import results

LOG = logging.getLogger(__name__)

#: Events that can wait for a listener; further events are dropped.
MAX_QUEUED: Final = 1000
#: Seconds in which all listeners together end.
CLOSING_TIMEOUT: Final = 5.0
#: Seconds that a built-in listener gets in any case.
_LEAST_CLOSING: Final = 0.1


class Named(Protocol):
    """A listener with name and origin, see ``plugins.LoadedListener``."""

    @property
    def name(self) -> str:
        """Name of its entry point."""

    @property
    def listener(self) -> events.EventListener:
        """The listener itself."""

    @property
    def origin(self) -> str:
        """Name and version of its distribution."""

    @property
    def built_in(self) -> bool:
        """Whether it is one of this project."""


class Dispatcher:
    """Delivers each event to all listeners; it is a listener itself.

    :param loaded: the listeners, in the order in which they are called.
    :param others: functions that are called with each event after them.
    """

    def __init__(
        self,
        loaded: Sequence[Named] = (),
        others: Sequence[events.Listener] = (),
    ) -> None:
        self._others = others
        self._closed = False
        self._channels: list[_Direct | _Fenced] = [
            _Direct(each) if each.built_in else _Fenced(each)
            for each in loaded
        ]

    def __call__(self, event: events.Event) -> None:
        """Deliver an event. Errors of listeners are logged and ignored.

        Nothing is delivered after :meth:`close`.

        :param event: what happened.
        """
        if self._closed:
            return
        for channel in self._channels:
            channel.attempt(channel.notify, event)
        for each in self._others:
            each(event)

    def use(self, usage: 'Callable[[], results.Usage]') -> None:
        """Give all listeners access to the figures of the cache.

        :param usage: as for :meth:`.events.EventListener.use`.
        """
        for each in self._channels:
            each.attempt(each.use, usage)

    def close(self) -> None:
        """Close all listeners once, within :data:`CLOSING_TIMEOUT`."""
        if self._closed:
            return
        self._closed = True
        end = time.monotonic() + CLOSING_TIMEOUT
        for each in self._channels:
            each.attempt(each.begin_to_close)
        for each in self._channels:
            left = max(0.0, end - time.monotonic())
            each.attempt(each.close, left)


class _Channel:
    """What both kinds of delivery have in common."""

    def __init__(self, named: Named) -> None:
        self._named = named
        self._failures = warn_once.WarnOnce(LOG)

    def attempt(self, call: Callable[..., None], *arguments: object) -> None:
        """Make a call; an error, such as of a new thread, is logged."""
        try:
            call(*arguments)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: BaseException, what: str = 'failed') -> None:
        """Log an error of the listener, one of each kind once."""
        if self._failures.log(
            f'{self._described} {what}: {text.foreign_error(error)}',
            key=f'{what} {type(error).__name__}',
            level=std_logging.ERROR,
        ):
            LOG.debug('Traceback of the listener', exc_info=error)

    @property
    def _described(self) -> str:
        origin = f' (from {self._named.origin})' if self._named.origin else ''
        return f'Cache event listener {self._named.name}{origin}'


class _Direct(_Channel):
    """Calls a built-in listener in the thread that caused the event."""

    def notify(self, event: events.Event) -> None:
        try:
            self._named.listener.notify(event)
        except Exception as error:
            self._failed(error)

    def use(self, usage: 'Callable[[], results.Usage]') -> None:
        self._named.listener.use(usage)

    def begin_to_close(self) -> None:
        return

    def close(self, seconds: float) -> None:
        try:
            time_limit.BoundedCall(
                self._named.listener.close,
                max(seconds, _LEAST_CLOSING),
                name=f'event-listener-{self._named.name}',
            ).result()
        except time_limit.TimeLimitExceeded as error:
            LOG.warning(
                '%(listener)s did not end in time: %(error)s',
                {'listener': self._described, 'error': error},
            )
        except Exception as error:
            self._failed(error)


class _Fenced(_Channel):
    """Calls a listener of another package in a thread of its own."""

    def __init__(self, named: Named) -> None:
        super().__init__(named)
        self._waiting: queue.Queue[events.Event | None] = queue.Queue(
            MAX_QUEUED
        )
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._closing = threading.Event()

    def notify(self, event: events.Event) -> None:
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._failures.log(
                f'{self._described} is too slow: {MAX_QUEUED} events are '
                'queued; further events are dropped.'
            )
        # If there are too many threads, the event waits for the next attempt.
        self._start()

    def use(self, usage: 'Callable[[], results.Usage]') -> None:
        try:
            time_limit.BoundedCall(
                lambda: self._named.listener.use(usage),
                name=f'event-listener-{self._named.name}',
            ).result()
        except (
            Exception,
            time_limit.TimeLimitExceeded,
            time_limit.ExitedError,
        ) as error:
            self._failed(error, 'failed in use()')

    def begin_to_close(self) -> None:
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._start()

    def close(self, seconds: float) -> None:
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            with self._waiting.mutex:
                waiting = list(self._waiting.queue)
            left = [each for each in waiting if each is not None]
            LOG.warning(
                '%(listener)s did not end in time: %(count)d event(s) were '
                'not delivered to it.',
                {
                    'listener': self._described,
                    'count': len(left),
                },
            )

    def _start(self) -> None:
        """Start the thread at the first event: most commands have none."""
        with self._guard:
            if self._thread is None:
                # The end of the process does not wait for a daemon thread.
                thread = threading.Thread(
                    target=self._run,
                    name=f'event-listener-{self._named.name}',
                    daemon=True,
                )
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        listener = self._named.listener
        while (event := self._waiting.get()) is not None:
            try:
                listener.notify(event)
            except BaseException as error:
                # SystemExit, too: the listener must not end the thread.
                self._failed(error)
            if self._closing.is_set() and self._waiting.empty():
                # The queue was full when it was to be closed.
                break
        try:
            listener.close()
        except BaseException as error:
            self._failed(error, 'failed in close()')
