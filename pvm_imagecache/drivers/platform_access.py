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

"""What a measurement of the platform needs beside the disk driver.

``pvm-imagecache platform check`` sends updates that no other code sends: with
fractions of a GiB, with an outdated ETag, two at the same time. A driver that
can be measured gives access to them.
"""

import abc
from collections.abc import Sequence
import contextlib
import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base


@dataclasses.dataclass(frozen=True)
class Levels:
    """Levels of what the driver talks to.

    :ivar platform: version of the REST API; '' if it reports none.
    :ivar vios: version of the VIOS that owns the pool; '' if it reports
        none.
    :ivar pypowervm: version of pypowervm on this host.
    """

    platform: str
    vios: str
    pypowervm: str

    def __str__(self) -> str:
        """Return one text that changes with each of the levels."""
        known = (self.platform, self.vios, f'pypowervm {self.pypowervm}')
        return ', '.join(each for each in known if each)


class Update(abc.ABC):
    """An update of the pool that creates disks, ready to be sent.

    :ivar etag: of the read that it starts from; '' if there is none.
    :ivar free: bytes that were free at that read.
    """

    etag: str
    free: int

    @abc.abstractmethod
    def send(self, etag: str | None = None) -> list[base.Disk]:
        """Send the update once: nothing is repeated after an error.

        :param etag: for ``If-Match``; None for that of the read.
        :returns: the disks that it created, in their order.
        :raises PowerVMBusy: if the VIOS is busy.
        :raises PowerVMRequestFailed: if PowerVM refuses the update.
        :raises PowerVMUnreachable: if no answer came; the disks may exist.
        :raises DiskUnclear: if the answer does not show the disks.
        """


class PlatformAccess(abc.ABC):
    """Access to the platform of one pool."""

    @abc.abstractmethod
    def levels(self) -> Levels:
        """Return the levels of the platform.

        :returns: the levels.
        :raises PowerVMError: if the pool cannot be found.
        """

    @abc.abstractmethod
    def logical_volume_limit(self) -> int | None:
        """Return how many logical volumes the pool can have.

        :returns: the number; None if the platform reports none.
        :raises PowerVMError: if the pool cannot be read.
        """

    @abc.abstractmethod
    def prepare(
        self, new: Sequence[base.NewDisk], source: base.Disk | None = None
    ) -> Update:
        """Read the pool, and prepare an update that creates disks.

        :param new: the disks; the size of each is requested as it is.
        :param source: the disk that each of them is a copy of; None for
            empty disks.
        :returns: the update.
        :raises PowerVMError: if the pool cannot be read.
        """

    @abc.abstractmethod
    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Return the lock against updates of other processes of this host.

        Updates of :meth:`prepare` do not acquire it.

        :returns: a context manager that holds the lock.
        """

    @abc.abstractmethod
    def is_conflict(self, error: exceptions.PowerVMError) -> bool:
        """Return whether an update was refused because of another one.

        :param error: of :meth:`Update.send`.
        :returns: True for HTTP 412, and for HTTP 409, with which a platform
            may refuse an update while another one runs.
        """

    @abc.abstractmethod
    def sibling(self, name: str) -> base.DiskDriver:
        """Return the driver of another pool of the same VIOS.

        :param name: of the pool.
        :returns: a driver that shares the session; it need not be closed.
        :raises PowerVMError: if the VIOS has no pool of that name.
        """

    @abc.abstractmethod
    def sibling_with_id(self, pool: str) -> base.DiskDriver:
        """Return the driver of another pool of the same VIOS.

        :param pool: its ID.
        :returns: as :meth:`sibling`.
        :raises VolumeGroupNotFound: if no VIOS of the host has a pool with
            that ID: it does not exist any more.
        :raises VolumeGroupElsewhere: if another VIOS has it.
        :raises PowerVMError: if that cannot be found out.
        """
