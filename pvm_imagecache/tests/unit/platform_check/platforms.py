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

"""A platform in memory that has each value of each fact."""

import contextlib
import http
import types

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import base
from pvm_imagecache.drivers import platform_access
from pvm_imagecache.tests.unit import fakes

SPACE = '0516-404 allocp: not enough partitions in {group}'
NAME = 'There is a disk {name} in {group} already'


def refusal(reason, status=http.HTTPStatus.BAD_REQUEST):
    """Return the error for a refused update."""
    error = exceptions.PowerVMRequestFailed(
        action='change the pool', reason=reason
    )
    error.response = types.SimpleNamespace(status=status)
    return error


class Clock:
    """Seconds that pass only if a test lets them."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        """Return the time."""
        return self.now


class Platform(fakes.FakeDriver):
    """A pool with the settings of a platform.

    :ivar most: bytes that disks had together at any time.
    :ivar sent: names of the disks of each update that was sent.
    """

    def __init__(self, gib=100, clock=None, **settings):
        super().__init__(gib)
        self.clock = clock or Clock()
        self.granularity = units.Mi
        self.fractions = True
        self.larger = True
        self.qcow2 = True
        self.etags = True
        self.enforced = True
        self.side_by_side = False
        self.copy_rate = units.Gi
        self.limit = 255
        self.level = '1'
        self.taken_names = ()
        self.space = SPACE
        self.name_words = NAME
        self.unanswered = 0
        self.other = None
        self.version = 1
        self.most = 0
        self.sent = []
        for name, value in settings.items():
            setattr(self, name, value)

    def upload(self, disk, pieces, size, sha256=None):
        assert size == sum(len(each) for each in pieces)
        self._called('upload', disk)

    def platform_access(self):
        return Access(self)

    def make(self, new, source):
        """Carry out an update."""
        self.sent.append([each.name for each in new])
        sizes = [self._rounded(each.size) for each in new]
        for each, size in zip(new, sizes, strict=True):
            self._check(each, size, source)
        if sum(sizes) > self.pool().free:
            raise refusal(self.space.format(group='the pool'))
        made = []
        for each, size in zip(new, sizes, strict=True):
            disk = self.add(each.name, 0, label=each.label or '')
            made.append(base.Disk(disk.name, disk.udid, size, disk.label))
            self._disks[each.name] = made[-1]
        self.version += 1
        self.most = max(self.most, self.pool().used)
        self.clock.now += 1 + self._seconds(len(new), source)
        if self.unanswered:
            self.unanswered -= 1
            raise exceptions.PowerVMTimedOut(url='u', reason='late', hint='')
        return made

    def _seconds(self, count, source):
        if source is None:
            return count - 1
        alone = source.capacity / self.copy_rate
        return count - 1 + (alone if self.side_by_side else count * alone)

    def _rounded(self, size):
        if size % units.Gi and not self.fractions:
            raise refusal('whole GiB only')
        return -(-size // self.granularity) * self.granularity

    def _check(self, new, size, source):
        if new.name in self._disks or new.name in self.taken_names:
            raise refusal(
                self.name_words.format(name=new.name, group='the pool')
            )
        if new.file_format != 'raw' and not self.qcow2:
            raise refusal('no such format')
        if source and size > source.capacity and not self.larger:
            raise refusal('too large')


class Access(platform_access.PlatformAccess):
    """Access to such a platform."""

    def __init__(self, platform):
        self._platform = platform

    def levels(self):
        return platform_access.Levels(
            f'REST {self._platform.level}', '', '1.1.27'
        )

    def logical_volume_limit(self):
        return self._platform.limit

    def prepare(self, new, source=None):
        return Update(self._platform, new, source)

    def exclusive(self):
        return contextlib.nullcontext()

    def is_conflict(self, error):
        response = getattr(error, 'response', None)
        return bool(
            response and response.status == http.HTTPStatus.PRECONDITION_FAILED
        )

    def sibling(self, name):
        return self._platform.other

    def sibling_with_id(self, pool):
        return self._platform.other


class Update(platform_access.Update):
    """An update of such a platform."""

    def __init__(self, platform, new, source):
        self._platform = platform
        self._new = new
        self._source = source
        self.etag = str(platform.version) if platform.etags else ''
        self.free = platform.pool().free

    def send(self, etag=None):
        if self._platform.enforced and (
            (etag or self.etag) != str(self._platform.version)
        ):
            raise refusal('changed', http.HTTPStatus.PRECONDITION_FAILED)
        return self._platform.make(self._new, self._source)
