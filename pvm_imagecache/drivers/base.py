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

"""The contract of disk drivers.

A driver manages one pool of disks. Its capabilities say whether the pool is
cached: the methods of a capability are required, and called, only if the
driver declares it. All sizes are in bytes.

Two properties identify a disk: its name and its UDID. A disk of the same name
with another UDID is another disk. The capacity and the label do not belong to
the identity: the cache passes disks of which it knows only name and UDID. See
:meth:`Disk.same_disk`.
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
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache import platform_facts
from pvm_imagecache.conf import types

if TYPE_CHECKING:
    from pvm_imagecache.drivers import platform_access

#: The version of this contract; see ``DiskDriver.api_version``.
API_VERSION: Final = 1
#: Labels of a disk without label: pypowervm writes the word ``None``.
NO_LABEL: Final = ('', 'None')


class Capability(enum.Enum):
    """What a driver can do with its pool."""

    IMAGE_CACHE = 'image_cache'
    """Base images are disks of the pool. The driver creates, fills, copies
    and deletes them one by one (``create_disks``, ``upload``,
    ``copy_disk``)."""

    OWN_IMAGE_CACHE = 'own_image_cache'
    """The pool caches images itself. The driver creates an instance disk
    from an image in one step (``create_disk_from_image``), and the cache
    keeps no base images in the pool."""

    SIGNED_IMAGES = 'signed_images'
    """``create_disk_from_image`` keeps images with a signature apart: an
    image whose ``signature`` is set is served only from data that was read
    for an image with the same signature. Drivers without it create no disks
    from images whose signature must be verified."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """A pool of disks and its space.

    :ivar id: never changes, and no other pool has it.
    :ivar name: for messages.
    :ivar capacity: bytes in all.
    :ivar free: bytes that new disks can use.
    :ivar disks: number of disks of all kinds; None if it is unknown.
    :ivar max_disks: number of disks that the pool can have; None if it is
        unknown or has no limit.
    """

    id: str
    name: str
    capacity: int
    free: int
    disks: int | None = None
    max_disks: int | None = None

    @property
    def used(self) -> int:
        """Bytes that disks use."""
        return self.capacity - self.free


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk that exists.

    Two disks are equal if their names and UDIDs are. Methods are given disks
    whose capacity is 0 and whose label is '', because the cache knows only
    name and UDID: never compare these with those of the pool.

    :ivar name: without the directory of a file-backed disk.
    :ivar udid: unique ID; no other disk of the pool ever has it.
    :ivar capacity: in bytes; 0 if it is not known. It is not compared.
    :ivar label: of the :class:`NewDisk` that it was created from; '' if the
        pool does not keep labels, or if it is not known. It is not compared.
        If a method is given a disk with a label, a disk of the same name and
        UDID that has another label of this project
        (:func:`pvm_imagecache.naming.is_label`) is another disk. A driver
        whose pool never uses a UDID again need not compare labels.
    """

    name: str
    udid: str
    capacity: int = dataclasses.field(default=0, compare=False)
    label: str = dataclasses.field(default='', compare=False)

    def same_disk(self, other: 'Disk') -> bool:
        """Whether this is the same disk as another description.

        :param other: the other description.
        :returns: True if name and UDID are equal, and if not both have a
            label of this project and the labels differ.
        """
        return self == other and not (
            self.label != other.label
            and naming.is_label(self.label)
            and naming.is_label(other.label)
        )


@dataclasses.dataclass(frozen=True)
class PoolSnapshot:
    """A pool and disks of it, as of one moment.

    :ivar pool: the pool.
    :ivar disks: all disks, or those that were requested.
    """

    pool: Pool
    disks: list[Disk]


@dataclasses.dataclass(frozen=True)
class NewDisk:
    """A disk to create.

    :ivar name: at most ``DiskDriver.max_name_length`` characters.
    :ivar size: in bytes; a driver rounds it up to the unit of its pool.
    :ivar file_format: of the bytes that the disk will hold: ``raw`` or
        ``qcow2``.
    :ivar label: identifies the request that created the disk; None for no
        label.
    """

    name: str
    size: int
    file_format: str
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class Deletion:
    """The result of deleting one disk.

    :ivar disk: the disk that was to be deleted.
    :ivar error: why it was not deleted; None if it no longer exists.
    """

    disk: Disk
    error: exceptions.PVMImageCacheError | None = None


#: Opens the data of an image: a context manager around an iterable of bytes.
OpenImage = Callable[[], contextlib.AbstractContextManager[Iterable[bytes]]]


