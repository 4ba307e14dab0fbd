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

"""A fence around the code of others: a call that has to end.

A policy is somebody else's Python. One that loops for ever would stop
nova's periodic tasks for ever: it is asked in a thread of its own that looks
at the clock before each step. One that waits for something that never comes,
or catches what is to end it, is left behind. Only what loops inside a
function written in C stops everybody.
"""

from collections.abc import Callable
import sys
import threading
import time
import types
from typing import Any
from typing import Final
from typing import Generic
from typing import TypeVar

#: Seconds that a policy may take.
PATIENCE: Final = 10.0
#: Seconds more until it is left behind where it does not even notice.
_GRACE: Final = 2.0

_Result = TypeVar('_Result')


class TimeLimitExceeded(Exception):
    """The call was ended, or left behind."""


class ExitedError(Exception):
    """The call would have ended the process."""


class _Ended(BaseException):
    """Raised inside the call, where nothing catches it by mistake."""


class BoundedCall(Generic[_Result]):
    """A call in a thread of its own.

    :param seconds: that it may take.
    """

    def __init__(
        self, function: Callable[[], _Result], seconds: float = PATIENCE
    ) -> None:
        self._function = function
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._results: list[_Result] = []
        self._error: BaseException | None = None
        self._own = 0
        self._thread = threading.Thread(
            target=self._run, name='eviction-policy', daemon=True
        )

    def result(self) -> _Result:
        """Make the call.

        :raises TimeLimitExceeded: if it does not end in time.
        :raises Exception: what it raises, exits included.
        """
        tracer = sys.gettrace()
        self._thread.start()
        self._thread.join(self._seconds + _GRACE)
        if self._results:
            return self._results[0]
        # Green threads all run in one real one, which is traced as long as
        # what was left behind.
        sys.settrace(tracer)
        if self._error is None or isinstance(self._error, _Ended):
            raise TimeLimitExceeded(
                f'it did not end within {self._seconds:g} seconds'
            )
        if isinstance(self._error, Exception):
            raise self._error
        # An exit would be that of the whole process.
        raise ExitedError(
            f'it raised {type(self._error).__name__}'
        ) from self._error

    def _run(self) -> None:
        self._own = threading.get_ident()
        tracer = sys.gettrace()
        sys.settrace(self._look_at_clock)
        try:
            self._results.append(self._function())
        except BaseException as error:
            self._error = error
        finally:
            sys.settrace(tracer)

    def _look_at_clock(
        self, frame: types.FrameType, event: str, argument: Any
    ) -> Any:
        if threading.get_ident() != self._own:
            # A green thread of somebody else, who has the turn.
            return None
        # A loop on one line is no new line at each turn.
        frame.f_trace_opcodes = True
        if time.monotonic() > self._end:
            raise _Ended
        return self._look_at_clock
