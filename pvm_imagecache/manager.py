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

"""The one door to the cache: deploys, prefetches, what is there, purges.

The manager holds the records of the catalogue against the disks of a
driver, and decides whether a deploy is a hit, a miss or a bypass. How bytes
move is in :mod:`~pvm_imagecache.transfer`, how disks are made in the
driver.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import dataclasses
import os
from typing import Any

from oslo_log import log as logging

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import deploy
from pvm_imagecache.drivers import base
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import image_source
from pvm_imagecache import locks
from pvm_imagecache import naming
from pvm_imagecache import parts as parts_module
from pvm_imagecache import plugins
from pvm_imagecache import recovery

LOG = logging.getLogger(__name__)

@dataclasses.dataclass(frozen=True)
class Purged:
    """What became of one cached image that was to be purged.

    :ivar removed: whether it is gone.
    :ivar reason: why it stayed.
    """

    base_image: catalog_module.BaseImage
    removed: bool
    reason: str = ''


@dataclasses.dataclass(frozen=True)
class Usage:
    """The pool and the part of the cache in it; bytes.

    :ivar cached: taken up by base images.
    :ivar totals: by action: hit, miss, bypass, pool, prefetch, purge.
    """

    pool: base.Pool
    images: int
    cached: int
    totals: dict[str, catalog_module.Total]


class ImageManager:
    """Deploys images through the cache of one pool.

    Safe to use from several threads, beside other processes with managers
    of the same state directory.
    """

    def __init__(
        self,
        driver: base.DiskDriver,
        source: image_source.ImageSource,
        catalog: catalog_module.Catalog,
        lock_directory: locks.LockDirectory,
        settings: parts_module.Settings,
    ) -> None:
        self._driver = driver
        self._catalog = catalog
        self._settings = settings
        self._parts = parts_module.Parts(
            driver, source, catalog, lock_directory, settings)

    @classmethod
    def from_conf(
        cls, conf: Any, source: image_source.ImageSource
    ) -> 'ImageManager':
        """Make the manager that a configuration describes.

        :param source: where images come from: the credentials differ
            between nova-compute and the shell.
        """
        options = conf.pvm_imagecache
        # Nothing asks the policies yet; a wrong name is told at once.
        plugins.load_policies(conf)
        return cls(
            plugins.load_driver(conf), source,
            catalog_module.Catalog(
                os.path.join(options.state_path, 'catalog.sqlite')),
            locks.LockDirectory(os.path.join(options.state_path, 'locks')),
            parts_module.Settings(
                enabled=options.enabled,
                stall_timeout=options.stall_timeout,
                fetch_timeout=options.fetch_timeout))

    def close(self) -> None:
        """Log off from PowerVM and close the catalogue."""
        self._driver.close()
        self._catalog.close()

    @property
    def caches_images(self) -> bool:
        """Whether base images are kept in the pool, by this project."""
        return base.Capability.IMAGE_CACHE in self._driver.capabilities

    # -- deploying

    def create_disk(
        self,
        image: image_module.Image,
        name: str,
        size: int = 0,
        *,
        context: Any = None,
        progress: deploy.Progress | None = None,
    ) -> deploy.Deployment:
        """Make an instance disk that begins with the bytes of an image.

        :param size: of the disk in bytes; 0 for the least that the image
            needs. The pool may round it up.
        :param context: nova's request context, for the image's data.
        :raises DiskTooSmall, DiskNameInvalid, DiskExists, NotEnoughSpace:
        :raises ImageError: if Glance can't give the image.
        :raises PowerVMError: if PowerVM can't make the disk.
        """
        naming.check_disk_name(name, self._driver.longest_name)
        image_module.check_format(image)
        deployment = deploy.InstanceDeploy(
            self._parts, image, name, size, context, progress).run()
        LOG.info('Disk %(disk)s made from image %(image)s: %(outcome)s, '
                 '%(bytes)d bytes from Glance, %(seconds).1f s%(reason)s',
                 {'disk': name, 'image': image.id,
                  'outcome': deployment.outcome.value,
                  'bytes': deployment.bytes_fetched,
                  'seconds': deployment.seconds['total'],
                  'reason': deployment.reason and f' ({deployment.reason})'})
        self._remember(
            deployment.outcome.value, image_id=image.id, disk_name=name,
            bytes_fetched=deployment.bytes_fetched,
            bytes_saved=(image.size if deployment.outcome
                         is deploy.Outcome.HIT else None),
            seconds=deployment.seconds['total'],
            detail=deployment.reason or None)
        return deployment

    def delete_disk(self, name: str) -> base.Disk:
        """Delete an instance disk.

        :raises DiskNotFound: if it is not there.
        :raises DiskNotOurs: if it is a cached image.
        """
        disk = self._driver.find_disk(name)
        if disk is None:
            raise exceptions.DiskNotFound(
                name=name, pool=self._driver.pool().name)
        if self.caches_images and naming.is_base_image_name(name):
            record = self._catalog.get(self._driver.pool_id(), name)
            if record is not None:
                raise exceptions.DiskNotOurs(
                    name=name, image_id=record.image.id)
        removal, = self._driver.delete_disks([disk])
        if removal.error:
            raise removal.error
        return disk

    def prefetch(
        self,
        image: image_module.Image,
        *,
        context: Any = None,
        progress: deploy.Progress | None = None,
    ) -> deploy.Prefetch:
        """Fetch an image into the cache, unless it is there.

        :raises CacheDisabled: if nothing may, or can, be cached.
        """
        self._need_cache('prefetch images')
        if not self._settings.enabled:
            raise exceptions.CacheDisabled(
                reason='The cache is switched off: enabled is false in '
                       '[pvm_imagecache].')
        result = deploy.BaseImageFetch(
            self._parts, image, context, progress).run()
        if result.fetched:
            self._remember(
                'prefetch', image_id=image.id, disk_name=result.disk_name,
                bytes_fetched=result.bytes_fetched, seconds=result.seconds)
        return result

    # -- what is there

    def list(self) -> Sequence[catalog_module.BaseImage]:
        """The base images of the pool, least recently used first."""
        self._need_cache('list cached images')
        return self._catalog.images(self._driver.pool_id())

    def find(self, text: str) -> catalog_module.BaseImage:
        """A base image by its image's id, unique start of it, or name.

        :raises ImageNotCached, ImageAmbiguous:
        """
        records = self.list()
        matches = (
            [each for each in records if each.image.id == text]
            or [each for each in records if each.image.name == text]
            or [each for each in records if each.image.id.startswith(text)])
        if not matches or not text:
            raise exceptions.ImageNotCached(image=text)
        if len(matches) > 1:
            raise exceptions.ImageAmbiguous(image=text, matches=', '.join(
                f'{each.image.id} ({each.image.name})' for each in matches))
        return matches[0]

    def usage(self) -> Usage:
        """The pool's room, and how much of it the cache takes."""
        pool = self._driver.pool()
        records = self._catalog.images(pool.id) if self.caches_images else []
        return Usage(
            pool=pool, images=len(records),
            cached=sum(each.capacity or 0 for each in records),
            totals=self._catalog.totals(pool.id))

    # -- taking away

    def purge(
        self, base_images: Sequence[catalog_module.BaseImage]
    ) -> Sequence[Purged]:
        """Take cached images away; those that are being filled stay.

        Disks that were copied from them are not touched: a copy does not
        need what it was made from.
        """
        self._need_cache('purge cached images')
        results = []
        with contextlib.ExitStack() as held:
            doomed = []
            for each in base_images:
                try:
                    held.enter_context(self._parts.hold(each.disk_name, 0))
                    if self._remove_unfinished(each):
                        results.append(Purged(each, True))
                    else:
                        doomed.append(self._doom(each))
                except (exceptions.LockTimeout,
                        exceptions.CatalogConflict) as error:
                    LOG.info('Image %(image)s stays in the cache: %(error)s',
                             {'image': each.image.id, 'error': error})
                    results.append(Purged(
                        each, False, 'it is being filled or copied'))
                except exceptions.PVMImageCacheError as error:
                    results.append(Purged(each, False, str(error)))
            results.extend(self._delete_base_images(doomed))
        return results

    def _remove_unfinished(self, record: catalog_module.BaseImage) -> bool:
        """Tidy up a base image whose filling or removal has died."""
        current = self._catalog.get(record.pool, record.disk_name)
        if current is None or current.state is catalog_module.State.READY:
            return False
        recovery.remove_base_image(self._driver, current)
        self._catalog.remove(current)
        return True

    def reconcile(self) -> recovery.Reconciliation:
        """Hold catalogue and pool together; tidy up after dead processes.

        :raises PowerVMError: if the pool can't be read.
        """
        self._need_cache('verify the cache')
        return recovery.reconcile(self._parts)

    def _doom(
        self, record: catalog_module.BaseImage
    ) -> catalog_module.BaseImage:
        current = self._catalog.get(record.pool, record.disk_name)
        if current is None or current.lease != record.lease:
            raise exceptions.CatalogConflict(
                image=record.image.id, reason='it was replaced or removed')
        self._catalog.start_eviction(current)
        return current

    def _delete_base_images(
        self, records: Sequence[catalog_module.BaseImage]
    ) -> Iterable[Purged]:
        if not records:
            return
        _, disks = self._driver.disks()
        by_identity = {(disk.name, disk.udid): disk for disk in disks}
        by_record = [
            (record, by_identity.get((record.disk_name, record.udid or '')))
            for record in records]
        removals = {removal.disk: removal for removal in
                    self._driver.delete_disks(
                        [disk for _, disk in by_record if disk])}
        for record, disk in by_record:
            error = removals[disk].error if disk else None
            if error:
                LOG.warning('Cached image %(image)s could not be removed: '
                            '%(error)s', {'image': record.image.id,
                                          'error': error})
                if not error.passing:
                    self._catalog.stop_eviction(record)
                yield Purged(record, False, str(error))
                continue
            self._catalog.remove(record)
            self._remember('purge', image_id=record.image.id,
                           disk_name=record.disk_name)
            yield Purged(record, True)

    def _need_cache(self, what: str) -> None:
        if not self.caches_images:
            raise exceptions.CacheDisabled(
                reason=f'Can not {what}: the disk driver keeps images in '
                       'its own pool, so that pvm_imagecache caches none '
                       'there.')

    def _remember(self, action: str, **facts: Any) -> None:
        """Write to the history; work that is done stays done without."""
        try:
            self._catalog.add_history(
                self._driver.pool_id(), action, **facts)
        except exceptions.PVMImageCacheError as error:
            LOG.warning('Not in the history: %(action)s of image %(image)s: '
                        '%(error)s',
                        {'action': action, 'image': facts.get('image_id'),
                         'error': error})
