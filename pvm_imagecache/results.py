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

"""What the operations of the manager return."""

from collections.abc import Sequence
import dataclasses

from pvm_imagecache import text
from pvm_imagecache.catalog import models
from pvm_imagecache.cleanup import evictor
from pvm_imagecache.cleanup import reconciler
from pvm_imagecache.cleanup import removal
from pvm_imagecache.drivers import base
from pvm_imagecache.eviction import base as eviction_base
from pvm_imagecache.eviction import pipeline
from pvm_imagecache.platform_check import report


@dataclasses.dataclass(frozen=True)
class Usage:
    """The pool, and the part of it that the cache uses.

    :ivar pool: the pool.
    :ivar images: number of base images.
    :ivar cached: bytes of the pool that base images use.
    :ivar totals: by action (hit, miss, bypass, shared-pool, prefetch, purge
        and others), what it came to since the catalog was created.
    :ivar last_run: the last cleanup run that could read the pool.
    :ivar catalog_id: of the catalog; '' if there is none.
    :ivar other_catalogs: other catalogs that have disks in the pool.
    :ivar platform: whether the facts about the platform are out of date;
        None if nothing was measured.
    """

    pool: base.Pool
    images: int
    cached: int
    totals: dict[str, models.Total]
    last_run: models.LastRun | None = None
    catalog_id: str = ''
    other_catalogs: Sequence[models.OtherCatalog] = ()
    platform: report.State | None = None

    @property
    def bytes_fetched(self) -> int:
        """Bytes that came from Glance."""
        return sum(each.bytes_fetched for each in self.totals.values())

    @property
    def bytes_saved(self) -> int:
        """Bytes that hits did not fetch from Glance."""
        return sum(each.bytes_saved for each in self.totals.values())

    @property
    def seconds_saved(self) -> float | None:
        """Estimated seconds by which hits were faster than fetches.

        The estimate assumes the mean rate of all fetches on this host. It is
        negative if copies are slower; None if nothing was fetched so far.
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
class CleanupResult:
    """What one cleanup run did.

    :ivar reconciliation: what was found and removed as stale.
    :ivar eviction: what was evicted; None if that failed.
    :ivar error: why the eviction failed; '' if it did not.
    """

    reconciliation: reconciler.Reconciliation
    eviction: evictor.Eviction | None
    error: str = ''

    @property
    def work(self) -> str:
        """What was done, in one line; '' if there was nothing to do."""
        found, evicted = self.reconciliation, self.eviction
        removed = sum(each.removed for each in self._results)
        freed = text.size(evicted.freed) if evicted else ''
        return _counted(
            (removed, f'image(s) evicted ({freed})'),
            (len(found.removed), 'incomplete disk(s) removed'),
            (len(found.forgotten), 'record(s) removed'),
            (len(found.quarantined), 'quarantined'),
        )

    @property
    def error_summary(self) -> str:
        """What failed, in one line; '' if nothing did."""
        kept = sum(not each.removed for each in self._results)
        faults = self.eviction.plan.faults if self.eviction else ()
        return ', '.join(
            filter(
                None,
                (
                    _counted(
                        (kept, 'selected but kept'),
                        (
                            len(self.reconciliation.failed),
                            'could not be cleaned up',
                        ),
                    ),
                    *(
                        f'policy {name} failed and was skipped: {why}'
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
            ', '.join(filter(None, (self.work, self.error_summary)))
            or 'nothing to do'
        )

    @property
    def _results(self) -> Sequence[removal.RemovalResult]:
        return self.eviction.results if self.eviction else ()


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why an image is kept, or will be evicted.

    :ivar base_image: the record of the base image.
    :ivar veto: why it is kept whatever the policies select.
    :ivar choice: the policy that selects it, and the reason.
    :ivar pin: the pin of an operator.
    :ivar in_use_at: when instances were last seen to use it, in Unix
        seconds.
    :ivar automatic: whether images may be evicted without an operator.
    :ivar protections: the policies that protect it, with their reasons.
    """

    base_image: models.BaseImage
    veto: eviction_base.Veto | None
    choice: pipeline.Choice | None
    pin: models.Pin | None
    in_use_at: float | None
    automatic: bool
    protections: tuple[pipeline.Protection, ...] = ()


def _counted(*facts: tuple[int, str]) -> str:
    """Return an enumeration of the facts whose count is not zero."""
    return ', '.join(f'{count} {what}' for count, what in facts if count)
