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

"""All at once: processes and threads in one cache, beside a stranger.

Several processes with several threads each, every process with a manager of
its own, deploy, delete, prefetch, purge, pin and run passes at random, while
another client of the volume group adds and removes its own disks. Every byte
of every disk is looked at, and at the end all books must balance: disks,
records, downloads, locks, descriptors.

    python -m pvm_imagecache.tests.stress.race [--seconds 60]
"""

import argparse
import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import faulthandler
import fcntl
import gc
import http
import logging
import multiprocessing
from multiprocessing import connection as pipes
import os
import pathlib
import random
import re
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from typing import Any
import uuid

from oslo_utils import units
from pypowervm import adapter as pvm_adapter
from pypowervm import exceptions as pvm_exceptions
from pypowervm.tasks import storage as pvm_tasks
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import vios_file as pvm_file

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager as manager_module
from pvm_imagecache import naming
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import glance as glance_conf
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.simulator import control as control_module
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import platforms
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import glance as glance_server
from pvm_imagecache.tests.servers import powervm as powervm_server
from pvm_imagecache.tests.servers import process

READINGS = ('overwrite', 'merge')
GROUP = 'cachevg'
#: Seconds that all may take to come to their end after the time is up.
_PATIENCE = 300.0
#: Disks that a thread keeps for a while, and one deploy in how many that is.
_KEPT = 8
_KEPT_OF = 10
#: As many are special in one way or another.
_LEAST_IMAGES = 10
#: Disks that the stranger has at most.
_FOREIGN_DISKS = 40
#: Images that are cached at most after a pass.
_MOST_CACHED = 12
#: Seconds that the stranger waits for a busy VIOS.
_BUSY_DELAY = 0.1
#: Failures of one kind fill the screen soon.
_SHOWN = 40

#: What may be said where a deploy goes past the cache, by what is special
#: about the image.
_BYPASSES = {
    'namesake': (seams.NAMESAKE,),
    'squatted': (seams.UNTRACKED,),
    'contested': (seams.UNTRACKED, seams.CONTESTED),
    'abandoned': (seams.UNTRACKED, seams.CONTESTED),
}

_JOURNAL_PREFIX = 'race_'
_JOURNAL = f"""
CREATE TABLE race_journal (
    number INTEGER PRIMARY KEY, image_id TEXT NOT NULL, fill TEXT NOT NULL,
    state TEXT NOT NULL);
CREATE TRIGGER race_state AFTER UPDATE OF state ON base_images BEGIN
    INSERT INTO race_journal (image_id, fill, state)
        VALUES (new.image_id, new.{seams.FILL_ID_COLUMN}, new.state); END;
CREATE TRIGGER race_end AFTER DELETE ON base_images BEGIN
    INSERT INTO race_journal (image_id, fill, state)
        VALUES (old.image_id, old.{seams.FILL_ID_COLUMN}, 'gone'); END;
"""


#: What differs from one message of a kind to the next.
_IDS = re.compile(r'(i_)?[0-9A-Fa-f]{8}[-_.0-9A-Fa-f]*|p\d+t\d+_\d+|\d+')


class Failure(Exception):
    """Something is not as it should be."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Judge:
    """What :func:`base.assert_same_bytes` needs of a test."""

    @staticmethod
    def fail(message: str) -> None:
        raise Failure(message)


def check_bytes(what: str, image: str, disk: str) -> None:
    """Every byte of a disk is the image's, and zero after it.

    :raises Failure: if not.
    """
    try:
        base.assert_same_bytes(_Judge(), image, disk)  # type: ignore
    except Failure as failure:
        raise Failure(f'{what}: {failure.message}') from None


# -- what all of them know


@dataclasses.dataclass(frozen=True)
class Place:
    """Where everything is, for each process to find it.

    :ivar data: by the id of each image, the file with its bytes.
    :ivar special: by the id of an image, why it may not be cacheable: its
        disk's name is that of another image (``namesake``), belongs to a
        stranger (``squatted``), or does so now and then (``contested``), or
        there is sometimes what looks like a left-over (``abandoned``).
    :ivar in_use: the ids of images that instances use all the time.
    """

    conf_file: str
    state: str
    powervm: str
    content: str
    data: dict[str, str]
    special: dict[str, str]
    in_use: tuple[str, ...]
    verbose: bool

    def conf(self) -> Any:
        """The configuration of all of the managers."""
        conf = shell.read_configuration([self.conf_file], [])
        glance_conf.register(conf)
        return conf

    def control(self) -> control_module.Control:
        """The simulator's control API."""
        return control_module.Control(self.powervm)

    def adapter(self) -> Any:
        """A session of one's own with PowerVM."""
        host, port = self.powervm.rpartition('/')[2].split(':')
        return pvm_adapter.Adapter(
            pvm_adapter.Session(host=host, port=int(port))
        )

    @contextlib.contextmanager
    def manager(
        self,
    ) -> Iterator[
        tuple[manager_module.ImageManager, image_source.ImageSource]
    ]:
        """A manager of one's own."""
        conf = self.conf()
        source = image_source.ImageSource(client.factory(conf))
        manager = manager_module.ImageManager.from_conf(conf, source)
        try:
            yield manager, source
        finally:
            manager.close()

    def base_name(self, special: str) -> str:
        """The name of the disk of the first image of that kind."""
        return naming.base_image_name(
            next(
                image_id
                for image_id, why in self.special.items()
                if why == special
            )
        )