class DiskDriver(abc.ABC):
    """A pool of disks of one host.

    Methods may be called from several threads. A driver translates errors of
    its libraries into the ``PowerVMError`` family. Besides the errors that a
    method documents, it may raise these:

    * ``PowerVMUnreachable``, if PowerVM does not answer;
    * ``PowerVMTimedOut``, if no answer came in time, so that a change may
      have been made;
    * ``PowerVMLogonFailed``, if the credentials are refused;
    * ``PowerVMRequestFailed``, if a request is refused.
    """

    #: The version of the contract that the driver implements:
    #: :data:`API_VERSION`.
    api_version: ClassVar[int] = 0
    #: What the driver can do with its pool.
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    #: Characters that the name of a disk may have.
    max_name_length: ClassVar[int] = naming.MAX_DISK_NAME

    @classmethod
    @abc.abstractmethod
    def from_conf(cls, conf: types.Conf) -> 'DiskDriver':
        """Return the driver that a configuration describes.

        It must not make requests: PowerVM may be unreachable at this time.

        :param conf: an ``oslo_config.cfg.ConfigOpts`` with the options of
            this project. A driver registers its own options here.
        :returns: a driver for one pool.
        :raises ConfigurationError: if the value of an option is missing or
            invalid.
        """

    @abc.abstractmethod
    def pool(self) -> Pool:
        """Return the pool with its current space.

        :returns: the pool.
        :raises PowerVMError: if the pool cannot be found or read.
        """

    @abc.abstractmethod
    def find_disk(self, name: str) -> Disk | None:
        """Return the disk of a name.

        :param name: without a directory.
        :returns: the disk; None if there is none.
        :raises PowerVMError: if the pool cannot be found or read.
        """

    @abc.abstractmethod
    def delete_disks(self, disks: Sequence[Disk]) -> list[Deletion]:
        """Delete disks.

        A disk is deleted only if both its name and its UDID match. It is no
        error if such a disk does not exist. All disks are deleted in one
        step if possible. If PowerVM refuses that, each is deleted alone.

        :param disks: disks to delete; may be empty.
        :returns: one result for each disk, in the same order. A disk that
            PowerVM refused to delete has an error.
        :raises PowerVMUnreachable: if PowerVM does not answer; disks may
            have been deleted.
        """

    def close(self) -> None:
        """Release connections; a later call of a method may reopen them."""
        return

    def platform_access(self) -> 'platform_access.PlatformAccess':
        """Return what a measurement of the platform needs.

        Override if ``pvm-imagecache platform check`` can measure the pool.

        :returns: access to the platform of the pool.
        :raises NotSupported: if the driver cannot measure its platform.
        :raises PowerVMError: if the pool cannot be found.
        """
        raise self._unable('measure its platform')

    def use_facts(self, facts: platform_facts.Source) -> None:
        """Give the driver what was measured of its platform.

        Override if the driver depends on a fact. It must be correct for
        every value of it, and without any fact.

        :param facts: returns what is known at that moment; it raises no
            error, and can be called often.
        """
        return

    # -- Capability.IMAGE_CACHE

    def pool_id(self) -> str:
        """Return the ``id`` of the pool.

        Override if the ID is known without a request, or can be kept.

        :returns: the same as ``pool().id``.
        :raises PowerVMError: if the pool cannot be found or read.
        """
        return self.pool().id

    def snapshot(self) -> PoolSnapshot:
        """Return the pool and all of its disks, as of one moment.

        A driver may reuse this snapshot's ETag for a deletion that follows
        within seconds.

        :returns: the pool and its disks.
        :raises NotSupported: if the driver lacks ``IMAGE_CACHE``.
        :raises PowerVMError: if the pool cannot be found or read.
        """
        raise self._unable('list its disks')

    def base_image_snapshot(self) -> PoolSnapshot:
        """Return the pool and the disks that have names of base images.

        Override where base images can be listed without listing all disks.

        :returns: the pool, and the disks for which
            :func:`pvm_imagecache.naming.is_base_image_name` is true.
        :raises NotSupported: if the driver lacks ``IMAGE_CACHE``.
        :raises PowerVMError: if the pool cannot be found or read.
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
        """Create empty disks, all of them or none, in one step.

        :param new: the disks to create.
        :returns: the disks, in the same order.
        :raises NotSupported: if the driver lacks ``IMAGE_CACHE``.
        :raises DiskExists: if a name is taken.
        :raises NotEnoughSpace: if the disks do not fit; ``needed_bytes`` is
            what they need.
        :raises PowerVMError: if PowerVM fails; the disks may exist then.
        """
        raise self._unable('create disks')

    def upload(
        self,
        disk: Disk,
        pieces: Iterator[bytes],
        size: int,
        sha256: str | None = None,
    ) -> None:
        """Write bytes to the beginning of a new disk.

        The disk is identified by name and UDID. Pieces are written as they
        come; they are not collected in memory. An error that ``pieces``
        raises must end the upload. PowerVM must not
        accept the upload as complete then. An upload, whether it succeeds
        or fails, leaves nothing in the pool but the disk.

        :param disk: the disk; no byte was written to it before.
        :param pieces: the bytes, in pieces of any length.
        :param size: number of bytes in all.
        :param sha256: of the bytes, in hexadecimal digits, for PowerVM to
            compare; None if it is not known.
        :raises NotSupported: if the driver lacks ``IMAGE_CACHE``.
        :raises PowerVMSessionExpired: if the session expired; the upload can
            be repeated.
        :raises PowerVMError: if PowerVM did not accept all bytes, if the
            pieces have more or fewer bytes than ``size``, or if there is no
            such disk.
        :raises PVMImageCacheError: if ``pieces`` raised an error: the same
            one, or one that it caused.
        """
        raise self._unable('write to disks')

    def copy_disk(
        self,
        source: Disk,
        new: NewDisk,
        still_valid: Callable[[], bool] = lambda: True,
    ) -> Disk:
        """Create a disk that begins with all bytes of another one.

        PowerVM makes the copy; the bytes do not pass through the driver. The
        copy must not depend on its source.

        :param source: the disk to copy, identified by name and UDID.
        :param new: the disk to create. If ``size`` is smaller than the
            source, the copy is as large as the source.
        :param still_valid: called immediately before the copy starts, when
            no deletion of the source can precede it any more. If it returns
            False, no copy is made.
        :returns: the copy.
        :raises NotSupported: if the driver lacks ``IMAGE_CACHE``.
        :raises BaseImageGone: if the source does not exist, is another disk,
            or is no longer valid.
        :raises DiskExists: if the name is taken.
        :raises NotEnoughSpace: if the copy does not fit.
        :raises PowerVMError: if PowerVM fails; the copy may exist then.
        """
        raise self._unable('copy disks')

    def remove_uploads(self, disk: Disk) -> None:
        """Remove what interrupted uploads to a disk left in PowerVM.

        :param disk: no upload to it is in progress.
        :raises NotSupported: if the driver lacks ``IMAGE_CACHE``.
        :raises PowerVMError: if it cannot be removed.
        """
        raise self._unable('write to disks')

    def mapped(self, disks: Sequence[Disk]) -> set[Disk]:
        """Return the disks that are mapped to a partition.

        :param disks: disks to look for; may be empty.
        :returns: those of them that are mapped.
        :raises NotSupported: if the driver lacks ``IMAGE_CACHE``.
        :raises PowerVMError: if the mappings cannot be read.
        """
        raise self._unable('report which disks are in use')

    def upload_targets(self) -> Sequence[str]:
        """Return the UDIDs of disks with an upload, in progress or stale.

        Override if an interrupted upload can leave something in PowerVM.

        :returns: UDIDs; empty by default.
        :raises PowerVMError: if the uploads cannot be listed.
        """
        return ()

    def has_stale_uploads(self) -> bool:
        """Return whether an upload left something that was not removed.

        If so, the next cleanup run calls :meth:`upload_targets`. The driver
        answers from memory, without a request.

        :returns: False by default.
        """
        return False

    def disks_elsewhere(self) -> Sequence[tuple[Disk, str]]:
        """Return disks of other pools whose names cannot be used in this one.

        Override if names are unique across pools.

        :returns: each disk, and its pool as text; empty by default.
        :raises PowerVMError: if the other pools cannot be read.
        """
        return ()

    # -- Capability.OWN_IMAGE_CACHE

    def create_disk_from_image(
        self, image: image_module.Image, new: NewDisk, open_image: OpenImage
    ) -> tuple[Disk, bool]:
        """Create an instance disk from an image that the pool caches.

        :param image: the image.
        :param new: the disk to create.
        :param open_image: opens the data of the image; called only if the
            pool does not have the image.
        :returns: the disk, and whether the data of the image was read.
        :raises NotSupported: if the driver lacks ``OWN_IMAGE_CACHE``.
        :raises DiskExists: if the name is taken.
        :raises NotEnoughSpace: if the disk or the image does not fit.
        :raises ImageNotCacheable: if the pool cannot store the image.
        :raises ImageError: if the data of the image cannot be read.
        :raises PowerVMError: if PowerVM fails.
        """
        raise self._unable('create disks from images')

    # -- mapping disks to partitions, for compute drivers

    def servers(self) -> Sequence[str]:
        """Return the Virtual I/O Servers that can map disks of the pool.

        :returns: their UUIDs, at least one.
        :raises NotSupported: if the driver cannot map disks.
        :raises PowerVMError: if they cannot be found.
        """
        raise self._unable('map disks to partitions')

    def mappable(self, disk: Disk) -> Any:
        """Return the storage element of a vSCSI mapping of a disk.

        The element must be a new one, never a part of a document that was
        read. An element that is appended to another document leaves its own
        one, and the next update of that would delete the disk.

        :param disk: the disk to map.
        :returns: a wrapper of pypowervm, such as
            ``pypowervm.wrappers.storage.VDisk``.
        :raises NotSupported: if the driver cannot map disks.
        :raises PowerVMError: if the session cannot be opened.
        """
        raise self._unable('map disks to partitions')

    def _unable(self, what: str) -> exceptions.NotSupported:
        return exceptions.NotSupported(
            reason=f'The driver {type(self).__name__} cannot {what}.'
        )
