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

"""Kill the cache at every point of its work, and look at what is left.

Each operation is run once to learn its points: every request to PowerVM
(before it is sent, when all of it has been sent, within the body of an
upload, when its answer has come) and every statement that writes to the
catalog (before and after it). Then it is run once more for each of them,
in a process that kills itself there (``kill -9``). After that, one pass must
leave nothing partial behind, and the next deploys must succeed and be right
to the last byte, whether they come before the pass or after it.

    python -m pvm_imagecache.tests.stress.kill [--only miss:17]
"""

import argparse
import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import logging
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from typing import Any
from unittest import mock
import uuid

from oslo_utils import units
from pypowervm.wrappers import vios_file as pvm_file
from urllib3 import connection as urllib3_connection

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager as manager_module
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import glance as glance_conf
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers import rest_session
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.platform_check import probes
from pvm_imagecache.system import locks
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import platforms
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import glance as glance_server
from pvm_imagecache.tests.servers import powervm as powervm_server
from pvm_imagecache.tests.servers import process
from pvm_imagecache.tests.stress import database

#: Of an image: three pieces of a stream, the last one short.
SIZE = 2 * units.Mi + units.Mi // 2 + 17
IMAGES = 3
GROUP = 'cachevg'
OTHER_GROUP = 'othervg'
#: Seconds that a process may take to reach its end, or to be killed.
_PATIENCE = 60
#: How often a run is made again that does not come to its point.
_ATTEMPTS = 8
#: Seconds for which PowerVM works on what the dead have sent.
_LATENCY = 0.3
#: Bytes per second, that a copy of a GiB takes about as long as a pass.
_COPY_RATE = 800 * units.Mi

# -- the points

BEFORE, BODY, SENT, ANSWERED = 'before', 'body', 'sent', 'answered'
UNWRITTEN, WRITTEN = 'unwritten', 'written'
KINDS = (BEFORE, BODY, SENT, ANSWERED, UNWRITTEN, WRITTEN)

_UUID = re.compile(r'/[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}')
_WRITES = (
    'INSERT',
    'UPDATE',
    'DELETE',
    'CREATE',
    'BEGIN',
    'COMMIT',
    'PRAGMA JOURNAL_MODE =',
    'PRAGMA USER_VERSION =',
)
_LEGS = ('main', 'base', 'instance')


@dataclasses.dataclass(frozen=True)
class Point:
    """A moment in a process, the same one in each run.

    :ivar leg: which thread: those of the two uploads run side by side.
    :ivar number: counts those of its like in that thread.
    """

    leg: str
    what: str
    number: int
    kind: str

    def __str__(self) -> str:
        return f'{self.leg}/{self.what}/{self.number}/{self.kind}'


class Trap:
    """Notes the points that this process comes to, or kills it at one."""

    def __init__(
        self, deadly: Point | None, note: Callable[[Point], None]
    ) -> None:
        self._deadly = deadly
        self._note = note
        self._counts: collections.Counter[tuple[str, str, str]] = (
            collections.Counter()
        )
        self._inside = threading.local()

    def reach(self, what: str, kind: str) -> None:
        """Tell that a point has been reached."""
        leg = _leg()
        self._counts[leg, what, kind] += 1
        point = Point(leg, what, self._counts[leg, what, kind], kind)
        if point == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        self._note(point)

    def install(self) -> None:
        """Watch requests to PowerVM and the catalog, in this process."""
        self._watch_requests()
        self._watch_answers()
        self._watch_catalog()

    def _watch_requests(self) -> None:
        unwatched = rest_session.Session.request

        def request(
            session: Any, method: str, path: str, *args: Any, **kwargs: Any
        ) -> Any:
            what = f'{method} {_UUID.sub("", path.partition("?")[0])[10:]}'
            outer = getattr(self._inside, 'what', None)
            if method == 'PUT' and kwargs.get('filehandle') is not None:
                kwargs['filehandle'] = self._body(kwargs['filehandle'], what)
            self.reach(what, BEFORE)
            self._inside.what = what
            try:
                answer = unwatched(session, method, path, *args, **kwargs)
            finally:
                self._inside.what = outer
            self.reach(what, ANSWERED)
            return answer

        rest_session.Session.request = request  # type: ignore[method-assign]

    def _body(self, pieces: Iterable[bytes], what: str) -> Iterator[bytes]:
        for piece in pieces:
            self.reach(what, BODY)
            yield piece
        self.reach(what, BODY)

    def _watch_answers(self) -> None:
        unwatched = urllib3_connection.HTTPConnection.getresponse

        def getresponse(connection: Any) -> Any:
            what = getattr(self._inside, 'what', None)
            if what is not None:
                self.reach(what, SENT)
            return unwatched(connection)

        urllib3_connection.HTTPConnection.getresponse = getresponse

    def _watch_catalog(self) -> None:
        @contextlib.contextmanager
        def around(statement: str) -> Iterator[None]:
            words = statement.split()
            if not ' '.join(words).upper().startswith(_WRITES):
                yield
                return
            what = ' '.join(words[:3])
            self.reach(what, UNWRITTEN)
            yield
            self.reach(what, WRITTEN)

        sqlite3.connect = database.watched_connect(around)


def _leg() -> str:
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return 'main'
    is_base = naming.is_base_image_name(seams.disk_of(thread))
    return 'base' if is_base else 'instance'


# -- what it happens on


