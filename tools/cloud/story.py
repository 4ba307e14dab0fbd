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

"""What users and operators do with the cloud, and what must come of it.

Everything is done by the openstack client; the outcome is looked at from
outside of nova: what Glance has sent, what is on the disks of the host, what
placement knows, what pvm-imagecache tells beside the running nova-compute.
"""

import dataclasses
import pathlib
import re
import time

from cloud import client
from cloud import glance
from cloud import keystone
from cloud import nova
from cloud import powervm
from cloud import processes
from cloud import whole
from pvm_imagecache import naming
from pvm_imagecache.tests import images

MIB = 1 << 20
GIB = 1 << 30
#: Of each server, GiB: more than the images need, as in most clouds.
FLAVOR_DISK = 2
_AGGREGATE = 'powervm'
_COUNTERS = {'hits': 'hit', 'misses': 'miss', 'bypasses': 'bypass'}
#: Asking Glance whether a user may have an image takes one of its bytes, or
#: what is on its way when the connection is closed if Glance has no ranges.
_RIGHT_CHECK = 1
_CLOSED_CHECK = 16 * MIB
#: How long the periodic tasks of nova may take to do something, seconds.
_PATIENCE = 180.0
#: What nova-compute logs at the end of each.
_PASS = 'Pass over the image cache: '
#: What nova warns of where it runs under eventlet, and only there.
_EVENTLET = 'Eventlet based concurrency mode is deprecated'
#: Errors in the log of nova-compute, but for those that every cloud has:
#: allocations of the scheduler that come between two requests of nova's own
#: client to placement, and the end of oslo.service's periodic tasks at a stop.
_ERROR = re.compile(
    r' (ERROR|CRITICAL) (?!nova\.scheduler\.client\.report '
    r'|oslo\.service\.backend\.)'
)


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of the run: its id in Glance, and the file it was made of."""

    name: str
    id: str
    path: pathlib.Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def base_disk(self) -> str:
        return naming.base_image_name(self.id)


@dataclasses.dataclass(frozen=True)
class Server:
    """A server: its id, what it was booted from, its disks on the host."""

    id: str
    image: Image
    disks: list[str]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that the cache did.

    :ivar what: for whom
    :ivar image: its name
    :ivar outcome: what the cache has counted it as
    :ivar fetched: bytes that Glance has sent for it
    :ivar seconds: until the client said that it was done
    """

    what: str
    image: str
    outcome: str
    fetched: int
    seconds: float


