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

"""Eviction of cached images that policies select.

The pure rules are in :mod:`~pvm_imagecache.eviction.pipeline`. This module
gathers the facts that they need, and carries out what they select.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import datetime
import time
import types
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.eviction import admission
from pvm_imagecache.eviction import base
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: Seconds to wait for another thread or process that evicts images.
LOCK_TIMEOUT: Final = 60.0
#: Seconds to wait until the space of deleted disks is free.
FREEING_TIMEOUT: Final = 10.0
_FREEING_INTERVAL: Final = 0.5
#: What keeps an image from being evicted for a deploy that would fail.
_LAST_RESORT_VETOES: Final = (base.Veto.PINNED, base.Veto.BUSY)


@dataclasses.dataclass(frozen=True)
class Eviction:
    """What policies selected, and what became of it.

    :ivar plan: the selected images, with policy and reason.
    :ivar results: of each selected image; empty for a dry run.
    """

    plan: pipeline.Plan
    results: tuple[removal.RemovalResult, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes that became free."""
        return sum(
            each.base_image.capacity or 0
            for each in self.results
            if each.removed
        )


class Evictor:
    """Evicts the images that the policies of a cache select.

    :param cache: of the pool.
    """

    def __init__(self, cache: cache_module.Cache) -> None:
        self._cache = cache

    @property
    def automatic(self) -> bool:
        """Whether images may be evicted without an operator."""
        return self._cache.settings.automatic and not all(
            isinstance(each.policy, none.NonePolicy)
            for each in self._cache.policies
        )

    def preview(self) -> pipeline.Plan:
        """Return what :meth:`evict` would evict now.

        :returns: the plan; empty if nothing may be evicted automatically.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self.automatic:
            return pipeline.Plan()
        return self._plan(self.view()[0])

    def retained(self, pool: str) -> list[models.BaseImage]:
        """Return the base images that no deploy can evict.

        All others are evicted before a deploy fails for lack of space.

        :param pool: ID of the pool.
        :returns: the records of those that are pinned or busy; all of them
            if nothing may be evicted automatically.
        :raises CatalogError: if the catalog cannot be read.
        """
        records = self._cache.catalog.base_images.list(pool)
        if not self.automatic:
            return records
        clock = self._cache.catalog.clock.now()
        pins = self._cache.catalog.pins.list(pool)
        return [
            each
            for each in records
            if first_veto(each, clock, 0, pins, (), ()) in _LAST_RESORT_VETOES
        ]

    def evict(self, snapshot: reconciler.Snapshot | None = None) -> Eviction:
        """Evict what the policies select now.

        :param snapshot: of a moment ago. It saves requests, and is used only
            if no base image was added or removed since.
        :returns: what was selected, and what became of it.
        :raises LockTimeout: if another thread or process still evicts images
            after :data:`LOCK_TIMEOUT` seconds.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        if not self.automatic:
            return Eviction(pipeline.Plan())
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._cache.eviction_lock(0))
            except exceptions.LockTimeout:
                # The mappings may change while this process waits.
                snapshot = None
                held.enter_context(self._cache.eviction_lock(LOCK_TIMEOUT))
            if snapshot and not snapshot.is_current(self._cache.catalog):
                snapshot = None
            view, records = self.view(snapshot=snapshot)
            return self._carry_out(
                self._plan(view),
                records,
                snapshot.mapped if snapshot else None,
            )

    def view(
        self,
        demand: int = 0,
        vetoes: Collection[base.Veto] = tuple(base.Veto),
        busy: Collection[str] = (),
        snapshot: reconciler.Snapshot | None = None,
        demand_disks: int = 0,
    ) -> tuple[base.CacheView, dict[str, models.BaseImage]]:
        """Return the cache as policies see it, and the records behind it.

        :param demand: bytes that a deploy needs; 0 for none.
        :param vetoes: the vetoes that apply.
        :param busy: IDs of images that are needed at this moment.
        :param snapshot: of a moment ago, to save requests: a use since then
            is noticed when the image is removed.
        :param demand_disks: number of disks that a deploy needs to be
            removed.
        :returns: the view, and the records by image ID.
        :raises PowerVMError: if the pool cannot be read.
        :raises CatalogError: if the catalog cannot be read.
        """
        catalog = self._cache.catalog
        pool = snapshot.pool if snapshot else self._cache.driver.pool()
        now, clock = time.time(), catalog.clock.now()
        pins = catalog.pins.list(pool.id)
        in_use = catalog.pins.in_use(pool.id)
        metadata = self._metadata(pool.id)
        records = {
            each.image.id: each
            for each in (
                snapshot.records
                if snapshot
                else catalog.base_images.list(pool.id)
            )
        }

        def veto_of(record: models.BaseImage) -> base.Veto | None:
            found = first_veto(
                record,
                clock,
                self._cache.settings.minimum_age,
                pins,
                in_use,
                busy,
            )
            return found if found in vetoes else None

        return base.CacheView(
            now=now,
            pool_capacity=pool.capacity,
            pool_free=pool.free,
            demand=max(demand, min(1, demand_disks)),
            images=tuple(
                _as_seen(
                    record,
                    now - clock,
                    veto_of(record),
                    metadata.get(image_id, image_module.Metadata()),
                )
                for image_id, record in records.items()
            ),
            pool_disks=pool.disks,
            pool_max_disks=pool.max_disks,
            demand_disks=demand_disks,
        ), records

    def _metadata(self, pool: str) -> dict[str, image_module.Metadata]:
        """Return the recorded metadata of images, if it can be read."""
        try:
            return self._cache.catalog.image_metadata.list(pool)
        except exceptions.CatalogError as error:
            self._cache.warn_once.log(
                'Project, tags and properties of cached images are not '
                f'known: {error}'
            )
            return {}

    def make_space(
        self,
        needed: int,
        *,
        refused: bool = False,
        for_image: str | None = None,
        last_resort: bool = False,
        newcomer: image_module.Image | None = None,
        disks: int = 0,
    ) -> bool:
        """Evict images until the pool has space for a disk.

        Nothing is evicted unless evicting every eligible image would free
        enough.

        :param needed: bytes that the pool must have free.
        :param refused: whether PowerVM refused to create the disk although
            it reports enough free space.
        :param for_image: ID of an image that the disk is created from, which
            is not evicted.
        :param last_resort: whether the deploy fails otherwise. If the
            policies do not free enough, every image is eligible that is
            neither pinned nor busy.
        :param newcomer: the image that a deploy would cache with the space,
            which evicts no image that is deployed more often: see
            :mod:`pvm_imagecache.eviction.admission`.
        :param disks: how many disks the pool could not take because it has
            too many; 0 if it lacks only bytes.
        :returns: whether it is worth trying again.
        """
        if not self.automatic:
            return False
        try:
            with self._cache.eviction_lock(LOCK_TIMEOUT):
                return self._make_space(
                    needed, refused, for_image, last_resort, newcomer, disks
                )
        except exceptions.PVMImageCacheError as error:
            LOG.warning('Could not make space in the pool: %s', error)
            return False

    def _make_space(
        self,
        needed: int,
        refused: bool,
        for_image: str | None,
        last_resort: bool,
        newcomer: image_module.Image | None,
        disks: int,
    ) -> bool:
        pool = self._cache.driver.pool()
        free = pool.free
        demand = needed if refused else needed - free
        if disks:
            # The pool refused them: at least one is in the way.
            disks = max(1, disks - _disks_left(pool))
        elif demand <= 0:
            # Another thread or process has just freed it.
            return True
        kept = {for_image} if for_image else set()
        if newcomer:
            kept |= self._not_displaced_by(newcomer)
        if not self._free(demand, kept, last_resort, disks):
            return False
        self._await(lambda: self._cache.driver.pool().free > free)
        return True

    def _free(
        self,
        demand: int,
        kept: set[str],
        last_resort: bool,
        disks: int = 0,
    ) -> bool:
        """Evict images that free bytes and remove disks, or none.

        :param demand: bytes to free.
        :param kept: IDs of images that are not evicted.
        :param disks: number of disks to remove.
        """
        while demand > 0 or disks > 0:
            plan, records = self._plan_space(
                max(0, demand), kept, last_resort, max(0, disks)
            )
            if plan.lacking:
                LOG.info(
                    'Cannot free enough space: %(lacking)s short even after '
                    'evicting every eligible image',
                    {
                        'lacking': f'{plan.lacking_disks} disk(s)'
                        if plan.lacking_disks
                        else text.size(plan.lacking)
                    },
                )
                return False
            done = self._carry_out(plan, records)
            demand -= done.freed
            disks -= sum(each.removed for each in done.results)
            # Others may be evicted instead of what could not be removed.
            kept = kept | {
                each.base_image.image.id
                for each in done.results
                if not each.removed
            }
        return True

    def admit(self, image: image_module.Image, *, fairly: bool) -> None:
        """Evict images until the cache has space for another base image.

        Call it before the base image is created, and :meth:`check_limit`
        when it has a record.

        :param image: that is to be cached.
        :param fairly: whether no image is evicted that is deployed more
            often.
        :raises CacheLimitReached: if the base image would exceed
            ``max_bytes``.
        :raises LockTimeout: if another thread or process still evicts images
            after :data:`LOCK_TIMEOUT` seconds.
        :raises CatalogError: if the catalog cannot be read or written.
        """
        if self._surplus(image) <= 0:
            return
        limit = self._cache.settings.max_bytes or 0
        if admission.disk_size(image.size) > limit:
            raise self._limit_reached(image, 'it is larger than the limit')
        if not self.automatic:
            raise self._limit_reached(image, 'automatic eviction is disabled')
        with self._cache.eviction_lock(LOCK_TIMEOUT):
            kept = {image.id}
            if fairly:
                kept |= self._not_displaced_by(image)
            try:
                is_free = self._free(self._surplus(image), kept, False)
            except exceptions.PowerVMError as error:
                raise self._limit_reached(
                    image, f'no image could be evicted ({error})'
                ) from error
            if not is_free:
                raise self._limit_reached(
                    image, 'the images that may be evicted do not free enough'
                )

    def check_limit(self, image: image_module.Image) -> None:
        """Check that the cache is not too large with a new base image.

        Two fills that start at the same time may both have been admitted.

        :param image: whose base image has a record.
        :raises CacheLimitReached: if ``max_bytes`` is exceeded.
        :raises CatalogError: if the catalog cannot be read.
        """
        if self._surplus(image) > 0:
            raise self._limit_reached(
                image, 'other images are being fetched at the same time'
            )

    def _surplus(self, image: image_module.Image) -> int:
        """Return the bytes over the limit with an image in the cache."""
        limit = self._cache.settings.max_bytes
        if limit is None:
            return 0
        cached = self._cache.catalog.base_images.list(
            self._cache.driver.pool_id()
        )
        return (
            admission.disk_size(image.size)
            + sum(
                each.capacity or admission.disk_size(each.image.size)
                for each in cached
                if each.image.id != image.id
            )
            - limit
        )

    def _limit_reached(
        self, image: image_module.Image, reason: str
    ) -> exceptions.CacheLimitReached:
        return exceptions.CacheLimitReached(
            image=image.id,
            needed=text.size(admission.disk_size(image.size)),
            limit=text.size(self._cache.settings.max_bytes or 0),
            reason=reason,
        )

    def _not_displaced_by(self, image: image_module.Image) -> set[str]:
        """Return the IDs of cached images that a deploy must not evict."""
        catalog, pool = self._cache.catalog, self._cache.driver.pool_id()
        clock = catalog.clock.now()
        deploys = catalog.history.deploys(pool, time.time() - admission.WINDOW)
        newcomer = admission.Newcomer(deploys.get(image.id, 0) + 1, image.size)
        return {
            record.image.id
            for record in catalog.base_images.list(pool)
            if not newcomer.may_displace(
                _deploys_of(record, clock, deploys),
                clock - _first(record.used_clock, record.started_clock),
            )
        }

    def _plan_space(
        self,
        demand: int,
        kept: set[str],
        last_resort: bool,
        disks: int,
    ) -> tuple[pipeline.Plan, dict[str, models.BaseImage]]:
        """Select images that free bytes and remove disks."""
        view, records = self.view(demand, busy=kept, demand_disks=disks)
        plan = self._plan(view)
        if plan.lacking and last_resort:
            view, records = self.view(
                demand, _LAST_RESORT_VETOES, kept, demand_disks=disks
            )
            plan = pipeline.make_room(view)
        return plan, records

    def _await(self, is_free: Callable[[], bool]) -> None:
        """Wait until the space of deleted disks is free."""
        end = time.monotonic() + FREEING_TIMEOUT
        while not is_free() and time.monotonic() < end:
            time.sleep(_FREEING_INTERVAL)

    def _plan(self, view: base.CacheView) -> pipeline.Plan:
        plan = pipeline.plan(view, self._cache.policies)
        limit = self._cache.settings.max_bytes
        if limit is None or view.demand:
            return plan
        return pipeline.within_limit(plan, view, limit)

    @interrupts.deferred()
    def _carry_out(
        self,
        plan: pipeline.Plan,
        records: dict[str, models.BaseImage],
        mapped: Collection[str] | None = None,
    ) -> Eviction:
        choices = {each.image.image_id: each for each in plan.choices}
        selected = [records[image_id] for image_id in choices]
        results = removal.remove(
            self._cache, selected, _unused_since(selected), mapped
        )
        self._report(
            [
                (each.base_image, choices[each.base_image.image.id])
                for each in results
                if each.removed
            ]
        )
        return Eviction(plan, tuple(results))

    def _report(
        self,
        evicted: Sequence[tuple[models.BaseImage, pipeline.Choice]],
    ) -> None:
        """Log evictions, notify the listener and write the history."""
        for record, choice in evicted:
            LOG.info(
                'Evicted image %(image)s from the cache: %(reason)s '
                '(%(policy)s)',
                {
                    'image': record.image.label,
                    'reason': choice.reason,
                    'policy': choice.policy,
                },
            )
            self._cache.notify(
                events.Event(
                    events.Kind.EVICTED,
                    record.pool,
                    record.image.id,
                    record.disk_name,
                    record.image.size,
                    choice.summary,
                    choice.code,
                    image_name=record.image.name,
                    project_id=choice.image.project_id,
                    requester=self._cache.catalog.who,
                )
            )
        if not evicted:
            return
        catalog = self._cache.catalog
        try:
            with catalog.transaction():
                for record, choice in evicted:
                    catalog.history.add(
                        record.pool,
                        'evict',
                        image_id=record.image.id,
                        image_name=record.image.name,
                        disk_name=record.disk_name,
                        code=choice.code,
                        detail=choice.summary,
                    )
        except exceptions.CacheFault as error:
            LOG.warning(
                'Could not record the eviction of %(count)d image(s) in the '
                'history: %(error)s',
                {'count': len(evicted), 'error': error},
            )