@dataclasses.dataclass
class Report:
    """What a process has done and seen.

    :ivar fetches: by image, and by how: miss, prefetch, bypass, refused.
    :ivar kept: instance disks that are there, with their images.
    :ivar slowest: of the deploys; seconds, and where they went.
    """

    counts: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    fetches: collections.Counter[tuple[str, str]] = dataclasses.field(
        default_factory=collections.Counter
    )
    kept: dict[str, str] = dataclasses.field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, '')
    failures: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: 'Report') -> None:
        """Add what another one has seen."""
        self.counts.update(other.counts)
        self.fetches.update(other.fetches)
        self.kept.update(other.kept)
        self.slowest = max(self.slowest, other.slowest)
        self.failures.extend(other.failures)

    def fail(self, what: str, error: BaseException) -> None:
        """Keep a failure, and where it came from if it is a surprise."""
        text = f'{what}: {type(error).__name__}: {error}'
        if not isinstance(error, Failure):
            text += '\n' + ''.join(traceback.format_exception(error))
        self.failures.append(text)


# -- those who use the cache


class Hand:
    """One thread of a process, which does this and that."""

    def __init__(
        self,
        place: Place,
        manager: manager_module.ImageManager,
        wanted: Sequence[image_module.Image],
        mine: Sequence[image_module.Image],
        name: str,
        seed: int,
    ) -> None:
        """Wire it up.

        :param mine: the images that nobody else pins.
        :param name: the disks' names begin with it.
        """
        self.report = Report()
        self._place = place
        self._control = place.control()
        self._manager = manager
        self._wanted = wanted
        self._mine = mine
        self._name = name
        self._random = random.Random(seed)
        self._made = 0
        #: By image, the fill id that was there when it was pinned.
        self._pinned: dict[str, str | None] = {}
        self._kinds: dict[Callable[[], None], int] = {
            self._deploy: 60,
            self._prefetch: 10,
            self._purge_some: 8,
            self._purge_all: 1,
            self._pass: 4,
            self._look: 3,
        }
        if mine:
            self._kinds |= {self._pin: 6, self._unpin: 6}

    def run(self, end: float) -> None:
        """Work until the end, and give back what is not to be kept."""
        kinds, weights = zip(*self._kinds.items(), strict=True)
        while time.monotonic() < end:
            self._do(self._random.choices(kinds, weights)[0])
        while self._pinned:
            self._do(self._unpin)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.report.fail(
                f'{time.strftime("%X")} {work.__name__.strip("_")}', error
            )

    def _image(self) -> image_module.Image:
        """Some are wanted more often than others."""
        if self._random.random() < 0.3:
            return self._wanted[int(time.monotonic()) % len(self._wanted)]
        return self._random.choice(self._wanted)

    # -- deploys

    def _deploy(self) -> None:
        image = self._image()
        self._made += 1
        name = f'{self._name}_{self._made}'
        size = self._random.choice((0, 0, image.least_disk_size, 2 * units.Gi))
        done = self._manager.create_disk(image, name, size)
        self.report.slowest = max(
            self.report.slowest,
            (
                done.seconds['total'],
                f'{done.outcome.value}: '
                + ', '.join(
                    f'{step} {seconds:.2f}'
                    for step, seconds in done.seconds.items()
                ),
            ),
        )
        self.report.kept[name] = image.id
        self.report.counts[f'deploys: {done.outcome.value}'] += 1
        self._note_fetch(done)
        self._check_disk(done, name, size)
        if self._random.randrange(_KEPT_OF):
            self._delete(name)
        elif len(self.report.kept) > _KEPT:
            oldest = next(iter(self.report.kept))
            self._check_bytes(oldest, self._disk(oldest))
            self._delete(oldest)

    def _note_fetch(self, done: instance_disk.Deployment) -> None:
        image, outcome = done.image, done.outcome
        if outcome is not instance_disk.Outcome.HIT:
            self.report.fetches[image.id, outcome.value] += 1
        expected = 0 if outcome is instance_disk.Outcome.HIT else image.size
        if done.bytes_fetched != expected:
            raise Failure(
                f'a {outcome.value} of {image.size} bytes took '
                f'{done.bytes_fetched} from Glance'
            )
        if outcome is instance_disk.Outcome.BYPASS:
            why = self._place.special.get(image.id, '')
            self.report.counts[f'bypasses: {why or "others"}'] += 1
            if not self._is_expected(why, done.reason):
                raise Failure(
                    f'image {image.id} went past the cache: {done.reason}'
                )

    @staticmethod
    def _is_expected(why: str, reason: str) -> bool:
        return any(phrase in reason for phrase in _BYPASSES.get(why, ()))

    def _check_disk(
        self, done: instance_disk.Deployment, name: str, size: int
    ) -> None:
        disk = self._disk(name)
        if (disk['name'], disk['udid'], disk['capacity_bytes']) != (
            done.disk.name,
            done.disk.udid,
            done.disk.capacity,
        ):
            raise Failure(f'told of {done.disk}, there is {disk}')
        if disk['capacity_bytes'] < max(size, done.image.least_disk_size):
            raise Failure(f'too small for {size}: {disk}')
        self._check_bytes(name, disk)
        self.report.counts['bytes deployed'] += done.image.size

    def _check_bytes(self, name: str, disk: dict[str, Any]) -> None:
        check_bytes(
            name, self._place.data[self.report.kept[name]], disk['path']
        )
        self.report.counts['disks compared'] += 1

    def _disk(self, name: str) -> dict[str, Any]:
        found = [
            each for each in self._control.disks() if each['name'] == name
        ]
        if len(found) != 1:
            raise Failure(f'of {name} there are {len(found)}')
        return found[0]

    def _delete(self, name: str) -> None:
        del self.report.kept[name]
        self._manager.delete_disk(name)
        self.report.counts['deletions'] += 1

    # -- the cache

    def _prefetch(self) -> None:
        image = self._image()
        try:
            done = self._manager.prefetch(image)
        except exceptions.BaseImageOccupied as error:
            why = self._place.special.get(image.id, '')
            if not self._is_expected(why, str(error)):
                raise
            self.report.counts['prefetches: refused'] += 1
            self.report.fetches[image.id, 'refused'] += 1
            return
        if done.bytes_fetched != (image.size if done.fetched else 0):
            raise Failure(f'odd bytes: {done}')
        self.report.counts[
            'prefetches: ' + ('fetched' if done.fetched else 'not needed')
        ] += 1
        if done.fetched:
            self.report.fetches[image.id, 'prefetch'] += 1

    def _purge_some(self) -> None:
        cached = self._manager.list()
        self._purge(
            self._random.sample(
                cached, min(len(cached), self._random.randint(1, 3))
            ),
            False,
        )

    def _purge_all(self) -> None:
        self._purge(self._manager.list(), True)

    def _purge(self, doomed: Sequence[seams.BaseImage], spare: bool) -> None:
        """:param spare: those that instances use."""
        self.report.counts['purges'] += 1
        results = self._manager.purge(doomed, spare_in_use=spare)
        if len(results) != len(doomed):
            raise Failure(f'{len(results)} results for {len(doomed)}')
        self._note_removals('purged', results)
        if spare:
            self._check_in_use(results)

    def _note_removals(
        self, what: str, results: Iterable[seams.Removed]
    ) -> None:
        for each in results:
            if not each.removed:
                reason = _IDS.sub('#', each.reason)
                self.report.counts[f'{what} not: {reason}'] += 1
                continue
            self.report.counts[what] += 1
            record = each.base_image
            if self._pinned.get(record.image.id) == seams.fill_id(record):
                raise Failure(f'{what}, though pinned: {record}')

    def _check_in_use(self, results: Iterable[seams.Removed]) -> None:
        for each in results:
            if each.removed and each.base_image.image.id in (
                self._place.in_use
            ):
                raise Failure(f'removed, though in use: {each}')

    def _pass(self) -> None:
        self.report.counts['passes'] += 1
        others = self._random.sample(self._wanted, 2)
        done = self._manager.run_cleanup(
            in_use=[*self._place.in_use, *(image.id for image in others)]
        )
        evicted = check_pass(done)
        self._note_removals('evicted', evicted)
        self._check_in_use(evicted)

    def _look(self) -> None:
        self.report.counts['looks'] += 1
        usage = self._manager.usage()
        if usage.cached > usage.pool.used:
            raise Failure(f'more is cached than there is: {usage}')
        for record in self._manager.list()[:1]:
            self._manager.explain(record)
        if missing := set(self._pinned) - set(self._manager.pins()):
            raise Failure(f'not pinned any more: {missing}')

    # -- pins

    def _pin(self) -> None:
        image = self._random.choice(self._mine)
        self._manager.pin(image.id)
        self.report.counts['pins'] += 1
        if image.id not in self._pinned:
            self._pinned[image.id] = self._ready_fill(image.id)

    def _unpin(self) -> None:
        if not self._pinned:
            return
        image_id = self._random.choice(list(self._pinned))
        fill = self._pinned.pop(image_id)
        now = self._ready_fill(image_id)
        if not self._manager.unpin(image_id):
            raise Failure(f'{image_id} was not pinned any more')
        self.report.counts['unpins'] += 1
        self.report.counts['pins that held'] += fill is not None
        if fill is not None and fill != now:
            raise Failure(f'{image_id} was pinned, and {fill} became {now}')

    def _ready_fill(self, image_id: str) -> str | None:
        for record in self._manager.list():
            if record.image.id == image_id and seams.is_ready(record):
                return seams.fill_id(record)
        return None


