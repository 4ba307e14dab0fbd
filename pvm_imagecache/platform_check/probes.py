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

"""The probes of a platform check: each observes some facts.

A probe creates disks on the bench, looks at what PowerVM does, and deletes
them again. An error of PowerVM is not the end of a check: the facts of the
probe are unknown then.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import math
import threading
import time
from typing import Final

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.cleanup import disposal
from pvm_imagecache.drivers import base
from pvm_imagecache.platform_check import bench as bench_module
from pvm_imagecache.platform_check import wording

#: Bytes of one upload whose rate is measured.
UPLOAD_SIZE: Final = 128 * units.Mi
#: Numbers of uploads at the same time, beside one alone.
UPLOADS: Final = (2, 3, 6)
#: Copies in one update.
_COPIES: Final = 3
#: A copy that takes less time, in seconds, is too fast to compare.
_LEAST_SECONDS: Final = 0.02
#: Two updates at the same time are repeated, unless the first one took so
#: many seconds: the second one may have come after it.
_CERTAIN_SECONDS: Final = 0.5
_TRIES: Final = 3
_SECTOR: Final = 512
#: Bytes of the first disk, and by how much the second one is larger: the
#: difference of their capacities is the unit of capacities.
_FRACTION: Final = 16 * units.Mi + units.Mi // 2
_STEP: Final = units.Mi // 2
#: Above this size a second disk for the granularity would be too large.
_MOST_GRANULARITY: Final = 3 * units.Gi

Values = dict[str, platform_facts.Value]


@dataclasses.dataclass
class Setting:
    """What probes share.

    :ivar bench: of the pool.
    :ivar other: of another pool of the same VIOS; None if the operator
        named none.
    :ivar values: the facts that are known so far, by name.
    :ivar unknown: why facts are unknown, by name.
    :ivar excused: the facts among :attr:`unknown` that this platform or
        this command line does not show, so that they are no failures.
    :ivar disk: an empty disk, once there is one.
    :ivar source: a disk of one GiB with data, once there is one.
    :ivar empty_seconds: how long an update takes that creates an empty disk.
    """

    bench: bench_module.Bench
    other: bench_module.Bench | None = None
    values: Values = dataclasses.field(default_factory=dict)
    unknown: dict[str, str] = dataclasses.field(default_factory=dict)
    excused: set[str] = dataclasses.field(default_factory=set)
    disk: base.Disk | None = None
    source: base.Disk | None = None
    empty_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Probe:
    """One probe.

    :ivar facts: the facts that it observes.
    :ivar run: observes them; the values that it knows are in the setting
        even if it fails.
    :ivar what: what it does, for the progress and the dry run.
    :ivar size: bytes that its disks have together, if capacities are
        multiples of one GiB.
    """

    facts: Sequence[str]
    run: Callable[[Setting], None]
    what: str
    size: int = 0


def _levels(setting: Setting) -> None:
    found = setting.bench.access.levels()
    for fact, value in (
        ('platform_level', found.platform),
        ('vios_level', found.vios),
        ('pypowervm_version', found.pypowervm),
    ):
        if value:
            setting.values[fact] = value
        else:
            setting.unknown[fact] = 'the platform does not report it'
            setting.excused.add(fact)


def _limit(setting: Setting) -> None:
    limit = setting.bench.access.logical_volume_limit()
    if limit is None:
        setting.excused.add('logical_volume_limit')
        raise exceptions.FactNotMeasured(
            reason='the platform reports no limit'
        )
    setting.values['logical_volume_limit'] = limit


def _capacities(setting: Setting) -> None:
    bench = setting.bench
    try:
        (disk,) = bench.create(_FRACTION)
        is_accepted = True
    except exceptions.PowerVMRequestFailed as error:
        if not bench_module.is_refusal(error):
            raise
        (disk,) = bench.create()
        is_accepted = False
    setting.values['fractional_capacity'] = is_accepted
    setting.disk = disk
    unit = disk.capacity
    if is_accepted and unit < _MOST_GRANULARITY:
        (second,) = bench.create(unit + _STEP)
        bench.delete(second)
        unit = second.capacity - unit
    if unit % _SECTOR:
        # The capacity was reported with few decimals.
        unit = 1 << round(math.log2(unit))
    setting.values['granularity'] = unit
    bench.granularity = unit


def _labels(setting: Setting) -> None:
    disk = _disk(setting)
    requested = setting.bench.label_of(disk)
    setting.values['keeps_labels'] = disk.label == requested
    disposal.record_labels(
        setting.bench.cache, [disk], created_with=[requested]
    )


def _stale_etag(setting: Setting) -> None:
    setting.values['stale_etag_refused'] = setting.bench.refuses_stale_etag()


def _name_exists(setting: Setting) -> None:
    disk = _disk(setting)
    refusal = setting.bench.attempt(disk.capacity, disk.name)
    if refusal is None:
        raise exceptions.FactNotMeasured(
            reason='PowerVM accepted a second disk of the same name'
        )
    _check_cause(setting.bench)
    setting.values['name_exists_words'] = _words(setting.bench, refusal)


def _no_space(setting: Setting) -> None:
    bench = setting.bench
    refusal = bench.attempt(bench.cache.driver.pool().capacity + units.Gi)
    if refusal is None:
        raise exceptions.FactNotMeasured(
            reason='PowerVM accepted a disk that is larger than the pool'
        )
    _check_cause(bench)
    setting.values['no_space_words'] = _words(bench, refusal)


def _qcow2(setting: Setting) -> None:
    bench = setting.bench
    try:
        bench.delete(*bench.create(file_format='qcow2'))
    except exceptions.PowerVMRequestFailed as error:
        if not bench_module.is_refusal(error):
            raise
        _check_cause(bench)
        setting.values['accepts_qcow2'] = False
    else:
        setting.values['accepts_qcow2'] = True


def _names(setting: Setting) -> None:
    if setting.other is None:
        setting.excused.add('names_per_vios')
        raise exceptions.FactNotMeasured(
            reason='name another volume group of the VIOS with --other-vg'
        )
    name = _disk(setting).name
    # It must be the name that is refused, and nothing else.
    setting.other.delete(*setting.other.create())
    refusal = setting.other.attempt(units.Gi, name)
    setting.values['names_per_vios'] = refusal is not None


def _source(setting: Setting) -> None:
    bench = setting.bench
    (setting.source,) = bench.create()
    setting.empty_seconds = bench.seconds
    setting.values['upload_rate'] = _upload(bench, [setting.source])


def _copies(setting: Setting) -> None:
    bench, source = setting.bench, _source_of(setting)
    request = setting.empty_seconds
    one = several = math.inf
    for _ in range(_TRIES):
        one = min(one, _seconds(bench, source, 1))
        several = min(several, _seconds(bench, source, _COPIES))
        if one >= 2 * request:
            break
        # Other work of the VIOS may have delayed the request.
        request = min(request, _seconds(bench, None, 1))
    alone = max(one - request, 0.001)
    setting.values['copy_rate'] = round(source.capacity / alone)
    if alone < _LEAST_SECONDS:
        raise exceptions.FactNotMeasured(
            reason='one copy takes too little time to compare it with several'
        )
    setting.values['copies_side_by_side'] = (
        several - _COPIES * request < alone * (_COPIES + 1) / 2
    )


def _seconds(
    bench: bench_module.Bench, source: base.Disk | None, count: int
) -> float:
    """Return how long the creation of disks takes, which are deleted."""
    capacity = units.Gi if source is None else source.capacity
    bench.delete(*bench.create(capacity, count, source=source))
    return bench.seconds


def _larger(setting: Setting) -> None:
    bench, source = setting.bench, _source_of(setting)
    try:
        bench.delete(*bench.create(source.capacity + units.Gi, source=source))
    except exceptions.PowerVMRequestFailed as error:
        if not bench_module.is_refusal(error):
            raise
        setting.values['copies_into_larger'] = False
    else:
        setting.values['copies_into_larger'] = True


def _concurrent(setting: Setting) -> None:
    if setting.values.get('stale_etag_refused') is not True:
        raise exceptions.FactNotMeasured(
            reason='the platform is not known to refuse outdated updates, '
            'which could delete disks of other clients'
        )
    for _ in range(_TRIES):
        found, is_certain = _two_updates(setting.bench, _source_of(setting))
        setting.values['concurrent_updates'] = found
        if is_certain:
            return


def _two_updates(
    bench: bench_module.Bench, source: base.Disk
) -> tuple[platform_facts.ConcurrentUpdates, bool]:
    """Return what became of the second update, and whether it is certain."""
    updates = platform_facts.ConcurrentUpdates
    made: list[base.Disk] = []

    def sending(
        send: Callable[[], list[base.Disk]],
    ) -> Callable[[], object]:
        return lambda: made.extend(send())

    with bench.prepared(source.capacity, (1, 1), source) as senders:
        first, second = sorted(
            _at_once([sending(each) for each in senders]),
            key=lambda each: each[1],
        )
        if (
            first[0] is None
            and second[0] is None
            and (not bench.are_there(made))
        ):
            return updates.OVERWRITES, True
    errors = [
        (error, seconds)
        for error, seconds in (first, second)
        if error is not None
    ]
    for error, seconds in errors:
        if isinstance(error, exceptions.PowerVMBusy):
            return updates.BUSY, True
        if len(errors) > 1 or not (
            isinstance(error, exceptions.PowerVMError)
            and bench.access.is_conflict(error)
        ):
            raise error
        # If it waited for the other one, it was refused after that.
        if seconds < second[1] / 2:
            return updates.REFUSED, True
    return updates.QUEUED, second[1] >= _CERTAIN_SECONDS


def _at_once(
    calls: Sequence[Callable[[], object]],
) -> list[tuple[BaseException | None, float]]:
    """Make calls at the same time; return the error and seconds of each."""
    results: list[tuple[BaseException | None, float]] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        started = time.monotonic()
        error: BaseException | None = None
        try:
            call()
        except BaseException as raised:
            error = raised
        results.append((error, time.monotonic() - started))

    threads = [
        threading.Thread(target=run, args=(call,), daemon=True)
        for call in calls
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return results


def _uploads(number: int) -> Callable[[Setting], None]:
    def run(setting: Setting) -> None:
        bench, source = setting.bench, _source_of(setting)
        others = bench.create(count=number - 1)
        try:
            rate = _upload(bench, [source, *others])
        finally:
            bench.delete(*others)
        setting.values[f'upload_rate_{number}'] = rate

    return run


def _upload(bench: bench_module.Bench, disks: Sequence[base.Disk]) -> int:
    """Return the rate of uploads to disks at the same time, together."""

    def to(disk: base.Disk) -> Callable[[], None]:
        return lambda: bench.upload(disk, UPLOAD_SIZE)

    started = time.monotonic()
    for error, _ in _at_once([to(each) for each in disks]):
        if error is not None:
            raise error
    seconds = max(time.monotonic() - started, 0.001)
    return round(len(disks) * UPLOAD_SIZE / seconds)


def _zeroed(setting: Setting) -> None:
    setting.excused.add('new_disk_zeroed')
    raise exceptions.FactNotMeasured(reason='the REST API cannot read a disk')


def _disk(setting: Setting) -> base.Disk:
    if setting.disk is None:
        raise exceptions.FactNotMeasured(reason='no disk could be created')
    return setting.disk


def _source_of(setting: Setting) -> base.Disk:
    if setting.source is None:
        why = setting.unknown.get('upload_rate')
        raise exceptions.FactNotMeasured(
            reason=why or 'no disk of 1 GiB could be created'
        )
    return setting.source


def _check_cause(bench: bench_module.Bench) -> None:
    """Fail unless PowerVM creates disks: a refusal has a cause then."""
    bench.delete(*bench.create())


def _words(
    bench: bench_module.Bench, refusal: exceptions.PowerVMRequestFailed
) -> str:
    """Return what PowerVM says, without names of disks and the pool."""
    names = [bench.cache.driver.pool().name, *bench.names]
    text = wording.shown(str(refusal.reason), names)
    if not text:
        raise exceptions.FactNotMeasured(
            reason='the refusal of PowerVM has no message'
        )
    return text


_GIB: Final = units.Gi

#: In the order in which they run.
ALL: Final = (
    Probe(
        ('platform_level', 'vios_level', 'pypowervm_version'),
        _levels,
        'read the levels of the platform',
    ),
    Probe(('logical_volume_limit',), _limit, 'read the volume group'),
    Probe(
        ('fractional_capacity', 'granularity'),
        _capacities,
        'create disks of a fraction of a GiB',
        3 * _GIB,
    ),
    Probe(('keeps_labels',), _labels, 'look at the label of a new disk'),
    Probe(
        ('stale_etag_refused',),
        _stale_etag,
        'send an update with an outdated ETag',
        2 * _GIB,
    ),
    Probe(
        ('name_exists_words',),
        _name_exists,
        'request a disk with a name that is in use',
        2 * _GIB,
    ),
    Probe(
        ('no_space_words',),
        _no_space,
        'request a disk that is larger than the volume group',
        2 * _GIB,
    ),
    Probe(
        ('accepts_qcow2',),
        _qcow2,
        'create a disk for a qcow2 image',
        2 * _GIB,
    ),
    Probe(
        ('names_per_vios',),
        _names,
        'create disks of one name in two volume groups',
        2 * _GIB,
    ),
    Probe(
        ('upload_rate',),
        _source,
        'write to a disk',
        2 * _GIB,
    ),
    Probe(
        ('copy_rate', 'copies_side_by_side'),
        _copies,
        'copy a disk once, then several times in one update',
        5 * _GIB,
    ),
    Probe(
        ('copies_into_larger',),
        _larger,
        'copy a disk into a larger one',
        4 * _GIB,
    ),
    Probe(
        ('concurrent_updates',),
        _concurrent,
        'send two updates at the same time',
        4 * _GIB,
    ),
    *(
        Probe(
            (f'upload_rate_{number}',),
            _uploads(number),
            f'write to {number} disks at the same time',
            (number + 1) * _GIB,
        )
        for number in UPLOADS
    ),
    Probe(('new_disk_zeroed',), _zeroed, 'read a new disk'),
)
