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

"""The mappings of a recorded Virtual I/O Server, and a REST API in memory."""

import copy
import http
import types

from pypowervm import adapter as pvm_adapter
from pypowervm.tests.test_utils import pvmhttp
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache.drivers import powervm

#: A partition with one virtual disk, and that disk.
WITH_DISK = '42AD4FD4-DC64-4935-9E29-9B7C6F35AFCC'
DISK = ('Ubuntu1410', '0300025d4a00007a000000014b36d9deaf.1')
#: A partition with a logical unit and a virtual optical disk.
WITH_UNIT_AND_MEDIA = '61B4BE37-7383-449E-9CAF-173C75A3DF0C'
UNIT = 'volume-boot-8246L1C_0604CAA-salsman66-00000004'
#: A partition without mappings.
WITHOUT = '3F0B9C5D-1111-4A4A-9B9B-0123456789AB'


def partition(uuid):
    """Return what the mappings need to know of a partition."""
    return types.SimpleNamespace(uuid=uuid)


class MemoryVIOS(powervm.AdapterSource):
    """A REST API with one VIOS, whose mappings can be updated.

    :ivar wrapper: the VIOS as the server has it.
    :ivar requests: the method of each request.
    :ivar answers: errors of the next updates, in their order; None for an
        update that succeeds.
    """

    def __init__(self):
        super().__init__(powervm.Connection())
        response = pvmhttp.load_pvm_resp('fake_vios_ssp_npiv.txt')
        self.wrapper = pvm_vios.VIOS.wrap(response.get_response())
        self.requests = []
        self.answers = []
        self._rest = types.SimpleNamespace(
            read=self._read,
            update_by_path=self._update,
            build_href=self._href,
            session=types.SimpleNamespace(timeout=60),
        )

    def __call__(self):
        return self._rest

    def mapped(self, uuid):
        """Return the names of what is mapped to a partition."""
        return [
            each.backing_storage.name
            for each in self.wrapper.scsi_mappings
            if each.backing_storage is not None
            and (each.client_lpar_href or '').endswith(uuid)
        ]

    def orphan(self, uuid):
        """Delete the partition, but none of its mappings."""
        for each in self.wrapper.scsi_mappings:
            if (each.client_lpar_href or '').endswith(uuid):
                each.element.remove(each.client_adapter.element)

    def _href(self, kind, root_id, **kwargs):
        return f'http://localhost/rest/api/uom/{kind}/{root_id}'

    def _read(self, *args, **kwargs):
        self.requests.append('GET')
        return self._response('GET')

    def _update(self, data, etag, path, timeout):
        self.requests.append('POST')
        error = self.answers.pop(0) if self.answers else None
        if error:
            raise error
        self.wrapper = copy.deepcopy(data)
        return self._response('POST')

    def _response(self, method):
        response = pvm_adapter.Response(
            method, '', http.HTTPStatus.OK, 'OK', {'etag': 'etag'}
        )
        response.entry = copy.deepcopy(self.wrapper.entry)
        response.entry.element.adapter = self._rest
        return response
