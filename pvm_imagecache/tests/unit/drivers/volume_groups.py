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

"""Volume groups as PowerVM has answered them, changed without a server."""

import copy
import itertools

from lxml import etree
from pypowervm import const as pvm_const
from pypowervm.tests.test_utils import pvmhttp
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers.localdisk import volume_group

_UOM = f'{{{pvm_const.UOM_NS}}}'


def recorded():
    """The volume group "image_pool" of a real host: 32 disks."""
    response = pvmhttp.load_pvm_resp('fake_volume_group2.txt').get_response()
    return pvm_storage.VG.wrap(response)[1]


def change(wrapper, name, **texts):
    """Change what is written of a disk, by tag."""
    for element in elements(wrapper):
        if element.findtext(f'{_UOM}DiskName') == name:
            for tag, text in texts.items():
                element.find(f'{_UOM}{tag}').text = text
            return
    raise KeyError(name)


def elements(wrapper):
    """The XML of all disks."""
    return wrapper.entry.element.element.findall(
        f'{_UOM}VirtualDisks/{_UOM}VirtualDisk'
    )


class MemoryGroup(volume_group.VolumeGroup):
    """A volume group that carries out updates in memory, as a VIOS would.

    :ivar before_update: called with each batch, before it is carried out.
    :ivar updates: for each update, the names of the disks it made.
    """

    def __init__(self, lock_directory, **kwargs):
        super().__init__(
            None, 'vios', 'vg', 'image_pool', lock_directory, **kwargs
        )
        self.wrapper = recorded()
        self.before_update = lambda batch: None
        self.updates = []
        self.reads = 0
        self._serial = itertools.count(1)

    def read(self):
        self.reads += 1
        return volume_group.Document(copy.deepcopy(self.wrapper))

    def _update(self, batch):
        self.before_update(batch)
        document = self.read()
        pending = volume_group._prepare(document, batch, None)
        if not pending:
            return
        before = document.udids
        self.wrapper = copy.deepcopy(document.wrapper)
        made = []
        for element in elements(self.wrapper):
            if element.find(f'{_UOM}UniqueDeviceID') is None:
                etree.SubElement(
                    element, f'{_UOM}UniqueDeviceID'
                ).text = f'made{next(self._serial)}'
                made.append(element.findtext(f'{_UOM}DiskName'))
        self.updates.append(made)
        volume_group._confirm(self.read(), pending, before)


def new(name, gib=1):
    """A raw disk to be made."""
    return driver_base.NewDisk(name, gib << 30, 'raw')
