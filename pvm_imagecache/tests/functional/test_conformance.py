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

"""The driver localdisk passes the conformance suite on the simulator."""

from pvm_imagecache import fixtures
from pvm_imagecache import plugins
from pvm_imagecache.cmd import shell
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests.functional import base


class LocalDiskTestCase(fixtures.DriverConformance, base.FunctionalTestCase):
    def make_driver(self) -> driver_base.DiskDriver:
        return plugins.load_driver(
            shell.read_configuration([str(self.conf_file)], [])
        )

    def read(self, disk: driver_base.Disk, size: int) -> bytes:
        with open(self.disks()[disk.name], 'rb') as file:
            return file.read(size)
