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
import time
from typing import Any

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
#: Asking Glance whether a user may have an image takes one of its bytes.
_RIGHT_CHECK = 1
#: How long the periodic tasks of nova may take to do something, seconds.
_PATIENCE = 180.0


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
        self._servers: dict[str, str] = {}

    def tell(self) -> None:
        """Do everything, up to the first act that can't be done."""
        try:
            self._tell()
        except (client.CommandError, processes.ProcessError) as error:
            self.check(False, str(error))

    def _tell(self) -> None:
        act('A flavor and two images: a public one, and one of a user')
        self._admin('flavor', 'create', '--ram', '1024', '--disk',
                    str(FLAVOR_DISK), '--vcpus', '1', 'small')
        public = self._upload(self._admin, 'debian', self._size, '--public')
        private = self._upload(self._member, 'database', self._size // 2,
                               '--private')
        before = self._disk_inventory()
        self.check(before['reserved'] == 0,
                   f'placement: {before["total"]} GiB of disk, none reserved')

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
        for command in ('list', 'usage'):
            self._shell.show(command)

        act('The servers are deleted, and their images stay')
        for server in list(self._servers):
            self._delete(server)
        self._check_cached(public, private)
        self.check(self._other_disks(public, private) == [],
                   'no disk of a server is left on the host')

        act('nova-compute is restarted, to evict what is not used')
        self._cloud.restart_compute(idle_age=1)
        self._cloud.supervisor.wait_until(
            lambda: not self._shell.read('list'),
            'the periodic task of nova-compute to evict both images',
            _PATIENCE, interval=1)
        print('ok    the periodic task has evicted both images')
        self.check(list(powervm.disks(self._site)) == [],
                   'no disk is left on the host')
        self._check_reserved()

    def sum_up(self) -> None:
        """What the cache did."""
        act('What the cache did')
        rows = [('for', 'image', 'outcome', 'bytes from Glance', 'seconds')]
        rows += [(each.what, each.image, each.outcome, str(each.fetched),
                  f'{each.seconds:.1f}') for each in self.events]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print('  '.join(
                cell.ljust(width) if index < 3 else cell.rjust(width)
                for index, (cell, width) in
                enumerate(zip(row, widths, strict=True))))

    def check(self, good: bool, what: str) -> None:
        """Say whether something is as it must be."""
        print(f'{"ok   " if good else "WRONG"} {what}', flush=True)
        if not good:
            self.failures.append(what)

    def _upload(self, user: client.OpenStack, name: str, size: int,
                visibility: str) -> Image:
        path = self._site.home('files') / name
        images.write_raw(path, size, seed=size)
        answer = user.read(
            'image', 'create', '--disk-format', 'raw', '--container-format',
            'bare', visibility, '--file', str(path), name)
        return Image(name, answer['id'], path)

    def _boot(self, name: str, image: Image, expected: str) -> None:
        disks = set(powervm.disks(self._site))
        counted, sent = self._counters(), self._sent(image)
        started = time.monotonic()
        server = self._member.read(
            'server', 'create', '--flavor', 'small', '--image', image.id,
            '--no-network', '--wait', name)
        seconds = time.monotonic() - started
        self._servers[name] = server['id']
        event = Event(f'server {name}', image.name, moved(
            counted, self._counters()), self._sent(image) - sent, seconds)
        self.events.append(event)
        self.check(server['status'] == 'ACTIVE', f'{name} is active')
        self.check(event.outcome == expected,
                   f'for the cache it was a {event.outcome}')
        wanted = ([image.size, image.size + _RIGHT_CHECK]
                  if expected == 'miss' else [0, _RIGHT_CHECK])
        self.check(event.fetched in wanted,
                   f'Glance has sent {event.fetched} bytes of the image')
        self._compare(name, image, disks)

    def _compare(self, name: str, image: Image, before: set[str]) -> None:
        disks = powervm.disks(self._site)
        new = [disk for disk in disks
               if disk not in before and disk != image.base_disk]
        self.check(len(new) == 1, f'{name} has a disk on the host: {new}')
        for disk in new:
            self.check(
                powervm.same_bytes(image.path, disks[disk]),
                f'{disk} holds the bytes of {image.name}, all of them')
            self.check(disks[disk]['capacity_bytes'] == FLAVOR_DISK * GIB,
                       f'{disk} has the {FLAVOR_DISK} GiB of the flavor')

    def _precache(self, image: Image) -> None:
        sent = self._sent(image)
        self._admin('aggregate', 'create', _AGGREGATE)
        self._admin('aggregate', 'add', 'host', _AGGREGATE,
                    nova.COMPUTE_HOST)
        started = time.monotonic()
        self._admin('aggregate', 'cache', 'image', _AGGREGATE, image.id)
        self._cloud.supervisor.wait_until(
            lambda: 'ready' in [row['State'] for row in
                                self._shell.read('list')
                                if row['ID'] == image.id],
            f'{image.name} to be cached', _PATIENCE, interval=1)
        event = Event(f'aggregate {_AGGREGATE}', image.name, 'cached',
                      self._sent(image) - sent, time.monotonic() - started)
        self.events.append(event)
        self.check(event.fetched == image.size,
                   f'Glance has sent {event.fetched} bytes of the image')

    def _delete(self, name: str) -> None:
        self._member('server', 'delete', '--wait', self._servers.pop(name))

    def _check_cached(self, *wanted: Image) -> None:
        listed = {row['ID']: row['State'] for row in self._shell.read('list')}
        self.check(listed == dict.fromkeys(
            (image.id for image in wanted), 'ready'),
            f'cached: {", ".join(image.name for image in wanted)}')

    def _check_reserved(self, *cached: Image) -> None:
        """Wait until placement knows what the base images take up."""
        disks = powervm.disks(self._site)
        missing = [image.base_disk for image in cached
                   if image.base_disk not in disks]
        self.check(not missing, f'all base images are on the host {missing}')
        wanted = sum(disks[image.base_disk]['capacity_bytes'] for image in cached
                     if image.base_disk in disks) / GIB
        self._cloud.supervisor.wait_until(
            lambda: self._disk_inventory()['reserved'] == wanted,
            f'placement to know of {wanted:.0f} GiB reserved', _PATIENCE,
            interval=1)
        print(f'ok    placement: {wanted:.0f} GiB reserved, for '
              f'{len(cached)} cached images', flush=True)

    def _other_disks(self, *known: Image) -> list[str]:
        bases = [image.base_disk for image in known]
        return [name for name in powervm.disks(self._site)
                if name not in bases]

    def _counters(self) -> dict[str, int]:
        usage = self._shell.read('usage')
        return {name: usage[name] for name in _COUNTERS}

    def _sent(self, image: Image) -> int:
        return sum(row['bytes_sent'] for row in glance.downloads(self._site)
                   if row['image_id'] == image.id)

    def _disk_inventory(self) -> dict[str, int]:
        """Placement's DISK_GB of the host."""
        provider = next(iter(self._api.placement.resource_providers(
            name=nova.COMPUTE_HOST)))
        answer = self._api.placement.get(
            f'/resource_providers/{provider.id}/inventories/DISK_GB')
        found: dict[str, int] = answer.json()
        return found


def act(text: str) -> None:
    """A heading."""
    print(f'\n== {text}', flush=True)


def moved(before: dict[str, int], after: dict[str, int]) -> str:
    """Which counter of the cache has moved, and by more than one if so."""
    steps = {_COUNTERS[name]: after[name] - before[name] for name in after}
    return ' and '.join(
        outcome if count == 1 else f'{count} times {outcome}'
        for outcome, count in steps.items() if count) or 'nothing'