def check_pass(done: seams.CleanupResult) -> Sequence[seams.Removed]:
    """Nobody has died: there is nothing to tidy. Returns what went.

    :raises Failure: if the pass found something, or could not be made.
    """
    if problem := seams.check_quiet(done):
        raise Failure(problem)
    return seams.evicted(done)


class _Counted(logging.Handler):
    """Counts what is logged, by what it says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: collections.Counter[str] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        text = _IDS.sub('#', record.getMessage())
        self.counts[f'logged: {text[:100]}'] += 1


def _descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for each in os.listdir('/proc/self/fd'):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f'/proc/self/fd/{each}'))
    return sorted(found)


def _threads() -> list[str]:
    return sorted(each.name for each in threading.enumerate())


def work(
    place: Place,
    pipe: 'pipes.Connection[Any, Any]',
    number: int,
    seeds: Sequence[int],
    mine: Sequence[Sequence[str]],
) -> None:
    """What a process does that uses the cache.

    :param seeds: one for each thread.
    :param mine: the ids of the images that each thread may pin.
    """
    counted = _Counted()
    logging.getLogger('pvm_imagecache').addHandler(counted)
    _quieten(place.verbose)
    before = _threads(), _descriptors()
    with place.manager() as (manager, source):
        wanted = {image_id: source.get(image_id) for image_id in place.data}
        hands = [
            Hand(
                place,
                manager,
                list(wanted.values()),
                [wanted[image_id] for image_id in ids],
                f'p{number}t{thread}',
                seed,
            )
            for thread, (seed, ids) in enumerate(zip(seeds, mine, strict=True))
        ]
        pipe.send('ready')
        seconds = pipe.recv()
        report = _run(hands, seconds)
        report.counts.update(counted.counts)
        pipe.send(report)
        # Until somebody has looked at the locks.
        pipe.recv()
        # The images are kept alive by nobody but the manager.
        del manager, source, hands
    gc.collect()
    pipe.send((before, (_threads(), _descriptors())))


def _run(hands: Sequence[Hand], seconds: float) -> Report:
    faulthandler.dump_traceback_later(seconds + _PATIENCE, exit=True)
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=hand.run, args=(end,)) for hand in hands
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    faulthandler.cancel_dump_traceback_later()
    report = Report()
    for hand in hands:
        report.add(hand.report)
    return report


def _in_process(target: Callable[..., None], *args: Any) -> None:
    seams.ignore_in_catalog(_JOURNAL_PREFIX)
    target(*args)


def _quieten(verbose: bool) -> None:
    root = logging.getLogger('pvm_imagecache')
    if not verbose:
        root.propagate = False
    for name in ('pypowervm', 'urllib3', 'keystoneauth', 'glanceclient'):
        logging.getLogger(name).setLevel(logging.CRITICAL)


# -- the stranger


@dataclasses.dataclass(frozen=True)
class Owned:
    """A disk of the stranger, as it is to stay.

    :ivar content: the file whose bytes it began with; '' for none.
    """

    name: str
    udid: str
    capacity: float
    label: str
    content: str

    @classmethod
    def of(cls, disk: Any, content: str) -> 'Owned':
        """What PowerVM tells of a disk."""
        return cls(
            naming.last_component(disk.name),
            disk.udid,
            disk.capacity,
            disk.label,
            content,
        )


class Stranger:
    """Another client of the volume group, one that uses If-Match too."""

    def __init__(self, place: Place, seed: int) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.owned: dict[str, Owned] = {}
        self._place = place
        self._control = place.control()
        self._adapter = place.adapter()
        self._random = random.Random(seed)
        self._contested = place.base_name('contested')
        self._vios, self._uuid = self._find()

    def _find(self) -> tuple[str, str]:
        server, group = pvm_tasks.find_vg(self._adapter, GROUP)
        return server.uuid, group.uuid

    def run(self, is_over: Callable[[], bool]) -> None:
        """Change its own disks, and look after them, until it is over."""
        while not is_over():
            self._random.choice(
                (
                    self._add,
                    self._remove,
                    self._plant,
                    self._compare,
                    self._abandon,
                )
            )()
            time.sleep(self._random.uniform(0, 0.05))
        self._look(self._read())

    # -- changes

    def _add(self) -> None:
        if len(self.owned) >= _FOREIGN_DISKS:
            return
        names = {self._new_name() for _ in range(self._random.randint(1, 3))}
        added: set[str] = set()

        def add(group: Any, there: set[str]) -> bool:
            added.clear()
            added.update(names - there)
            for name in added:
                group.virtual_disks.append(
                    pvm_storage.VDisk.bld(
                        self._adapter, name, self._random.randint(2, 3)
                    )
                )
            return bool(added)

        for disk in self._change(add):
            name = naming.last_component(disk.name)
            if name in added:
                self.owned[name] = Owned.of(disk, '')

    def _remove(self) -> None:
        if not self.owned:
            return
        doomed = self._random.sample(
            sorted(self.owned),
            min(len(self.owned), self._random.randint(1, 3)),
        )
        udids = {self.owned[name].udid for name in doomed}

        def remove(group: Any, there: set[str]) -> bool:
            for disk in list(group.virtual_disks):
                if disk.udid in udids:
                    group.virtual_disks.remove(disk)
            return True

        left = {disk.udid for disk in self._change(remove)}
        if left & udids:
            raise Failure(f'what was removed is there: {left & udids}')
        for name in doomed:
            del self.owned[name]

    def _plant(self) -> None:
        if len(self.owned) >= _FOREIGN_DISKS:
            return
        name = self._new_name()
        try:
            disk = self._control.plant_disk(
                GROUP, name, 2 * units.Gi, self._place.content
            )
        except control_module.ControlError as error:
            if name != self._contested or 'exists' not in str(error):
                raise
            return
        self.counts['foreign disks planted'] += 1
        self.owned[name] = Owned(
            name,
            disk['udid'],
            disk['capacity_bytes'] / units.Gi,
            disk['label'],
            self._place.content,
        )

    def _abandon(self) -> None:
        """Leave a disk behind as the old driver would have."""
        name = self._place.base_name('abandoned')
        with contextlib.suppress(control_module.ControlError):
            self._control.plant_disk(
                GROUP, name, units.Gi, self._place.content
            )
            self.counts['foreign disks abandoned'] += 1

    def _new_name(self) -> str:
        kind = self._random.randrange(4)
        if kind == 0:
            return self._contested
        made = uuid.UUID(int=self._random.getrandbits(128))
        if kind == 1:
            return naming.base_image_name(str(made))
        return f'x{made.hex[:10]}'

    def _change(self, alter: Callable[[Any, set[str]], bool]) -> list[Any]:
        """Change the volume group; returns its disks after that."""
        while True:
            group = self._read()
            self._look(group)
            there = {
                naming.last_component(disk.name)
                for disk in group.virtual_disks
            }
            if not alter(group, there):
                return []
            try:
                after = group.update()
            except pvm_exceptions.HttpError as error:
                if (
                    error.her_wrap is not None
                    and error.her_wrap.is_vios_busy()
                ):
                    self.counts['foreign updates refused (busy)'] += 1
                    time.sleep(_BUSY_DELAY)
                    continue
                if error.response.status != (
                    http.HTTPStatus.PRECONDITION_FAILED
                ):
                    raise
                self.counts['foreign updates refused (412)'] += 1
                continue
            self.counts['foreign updates'] += 1
            return list(after.virtual_disks)

    # -- looking

    def _read(self) -> Any:
        return pvm_storage.VG.get(
            self._adapter,
            uuid=self._uuid,
            parent_type='VirtualIOServer',
            parent_uuid=self._vios,
        )

    def _look(self, group: Any) -> None:
        self.counts['foreign looks'] += 1
        there = {disk.udid: Owned.of(disk, '') for disk in group.virtual_disks}
        names = collections.Counter(each.name for each in there.values())
        if twice := [name for name, count in names.items() if count > 1]:
            raise Failure(f'two disks of one name: {twice}')
        for each in self.owned.values():
            expected = dataclasses.replace(each, content='')
            if there.get(each.udid) != expected:
                raise Failure(
                    f'{each} of the stranger is now '
                    f'{there.get(each.udid, "gone")}'
                )

    def _compare(self) -> None:
        if self.owned:
            name = self._random.choice(sorted(self.owned))
            check_foreign(self._control.disks(), [self.owned[name]])
            self.counts['foreign disks compared'] += 1


def check_foreign(
    disks: Iterable[dict[str, Any]], owned: Iterable[Owned]
) -> None:
    """The stranger's disks hold what they held, and nothing more.

    :raises Failure: if not.
    """
    by_udid = {disk['udid']: disk for disk in disks}
    for each in owned:
        disk = by_udid.get(each.udid)
        if (
            disk is None
            or (disk['name'], disk['label']) != (each.name, each.label)
            or (disk['capacity_bytes'] != each.capacity * units.Gi)
        ):
            raise Failure(f'{each} of the stranger is now {disk}')
        check_bytes(
            f'{each} of the stranger', each.content or os.devnull, disk['path']
        )


def intrude(
    place: Place, pipe: 'pipes.Connection[Any, Any]', seed: int
) -> None:
    """What the stranger's process does."""
    _quieten(place.verbose)
    stranger = Stranger(place, seed)
    pipe.send('ready')
    pipe.recv()
    report = Report()
    try:
        stranger.run(pipe.poll)
    except Exception as error:
        report.fail('the stranger', error)
        # Until it is to come to its end.
        pipe.poll(None)
    report.counts.update(stranger.counts)
    pipe.send((report, stranger.owned))