class Failure(Exception):
    """Something was left that should not be, or did not work."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Judge:
    """What :func:`base.assert_same_bytes` needs of a test."""

    @staticmethod
    def fail(message: str) -> None:
        raise Failure(message)


class World:
    """A Glance, a PowerVM with disks of others, and a state directory."""

    def __init__(self, directory: pathlib.Path, platform: str) -> None:
        self.directory = directory
        self.platform = platform
        self.state = directory / 'state'
        self.trace = directory / 'trace'
        self._held = contextlib.ExitStack()

    def __enter__(self) -> 'World':
        with contextlib.ExitStack() as held:
            self._start_glance(held)
            self._start_powervm(held)
            self.conf = self._configuration('on', 'true')
            self.conf_off = self._configuration('off', 'false')
            self.conf_one = self._configuration('one', 'true')
            self._adapters = powervm.AdapterSource(
                powervm.Connection.from_conf(self.conf)
            )
            held.callback(self._adapters.close)
            # Its locks are not those of the processes that are killed.
            self.driver = plugins.load_driver(
                self._configuration('other', 'true', 'other-state')
            )
            held.callback(self.driver.close)
            self.pool = self.driver.pool_id()
            self._plant()
            self._held = held.pop_all()
        return self

    def __exit__(self, *args: Any) -> None:
        self._held.close()

    def _start_glance(self, held: contextlib.ExitStack) -> None:
        self.glance = held.enter_context(
            glance_server.GlanceServer(self.directory / 'glance')
        )
        self.data = {}
        for number in range(IMAGES):
            image_id = self.glance.create_image(
                f'image{number}', images.raw_bytes(SIZE, number)
            )
            self.data[image_id] = self.glance.data_path(image_id)

    def _start_powervm(self, held: contextlib.ExitStack) -> None:
        powervm = held.enter_context(
            powervm_server.PowerVMServer(
                self.directory / 'powervm',
                '--volume-group',
                f'{GROUP}=1000',
                '--volume-group',
                f'{OTHER_GROUP}=100',
                *platforms.options(self.platform),
            )
        )
        self.control, self.port = powervm.control, powervm.port

    def _configuration(
        self, name: str, enabled: str, state: str = 'state'
    ) -> Any:
        """:param name: that of ``one`` lets the cache have one image."""
        path = self.directory / f'{name}.conf'
        path.write_text(f"""[pvm_imagecache]
state_path = {self.directory / state}
host = 127.0.0.1
port = {self.port}
protocol = http
volume_group_name = {GROUP}
enabled = {enabled}
eviction_policies = {'lru' if name == 'one' else 'age,watermark'}
minimum_age = 0
fetch_timeout = 30
stall_timeout = 30
request_timeout = 30

[pvm_imagecache_lru]
max_images = 1

