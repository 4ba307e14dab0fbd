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

"""A volume group as PowerVM has answered it, and a REST API in memory."""

import copy
import http
import itertools
import types

from lxml import etree
from pypowervm import adapter as pvm_adapter
from pypowervm import const as pvm_const
from pypowervm import entities as pvm_entities
from pypowervm import exceptions as pvm_exceptions
from pypowervm.tests.test_utils import pvmhttp
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers.localdisk import volume_group

_UOM = f'{{{pvm_const.UOM_NS}}}'
_UDID = f'{_UOM}UniqueDeviceID'


def recorded():
    """Return the volume group "image_pool" of a real host: 32 disks."""
    response = pvmhttp.load_pvm_resp('fake_volume_group2.txt').get_response()
    return pvm_storage.VG.wrap(response)[1]


def elements(wrapper):
    """Return the XML elements of all disks."""
    return wrapper.entry.element.element.findall(
        f'{_UOM}VirtualDisks/{_UOM}VirtualDisk'
    )


def change(wrapper, name, **texts):
    """Change texts of a disk, by tag."""
    for element in elements(wrapper):
        if element.findtext(f'{_UOM}DiskName') == name:
            for tag, text in texts.items():
                element.find(f'{_UOM}{tag}').text = text
            return
    raise KeyError(name)


def new(name, gib=1, label=None):
    """Return a raw disk to create."""
    return driver_base.NewDisk(name, gib << 30, 'raw', label)


def refusal(status, reason='No luck'):
    """Return the error of pypowervm for an HTTP status."""
    return pvm_exceptions.HttpError(
        pvm_adapter.Response(
            'POST',
            '/rest/api/uom/VolumeGroup',
            status,
            reason,
            {},
        )
    )


class MemoryPowerVM(powervm.AdapterSource):
    """A REST API with one volume group, which it updates as a VIOS does.

    :ivar wrapper: the volume group as the server has it.
    :ivar requests: the method of each request.
    :ivar timeouts: of each update, in seconds.
    :ivar updates: for each update that was carried out, the names of the
        disks that it created.
    :ivar before_update: called with the names of the disks that an update
        creates and deletes; an error that it raises is the answer.
    :ivar others: the other volume groups of the VIOS; None if they cannot be
        read.
    :ivar mapped: names of the disks that partitions use.
    :ivar before_answer: called with the answer of an update that was carried
        out; may change it, or raise.
    """

    def __init__(self, timeout=1200):
        super().__init__(powervm.Connection(timeout=timeout))
        self.wrapper = recorded()
        self.others = []
        self.mapped = set()
        self.requests = []
        self.timeouts = []
        self.updates = []
        self.before_update = lambda created, deleted: None
        self.before_answer = lambda wrapper: None
        self._serial = itertools.count(1)
        self._etag = 'etag 0'
        self._rest = types.SimpleNamespace(
            read=self._read,
            update_by_path=self._update,
            session=types.SimpleNamespace(
                schema_version='V1_9_0', mc_type='PVM'
            ),
        )

    def __call__(self):
        return self._rest

    def group(self, lock_directory, **kwargs):
        """Return the volume group for a test."""
        found = volume_group.VolumeGroup(
            self, 'vios', 'vg', 'image_pool', lock_directory, **kwargs
        )
        found.mapped = lambda disks: {
            each for each in disks if each.name in self.mapped
        }
        return found

    def close(self):
        """There is no session."""

    def names(self):
        """Return the names of the disks that exist, in their order."""
        return [each.name for each in self.wrapper.virtual_disks]

    def disk(self, name):
        """Return the wrapper of a disk that exists."""
        (found,) = (
            each for each in self.wrapper.virtual_disks if each.name == name
        )
        return found

    def plant(self, name, udid, gib=1, label=None):
        """Create a disk as another process would."""
        self.wrapper.virtual_disks.append(
            pvm_storage.VDisk.bld(None, name, gib, label=label)
        )
        etree.SubElement(elements(self.wrapper)[-1], _UDID).text = udid
        self.touch()

    def touch(self):
        """Change the ETag, as after an update by another process."""
        self._etag = f'etag {next(self._serial)}'

    def _read(self, *args, child_id=None, **kwargs):
        if child_id is None:
            return self._feed()
        self.requests.append('GET')
        return self._response('GET', self.wrapper)

    def _feed(self):
        self.requests.append('GET all')
        if self.others is None:
            raise refusal(http.HTTPStatus.INTERNAL_SERVER_ERROR)
        response = self._response('GET', self.wrapper)
        response.feed = pvm_entities.Feed(
            {}, [copy.deepcopy(each.entry) for each in self.others]
        )
        response.entry = None
        return response

    def _update(self, data, etag, path, timeout, helpers=None):
        self.requests.append('POST')
        self.timeouts.append(timeout)
        if etag != self._etag:
            raise refusal(http.HTTPStatus.PRECONDITION_FAILED)
        after = copy.deepcopy(data)
        created = [
            each for each in elements(after) if each.find(_UDID) is None
        ]
        kept = {each.udid for each in after.virtual_disks}
        names = [each.findtext(f'{_UOM}DiskName') for each in created]
        self.before_update(
            names,
            [
                each.name
                for each in self.wrapper.virtual_disks
                if each.udid not in kept
            ],
        )
        self.touch()
        for element in created:
            etree.SubElement(element, _UDID).text = f'made{next(self._serial)}'
        self.wrapper = after
        self.updates.append(names)
        answer = copy.deepcopy(after)
        self.before_answer(answer)
        return self._response('POST', answer)

    def _response(self, method, wrapper):
        response = pvm_adapter.Response(
            method, '', http.HTTPStatus.OK, 'OK', {'etag': self._etag}
        )
        response.entry = copy.deepcopy(wrapper.entry)
        response.entry.element.adapter = self._rest
        return response
