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

"""Reconciliation of the catalog with the disks of the pool.

Records without a lock and disks without a record are what crashed processes
leave. What other processes are working on is not touched.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.cleanup import instance_records
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import stale_uploads
from pvm_imagecache.drivers import base

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The pool and its records, as reconciliation found them.

    :ivar pool: the pool.
    :ivar mapped: names of base images that partitions use.
    :ivar records: of the base images.
    """

    pool: base.Pool
    mapped: frozenset[str]
    records: Sequence[models.BaseImage]

    def is_current(self, catalog: facade.Catalog) -> bool:
        """Return whether no base image changed its state since.

        :param catalog: of the pool.
        :returns: False if a fill began, ended, or a base image was removed.
        :raises CatalogError: if the catalog cannot be read.
        """
        return {
            (each.disk_name, each.fill_id, each.state) for each in self.records
        } == set(catalog.base_images.states(self.pool.id))


@dataclasses.dataclass(frozen=True)
class Reconciliation:
    """What reconciliation found and did.

    :ivar forgotten: names of base images whose records were removed because
        their disk does not exist.
    :ivar removed: names of incomplete disks that were deleted.
    :ivar failed: name and reason of what could not be cleaned up.
    :ivar quarantined: name of a base image that is no longer served, and
        the reason.
    :ivar untracked: names of disks that look like base images but have no
        record, except those of other catalogs.
    :ivar of_others: name of a disk that looks like a base image, and the
        other catalog that it belongs to.
    :ivar snapshot: the pool as it was found, if it is still like that.
    """

    forgotten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    quarantined: tuple[tuple[str, str], ...] = ()
    untracked: tuple[str, ...] = ()
    of_others: tuple[tuple[str, str], ...] = ()
    snapshot: Snapshot | None = dataclasses.field(
        default=None, compare=False, repr=False
    )


def reconcile(cache: cache_module.Cache) -> Reconciliation:
    """Reconcile the catalog with the pool and remove what is stale.

    One disk that cannot be cleaned up does not keep others from it.

    :param cache: of the pool.
    :returns: what was found and done.
    :raises PowerVMError: if the pool cannot be read.
    :raises CatalogError: if the catalog cannot be read.
    """
    return _Reconciler(cache).run()


