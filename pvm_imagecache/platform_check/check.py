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

"""One platform check: runs the probes, deletes their disks, stores facts."""

from collections.abc import Callable
import contextlib
import dataclasses

from oslo_log import log as logging

from pvm_imagecache import cache as cache_module
from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.platform_check import bench as bench_module
from pvm_imagecache.platform_check import probes
from pvm_imagecache.platform_check import wording
from pvm_imagecache.system import interrupts

LOG = logging.getLogger(__name__)

#: Is called before each probe with its number, from 1, the number of probes,
#: and what it does.
Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a check found out.

    :ivar failed: the facts that could not be measured although they were
        tried, in the order of a report.
    :ivar left: disks that could not be deleted; the next cleanup run does.
    """

    failed: tuple[str, ...]
    left: tuple[str, ...]


def run(
    cache: cache_module.Cache,
    other_pool: str | None = None,
    progress: Progress = lambda number, total, what: None,
) -> Outcome:
    """Measure the platform of a pool, and store the facts in the catalog.

    It can run beside deploys: it changes nothing but disks of its own, which
    it deletes in every case. After an interrupt nothing is stored.

    :param cache: of the pool.
    :param other_pool: another volume group of the VIOS, in which a disk may
        be created; None for none.
    :param progress: is called before each probe.
    :returns: what was found out.
    :raises PlatformCheckRunning: if another process measures the pool.
    :raises NotSupported: if the driver cannot measure its platform.
    :raises VolumeGroupNotFound: if the other volume group does not exist.
    :raises PowerVMError: if the pool cannot be read.
    :raises CatalogError: if the catalog cannot be written.
    """
    access = cache.driver.platform_access()
    pool = cache.driver.pool_id()
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(
                cache.lock_directory.hold(f'platform-check-{pool}', 0)
            )
        except exceptions.LockTimeout as error:
            raise exceptions.PlatformCheckRunning from error
        setting = probes.Setting(bench_module.Bench(cache, access))
        if other_pool is not None:
            driver = access.sibling(other_pool)
            setting.other = bench_module.Bench(
                dataclasses.replace(cache, driver=driver),
                driver.platform_access(),
            )
        left = _measure(setting, progress)
        if not interrupts.is_pending():
            _record(cache, pool, setting, str(access.levels()))
    return Outcome(
        tuple(
            each
            for each in platform_facts.TYPES
            if each in setting.unknown and each not in setting.excused
        ),
        left,
    )


def _record(
    cache: cache_module.Cache,
    pool: str,
    setting: probes.Setting,
    platform: str,
) -> None:
    with cache.catalog.transaction():
        cache.catalog.platform_facts.record(
            pool, setting.values, setting.unknown, platform
        )
        if setting.values.get('keeps_labels') is False:
            # Before an upgrade of the platform they may have been kept.
            cache.catalog.pools.record_labels(pool, False, measured=True)


def _measure(setting: probes.Setting, progress: Progress) -> tuple[str, ...]:
    """Run the probes; return the disks that could not be deleted."""
    benches = [each for each in (setting.bench, setting.other) if each]
    try:
        for number, probe in enumerate(probes.ALL, 1):
            if interrupts.is_pending():
                break
            progress(number, len(probes.ALL), probe.what)
            _run(setting, probe)
    finally:
        for each in reversed(benches):
            each.close()
    return tuple(name for each in benches for name in each.left)


def _run(setting: probes.Setting, probe: probes.Probe) -> None:
    reason = ''
    try:
        probe.run(setting)
    except exceptions.CatalogError:
        raise
    except exceptions.PVMImageCacheError as error:
        LOG.debug('A probe of the platform failed', exc_info=True)
        reason = wording.reason_of(error, setting.bench.names)
    for fact in probe.facts:
        if fact not in setting.values:
            setting.unknown.setdefault(fact, reason)