# -- what it happens on


class World:
    """A PowerVM in one of its readings, and a state directory."""

    def __init__(
        self,
        directory: pathlib.Path,
        glance: glance_server.GlanceServer,
        special: dict[str, str],
        in_use: tuple[str, ...],
        data: dict[str, str],
        reading: str,
        platform: str,
        verbose: bool,
    ) -> None:
        self._platform = platform
        self._directory = directory
        self._glance = glance
        self._special = special
        self._in_use = in_use
        self._data = data
        self._reading = reading
        self._verbose = verbose
        self._held = contextlib.ExitStack()

    def __enter__(self) -> 'World':
        with contextlib.ExitStack() as held:
            url = held.enter_context(
                powervm_server.PowerVMServer(
                    self._directory / 'powervm',
                    '--volume-group',
                    f'{GROUP}=1000',
                    '--unconditional-update',
                    self._reading,
                    *platforms.options(self._platform),
                )
            ).url
            content = self._directory / 'content'
            content.write_bytes(images.raw_bytes(64 * units.Ki + 1, 4711))
            self.place = Place(
                str(self._write_conf(url)),
                str(self._directory / 'state'),
                url,
                str(content),
                self._data,
                self._special,
                self._in_use,
                self._verbose,
            )
            self.control = self.place.control()
            self.squatter = self._plant_squatter()
            with self.place.manager() as (manager, _):
                manager.run_cleanup(in_use=self._in_use)
            with self._catalog() as catalog:
                catalog.executescript(_JOURNAL)
            seams.ignore_in_catalog(_JOURNAL_PREFIX)
            self._held = held.pop_all()
        return self

    def __exit__(self, *args: Any) -> None:
        self._held.close()

    def _write_conf(self, url: str) -> pathlib.Path:
        host, port = url.rpartition('/')[2].split(':')
        path = self._directory / 'race.conf'
        path.write_text(f"""[pvm_imagecache]
state_path = {self._directory / 'state'}
host = {host}
port = {port}
protocol = http
volume_group_name = {GROUP}
eviction_policies = age,lru,watermark
minimum_age = 0

[pvm_imagecache_lru]
max_images = {_MOST_CACHED}

[glance]
auth_type = admin_token
endpoint = {self._glance.url}
token = {self._glance.token()}
""")
        return path

    def _plant_squatter(self) -> Owned:
        """A disk that has an image's name from the beginning to the end."""
        disk = self.control.plant_disk(
            GROUP,
            self.place.base_name('squatted'),
            3 * units.Gi,
            self.place.content,
        )
        return Owned(
            disk['name'], disk['udid'], 3.0, disk['label'], self.place.content
        )

    @contextlib.contextmanager
    def _catalog(self) -> Iterator[sqlite3.Connection]:
        with (
            contextlib.closing(
                sqlite3.connect(
                    os.path.join(self.place.state, seams.CATALOG_FILE),
                    timeout=60,
                )
            ) as catalog,
            catalog,
        ):
            yield catalog

    def lives(self) -> collections.Counter[str]:
        """How often each image became a base image."""
        return collections.Counter(
            image_id for image_id, _ in self._fills(seams.READY)
        )

    def deaths(self) -> int:
        """How many base images went again."""
        return len(self._fills(seams.READY) & self._fills('gone'))

    def _fills(self, state: str) -> set[tuple[str, str]]:
        with self._catalog() as catalog:
            return set(
                catalog.execute(
                    'SELECT image_id, fill FROM race_journal WHERE state = ?',
                    (state,),
                )
            )

    # -- looking

    def check_locks(self) -> None:
        """Nobody holds a lock."""
        found = list(pathlib.Path(self.place.state).rglob('*.lock'))
        if not found:
            raise Failure('there are no locks at all')
        for path in found:
            with open(path) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise Failure(f'held: {path.name}') from None

    def run_passes(self) -> int:
        """Two last passes: the second has nothing left to do.

        :returns: how many images the first one evicted.
        """
        with self.place.manager() as (manager, _):
            first, second = (
                check_pass(manager.run_cleanup(in_use=())) for _ in range(2)
            )
            left = len(manager.list())
        if second or left > _MOST_CACHED:
            raise Failure(f'{left} are cached, {second} went late')
        return sum(each.removed for each in first)

    def check_disks(
        self, kept: dict[str, str], foreign: Iterable[Owned]
    ) -> None:
        """All disks are known, and hold what they should."""
        disks = self.control.disks()
        names = [disk['name'] for disk in disks]
        if len(set(names)) != len(names):
            raise Failure(f'two disks of one name: {sorted(names)}')
        by_name = dict(zip(names, disks, strict=True))
        foreign = [*foreign, self.squatter]
        cached = self._check_base_images(by_name)
        known = {*cached, *kept, *(each.name for each in foreign)}
        # What was abandoned there may have found nobody to replace it.
        known |= {self.place.base_name('abandoned')} & set(names)
        if known != set(names):
            raise Failure(
                f'nobody knows {sorted(set(names) - known)}, '
                f'not there {sorted(known - set(names))}'
            )
        for name, image_id in {**kept, **cached}.items():
            check_bytes(name, self.place.data[image_id], by_name[name]['path'])
        check_foreign(disks, foreign)

    def _check_base_images(
        self, disks: dict[str, dict[str, Any]]
    ) -> dict[str, str]:
        """The records agree with the disks; returns images by name."""
        pool = next(iter(disks.values()))['vg_uuid']
        with seams.open_catalog(self.place.state) as catalog:
            records = seams.base_images(catalog, pool)
            unfinished = seams.instance_disks(catalog, pool)
        if unfinished:
            raise Failure(f'instance disks still on record: {unfinished}')
        for record in records:
            if not seams.is_ready(record):
                raise Failure(f'a stale record: {record}')
            if disks.get(record.disk_name, {}).get('udid') != record.udid:
                raise Failure(f'a record without a disk: {record}')
        return {record.disk_name: record.image.id for record in records}

    def check_files(self) -> None:
        """No upload has left a File entry."""
        left = pvm_file.File.get(self.place.adapter(), service='web')
        if left:
            raise Failure(f'File entries: {[e.file_name for e in left]}')

    def check_downloads(
        self, fetches: collections.Counter[tuple[str, str]]
    ) -> None:
        """Each image was fetched once in each of its lives as a base image.

        Deploys past the cache come on top, and a prefetch that is refused
        only after it has begun may have been sent all of a small image.
        """
        lives = self.lives()
        complete = self.complete_downloads()
        for image_id in self.place.data:
            fills, past, refused = (
                sum(fetches[image_id, how] for how in hows)
                for hows in (('miss', 'prefetch'), ('bypass',), ('refused',))
            )
            if fills != lives[image_id]:
                raise Failure(
                    f'{image_id} was filled {fills} times, and '
                    f'became ready {lives[image_id]} times'
                )
            at_least = lives[image_id] + past
            if not at_least <= complete[image_id] <= at_least + refused:
                raise Failure(
                    f'{image_id} was downloaded {complete[image_id]} times '
                    f'for {lives[image_id]} lives and {past} bypasses '
                    f'({refused} refused prefetches)'
                )

    def check_removals(self, told: int) -> None:
        """Each base image that went was told of once."""
        if told != self.deaths():
            raise Failure(
                f'{told} base images were said to be removed, and '
                f'{self.deaths()} are gone'
            )

    def complete_downloads(self) -> collections.Counter[str]:
        """How often Glance has sent all of each image."""
        return collections.Counter(
            each.image_id
            for each in self._glance.downloads()
            if each.bytes_sent == os.path.getsize(self._data[each.image_id])
        )

    def bytes_sent(self) -> int:
        """What Glance has sent in all."""
        return sum(each.bytes_sent for each in self._glance.downloads())

    def check_requests(self) -> None:
        """No change of the volume group went without If-Match."""
        for row in self.control.requests():
            if row['type'] == 'VolumeGroup.update' and not row['if_match']:
                raise Failure(f'without If-Match: {row}')


