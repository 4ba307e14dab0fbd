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

"""Fetching an image into the cache: what deploys and prefetches share.

One fetch of an image at a time on a host: the others wait as long as it
makes progress, and take over when it dies. What was begun and could not be
finished is taken back, or stays on record for the next pass.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import time
from typing import Any
from typing import Final
from typing import TypeVar

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache import text
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import transfer
from pvm_imagecache.drivers import base
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: Seconds between two looks at how far somebody else's fetch has come.
_LOOK_INTERVAL: Final = 0.5
#: How often room is made for the same disks: others want it too.
_ROOM_ATTEMPTS: Final = 3

_Made = TypeVar('_Made')

#: Told about long work: the step, bytes until now, bytes in all.
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Prefetch:
    """What became of a prefetch; bytes and seconds."""

    image: image_module.Image
    disk_name: str
    fetched: bool
    bytes_fetched: int
    seconds: float


class Work:
    """What a deploy and a prefetch have in common."""

    def __init__(
        self,
        parts: cache_module.Parts,
        image: image_module.Image,
        context: Any,
        progress: Progress | None,
    ) -> None:
        self._driver = parts.driver
        self._catalog = parts.catalog
        self._parts = parts
        self._image = image
        self._context = context
        self._progress = progress
        self._base_name = naming.base_image_name(image.id)
        self._seconds: dict[str, float] = {}
        self._started = time.monotonic()
        self._streams: list[image_stream.ImageStream] = []
        #: The names of disks that may be there and are not whole.
        self._doubtful: set[str] = set()
        #: Of a dead maker whose base image's disk may yet appear.
        self._lease: str | None = None

    # -- looking

    def _servable(self) -> catalog_module.BaseImage | None:
        """The record of the base image, if deploys may be served from it."""
        record = self._record()
        return record if record and is_servable(record, self._image) else None

    def _record(self) -> catalog_module.BaseImage | None:
        return self._catalog.get(self._driver.pool_id(), self._base_name)

    @contextlib.contextmanager
    def _turn_to_fetch(self) -> Iterator[contextlib.ExitStack]:
        """Wait until nobody else fetches the image, or has died of it.

        :returns: what is closed to let others have the turn before the end
            of the block.
        """
        patience = _Patience(
            self._parts.settings.fetch_timeout, self._record, self._tell
        )
        with contextlib.ExitStack() as held:
            with self._timed('wait'), interrupts.allowed():
                held.enter_context(
                    self._parts.hold(self._base_name, patience.seconds_left)
                )
            yield held

    def _make_way(self, gone: str | None) -> None:
        """Take away what an earlier filling of the disk name left.

        Only called with the lock held: whoever was at it is dead.

        :param gone: the lease of a record whose disk is known to be gone.
        :raises BaseImageOccupied: if the name is not ours to take.
        """
        record = self._record()
        if record is None:
            return
        if record.state is catalog_module.State.READY and (
            record.lease != gone
        ):
            self._check_replaceable(record)
        try:
            if (
                not reconciler.remove_base_image(self._parts, record)
                and record.udid is None
            ):
                # It is replaced by the record that carries the lease on.
                self._lease = record.lease
                return
        except exceptions.BaseImageOccupied:
            if record.udid is None:
                # Perhaps what has the name was there before, and may be
                # replaced: that is looked at when it is in the way.
                self._lease = record.lease
                return
            # Somebody else has the name: ours is gone in any case.
            self._catalog.remove(record)
            raise
        except exceptions.PowerVMError as error:
            raise exceptions.BaseImageOccupied(
                name=record.disk_name,
                image=self._image.id,
                reason=f'what was left there could not be removed: {error}',
            ) from error
        self._catalog.remove(record)

    def _check_replaceable(self, record: catalog_module.BaseImage) -> None:
        if record.image.id != self._image.id:
            raise exceptions.BaseImageOccupied(
                name=record.disk_name,
                image=self._image.id,
                reason=f'image {record.image.id} is cached under it.',
            )
        if image_module.compare(record.image, self._image) is (
            image_module.Sameness.UNKNOWN
        ):
            raise exceptions.BaseImageOccupied(
                name=record.disk_name,
                image=self._image.id,
                reason='what is cached under it can not be compared with '
                'the image, as they have no hash in common.',
            )

    # -- room

    def _with_room(
        self,
        make: Callable[[], _Made],
        *,
        last_resort: bool = False,
        for_image: str | None = None,
    ) -> _Made:
        """Make disks; where they don't fit, by removing cached images.

        See :meth:`pvm_imagecache.cleanup.evictor.Evictor.make_room`.

        :raises NotEnoughSpace: if not enough could be removed.
        """
        for _ in range(_ROOM_ATTEMPTS):
            try:
                return make()
            except exceptions.NotEnoughSpace as error:
                if not evictor.Evictor(self._parts).make_room(
                    error.needed_bytes,
                    refused=error.refused,
                    for_image=for_image,
                    last_resort=last_resort,
                ):
                    raise
        return make()

    # -- fetching

    @contextlib.contextmanager
    def _stream(self) -> Iterator[image_stream.ImageStream]:
        with contextlib.ExitStack() as held:
            with interrupts.allowed():
                stream = held.enter_context(
                    self._parts.source.open(self._image, self._context)
                )
            self._streams.append(stream)
            yield stream

    @property
    def _bytes_fetched(self) -> int:
        """All that has come from Glance until now."""
        return sum(stream.bytes_received for stream in self._streams)

    def _begin(
        self, image: image_module.Image, others: Sequence[base.NewDisk]
    ) -> tuple[catalog_module.BaseImage, list[base.Disk]]:
        """Write the record, then make the base image's disk and others.

        :returns: the record, and all the disks, that of the base image
            first.
        """
        record = self._catalog.begin(
            self._driver.pool_id(), self._base_name, image, self._lease
        )
        try:
            with self._changing_disks(
                self._base_name, *(other.name for other in others)
            ):
                disks = self._create_all(
                    base.NewDisk(
                        self._base_name,
                        image.size,
                        image.disk_format,
                        reconciler.label(record.lease),
                    ),
                    others,
                )
            try:
                self._catalog.created(record, disks[0].udid, disks[0].capacity)
            except BaseException:
                self._discard(*disks)
                raise
            reconciler.note_labels(self._parts, disks, just_made=True)
        except BaseException:
            self._forget_if_gone(record)
            raise
        return record, disks

    @contextlib.contextmanager
    def _changing_disks(self, *names: str) -> Iterator[None]:
        """Know afterwards whether disks may have come of the block."""
        before = set(self._doubtful)
        self._doubtful.update(names)
        try:
            yield
        except (exceptions.PowerVMUnreachable, exceptions.DiskUnclear):
            raise
        except exceptions.PVMImageCacheError:
            # A refusal: all of it was done, or nothing.
            self._doubtful = before
            raise

    def _create_all(
        self, first: base.NewDisk, others: Sequence[base.NewDisk]
    ) -> list[base.Disk]:
        try:
            return self._driver.create_disks([first, *others])
        except exceptions.DiskExists as error:
            if error.name != self._base_name:
                raise
            self._clear_name()
        try:
            return self._driver.create_disks([first, *others])
        except exceptions.DiskExists as error:
            if error.name != self._base_name:
                raise
            raise exceptions.BaseImageOccupied(
                name=self._base_name,
                image=self._image.id,
                reason='somebody else makes disks of that name.',
            ) from error

    def _clear_name(self) -> None:
        """Remove a disk that has the name, if it is nobody's."""
        try:
            if not (
                self._lease
                and reconciler.remove_late_disk(
                    self._driver, self._base_name, self._lease
                )
            ):
                adoption.replace_left_over(self._driver, self._image)
        except exceptions.PowerVMError as error:
            raise exceptions.BaseImageOccupied(
                name=self._base_name,
                image=self._image.id,
                reason='a left-over of that name could not be removed: '
                f'{error}',
            ) from error

    def _write(
        self,
        stream: image_stream.ImageStream,
        disks: Sequence[base.Disk],
        record: catalog_module.BaseImage | None = None,
    ) -> list[Exception | None]:
        """Write the stream to disks; returns the error of each, or None.

        When the stream itself fails, all the disks are taken back.
        """
        legs = [self._leg(stream.image, disk) for disk in disks]
        try:
            with self._timed('fetch'):
                transfer.write_to_all(
                    stream,
                    legs,
                    self._parts.settings.stall_timeout,
                    lambda done: self._note_progress(record, done),
                )
        except BaseException:
            self._discard(*disks)
            raise
        finally:
            if self._driver.has_stale_uploads():
                self._note_left_uploads()
        return [leg.error for leg in legs]

    def _note_left_uploads(self) -> None:
        """Have the next pass look, whosever it is."""
        try:
            self._catalog.saw_uploads(self._driver.pool_id(), False)
        except exceptions.CacheFault as error:
            LOG.warning(
                'That an upload of image %(image)s has left '
                'something behind was not written down: %(error)s',
                {'image': self._image.id, 'error': error},
            )

    def _leg(
        self, image: image_module.Image, disk: base.Disk
    ) -> transfer.Destination:
        sha256 = (
            image.os_hash_value if image.os_hash_algo == 'sha256' else None
        )
        return transfer.Destination(
            f'disk {disk.name}',
            lambda pieces: self._driver.upload(
                disk, pieces, image.size, sha256
            ),
        )

    def _note_progress(
        self, record: catalog_module.BaseImage | None, done: int
    ) -> None:
        self._tell('fetch', done)
        if record is None:
            return
        try:
            self._catalog.progressed(record, done)
        except exceptions.CacheFault as error:
            # Those who wait for us become impatient; nothing else.
            LOG.warning(
                'The progress of image %(image)s could not be '
                'written: %(error)s',
                {'image': self._image.id, 'error': error},
            )

    # -- taking back

    def _discard(self, *disks: base.Disk) -> None:
        """Delete disks that are not whole; what can't be is logged.

        It stays on record then, for the next pass to delete.
        """
        try:
            removals = self._driver.delete_disks(disks)
        except exceptions.PVMImageCacheError as error:
            removals = [base.Deletion(disk, error) for disk in disks]
        for removal in removals:
            if removal.error:
                LOG.error(
                    'Disk %(disk)s was not filled and could not be '
                    'deleted: %(error)s',
                    {'disk': removal.disk.name, 'error': removal.error},
                )
            else:
                self._doubtful.discard(removal.disk.name)

    def _forget_if_gone(self, record: catalog_module.BaseImage) -> None:
        if self._base_name in self._doubtful:
            return
        try:
            if self._lease:
                # What a dead maker has asked for may come though we have
                # failed, and its UDID is not that of our disk.
                self._catalog.begin(
                    record.pool, record.disk_name, record.image, self._lease
                )
            else:
                self._catalog.remove(record)
        except exceptions.CacheFault as error:
            LOG.warning(
                'The record of image %(image)s was not removed: %(error)s',
                {'image': record.image.id, 'error': error},
            )

    # -- telling

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[step] = (
                self._seconds.get(step, 0.0) + time.monotonic() - started
            )

    def _tell(self, step: str, done: int) -> None:
        if self._progress:
            self._progress(step, done, self._image.size)


