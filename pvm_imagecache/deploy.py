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

"""One deploy, or prefetch, of one image: hit, miss or bypass.

The cache must never cost a deploy: whatever goes wrong with the catalogue,
a lock or a base image ends in a bypass, and what has been created for the
cache until then is taken back. Only what fails without a cache as well is
raised.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import enum
import time
from typing import Any
from typing import Final

from oslo_log import log as logging
from oslo_utils import units

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache.drivers import base
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import image_source
from pvm_imagecache import naming
from pvm_imagecache import parts as parts_module
from pvm_imagecache import recovery
from pvm_imagecache import transfer

LOG = logging.getLogger(__name__)

#: How often a deploy looks at the cache again when what it found there
#: changed under its hands; then it does without.
_LOOKS: Final = 3
#: Seconds before a deploy that met a passing fault is made again.
RETRY_DELAYS: Final = (1.0, 5.0)
#: Seconds between two looks at how far somebody else's fetch has come.
_LOOK_INTERVAL: Final = 0.5

#: Told about long work: the step, bytes until now, bytes in all.
Progress = Callable[[str, int, int], None]


class Outcome(enum.Enum):
    """How a deploy got its bytes."""

    HIT = 'hit'
    """Copied on the server from the base image."""

    MISS = 'miss'
    """Fetched from Glance, into the base image and the disk at once."""

    BYPASS = 'bypass'
    """Fetched from Glance into the disk alone; the cache was left out."""

    POOL = 'pool'
    """Made by a pool that keeps images itself."""


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What became of a deploy; bytes and seconds.

    :ivar seconds: by step: ``wait``, ``fetch``, ``copy``, and ``total``.
    :ivar reason: why the cache was left out; '' if it was not.
    """

    disk: base.Disk
    image: image_module.Image
    outcome: Outcome
    bytes_fetched: int
    seconds: dict[str, float]
    reason: str = ''


@dataclasses.dataclass(frozen=True)
class Prefetch:
    """What became of a prefetch; bytes and seconds."""

    image: image_module.Image
    disk_name: str
    fetched: bool
    bytes_fetched: int
    seconds: float


