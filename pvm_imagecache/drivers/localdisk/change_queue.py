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

"""A queue of changes that combines those that wait into one update.

The thread that has the turn carries out its own request together with those
of all threads that wait (group commit).
"""

from collections.abc import Callable
import contextlib
import sys
import threading

from oslo_log import log as logging

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers.localdisk import changes

LOG = logging.getLogger(__name__)


class ChangeQueue:
    """Changes of one volume group, by any number of threads.

    :param name: of the volume group, for messages.
    :param update: carries out a batch of requests with one update; marks
        each as done, or raises.
    :param exclusive: a context manager that is held during updates.
    :param most_copied: returns how many bytes one update should copy: all of
        its requests wait for the last copy.
    """

    def __init__(
        self,
        name: str,
        update: Callable[[list[changes.Request]], None],
        exclusive: Callable[[], contextlib.AbstractContextManager[None]],
        most_copied: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        self._name = name
        self._update = update
        self._exclusive = exclusive
        self._most_copied = most_copied
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[changes.Request] = []

    @property
    def waiting(self) -> int:
        """How many requests wait for an update."""
        with self._guard:
            return len(self._waiting)

    def submit(self, request: changes.Request) -> list[base.Disk]:
        """Carry out a request, and return when it is done.

        :param request: a new request.
        :returns: the disks that it created, in the order of its operations.
        :raises PowerVMError: if it was refused, or PowerVM failed.
        :raises CacheFault: if a check of the request failed.
        """
        with self._guard:
            self._waiting.append(request)
        with self._turn:
            if not request.done:
                self._serve(request)
        if request.error is not None:
            raise request.error
        return request.disks

    def _serve(self, own: changes.Request) -> None:
        """Carry out what waits until our own request is done."""
        try:
            with self._exclusive():
                while not own.done:
                    self._carry_out(self._next_batch())
        except BaseException as error:
            with self._guard:
                if own in self._waiting:
                    self._waiting.remove(own)
            if not own.done:
                own.fail(error)
            if not isinstance(error, Exception):
                raise

    def _next_batch(self) -> list[changes.Request]:
        """Return the requests for one update.

        An update with copies takes as long as the disks are large. So
        requests without copies go first, and alone. Copies are combined up
        to a number of bytes, in the order in which they came.
        """
        with self._guard:
            waiting = list(self._waiting)
        batch = [each for each in waiting if not each.copies]
        if not batch:
            batch = self._copies_for_one_update(waiting)
        with self._guard:
            self._waiting = [
                each for each in self._waiting if each not in batch
            ]
        return batch

    def _copies_for_one_update(
        self, waiting: list[changes.Request]
    ) -> list[changes.Request]:
        most, total = self._most_copied(), 0
        batch: list[changes.Request] = []
        for each in waiting:
            total += each.copied
            if batch and total > most:
                break
            batch.append(each)
        return batch

    def _carry_out(self, batch: list[changes.Request]) -> None:
        try:
            self._update(batch)
        except Exception as error:
            pending = [each for each in batch if not each.done]
            if len(pending) == 1 or isinstance(
                error, exceptions.PowerVMUnreachable
            ):
                # None of them is the reason why PowerVM does not answer.
                for each in pending:
                    each.fail(error)
            else:
                # One of them may be the one that PowerVM refuses.
                LOG.info(
                    'Volume group %(name)s: PowerVM refused %(count)d '
                    'changes in one update, trying each alone: %(error)s',
                    {
                        'name': self._name,
                        'count': len(pending),
                        'error': error,
                    },
                )
                for each in pending:
                    self._carry_out([each])
        except BaseException as error:
            for each in batch:
                if not each.done:
                    each.fail(error)
            raise