class BaseImageFetch(Work):
    """The fetch of one image into the cache, for deploys to come."""

    def run(self) -> Prefetch:
        """Fetch the image unless it is cached.

        :raises CacheFault: if it can't be cached.
        """
        with interrupts.deferred():
            return self._run()

    def _run(self) -> Prefetch:
        check_cacheable(self._image)
        record = self._servable()
        gone = None
        if record and not self._is_there(record):
            gone = record.lease
        fetched = (not record or gone is not None) and self._fetch(gone)
        return Prefetch(
            self._image,
            self._base_name,
            fetched,
            self._bytes_fetched,
            time.monotonic() - self._started,
        )

    def _is_there(self, record: catalog_module.BaseImage) -> bool:
        disk = self._driver.find_disk(record.disk_name)
        return disk is not None and disk.udid == record.udid

    def _fetch(self, gone: str | None) -> bool:
        with self._turn_to_fetch():
            record = self._servable()
            if record and record.lease != gone:
                return False
            self._make_way(gone)
            with self._stream() as stream:
                record, disks = self._with_room(
                    lambda: self._begin(stream.image, [])
                )
                try:
                    (error,) = self._write(stream, disks, record)
                    if error is None:
                        self._catalog.commit(record, stream.image)
                        return True
                except BaseException as failure:
                    # The disk is whole where only the catalogue failed.
                    if isinstance(failure, exceptions.CacheFault):
                        self._discard(*disks)
                    self._forget_if_gone(record)
                    raise
                self._discard(*disks)
                self._forget_if_gone(record)
                raise error


