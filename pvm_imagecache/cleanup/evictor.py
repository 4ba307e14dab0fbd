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

"""Evictions: a snapshot is taken, the policies choose, what they chose goes.

What goes and why is decided in :mod:`~pvm_imagecache.eviction.pipeline`.
Here are the facts that it is decided by, and what is done about it.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
import contextlib
import dataclasses
import time
from typing import Final

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import events
from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.eviction import base
from pvm_imagecache.eviction import none
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: Seconds to wait for somebody else who is choosing and removing images.
ROOM_TIMEOUT: Final = 60.0
#: Seconds to wait until what was removed is free indeed.
FREEING_TIMEOUT: Final = 10.0
_FREEING_INTERVAL: Final = 0.5


@dataclasses.dataclass(frozen=True)
class Eviction:
    """What was to go, and what became of it.

    :ivar plan: what the policies chose, and why.
    :ivar results: of each that was chosen; empty for a dry run.
    """

    plan: pipeline.Plan
    results: tuple[removal.Removed, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes that became free."""
        return sum(
            each.base_image.capacity or 0
            for each in self.results
            if each.removed
        )


class Evictor:
    """Removes cached images as the policies say."""

    def __init__(self, parts: cache_module.Parts) -> None:
        self._parts = parts

    @property
    def automatic(self) -> bool:
        """Whether anything may go without an operator."""
        return self._parts.settings.automatic and not all(
            isinstance(each.policy, none.NonePolicy)
            for each in self._parts.policies
        )

    def plan(self) -> Eviction:
        """Tell what would go now."""
        if not self.automatic:
            return Eviction(pipeline.Plan())
        return Eviction(self._plan(self.view()[0]))

    def evict(self, snapshot: reconciler.Snapshot | None = None) -> Eviction:
        """Remove what the policies choose now.

        :param snapshot: of a moment ago. It spares requests, and is used
            only if no base image has come or gone since.
        :raises LockTimeout: if somebody else is at it for too long.
        """
        if not self.automatic:
            return Eviction(pipeline.Plan())
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._parts.hold_room(0))
            except exceptions.LockTimeout:
                # When it is our turn, a partition may have another disk.
                snapshot = None
                held.enter_context(self._parts.hold_room(ROOM_TIMEOUT))
            if snapshot and not snapshot.is_current(self._parts.catalog):
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
    ) -> tuple[base.CacheView, dict[str, catalog_module.BaseImage]]:
        """The cache as it is now, and the records behind it by image id.

        :param vetoes: those that are heeded.
        :param busy: ids of images that are needed at this moment.
        :param snapshot: of a moment ago: a use since then is found out
            about when the image is to go.
        """
        catalog = self._parts.catalog
        pool = snapshot.pool if snapshot else self._parts.driver.pool()
        now, clock = time.time(), catalog.clock()
        pins, in_use = catalog.pins(pool.id), catalog.in_use(pool.id)
        records = {
            each.image.id: each
            for each in (
                snapshot.records if snapshot else catalog.images(pool.id)
            )
        }

        def veto_of(record: catalog_module.BaseImage) -> base.Veto | None:
            found = first_veto(
                record,
                clock,
                self._parts.settings.minimum_age,
                pins,
                in_use,
                busy,
            )
            return found if found in vetoes else None

        return base.CacheView(
            now=now,
            pool_capacity=pool.capacity,
            pool_free=pool.free,
            demand=demand,
            images=tuple(
                _as_seen(record, now - clock, veto_of(record))
                for record in records.values()
            ),
        ), records

    def make_room(
        self,
        needed: int,
        *,
        refused: bool = False,
        for_image: str | None = None,
        last_resort: bool = False,
    ) -> bool:
        """Have so many bytes free in the pool, if that can be done.

        Nothing goes where all that may go would not be enough.

        :param refused: the platform has not taken them, though it says
            that so many are free.
        :param for_image: the id of an image that is of use for what the
            room is needed for.
        :param last_resort: the deploy fails if there is no room: only what
            is pinned or busy is spared then, whatever the policies say.
        :returns: whether it is worth trying again.
        """
        if not self.automatic:
            return False
        try:
            with self._parts.hold_room(ROOM_TIMEOUT):
                return self._make_room(needed, refused, for_image, last_resort)
        except exceptions.PVMImageCacheError as error:
            LOG.warning('No room could be made in the pool: %s', error)
            return False

    def _make_room(
        self,
        needed: int,
        refused: bool,
        for_image: str | None,
        last_resort: bool,
    ) -> bool:
        free = self._parts.driver.pool().free
        demand = needed if refused else needed - free
        if demand <= 0:
            # Somebody else has just made it.
            return True
        stuck: set[str] = set()
        freed = 0
        while freed < demand:
            plan, records = self._plan_room(
                demand - freed, stuck, for_image, last_resort
            )
            if plan.lacking:
                LOG.info(
                    '%(lacking)s of room are lacking even if all goes '
                    'that may go',
                    {'lacking': text.size(plan.lacking)},
                )
                return False
            done = self._carry_out(plan, records)
            freed += done.freed
            # Others may go instead of what could not be removed.
            stuck |= {
                each.base_image.image.id
                for each in done.results
                if not each.removed
            }
        self._await(lambda: self._parts.driver.pool().free > free)
        return True

    def _plan_room(
        self,
        demand: int,
        stuck: set[str],
        for_image: str | None,
        last_resort: bool,
    ) -> tuple[pipeline.Plan, dict[str, catalog_module.BaseImage]]:
        """What goes so that so many bytes become free."""
        view, records = self.view(
            demand, busy={*stuck, *([for_image] if for_image else [])}
        )
        plan = self._plan(view)
        if plan.lacking and last_resort:
            view, records = self.view(
                demand, (base.Veto.PINNED, base.Veto.BUSY), stuck
            )
            plan = pipeline.make_room(view)
        return plan, records

    def _await(self, is_free: Callable[[], bool]) -> None:
        """What is deleted may take a while to become free."""
        end = time.monotonic() + FREEING_TIMEOUT
        while not is_free() and time.monotonic() < end:
            time.sleep(_FREEING_INTERVAL)

    def _plan(self, view: base.CacheView) -> pipeline.Plan:
        return pipeline.plan(view, self._parts.policies)

    @interrupts.deferred()
    def _carry_out(
        self,
        plan: pipeline.Plan,
        records: dict[str, catalog_module.BaseImage],
        mapped: Collection[str] | None = None,
    ) -> Eviction:
        chosen = {each.image.image_id: each for each in plan.choices}
        doomed = [records[image_id] for image_id in chosen]
        results = removal.remove(
            self._parts, doomed, self._check(doomed), mapped
        )
        self._remember(
            [
                (each.base_image, chosen[each.base_image.image.id])
                for each in results
                if each.removed
            ]
        )
        return Eviction(plan, tuple(results))

    def _check(self, doomed: list[catalog_module.BaseImage]) -> removal.Check:
        """What is looked at again, under its lock, before an image goes."""
        known = {each.disk_name: each for each in doomed}

        def check(current: catalog_module.BaseImage) -> None:
            if current.state is not catalog_module.State.READY or (
                current.used_clock != known[current.disk_name].used_clock
            ):
                raise exceptions.CatalogConflict(
                    image=current.image.id, reason='it was used meanwhile'
                )

        return check

    def _remember(
        self,
        gone: Sequence[tuple[catalog_module.BaseImage, pipeline.Choice]],
    ) -> None:
        for record, choice in gone:
            LOG.info(
                'Image %(image)s was removed from the cache: '
                '%(reason)s (%(policy)s)',
                {
                    'image': record.image.id,
                    'reason': choice.reason,
                    'policy': choice.policy,
                },
            )
            self._parts.tell(
                events.Event(
                    events.Kind.EVICTED,
                    record.pool,
                    record.image.id,
                    record.disk_name,
                    record.image.size,
                    f'{choice.policy}: {choice.reason}',
                )
            )
        if not gone:
            return
        try:
            with self._parts.catalog.at_once():
                for record, choice in gone:
                    self._parts.catalog.add_history(
                        record.pool,
                        'evict',
                        image_id=record.image.id,
                        image_name=record.image.name,
                        disk_name=record.disk_name,
                        code=choice.code,
                        detail=f'{choice.policy}: {choice.reason}',
                    )
        except exceptions.CacheFault as error:
            LOG.warning(
                'Not in the history: the eviction of %(count)d '
                'image(s): %(error)s',
                {'count': len(gone), 'error': error},
            )


def first_veto(
    record: catalog_module.BaseImage,
    clock: float,
    minimum_age: float,
    pins: Collection[str],
    in_use: Collection[str],
    busy: Collection[str],
) -> base.Veto | None:
    """Why an image stays, the strongest reason first; a decider."""
    if record.image.id in pins:
        return base.Veto.PINNED
    if record.image.id in busy or (
        record.state is not catalog_module.State.READY
    ):
        return base.Veto.BUSY
    if record.image.id in in_use:
        return base.Veto.IN_USE
    if clock - _first(record.ready_clock, clock) < minimum_age:
        return base.Veto.YOUNG
    return None


def _as_seen(
    record: catalog_module.BaseImage,
    offset: float,
    veto: base.Veto | None,
) -> base.CachedImage:
    """A record as policies see it.

    :param offset: from the clock of the catalogue to Unix seconds.
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
    )


def _first(clock: float | None, otherwise: float) -> float:
    return otherwise if clock is None else clock
