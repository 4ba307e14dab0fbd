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

"""The disks that one deploy creates, until they are complete."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.deploy import steps as steps_module
from pvm_imagecache.deploy import transfer
from pvm_imagecache.drivers import base
from pvm_imagecache.glance import stream as image_stream

LOG = logging.getLogger(__name__)


class NewDisks:
    """Writes new disks, deletes incomplete ones, and knows which may exist.

    :param cache: of the pool.
    :param steps: measures and reports the writing.
    :param on_deleted: is called with each disk that was deleted again.
    """

    def __init__(
        self,
        cache: cache_module.Cache,
        steps: steps_module.Steps,
        on_deleted: Callable[[base.Disk], None] = lambda disk: None,
    ) -> None:
        self._cache = cache
        self._steps = steps
        self._on_deleted = on_deleted
        #: Names of disks that may exist and are not known to be complete.
        self._possibly_created: set[str] = set()
        #: UDIDs of disks whose deletion was requested.
        self._discarded: set[str] = set()
        #: By name: why it is not known whether a disk was created.
        self._unanswered: dict[str, exceptions.PVMImageCacheError] = {}

    def may_exist(self, name: str) -> bool:
        """Return whether an incomplete disk may exist.

        :param name: of the disk.
        :returns: False if it is complete, was deleted, or never created.
        """
        return name in self._possibly_created

    def unanswered(self, name: str) -> exceptions.PVMImageCacheError | None:
        """Return why it is not known whether a disk was created.

        If its name is in use after that, that disk has it.

        :param name: of the disk.
        :returns: the error of the last such request; None if there was none,
            or the disk is complete or was deleted.
        """
        return self._unanswered.get(name) if self.may_exist(name) else None

    def settle(self, name: str) -> None:
        """Note that a disk is complete.

        :param name: of the disk.
        """
        self._possibly_created.discard(name)

    @contextlib.contextmanager
    def changing(self, *names: str) -> Iterator[None]:
        """Mark disks as possibly created by the request in the block.

        They are unmarked if PowerVM rejected the request.

        :param names: of the disks.
        :returns: a context manager.
        """
        # PowerVM may give a new disk the UDID of a deleted one.
        self._discarded.clear()
        before = set(self._possibly_created)
        self._possibly_created.update(names)
        try:
            yield
        except (
            exceptions.PowerVMUnreachable,
            exceptions.DiskUnclear,
        ) as error:
            self._unanswered |= dict.fromkeys(names, error)
            raise
        except exceptions.PVMImageCacheError:
            # A rejected request creates none of its disks.
            self._possibly_created = before
            raise

    def write(
        self,
        stream: image_stream.ImageStream,
        disks: Sequence[base.Disk],
        on_progress: Callable[[int], None] = lambda done: None,
        wipe: bool = False,
    ) -> list[Exception | None]:
        """Write a stream to disks.

        If the stream itself fails, all the disks are deleted again.

        :param stream: the data.
        :param disks: the destinations.
        :param on_progress: is called with the bytes that were written to
            each disk so far.
        :param wipe: whether zeros are written after the data, up to the end
            of each disk, even if the configuration does not ask for it.
        :returns: for each disk, why it could not be written, or None.
        :raises DiskNotWipeable: if zeros cannot follow the data.
        :raises PVMImageCacheError: if the stream fails.
        """
        wipe = wipe or self._cache.settings.wipe_disks

        def report(done: int) -> None:
            self._steps.report('fetch', done)
            on_progress(done)

        try:
            destinations = [
                self._destination(stream.image, disk, wipe) for disk in disks
            ]
            with self._steps.timed('fetch'):
                transfer.write_to_all(
                    stream,
                    destinations,
                    self._cache.settings.stall_timeout,
                    report,
                )
        except BaseException:
            self.discard(*disks)
            raise
        finally:
            if self._cache.driver.has_stale_uploads():
                self._record_stale_uploads(stream.image)
        return [destination.error for destination in destinations]

    def discard(self, *disks: base.Disk) -> None:
        """Delete incomplete disks; a failure is logged.

        A disk that cannot be deleted keeps its record, so that the next
        cleanup run deletes it. A disk that was discarded before is skipped.

        :param disks: the disks.
        """
        disks = tuple(
            disk for disk in disks if disk.udid not in self._discarded
        )
        if not disks:
            return
        self._discarded |= {disk.udid for disk in disks}
        try:
            deletions = self._cache.driver.delete_disks(disks)
        except exceptions.PVMImageCacheError as error:
            deletions = [base.Deletion(disk, error) for disk in disks]
        for deletion in deletions:
            if deletion.error:
                LOG.error(
                    'Could not delete incomplete disk %(disk)s: %(error)s',
                    {'disk': deletion.disk.name, 'error': deletion.error},
                )
            else:
                self._possibly_created.discard(deletion.disk.name)
                self._on_deleted(deletion.disk)

    def _destination(
        self, image: image_module.Image, disk: base.Disk, wipe: bool
    ) -> transfer.Destination:
        if wipe and disk.capacity > image.size:
            return self._wiped_destination(image, disk)
        sha256 = (
            image.os_hash_value if image.os_hash_algo == 'sha256' else None
        )
        return transfer.Destination(
            f'disk {disk.name}',
            lambda pieces: self._cache.driver.upload(
                disk, pieces, image.size, sha256
            ),
        )

    def _wiped_destination(
        self, image: image_module.Image, disk: base.Disk
    ) -> transfer.Destination:
        if image.disk_format in image_module.SPARSE_FORMATS:
            raise exceptions.DiskNotWipeable(
                name=disk.name,
                image=image.label,
                disk_format=image.disk_format,
            )
        return transfer.Destination(
            f'disk {disk.name}',
            # The hash of the image is not that of the disk.
            lambda pieces: self._cache.driver.upload(
                disk,
                transfer.with_zeros(pieces, disk.capacity),
                disk.capacity,
            ),
        )

    def _record_stale_uploads(self, image: image_module.Image) -> None:
        """Ask the next cleanup run of any process to remove File entries."""
        try:
            self._cache.catalog.pools.record_uploads(
                self._cache.driver.pool_id(), False
            )
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not record that an upload of image %(image)s left a '
                'File entry: %(error)s',
                {'image': image.label, 'error': error},
            )