class _Reconciler:
    """One reconciliation."""

    def __init__(self, cache: cache_module.Cache) -> None:
        self._cache = cache
        self._forgotten: list[str] = []
        self._removed: list[str] = []
        self._failed: list[tuple[str, str]] = []
        self._quarantined: list[tuple[str, str]] = []
        #: The catalogs whose disks belong to this one.
        self._own: frozenset[str] = frozenset()
        #: Names of disks; None if PowerVM could not return the mappings.
        self._mapped: frozenset[str] | None = None

    def run(self) -> Reconciliation:
        """Reconcile."""
        instance_records.retry_unrecorded()
        catalog, driver = self._cache.catalog, self._cache.driver
        records = catalog.base_images.list(driver.pool_id())
        found = driver.base_image_snapshot()
        with self._noting_failure('labels'):
            disposal.record_labels(self._cache, found.disks)
            catalog.clock.save()
        self._own = catalog.identity.own()
        others = self._of_others(found.disks, records)
        with self._noting_failure('other catalogs'):
            self._note_others(found.pool, others)
        self._check_base_images(records, found.disks)
        for entry in catalog.instance_disks.list(found.pool.id):
            with self._noting_failure(entry.disk_name):
                self._check_instance_disk(entry)
        with self._noting_failure(naming.CHECK_DISK_PREFIX):
            self._check_other_pools(found.pool.id)
        with self._noting_failure('web/File'):
            stale_uploads.remove(self._cache)
        snapshot = None
        if self._mapped is not None and not self._removed:
            snapshot = Snapshot(found.pool, self._mapped, records)
        return Reconciliation(
            tuple(self._forgotten),
            tuple(self._removed),
            tuple(self._failed),
            tuple(self._quarantined),
            self._untracked(found, records),
            tuple((disk.name, ownership.catalog_of(disk)) for disk in others),
            snapshot,
        )

    def _of_others(
        self,
        disks: Sequence[base.Disk],
        records: Sequence[models.BaseImage],
    ) -> list[base.Disk]:
        """Return the base images of other catalogs that were not adopted."""
        known = {(each.disk_name, each.udid) for each in records}
        return [
            disk
            for disk in disks
            if ownership.other_catalog_of(disk, self._own)
            and (disk.name, disk.udid) not in known
        ]

    def _note_others(
        self, pool: base.Pool, disks: Sequence[base.Disk]
    ) -> None:
        """Record and report which other catalogs have base images."""
        catalog = self._cache.catalog
        others = ownership.other_catalogs(disks, self._own)
        catalog.identity.record_others(pool.id, others)
        for each in others:
            self._cache.warn_once.log(
                f'{pool.name} has {each.base_images} base image(s) of another '
                f'catalog ({each.catalog}; the catalog of this host is '
                f'{catalog.catalog_id}). They are not used and not changed. '
                'Another host caches images in this pool, state_path was '
                'changed, or the state directory was deleted: see '
                '"pvm-imagecache verify --help"'
            )

    def _untracked(
        self, found: base.PoolSnapshot, records: Sequence[models.BaseImage]
    ) -> tuple[str, ...]:
        """Return names of disks that had no record, and have none now."""
        names = {
            disk.name
            for disk in found.disks
            if not ownership.other_catalog_of(disk, self._own)
        } - {each.disk_name for each in records}
        if names:
            names -= {
                name
                for name, _, _ in self._cache.catalog.base_images.states(
                    found.pool.id
                )
            }
        return tuple(sorted(names))

    def _check_base_images(
        self,
        records: Sequence[models.BaseImage],
        disks: Sequence[base.Disk],
    ) -> None:
        existing = {(disk.name, disk.udid): disk for disk in disks}
        ready = []
        for record in records:
            disk = existing.get((record.disk_name, record.udid or ''))
            if (
                disk
                and record.state is models.State.READY
                and ownership.is_disk_of(disk, record)
            ):
                ready.append((record, disk))
                continue
            with self._noting_failure(record.disk_name):
                self._clean_up_base_image(record)
        self._quarantine(ready)

    def _clean_up_base_image(self, record: models.BaseImage) -> None:
        """Clean up a base image that is not ready or whose disk is missing."""
        cache = self._cache
        with (
            contextlib.suppress(exceptions.LockTimeout),
            cache.fill_lock(record.disk_name, 0),
        ):
            images = cache.catalog.base_images
            if images.get(record.pool, record.disk_name) != record:
                return
            if record.state is models.State.READY:
                if any(
                    ownership.is_disk_of(disk, record)
                    for disk in cache.driver.snapshot().disks
                ):
                    return
            elif not self._is_disposed(record):
                return
            images.remove(record)
            self._forgotten.append(record.disk_name)

    def _is_disposed(self, record: models.BaseImage) -> bool:
        """Dispose of a stale base image; return whether its record can go."""
        result = disposal.dispose(self._cache, record)
        if result is disposal.Disposal.MAPPED:
            raise exceptions.DiskInUse(name=record.disk_name)
        if result is disposal.Disposal.DELETED:
            self._removed.append(record.disk_name)
        if result is disposal.Disposal.FOREIGN:
            LOG.warning('%s', disposal.name_taken(self._cache, record))
        return result is not disposal.Disposal.MAY_APPEAR

    def _quarantine(
        self, ready: Sequence[tuple[models.BaseImage, base.Disk]]
    ) -> None:
        """Stop serving base images that others could have changed."""
        with self._noting_failure('mappings'):
            mapped = self._cache.driver.mapped([disk for _, disk in ready])
            self._mapped = frozenset(disk.name for disk in mapped)
            for record, disk in ready:
                fault = ownership.fault_of(record, disk, disk in mapped)
                if fault is None:
                    continue
                LOG.warning(
                    'Image %(image)s is no longer served from the cache: '
                    '%(fault)s',
                    {'image': record.image.label, 'fault': fault},
                )
                with contextlib.suppress(exceptions.CatalogConflict):
                    self._cache.catalog.base_images.quarantine(record, fault)
                    self._quarantined.append((record.disk_name, fault))

    def _check_other_pools(self, pool: str) -> None:
        """Remove what a platform check left in another volume group."""
        cache, prefix = self._cache, naming.CHECK_DISK_PREFIX
        disks = cache.catalog.instance_disks
        for other in disks.other_pools(pool, prefix):
            entries = [
                entry
                for entry in disks.list(other)
                if entry.disk_name.startswith(prefix)
            ]
            with self._noting_failure(f'{prefix}* in {other}'):
                try:
                    access = cache.driver.platform_access()
                    driver = access.sibling_with_id(other)
                except exceptions.VolumeGroupNotFound:
                    self._forget_with_pool(entries)
                    continue
                except exceptions.VolumeGroupElsewhere as error:
                    # Not a failure: this run can do nothing about it.
                    cache.warn_once.log(
                        f'Disk {entries[0].disk_name} of a platform check '
                        f'may still exist: {error}'
                    )
                    continue
                sibling = dataclasses.replace(cache, driver=driver)
                for entry in entries:
                    with self._noting_failure(entry.disk_name):
                        self._check_instance_disk(entry, sibling)

    def _forget_with_pool(
        self, entries: Sequence[models.InstanceDisk]
    ) -> None:
        """Remove the records of disks whose pool does not exist any more."""
        for entry in entries:
            LOG.info(
                'Forgetting disk %s of a platform check: its volume group '
                'does not exist any more',
                entry.disk_name,
            )
            self._cache.catalog.instance_disks.finish(entry)

    def _check_instance_disk(
        self,
        entry: models.InstanceDisk,
        cache: cache_module.Cache | None = None,
    ) -> None:
        cache = cache or self._cache
        with (
            contextlib.suppress(exceptions.LockTimeout),
            cache.instance_disk_lock(entry.disk_name),
        ):
            if entry not in cache.catalog.instance_disks.list(entry.pool):
                return
            result = disposal.dispose(cache, entry)
            if result is disposal.Disposal.MAY_APPEAR:
                return
            if result is disposal.Disposal.DELETED:
                self._removed.append(entry.disk_name)
            elif result is not disposal.Disposal.ABSENT:
                LOG.warning(
                    'Disk %(disk)s has the name of a disk that %(holder)s '
                    'left incomplete, but it %(why)s; not deleting it',
                    {
                        'disk': entry.disk_name,
                        'holder': entry.holder,
                        'why': _WHY_KEPT[result],
                    },
                )
            cache.catalog.instance_disks.finish(entry)

    @contextlib.contextmanager
    def _noting_failure(self, name: str) -> Iterator[None]:
        try:
            yield
        except exceptions.PVMImageCacheError as error:
            # A disk that cannot be deleted is not reported at each run.
            self._cache.warn_once.log(f'Could not clean up {name}: {error}')
            self._failed.append((name, str(error)))


_WHY_KEPT = {
    disposal.Disposal.FOREIGN: 'cannot be verified as ours',
    disposal.Disposal.MAPPED: 'is mapped to a partition',
}