[glance]
auth_type = admin_token
endpoint = {self.glance.url}
token = {self.glance.token()}
""")
        conf = shell.read_configuration([str(path)], [])
        glance_conf.register(conf)
        return conf

    def _plant(self) -> None:
        """Disks of others, and an upload to one of them."""
        source = image_source.ImageSource(client.factory(self.conf))
        self.images = [source.get(image_id) for image_id in self.data]
        mine = naming.base_image_name(self.images[0].id)
        self.foreign: dict[str, str] = {}
        for name in (
            'foreign',
            'vm',
            'vm10',
            mine.upper(),
            mine[:-1],
            naming.base_image_name(str(uuid.uuid4())),
        ):
            self.plant(name)
        entry = pvm_file.File.bld(
            self._adapters(),
            'foreign',
            pvm_file.FileType.DISK_IMAGE,
            self._vios(),
            f_size=units.Ki,
            tdev_udid=self._foreign_udid(),
        ).create()
        self.files = {entry.uuid}

    def plant(self, name: str, size: int = units.Gi) -> None:
        """Make a disk of somebody else, with data on it."""
        content = self.directory / 'foreign'
        content.write_bytes(images.raw_bytes(64 * units.Ki, len(name)))
        disk = self.control.plant_disk(GROUP, name, size, str(content))
        self.foreign.update(self._fingerprints([disk]))

    def fill_up(self) -> None:
        """Leave no room in the volume group."""
        free = self.driver.pool().free
        self.control.plant_disk(GROUP, 'filler', free)

    def make_free(self) -> None:
        """Undo it."""
        disk = self.driver.find_disk('filler')
        if disk:
            self.driver.delete_disks([disk])

    def _vios(self) -> str:
        servers = self._adapters().read('VirtualIOServer').feed.entries
        return str(servers[0].uuid)

    def _foreign_udid(self) -> str:
        return next(
            each['udid']
            for each in self.control.disks()
            if each['name'] == 'foreign'
        )

    @staticmethod
    def _fingerprints(disks: Iterable[dict[str, Any]]) -> dict[str, str]:
        found = {}
        for each in disks:
            with open(each['path'], 'rb') as file:
                digest = hashlib.sha256(file.read(units.Mi)).hexdigest()
            found[each['udid']] = (
                f'{each["name"]} {digest} {os.stat(each["path"]).st_blocks}'
            )
        return found

    # -- beginning anew

    def reset(self) -> None:
        """An empty state directory, and no disks but those of others."""
        self.control.clear_faults()
        self.control.change_settings(copy_rate=0)
        ours = [
            disk
            for disk in self.driver.snapshot().disks
            if disk.udid not in self.foreign
        ]
        self.driver.delete_disks(ours)
        other = self.driver.platform_access().sibling(OTHER_GROUP)
        other.delete_disks(other.snapshot().disks)
        for entry in self._entries():
            if entry.uuid not in self.files:
                self._adapters().delete(
                    entry.schema_type, root_id=entry.uuid, service='web'
                )
        if self.state.exists():
            shutil.rmtree(self.state)
        self.control.clear_requests()

    def _entries(self) -> Any:
        return pvm_file.File.get(self._adapters(), service='web')

    @contextlib.contextmanager
    def manager(
        self, conf: Any = None
    ) -> Iterator[manager_module.ImageManager]:
        """A fresh manager, of which nothing is left afterwards.

        Nothing of SQLite or of a connection may be open during a fork.
        """
        conf = conf or self.conf
        made = manager_module.ImageManager.from_conf(
            conf, image_source.ImageSource(client.factory(conf))
        )
        try:
            yield made
        finally:
            made.close()

    @contextlib.contextmanager
    def catalog(self) -> Iterator[seams.Catalog]:
        with seams.open_catalog(self.state) as catalog:
            yield catalog

    # -- other processes

    def start(
        self,
        work: Callable[[], None],
        deadly: Point | None = None,
        notes: int | None = None,
    ) -> int:
        """Do work in a process of its own; returns its id.

        :param deadly: where it kills itself.
        :param notes: descriptor to write the points to that it comes to.
        """
        if threading.active_count() != 1:
            raise Failure(
                f'threads were left running: {threading.enumerate()}'
            )
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.alarm(_PATIENCE)
            Trap(
                deadly,
                lambda point: (
                    notes is None
                    or bool(os.write(notes, f'{point}\n'.encode()))
                ),
            ).install()
            work()
            status = 0
        except BaseException:
            self.trace.write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def finish(self, pid: int) -> None:
        """Wait for a process that should come to its end."""
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status > 0:
            raise Failure(f'it ended early:\n{self.trace.read_text()}')
        if status < 0:
            raise Failure(f'it did not end: {signal.Signals(-status).name}')

    def points_of(self, work: Callable[[], None]) -> list[Point]:
        """Do work in another process, and learn its points."""
        read, write = os.pipe()
        self.finish(self.start(work, notes=write))
        os.close(write)
        with open(read) as lines:
            found = []
            for line in lines:
                leg, rest = line.rstrip('\n').split('/', 1)
                what, number, kind = rest.rsplit('/', 2)
                found.append(Point(leg, what, int(number), kind))
        return sorted(found, key=lambda point: _LEGS.index(point.leg))

    def kill(self, pid: int) -> bool:
        """Wait for a process that kills itself; False if it did not."""
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status > 0:
            raise Failure(f'it ended early:\n{self.trace.read_text()}')
        if status not in (0, -signal.SIGKILL):
            raise Failure(f'it did not end: {signal.Signals(-status).name}')
        return status != 0

    def settle(self) -> None:
        """Wait until PowerVM has done with what the dead have sent.

        The server closes each connection in the end; one that it has not
        seen yet is there as well.
        """
        end = time.monotonic() + _PATIENCE
        while self._connected() or any(
            row['seconds'] is None for row in self.control.requests()
        ):
            if time.monotonic() > end:
                raise Failure('PowerVM does not come to rest')
            time.sleep(0.005)

    def wait_for_arrival(self) -> None:
        """Wait until PowerVM works on what the dead have sent."""
        end = time.monotonic() + _PATIENCE
        while self._connected() and not any(
            row['seconds'] is None for row in self.control.requests()
        ):
            if time.monotonic() > end:
                raise Failure('PowerVM does not read what it was sent')
            time.sleep(0.005)

    def _connected(self) -> bool:
        mine = f':{self.port:04X}'
        with open('/proc/net/tcp') as lines:
            # Established, a SYN received, and closed by the client only.
            return any(
                local.endswith(mine) and state in ('01', '03', '08')
                for _, local, _, state in (line.split()[:4] for line in lines)
            )

    # -- looking

    def disks(self) -> dict[str, dict[str, Any]]:
        """Disks that are not those of others, by name."""
        found = [
            each
            for each in self.control.disks()
            if each['udid'] not in self.foreign
        ]
        names = [(each['vg'], each['name']) for each in found]
        if len(set(names)) != len(names):
            raise Failure(f'two disks of one name: {sorted(names)}')
        return {each['name']: each for each in found}

    def check_others(self) -> None:
        """Nothing that belongs to others has been touched."""
        now = self._fingerprints(
            each
            for each in self.control.disks()
            if each['udid'] in self.foreign
        )
        for udid, fingerprint in self.foreign.items():
            if now.get(udid) != fingerprint:
                raise Failure(
                    f'the disk of somebody else {fingerprint} is '
                    f'now {now.get(udid, "gone")}'
                )

    def check_locks(self) -> None:
        """Nobody holds a lock."""
        directory = locks.LockDirectory(str(seams.lock_directory(self.state)))
        for path in seams.lock_directory(self.state).glob('*.lock'):
            if not directory.is_free(path.stem):
                raise Failure(f'the lock {path.stem} is held')

    def check_whole(self, name: str, image: image_module.Image) -> None:
        """A disk is there, and holds the image."""
        disk = self.disks().get(name)
        if disk is None:
            raise Failure(f'disk {name} is not there')
        try:
            base.assert_same_bytes(_Judge(), self.data[image.id], disk['path'])
        except Failure as failure:
            raise Failure(f'{name}: {failure.message}') from None

    def check_clean(
        self,
        instances: dict[str, image_module.Image],
        soon: bool = False,
        may_stay: str | None = None,
    ) -> None:
        """After a pass: all that is there is whole, and on record.

        :param instances: instance disks that should be there, and nothing
            else but base images should.
        :param soon: so soon after a death that its requests may not have
            ended: what they may make is on record.
        :param may_stay: a disk that no deploy has replaced yet.
        """
        disks = self.disks()
        with self.catalog() as catalog:
            records = seams.base_images(catalog, self.pool)
            unfinished = seams.instance_disks(catalog, self.pool)
        if soon:
            records, unfinished = (
                [
                    each
                    for each in found
                    if each.udid or each.disk_name in disks
                ]
                for found in (records, unfinished)
            )
        if unfinished:
            raise Failure(f'instance disks still on record: {unfinished}')
        for record in records:
            if not seams.is_ready(record):
                raise Failure(f'a stale record: {record}')
            if disks.get(record.disk_name, {}).get('udid') != record.udid:
                raise Failure(f'a record without a disk: {record}')
            self.check_whole(record.disk_name, record.image)
        for name, image in instances.items():
            self.check_whole(name, image)
        known = {record.disk_name for record in records} | set(instances)
        known.add(may_stay or '')
        if left := sorted(set(disks) - known):
            raise Failure(f'disks were left: {left}')
        entries = {entry.uuid: entry for entry in self._entries()}
        if missing := self.files - set(entries):
            raise Failure(f"somebody else's File entry is gone: {missing}")
        if left := [
            (entry.file_name, entry.current_file_size)
            for identity, entry in entries.items()
            if identity not in self.files
        ]:
            raise Failure(f'File entries were left: {left}')
        self.check_others()
        self.check_locks()


# -- the operations


class Operation:
    """Something that a process does when it is killed."""

    #: A disk that it makes.
    makes: str | None = None
    #: Disks that are there before, and shall be there after it.
    keeps: tuple[str, ...] = ()
    #: Whether a deploy may be a bypass afterwards, since the cache is off.
    off = False
    #: Whether PowerVM still works when the pass or the deploy comes.
    hasty = False
    #: Whether others make disks of the same names meanwhile.
    usurped = False
    #: A disk that was there before, and may be there until a deploy.
    may_stay: str | None = None

    def __init__(self, world: World) -> None:
        self.world = world
        self.image, self.second, self.third = world.images

    def prepare(self) -> None:
        """What must be there before."""

    def beside(self) -> contextlib.AbstractContextManager[Any]:
        """What somebody else does at the same time."""
        return contextlib.nullcontext()

    def work(self) -> None:
        """What is done in the process to be killed."""
        raise NotImplementedError

    def choose(self, points: Sequence[Point]) -> Sequence[Point]:
        """Those of its points that matter."""
        return points

    def mend(self) -> None:
        """After the kill, before anything is looked at."""

    # -- for subclasses

    def prefetch(self, *wanted: image_module.Image) -> None:
        with self.world.manager() as manager:
            for image in wanted:
                manager.prefetch(image)

    def deploy(self, image: image_module.Image, name: str) -> None:
        with self.world.manager(
            self.world.conf_off if self.off else None
        ) as manager:
            manager.create_disk(image, name)

    def purge(self, *wanted: image_module.Image) -> None:
        with self.world.manager() as manager:
            ids = {image.id for image in wanted}
            manager.purge(
                [each for each in manager.list() if each.image.id in ids]
            )

    def die(self, work: Callable[[], None], point: Point) -> None:
        """Have somebody die earlier, of the same."""
        pid = self.world.start(work, point)
        if not self.world.kill(pid):
            raise Failure(f'{point} was not reached')
        self.world.settle()


class Miss(Operation):
    """A deploy of an image that is not cached."""

    makes = 'vm1'

    def work(self) -> None:
        self.deploy(self.image, 'vm1')


class Hit(Miss):
    """A deploy of an image that is cached."""

    def prepare(self) -> None:
        self.prefetch(self.image)


class Prefetch(Operation):
    """An image is fetched into the cache."""

    def work(self) -> None:
        self.prefetch(self.image)


class Purge(Operation):
    """The only cached image is purged; a disk that was made of it stays."""

    keeps = ('vm0',)

    def prepare(self) -> None:
        self.deploy(self.image, 'vm0')

    def work(self) -> None:
        self.purge(self.image)


class PurgeSeveral(Purge):
    """All cached images are purged at once."""

    def prepare(self) -> None:
        super().prepare()
        self.prefetch(self.second, self.third)

    def work(self) -> None:
        self.purge(self.image, self.second, self.third)


class PurgeHeld(PurgeSeveral):
    """One of several images to be purged is held by another process."""

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        directory = locks.LockDirectory(
            str(seams.lock_directory(self.world.state))
        )
        name = naming.base_image_name(self.second.id)
        with directory.hold(seams.image_lock(self.world.pool, name), 0):
            yield
        self.world.check_whole(name, self.second)
        with self.world.catalog() as catalog:
            record = seams.base_image(catalog, self.world.pool, name)
        if not record or not seams.is_ready(record):
            raise Failure(f'an image that was held is {record}')


class PurgeCopied(Purge):
    """The image is deployed from, by another process, meanwhile."""

    keeps = ('vm0', 'vm9')

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        other = self.world.start(lambda: self.deploy(self.image, 'vm9'))
        try:
            yield
        finally:
            self.world.finish(other)
        self.world.check_whole('vm9', self.image)


class PurgeUnfinished(Operation):
    """The record of a fetch that died is purged."""

    def prepare(self) -> None:
        self.die(
            lambda: self.prefetch(self.image),
            Point('base', 'PUT web/File/contents', 2, BODY),
        )

    def work(self) -> None:
        self.purge(self.image)


class Reconcile(Operation):
    """A pass over all that the dead can leave."""

    keeps = ('vm0',)

    def prepare(self) -> None:
        world = self.world
        # A base image whose disk somebody deletes, one that is half
        # purged, a half fetched one with its disk, a copy that nobody knows
        # to be whole.
        self.deploy(self.image, 'vm0')
        self.prefetch(self.second)
        self.die(
            lambda: self.deploy(self.second, 'dead1'),
            Point('main', seams.FINISH_INSTANCE_DISK, 1, UNWRITTEN),
        )
        self.die(
            lambda: self.purge(self.second),
            Point('main', seams.START_EVICTION, 1, WRITTEN),
        )
        self.die(
            lambda: self.deploy(self.third, 'dead2'),
            Point('instance', 'PUT web/File/contents', 3, BODY),
        )
        name = naming.base_image_name(self.image.id)
        world.driver.delete_disks([world.driver.find_disk(name)])

    def work(self) -> None:
        with self.world.manager() as manager:
            manager.reconcile()


class MissAfterDeath(Miss):
    """A deploy that takes over from one that died, and dies too."""

    def prepare(self) -> None:
        self.die(
            lambda: self.deploy(self.image, 'vm1'),
            Point('base', 'PUT web/File/contents', 2, BODY),
        )


class MissOfGoneDisk(Miss):
    """A deploy of a cached image whose disk has gone."""

    def prepare(self) -> None:
        self.prefetch(self.image)
        driver = self.world.driver
        driver.delete_disks(
            [driver.find_disk(naming.base_image_name(self.image.id))]
        )


class MissOfCorruptImage(Miss):
    """A deploy that finds out in the end that the image is corrupt."""

    def prepare(self) -> None:
        self._flip()

    def work(self) -> None:
        with contextlib.suppress(exceptions.ImageCorrupt):
            super().work()

    def choose(self, points: Sequence[Point]) -> Sequence[Point]:
        # The error ends both uploads: which of their last pieces are sent is
        # not the same each time. A miss has the points of a whole upload.
        return [point for point in points if point.kind != BODY]

    def mend(self) -> None:
        self._flip()

    def _flip(self) -> None:
        with open(self.world.data[self.image.id], 'r+b') as file:
            file.seek(SIZE - 1)
            (byte,) = file.read(1)
            file.seek(SIZE - 1)
            file.write(bytes([byte ^ 1]))


class MissWithLostAnswers(Miss):
    """PowerVM does what it is asked, and the connection breaks."""

    def prepare(self) -> None:
        # Of File.create that is the first one of each upload.
        for kind, count in (('VolumeGroup.update', 1), ('File.create', 2)):
            self.world.control.add_fault('lose_answer', kind=kind, count=count)

    def mend(self) -> None:
        self.world.control.clear_faults()


class HitWithLostAnswer(Hit):
    """The answer of the copy is lost."""

    def prepare(self) -> None:
        super().prepare()
        self.world.control.add_fault(
            'lose_answer', kind='VolumeGroup.update', count=1
        )

    def mend(self) -> None:
        self.world.control.clear_faults()


class MissWithoutBase(Miss):
    """The base image can't be written, the instance disk can."""

    fails = 'base'

    def work(self) -> None:
        driver_class: Any = type(self.world.driver)
        whole = driver_class.upload

        def upload(
            driver: Any, disk: Any, pieces: Iterator[bytes], *args: Any
        ) -> None:
            if _leg() == self.fails:
                pieces = self._broken(pieces)
            whole(driver, disk, pieces, *args)

        driver_class.upload = upload
        super().work()

    @staticmethod
    def _broken(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(pieces)
        raise exceptions.PowerVMRequestFailed(
            action='take the rest', reason='this is a test'
        )


class MissWithoutInstance(MissWithoutBase):
    """The instance disk can't be written, and is copied in the end."""

    fails = 'instance'


class MissAwaited(Miss):
    """Another process waits for the fetch, and has to take it over."""

    keeps = ('vm9',)

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        other = self.world.start(self._wait)
        try:
            yield
        finally:
            self.world.finish(other)
        self.world.check_whole('vm9', self.image)

    def _wait(self) -> None:
        end = time.monotonic() + 0.5
        while time.monotonic() < end and not any(
            seams.lock_directory(self.world.state).glob(
                seams.image_lock('*', '*')
            )
        ):
            time.sleep(0.002)
        with self.world.manager() as manager:
            done = manager.create_disk(self.image, 'vm9')
        if done.outcome is instance_disk.Outcome.BYPASS:
            raise Failure(f'who waited went past the cache: {done.reason}')


class Evict(PurgeSeveral):
    """A pass whose policy removes two of three images."""

    def work(self) -> None:
        with self.world.manager(self.world.conf_one) as manager:
            done = manager.run_cleanup([])
            if len(seams.evicted(done)) != 2:
                raise Failure(f'the pass did {done}')


class _Full(Operation):
    """There is no room but what cached images take up."""

    def mend(self) -> None:
        self.world.make_free()


class MissMakesRoom(_Full, Miss):
    """A deploy that has two images removed, and caches its own."""

    def prepare(self) -> None:
        self.prefetch(self.second, self.third)
        self.world.fill_up()


class HitMakesRoom(_Full, Miss):
    """A deploy of a cached image that has another one removed."""

    def prepare(self) -> None:
        self.prefetch(self.image, self.second)
        self.world.fill_up()


class HitInTheWay(_Full, Miss):
    """A deploy that finds no room but that of its own base image."""

    def prepare(self) -> None:
        self.prefetch(self.image)
        self.world.fill_up()


class MissReplacing(Miss):
    """A deploy that replaces a left-over of nova-powervm."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.may_stay = naming.base_image_name(self.image.id)

    def prepare(self) -> None:
        self.world.control.plant_disk(GROUP, str(self.may_stay), units.Gi)


class Adopt(MissReplacing):
    """A left-over that is whole is taken over."""

    makes = None

    def prepare(self) -> None:
        self.world.control.plant_disk(
            GROUP,
            str(self.may_stay),
            units.Gi,
            str(self.world.data[self.image.id]),
        )

    def work(self) -> None:
        with self.world.manager() as manager:
            manager.adopt(self.image)


class Quarantined(Operation):
    """A pass removes what is in quarantine."""

    def prepare(self) -> None:
        self.prefetch(self.image)
        with self.world.catalog() as catalog:
            (record,) = seams.base_images(catalog, self.world.pool)
            seams.quarantine(catalog, record, 'this is a test')

    def work(self) -> None:
        with self.world.manager() as manager:
            manager.run_cleanup()


class Bypass(Miss):
    """A deploy while the cache is switched off."""

    off = True


class DeleteDisk(Operation):
    """An instance disk is deleted, as an instance goes."""

    def prepare(self) -> None:
        self.deploy(self.image, 'vm1')

    def work(self) -> None:
        with self.world.manager() as manager:
            manager.delete_disk('vm1')

    makes = 'vm1'


class _Hasty(Operation):
    """What comes after the death does not wait for what PowerVM still does.

    A copy lasts minutes, a restart of nova-compute seconds.
    """

    hasty = True

    def prepare(self) -> None:
        super().prepare()
        for method in ('PUT', 'POST', 'DELETE'):
            self.world.control.add_fault(
                'latency',
                method=method,
                seconds=_LATENCY,
                path_regex='VolumeGroup|web/File',
            )

    def choose(self, points: Sequence[Point]) -> Sequence[Point]:
        return [
            point
            for point in points
            if point.kind == SENT
            and not point.what.startswith('GET')
            and not point.what.endswith('Logon')
        ]

    def mend(self) -> None:
        self.world.control.clear_faults()


class MissHasty(_Hasty, Miss):
    """A miss, and no patience afterwards."""


class HitHasty(_Hasty, Hit):
    """A hit, and no patience afterwards."""


class HitBeingCopied(_Hasty, Hit):
    """A hit, and PowerVM is in the midst of the copy afterwards."""

    def prepare(self) -> None:
        Hit.prepare(self)
        self.world.control.change_settings(copy_rate=_COPY_RATE)

    def choose(self, points: Sequence[Point]) -> Sequence[Point]:
        return [
            point
            for point in super().choose(points)
            if point.what.startswith('POST')
        ]


class PrefetchHasty(_Hasty, Prefetch):
    """A prefetch, and no patience afterwards."""


class PurgeHasty(_Hasty, PurgeSeveral):
    """A purge, and no patience afterwards."""


class MissAfterHasty(_Hasty, Miss):
    """A miss takes over while PowerVM is at what the dead one sent."""

    def prepare(self) -> None:
        self.world.control.add_fault(
            'latency', kind='VolumeGroup.update', count=1, seconds=4 * _LATENCY
        )
        world = self.world
        pid = world.start(
            self.work,
            Point('main', 'POST uom/VirtualIOServer/VolumeGroup', 1, SENT),
        )
        if not world.kill(pid):
            raise Failure('who should have died before has not')

    def choose(self, points: Sequence[Point]) -> Sequence[Point]:
        return [
            point
            for point in points[: _first_update(points)]
            if point.kind in (UNWRITTEN, WRITTEN)
        ]


class MissUsurped(Miss):
    """Somebody else takes the names that the dead did not get to."""

    usurped = True
    keeps = ('vm0',)

    def prepare(self) -> None:
        # A disk with a label: where there is none yet, nobody knows that
        # the pool keeps them.
        self.deploy(self.image, 'vm0')
        self.purge(self.image)

    def choose(self, points: Sequence[Point]) -> Sequence[Point]:
        return [point for point in points if point.leg == 'main'][
            : _first_update(points)
        ]


class PlatformCheck(Operation):
    """The platform is measured."""

    def work(self) -> None:
        # Neither rates nor durations matter.
        probes.UPLOAD_SIZE = units.Mi
        with self.world.manager() as manager:
            manager.check_platform(OTHER_GROUP)


class PlatformCheckVG(PlatformCheck):
    """The same, where both volume groups can have disks of one name."""

    def prepare(self) -> None:
        self.world.control.change_settings(name_scope='vg')

    def mend(self) -> None:
        self.world.control.change_settings(name_scope='vios')

    def work(self) -> None:
        wanted = tuple(
            each
            for each in probes.ALL
            if {'granularity', 'names_per_vios'} & set(each.facts)
        )
        with mock.patch.object(probes, 'ALL', wanted):
            super().work()


def _first_update(points: Sequence[Point]) -> int:
    """How many points there are before the first change of the pool."""
    return 1 + next(
        number
        for number, point in enumerate(points)
        if point.what.startswith('POST') and point.kind == BEFORE
    )


OPERATIONS: dict[str, type[Operation]] = {
    'miss': Miss,
    'hit': Hit,
    'prefetch': Prefetch,
    'purge': Purge,
    'purge-several': PurgeSeveral,
    'purge-held': PurgeHeld,
    'purge-copied': PurgeCopied,
    'purge-unfinished': PurgeUnfinished,
    'evict': Evict,
    'miss-makes-room': MissMakesRoom,
    'hit-makes-room': HitMakesRoom,
    'hit-in-the-way': HitInTheWay,
    'miss-replacing': MissReplacing,
    'adopt': Adopt,
    'quarantined': Quarantined,
    'reconcile': Reconcile,
    'bypass': Bypass,
    'delete-disk': DeleteDisk,
    'miss-after-death': MissAfterDeath,
    'miss-disk-gone': MissOfGoneDisk,
    'miss-corrupt': MissOfCorruptImage,
    'miss-lost-answer': MissWithLostAnswers,
    'miss-no-base': MissWithoutBase,
    'miss-no-instance': MissWithoutInstance,
    'miss-awaited': MissAwaited,
    'hit-lost-answer': HitWithLostAnswer,
    'miss-hasty': MissHasty,
    'hit-hasty': HitHasty,
    'hit-being-copied': HitBeingCopied,
    'prefetch-hasty': PrefetchHasty,
    'purge-hasty': PurgeHasty,
    'miss-after-hasty': MissAfterHasty,
    'miss-usurped': MissUsurped,
    'platform-check': PlatformCheck,
    'platform-check-vg': PlatformCheckVG,
}


# -- one run


class Run:
    """One operation, killed at one point, and all that is asked then."""

    def __init__(self, operation: Operation, point: Point) -> None:
        self._world = operation.world
        self._operation = operation
        self._point = point
        self._instances = dict.fromkeys(operation.keeps, operation.image)
        #: Names that others have by now.
        self._taken: set[str] = set()

    def run(self, pass_first: bool) -> None:
        """:raises Failure: if anything is not as it should be."""
        self._die()
        if self._operation.usurped:
            with self._taken_by_others():
                self._survive(pass_first)
        else:
            self._survive(pass_first)

    def _survive(self, pass_first: bool) -> None:
        with self._world.manager() as manager:
            if pass_first:
                self._pass(manager)
                self._deploy(manager)
            else:
                self._deploy(manager)
                self._settle_late()
            with seams.no_late_requests():
                manager.reconcile()
                found = manager.reconcile()
        if seams.cleanup_work(found):
            raise Failure(f'a second pass found {found}')
        self._world.check_clean(self._instances)

    def _settle_late(self) -> None:
        if self._operation.hasty:
            self._world.settle()

    @contextlib.contextmanager
    def _taken_by_others(self) -> Iterator[None]:
        """Others have made disks of the names that are still free."""
        world, before = self._world, dict(self._world.foreign)
        names = {'vm1', naming.base_image_name(self._operation.image.id)}
        self._taken = names - set(world.disks())
        try:
            for name in self._taken:
                # One of our size would be taken for a left-over.
                world.plant(name, 2 * units.Gi)
            yield
        finally:
            world.foreign = before

    def _die(self) -> None:
        # Which of two threads is first is not the same each time.
        if not any(self._attempt() for _ in range(_ATTEMPTS)):
            raise Failure('the point was not reached')
        self._world.check_locks()
        if not self._operation.hasty:
            self._look_at_what_it_made()

    def _attempt(self) -> bool:
        world, operation = self._world, self._operation
        world.reset()
        operation.prepare()
        try:
            with operation.beside():
                died = world.kill(world.start(operation.work, self._point))
            if operation.hasty:
                # Requests of crashed processes are late, but not later than
                # all others.
                world.wait_for_arrival()
            else:
                world.settle()
        finally:
            operation.mend()
        return died

    def _look_at_what_it_made(self) -> None:
        """A disk that is not on record is whole, and stays."""
        name = self._operation.makes
        if name is None or name not in self._world.disks():
            return
        with self._world.catalog() as catalog:
            unfinished = {
                entry.disk_name
                for entry in seams.instance_disks(catalog, self._world.pool)
            }
        if name not in unfinished:
            self._world.check_whole(name, self._operation.image)
            self._instances[name] = self._operation.image

    def _pass(self, manager: manager_module.ImageManager) -> None:
        if self._operation.hasty:
            manager.reconcile()
            # There is more to tidy when PowerVM has come to its end.
            self._world.settle()
            found = manager.reconcile()
        else:
            with seams.no_late_requests():
                found = manager.reconcile()
        self._world.check_others()
        if self._taken:
            return
        if found.failed:
            raise Failure(f'the pass failed: {found.failed}')
        self._world.check_clean(
            self._instances, self._operation.hasty, self._operation.may_stay
        )

    def _deploy(self, manager: manager_module.ImageManager) -> None:
        """To the same name, and to a new one."""
        image = self._operation.image
        outcomes = {instance_disk.Outcome.MISS, instance_disk.Outcome.HIT}
        if self._taken:
            outcomes = {instance_disk.Outcome.BYPASS}
        first = self._operation.makes or 'vm1'
        if first in self._instances:
            # It was whole and off the record: the deploy had happened.
            manager.delete_disk(first)
        for name in (first, 'vm2'):
            if name in self._taken:
                self._deploy_to_taken(manager, name)
                continue
            done = manager.create_disk(image, name)
            self._world.check_others()
            self._world.check_whole(name, image)
            self._instances[name] = image
            if done.outcome not in outcomes:
                raise Failure(
                    f'the deploy of {name} was a '
                    f'{done.outcome.value}: {done.reason}'
                )
            if not self._taken:
                outcomes = {instance_disk.Outcome.HIT}

    def _deploy_to_taken(
        self, manager: manager_module.ImageManager, name: str
    ) -> None:
        try:
            manager.create_disk(self._operation.image, name)
        except exceptions.DiskExists:
            self._world.check_others()
            return
        raise Failure(f'{name} of somebody else was replaced')


# -- all runs


class Program:
    """All points of all operations; prints what comes of them."""

    def __init__(self, world: World, arguments: argparse.Namespace) -> None:
        self._world = world
        self._arguments = arguments
        self._chosen = [each.partition(':') for each in arguments.only]
        self._counts: collections.Counter[tuple[str, str]] = (
            collections.Counter()
        )
        self._failures: collections.Counter[tuple[str, str]] = (
            collections.Counter()
        )
        self._runs = 0
        self._seen = 0

    def run(self) -> int:
        """The exit code."""
        started = time.monotonic()
        for name in OPERATIONS:
            if self._chosen and name not in {each[0] for each in self._chosen}:
                continue
            self._run_operation(name)
        self._print_table()
        failures = sum(self._failures.values())
        print(
            f'{sum(self._counts.values())} points, {self._runs} kills, '
            f'{failures} points failed, '
            f'{time.monotonic() - started:.0f} s'
        )
        return 1 if failures else 0

    def _run_operation(self, name: str) -> None:
        world = self._world
        started = time.monotonic()
        operation = OPERATIONS[name](world)
        world.reset()
        operation.prepare()
        try:
            with operation.beside():
                points = operation.choose(world.points_of(operation.work))
            world.settle()
        finally:
            operation.mend()
        numbers = self._numbers(name, len(points))
        for number in numbers:
            self._try(name, number, operation, points[number - 1])
        print(
            f'{name}: {len(numbers)} of {len(points)} points, '
            f'{time.monotonic() - started:.0f} s',
            flush=True,
        )

    def _numbers(self, name: str, count: int) -> Sequence[int]:
        wanted = {
            number
            for operation, _, number in self._chosen
            if operation == name
        }
        if wanted and '' not in wanted:
            # How many there are is not the same in each run.
            return sorted(
                int(number) for number in wanted if int(number) <= count
            )
        every = self._arguments.every
        first = self._seen % every
        self._seen += count
        return range(1 + (-first % every), count + 1, every)

    def _try(
        self, name: str, number: int, operation: Operation, point: Point
    ) -> None:
        self._counts[name, point.kind] += 1
        if self._arguments.list:
            print(f'{name}:{number} {point}')
            return
        failed = False
        for pass_first in self._orders(number):
            self._runs += 1
            try:
                Run(operation, point).run(pass_first)
            except Exception as failure:
                failed = True
                print(
                    f'FAILED {name}:{number} ({point}), '
                    f'{"pass" if pass_first else "deploy"} first: '
                    f'{type(failure).__name__}: {failure}',
                    flush=True,
                )
                if self._arguments.verbose:
                    traceback.print_exc()
        if failed:
            self._failures[name, point.kind] += 1
            print(f'    to repeat it: --only {name}:{number}', flush=True)

    def _orders(self, number: int) -> tuple[bool, ...]:
        """Whether a pass comes first, in each run of a point."""
        every = self._arguments.every
        if every == 1 and not self._arguments.one_order:
            return (True, False)
        return (number // every % 2 == 0,)

    def _print_table(self) -> None:
        names = [
            name
            for name in OPERATIONS
            if any((name, kind) in self._counts for kind in KINDS)
        ]
        print(
            f'\npoints/failed {"":5}'
            + ''.join(f'{kind:>12}' for kind in (*KINDS, 'all'))
        )
        for name in names:
            self._print_row(name, [name])
        self._print_row('all', names)

    def _print_row(self, title: str, names: Sequence[str]) -> None:
        cells = []
        for kinds in (*((kind,) for kind in KINDS), KINDS):
            keys = [(name, kind) for name in names for kind in kinds]
            count = sum(self._counts[key] for key in keys)
            failed = sum(self._failures[key] for key in keys)
            cells.append(f'{count}/{failed}' if count else '-')
        print(f'{title:18} ' + ''.join(f'{cell:>12}' for cell in cells))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n', 1)[0]
    )
    parser.add_argument(
        '--only',
        action='append',
        default=[],
        metavar='OPERATION[:NUMBER]',
        help='this operation only, or this point of it; may be repeated',
    )
    parser.add_argument(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='every Nth point only, in one of the two orders',
    )
    parser.add_argument(
        '--one-order',
        action='store_true',
        help='kill at each point once, in one of the two orders',
    )
    parser.add_argument(
        '--list', action='store_true', help='list the points, kill no process'
    )
    parser.add_argument(
        '--verbose', action='store_true', help='show logs and tracebacks'
    )
    platforms.add_argument(parser)
    parsed = parser.parse_args(arguments)
    for each in parsed.only:
        if each.partition(':')[0] not in OPERATIONS:
            parser.error(
                f'no operation {each}; there are: ' + ', '.join(OPERATIONS)
            )
    process.exit_on_sigterm()
    if not parsed.verbose:
        logging.disable(logging.CRITICAL)
    with (
        seams.short_retries(),
        tempfile.TemporaryDirectory(prefix='pvm-kill-') as directory,
        World(pathlib.Path(directory), parsed.platform) as world,
    ):
        return Program(world, parsed).run()


if __name__ == '__main__':
    sys.exit(main())
