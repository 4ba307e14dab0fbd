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

"""The parts of one pool's cache, shared by deploys and clean-up."""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache import text
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.drivers import base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.glance import signatures
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.system import cooldown
from pvm_imagecache.system import locks
from pvm_imagecache.system import warn_once as log_once

LOG = logging.getLogger(__name__)

#: Seconds without another eviction after one that did not help.
_REFUSED_SPACE: Final = 3600.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of the configuration that operations read.

    :ivar enabled: whether deploys use the cache.
    :ivar stall_timeout: seconds without progress after which the write of a
        disk is given up.
    :ivar fetch_timeout: seconds without progress after which the fetch of
        another process is not waited for any longer.
    :ivar check_download_permission: whether Glance is asked that the user
        may download an image before it is served from the cache.
    :ivar automatic: whether images may be evicted without an operator.
    :ivar minimum_age: seconds for which a new base image is not evicted.
    :ivar wipe_disks: whether zeros are written after the image.
    :ivar max_bytes: bytes that the disks of all base images may occupy
        together; None for no limit.
    :ivar image_properties: names of the properties of images that eviction
        policies can see.
    """

    enabled: bool = True
    stall_timeout: float = 300
    fetch_timeout: float = 900
    check_download_permission: bool = True
    automatic: bool = True
    minimum_age: float = 300
    max_bytes: int | None = None
    wipe_disks: bool = False
    image_properties: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Cache:
    """What deploys, prefetches and cleanup runs of one pool share.

    :ivar driver: the disk driver of the pool.
    :ivar source: where images come from.
    :ivar catalog: the records of the pool's base images.
    :ivar lock_directory: the locks of this host's cache.
    :ivar settings: options of the configuration.
    :ivar policies: eviction policies, in their order.
    :ivar listener: is notified of what happens to images, if given.
    :ivar warn_once: logs messages that recur.
    :ivar requirement_for: returns what is required of the signature of an
        image.
    :ivar refused_space: runs while evictions do not help against refusals of
        PowerVM to create disks for which there is plenty of space.
    """

    driver: base.DiskDriver
    source: image_source.ImageSource
    catalog: facade.Catalog
    lock_directory: locks.LockDirectory
    settings: Settings
    policies: Sequence[pipeline.NamedPolicy] = ()
    listener: events.Listener | None = None
    warn_once: log_once.WarnOnce = dataclasses.field(
        default_factory=lambda: log_once.WarnOnce(LOG)
    )
    requirement_for: signatures.RequirementFor = signatures.none_required
    refused_space: cooldown.Cooldown = dataclasses.field(
        default_factory=lambda: cooldown.Cooldown(_REFUSED_SPACE)
    )

    def platform_facts(self) -> platform_facts.PlatformFacts:
        """Return what was measured of the platform of the pool.

        Nothing depends on it: without a readable catalog nothing is known.
        No catalog is created for it: commands that only read ask too.

        :returns: the facts. The rate of copies is the lower one of what was
            measured and that of the copies that deploys made: a small copy
            may fit into a cache of the storage. Labels are known to be kept,
            too, if all disks of ours were seen with their labels.
        """
        if not self.catalog.exists:
            return platform_facts.PlatformFacts()
        try:
            pool = self.driver.pool_id()
            facts = self.catalog.platform_facts.read(pool)
            rates = (facts.copy_rate, self.catalog.history.copy_rate(pool))
            keeps_labels = facts.keeps_labels
            if keeps_labels is None:
                pools = self.catalog.pools
                keeps_labels = pools.has_always_kept_labels(pool) or None
            return dataclasses.replace(
                facts,
                keeps_labels=keeps_labels,
                copy_rate=min(
                    (rate for rate in rates if rate is not None), default=None
                ),
            )
        except exceptions.PVMImageCacheError as error:
            LOG.debug('Nothing is known of the platform: %s', error)
            return platform_facts.PlatformFacts()

    def notify(self, event: events.Event) -> None:
        """Notify the listener; its exceptions are logged and ignored.

        :param event: what happened.
        """
        if self.listener is None:
            return
        try:
            self.listener(event)
        except Exception as error:
            self.warn_once.log(
                f'Cache event listener failed: {text.foreign_error(error)}'
            )

    def own_catalogs(self) -> frozenset[str]:
        """Return the catalogs whose disks belong to this cache.

        :returns: the beginnings of their IDs. If there is no catalog, which
            is not created, that of the catalog that was lost, or none.
        :raises CatalogError: if the catalog cannot be read.
        """
        if self.catalog.exists:
            return self.catalog.identity.own()
        kept = self.catalog.kept_id
        return frozenset([kept[: models.CATALOG_DIGITS]] if kept else [])

    def fill_lock(
        self, disk_name: str, timeout: float | Callable[[], float]
    ) -> contextlib.AbstractContextManager[object]:
        """Return the lock for filling or removing one base image.

        :param disk_name: of the base image.
        :param timeout: seconds to wait, or a function that returns the
            seconds that are left; 0 does not wait.
        :returns: a context manager that holds the lock.
        :raises LockTimeout: on entry, if another thread or process still
            holds the lock.
        :raises CatalogError: on entry, if the lock file cannot be used.
        """
        return self.lock_directory.hold(
            f'image-{self.driver.pool_id()}-{disk_name}', timeout
        )

    def instance_disk_lock(
        self, disk_name: str
    ) -> contextlib.AbstractContextManager[object]:
        """Return the lock for creating one instance disk, without waiting.

        :param disk_name: of the instance disk.
        :returns: a context manager that holds the lock.
        :raises LockTimeout: on entry, if another thread or process is
            creating that disk.
        :raises CatalogError: on entry, if the lock file cannot be used.
        """
        return self.lock_directory.hold(
            f'disk-{self.driver.pool_id()}-{disk_name}', 0
        )

    def eviction_lock(
        self, timeout: float
    ) -> contextlib.AbstractContextManager[object]:
        """Return the lock for selecting and evicting images of the pool.

        Without it, one process would select on facts that another process
        is about to change.

        :param timeout: seconds to wait; 0 does not wait.
        :returns: a context manager that holds the lock.
        :raises LockTimeout: on entry, if another thread or process still
            holds the lock.
        :raises CatalogError: on entry, if the lock file cannot be used.
        """
        return self.lock_directory.hold(
            f'room-{self.driver.pool_id()}', timeout
        )
