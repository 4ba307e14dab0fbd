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

from collections.abc import Iterator
import contextlib
import dataclasses
import enum
import time
from typing import Any
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.deploy import base_image
from pvm_imagecache.drivers import base
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: How often a deploy looks at the cache again when what it found there
#: changed under its hands; then it copies with the lock held.
_LOOKS: Final = 3
#: Seconds before a deploy that met a transient fault is made again.
RETRY_DELAYS: Final = (1.0, 5.0)


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

    :ivar seconds: by step: ``wait``, ``check``, ``fetch``, ``copy``, and
        ``total``.
    :ivar reason: why the cache was left out; '' if it was not.
    """

    disk: base.Disk
    image: image_module.Image
    outcome: Outcome
    bytes_fetched: int
    seconds: dict[str, float]
    reason: str = ''


class InstanceDeploy(base_image.Work):
    """The deploy of one instance disk.

    :param size: of the disk in bytes; 0 for what the image needs.
    """

    def __init__(
        self,
        parts: cache_module.Parts,
        image: image_module.Image,
        name: str,
        size: int,
        context: Any,
        progress: base_image.Progress | None,
    ) -> None:
        super().__init__(parts, image, context, progress)
        self._name = name
        self._size = size
        self._entry: catalog_module.InstanceDisk | None = None
        self._right_checked = False

    def run(self) -> Deployment:
        """Make the disk, from the cache if that can be done."""
        with interrupts.deferred():
            return self._run()

    def _run(self) -> Deployment:
        base_image.check_size(self._image, self._size)
        if base.Capability.IMAGE_CACHE not in self._driver.capabilities:
            return self._through_pool()
        failure = ''
        with self._on_record():
            for delay in RETRY_DELAYS:
                try:
                    return self._attempt()
                except exceptions.PVMImageCacheError as error:
                    if not (
                        _worth_another(error) or self._is_late_disk(error)
                    ):
                        raise
                    failure = str(error)
                    LOG.warning(
                        'Disk %(disk)s is tried again in '
                        '%(delay).1f s: %(error)s',
                        {'disk': self._name, 'delay': delay, 'error': error},
                    )
                    with interrupts.allowed():
                        time.sleep(delay)
            # What keeps failing may be what is done for the cache.
            return self._past_cache(f'it failed with it: {failure}')

    def _attempt(self) -> Deployment:
        try:
            return self._through_cache()
        except exceptions.CacheFault as error:
            # The pool and Glance have not been found wanting so far.
            reason = str(error)
        return self._past_cache(reason)

    def _past_cache(self, reason: str) -> Deployment:
        self._say_once(reason)
        with self._stream() as stream:
            return self._fill_alone(stream, reason)

    def _say_once(self, reason: str) -> None:
        """Warn that the cache is left out, but not for each disk again."""
        text = f'Image {self._image.id} goes to disks past the cache: {reason}'
        LOG.log(
            logging.INFO if text in self._parts.told else logging.WARNING,
            '%s',
            text,
        )
        self._parts.told.add(text)

    @contextlib.contextmanager
    def _on_record(self) -> Iterator[None]:
        """Have the disk on record as long as it is being made.

        If we die, whoever finds the record without a living holder tidies
        up. Where there can be no record, the disk is made without.
        """
        with contextlib.ExitStack() as held:
            try:
                self._entry = held.enter_context(
                    reconciler.instance_disk_on_record(
                        self._parts,
                        self._name,
                        max(self._size, self._image.least_disk_size),
                        lambda: self._name not in self._doubtful,
                    )
                )
            except exceptions.CacheFault as error:
                if isinstance(error, exceptions.LockTimeout) and (
                    not reconciler.is_unwritten(self._name)
                ):
                    # Only one of them can have the name: no need to wait
                    # for the other's fetch to say so.
                    raise exceptions.DiskBeingCreated(
                        name=self._name, pool=self._driver.pool().name
                    ) from error
                LOG.warning(
                    'Disk %(disk)s is made without a record: %(error)s',
                    {'disk': self._name, 'error': error},
                )
            yield

    def _is_late_disk(self, error: exceptions.PVMImageCacheError) -> bool:
        """Whether our name is taken by what a dead maker had asked for."""
        return (
            isinstance(error, exceptions.DiskExists)
            and self._entry is not None
            and reconciler.remove_late_disk(
                self._driver, self._name, self._entry.lease
            )
        )

    def _through_pool(self) -> Deployment:
        # The pool does not read what it has already.
        self._check_right()
        disk, fetched = self._driver.create_disk_from_image(
            self._image, self._new_disk(self._image), self._stream
        )
        LOG.debug(
            'The pool %s image %s',
            'fetched' if fetched else 'had',
            self._image.id,
        )
        return self._deployment(disk, Outcome.POOL)

    def _through_cache(self) -> Deployment:
        if not self._parts.settings.enabled:
            raise exceptions.CacheDisabled(
                reason='The cache is switched off: enabled is false in '
                '[pvm_imagecache].'
            )
        base_image.check_cacheable(self._image)
        gone: str | None = None
        looks_left = _LOOKS
        while True:
            looks_left -= 1
            record = self._servable()
            if record and record.lease != gone:
                self._check_right()
                try:
                    return self._hit(record)
                except exceptions.BaseImageGone as error:
                    LOG.warning('%s', error)
                    gone = record.lease
                except exceptions.PowerVMRequestFailed as error:
                    if error.transient:
                        raise
                    # A download may succeed where a copy does not.
                    raise exceptions.BaseImageGone(
                        name=record.disk_name, reason=str(error)
                    ) from error
            with self._turn_to_fetch() as turn:
                record = self._servable()
                if record and record.lease != gone:
                    # Somebody has just fetched it. Copies must not wait for
                    # each other: give the lock back first.
                    if looks_left > 0:
                        continue
                    # It is removed again and again, but not while the lock
                    # is held.
                    self._check_right()
                    return self._hit(record)
                self._make_way(gone)
                return self._miss(turn)

    def _check_right(self) -> None:
        """Let nobody have from the cache what Glance would not give them.

        :raises ImageError: as a download would.
        """
        if (
            self._context is None
            or self._right_checked
            or not (self._parts.settings.check_download_permission)
        ):
            return
        with self._timed('check'), interrupts.allowed():
            self._parts.source.check_readable(self._image, self._context)
        self._right_checked = True

    def _hit(self, record: catalog_module.BaseImage) -> Deployment:
        base_image.check_size(record.image, self._size)
        self._tell('copy', 0)
        try:
            disk = self._with_room(
                lambda: self._copy(record), for_image=record.image.id
            )
        except exceptions.NotEnoughSpace as error:
            # Without the cache there may be room.
            raise exceptions.NoRoomForCopy(
                name=self._name, image=record.image.id, reason=str(error)
            ) from error
        self._tell('copy', self._image.size)
        try:
            self._catalog.used(record)
        except exceptions.CacheFault as error:
            LOG.warning(
                'The use of image %(image)s was not counted: %(error)s',
                {'image': self._image.id, 'error': error},
            )
        return self._deployment(disk, Outcome.HIT)

    def _copy(self, record: catalog_module.BaseImage) -> base.Disk:
        with self._timed('copy'), self._changing_disks(self._name):
            return self._driver.copy_disk(
                base.Disk(
                    record.disk_name, record.udid or '', record.capacity or 0
                ),
                self._new_disk(record.image),
                lambda: self._is_current(record),
            )

    def _is_current(self, record: catalog_module.BaseImage) -> bool:
        found = self._record()
        return (
            found is not None
            and found.lease == record.lease
            and base_image.is_servable(found, self._image)
        )

    def _miss(self, turn: contextlib.ExitStack) -> Deployment:
        with self._stream() as stream:
            base_image.check_size(stream.image, self._size)
            try:
                record, disks = self._with_room(
                    lambda: self._begin(
                        stream.image, [self._new_disk(stream.image)]
                    )
                )
            except (exceptions.CacheFault, exceptions.NotEnoughSpace) as error:
                # Others who want the image need not wait for this disk.
                turn.close()
                self._say_once(str(error))
                return self._fill_alone(stream, str(error))
            self._note_udid(disks[1])
            return self._fill_both(stream, record, *disks)

    def _fill_both(
        self,
        stream: image_stream.ImageStream,
        record: catalog_module.BaseImage,
        base_disk: base.Disk,
        disk: base.Disk,
    ) -> Deployment:
        try:
            base_error, error = self._write(stream, [base_disk, disk], record)
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
            LOG.warning(
                'Writing disk %(disk)s failed, it is copied from '
                'the cache: %(error)s',
                {'disk': self._name, 'error': error},
            )
            disk = self._hit(
                dataclasses.replace(
                    record,
                    udid=base_disk.udid,
                    capacity=base_disk.capacity,
                    image=stream.image,
                )
            ).disk
        if base_error:
            LOG.warning(
                'Image %(image)s is not cached: %(error)s',
                {'image': self._image.id, 'error': base_error},
            )
            return self._deployment(disk, Outcome.BYPASS, str(base_error))
        return self._deployment(disk, Outcome.MISS)

    def _commit(
        self, record: catalog_module.BaseImage, image: image_module.Image
    ) -> Exception | None:
        try:
            self._catalog.commit(record, image)
        except exceptions.CacheFault as error:
            return error
        return None

    def _fill_alone(
        self, stream: image_stream.ImageStream, reason: str
    ) -> Deployment:
        """Write the stream to the instance disk only."""
        base_image.check_size(stream.image, self._size)
        disk = self._with_room(
            lambda: self._create_alone(stream.image), last_resort=True
        )
        self._note_udid(disk)
        (error,) = self._write(stream, [disk])
        if error:
            self._discard(disk)
            raise error
        return self._deployment(disk, Outcome.BYPASS, reason)

    def _create_alone(self, image: image_module.Image) -> base.Disk:
        with self._changing_disks(self._name):
            (disk,) = self._driver.create_disks([self._new_disk(image)])
        return disk

    def _discard(self, *disks: base.Disk) -> None:
        super()._discard(*disks)
        if any(disk.name == self._name for disk in disks) and (
            self._name not in self._doubtful
        ):
            self._note_udid(None)

    def _note_udid(self, disk: base.Disk | None) -> None:
        if self._entry is None:
            return
        try:
            self._catalog.instance_disk_created(
                self._entry, disk.udid if disk else None
            )
        except exceptions.CacheFault as error:
            LOG.warning(
                'The UDID of disk %(disk)s was not written down: %(error)s',
                {'disk': self._name, 'error': error},
            )

    def _new_disk(self, image: image_module.Image) -> base.NewDisk:
        return base.NewDisk(
            self._name,
            max(self._size, image.least_disk_size),
            image.disk_format,
            reconciler.label(self._entry.lease) if self._entry else None,
        )

    def _deployment(
        self, disk: base.Disk, outcome: Outcome, reason: str = ''
    ) -> Deployment:
        self._doubtful.discard(self._name)
        self._seconds['total'] = time.monotonic() - self._started
        return Deployment(
            disk,
            self._image,
            outcome,
            self._bytes_fetched,
            self._seconds,
            reason,
        )


def _worth_another(error: exceptions.PVMImageCacheError) -> bool:
    """Whether a deploy that failed may succeed when it is made again.

    Errors of Glance have been retried, byte by byte, where they arose.
    """
    return error.transient and not isinstance(error, exceptions.ImageError)
