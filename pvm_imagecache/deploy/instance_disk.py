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

"""One deploy of one instance disk: hit, miss or bypass.

The cache must never cost a deploy. If the catalog, a lock or a base image
fails, the image is written to the instance disk only, and what was created
for the cache is rolled back. Only what would fail without a cache is raised.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import enum
import functools
import time
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import instance_records
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import stale_uploads
from pvm_imagecache.deploy import base_image
from pvm_imagecache.deploy import checks
from pvm_imagecache.deploy import download
from pvm_imagecache.deploy import new_disks
from pvm_imagecache.deploy import second_download
from pvm_imagecache.deploy import space
from pvm_imagecache.deploy import steps as steps_module
from pvm_imagecache.deploy import verification as verification_module
from pvm_imagecache.drivers import base
from pvm_imagecache.eviction import admission
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import identity
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: How often a deploy starts again because the base image changed meanwhile.
#: After that it copies with the lock of the base image held.
_LOOKS: Final = 3
#: Seconds before each repetition of a deploy after a transient error.
RETRY_DELAYS: Final = (1.0, 5.0)
#: How many times longer the end of other uploads is awaited.
_FILE_LIST_FACTOR: Final = 10


class Outcome(enum.Enum):
    """How an instance disk got its bytes."""

    HIT = 'hit'
    """Copied by PowerVM from the base image."""

    MISS = 'miss'
    """Fetched from Glance into the base image and the instance disk."""

    BYPASS = 'bypass'
    """Fetched from Glance into the instance disk only."""

    POOL = 'shared-pool'
    """Created by a pool that caches images itself."""


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What became of a deploy.

    :ivar disk: the instance disk.
    :ivar image: the image.
    :ivar outcome: how the disk got its bytes.
    :ivar bytes_fetched: from Glance.
    :ivar seconds: by step: ``wait``, ``check``, ``fetch``, ``copy``, and
        ``total``.
    :ivar reason: why the cache was bypassed; '' if it was not.
    """

    disk: base.Disk
    image: image_module.Image
    outcome: Outcome
    bytes_fetched: int
    seconds: dict[str, float]
    reason: str = ''