# -- one run


class Run:
    """One reading of PowerVM: everybody at once, then the books."""

    def __init__(self, world: World, arguments: argparse.Namespace) -> None:
        self._world = world
        self._arguments = arguments
        self._random = random.Random(arguments.seed)
        self._report = Report()
        self._owned: dict[str, Owned] = {}

    def run(self) -> int:
        """Returns the number of failures."""
        with contextlib.ExitStack() as held:
            stranger = self._start(held, intrude, self._seed())
            workers = [
                self._start(held, work, number, *self._share(number))
                for number in range(self._arguments.processes)
            ]
            for pipe in (stranger, *workers):
                self._hear(pipe)
            for pipe in (stranger, *workers):
                pipe.send(self._arguments.seconds)
            for pipe in workers:
                self._report.add(self._hear(pipe))
            stranger.send('stop')
            report, self._owned = self._hear(stranger)
            self._report.add(report)
            self._check('locks', self._world.check_locks)
            for pipe in workers:
                pipe.send('end')
                before, after = self._hear(pipe)
                self._check('what is left', lambda: _check_left(before, after))  # noqa: B023
        self._look()
        self._print()
        return len(self._report.failures)

    def _seed(self) -> int:
        return self._random.getrandbits(32)

    def _share(self, number: int) -> tuple[list[int], list[list[str]]]:
        """Seeds for the threads of a process, and who pins what."""
        threads = self._arguments.threads
        every = threads * self._arguments.processes
        ids = list(self._world.place.data)
        return (
            [self._seed() for _ in range(threads)],
            [
                ids[number * threads + thread :: every]
                for thread in range(threads)
            ],
        )

    def _start(
        self,
        held: contextlib.ExitStack,
        target: Callable[..., None],
        *args: Any,
    ) -> 'pipes.Connection[Any, Any]':
        context = multiprocessing.get_context('spawn')
        ours, theirs = context.Pipe()
        started = context.Process(
            target=_in_process,
            args=(target, self._world.place, theirs, *args),
        )
        started.start()
        theirs.close()
        held.callback(started.join)
        held.callback(started.terminate)
        return ours

    def _hear(self, pipe: 'pipes.Connection[Any, Any]') -> Any:
        if not pipe.poll(self._arguments.seconds + 2 * _PATIENCE):
            raise Failure('a process does not come to its end')
        try:
            return pipe.recv()
        except EOFError:
            raise Failure('a process has died') from None

    def _look(self) -> None:
        world = self._world
        self._check('the last passes', self._run_passes)
        self._check(
            'disks',
            lambda: world.check_disks(self._report.kept, self._owned.values()),
        )
        self._check('File entries', world.check_files)
        self._check(
            'downloads', lambda: world.check_downloads(self._report.fetches)
        )
        self._check(
            'removals',
            lambda: world.check_removals(
                self._report.counts['purged'] + self._report.counts['evicted']
            ),
        )
        self._check('requests', world.check_requests)

    def _run_passes(self) -> None:
        self._report.counts['evicted'] += self._world.run_passes()

    def _check(self, what: str, check: Callable[[], None]) -> None:
        try:
            check()
        except Exception as error:
            self._report.fail(what, error)

    # -- telling

    def _print(self) -> None:
        report, world = self._report, self._world
        for name, count in sorted(report.counts.items()):
            print(f'  {name:40} {count:10}')
        lives = sum(world.lives().values())
        print(f'  {"base images made":40} {lives:10}')
        complete = sum(world.complete_downloads().values())
        print(f'  {"complete downloads":40} {complete:10}')
        print(f'  {"bytes sent by Glance":40} {world.bytes_sent():10}')
        print(f'  {"disks kept to the end":40} {len(report.kept):10}')
        print(f'  slowest deploy (s): {report.slowest[1]}')
        self._print_requests()
        for failure in report.failures[:_SHOWN]:
            print(f'FAILED {failure}')
        print(f'{len(report.failures)} failures', flush=True)

    def _print_requests(self) -> None:
        kinds = self._world.control.counters()['kinds']
        for kind, counts in sorted(kinds.items()):
            print(f'  {"REST " + kind:40} {counts["requests"]:10}')
        refused = sum(
            row['status'] == http.HTTPStatus.PRECONDITION_FAILED
            for row in self._world.control.requests()
        )
        print(f'  {"REST answers 412":40} {refused:10}')