class _Work:
    """What a deploy and a prefetch have in common."""

    def __init__(
        self,
        parts: parts_module.Parts,
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
        self._streams: list[image_source.ImageStream] = []
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
    def _turn_to_fetch(self) -> Iterator[None]:
        """Wait until nobody else fetches the image, or has died of it."""
        patience = _Patience(self._parts.settings.fetch_timeout,
                             self._record, self._tell)
        with contextlib.ExitStack() as held:
            with self._timed('wait'):
                held.enter_context(self._parts.hold(
                    self._base_name, patience.seconds_left))
            yield

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
                record.lease != gone):
            self._check_replaceable(record)
        try:
            if not recovery.remove_base_image(
                    self._driver, record) and record.udid is None:
                # It is replaced by the record that carries the lease on.
                self._lease = record.lease
                return
        except exceptions.BaseImageOccupied:
            # Somebody else has the name: ours is gone in any case.
            self._catalog.remove(record)
            raise
        except exceptions.PowerVMError as error:
            raise exceptions.BaseImageOccupied(
                name=record.disk_name, image=self._image.id,
                reason='what was left there could not be removed: '
                       f'{error}') from error
        self._catalog.remove(record)

    def _check_replaceable(self, record: catalog_module.BaseImage) -> None:
        if record.image.id != self._image.id:
            raise exceptions.BaseImageOccupied(
                name=record.disk_name, image=self._image.id,
                reason=f'image {record.image.id} is cached under it.')
        if image_module.compare(record.image, self._image) is (
                image_module.Sameness.UNKNOWN):
            raise exceptions.BaseImageOccupied(
                name=record.disk_name, image=self._image.id,
                reason='what is cached under it can not be compared with '
                       'the image, as they have no hash in common.')

    # -- fetching

    @contextlib.contextmanager
    def _stream(self) -> Iterator[image_source.ImageStream]:
        with self._parts.source.open(self._image, self._context) as stream:
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
            self._driver.pool_id(), self._base_name, image, self._lease)
        try:
            with self._changing_disks(
                    self._base_name, *(other.name for other in others)):
                disks = self._create_all(base.NewDisk(
                    self._base_name, image.size, image.disk_format,
                    recovery.label(record.lease)), others)
            try:
                self._catalog.created(
                    record, disks[0].udid, disks[0].capacity)
            except BaseException:
                self._discard(*disks)
                raise
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
        except exceptions.PowerVMUnreachable:
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
            if error.name != self._base_name:  # type: ignore[attr-defined]
                raise
            if self._lease and recovery.remove_late_disk(
                    self._driver, self._base_name, self._lease):
                return self._driver.create_disks([first, *others])
            raise exceptions.BaseImageOccupied(
                name=self._base_name, image=self._image.id,
                reason='a disk of that name is there that the cache did not '
                       'make. Delete it if nobody needs it.') from error

    def _write(
        self,
        stream: image_source.ImageStream,
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
                    stream, legs, self._parts.settings.stall_timeout,
                    lambda done: self._note_progress(record, done))
        except BaseException:
            self._discard(*disks)
            raise
        return [leg.error for leg in legs]

    def _leg(
        self, image: image_module.Image, disk: base.Disk
    ) -> transfer.Leg:
        sha256 = (image.os_hash_value if image.os_hash_algo == 'sha256'
                  else None)
        return transfer.Leg(
            f'disk {disk.name}',
            lambda pieces: self._driver.upload(
                disk, pieces, image.size, sha256))

    def _note_progress(
        self, record: catalog_module.BaseImage | None, done: int
    ) -> None:
        self._tell('fetch', done)
        if record is None:
            return
        try:
            self._catalog.progressed(record, done)
        except exceptions.CacheError as error:
            # Those who wait for us become impatient; nothing else.
            LOG.warning('The progress of image %(image)s could not be '
                        'written: %(error)s',
                        {'image': self._image.id, 'error': error})

    # -- taking back

    def _discard(self, *disks: base.Disk) -> None:
        """Delete disks that are not whole; what can't be is logged.

        It stays on record then, for the next pass to delete.
        """
        try:
            removals = self._driver.delete_disks(disks)
        except exceptions.PVMImageCacheError as error:
            removals = [base.Removal(disk, error) for disk in disks]
        for removal in removals:
            if removal.error:
                LOG.error('Disk %(disk)s was not filled and could not be '
                          'deleted: %(error)s',
                          {'disk': removal.disk.name,
                           'error': removal.error})
            else:
                self._doubtful.discard(removal.disk.name)

    def _forget_if_gone(self, record: catalog_module.BaseImage) -> None:
        if self._base_name not in self._doubtful:
            self._forget(record)

    def _forget(self, record: catalog_module.BaseImage) -> None:
        try:
            self._catalog.remove(record)
        except exceptions.CacheError as error:
            LOG.warning('The record of image %(image)s was not removed: '
                        '%(error)s',
                        {'image': record.image.id, 'error': error})

    # -- telling

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[step] = (self._seconds.get(step, 0.0)
                                   + time.monotonic() - started)

    def _tell(self, step: str, done: int) -> None:
        if self._progress:
            self._progress(step, done, self._image.size)


