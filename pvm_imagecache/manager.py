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

"""The facade of the cache: deploys, prefetches, cleanup runs, purges, pins.

nova-compute and the shell use it. A deploy is in
:mod:`~pvm_imagecache.deploy.instance_disk`, a cleanup run in
:mod:`pvm_imagecache.cleanup`; the manager writes the history and notifies
the listener.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import time
from typing import Any
from typing import TYPE_CHECKING

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache import results
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.catalog import reader as catalog_reader
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import origin
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.conf import cache as cache_conf
from pvm_imagecache.conf import nova as nova_conf
from pvm_imagecache.conf import types
from pvm_imagecache.deploy import checks
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.deploy import prefetch
from pvm_imagecache.deploy import steps
from pvm_imagecache.drivers import base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.glance import signatures
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.listeners import dispatch
from pvm_imagecache.platform_check import report
from pvm_imagecache.system import identity
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import locks

if TYPE_CHECKING:
    from pvm_imagecache.platform_check import check as platform_check

LOG = logging.getLogger(__name__)

#: Loads the eviction policies that a configuration names.
LoadPolicies = Callable[[types.Conf], Sequence[pipeline.NamedPolicy]]


class ImageManager:
    """Deploys images through the cache of one pool.

    Safe to use from several threads, and beside other processes with
    managers of the same state directory.

    :param driver: the disk driver of the pool.
    :param source: where images come from.
    :param catalog: the records of the pool.
    :param lock_directory: the locks of this host's cache.
    :param settings: options of the configuration.
    :param policies: eviction policies, in their order.
    :param listener: is notified of what happens to images.
    :param pool_name: key under which the catalog records the pool's ID.
    :param requirement_for: returns what is required of the signature of an
        image.
    """

    def __init__(
        self,
        driver: base.DiskDriver,
        source: image_source.ImageSource,
        catalog: facade.Catalog,
        lock_directory: locks.LockDirectory,
        settings: cache_module.Settings,
        policies: Sequence[pipeline.NamedPolicy] = (),
        listener: events.Listener | None = None,
        pool_name: str = '',
        requirement_for: signatures.RequirementFor = signatures.none_required,
    ) -> None:
        self._driver = driver
        self._catalog = catalog
        self._pool_name = pool_name
        self._recorded_pool = ''
        self._dispatcher = (
            listener if isinstance(listener, dispatch.Dispatcher) else None
        )
        self._cache = cache_module.Cache(
            driver,
            source,
            catalog,
            lock_directory,
            settings,
            policies,
            listener=listener,
            requirement_for=requirement_for,
        )
        driver.use_facts(self._cache.platform_facts)
        if self._dispatcher:
            self._dispatcher.use(self.usage)

    @classmethod
    def from_conf(
        cls,
        conf: types.Conf,
        source: image_source.ImageSource,
        load_policies: LoadPolicies = plugins.load_policies,
        listener: events.Listener | None = None,
        who: str | None = None,
        requirement_for: signatures.RequirementFor | None = None,
    ) -> 'ImageManager':
        """Create the manager that a configuration describes.

        :param conf: an ``oslo_config.cfg.ConfigOpts``.
        :param source: where images come from: the credentials differ between
            nova-compute and the shell.
        :param load_policies: loads the eviction policies. nova-compute and
            the shell treat a policy that cannot be loaded differently.
        :param listener: is notified of what happens to images, besides the
            plugins of the option ``listeners``.
        :param who: the user for the history; default: the user who runs this
            process.
        :param requirement_for: returns what is required of the signature of
            an image. Default: if nova is configured to verify signatures,
            only images that nova-compute has verified are served.
        :returns: the manager.
        :raises PluginNotFound: if no installed package has the driver or a
            policy.
        :raises PluginInvalid: if the driver or a policy cannot be used.
        :raises ConfigurationError: if an option has an invalid value.
        """
        nova_conf.register(conf)
        policies = load_policies(conf)
        state_path = conf.pvm_imagecache.state_path
        driver = plugins.load_driver(conf)
        pool_name = cache_conf.pool_name(conf)
        if requirement_for is None:
            requirement_for = signatures.without_key_manager(conf)
        settings = _settings(conf)
        # The last one: an error would leave threads and files open.
        listeners = plugins.load_usable_listeners(conf)
        return cls(
            driver,
            source,
            facade.Catalog(cache_conf.catalog_path(conf), who),
            locks.LockDirectory(os.path.join(state_path, 'locks')),
            settings,
            policies,
            dispatch.Dispatcher(listeners, (listener,) if listener else ()),
            pool_name,
            requirement_for,
        )

    def reconfigure(
        self,
        conf: types.Conf,
        load_policies: LoadPolicies = plugins.load_policies,
    ) -> None:
        """Reload mutable options and policies.

        They apply to operations that start afterwards. Connection and path
        options are not reloaded.

        :param conf: an ``oslo_config.cfg.ConfigOpts``.
        :param load_policies: loads the eviction policies.
        :raises PluginNotFound: if no installed package has a policy; nothing
            is changed then.
        :raises PluginInvalid: if a policy cannot be used; nothing is changed
            then.
        :raises ConfigurationError: if an option has an invalid value;
            nothing is changed then.
        """
        self._cache = dataclasses.replace(
            self._cache, settings=_settings(conf), policies=load_policies(conf)
        )

    def close(self) -> None:
        """Close the listeners, log off from PowerVM, close the catalog."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._catalog.close)
            closing.callback(self._driver.close)
            if self._dispatcher:
                self._dispatcher.close()

    @property
    def driver(self) -> base.DiskDriver:
        """The disk driver of the pool."""
        return self._driver

    @property
    def caches_images(self) -> bool:
        """Whether this project caches images in the pool."""
        return base.Capability.IMAGE_CACHE in self._driver.capabilities

    # -- deploys

    @interrupts.deferred()
    def create_disk(
        self,
        image: image_module.Image,
        name: str,
        size: int = 0,
        *,
        context: identity.RequestContext | None = None,
        progress: steps.Progress | None = None,
        trusted_certificates: Sequence[str] = (),
    ) -> instance_disk.Deployment:
        """Create an instance disk that begins with the bytes of an image.

        :param image: as Glance describes it.
        :param name: of the disk.
        :param size: of the disk in bytes; 0 for the least that the image
            needs. The pool may round it up.
        :param context: nova's request context of the requester, for the
            image's data and the history.
        :param progress: is called with the progress, if given.
        :param trusted_certificates: IDs of certificates that the user of the
            server trusts (``instance.trusted_certs.ids`` of nova).
        :returns: the disk, and how it got its bytes.
        :raises DiskTooSmall: if the image needs a larger disk.
        :raises DiskNameInvalid: if PowerVM does not accept the name.
        :raises DiskExists: if the pool has a disk of that name.
        :raises ImageFormatUnsupported: if PowerVM cannot boot the format.
        :raises NotEnoughSpace: if the disk does not fit, even after
            evictions.
        :raises ImageError: if Glance does not give the image.
        :raises PowerVMError: if PowerVM does not create the disk.
        :raises TransferError: if the disk cannot be written.
        """
        naming.check_disk_name(name, self._driver.max_name_length)
        image_module.check_format(image)
        try:
            with self._failure_noticed(image, name, context):
                deployment = instance_disk.InstanceDeploy(
                    self._cache,
                    image,
                    name,
                    size,
                    context,
                    progress,
                    trusted_certificates,
                ).run()
        except exceptions.DiskExistsElsewhere as error:
            # "verify" shows the disk as long as it exists.
            self._record(
                'refuse',
                image=image,
                disk_name=name,
                detail=str(error),
                who=identity.of_request(context),
            )
            raise
        LOG.info(
            'Created disk %(disk)s from image %(image)s: %(outcome)s, '
            '%(bytes)d bytes from Glance, %(seconds).1f s%(reason)s',
            {
                'disk': name,
                'image': image.label,
                'outcome': deployment.outcome.value,
                'bytes': deployment.bytes_fetched,
                'seconds': deployment.seconds['total'],
                'reason': deployment.reason and f' ({deployment.reason})',
            },
        )
        self._record(
            deployment.outcome.value,
            image=image,
            disk_name=name,
            bytes_fetched=deployment.bytes_fetched,
            bytes_saved=(
                image.size
                if deployment.outcome is instance_disk.Outcome.HIT
                else None
            ),
            seconds=deployment.seconds['total'],
            detail=deployment.reason or None,
            who=identity.of_request(context),
        )
        if deployment.outcome in (
            instance_disk.Outcome.HIT,
            instance_disk.Outcome.MISS,
        ):
            self._record_metadata(image)
        self._notify_of_deploy(image, deployment, context)
        return deployment

    def origin_of(self, name: str) -> origin.Origin:
        """Return what is known of an instance disk, before it is deleted.

        :param name: of the disk.
        :returns: the disk and its origin.
        :raises DiskNotFound: if there is no such disk.
        :raises DiskNotOurs: if the disk is a cached image.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        return origin.find(self._cache, name)

    def other_catalog_of(self, disk: base.Disk) -> str:
        """Return the other catalog that a disk belongs to.

        :param disk: as the pool shows it.
        :returns: the beginning of the ID of the other catalog; '' if it
            belongs to none.
        :raises CatalogError: if the label of the disk names a catalog, and
            the catalog of this host cannot be read.
        """
        if not ownership.catalog_of(disk):
            return ''
        return ownership.other_catalog_of(disk, self._cache.own_catalogs())

    def delete_disk(
        self,
        name: str,
        *,
        context: identity.RequestContext | None = None,
        udid: str | None = None,
    ) -> base.Disk:
        """Delete an instance disk.

        :param name: of the disk.
        :param context: nova's request context, for the history.
        :param udid: of the disk that is meant; None for any disk.
        :returns: the disk that was deleted.
        :raises DiskNotFound: if there is no such disk.
        :raises DiskReplaced: if the disk has another UDID.
        :raises DiskNotOurs: if the disk is a cached image.
        :raises DiskInUse: if a partition uses the disk.
        :raises PowerVMError: if the disk cannot be deleted.
        """
        disk = self._driver.find_disk(name)
        if disk is None:
            raise exceptions.DiskNotFound(
                name=name, pool=self._driver.pool().name
            )
        if udid not in (None, disk.udid):
            raise exceptions.DiskReplaced(name=name)
        if self.caches_images and naming.is_base_image_name(name):
            record = self._catalog.base_images.get(
                self._driver.pool_id(), name
            )
            if record is not None:
                raise exceptions.DiskNotOurs(
                    name=name, image_id=record.image.id
                )
        if self.caches_images and self._driver.mapped([disk]):
            # PowerVM may not refuse it.
            raise exceptions.DiskInUse(name=name)
        with interrupts.deferred():
            (deletion,) = self._driver.delete_disks([disk])
            if deletion.error:
                raise deletion.error
            self._record(
                'delete', disk_name=name, who=identity.of_request(context)
            )
        return disk

    @interrupts.deferred()
    def prefetch(
        self,
        image: image_module.Image,
        *,
        context: identity.RequestContext | None = None,
        progress: steps.Progress | None = None,
    ) -> prefetch.PrefetchResult:
        """Fetch an image into the cache, unless it is cached.

        :param image: as Glance describes it.
        :param context: nova's request context of the requester, for the
            image's data and the history.
        :param progress: is called with the progress, if given.
        :returns: whether the image was fetched, and at what cost.
        :raises CacheDisabled: if the cache is switched off.
        :raises NotSupported: if the pool caches images itself.
        :raises CacheFault: if the image cannot be cached.
        :raises ImageError: if Glance does not give the image.
        :raises PowerVMError: if PowerVM does not create the base image.
        :raises TransferError: if the base image cannot be written.
        """
        self._need_cache('prefetch images')
        if not self._cache.settings.enabled:
            raise exceptions.CacheDisabled
        with self._failure_noticed(image, '', context):
            result = prefetch.Prefetch(
                self._cache, image, context, progress
            ).run()
        self._record_metadata(image)
        if result.fetched:
            self._record(
                'prefetch',
                image=image,
                disk_name=result.disk_name,
                bytes_fetched=result.bytes_fetched,
                seconds=result.seconds,
                who=identity.of_request(context),
            )
            self._notify(
                events.Kind.CACHED,
                image,
                code='prefetch',
                context=context,
                seconds=result.seconds,
                bytes_fetched=result.bytes_fetched,
            )
        else:
            self._follow_name(image)
        return result

    # -- reads

    def reader(self) -> catalog_reader.CatalogReader:
        """Return what the catalog knows of the pool.

        :returns: a reader of the catalog.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be found.
        """
        self._need_cache('list cached images')
        return catalog_reader.CatalogReader(
            self._catalog, self._driver.pool_id()
        )

    def list(self) -> Sequence[models.BaseImage]:
        """Return the base images of the pool.

        :returns: their records, least recently used first.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be read.
        """
        return self.reader().list()

    def find(self, text: str, *, by_name: bool = False) -> models.BaseImage:
        """Return one base image.

        :param text: ID of the image, a unique prefix of it, or its name. What
            looks like an ID, or the beginning of one, is no name.
        :param by_name: whether the text is a name, whatever it looks like.
        :returns: the record of the base image.
        :raises ImageNotCached: if no cached image matches.
        :raises ImageAmbiguous: if several cached images match.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be read.
        """
        return self.reader().find(text, by_name=by_name)

    def usage(self) -> results.Usage:
        """Return how full the pool is, and how much of it the cache uses.

        :returns: the usage.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        cached: list[int] = []
        others: Sequence[models.OtherCatalog] = ()
        if self.caches_images:
            self._record_pool()
            # One read: other processes create and remove base images.
            snapshot = self._driver.snapshot()
            pool = snapshot.pool
            reader = catalog_reader.CatalogReader(self._catalog, pool.id)
            udids = {each.udid for each in reader.list()}
            cached += [
                each.capacity for each in snapshot.disks if each.udid in udids
            ]
            others = ownership.other_catalogs(
                (each for each in snapshot.disks if each.udid not in udids),
                self._cache.own_catalogs(),
            )
        else:
            pool = self._driver.pool()
        usage = results.Usage(
            pool,
            len(cached),
            sum(cached),
            totals={},
            other_catalogs=others,
        )
        if not self._catalog.exists:
            return usage
        if self.caches_images:
            self._record_others(pool.id, others)
        return dataclasses.replace(
            usage,
            totals=self._catalog.history.totals(pool.id),
            last_run=self._catalog.pools.last_run(pool.id),
            catalog_id=self._catalog.catalog_id,
            platform=self._platform_state(pool.id),
        )

    def names_elsewhere(self) -> dict[str, str]:
        """Return names of this pool that disks of other pools have.

        PowerVM creates no disk of such a name: a base image cannot be
        cached, and an instance disk cannot be created.

        :returns: by name of the disk, its pool as text. The names of base
            images, and of instance disks that the catalog knows.
        :raises PowerVMError: if the pools cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        others = {
            disk.name: pool for disk, pool in self._driver.disks_elsewhere()
        }
        if not others:
            return {}
        pool = self._driver.pool_id()
        known = self._catalog.history.disk_names(pool, others) | {
            each.disk_name for each in self._catalog.instance_disks.list(pool)
        }
        return {
            name: where
            for name, where in others.items()
            if name in known or naming.is_base_image_name(name)
        }

    def reserved(self) -> int:
        """Return how much of the pool no instance disk can get.

        :returns: bytes of the base images that cannot be evicted at once:
            the pinned ones, and those that are being fetched or removed, or
            are quarantined. All base images if nothing may be evicted
            automatically.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        self._need_cache('reserve space for cached images')
        # One read: other processes create and remove base images.
        snapshot = self._driver.snapshot()
        udids = {
            each.udid for each in self._evictor.retained(snapshot.pool.id)
        }
        return sum(
            each.capacity for each in snapshot.disks if each.udid in udids
        )

    def explain(self, base_image: models.BaseImage) -> results.Explanation:
        """Return why an image is kept, or will be evicted.

        :param base_image: the record of the base image.
        :returns: the explanation.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        self._need_cache('explain cached images')
        image_id = base_image.image.id
        view, _ = self._evictor.view()
        plan = self._evictor.preview()
        pins = self._catalog.pins
        return results.Explanation(
            base_image,
            next(
                (
                    each.veto
                    for each in view.images
                    if each.image_id == image_id
                ),
                None,
            ),
            next(
                (
                    each
                    for each in plan.choices
                    if each.image.image_id == image_id
                ),
                None,
            ),
            pins.list(base_image.pool).get(image_id),
            pins.in_use(base_image.pool).get(image_id),
            self._evictor.automatic,
            tuple(
                each for each in plan.protections if each.image_id == image_id
            ),
        )

    # -- purges and pins

    @interrupts.deferred()
    def purge(
        self,
        base_images: Sequence[models.BaseImage],
        *,
        spare_in_use: bool = False,
        reason: str = '',
    ) -> Sequence[removal.RemovalResult]:
        """Remove cached images, except pinned ones and those being filled.

        Disks that were copied from them do not depend on them.

        :param base_images: records of the base images.
        :param spare_in_use: whether images that instances use are kept too.
        :param reason: for the history and the listeners.
        :returns: what became of each.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be written.
        """
        self._need_cache('purge cached images')

        def check(current: models.BaseImage) -> None:
            if spare_in_use and current.image.id in self._catalog.pins.in_use(
                current.pool
            ):
                raise exceptions.ImageInUse(image=current.image.id)

        removed = removal.remove(self._cache, base_images, check)
        for each in removed:
            if each.removed:
                self._record(
                    'purge',
                    image=each.base_image.image,
                    disk_name=each.base_image.disk_name,
                    detail=reason or None,
                )
                self._notify(
                    events.Kind.EVICTED,
                    each.base_image.image,
                    each.base_image.disk_name,
                    code='purge',
                    reason=reason or 'purged by an operator',
                )
        return removed

    def forecast(
        self,
        base_images: Sequence[models.BaseImage],
        *,
        spare_in_use: bool = False,
    ) -> Sequence[tuple[models.BaseImage, str]]:
        """Return what :meth:`purge` would do.

        :param base_images: records of the base images.
        :param spare_in_use: whether images that instances use are kept too.
        :returns: each base image with the reason why it would be kept; '' if
            it would be purged.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be read.
        """
        reader = self.reader()
        pins, in_use = reader.pins(), reader.in_use()

        def reason(record: models.BaseImage) -> str:
            if record.image.id in pins:
                return str(exceptions.ImagePinned(image=record.image.id))
            if spare_in_use and record.image.id in in_use:
                return str(exceptions.ImageInUse(image=record.image.id))
            try:
                with self._cache.fill_lock(record.disk_name, 0):
                    return ''
            except exceptions.LockTimeout:
                return removal.BUSY

        return [(each, reason(each)) for each in base_images]

    def pin(
        self,
        image_id: str,
        note: str = '',
        seconds: float | None = None,
        name: str | None = None,
    ) -> None:
        """Protect an image from eviction, whether it is cached or not.

        :param image_id: ID of the image.
        :param note: why, for other operators; at most 1,000 characters are
            kept.
        :param seconds: for how long; None until it is unpinned.
        :param name: of the image, for the history.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be written.
        """
        self._need_cache('pin images')
        self._catalog.pins.pin(self._driver.pool_id(), image_id, note, seconds)
        self._record(
            'pin', image_id=image_id, image_name=name, detail=note or None
        )

    def unpin(self, image_id: str, name: str | None = None) -> bool:
        """Remove the protection of an image from eviction.

        :param image_id: ID of the image.
        :param name: of the image, for the history.
        :returns: False if it was not pinned.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be written.
        """
        self._need_cache('unpin images')
        found = self._catalog.pins.unpin(self._driver.pool_id(), image_id)
        if found:
            self._record('unpin', image_id=image_id, image_name=name)
        return found

    def record_name(self, image_id: str, name: str | None) -> bool:
        """Record the name that a cached or pinned image has in Glance now.

        :param image_id: ID of the image.
        :param name: its name, or None.
        :returns: whether it had a different name before.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        reader = self.reader()
        cached = {each.image.id for each in reader.list()}
        if image_id not in cached and (
            name is None or image_id not in reader.pins()
        ):
            return False
        before = reader.names().get(image_id)
        if before == name:
            return False
        self._catalog.base_images.rename(
            self._driver.pool_id(), image_id, name
        )
        self._record(
            'rename',
            image_id=image_id,
            image_name=name,
            detail=f'was "{before}"' if before else None,
        )
        return True

    def pins(self) -> dict[str, models.Pin]:
        """Return the pins.

        :returns: the pins by image ID.
        :raises NotSupported: if the pool caches images itself.
        :raises CatalogError: if the catalog cannot be read.
        """
        self._need_cache('pin images')
        return self._catalog.pins.list(self._driver.pool_id())

    # -- clean-up

    def run_cleanup(
        self, in_use: Iterable[str] | None = None
    ) -> results.CleanupResult:
        """Reconcile catalog and pool, then evict what the policies select.

        :param in_use: IDs of the images that instances of this host use;
            None if that is not known: what was recorded before stays.
        :returns: what was done.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        self._need_cache('clean up the cache')
        self._record_pool()
        if in_use is not None:
            self._catalog.pins.set_in_use(self._driver.pool_id(), in_use)
        started = time.monotonic()
        found = self._reconcile()
        try:
            done = results.CleanupResult(
                found, self._evictor.evict(found.snapshot)
            )
        except exceptions.PVMImageCacheError as error:
            LOG.warning('Nothing was evicted from the cache: %s', error)
            done = results.CleanupResult(found, None, str(error))
        LOG.info('Cleanup run of the image cache: %s', done.summary)
        seconds = time.monotonic() - started
        self._record_run(done, seconds)
        self._notify(
            events.Kind.CLEANUP,
            code='cleanup-failed' if done.error_summary else 'cleanup',
            reason=done.summary,
            seconds=seconds,
        )
        return done

    def evict(self, *, dry_run: bool = False) -> evictor.Eviction:
        """Evict what the policies select.

        :param dry_run: whether to return only what would be evicted.
        :returns: what was selected, and what became of it.
        :raises NotSupported: if the pool caches images itself.
        :raises LockTimeout: if another process evicts images for too long.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        self._need_cache('evict images')
        if dry_run:
            return evictor.Eviction(self._evictor.preview())
        return self._evictor.evict()

    def reconcile(self) -> reconciler.Reconciliation:
        """Reconcile catalog and pool, and look for stale File entries.

        :returns: what was found and done.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        self._need_cache('verify the cache')
        self._record_pool()
        self._catalog.pools.record_uploads(self._driver.pool_id(), clean=False)
        return self._reconcile()

    def take_over(self, catalog: str) -> Sequence[base.Disk]:
        """Treat the disks of another catalog as those of this one.

        Deploys replace its base images then, as those of a catalog that was
        lost.

        :param catalog: ID of the other catalog, or the beginning of it that
            labels have.
        :returns: the disks that the other catalog has in the pool.
        :raises OtherCatalogUnknown: if it has none.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be written.
        """
        disks = self.disks_of_other_catalog(catalog)
        digits = ownership.catalog_of(disks[0])
        with self._catalog.transaction():
            self._catalog.identity.take_over(digits)
            # Of its uploads, too.
            self._catalog.pools.record_uploads(
                self._driver.pool_id(), clean=False
            )
        self._record(
            'take-over', detail=f'catalog {digits}: {len(disks)} disk(s)'
        )
        return disks

    def disks_of_other_catalog(self, catalog: str) -> Sequence[base.Disk]:
        """Return the disks that another catalog has in the pool.

        :param catalog: as for :meth:`take_over`.
        :returns: the disks, at least one.
        :raises OtherCatalogUnknown: if it has none.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        self._need_cache('take over disks')
        own = self._cache.own_catalogs()
        disks = self._driver.snapshot().disks
        digits = catalog[: models.CATALOG_DIGITS]
        found = [
            each
            for each in disks
            if ownership.other_catalog_of(each, own) == digits != ''
        ]
        if not found:
            known = ownership.other_catalogs(disks, own)
            raise exceptions.OtherCatalogUnknown(
                catalog=catalog,
                known=', '.join(each.catalog for each in known) or 'none',
            )
        return found

    def adoptable(
        self, image: image_module.Image, *, take_over: bool = False
    ) -> base.Disk:
        """Return the disk that :meth:`adopt` would register.

        :param image: as Glance describes it.
        :param take_over: whether the disk may belong to another catalog.
        :returns: the disk; nothing is changed.
        :raises DiskOfOtherCatalog: if it does, and ``take_over`` is False.
        :raises ImageNotAdoptable: if the disk cannot hold the image, or may
            change.
        :raises ImageNotCacheable: if the image has no usable hash.
        :raises ImageError: if a fetch of the image would be refused.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        """
        self._check_adoptable(image)
        return adoption.candidate(self._cache, image, take_over)

    def adopt(
        self, image: image_module.Image, *, take_over: bool = False
    ) -> models.BaseImage:
        """Register an existing disk as the base image of an image.

        :param image: as Glance describes it.
        :param take_over: whether the disk may belong to another catalog.
        :returns: the record of the base image.
        :raises DiskOfOtherCatalog: if it does, and ``take_over`` is False.
        :raises ImageNotAdoptable: if the disk cannot hold the image, or may
            change.
        :raises ImageNotCacheable: if the image has no usable hash.
        :raises ImageError: if a fetch of the image would be refused.
        :raises LockTimeout: if the image is being fetched.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be written.
        """
        self._check_adoptable(image)
        adopted = adoption.adopt(self._cache, image, take_over)
        self._record_metadata(image)
        self._record('adopt', image=image, disk_name=adopted.disk_name)
        return adopted

    # -- the platform

    def check_platform(
        self,
        other_pool: str | None = None,
        progress: 'platform_check.Progress | None' = None,
    ) -> 'platform_check.Outcome':
        """Measure the platform of the pool with disks of its own.

        :param other_pool: name of another volume group of the VIOS, in which
            a disk may be created.
        :param progress: is called before each probe, if given.
        :returns: which facts could not be measured; :meth:`platform` returns
            the others.
        :raises NotSupported: if the pool caches images itself, or if the
            driver cannot measure its platform.
        :raises PlatformCheckRunning: if another process does the same.
        :raises VolumeGroupNotFound: if the other volume group does not
            exist.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be written.
        """
        # Only this command needs it.
        from pvm_imagecache.platform_check import check as platform_check

        self._need_cache('measure the platform')
        with interrupts.deferred():
            done = platform_check.run(
                self._cache, other_pool, progress or (lambda *_: None)
            )
            self._record_pool()
        return done

    def platform(self) -> Sequence[report.Row]:
        """Return what is known of the platform.

        :returns: one row for each fact.
        :raises NotSupported: if the pool caches images itself.
        :raises PowerVMError: if the pool cannot be found.
        :raises CatalogError: if the catalog cannot be read.
        """
        self._need_cache('measure the platform')
        pool = self._driver.pool_id()
        found = (
            self._catalog.platform_facts.list(pool)
            if self._catalog.exists
            else {}
        )
        return report.rows(found, str(self._driver.platform_access().levels()))

    def _platform_state(self, pool: str) -> report.State | None:
        """Return the state of the facts; None if nothing was measured."""
        records = self._catalog.platform_facts.list(pool).values()
        if not records:
            return None
        try:
            level = str(self._driver.platform_access().levels())
        except exceptions.NotSupported:
            return report.State.UNKNOWN
        if report.is_out_of_date(records, level):
            return report.State.OUT_OF_DATE
        return report.State.MEASURED

    # -- inside

    def _check_adoptable(self, image: image_module.Image) -> None:
        """Check that deploys could be served from an adopted disk."""
        self._need_cache('adopt disks')
        checks.check_cacheable(image)
        if self._cache.requirement_for(image, None, ()) is not None:
            raise exceptions.ImageNotAdoptable(
                name=naming.base_image_name(image.id),
                image=image.id,
                reason='nova is configured to verify signatures, and the '
                'data of the disk was not verified',
            )
        # A fetch would refuse the image because of its header.
        with self._cache.source.open(image):
            pass

    @property
    def _evictor(self) -> evictor.Evictor:
        return evictor.Evictor(self._cache)

    def _reconcile(self) -> reconciler.Reconciliation:
        found = reconciler.reconcile(self._cache)
        for name in found.removed:
            self._record(
                'discard', disk_name=name, detail='incomplete, removed'
            )
            self._notify(
                events.Kind.DISCARDED,
                disk_name=name,
                code='incomplete',
                reason='incomplete, removed',
            )
        for name in set(found.forgotten) - set(found.removed):
            self._record(
                'discard',
                disk_name=name,
                detail='disk missing, record removed',
            )
            self._notify(
                events.Kind.DISCARDED,
                disk_name=name,
                code='disk-missing',
                reason='disk missing, record removed',
            )
        for name, reason in found.quarantined:
            image = self._image_of(name)
            self._record(
                'quarantine', image=image, disk_name=name, detail=reason
            )
            self._notify(
                events.Kind.QUARANTINED,
                image,
                name,
                code='quarantined',
                reason=reason,
            )
        return found

    def _follow_name(self, image: image_module.Image) -> None:
        """Record the name of an image; a failure does not matter."""
        try:
            self.record_name(image.id, image.name)
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not record the name of image %(image)s: %(error)s',
                {'image': image.label, 'error': error},
            )

    def _record_metadata(self, image: image_module.Image) -> None:
        """Record the metadata of an image for eviction policies.

        Errors are logged.
        """
        try:
            self._catalog.image_metadata.record(
                self._driver.pool_id(),
                image.id,
                image.metadata.with_properties(
                    self._cache.settings.image_properties
                ),
            )
        except exceptions.PVMImageCacheError as error:
            LOG.debug(
                'Project, tags and properties of %(image)s were not '
                'recorded: %(error)s',
                {'image': image.label, 'error': error},
            )

    def _image_of(self, disk_name: str) -> image_module.Image | None:
        """Return the image of a base image, if the catalog can be read."""
        try:
            record = self._catalog.base_images.get(
                self._driver.pool_id(), disk_name
            )
        except exceptions.CacheFault as error:
            LOG.debug('The image of %s is not known: %s', disk_name, error)
            return None
        return record.image if record else None

    def _need_cache(self, what: str) -> None:
        if not self.caches_images:
            raise exceptions.NotSupported(
                reason=f'Cannot {what}: the pool of this disk driver caches '
                'images itself.'
            )

    def _record_run(self, done: results.CleanupResult, seconds: float) -> None:
        """Record a cleanup run.

        The history has only runs that changed something, or whose errors
        changed.
        """
        try:
            is_news = self._catalog.pools.record_run(
                self._driver.pool_id(), done.error_summary
            )
        except exceptions.PVMImageCacheError as error:
            LOG.warning(
                'Could not record the cleanup run in the catalog: %s', error
            )
            is_news = False
        if done.work or is_news:
            self._record('cleanup', detail=done.summary, seconds=seconds)

    def _record_others(
        self, pool: str, others: Sequence[models.OtherCatalog]
    ) -> None:
        """Record other catalogs, for commands that do not ask PowerVM."""
        try:
            self._catalog.identity.record_others(pool, others)
        except exceptions.CacheFault as error:
            LOG.debug('Could not record other catalogs: %s', error)

    def _record_pool(self) -> None:
        """Record which pool it is, for commands that do not ask PowerVM.

        Reading commands do not create a catalog for it.
        """
        if not (
            self._pool_name and self.caches_images and self._catalog.exists
        ):
            return
        pool = self._driver.pool_id()
        if pool == self._recorded_pool:
            return
        try:
            self._catalog.pools.record_name(self._pool_name, pool)
        except exceptions.CacheFault as error:
            LOG.debug('Could not record the pool: %s', error)
        else:
            self._recorded_pool = pool

    @contextlib.contextmanager
    def _failure_noticed(
        self,
        image: image_module.Image,
        disk_name: str,
        context: identity.RequestContext | None,
    ) -> Iterator[None]:
        """Notify the listeners if the block fails; the error is raised."""
        started = time.monotonic()
        try:
            yield
        except exceptions.PVMImageCacheError as error:
            self._notify(
                events.Kind.FAILED,
                image,
                disk_name,
                code=events.code_of(error),
                reason=str(error),
                context=context,
                seconds=time.monotonic() - started,
            )
            raise

    def _notify_of_deploy(
        self,
        image: image_module.Image,
        deployment: instance_disk.Deployment,
        context: identity.RequestContext | None,
    ) -> None:
        name = deployment.disk.name
        kinds = [(events.Kind.DEPLOYED, name)]
        if deployment.outcome is instance_disk.Outcome.MISS:
            # Of the base image.
            kinds.insert(0, (events.Kind.CACHED, ''))
        elif deployment.outcome is instance_disk.Outcome.BYPASS:
            kinds.insert(0, (events.Kind.BYPASSED, name))
        for kind, disk_name in kinds:
            self._notify(
                kind,
                image,
                disk_name,
                deployment.reason,
                context,
                code=deployment.outcome.value,
                seconds=deployment.seconds['total'],
                bytes_fetched=deployment.bytes_fetched,
            )

    def _notify(
        self,
        kind: events.Kind,
        image: image_module.Image | None = None,
        disk_name: str = '',
        reason: str = '',
        context: identity.RequestContext | None = None,
        **facts: Any,
    ) -> None:
        """Notify the listeners. Unknown values are left empty."""
        if self._cache.listener is None:
            return
        pool = self._recorded_pool
        # After a failure, PowerVM may not answer: it is not asked again.
        if kind is not events.Kind.FAILED:
            with contextlib.suppress(exceptions.PVMImageCacheError):
                pool = self._driver.pool_id()
            if image and not disk_name:
                disk_name = self._disk_name_of(image)
        self._cache.notify(
            events.Event(
                kind,
                pool,
                image.id if image else '',
                disk_name,
                image.size if image else 0,
                reason,
                image_name=image.name if image else None,
                project_id=identity.project_of(context)
                or (image.metadata.project_id if image else None),
                requester=identity.of_request(context) or self._catalog.who,
                **facts,
            )
        )

    def _disk_name_of(self, image: image_module.Image) -> str:
        """Return the name of the disk of a base image."""
        try:
            record = self._catalog.base_images.of_image(
                self._driver.pool_id(), image.id
            )
        except exceptions.CacheFault as error:
            LOG.debug('The disk of %s is not known: %s', image.label, error)
            record = None
        if record is None:
            return naming.base_image_name(image.id)
        return record.disk_name

    def _record(
        self,
        action: str,
        image: image_module.Image | None = None,
        **facts: Any,
    ) -> None:
        """Write to the history; a failure does not undo what was done."""
        if image is not None:
            facts |= {'image_id': image.id, 'image_name': image.name}
        try:
            self._catalog.history.add(self._driver.pool_id(), action, **facts)
            self._record_pool()
        except exceptions.PVMImageCacheError as error:
            LOG.warning(
                'Could not record in the history: %(action)s of image '
                '%(image)s: %(error)s',
                {
                    'action': action,
                    'image': facts.get('image_id'),
                    'error': error,
                },
            )


def _settings(conf: types.Conf) -> cache_module.Settings:
    options = conf.pvm_imagecache
    return cache_module.Settings(
        enabled=options.enabled,
        stall_timeout=options.stall_timeout,
        fetch_timeout=options.fetch_timeout,
        check_download_permission=options.check_download_permission,
        automatic=conf.image_cache.remove_unused_base_images,
        minimum_age=options.minimum_age,
        max_bytes=cache_conf.max_bytes(conf),
        wipe_disks=options.wipe_disks,
        image_properties=tuple(options.image_properties),
    )
