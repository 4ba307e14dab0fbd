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

"""The conformance suite of event listeners."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import threading
from typing import ClassVar
from typing import Final
from typing import NoReturn

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import plugins
from pvm_imagecache import text
from pvm_imagecache.conf import types
from pvm_imagecache.conformance import cases
from pvm_imagecache.conformance.configuration import configuration
from pvm_imagecache.eviction import time_limit

#: Codes that a listener has to accept: known ones, and one that is not.
_CODES: Final = ('hit', 'miss', 'purge', 'cleanup-failed', 'a-new-code')
_MANY: Final = 500
_THREADS: Final = 4


def all_kinds() -> list[events.Event]:
    """Return events of each kind, with all and with little known.

    :returns: the events.
    """
    found = []
    for kind, code in itertools.product(events.Kind, _CODES):
        about_none = kind is events.Kind.CLEANUP
        whole = events.Event(
            kind,
            'pool',
            '' if about_none else '3e865d14-8c1e-4615-b73f-f78eaecabfbd',
            '' if about_none else 'i_3e865d14_8c1e',
            0 if about_none else 1 << 30,
            'a reason \N{SNOWMAN} "quoted", on one line',
            code,
            image_name=None if about_none else 'd\u00e9bian "13"\n',
            project_id='0' * 32,
            requester='ann as nova',
            seconds=1.5,
            bytes_fetched=1 << 30,
        )
        found += [
            whole,
            dataclasses.replace(
                whole,
                pool='',
                reason='',
                code='',
                image_name=None,
                project_id=None,
                requester='',
                seconds=None,
                bytes_fetched=None,
            ),
        ]
    return found


class ListenerConformance:
    """Tests that every listener must pass; a mixin for a ``TestCase``.

    The listener is called as in operation, and must be quick then::

        class AuditTest(fixtures.ListenerConformance, unittest.TestCase):
            listener = 'audit'
            options = {'pvm_imagecache_audit': {'path': '/tmp/audit.log'}}
    """

    #: Name of the listener's entry point.
    listener: ClassVar[str] = ''
    #: Options of the listener: values by group and option name.
    options: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    _configured: Mapping[str, Mapping[str, object]] | None = None
    _open: list[events.EventListener]

    def configure(self) -> Mapping[str, Mapping[str, object]]:
        """Return the options of the listener for one test.

        :returns: by default :attr:`options`.
        """
        return self.options

    def received(self) -> Sequence[str]:
        """Return what has reached the receiver.

        Override it, so that delivery can be tested.

        :returns: one item for each event that the listener passed on.
        """
        cases.case(self).skipTest('define received()')
        return ()

    def setUp(self) -> None:
        """Prepare to close what the test makes."""
        super().setUp()  # type: ignore[misc]
        self._open = []
        cases.case(self).addCleanup(self._close_all)

    def make_listener(self) -> events.EventListener:
        """Return the listener, loaded as nova-compute and the commands do.

        :returns: the listener; it is closed at the end of the test.
        """
        return self._load(self._conf())

    def _conf(self) -> types.Conf:
        if self._configured is None:
            self._configured = self.configure()
        return configuration(
            {
                **self._configured,
                'pvm_imagecache': {
                    **self._configured.get('pvm_imagecache', {}),
                    'listeners': self.listener,
                },
            }
        )

    def _load(self, conf: types.Conf) -> events.EventListener:
        (found,) = plugins.load_listeners(conf)
        self._open.append(found.listener)
        return found.listener

    def _close_all(self) -> None:
        while self._open:
            self._quickly(self._open.pop().close, 'close()')

    def _quickly(self, call: Callable[[], object], what: str) -> None:
        """Make a call that must return, and raise nothing."""
        try:
            time_limit.BoundedCall(call).result()
        except time_limit.TimeLimitExceeded as error:
            cases.case(self).fail(f'{what} must return in time: {error}')
        except time_limit.ExitedError as error:
            cases.case(self).fail(f'{what} must not exit: {error}')
        except Exception as error:
            cases.case(self).fail(
                f'{what} must not raise {text.foreign_error(error)}'
            )

    def _notify(self, made: events.EventListener, event: events.Event) -> None:
        self._quickly(
            lambda: made.notify(event),
            f'notify() of an event of kind {event.kind.value}, code '
            f'{event.code!r}, image name {event.image_name!r}',
        )

    def test_it_can_be_loaded(self) -> None:
        """The listener is installed and follows the contract."""
        test = cases.case(self)
        test.assertTrue(
            self.listener, 'set "listener" to the name of the entry point'
        )
        found = {
            (each.namespace, each.name): each.error
            for each in plugins.installed()
        }
        key = (plugins.LISTENERS, self.listener)
        test.assertIn(key, found, 'no entry point of that name is installed')
        test.assertIsNone(found[key])
        self.make_listener()

    def test_it_accepts_all_events(self) -> None:
        """It accepts each kind, unknown codes, and events without an image."""
        made = self.make_listener()
        for event in all_kinds():
            self._notify(made, event)

    def test_it_accepts_many_events(self) -> None:
        """It is quick enough for many events."""
        made = self.make_listener()
        event = all_kinds()[0]

        def notify() -> None:
            for _ in range(_MANY):
                made.notify(event)

        self._quickly(notify, f'notify() of {_MANY} events')

    def test_several_listeners_work_side_by_side(self) -> None:
        """Listeners of several managers do not disturb each other."""
        made = [self.make_listener() for _ in range(_THREADS)]
        failures: list[BaseException] = []

        def notify(each: events.EventListener) -> None:
            try:
                for event in all_kinds():
                    each.notify(event)
            except BaseException as error:
                failures.append(error)

        threads = [
            threading.Thread(target=notify, args=(each,), daemon=True)
            for each in made
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(time_limit.TIME_LIMIT)
        cases.case(self).assertEqual(
            [], failures, 'several listeners disturb each other'
        )

    def test_it_takes_the_figures_of_the_cache(self) -> None:
        """A cleanup run is accepted while the figures cannot be read."""

        def usage() -> NoReturn:
            raise exceptions.PowerVMTimedOut(
                url='x', reason='it is down', hint=''
            )

        made = self.make_listener()
        self._quickly(
            lambda: made.use(usage),
            'use()',
        )
        self._notify(made, events.Event(events.Kind.CLEANUP, 'p', '', '', 0))

    def test_it_can_be_made_again(self) -> None:
        """A configuration can have several listeners, one after another."""
        conf = self._conf()
        for _ in range(2):
            self._load(conf)

    def test_it_ends(self) -> None:
        """It ends without an event, and after some."""
        for count in (0, 3):
            made = self.make_listener()
            for event in all_kinds()[:count]:
                self._notify(made, event)
            self._close_all()

    def test_events_are_delivered(self) -> None:
        """What it received has reached the receiver when it is closed."""
        made = self.make_listener()
        before = len(self.received())
        for event in all_kinds():
            self._notify(made, event)
        self._close_all()
        cases.case(self).assertGreater(
            len(self.received()),
            before,
            'no event reached the receiver before the end of close()',
        )
