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

"""The driver localdisk passes the conformance suites on the simulator."""

from collections.abc import Callable
from collections.abc import Mapping
import configparser
import pathlib

from pvm_imagecache import fixtures
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.tests import functional_base as base


class LocalDisk:
    """What the suites need to know; before them in the list of bases."""

    conf_file: pathlib.Path
    disks: Callable[[], Mapping[str, pathlib.Path]]

    def configure(self) -> Mapping[str, Mapping[str, object]]:
        parser = configparser.RawConfigParser(strict=False, delimiters='=')
        parser.read(self.conf_file)
        return {name: dict(parser[name]) for name in parser.sections()}

    def read(self, disk: driver_base.Disk, size: int) -> bytes:
        with open(self.disks()[disk.name], 'rb') as file:
            return file.read(size)

    def write(self, disk: driver_base.Disk, data: bytes) -> None:
        with open(self.disks()[disk.name], 'r+b') as file:
            file.write(data)

    def leftovers(self) -> list[str]:
        """Return the names of the disks and of the files that are uploaded."""
        return sorted(self.disks())


class LocalDiskTestCase(
    LocalDisk, fixtures.DriverConformance, base.FunctionalTestCase
):
    pass


class LocalDiskCacheTestCase(
    LocalDisk, fixtures.CacheConformance, base.FunctionalTestCase
):
    pass
