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

"""Locks by name, held against threads and processes of this host alike.

They are flock(2) locks on files of one directory. The kernel drops them
when their holder dies, however it dies, so a lock is never stale and never
has to be broken. POSIX record locks (fcntl, which fasteners and
oslo.concurrency use) belong to the whole process and are lost as soon as
any thread closes the file: flock belongs to the one that opened it, which
gives threads and processes the same meaning. Nothing here blocks in the
kernel, so green threads are served as well as native ones.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import fcntl
import logging
import os
import re
import time
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.system import private_files
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

_FIRST_DELAY: Final = 0.002
_LONGEST_DELAY: Final = 0.02


class LockDirectory:
    """The locks of one host's cache, one file each, in one directory.

    :param path: the directory; made (0750) when it is missing.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @contextlib.contextmanager
    def hold(
        self,
        name: str,
        timeout: float | Callable[[], float],
        while_waiting: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """Hold the lock ``name`` for the length of the ``with`` block.

        :param timeout: seconds to wait at most; 0 takes a free lock only.
            A callable is asked again and again how many seconds are left,
            so that a wait can be bound by somebody's progress.
        :param while_waiting: called between two attempts.
        :raises LockTimeout: when it was not to be had in time.
        :raises CatalogError: when the directory can't be used.
        """
        descriptor, process = self._open(name), os.getpid()
        try:
            with waiting.on('another process'):
                self._acquire(name, descriptor, timeout, while_waiting)
            _sign(descriptor)
            yield
        finally:
            # Closing drops the lock, unless a process that was forked
            # meanwhile has the file as well. The file stays, since removing
            # it would let a waiter lock a file that nobody else can see.
            if os.getpid() == process:
                _unlock(descriptor)
            os.close(descriptor)

    def is_free(self, name: str) -> bool:
        """Whether nobody held the lock a moment ago."""
        try:
            with self.hold(name, timeout=0):
                return True
        except exceptions.LockTimeout:
            return False

    def _open(self, name: str) -> int:
        path = os.path.join(
            self._path, re.sub(r'[^-.0-9A-Z_a-z]', '_', name) + '.lock'
        )
        try:
            private_files.make_directory(self._path)
            return private_files.open_for_update(path)
        except OSError as error:
            raise exceptions.CatalogError(
                path=path, reason=f'no lock: {error.strerror}'
            ) from error

    def _acquire(
        self,
        name: str,
        descriptor: int,
        timeout: float | Callable[[], float],
        while_waiting: Callable[[], None] | None,
    ) -> None:
        started = time.monotonic()
        delay = _FIRST_DELAY
        while not _try_lock(name, descriptor):
            waited = time.monotonic() - started
            left = timeout() if callable(timeout) else timeout - waited
            if left <= 0:
                raise exceptions.LockTimeout(
                    seconds=waited,
                    what=f'the lock {name}',
                    holder=_holder(descriptor),
                )
            if while_waiting:
                while_waiting()
            time.sleep(min(delay, left))
            delay = min(delay * 2, _LONGEST_DELAY)


def _try_lock(name: str, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # A file system without locks, or one that is failing.
        raise exceptions.CatalogError(
            path=name, reason=f'no lock: {error.strerror}'
        ) from error
    return True


def _unlock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        LOG.debug('A lock is dropped by closing it only: %s', error)


def _sign(descriptor: int) -> None:
    """Write who holds the lock: only ever read to tell it to a person."""
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f'process {os.getpid()}'.encode(), 0)
    except OSError as error:
        # On a full disk the lock is as good without a name on it.
        LOG.debug('The lock could not be signed: %s', error)


def _holder(descriptor: int) -> str:
    try:
        found = os.pread(descriptor, 100, 0)
    except OSError as error:
        return f'somebody ({error.strerror})'
    return found.decode(errors='replace') or 'somebody'