def _check_left(
    before: tuple[list[str], list[str]], after: tuple[list[str], list[str]]
) -> None:
    """Threads and descriptors are back to where they were."""
    numbers = re.compile(r'\d+')
    for then, now in zip(before, after, strict=True):
        left = collections.Counter(numbers.sub('', each) for each in now)
        left.subtract(numbers.sub('', each) for each in then)
        if any(left.values()):
            raise Failure(f'{len(then)} became {len(now)}: {+left}, {-left}')


# -- all of it


def make_images(
    glance: glance_server.GlanceServer, count: int
) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
    """Put images into Glance.

    :returns: the files of their bytes, and what is special about some, both
        by the images' ids; the ids of those that are always in use.
    """
    ids = [
        str(uuid.UUID(int=random.Random(number).getrandbits(128)))
        for number in range(count)
    ]
    # The same first twelve digits, and so the same disk.
    ids[1] = ids[0][:-4] + ('0000' if ids[0][-4:] != '0000' else '1111')
    # The same in another spelling: for Glance, and for disks, another one.
    ids[3] = ids[2].upper()
    data = {}
    for number, image_id in enumerate(ids):
        size = units.Mi + number * 104_729 + number % 3
        content, disk_format = images.raw_bytes(size, number), 'raw'
        if number % 6 == 5:
            content = images.qcow2_bytes(
                units.Gi + number * units.Mi, size, number
            )
            disk_format = 'qcow2'
        glance.create_image(
            f'image{number}', content, disk_format, id=image_id
        )
        data[image_id] = str(glance.data_path(image_id))
    special = {
        ids[0]: 'namesake',
        ids[1]: 'namesake',
        ids[4]: 'squatted',
        ids[5]: 'contested',
        ids[6]: 'abandoned',
    }
    return data, special, (ids[7], ids[8])


