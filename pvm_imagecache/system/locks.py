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

"""Named locks between the threads and processes of one host.

They are flock(2) locks on files of one directory. The kernel releases the
locks of a process that ends, in whatever way, so a lock is never stale and
never has to be broken.

POSIX record locks (fcntl, which fasteners and oslo.concurrency use) belong
to the whole process and are lost as soon as any thread closes the file. A
flock belongs to the open file, so it works the same between threads and
between processes. No call blocks in the kernel, so green threads work as
well as native ones.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import fcntl
import logging
import math
import os
import re
import time
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.system import private_files
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

#: Seconds between two attempts to take a lock: the delay doubles up to the
#: second value.
_FIRST_DELAY: Final = 0.002
_LONGEST_DELAY: Final = 0.02
#: Seconds that a lock is waited for at most, whatever its holder announces and
#: however far it gets: as long as the longest update of PowerVM may take. The
#: owner of the directory can hold a lock, and announce anything, forever.
LONGEST_WAIT: Final = 7 * 24 * 3600.0
#: What :meth:`Held.announce` writes.
_UNTIL: Final = re.compile(r', until ([0-9]{1,12})$')


class Held:
    """A lock that this thread holds.

    :param descriptor: of the open file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: Until when a process that ended without releasing the lock has
        #: announced to need it.
        self._orphaned_until = _announced_until(descriptor)
        self._write(self._orphaned_until if self.orphaned() else None)
        self._announces = False

    def announce(self, seconds: float) -> None:
        """Announce to waiting processes how long the lock may be held.

        :param seconds: from now.
        """
        # This process may end so, too, and before the other announcement.
        self._write(max(self._orphaned_until, _uptime() + seconds))
        self._announces = True

    def withdraw(self) -> None:
        """Withdraw what was announced.

        The announcement of a process that ended without releasing the lock
        stays until its time is over: this process may end so, too.
        """
        if self._announces:
            self._write(self._orphaned_until if self.orphaned() else None)
            self._announces = False

    def _write(self, until: float | None) -> None:
        """Write which process holds the lock, and how long it may need it."""
        text = f'process {os.getpid()}'
        if until is not None:
            text += f', until {math.ceil(until)}'
        try:
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)
        except OSError as error:
            # The lock works without it, for example on a full disk.
            LOG.debug('Could not write the holder of a lock: %s', error)

    def orphaned(self) -> float:
        """Return how long a crashed process had announced to need the lock.

        :returns: seconds from now, at most :data:`LONGEST_WAIT`; 0 if the
            last holder has announced nothing or released the lock.
        """
        return _seconds_until(self._orphaned_until)


class LockDirectory:
    """The locks of the cache of one host: one file each, in one directory.

    :param path: the directory. It is created when a lock is taken, with
        mode 0700: a user who can open a lock file could hold the lock.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @contextlib.contextmanager
    def hold(
        self, name: str, timeout: float | Callable[[], float]
    ) -> Iterator[Held]:
        """Hold a lock for the length of the ``with`` block.

        :param name: name of the lock.
        :param timeout: seconds to wait at most; 0 takes a free lock only.
            A callable returns how many seconds are left; it is called after
            each attempt, so a wait can depend on the progress of another
            process. Its exceptions are raised. It waits no longer than
            :data:`LONGEST_WAIT` in all.
        :returns: a context manager that gives the lock.
        :raises LockTimeout: if another thread or process still holds the
            lock after that time.
        :raises CatalogError: if the directory or the file cannot be used.
        """
        descriptor, process = self._open(name), os.getpid()
        held = None
        try:
            with waiting.on('another process'):
                self._acquire(name, descriptor, timeout)
            held = Held(descriptor)
            yield held
        finally:
            # Closing releases the lock, unless a process that was forked
            # meanwhile has the file open too. The file is not removed: a
            # waiting process could then lock a file without a name.
            if os.getpid() == process:
                if held:
                    held.withdraw()
                _unlock(descriptor)
            os.close(descriptor)

    def is_free(self, name: str) -> bool:
        """Check if no thread or process holds a lock.

        The answer may be outdated when it is returned.

        :param name: name of the lock.
        :returns: True if the lock was free.
        :raises CatalogError: if the directory or the file cannot be used.
        """
        try:
            with self.hold(name, timeout=0):
                return True
        except exceptions.LockTimeout:
            return False

    def announced(self, name: str) -> float:
        """Return for how long the holder of a lock has announced to need it.

        :param name: name of the lock.
        :returns: seconds from now, see :meth:`Held.announce`, but at most
            :data:`LONGEST_WAIT`; 0 if the holder has announced nothing, or
            the time is over.
        :raises CatalogError: if the directory or the file cannot be used.
        """
        descriptor = self._open(name)
        try:
            return _seconds_until(_announced_until(descriptor))
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        file_name = re.sub(r'[^-.0-9A-Z_a-z]', '_', name) + '.lock'
        try:
            with private_files.opened(
                self._path,
                create=True,
                mode=private_files.OWNER_DIRECTORY_MODE,
            ) as directory:
                directory.restrict()
                directory.keep_from_group(file_name)
                return directory.open(
                    file_name,
                    os.O_RDWR | os.O_CREAT,
                    private_files.OWNER_FILE_MODE,
                )
        except OSError as error:
            raise exceptions.CatalogError(
                path=os.path.join(self._path, file_name),
                reason=f'cannot lock it: {error.strerror}',
            ) from error

    def _acquire(
        self,
        name: str,
        descriptor: int,
        timeout: float | Callable[[], float],
    ) -> None:
        started = time.monotonic()
        delay = _FIRST_DELAY
        while not _try_lock(name, descriptor):
            waited = time.monotonic() - started
            if callable(timeout):
                left = min(timeout(), LONGEST_WAIT - waited)
            else:
                left = timeout - waited
            if left <= 0:
                raise exceptions.LockTimeout(
                    seconds=waited,
                    what=f'the lock {name}',
                    holder=_UNTIL.sub('', _holder(descriptor)),
                )
            time.sleep(min(delay, left))
            delay = min(delay * 2, _LONGEST_DELAY)


def _try_lock(name: str, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # The file system supports no locks, or fails.
        raise exceptions.CatalogError(
            path=name, reason=f'cannot lock it: {error.strerror}'
        ) from error
    return True


def _unlock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        LOG.debug('Could not unlock a file before it is closed: %s', error)


def _uptime() -> float:
    """Return seconds of a clock that all processes of the host share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _announced_until(descriptor: int) -> float:
    """Return until when a lock was announced to be needed, as an uptime."""
    found = _UNTIL.search(_holder(descriptor))
    return float(found[1]) if found else 0.0


def _seconds_until(uptime: float) -> float:
    if not uptime:
        return 0.0
    return min(LONGEST_WAIT, max(0.0, uptime - _uptime()))


def _holder(descriptor: int) -> str:
    try:
        found = os.pread(descriptor, 100, 0)
    except OSError as error:
        return f'another process ({error.strerror})'
    return found.decode(errors='replace') or 'another process'