class _Patience:
    """How long to wait for a fetch: as long as it makes progress."""

    def __init__(
        self,
        seconds: float,
        look: Callable[[], catalog_module.BaseImage | None],
        tell: Callable[[str, int], None],
    ) -> None:
        self._seconds = seconds
        self._look = look
        self._tell = tell
        self._looked_at = 0.0
        self._seen: tuple[str, int] | None = None
        self._progress_at = time.monotonic()

    def seconds_left(self) -> float:
        """Seconds until the wait is over if nothing happens."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_INTERVAL:
            self._looked_at = now
            record = self._look()
            seen = (record.lease, record.bytes_done) if record else None
            if seen != self._seen:
                self._seen, self._progress_at = seen, now
            if record:
                self._tell('wait', record.bytes_done)
        return self._seconds - (now - self._progress_at)


def is_servable(
    record: catalog_module.BaseImage, image: image_module.Image
) -> bool:
    """Whether deploys of an image may be served from a base image.

    Of one that was adopted without it nobody knows how large its copies
    have to be.
    """
    return (
        record.state is catalog_module.State.READY
        and bool(record.udid)
        and not record.image.needs_virtual_size
        and image_module.compare(record.image, image)
        is image_module.Sameness.SAME
    )


def check_cacheable(image: image_module.Image) -> None:
    """Raise :exc:`ImageNotCacheable` for an image without a usable hash."""
    if image.digest is None:
        raise exceptions.ImageNotCacheable(
            image=image.id, reason='it has no hash that could be checked.'
        )


def check_size(image: image_module.Image, size: int) -> None:
    """Raise :exc:`DiskTooSmall` if the image needs more than ``size``."""
    if size and size < image.least_disk_size:
        raise exceptions.DiskTooSmall(
            size=text.size_exact(size),
            image=image.id,
            needed=text.size_exact(image.least_disk_size),
        )