def race(arguments: argparse.Namespace) -> int:
    """The exit code."""
    readings = (
        READINGS if arguments.reading == 'both' else (arguments.reading,)
    )
    failures = 0
    _quieten(arguments.verbose)
    with (
        tempfile.TemporaryDirectory(prefix='pvm-race-') as directory,
        glance_server.GlanceServer(
            os.path.join(directory, 'glance')
        ) as glance,
    ):
        data, special, in_use = make_images(glance, arguments.images)
        for reading in readings:
            print(
                f'{reading}, platform {arguments.platform}, '
                f'seed {arguments.seed}, '
                f'{arguments.seconds:g} s, {arguments.processes} '
                f'processes of {arguments.threads} threads, '
                f'{arguments.images} images',
                flush=True,
            )
            glance.reset_downloads()
            home = pathlib.Path(directory, reading)
            home.mkdir()
            with World(
                home,
                glance,
                special,
                in_use,
                data,
                reading,
                arguments.platform,
                arguments.verbose,
            ) as world:
                try:
                    failures += Run(world, arguments).run()
                except Failure as failure:
                    failures += 1
                    print(f'FAILED {failure}', flush=True)
    return 1 if failures else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n', 1)[0]
    )
    parser.add_argument(
        '--seconds', type=float, default=60.0, help='how long, in each reading'
    )
    parser.add_argument(
        '--reading',
        choices=(*READINGS, 'both'),
        default='both',
        help='what an update without If-Match means to PowerVM',
    )
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--processes', type=int, default=4)
    parser.add_argument('--threads', type=int, default=4)
    parser.add_argument(
        '--images', type=int, default=20, help=f'at least {_LEAST_IMAGES}'
    )
    parser.add_argument('--verbose', action='store_true', help='show the log')
    platforms.add_argument(parser)
    parsed = parser.parse_args(arguments)
    if parsed.images < _LEAST_IMAGES:
        parser.error('too few images')
    process.exit_on_sigterm()
    return race(parsed)


if __name__ == '__main__':
    sys.exit(main())