class InstanceDeploy(_Work):
    """The deploy of one instance disk.

    :param size: of the disk in bytes; 0 for what the image needs.
    """

    def __init__(
        self,
        parts: parts_module.Parts,
        image: image_module.Image,
        name: str,
        size: int,
        context: Any,
        progress: Progress | None,
    ) -> None:
        super().__init__(parts, image, context, progress)
        self._name = name
        self._size = size
        self._entry: catalog_module.InstanceDisk | None = None

    def run(self) -> Deployment:
        """Make the disk, from the cache if that can be done."""
        check_size(self._image, self._size)
        if base.Capability.IMAGE_CACHE not in self._driver.capabilities:
            return self._through_pool()
        with self._on_record():
            for delay in RETRY_DELAYS:
                try:
                    return self._attempt()
                except exceptions.PVMImageCacheError as error:
                    if not (_worth_another(error)
                            or self._is_late_disk(error)):
                        raise
                    LOG.warning('Disk %(disk)s is tried again in '
                                '%(delay).1f s: %(error)s',
                                {'disk': self._name, 'delay': delay,
                                 'error': error})
                    time.sleep(delay)
            return self._attempt()

    def _attempt(self) -> Deployment:
        try:
            return self._through_cache()
        except exceptions.CacheError as error:
            # The pool and Glance have not been found wanting so far.
            reason = str(error)
        LOG.info('Image %(image)s goes to disk %(disk)s past the cache: '
                 '%(reason)s', {'image': self._image.id,
                                'disk': self._name, 'reason': reason})
        with self._stream() as stream:
            return self._fill_alone(stream, reason)

    @contextlib.contextmanager
    def _on_record(self) -> Iterator[None]:
        """Have the disk on record as long as it is being made.

        If we die, whoever finds the record without a living holder tidies
        up. Where there can be no record, the disk is made without.
        """
        with contextlib.ExitStack() as held:
            try:
                self._entry = held.enter_context(
                    recovery.instance_disk_on_record(
                        self._parts, self._name,
                        max(self._size, self._image.least_disk_size),
                        lambda: self._name not in self._doubtful))
            except exceptions.CacheError as error:
                LOG.warning('Disk %(disk)s is made without a record: '
                            '%(error)s',
                            {'disk': self._name, 'error': error})
            yield

    def _is_late_disk(self, error: exceptions.PVMImageCacheError) -> bool:
        """Whether our name is taken by what a dead maker had asked for."""
        return (isinstance(error, exceptions.DiskExists)
                and self._entry is not None
                and recovery.remove_late_disk(
                    self._driver, self._name, self._entry.lease))

    def _through_pool(self) -> Deployment:
        disk, fetched = self._driver.create_disk_from_image(
            self._image, self._new_disk(self._image), self._stream)
        LOG.debug('The pool %s image %s', 'fetched' if fetched else 'had',
                  self._image.id)
        return self._deployment(disk, Outcome.POOL)

    def _through_cache(self) -> Deployment:
        if not self._parts.settings.enabled:
            raise exceptions.CacheDisabled(
                reason='The cache is switched off: enabled is false in '
                       '[pvm_imagecache].')
        check_cacheable(self._image)
        gone: str | None = None
        for _ in range(_LOOKS):
            record = self._servable()
            if record and record.lease != gone:
                try:
                    return self._hit(record)
                except exceptions.BaseImageGone as error:
                    LOG.warning('%s', error)
                    gone = record.lease
                except exceptions.PowerVMRequestFailed as error:
                    if error.passing:
                        raise
                    # A download may succeed where a copy does not.
                    raise exceptions.BaseImageGone(
                        name=record.disk_name, reason=str(error)) from error
            with self._turn_to_fetch():
                record = self._servable()
                if record and record.lease != gone:
                    # Somebody has just fetched it. Copies must not wait for
                    # each other: give the lock back first.
                    continue
                self._make_way(gone)
                return self._miss()
        raise exceptions.ImageNotCacheable(
            image=self._image.id, reason='what is cached of it was removed '
            'again and again while it was needed.')

    def _hit(self, record: catalog_module.BaseImage) -> Deployment:
        check_size(record.image, self._size)
        self._tell('copy', 0)
        with self._timed('copy'), self._changing_disks(self._name):
            disk = self._driver.copy_disk(
                base.Disk(record.disk_name, record.udid or '',
                          record.capacity or 0),
                self._new_disk(record.image),
                lambda: self._is_current(record))
        self._tell('copy', self._image.size)
        try:
            self._catalog.used(record)
        except exceptions.CacheError as error:
            LOG.warning('The use of image %(image)s was not counted: '
                        '%(error)s',
                        {'image': self._image.id, 'error': error})
        return self._deployment(disk, Outcome.HIT)

    def _is_current(self, record: catalog_module.BaseImage) -> bool:
        found = self._record()
        return (found is not None and found.lease == record.lease
                and is_servable(found, self._image))

    def _miss(self) -> Deployment:
        with self._stream() as stream:
            check_size(stream.image, self._size)
            try:
                record, disks = self._begin(
                    stream.image, [self._new_disk(stream.image)])
            except (exceptions.CacheError,
                    exceptions.NotEnoughSpace) as error:
                return self._fill_alone(stream, str(error))
            self._note_udid(disks[1])
            return self._fill_both(stream, record, *disks)

    def _fill_both(
        self,
        stream: image_source.ImageStream,
        record: catalog_module.BaseImage,
        base_disk: base.Disk,
        disk: base.Disk,
    ) -> Deployment:
        try:
            base_error, error = self._write(
                stream, [base_disk, disk], record)
        except BaseException:
            self._forget_if_gone(record)
            raise
        if not base_error:
            base_error = self._commit(record, stream.image)
        if base_error:
            self._discard(base_disk)
            self._forget_if_gone(record)
        if error:
            self._discard(disk)
            if base_error:
                raise error
            LOG.warning('Writing disk %(disk)s failed, it is copied from '
                        'the cache: %(error)s',
                        {'disk': self._name, 'error': error})
            disk = self._hit(dataclasses.replace(
                record, udid=base_disk.udid, capacity=base_disk.capacity,
                image=stream.image)).disk
        if base_error:
            LOG.warning('Image %(image)s is not cached: %(error)s',
                        {'image': self._image.id, 'error': base_error})
            return self._deployment(disk, Outcome.BYPASS, str(base_error))
        return self._deployment(disk, Outcome.MISS)

    def _commit(
        self, record: catalog_module.BaseImage, image: image_module.Image
    ) -> Exception | None:
        try:
            self._catalog.commit(record, image)
        except exceptions.CacheError as error:
            return error
        return None

    def _fill_alone(
        self, stream: image_source.ImageStream, reason: str
    ) -> Deployment:
        """Write the stream to the instance disk only."""
        check_size(stream.image, self._size)
        with self._changing_disks(self._name):
            disk, = self._driver.create_disks(
                [self._new_disk(stream.image)])
        self._note_udid(disk)
        error, = self._write(stream, [disk])
        if error:
            self._discard(disk)
            raise error
        return self._deployment(disk, Outcome.BYPASS, reason)

    def _discard(self, *disks: base.Disk) -> None:
        super()._discard(*disks)
        if any(disk.name == self._name for disk in disks) and (
                self._name not in self._doubtful):
            self._note_udid(None)

    def _note_udid(self, disk: base.Disk | None) -> None:
        if self._entry is None:
            return
        try:
            self._catalog.instance_disk_created(
                self._entry, disk.udid if disk else None)
        except exceptions.CacheError as error:
            LOG.warning('The UDID of disk %(disk)s was not written down: '
                        '%(error)s', {'disk': self._name, 'error': error})

    def _new_disk(self, image: image_module.Image) -> base.NewDisk:
        return base.NewDisk(
            self._name, max(self._size, image.least_disk_size),
            image.disk_format,
            recovery.label(self._entry.lease) if self._entry else None)

    def _deployment(
        self, disk: base.Disk, outcome: Outcome, reason: str = ''
    ) -> Deployment:
        self._doubtful.discard(self._name)
        self._seconds['total'] = time.monotonic() - self._started
        return Deployment(disk, self._image, outcome, self._bytes_fetched,
                          self._seconds, reason)


