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

"""One attempt to create the base image of an image.

Only one attempt runs for an image on a host. Others wait as long as it makes
progress, and take over if its process crashes. What could not be finished is
rolled back, or stays on record for the next cleanup run.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import time
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.deploy import checks
from pvm_imagecache.deploy import new_disks
from pvm_imagecache.deploy import steps as steps_module
from pvm_imagecache.deploy import verification as verification_module
from pvm_imagecache.drivers import base
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: Seconds between two reads of the progress of another process.
_POLL_INTERVAL: Final = 0.5
#: How often the name of the disk is determined again because it changed.
_LOOKS: Final = 3


class BaseImageFill:
    """Creates, fills and commits a base image, or rolls it back.

    The calls of an attempt are :meth:`claim`, :meth:`clear_previous`,
    :meth:`create`, :meth:`write` and :meth:`commit`, with the lock of
    :meth:`claim` held. The owner calls :meth:`roll_back` after a failure;
    :meth:`create` rolls back itself.

    :param cache: of the pool.
    :param image: the image.
    :param steps: measures the wait and reports its progress.
    :param disks: the disks that the operation creates.
    :param verification: what is required of the signature of the data.
    """

    def __init__(
        self,
        cache: cache_module.Cache,
        image: image_module.Image,
        steps: steps_module.Steps,
        disks: new_disks.NewDisks,
        verification: verification_module.Verification,
    ) -> None:
        self._cache = cache
        self._image = image
        self._steps = steps
        self._disks = disks
        self._verification = verification
        self._record: models.BaseImage | None = None
        #: Disks that a roll-back deletes.
        self._created: list[base.Disk] = []
        #: Of an attempt of a crashed process whose disk may still appear.
        self._carried: str | None = None
        #: The last failed download when the operation began.
        self._failed_before: models.FailedDownload | None = None
        self._began = False
        self._name = naming.base_image_name(image.id)
        self._name_is_fixed = False

    @property
    def name(self) -> str:
        """Name of the base image's disk, as the last :meth:`record` found."""
        return self._name

    def record(self) -> models.BaseImage | None:
        """Return the record that the catalog has for the disk name now.

        The name is the second one of the image while the catalog has another
        image under the first one, or has this image under the second one. It
        does not change while :meth:`claim` holds the lock of the name.

        :returns: the record, or None.
        :raises CatalogError: if the catalog cannot be read.
        """
        pool = self._cache.driver.pool_id()
        first = naming.base_image_name(self._image.id)
        second = naming.second_base_image_name(self._image.id, pool)
        found = self._cache.catalog.base_images.get_many(pool, [first, second])
        if not self._name_is_fixed:
            self._name = first
            if self._is_other(found.get(first)) or (
                first not in found
                and second in found
                and not self._is_other(found[second])
            ):
                self._name = second
        return found.get(self._name)

    def _is_other(self, record: models.BaseImage | None) -> bool:
        return record is not None and record.image.id != self._image.id

    def servable(self, gone: str | None = None) -> models.BaseImage | None:
        """Return the record of a base image that deploys may be served from.

        :param gone: fill ID of a record whose disk is known to be missing.
        :returns: the record, or None if the image must be fetched.
        :raises CatalogError: if the catalog cannot be read.
        """
        self._note_failed_download()
        record = self.record()
        if (
            record is None
            or record.fill_id == gone
            or not checks.is_servable(record, self._image)
            or not self._verification.covers(record)
            or not self._is_wiped_enough(record)
        ):
            return None
        return record

    def _is_wiped_enough(self, record: models.BaseImage) -> bool:
        """Return whether copies show no blocks of deleted disks."""
        return (
            not self._cache.settings.wipe_disks
            or models.is_wiped(record.fill_id)
            or record.capacity == record.image.size
        )

    @contextlib.contextmanager
    def claim(
        self, before_wait: Callable[[], None]
    ) -> Iterator[contextlib.ExitStack]:
        """Acquire the lock for filling the base image.

        Waits while another thread or process fetches the image and makes
        progress.

        :param before_wait: is called before a wait. Its exceptions are
            raised.
        :returns: a context manager that gives a stack; closing the stack
            releases the lock before the end of the block.
        :raises LockTimeout: if the other fetch makes no progress for
            ``fetch_timeout`` seconds, or if the name of the disk changes
            again and again.
        :raises ImageFetchFailed: if the other fetch got wrong data, twice.
        :raises ImageSignatureWrong: if the other fetch showed that the
            required signature is not that of the data.
        :raises CatalogError: if the lock file or the catalog cannot be used.
        """
        self._note_failed_download()
        with contextlib.ExitStack() as held:
            self._lock_name(held, before_wait)
            self._raise_if_failed_meanwhile()
            yield held

    def _lock_name(
        self, held: contextlib.ExitStack, before_wait: Callable[[], None]
    ) -> None:
        """Acquire the lock of the name that the base image has, and fix it."""
        for looks_left in reversed(range(_LOOKS)):
            self.record()
            name = self.name
            with contextlib.ExitStack() as lock:
                try:
                    self._lock(lock, name, before_wait)
                except exceptions.LockTimeout:
                    if not looks_left or not self._is_renamed(name):
                        raise
                    continue
                if looks_left and self._is_renamed(name):
                    continue
                held.push(lock.pop_all())
            self._name, self._name_is_fixed = name, True
            held.callback(setattr, self, '_name_is_fixed', False)
            return

    def _is_renamed(self, name: str) -> bool:
        self.record()
        return self.name != name

    def _lock(
        self,
        held: contextlib.ExitStack,
        name: str,
        before_wait: Callable[[], None],
    ) -> None:
        with self._steps.timed('wait'):
            try:
                held.enter_context(self._cache.fill_lock(name, 0))
                return
            except exceptions.LockTimeout:
                pass
        before_wait()
        deadline = _ProgressDeadline(
            self._cache.settings.fetch_timeout,
            self.record,
            lambda: self.name != name,
            self._steps,
        )
        with self._steps.timed('wait'), interrupts.allowed():
            held.enter_context(
                self._cache.fill_lock(name, deadline.seconds_left)
            )

    def clear_previous(
        self, gone: str | None, check_permission: Callable[[], None]
    ) -> None:
        """Dispose of what an earlier fill left under the disk name.

        :param gone: fill ID of a record whose disk is known to be missing.
        :param check_permission: raises an error if the requester may not
            download the image. It is called before a complete base image is
            deleted, which serves other users.
        :raises BaseImageOccupied: if the name cannot be used.
        :raises ImageError: if the base image cannot be replaced, because a
            required signature cannot be verified, or the requester may not
            download the image.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        self._carried = None
        record = self.record()
        if record is None:
            return
        if record.state is models.State.READY and record.fill_id != gone:
            self._check_replaceable(record)
            covered = self._verification.covers(record)
            if not covered:
                self._verification.make_ready()
            check_permission()
            if not covered:
                LOG.info(
                    'Replacing the base image of image %s: its data was not '
                    'verified with the present signature of the image',
                    self._image.label,
                )
        try:
            result = disposal.dispose(self._cache, record)
        except exceptions.PowerVMError as error:
            raise self._occupied(
                f'a stale disk could not be removed: {error}'
            ) from error
        if result is disposal.Disposal.MAPPED:
            in_use = exceptions.DiskInUse(name=record.disk_name)
            raise self._occupied(
                f'a stale disk could not be removed: {in_use}'
            )
        if result is disposal.Disposal.MAY_APPEAR:
            # start_fill() replaces the record in one step, so that no crash
            # loses the fill ID.
            self._carried = record.fill_id
            return
        self._cache.catalog.base_images.remove(record)
        if result is disposal.Disposal.FOREIGN and record.udid is not None:
            raise disposal.name_taken(self._cache, record)

    def create(
        self, image: image_module.Image, others: Sequence[base.NewDisk] = ()
    ) -> list[base.Disk]:
        """Write the record, then create the disk of the base image.

        :param image: as its stream describes it.
        :param others: disks that are created in the same request.
        :returns: all the disks, that of the base image first.
        :raises BaseImageOccupied: if a disk that cannot be replaced has the
            name; BaseImageOfOtherCatalog, if it belongs to another catalog.
        :raises NotEnoughSpace: if the disks do not fit.
        :raises CacheLimitReached: if the cache would be too large.
        :raises PowerVMError: if PowerVM does not create them.
        :raises CatalogError: if the record cannot be written.
        :raises CatalogConflict: if the name has a record, or another fill
            of the image has just started under another name.
        """
        images = self._cache.catalog.base_images
        self._created = []
        pool = self._cache.driver.pool_id()
        with self._cache.catalog.transaction():
            images.check_only_name(pool, image.id, self.name)
            record = self._record = images.start_fill(
                pool,
                self.name,
                image,
                self._carried,
                self._cache.settings.wipe_disks,
            )
        label = ownership.label(record.fill_id)
        with self.undone_on_error():
            evictor.Evictor(self._cache).check_limit(image)
            with self._disks.changing(
                self.name, *(new.name for new in others)
            ):
                disks = self._create_disks(
                    base.NewDisk(
                        self.name,
                        image.size,
                        image.disk_format,
                        label,
                    ),
                    others,
                )
            self._created = disks
            images.set_disk(record, disks[0].udid, disks[0].capacity)
            disposal.record_labels(
                self._cache,
                disks,
                created_with=[
                    label,
                    *(each.label for each in others if each.label),
                ],
            )
        self._created = disks[:1]
        return disks

    def write(
        self,
        stream: image_stream.ImageStream,
        others: Sequence[base.Disk] = (),
    ) -> list[Exception | None]:
        """Write a stream to the base image and to other disks.

        :param stream: the data.
        :param others: disks that are written at the same time.
        :returns: for each disk, why it could not be written, or None; that
            of the base image first.
        :raises PVMImageCacheError: if the stream fails; all the disks are
            deleted then.
        """
        record = self._created_record()
        return self._disks.write(
            stream,
            [*self._created, *others],
            self._record_progress,
            # The token may be that of an earlier attempt.
            models.is_wiped(record.fill_id),
        )

    def commit(self, image: image_module.Image) -> models.BaseImage:
        """Declare the base image ready: deploys are served from now on.

        :param image: as its stream describes it.
        :returns: the record.
        :raises CatalogError: if the catalog cannot be written.
        :raises CatalogConflict: if the record was replaced or removed.
        """
        record = self._created_record()
        verified = self._verification.fingerprint
        self._cache.catalog.base_images.finish_fill(record, image, verified)
        self._forget_failed_download()
        self._disks.settle(self.name)
        (disk,) = self._created
        return dataclasses.replace(
            record,
            udid=disk.udid,
            capacity=disk.capacity,
            image=image,
            state=models.State.READY,
            verified_signature=verified,
        )

    def record_failure(self, error: exceptions.ImageError) -> None:
        """Record a failed download, for the deploys that wait for it.

        :param error: of the download; other downloads would fail as well.
        """
        signature = None
        if isinstance(error, exceptions.ImageSignatureWrong):
            signature = self._verification.fingerprint
        try:
            self._cache.catalog.failed_downloads.record(
                self._cache.driver.pool_id(),
                self._failure_key,
                self._image.data_id,
                str(getattr(error, 'reason', error) if signature else error),
                signature,
            )
        except exceptions.PVMImageCacheError as fault:
            LOG.warning(
                'Could not record the failed download of image %(image)s: '
                '%(error)s',
                {'image': self._image.label, 'error': fault},
            )

    @property
    def _failure_key(self) -> str:
        """Under which failed downloads of the image are recorded."""
        return naming.base_image_name(self._image.id)

    def _failed_download(self) -> models.FailedDownload | None:
        return self._cache.catalog.failed_downloads.get(
            self._cache.driver.pool_id(), self._failure_key
        )

    def _note_failed_download(self) -> None:
        """Note the last failed download, once, at the begin."""
        if not self._began:
            self._failed_before = self._failed_download()
            self._began = True

    def _raise_if_failed_meanwhile(self) -> None:
        """Raise the error of a download that failed since the begin."""
        failed = self._failed_download()
        if (
            failed is None
            or failed == self._failed_before
            or failed.data_id != self._image.data_id
        ):
            return
        if failed.signature is None:
            raise exceptions.ImageFetchFailed(
                image=self._image.id,
                image_name=self._image.name,
                reason=failed.error,
            )
        if failed.signature == self._verification.fingerprint:
            raise exceptions.ImageSignatureWrong(
                image=self._image.id,
                image_name=self._image.name,
                reason=failed.error,
            )

    def _forget_failed_download(self) -> None:
        if self._failed_before is None:
            return
        try:
            self._cache.catalog.failed_downloads.remove(
                self._cache.driver.pool_id(), self._failure_key
            )
        except exceptions.CacheFault as error:
            LOG.debug('The record of the failed download is kept: %s', error)

    def roll_back(self) -> None:
        """Delete what was created and remove the record.

        What cannot be deleted is logged and stays on record, so that the
        next cleanup run deletes it.
        """
        self._disks.discard(*self._created)
        if self._record is None or self._disks.may_exist(self.name):
            return
        images = self._cache.catalog.base_images
        try:
            if self._carried:
                # The disk that a crashed process requested may still appear,
                # with a UDID that is not that of our disk.
                images.start_fill(
                    self._record.pool,
                    self._record.disk_name,
                    self._record.image,
                    self._carried,
                )
            else:
                images.remove(self._record)
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not remove the record of image %(image)s: %(error)s',
                {'image': self._image.label, 'error': error},
            )

    @contextlib.contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Roll back if the block fails.

        :returns: a context manager.
        """
        try:
            yield
        except BaseException:
            self.roll_back()
            raise

    def _check_replaceable(self, record: models.BaseImage) -> None:
        if record.image.id != self._image.id:
            raise self._occupied(
                f'image {record.image.id} is cached under it.'
            )
        if (
            image_module.compare(record.image, self._image)
            is image_module.Sameness.UNKNOWN
        ):
            raise self._occupied(
                'what is cached under it cannot be compared with the image, '
                'as they have no hash in common.'
            )

    def _create_disks(
        self, first: base.NewDisk, others: Sequence[base.NewDisk]
    ) -> list[base.Disk]:
        create = functools.partial(
            self._cache.driver.create_disks, [first, *others]
        )
        with self._name_taken_elsewhere():
            try:
                return create()
            except exceptions.DiskExists as error:
                if error.name != self.name or isinstance(
                    error, exceptions.DiskExistsElsewhere
                ):
                    raise
                self._free_name()
            try:
                return create()
            except exceptions.DiskExists as error:
                if error.name != self.name or isinstance(
                    error, exceptions.DiskExistsElsewhere
                ):
                    raise
                raise self._occupied(
                    'another process creates disks of that name.'
                ) from error

    @contextlib.contextmanager
    def _name_taken_elsewhere(self) -> Iterator[None]:
        try:
            yield
        except exceptions.DiskExistsElsewhere as error:
            if error.name != self.name:
                raise
            raise self._occupied(
                f'{error.pool} of the same Virtual I/O Server has a disk of '
                'that name. Rename or delete that disk, so that the image '
                'can be cached.'
            ) from error

    def _free_name(self) -> None:
        """Delete a stale disk that has the name of the base image."""
        driver = self._cache.driver
        try:
            if self._carried and disposal.delete_late_disk(
                driver, self.name, self._carried
            ):
                return
            adoption.delete_untracked(
                driver,
                self._image,
                self.name,
                self._cache.own_catalogs(),
                self._cache.platform_facts().granularity,
            )
        except exceptions.PowerVMError as error:
            raise self._occupied(
                f'a stale disk of that name could not be removed: {error}'
            ) from error

    def _created_record(self) -> models.BaseImage:
        """Return the record that create() has made."""
        if self._record is None:
            raise RuntimeError('create() comes before')
        return self._record

    def _record_progress(self, done: int) -> None:
        """Record the bytes written, so that waiters detect a stalled fill."""
        record = self._created_record()
        try:
            self._cache.catalog.base_images.set_progress(record, done)
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not record the progress of image %(image)s: %(error)s',
                {'image': self._image.label, 'error': error},
            )

    def _occupied(self, reason: str) -> exceptions.BaseImageOccupied:
        return exceptions.BaseImageOccupied(
            name=self.name, image=self._image.id, reason=reason
        )


class _ProgressDeadline:
    """How long to wait for another fetch: as long as it makes progress.

    A fetch of another image, which has the same disk name, is not waited for.
    """

    def __init__(
        self,
        seconds: float,
        read: Callable[[], models.BaseImage | None],
        is_over: Callable[[], bool],
        steps: steps_module.Steps,
    ) -> None:
        self._seconds = seconds
        self._read = read
        self._is_over = is_over
        self._steps = steps
        self._read_at = 0.0
        self._seen: tuple[str, int] | None = None
        self._progress_at = time.monotonic()

    def seconds_left(self) -> float:
        """Return the seconds until the wait ends without progress."""
        now = time.monotonic()
        if now - self._read_at >= _POLL_INTERVAL:
            self._read_at = now
            record = self._read()
            if self._is_over():
                return 0.0
            seen = (record.fill_id, record.bytes_done) if record else None
            if seen != self._seen:
                self._seen, self._progress_at = seen, now
            if record:
                self._steps.report('wait', record.bytes_done)
        return self._seconds - (now - self._progress_at)
