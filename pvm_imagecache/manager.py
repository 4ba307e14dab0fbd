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

"""The one door to the cache: deploys, prefetches, passes, purges, pins.

The manager holds the records of the catalogue against the disks of a
driver, and decides whether a deploy is a hit, a miss or a bypass. How bytes
move is in :mod:`~pvm_imagecache.deploy.transfer`, how disks are made in the
driver.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import os
import time
from typing import Any

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import metrics
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache import records
from pvm_imagecache import text
from pvm_imagecache.cleanup import adoption
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.conf import cache as cache_conf
from pvm_imagecache.conf import nova as nova_conf
from pvm_imagecache.deploy import base_image
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.system import identity
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import locks

LOG = logging.getLogger(__name__)

#: Makes the eviction policies that a configuration names.
LoadPolicies = Callable[[Any], Sequence[pipeline.NamedPolicy]]


@dataclasses.dataclass(frozen=True)
class Usage:
    """The pool and the part of the cache in it; bytes.

    :ivar cached: taken up by base images.
    :ivar totals: by action: hit, miss, bypass, pool, prefetch, purge.
    :ivar last_pass: the last one that could read the pool.
    """

    pool: base.Pool
    images: int
    cached: int
    totals: dict[str, catalog_module.Total]
    last_pass: catalog_module.LastPass | None = None

    @property
    def bytes_fetched(self) -> int:
        """All that has come from Glance."""
        return sum(each.bytes_fetched for each in self.totals.values())

    @property
    def bytes_saved(self) -> int:
        """What hits would have fetched."""
        return sum(each.bytes_saved for each in self.totals.values())

    @property
    def seconds_saved(self) -> float | None:
        """By how much hits were faster than fetches, as an estimate.

        Their images would have come as fast as what was fetched on this
        host so far. Less than nothing where copies are slower than that;
        None before anything was fetched.
        """
        fetched = [each for each in self.totals.values() if each.bytes_fetched]
        size = sum(each.bytes_fetched for each in fetched)
        seconds = sum(each.seconds for each in fetched)
        hits = self.totals.get('hit')
        if not hits:
            return 0.0
        if not size or not seconds:
            return None
        return hits.bytes_saved * seconds / size - hits.seconds


@dataclasses.dataclass(frozen=True)
class Pass:
    """What one pass did.

    :ivar eviction: None where it could not be made; ``error`` tells why.
    """

    reconciliation: reconciler.Reconciliation
    eviction: evictor.Eviction | None
    error: str = ''

    @property
    def work(self) -> str:
        """What was done, in one line; '' if there was nothing to do."""
        found, evicted = self.reconciliation, self.eviction
        gone = sum(each.removed for each in self._results)
        freed = text.size(evicted.freed) if evicted else ''
        return _counted(
            (gone, f'image(s) evicted ({freed})'),
            (len(found.removed), 'incomplete disk(s) removed'),
            (len(found.forgotten), 'record(s) forgotten'),
            (len(found.quarantined), 'quarantined'),
        )

    @property
    def trouble(self) -> str:
        """What went wrong, in one line; '' if nothing did."""
        kept = sum(not each.removed for each in self._results)
        faults = self.eviction.plan.faults if self.eviction else ()
        return ', '.join(
            filter(
                None,
                (
                    _counted(
                        (kept, 'chosen but kept'),
                        (
                            len(self.reconciliation.failed),
                            'could not be tidied',
                        ),
                    ),
                    *(
                        f'policy {name} had no say: {why}'
                        for name, why in faults
                    ),
                    self.error and f'nothing was evicted: {self.error}',
                ),
            )
        )

    @property
    def summary(self) -> str:
        """One line for the log and the history."""
        return (
            ', '.join(filter(None, (self.work, self.trouble)))
            or 'nothing to do'
        )

    @property
    def _results(self) -> Sequence[removal.Removed]:
        return self.eviction.results if self.eviction else ()


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why an image stays, or goes at the next pass.

    :ivar veto: why it stays whatever the policies say.
    :ivar choice: the policy that has chosen it, and its reason.
    :ivar pin: an operator's word that it stays.
    :ivar in_use_at: when instances were last seen to use it.
    """

    base_image: catalog_module.BaseImage
    veto: eviction_base.Veto | None
    choice: pipeline.Choice | None
    pin: catalog_module.Pin | None
    in_use_at: float | None
    automatic: bool


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
        settings: cache_module.Settings,
        policies: Sequence[pipeline.NamedPolicy] = (),
        listener: events.Listener | None = None,
        pool_name: str = '',
    ) -> None:
        """See :meth:`from_conf`.

        :param pool_name: under which the pool's id is remembered.
        """
        self._driver = driver
        self._catalog = catalog
        self._pool_name = pool_name
        self._noted_pool = ''
        self._parts = cache_module.Parts(
            driver,
            source,
            catalog,
            lock_directory,
            settings,
            policies,
            listener=listener,
        )

    @classmethod
    def from_conf(
        cls,
        conf: Any,
        source: image_source.ImageSource,
        load_policies: LoadPolicies = plugins.load_policies,
        listener: events.Listener | None = None,
        who: str | None = None,
    ) -> 'ImageManager':
        """Make the manager that a configuration describes.

        :param source: where images come from: the credentials differ
            between nova-compute and the shell.
        :param load_policies: what becomes of a policy that can't be had
            differs as well.
        :param who: for whom it works, for the history; by default the user
            who runs the process.
        :raises PluginNotFound, PluginInvalid, ConfigurationError:
        """
        nova_conf.register(conf)
        policies = load_policies(conf)
        state_path = conf.pvm_imagecache.state_path
        return cls(
            plugins.load_driver(conf),
            source,
            catalog_module.Catalog(cache_conf.catalog_path(conf), who),
            locks.LockDirectory(os.path.join(state_path, 'locks')),
            _settings(conf),
            policies,
            listener,
            cache_conf.pool_name(conf),
        )

    def reconfigure(
        self, conf: Any, load_policies: LoadPolicies = plugins.load_policies
    ) -> None:
        """Work by the options as they are now, from the next work on.

        Those that say where things are stay as they were.

        :raises PluginNotFound, PluginInvalid, ConfigurationError: and
            nothing is changed.
        """
        self._parts = dataclasses.replace(
            self._parts, settings=_settings(conf), policies=load_policies(conf)
        )

    def close(self) -> None:
        """Log off from PowerVM and close the catalogue."""
        self._driver.close()
        self._catalog.close()

    @property
    def driver(self) -> base.DiskDriver:
        """The driver of the pool, for what has nothing to do with images."""
        return self._driver

    @property
    def _settings(self) -> cache_module.Settings:
        return self._parts.settings

    @property
    def _evictor(self) -> evictor.Evictor:
        return evictor.Evictor(self._parts)

    @property
    def caches_images(self) -> bool:
        """Whether base images are kept in the pool, by this project."""
        return base.Capability.IMAGE_CACHE in self._driver.capabilities

    # -- deploying

    @interrupts.deferred()
    def create_disk(
        self,
        image: image_module.Image,
        name: str,
        size: int = 0,
        *,
        context: Any = None,
        progress: base_image.Progress | None = None,
    ) -> instance_disk.Deployment:
        """Make an instance disk that begins with the bytes of an image.

        :param size: of the disk in bytes; 0 for the least that the image
            needs. The pool may round it up.
        :param context: nova's request context, for the image's data and
            the history.
        :raises DiskTooSmall, DiskNameInvalid, DiskExists, NotEnoughSpace:
        :raises ImageError: if Glance can't give the image.
        :raises PowerVMError: if PowerVM can't make the disk.
        """
        naming.check_disk_name(name, self._driver.max_name_length)
        image_module.check_format(image)
        deployment = instance_disk.InstanceDeploy(
            self._parts, image, name, size, context, progress
        ).run()
        LOG.info(
            'Disk %(disk)s made from image %(image)s: %(outcome)s, '
            '%(bytes)d bytes from Glance, %(seconds).1f s%(reason)s',
            {
                'disk': name,
                'image': image.id,
                'outcome': deployment.outcome.value,
                'bytes': deployment.bytes_fetched,
                'seconds': deployment.seconds['total'],
                'reason': deployment.reason and f' ({deployment.reason})',
            },
        )
        self._remember(
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
        if deployment.outcome is instance_disk.Outcome.MISS:
            self._tell(events.Kind.CACHED, image)
        elif deployment.outcome is instance_disk.Outcome.BYPASS:
            self._tell(events.Kind.BYPASSED, image, name, deployment.reason)
        return deployment

    def delete_disk(self, name: str, *, context: Any = None) -> base.Disk:
        """Delete an instance disk.

        :param context: nova's request context, for the history.
        :raises DiskNotFound: if it is not there.
        :raises DiskNotOurs: if it is a cached image.
        :raises DiskInUse: if a partition has it.
        """
        disk = self._driver.find_disk(name)
        if disk is None:
            raise exceptions.DiskNotFound(
                name=name, pool=self._driver.pool().name
            )
        if self.caches_images and naming.is_base_image_name(name):
            record = self._catalog.get(self._driver.pool_id(), name)
            if record is not None:
                raise exceptions.DiskNotOurs(
                    name=name, image_id=record.image.id
                )
        if self.caches_images and self._driver.mapped([disk]):
            # Not every PowerVM may refuse it.
            raise exceptions.DiskInUse(name=name)
        with interrupts.deferred():
            (removal,) = self._driver.delete_disks([disk])
            if removal.error:
                raise removal.error
            self._remember(
                'delete', disk_name=name, who=identity.of_request(context)
            )
        return disk

    @interrupts.deferred()
    def prefetch(
        self,
        image: image_module.Image,
        *,
        context: Any = None,
        progress: base_image.Progress | None = None,
    ) -> base_image.Prefetch:
        """Fetch an image into the cache, unless it is there.

        :raises CacheDisabled: if the cache is switched off.
        :raises NotSupported: if the pool caches images itself.
        """
        self._need_cache('prefetch images')
        if not self._settings.enabled:
            raise exceptions.CacheDisabled(
                reason='The cache is switched off: enabled is false in '
                '[pvm_imagecache].'
            )
        result = base_image.BaseImageFetch(
            self._parts, image, context, progress
        ).run()
        if result.fetched:
            self._remember(
                'prefetch',
                image=image,
                disk_name=result.disk_name,
                bytes_fetched=result.bytes_fetched,
                seconds=result.seconds,
                who=identity.of_request(context),
            )
            self._tell(events.Kind.CACHED, image)
        return result

    # -- what is there

    @property
    def records(self) -> records.Records:
        """What the catalogue knows of the pool."""
        self._need_cache('list cached images')
        self._note_pool()
        return records.Records(self._catalog, self._driver.pool_id())

    def list(self) -> Sequence[catalog_module.BaseImage]:
        """The base images of the pool, least recently used first."""
        return self.records.list()

    def find(self, text: str) -> catalog_module.BaseImage:
        """A base image by its image's id, unique start of it, or name.

        :raises ImageNotCached, ImageAmbiguous:
        """
        return self.records.find(text)

    def usage(self) -> Usage:
        """The pool's room, and how much of it the cache takes."""
        cached: list[int] = []
        if self.caches_images:
            self._note_pool()
            # Of one moment: others make and remove base images meanwhile.
            snapshot = self._driver.snapshot()
            pool, disks = snapshot.pool, snapshot.disks
            udids = {
                each.udid
                for each in records.Records(self._catalog, pool.id).list()
            }
            cached += [each.capacity for each in disks if each.udid in udids]
        else:
            pool = self._driver.pool()
        usage = Usage(pool, len(cached), sum(cached), totals={})
        if not self._catalog.exists:
            return usage
        return dataclasses.replace(
            usage,
            totals=self._catalog.totals(pool.id),
            last_pass=self._catalog.last_pass(pool.id),
        )

    # -- taking away

    @interrupts.deferred()
    def purge(
        self,
        base_images: Sequence[catalog_module.BaseImage],
        *,
        spare_in_use: bool = False,
        reason: str = '',
    ) -> Sequence[removal.Removed]:
        """Take cached images away; pinned ones and those being filled stay.

        Disks that were copied from them are not touched: a copy does not
        need what it was made from.

        :param spare_in_use: those that instances use stay, too.
        :param reason: for the history.
        """
        self._need_cache('purge cached images')

        def check(current: catalog_module.BaseImage) -> None:
            if spare_in_use and current.image.id in self._catalog.in_use(
                current.pool
            ):
                raise exceptions.ImageInUse(image=current.image.id)

        results = removal.remove(self._parts, base_images, check)
        for each in results:
            if each.removed:
                self._remember(
                    'purge',
                    image=each.base_image.image,
                    disk_name=each.base_image.disk_name,
                    detail=reason or None,
                )
                self._tell(
                    events.Kind.EVICTED,
                    each.base_image.image,
                    reason='purged by an operator',
                )
        return results

    def forecast(
        self,
        base_images: Sequence[catalog_module.BaseImage],
        *,
        spare_in_use: bool = False,
    ) -> Sequence[tuple[catalog_module.BaseImage, str]]:
        """What :meth:`purge` would do: each image, and why it would stay.

        The reason is '' where it would go.
        """
        pins, in_use = self.records.pins(), self.records.in_use()

        def reason(record: catalog_module.BaseImage) -> str:
            if record.image.id in pins:
                return str(exceptions.ImagePinned(image=record.image.id))
            if spare_in_use and record.image.id in in_use:
                return str(exceptions.ImageInUse(image=record.image.id))
            try:
                with self._parts.hold(record.disk_name, 0):
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
        """Have an image stay, whether it is cached yet or not.

        :param seconds: for how long; until it is unpinned where it is None.
        :param name: of the image, for the history.
        """
        self._need_cache('pin images')
        self._catalog.pin(self._driver.pool_id(), image_id, note, seconds)
        self._remember(
            'pin', image_id=image_id, image_name=name, detail=note or None
        )

    def unpin(self, image_id: str, name: str | None = None) -> bool:
        """Let an image go again; False if it was not pinned.

        :param name: of the image, for the history.
        """
        self._need_cache('unpin images')
        found = self._catalog.unpin(self._driver.pool_id(), image_id)
        if found:
            self._remember('unpin', image_id=image_id, image_name=name)
        return found

    def pins(self) -> dict[str, catalog_module.Pin]:
        """By image id, what is pinned."""
        self._need_cache('pin images')
        return self._catalog.pins(self._driver.pool_id())

    # -- passes

    def run_cleanup(self, in_use: Iterable[str] | None = None) -> Pass:
        """Tidy up after the dead, then remove what the policies choose.

        :param in_use: the ids of the images that the instances of this host
            use; None where that is not known: what was known stays so.
        :raises PowerVMError: if the pool can't be read.
        """
        self._need_cache('clean up the cache')
        self._note_pool()
        if in_use is not None:
            self._catalog.set_in_use(self._driver.pool_id(), in_use)
        started = time.monotonic()
        found = self._reconcile()
        try:
            done = Pass(found, self._evictor.evict(found.snapshot))
        except exceptions.PVMImageCacheError as error:
            LOG.warning('Nothing was evicted from the cache: %s', error)
            done = Pass(found, None, str(error))
        LOG.info('Pass over the image cache: %s', done.summary)
        self._remember_pass(done, time.monotonic() - started)
        if self._settings.metrics_textfile:
            self._write_metrics()
        return done

    def _remember_pass(self, done: Pass, seconds: float) -> None:
        """In the history is only what somebody may want to know.

        That is what was done, and what has begun, or ceased, to go wrong.
        """
        try:
            is_news = self._catalog.saw_pass(
                self._driver.pool_id(), done.trouble
            )
        except exceptions.PVMImageCacheError as error:
            LOG.warning('That there was a pass could not be kept: %s', error)
            is_news = False
        if done.work or is_news:
            self._remember('pass', detail=done.summary, seconds=seconds)

    def _write_metrics(self) -> None:
        """A pass has done its work, whether this succeeds or not."""
        try:
            metrics.write(self._settings.metrics_textfile, self.usage())
        except exceptions.PVMImageCacheError as error:
            LOG.warning(
                'The metrics of the image cache were not written: %s', error
            )

    def evict(self, *, dry_run: bool = False) -> evictor.Eviction:
        """Remove what the policies choose; a dry run only tells what."""
        self._need_cache('evict images')
        return self._evictor.plan() if dry_run else self._evictor.evict()

    def explain(self, base_image: catalog_module.BaseImage) -> Explanation:
        """Why an image stays, or would go at the next pass."""
        self._need_cache('explain cached images')
        image_id = base_image.image.id
        view, _ = self._evictor.view()
        plan = self._evictor.plan().plan
        return Explanation(
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
            self._catalog.pins(base_image.pool).get(image_id),
            self._catalog.in_use(base_image.pool).get(image_id),
            self._evictor.automatic,
        )

    def reconcile(self) -> reconciler.Reconciliation:
        """Hold catalogue and pool together; tidy up after dead processes.

        :raises PowerVMError: if the pool can't be read.
        """
        self._need_cache('verify the cache')
        self._note_pool()
        self._catalog.saw_uploads(self._driver.pool_id(), tidy=False)
        return self._reconcile()

    def _reconcile(self) -> reconciler.Reconciliation:
        found = reconciler.reconcile(self._parts)
        for name in found.removed:
            self._remember(
                'tidy', disk_name=name, detail='incomplete, removed'
            )
        for name in set(found.forgotten) - set(found.removed):
            self._remember('tidy', disk_name=name, detail='gone, forgotten')
        for name, reason in found.quarantined:
            self._remember(
                'quarantine',
                image=self._image_of(name),
                disk_name=name,
                detail=reason,
            )
        return found

    def _image_of(self, disk_name: str) -> image_module.Image | None:
        """The image of a base image, for the history: it may lack that."""
        try:
            record = self._catalog.get(self._driver.pool_id(), disk_name)
        except exceptions.CacheFault as error:
            LOG.debug('The image of %s is not known: %s', disk_name, error)
            return None
        return record.image if record else None

    def adoptable(self, image: image_module.Image) -> base.Disk:
        """The disk that :meth:`adopt` would take; nothing is changed.

        :raises ImageNotAdoptable: if it can't be that image's.
        """
        self._need_cache('adopt disks')
        base_image.check_cacheable(image)
        return adoption.candidate(self._parts, image)

    def adopt(self, image: image_module.Image) -> catalog_module.BaseImage:
        """Serve an image from a disk of its name that we did not fill.

        :raises ImageNotAdoptable: if it can't be that image's.
        """
        self._need_cache('adopt disks')
        base_image.check_cacheable(image)
        adopted = adoption.adopt(self._parts, image)
        self._remember('adopt', image=image, disk_name=adopted.disk_name)
        return adopted

    def _need_cache(self, what: str) -> None:
        if not self.caches_images:
            raise exceptions.NotSupported(
                reason=f'Cannot {what}: the pool of this disk driver caches '
                'images itself.'
            )

    def _note_pool(self) -> None:
        """Remember which pool it is, for those who do not ask PowerVM.

        Not before there is a catalogue: looking makes none.
        """
        if not (
            self._pool_name and self.caches_images and self._catalog.exists
        ):
            return
        pool = self._driver.pool_id()
        if pool == self._noted_pool:
            return
        try:
            self._catalog.saw_pool(self._pool_name, pool)
        except exceptions.CacheFault as error:
            LOG.debug('The pool was not written down: %s', error)
        else:
            self._noted_pool = pool

    def _tell(
        self,
        kind: events.Kind,
        image: image_module.Image,
        disk_name: str = '',
        reason: str = '',
    ) -> None:
        self._parts.tell(
            events.Event(
                kind,
                self._driver.pool_id(),
                image.id,
                disk_name or naming.base_image_name(image.id),
                image.size,
                reason,
            )
        )

    def _remember(
        self,
        action: str,
        image: image_module.Image | None = None,
        **facts: Any,
    ) -> None:
        """Write to the history; work that is done stays done without."""
        if image is not None:
            facts |= {'image_id': image.id, 'image_name': image.name}
        try:
            self._catalog.add_history(self._driver.pool_id(), action, **facts)
            self._note_pool()
        except exceptions.PVMImageCacheError as error:
            LOG.warning(
                'Not in the history: %(action)s of image %(image)s: %(error)s',
                {
                    'action': action,
                    'image': facts.get('image_id'),
                    'error': error,
                },
            )


def _counted(*facts: tuple[int, str]) -> str:
    """How many of what, of all that there is any of."""
    return ', '.join(f'{count} {what}' for count, what in facts if count)


def _settings(conf: Any) -> cache_module.Settings:
    options = conf.pvm_imagecache
    return cache_module.Settings(
        enabled=options.enabled,
        stall_timeout=options.stall_timeout,
        fetch_timeout=options.fetch_timeout,
        check_download_permission=options.check_download_permission,
        automatic=conf.image_cache.remove_unused_base_images,
        minimum_age=options.minimum_age,
        metrics_textfile=options.metrics_textfile,
    )