class Story:
    """The acts of a run, in their order."""

    def __init__(self, cloud: whole.Cloud, image_size: int) -> None:
        site = cloud.site
        self.events: list[Event] = []
        self.failures: list[str] = []
        self._cloud = cloud
        self._site = site
        self._size = image_size
        self._admin = client.OpenStack(site, keystone.ADMIN)
        self._member = client.OpenStack(site, keystone.MEMBER)
        self._shell = client.Shell(site)
        # What is asked again and again is not asked by a command.
        self._api = keystone.connect(site)
        self._servers: dict[str, Server] = {}

    def tell(self) -> None:
        """Do everything, up to the first act that can't be done."""
        try:
            self._tell()
        except (client.CommandError, processes.ProcessError) as error:
            self.check(False, str(error))

    def _tell(self) -> None:
        act('A flavor and two images: a public one, and one of a user')
        self._admin(
            'flavor',
            'create',
            '--ram',
            '1024',
            '--disk',
            str(FLAVOR_DISK),
            '--vcpus',
            '1',
            'small',
        )
        public = self._upload(self._admin, 'debian', self._size, '--public')
        private = self._upload(
            self._member, 'database', self._size // 2, '--private'
        )
        self._show_inventory()
        self._check_reserved()

        act('A user boots two servers from the same image')
        self._boot('web1', public, 'miss')
        self._boot('web2', public, 'hit')
        self._check_reserved(public)

        act('nova-compute is restarted')
        self._cloud.restart_compute()
        self._check_cached(public)

        act('An operator has the other image cached on all hosts')
        self._precache(private)
        self._boot('db1', private, 'hit')
        self._check_reserved(public, private)

        act('pvm-imagecache beside the running nova-compute')
        for command in (['list'], ['usage'], ['explain', public.id]):
            self._shell.show(*command)
        self._show_inventory()

        act('One server is deleted, and its image stays for now')
        self._delete('db1')
        self._check_cached(public, private)

        act('nova-compute is restarted, to evict what nobody uses')
        if self._site.eventlet:
            self._cloud.restart_compute(idle_age=1, minimum_age=whole.DAY)
            self._wait_for_pass()
            self._check_cached(public, private)
            act('minimum_age is lowered, and nova-compute gets a SIGHUP')
            self._cloud.reload_compute(idle_age=1, minimum_age=1)
        else:
            # With native threads oslo.service 4.8 can't reload anything.
            self._cloud.restart_compute(idle_age=1)
        self._wait_for_eviction(private)
        self._check_cached(public)
        self._check_reserved(public)
        for name in ('web1', 'web2'):
            self._compare(name)

        act('The others are deleted: nothing keeps their image any more')
        for name in ('web1', 'web2'):
            self._delete(name)
        self._wait_for_eviction(public)
        self._check_cached()
        self._check_reserved()
        self._show_inventory()
        self.check(
            not powervm.disks(self._site), 'no disk is left on the host'
        )
        self._shell.show('usage')
        self._check_history()
        self._check_log()
        if self._site.as_deployed:
            self._check_dead_server()

    def sum_up(self) -> None:
        """What the cache did."""
        act('What the cache did')
        rows = [('for', 'image', 'outcome', 'bytes from Glance', 'seconds')]
        rows += [
            (
                each.what,
                each.image,
                each.outcome,
                str(each.fetched),
                f'{each.seconds:.1f}',
            )
            for each in self.events
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print(
                '  '.join(
                    cell.ljust(width) if index < 3 else cell.rjust(width)
                    for index, (cell, width) in enumerate(
                        zip(row, widths, strict=True)
                    )
                )
            )

    def check(self, good: bool, what: str) -> None:
        """Say whether something is as it must be."""
        print(f'{"ok   " if good else "WRONG"} {what}', flush=True)
        if not good:
            self.failures.append(what)

    def _upload(
        self, user: client.OpenStack, name: str, size: int, visibility: str
    ) -> Image:
        path = self._site.home('files') / name
        images.write_raw(path, size, seed=size)
        answer = user.read(
            'image',
            'create',
            '--disk-format',
            'raw',
            '--container-format',
            'bare',
            visibility,
            '--file',
            str(path),
            name,
        )
        return Image(name, answer['id'], path)

    def _boot(self, name: str, image: Image, expected: str) -> None:
        known = set(powervm.disks(self._site))
        counted, sent = self._counters(), self._sent(image)
        started = time.monotonic()
        answer = self._member.read(
            'server',
            'create',
            '--flavor',
            'small',
            '--image',
            image.id,
            '--no-network',
            '--wait',
            name,
        )
        event = Event(
            f'server {name}',
            image.name,
            moved(counted, self._counters()),
            self._sent(image) - sent,
            time.monotonic() - started,
        )
        self.events.append(event)
        self.check(answer['status'] == 'ACTIVE', f'{name} is active')
        self.check(
            event.outcome == expected,
            f'for the cache it was a {event.outcome}',
        )
        least = image.size if expected == 'miss' else 0
        check = _RIGHT_CHECK
        if self._site.as_deployed:
            check = min(_CLOSED_CHECK, image.size - 1)
        self.check(
            least <= event.fetched <= least + check,
            f'bytes that Glance has sent: {event.fetched}',
        )
        new = sorted(
            set(powervm.disks(self._site)) - known - {image.base_disk}
        )
        self.check(len(new) == 1, f'new disks on the host: {len(new)}')
        self._servers[name] = Server(answer['id'], image, new)
        self._compare(name)

    def _compare(self, name: str) -> None:
        server = self._servers[name]
        disks = powervm.disks(self._site)
        for disk in server.disks:
            self.check(
                powervm.same_bytes(server.image.path, disks[disk]),
                f'{disk} of {name}: every byte equals {server.image.name}',
            )
            self.check(
                disks[disk]['capacity_bytes'] == FLAVOR_DISK * GIB,
                f'{disk} of {name}: {FLAVOR_DISK} GiB, as the flavor says',
            )

    def _precache(self, image: Image) -> None:
        sent = self._sent(image)
        self._admin('aggregate', 'create', _AGGREGATE)
        self._admin('aggregate', 'add', 'host', _AGGREGATE, nova.COMPUTE_HOST)
        started = time.monotonic()
        self._admin('aggregate', 'cache', 'image', _AGGREGATE, image.id)
        self._cloud.supervisor.wait_until(
            lambda: self._cached().get(image.id) == 'ready',
            f'{image.name} to be cached',
            _PATIENCE,
            interval=1,
        )
        event = Event(
            f'aggregate {_AGGREGATE}',
            image.name,
            'cached',
            self._sent(image) - sent,
            time.monotonic() - started,
        )
        self.events.append(event)
        self.check(
            event.fetched == image.size,
            f'bytes that Glance has sent: {event.fetched}',
        )

    def _delete(self, name: str) -> None:
        server = self._servers.pop(name)
        self._member('server', 'delete', '--wait', server.id)
        self.check(
            not set(server.disks) & set(powervm.disks(self._site)),
            f'the disk of {name} is gone',
        )

    def _wait_for_eviction(self, image: Image) -> None:
        started = time.monotonic()
        self._cloud.supervisor.wait_until(
            lambda: image.id not in self._cached(),
            f'the periodic task of nova-compute to evict {image.name}',
            _PATIENCE,
            interval=1,
        )
        self.events.append(
            Event(
                'periodic task',
                image.name,
                'evicted',
                0,
                time.monotonic() - started,
            )
        )
        self.check(
            image.base_disk not in powervm.disks(self._site),
            f'{image.base_disk} is gone from the host',
        )

    def _wait_for_pass(self) -> None:
        """Wait until nova-compute has begun and ended a pass."""
        log = self._cloud.supervisor.log('nova-compute')

        def passes() -> int:
            return log.read_text(errors='replace').count(_PASS)

        # One may be under way.
        wanted = passes() + 2
        self._cloud.supervisor.wait_until(
            lambda: passes() >= wanted, 'passes of nova-compute', _PATIENCE
        )

    def _cached(self) -> dict[str, str]:
        """Ids and states of the images that the host has cached."""
        return {row['ID']: row['State'] for row in self._shell.read('list')}

    def _check_cached(self, *wanted: Image) -> None:
        names = ', '.join(image.name for image in wanted) or 'nothing'
        self.check(
            self._cached()
            == dict.fromkeys((image.id for image in wanted), 'ready'),
            f'cached: {names}',
        )

    def _check_reserved(self, *cached: Image) -> None:
        """Check that base images that can be evicted are not reserved."""
        disks = powervm.disks(self._site)
        for image in cached:
            self.check(
                image.base_disk in disks, f'{image.base_disk} is on the host'
            )
        self._cloud.supervisor.wait_until(
            lambda: self._reserved() == 0,
            'placement to know that nothing is reserved',
            _PATIENCE,
            interval=1,
        )
        self.check(True, 'placement: nothing is reserved on the host')

    def _counters(self) -> dict[str, int]:
        usage = self._shell.read('usage')
        return {name: usage[name] for name in _COUNTERS}

    def _sent(self, image: Image) -> int:
        return sum(
            row['bytes_sent']
            for row in glance.downloads(self._site)
            if row['image_id'] == image.id
        )

    def _reserved(self) -> int:
        """DISK_GB that nobody can have, as placement knows it."""
        answer = self._api.placement.get(
            f'/resource_providers/{self._provider()}/inventories/DISK_GB'
        )
        return int(answer.json()['reserved'])

    def _provider(self) -> str:
        return str(
            next(
                iter(
                    self._api.placement.resource_providers(
                        name=nova.COMPUTE_HOST
                    )
                )
            ).id
        )

    def _show_inventory(self) -> None:
        self._admin.show(
            'resource', 'provider', 'inventory', 'list', self._provider()
        )

    def _check_history(self) -> None:
        wanted = [
            option
            for action in ('miss', 'hit', 'prefetch', 'evict')
            for option in ('--action', action)
        ]
        self._shell.show('history', *wanted)
        # The latest comes first.
        actions = [
            row['Action']
            for row in reversed(self._shell.read('history', *wanted))
        ]
        self.check(
            actions == ['miss', 'hit', 'prefetch', 'hit', 'evict', 'evict'],
            f'history: {", ".join(actions)}',
        )

    def _check_dead_server(self) -> None:
        """The server that is down was met, and others were used instead."""
        log = self._cloud.supervisor.log('nova-compute')
        self.check(
            f'Glance at {self._site.url("nothing")} is out of service'
            in log.read_text(errors='replace'),
            'nova-compute has met the server of Glance that is down',
        )

    def _check_log(self) -> None:
        log = self._cloud.supervisor.log('nova-compute')
        text = log.read_text(errors='replace')
        self.check(
            (_EVENTLET in text) == self._site.eventlet,
            'nova-compute runs '
            + (
                'under eventlet'
                if self._site.eventlet
                else 'with native threads'
            ),
        )
        errors = [line for line in text.splitlines() if _ERROR.search(line)]
        self.check(
            not errors, f'nova-compute has logged {len(errors)} errors: {log}'
        )


def act(text: str) -> None:
    """A heading."""
    print(f'\n== {text}', flush=True)


def moved(before: dict[str, int], after: dict[str, int]) -> str:
    """Which counter of the cache has moved, and by more than one if so."""
    steps = {_COUNTERS[name]: after[name] - before[name] for name in after}
    return (
        ' and '.join(
            outcome if count == 1 else f'{count} times {outcome}'
            for outcome, count in steps.items()
            if count
        )
        or 'nothing'
    )
