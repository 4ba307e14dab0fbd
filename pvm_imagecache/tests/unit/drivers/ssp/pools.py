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

"""A Shared Storage Pool of the simulator, whose requests can be observed."""

import pathlib
from typing import Any

from pypowervm import adapter as pvm_adapter
from pypowervm.tasks import storage as pvm_storage_tasks
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache import simulator
from pvm_imagecache.drivers import powervm
from pvm_imagecache.tests.unit import base


class ObservedPowerVM(powervm.AdapterSource):
    """A session that calls a hook before each request.

    :ivar before_request: called with the method and the path.
    """

    def __init__(self, connection):
        super().__init__(connection)
        self.before_request = lambda method, path: None

    def __call__(self):
        return pvm_adapter.Adapter(
            super().__call__().session, helpers=[self._observed]
        )

    def _observed(self, request):
        def call(method, path, **kwargs):
            self.before_request(method, path)
            return request(method, path, **kwargs)

        return call


class PoolTestCase(base.TestCase):
    """A simulated host in a cluster with an empty pool."""

    capacity_gib = 100.0

    def setUp(self):
        super().setUp()
        self.powervm = simulator.Simulator(
            self.path('powervm'), cluster=('cluster1', self.capacity_gib)
        )
        self.powervm.__enter__()
        self.addCleanup(self.powervm.__exit__, None, None, None)
        self.adapters = ObservedPowerVM(
            powervm.Connection(
                host=self.powervm.host, port=self.powervm.port, protocol='http'
            )
        )
        self.addCleanup(self.adapters.close)

    def units(self) -> dict[str, Any]:
        """Return all logical units of the pool, by name."""
        return {each['name']: each for each in self.powervm.control.disks()}

    def content(self, name, size):
        """Return the first bytes of a logical unit."""
        path = pathlib.Path(self.units()[name]['path'])
        return path.read_bytes()[:size]

    def add_unit(self, tier, name, kind=pvm_storage.LUType.IMAGE):
        """Create a logical unit as another host would; return its wrapper."""
        return pvm_storage_tasks.crt_lu(tier, name, 0.01, typ=kind)[1]