class InstanceDeploy:
    """The deploy of one instance disk.

    :param cache: of the pool.
    :param image: as Glance describes it.
    :param name: of the disk.
    :param size: of the disk in bytes; 0 for what the image needs.
    :param context: nova's request context of the requester; None for the
        configured credentials.
    :param progress: is called with the progress, if given.
    :param trusted_certificates: IDs of certificates that the user of the
        server trusts.
    """

    def __init__(
        self,
        cache: cache_module.Cache,
        image: image_module.Image,
        name: str,
        size: int,
        context: identity.RequestContext | None,
        progress: steps_module.Progress | None,
        trusted_certificates: Sequence[str] = (),
    ) -> None:
        self._cache = cache
        self._driver = cache.driver
        self._image = image
        self._name = name
        self._size = size
        self._steps = steps_module.Steps(image.size, progress)
        self._verification = verification_module.Verification(
            cache, image, context, trusted_certificates
        )
        self._download = download.Download(
            cache, image, context, self._steps, self._verification
        )
        self._disks = new_disks.NewDisks(
            cache, self._steps, self._forget_deleted
        )
        self._fill = base_image.BaseImageFill(
            cache, image, self._steps, self._disks, self._verification
        )
        self._second_download = second_download.SecondDownload(
            image, lambda: not self._disks.may_exist(name)
        )
        #: Why a miss became a bypass; '' as long as none did.
        self._uncached = ''
        #: Why the disk is not copied from a base image any more.
        self._uncopied: exceptions.CopyFailed | None = None
        self._entry: models.InstanceDisk | None = None

    def run(self) -> Deployment:
        """Create the disk, through the cache if possible.

        :returns: the disk, and how it got its bytes.
        :raises DiskTooSmall: if the image needs a larger disk.
        :raises DiskExists: if the pool has a disk of that name.
        :raises NotEnoughSpace: if the disk does not fit, even after
            evictions.
        :raises ImageError: if Glance does not give the image, or a required
            signature cannot be verified.
        :raises PowerVMError: if PowerVM does not create the disk.
        :raises TransferError: if the disk cannot be written.
        """
        checks.check_size(self._image, self._size)
        self._verification.prepare()
        if base.Capability.IMAGE_CACHE not in self._driver.capabilities:
            return self._through_pool()
        with self._on_record():
            try:
                return self._with_retries()
            except exceptions.DiskExists as error:
                unanswered = self._disks.unanswered(error.name)
                if unanswered is None:
                    raise
                # An attempt of this deploy has created it.
                raise unanswered from error

    # -- the ways to a disk

    def _with_retries(self) -> Deployment:
        failure = ''
        uploads_again = 1
        for delay in RETRY_DELAYS:
            try:
                return self._attempt()
            except exceptions.PVMImageCacheError as error:
                if isinstance(error, exceptions.UploadFailed):
                    if not uploads_again:
                        raise
                    uploads_again -= 1
                elif not (
                    _is_worth_a_retry(error) or self._delete_late_disk(error)
                ):
                    raise
                if isinstance(error, exceptions.FileListFull):
                    delay *= _FILE_LIST_FACTOR
                    self._remove_stale_uploads()
                failure = str(error)
                LOG.warning(
                    'Retrying to create disk %(disk)s in %(delay).1f s: '
                    '%(error)s',
                    {'disk': self._name, 'delay': delay, 'error': error},
                )
                with interrupts.allowed():
                    time.sleep(delay)
        # What keeps failing may be what is done for the cache.
        return self._bypass(f'it failed with the cache: {failure}')

    def _remove_stale_uploads(self) -> None:
        """Make room for an upload, as far as it is ours."""
        try:
            stale_uploads.remove(self._cache, is_certain=True)
        except exceptions.PVMImageCacheError as error:
            LOG.warning('Could not remove File entries: %s', error)

    def _attempt(self) -> Deployment:
        try:
            return self._through_cache()
        except exceptions.CacheFault as error:
            # Nothing shows so far that the pool or Glance would fail too.
            reason, key = str(error), self._key(error)
        return self._bypass(reason, key)

    def _through_pool(self) -> Deployment:
        # The pool does not download an image that it has.
        self._download.check_permission()
        image = self._image_for_pool()
        disk, fetched = self._second_download.run(
            lambda: self._driver.create_disk_from_image(
                image, self._new_disk(self._image), self._download.open
            )
        )
        LOG.debug(
            'The pool %(did)s image %(image)s',
            {'did': 'fetched' if fetched else 'had', 'image': self._image.id},
        )
        return self._deployment(disk, Outcome.POOL)

    def _image_for_pool(self) -> image_module.Image:
        """Return the image, with a signature only if it is required."""
        if self._verification.fingerprint is None:
            return dataclasses.replace(
                self._image, signature=image_module.Signature()
            )
        if base.Capability.SIGNED_IMAGES not in self._driver.capabilities:
            # The pool may have the image from before signatures mattered.
            raise exceptions.ImageSignatureInvalid(
                image=self._image.id,
                image_name=self._image.name,
                reason='the disk driver does not know which images of the '
                'pool were verified. Use another disk driver',
            )
        return self._image

    def _through_cache(self) -> Deployment:
        if not self._cache.settings.enabled:
            raise exceptions.CacheDisabled
        if self._uncopied:
            raise self._uncopied
        checks.check_cacheable(self._image)
        gone = None
        for looks_left in reversed(range(_LOOKS)):
            record = self._fill.servable(gone)
            if record:
                deployment = self._hit_unless_gone(record)
                if deployment:
                    return deployment
                gone = record.fill_id
            with self._fill.claim(self._before_wait) as turn:
                record = self._fill.servable(gone)
                if record is None:
                    return self._second_download.run(
                        functools.partial(self._fetch, turn, gone),
                        self._fill.record_failure,
                    )
                # Another process has just fetched it. Release the lock
                # first: copies must not wait for each other.
                if not looks_left:
                    # It is evicted again and again, but not while the lock
                    # is held.
                    self._download.check_permission()
                    return self._hit(record)
        raise AssertionError('the last look returns')

    def _before_wait(self) -> None:
        """Raise if another fetch of the image is not worth a wait."""
        # A token of the user may expire during the wait.
        self._download.check_permission()
        if not self._cache.settings.wipe_disks:
            return
        record = self._fill.record()
        usual = admission.disk_size(self._image.least_disk_size)
        if self._size > ((record and record.capacity) or usual):
            raise exceptions.DiskLargerThanBaseImage(name=self._fill.name)

    def _bypass(self, reason: str, key: str | None = None) -> Deployment:
        self._warn_of_bypass(reason, key)
        return self._second_download.run(lambda: self._fetch_alone(reason))

    def _fetch_alone(self, reason: str) -> Deployment:
        with self._download.open() as stream:
            return self._fill_alone(stream, reason)

    # -- hits

    def _hit_unless_gone(self, record: models.BaseImage) -> Deployment | None:
        """Copy the base image; return None if its disk does not exist."""
        self._download.check_permission()
        try:
            return self._hit(record)
        except exceptions.BaseImageGone as error:
            LOG.warning('%s', error)
            return None
        except exceptions.PowerVMRequestFailed as error:
            if error.transient:
                raise
            # A download may succeed where a copy fails.
            raise exceptions.BaseImageGone(
                name=record.disk_name, reason=str(error)
            ) from error

    def _hit(self, record: models.BaseImage) -> Deployment:
        checks.check_size(record.image, self._size)
        if self._cache.settings.wipe_disks and self._size > (
            record.capacity or 0
        ):
            raise exceptions.DiskLargerThanBaseImage(name=record.disk_name)
        if (
            self._size > (record.capacity or 0)
            and self._cache.platform_facts().copies_into_larger is False
        ):
            raise exceptions.LargerCopyRefused(name=record.disk_name)
        self._steps.report('copy', 0)
        try:
            disk = space.with_space(
                self._cache,
                lambda: self._copy(record),
                for_image=record.image.id,
            )
        except exceptions.NotEnoughSpace as error:
            # Without the cache there may be space.
            raise exceptions.NoRoomForCopy(
                name=self._name, image=record.image.id, reason=str(error)
            ) from error
        if self._cache.settings.wipe_disks and disk.capacity > (
            record.capacity or 0
        ):
            # The pool rounds sizes in another way.
            self._disks.discard(disk)
            raise exceptions.DiskLargerThanBaseImage(name=record.disk_name)
        self._steps.report('copy', self._image.size)
        images = self._cache.catalog.base_images
        try:
            images.record_hit(record)
            if record.image.name != self._image.name:
                images.rename(record.pool, record.image.id, self._image.name)
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not record the use of image %(image)s: %(error)s',
                {'image': self._image.label, 'error': error},
            )
        return self._deployment(disk, Outcome.HIT)

    def _copy(self, record: models.BaseImage) -> base.Disk:
        try:
            with self._steps.timed('copy'), self._disks.changing(self._name):
                return self._driver.copy_disk(
                    base.Disk(
                        record.disk_name,
                        record.udid or '',
                        record.capacity or 0,
                        ownership.certain_label(record.fill_id),
                    ),
                    self._new_disk(record.image),
                    lambda: self._is_current(record),
                )
        except (
            exceptions.UpdateUnanswered,
            exceptions.UpdateNotMade,
        ) as error:
            # PowerVM may have copied for hours, or still do so.
            self._uncopied = exceptions.CopyFailed(
                name=self._name, image=record.image.id, reason=str(error)
            )
            raise self._uncopied from error

    def _is_current(self, record: models.BaseImage) -> bool:
        found = self._fill.servable()
        if found is None or found.fill_id != record.fill_id:
            return False
        self._record_request()
        return True

    def _record_request(self) -> None:
        """Record that the copy starts now: it may have waited for hours."""
        if self._entry is None:
            return
        try:
            self._cache.catalog.instance_disks.set_requested(self._entry)
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not record the start of the copy to disk %(disk)s: '
                '%(error)s',
                {'disk': self._name, 'error': error},
            )

    # -- misses

    def _fetch(
        self, turn: contextlib.ExitStack, gone: str | None
    ) -> Deployment:
        if self._uncached:
            # A first attempt gave the lock back.
            return self._fetch_alone(self._uncached)
        self._fill.clear_previous(gone, self._download.check_permission)
        return self._miss(turn)

    def _miss(self, turn: contextlib.ExitStack) -> Deployment:
        with self._download.open() as stream:
            checks.check_size(stream.image, self._size)
            try:
                evictor.Evictor(self._cache).admit(stream.image, fairly=True)
                _, disk = space.with_space(
                    self._cache,
                    lambda: self._fill.create(
                        stream.image, [self._new_disk(stream.image)]
                    ),
                    newcomer=stream.image,
                )
            except (
                exceptions.CacheFault,
                exceptions.NotEnoughSpace,
                exceptions.UpdateUnanswered,
                exceptions.UpdateNotMade,
            ) as error:
                # Other deploys of the image need not wait for this disk.
                turn.close()
                self._uncached = str(error)
                self._warn_of_bypass(self._uncached, self._key(error))
                return self._fill_alone(stream, self._uncached)
            self._record_udid(disk)
            return self._fill_both(stream, disk)

    def _fill_both(
        self, stream: image_stream.ImageStream, disk: base.Disk
    ) -> Deployment:
        """Write the stream to the base image and the instance disk."""
        with self._fill.undone_on_error():
            base_error, error = self._fill.write(stream, [disk])
        record = None
        if not base_error:
            try:
                record = self._fill.commit(stream.image)
            except exceptions.CacheFault as fault:
                base_error = fault
        if base_error:
            self._fill.roll_back()
        if error:
            self._disks.discard(disk)
            if record is None:
                raise error
            LOG.warning(
                'Writing disk %(disk)s failed; copying it from the cache: '
                '%(error)s',
                {'disk': self._name, 'error': error},
            )
            disk = self._hit(record).disk
        if base_error:
            LOG.warning(
                'Could not cache image %(image)s: %(error)s',
                {'image': self._image.label, 'error': base_error},
            )
            return self._deployment(disk, Outcome.BYPASS, str(base_error))
        return self._deployment(disk, Outcome.MISS)

    def _fill_alone(
        self, stream: image_stream.ImageStream, reason: str
    ) -> Deployment:
        """Write the stream to the instance disk only."""
        checks.check_size(stream.image, self._size)
        disk = space.with_space(
            self._cache,
            lambda: self._create_alone(stream.image),
            last_resort=True,
        )
        self._record_udid(disk)
        (error,) = self._disks.write(stream, [disk])
        if error:
            self._disks.discard(disk)
            raise error
        return self._deployment(disk, Outcome.BYPASS, reason)

    def _create_alone(self, image: image_module.Image) -> base.Disk:
        with self._disks.changing(self._name):
            (disk,) = self._driver.create_disks([self._new_disk(image)])
        return disk

    # -- the record of the instance disk

    @contextlib.contextmanager
    def _on_record(self) -> Iterator[None]:
        """Keep a record of the disk while it is created.

        If the record cannot be written, the disk is created without one.
        """
        with contextlib.ExitStack() as held:
            try:
                self._entry = held.enter_context(
                    instance_records.recorded(
                        self._cache,
                        self._name,
                        max(self._size, self._image.least_disk_size),
                        lambda: not self._disks.may_exist(self._name),
                    )
                )
            except exceptions.CacheFault as error:
                if isinstance(error, exceptions.LockTimeout) and not (
                    instance_records.is_unrecorded(self._cache, self._name)
                ):
                    # Only one deploy can have the name: fail at once.
                    raise exceptions.DiskBeingCreated(
                        name=self._name, pool=self._driver.pool().name
                    ) from error
                LOG.warning(
                    'Creating disk %(disk)s without a record: %(error)s',
                    {'disk': self._name, 'error': error},
                )
            yield

    def _delete_late_disk(self, error: exceptions.PVMImageCacheError) -> bool:
        """Delete a late disk of a crashed process that has our name."""
        return (
            isinstance(error, exceptions.DiskExists)
            and self._entry is not None
            and disposal.delete_late_disk(
                self._driver, self._name, self._entry.fill_id
            )
        )

    def _forget_deleted(self, disk: base.Disk) -> None:
        if disk.name == self._name:
            self._record_udid(None)

    def _record_udid(self, disk: base.Disk | None) -> None:
        if self._entry is None:
            return
        try:
            self._cache.catalog.instance_disks.set_udid(
                self._entry, disk.udid if disk else None
            )
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not record the UDID of disk %(disk)s: %(error)s',
                {'disk': self._name, 'error': error},
            )

    def _new_disk(self, image: image_module.Image) -> base.NewDisk:
        return base.NewDisk(
            self._name,
            max(self._size, image.least_disk_size),
            image.disk_format,
            ownership.label(self._entry.fill_id) if self._entry else None,
        )

    # -- reports

    def _warn_of_bypass(self, reason: str, key: str | None) -> None:
        """Warn of a bypass, but not of each disk of an image again."""
        self._cache.warn_once.log(
            f'Bypassing the cache for image {self._image.label}: {reason}',
            key=key,
            repeated=logging.INFO,
        )

    def _key(self, error: exceptions.PVMImageCacheError) -> str | None:
        """Return a key for reasons that contain figures or disk names."""
        if isinstance(
            error,
            exceptions.NotEnoughSpace
            | exceptions.NoRoomForCopy
            | exceptions.CacheLimitReached,
        ):
            return f'no space for a disk of image {self._image.id}'
        return None

    def _deployment(
        self, disk: base.Disk, outcome: Outcome, reason: str = ''
    ) -> Deployment:
        self._disks.settle(self._name)
        return Deployment(
            disk,
            self._image,
            outcome,
            self._download.bytes_received,
            self._steps.seconds(),
            reason,
        )


def _is_worth_a_retry(error: exceptions.PVMImageCacheError) -> bool:
    """Return whether a deploy may succeed when it is repeated.

    Errors of Glance were retried where they arose.
    """
    return error.transient and not isinstance(error, exceptions.ImageError)
