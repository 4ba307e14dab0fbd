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

"""What threads wait for, declared by the code that waits.

A command tells its user what it waits for. Only the code that makes a
request, or acquires a lock, knows that: it does so inside of :class:`on`.
The thread of the command is watched, and its innermost wait is reported.
Other threads can use :class:`on` too: nothing is recorded for a thread that
is not watched.
"""

import contextlib
import threading
import types
from typing import Final

#: Stands for a wait that is not reported, because the user sees it.
NOT_REPORTED: Final = ''

#: The waits of each watched thread, outermost first, by its identifier. Only
#: the thread itself changes its list.
_waits: dict[int, list[str]] = {}


class on(contextlib.ContextDecorator):
    """Declare what the current thread waits for in a block or a function.

    Blocks can be nested: the innermost one counts. Use it as a context
    manager or as a decorator.

    :param what: what is waited for, as it follows "Waiting for", for example
        ``PowerVM``; or :data:`NOT_REPORTED`.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        waits = _waits.get(threading.get_ident())
        if waits is not None:
            waits.append(self._what)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        waits = _waits.get(threading.get_ident())
        # Empty if the thread was not yet watched when the block began.
        if waits:
            waits.pop()


def watch(ident: int) -> None:
    """Record the waits of a thread from now on.

    :param ident: identifier of the thread.
    """
    _waits[ident] = []


def unwatch(ident: int) -> None:
    """Stop recording the waits of a thread.

    :param ident: identifier of the thread.
    """
    _waits.pop(ident, None)


def current(ident: int) -> str | None:
    """Return what a watched thread waits for.

    :param ident: identifier of the thread.
    :returns: the ``what`` of its innermost wait; None if it waits for
        nothing that was declared, or is not watched.
    """
    waits = _waits.get(ident)
    try:
        return waits[-1] if waits else None
    except IndexError:
        # The wait ended in this moment.
        return None
