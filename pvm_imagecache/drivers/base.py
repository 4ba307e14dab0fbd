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

"""The contract of disk drivers, and the words that it is written in.

A driver knows one pool of disks. Whether it takes part in the cache is told
by its capabilities: the methods that belong to a capability are needed, and
called, only where a driver declares it. Sizes are in bytes.
"""

import abc
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import enum
from typing import Any
from typing import ClassVar
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming

#: What a driver says it was written for; see ``DiskDriver.api_version``.
API_VERSION: Final = 1
#: What a disk is labelled with that has no label: pypowervm writes the word.
NO_LABEL: Final = ('', 'None')


class Capability(enum.Enum):
    """What a driver's pool can do."""

    IMAGE_CACHE = 'image_cache'
    """Base images are disks of the pool: the driver makes, fills, copies
    and deletes them one by one (``create_disks``, ``upload``,
    ``copy_disk``)."""

    OWN_IMAGE_CACHE = 'own_image_cache'
    """The pool keeps images itself; the driver makes an instance disk from
    an image in one step (``create_disk_from_image``), and this project
    keeps no base images of its own."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """A pool and its room; bytes.

    :ivar id: never changes and is used by no other pool.
    """

    id: str
    name: str
    capacity: int
    free: int

    @property
    def used(self) -> int:
        """Bytes that disks take up."""
        return self.capacity - self.free


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk that exists; ``capacity`` in bytes.

    :ivar name: without the directory that a file-backed disk has.
    :ivar label: what it was labelled with when it was made; '' where the
        pool keeps no labels.
    """

    name: str
    udid: str
    capacity: int
    label: str = ''


@dataclasses.dataclass(frozen=True)
class PoolSnapshot:
    """A pool and disks of it, as of one moment.

    :ivar disks: all of them, or those that were asked for.
    """

    pool: Pool
    disks: list[Disk]


@dataclasses.dataclass(frozen=True)
class NewDisk:
    """A disk to be made.

    :ivar size: in bytes; a driver rounds it up to what its pool has.
    :ivar file_format: of the bytes that it will hold: raw or qcow2.
    :ivar label: a mark by which its maker knows it again.
    """

    name: str
    size: int
    file_format: str
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class Deletion:
    """What became of one disk that was to be deleted."""

    disk: Disk
    error: exceptions.PVMImageCacheError | None = None


#: Opens an image's data: a context manager around an iterable of pieces.
OpenImage = Callable[[], contextlib.AbstractContextManager[Iterable[bytes]]]


class DiskDriver(abc.ABC):
    """A pool of disks of one host.

    Errors of third-party libraries are turned into the ``PowerVMError``
    family inside the driver. Methods may be called from several threads.
    """

    #: The contract that the driver follows: :data:`API_VERSION`.
    api_version: ClassVar[int] = 0
    #: What its pool can do.
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    #: The characters that a disk's name may have.
    max_name_length: ClassVar[int] = naming.MAX_DISK_NAME

    @classmethod
    @abc.abstractmethod
    def from_conf(cls, conf: Any) -> 'DiskDriver':
        """Make the driver from an ``oslo_config.cfg.ConfigOpts``.

        Nothing is asked of PowerVM before a method needs it.

        :raises ConfigurationError: if an option makes no sense.
        """

    @abc.abstractmethod
    def pool(self) -> Pool:
        """The pool as it is now."""

    @abc.abstractmethod
    def find_disk(self, name: str) -> Disk | None:
        """The disk of that name, or None."""

    @abc.abstractmethod
    def delete_disks(self, disks: Sequence[Disk]) -> list[Deletion]:
        """Delete disks, found by UDID and name alike.

        All go in one step if they can; where that is refused, each is
        tried alone. One that is gone already is no error.
        """

    def close(self) -> None:
        """Log off and let go of what is held; further calls may reopen."""
        return

    # -- Capability.IMAGE_CACHE

    def pool_id(self) -> str:
        """The pool's ``id``, without a request where it is known."""
        return self.pool().id

    def snapshot(self) -> PoolSnapshot:
        """The pool and all of its disks, as of one moment.

        What is deleted soon after may be deleted on the strength of it, if
        nothing has changed since.
        """
        raise self._unable('list its disks')

    def base_image_snapshot(self) -> PoolSnapshot:
        """The same of the disks that are called as cached images are.

        A pass needs no others, which may be many: a driver that comes by
        these in a shorter way may do so.
        """
        found = self.snapshot()
        return PoolSnapshot(
            found.pool,
            [
                each
                for each in found.disks
                if naming.is_base_image_name(each.name)
            ],
        )

    def create_disks(self, new: Sequence[NewDisk]) -> list[Disk]:
        """Make empty disks, all of them or none, in one step.

        :raises DiskExists: if one of the names is taken.
        :raises NotEnoughSpace: if they don't fit.
        """
        raise self._unable('make disks')

    def upload(
        self,
        disk: Disk,
        pieces: Iterator[bytes],
        size: int,
        sha256: str | None = None,
    ) -> None:
        """Write ``size`` bytes to the beginning of a new disk.

        Whatever ``pieces`` raises ends the upload without it being taken
        as complete. Nothing but the disk is left behind.

        :param sha256: of the bytes, if known, for the platform to check.
        """
        raise self._unable('fill disks')

    def copy_disk(
        self,
        source: Disk,
        new: NewDisk,
        still_valid: Callable[[], bool] = lambda: True,
    ) -> Disk:
        """Make a disk that begins with all bytes of another one.

        The copy is made by the platform, without a byte coming here.

        :param still_valid: asked in the moment before the copy starts,
            when no deletion can come between any more.
        :raises BaseImageGone: if the source is not there, is another disk,
            or is no longer valid.
        :raises DiskExists: if the name is taken.
        :raises NotEnoughSpace: if it does not fit.
        """
        raise self._unable('copy disks')

    def remove_uploads(self, disk: Disk) -> None:
        """Remove what uploads to a disk left behind when they died."""
        raise self._unable('fill disks')

    def mapped(self, disks: Sequence[Disk]) -> set[Disk]:
        """Those of the disks that a partition has: they are needed."""
        raise self._unable('tell which disks are in use')

    def upload_targets(self) -> Sequence[str]:
        """The UDIDs of disks that uploads, living or dead, belong to.

        Only a driver whose uploads can leave something behind has any.
        """
        return ()

    def has_stale_uploads(self) -> bool:
        """Whether an upload has left something that could not be removed.

        The next pass then asks for :meth:`upload_targets`.
        """
        return False

    # -- Capability.OWN_IMAGE_CACHE

    def create_disk_from_image(
        self, image: image_module.Image, new: NewDisk, open_image: OpenImage
    ) -> tuple[Disk, bool]:
        """Make an instance disk from an image, by the pool's own means.

        :returns: the disk, and whether the image's data had to be read.
        """
        raise self._unable('make disks from images')

    # -- giving disks to partitions, for compute drivers

    def servers(self) -> Sequence[str]:
        """The UUIDs of the Virtual I/O Servers that can serve its disks."""
        raise self._unable('give disks to partitions')

    def mappable(self, disk: Disk) -> Any:
        """What a vSCSI mapping of a disk names: a wrapper of pypowervm.

        It is made anew, never an element of a document that was read:
        appended elsewhere such a one leaves its document, and the next
        update of that one deletes the disk.
        """
        raise self._unable('give disks to partitions')

    def _unable(self, what: str) -> exceptions.PVMImageCacheError:
        return exceptions.NotSupported(
            reason=f'The driver {type(self).__name__} does not {what}.'
        )
