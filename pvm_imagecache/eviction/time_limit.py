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

"""Calls of plugin code with a time limit.

A plugin is third-party code. A policy that never returns must not stop
nova's periodic tasks, so it is called in a daemon thread of its own. If the
call does not end in time, the thread is left behind and the caller goes on.

What this cannot do:

* It cannot end the call. The thread that is left behind runs until the
  function returns or the process ends. If it loops in Python, it takes turns
  with all other threads and slows the process down.
* It cannot interrupt a function in C that keeps the global interpreter lock,
  such as ``list(itertools.count())``. Such a call blocks the whole process.
* It cannot interrupt a loop under eventlet. There the thread is a green
  thread: the limit works for a call that waits, but a call that computes
  keeps the hub, and with it the whole service, until it returns.
"""

from collections.abc import Callable
import threading
from typing import Final
from typing import Generic
from typing import TypeVar

#: Seconds that a call may take by default.
TIME_LIMIT: Final = 10.0

_Result = TypeVar('_Result')


class TimeLimitExceeded(Exception):
    """The call did not end in time; its thread is left behind."""


class ExitedError(Exception):
    """The call raised an error that would end the process."""


class BoundedCall(Generic[_Result]):
    """One call of a function in a daemon thread of its own.

    Trace and profile functions that are set by ``threading`` stay in force
    inside the call, so that coverage tools and debuggers see it.

    :param function: is called without arguments.
    :param seconds: time limit, in seconds; :data:`TIME_LIMIT` by default.
    :param name: of the thread, for those who look for one left behind.
    """

    def __init__(
        self,
        function: Callable[[], _Result],
        seconds: float | None = None,
        name: str = 'plugin-call',
    ) -> None:
        self._function = function
        self._seconds = TIME_LIMIT if seconds is None else seconds
        self._results: list[_Result] = []
        self._error: BaseException | None = None
        # The end of the process does not wait for a daemon thread.
        self._thread = threading.Thread(
            target=self._run, name=name, daemon=True
        )

    def result(self) -> _Result:
        """Make the call; possible once.

        :returns: what the function returns.
        :raises TimeLimitExceeded: if the function does not end in time.
        :raises ExitedError: if it raises an error that is no ``Exception``,
            such as ``SystemExit``.
        :raises Exception: any other error that it raises.
        """
        self._thread.start()
        self._thread.join(self._seconds)
        if self._results:
            return self._results[0]
        if self._error is None:
            raise TimeLimitExceeded(f'no result within {self._seconds:g} s')
        if isinstance(self._error, Exception):
            raise self._error
        raise ExitedError(
            f'it raised {type(self._error).__name__}'
        ) from self._error

    def _run(self) -> None:
        """Keep the outcome; an error must not end the thread or more."""
        try:
            self._results.append(self._function())
        except BaseException as error:
            self._error = error