def _disks_left(pool: driver_base.Pool) -> int:
    """Return how many more disks a pool can have, as far as it says."""
    if pool.max_disks is None or pool.disks is None:
        return 0
    return max(0, pool.max_disks - pool.disks)


def _unused_since(selected: Sequence[models.BaseImage]) -> removal.Check:
    """Return a check that an image was not used since it was selected."""
    known = {each.disk_name: each for each in selected}

    def check(current: models.BaseImage) -> None:
        if current.state is not models.State.READY or (
            current.used_clock != known[current.disk_name].used_clock
        ):
            raise exceptions.CatalogConflict(
                image=current.image.id, reason='it was used meanwhile'
            )

    return check


def _deploys_of(
    record: models.BaseImage, clock: float, deploys: Mapping[str, int]
) -> int:
    """Return how often a cached image was deployed lately.

    :param deploys: by image ID, what the history has, which may be lost.
    """
    counted = deploys.get(record.image.id, 0)
    if clock - _first(record.ready_clock, clock) < admission.WINDOW:
        return max(counted, record.hits + 1)
    return counted


def first_veto(
    record: models.BaseImage,
    clock: float,
    minimum_age: float,
    pins: Collection[str],
    in_use: Collection[str],
    busy: Collection[str],
) -> base.Veto | None:
    """Return why an image must be kept, the strongest reason first.

    :param record: of the base image.
    :param clock: now, in seconds of the catalog's clock.
    :param minimum_age: seconds for which a new base image is kept.
    :param pins: IDs of pinned images.
    :param in_use: IDs of images that instances use.
    :param busy: IDs of images that are needed at this moment.
    :returns: the veto, or None if policies may select the image.
    """
    if record.image.id in pins:
        return base.Veto.PINNED
    if record.image.id in busy or record.state is not models.State.READY:
        return base.Veto.BUSY
    if record.image.id in in_use:
        return base.Veto.IN_USE
    if clock - _first(record.ready_clock, clock) < minimum_age:
        return base.Veto.YOUNG
    return None


def _as_seen(
    record: models.BaseImage,
    offset: float,
    veto: base.Veto | None,
    metadata: image_module.Metadata,
) -> base.CachedImage:
    """Return a record as policies see it.

    :param offset: from the catalog's clock to Unix seconds.
    """
    return base.CachedImage(
        image_id=record.image.id,
        disk_name=record.disk_name,
        capacity=record.capacity or 0,
        ready_at=_first(record.ready_clock, record.started_clock) + offset,
        last_used_at=_first(record.used_clock, record.started_clock) + offset,
        hits=record.hits,
        name=record.image.name,
        veto=veto,
        project_id=metadata.project_id,
        tags=frozenset(metadata.tags),
        properties=types.MappingProxyType(dict(metadata.properties)),
        created_at=_seconds(record.image.created_at),
        disk_format=record.image.disk_format,
        size=record.image.size,
    )


def _seconds(moment: str) -> float | None:
    """Return a time of Glance in Unix seconds; None if it is not known."""
    try:
        parsed = datetime.datetime.fromisoformat(moment)
    except ValueError:
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.UTC)
    return parsed.timestamp()


def _first(clock: float | None, otherwise: float) -> float:
    return otherwise if clock is None else clock