class BaseImageFetch(_Work):
    """The fetch of one image into the cache, for deploys to come."""

    def run(self) -> Prefetch:
        """Fetch the image unless it is cached.

        :raises CacheError: if it can't be cached.
        """
        check_cacheable(self._image)
        record = self._servable()
        gone = None
        if record and not self._is_there(record):
            gone = record.lease
        fetched = (not record or gone is not None) and self._fetch(gone)
        return Prefetch(self._image, self._base_name, fetched,
                        self._bytes_fetched,
                        time.monotonic() - self._started)

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
                record, disks = self._begin(stream.image, [])
                try:
                    error, = self._write(stream, disks, record)
                    if error is None:
                        self._catalog.commit(record, stream.image)
                        return True
                except BaseException as failure:
                    # The disk is whole where only the catalogue failed.
                    if isinstance(failure, exceptions.CacheError):
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


# -- deciders


def _worth_another(error: exceptions.PVMImageCacheError) -> bool:
    """Whether a deploy that failed may succeed when it is made again.

    Errors of Glance have been retried, byte by byte, where they arose.
    """
    return error.passing and not isinstance(error, exceptions.ImageError)


def is_servable(
    record: catalog_module.BaseImage, image: image_module.Image
) -> bool:
    """Whether deploys of an image may be served from a base image."""
    return (record.state is catalog_module.State.READY
            and bool(record.udid)
            and image_module.compare(record.image, image)
            is image_module.Sameness.SAME)


def check_cacheable(image: image_module.Image) -> None:
    """Raise :exc:`ImageNotCacheable` for an image without a usable hash."""
    if image.digest is None:
        raise exceptions.ImageNotCacheable(
            image=image.id, reason='it has no hash that could be checked.')


def check_size(image: image_module.Image, size: int) -> None:
    """Raise :exc:`DiskTooSmall` if the image needs more than ``size``."""
    if size and size < image.least_disk_size:
        raise exceptions.DiskTooSmall(
            size=_gib(size), image=image.id,
            needed=_gib(image.least_disk_size))


def _gib(size: int) -> str:
    return f'{size / units.Gi:.6g} GiB ({size} bytes)'
