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

"""Times and progress of the steps of one deploy."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import time

#: Called during long work with the step, the bytes so far, and all bytes.
Progress = Callable[[str, int, int], None]


class Steps:
    """Measures the steps of one deploy and reports their progress.

    :param size: of the image, in bytes.
    :param progress: is called with the progress, if given.
    """

    def __init__(self, size: int, progress: Progress | None) -> None:
        self._size = size
        self._progress = progress
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the deploy started."""
        return time.monotonic() - self._started

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the duration of the block to a step.

        :param step: ``wait``, ``check``, ``fetch`` or ``copy``.
        :returns: a context manager.
        """
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[step] = (
                self._seconds.get(step, 0.0) + time.monotonic() - started
            )

    def report(self, step: str, done: int) -> None:
        """Report progress.

        :param step: see :meth:`timed`.
        :param done: bytes so far.
        """
        if self._progress:
            self._progress(step, done, self._size)

    def seconds(self) -> dict[str, float]:
        """Return the duration of each step.

        :returns: seconds by step, and ``total``.
        """
        return self._seconds | {'total': self.elapsed}
