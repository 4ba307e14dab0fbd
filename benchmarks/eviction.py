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

"""How long it takes to evict many images in one pass.

Base images are made on the simulator and evicted by one pass; beside it the
same number of disks is removed as nova-powervm would, by pypowervm's
``rm_vg_storage``. Requests are counted as PowerVM saw them.

Ends with 1 if a pass takes more than 3 requests, or 2 seconds for 500
images.
"""

import argparse
from collections.abc import Sequence
import contextlib
import pathlib
import sys
import tempfile
import time

from pypowervm.tasks import storage as pvm_tasks
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import fixtures
from pvm_imagecache import image as image_module
from pvm_imagecache import manager as manager_module
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache import simulator
from pvm_imagecache.catalog import facade
from pvm_imagecache.cleanup import ownership
from pvm_imagecache.drivers import base
from pvm_imagecache.glance import source as image_source

MIB = 1 << 20
MOST_REQUESTS = 3
MOST_SECONDS = 2.0
GROUP = 'cachevg'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all numbers, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--images',
        type=int,
        nargs='+',
        default=[50, 500],
        help='how many are evicted (default: 50 500)',
    )
    options = parser.parse_args(arguments)
    good = True
    print(
        f'{"images":>8} {"pass, s":>9} {"requests":>9} '
        f'{"old way, s":>11} {"ratio":>7}'
    )
    for count in options.images:
        with contextlib.ExitStack() as running:
            directory = pathlib.Path(
                running.enter_context(
                    tempfile.TemporaryDirectory(prefix='benchmark-')
                )
            )
            host = running.enter_context(
                simulator.Simulator(
                    str(directory / 'powervm'),
                    volume_groups=[simulator.Group(GROUP, count + 100)],
                )
            )
            bench = Bench(directory, host)
            running.callback(bench.close)
            seconds, requests = bench.evict(count)
            old = bench.remove_the_old_way(count)
        print(
            f'{count:>8} {seconds:>9.2f} {requests:>9} {old:>11.2f} '
            f'{seconds / old:>7.3f}'
        )
        good = (
            good
            and requests <= MOST_REQUESTS
            and (seconds <= MOST_SECONDS * max(1, count / 500))
        )
    print(
        f'\nat most {MOST_REQUESTS} requests, and {MOST_SECONDS:g} s for '
        f'500 images: {"met" if good else "NOT MET"}'
    )
    return 0 if good else 1


class Bench:
    """A manager whose images are all too old, and its disks."""

    def __init__(
        self, directory: pathlib.Path, host: simulator.Simulator
    ) -> None:
        self._host = host
        conf = fixtures.configuration(
            {
                'pvm_imagecache': {
                    'host': host.host,
                    'port': host.port,
                    'volume_group_name': GROUP,
                    'minimum_age': 0,
                    'eviction_policies': 'age',
                    'state_path': str(directory / 'state'),
                },
                'pvm_imagecache_age': {'max_age': 0},
            }
        )
        self._driver = plugins.load_driver(conf)
        self._catalog = facade.Catalog(
            str(directory / 'state' / 'catalog.sqlite')
        )
        self._manager = manager_module.ImageManager.from_conf(
            conf, image_source.ImageSource(lambda context: None)
        )
        # The first cleanup run of a new catalog looks for old uploads as well.
        self._manager.run_cleanup()

    def close(self) -> None:
        """Log off."""
        self._manager.close()
        self._driver.close()
        self._catalog.close()

    def evict(self, count: int) -> tuple[float, int]:
        """Seconds and requests of a pass that removes so many images."""
        pool = self._driver.pool_id()
        records = []
        for number in range(count):
            image = image_module.Image(
                id=f'{number:08d}-0000-4000-8000-{number:012d}',
                name=f'image{number}',
                size=MIB,
                virtual_size=MIB,
                disk_format='raw',
                os_hash_algo='sha256',
                os_hash_value='0' * 64,
                checksum=None,
            )
            records.append(
                self._catalog.base_images.start_fill(
                    pool, naming.base_image_name(image.id), image
                )
            )
        disks = self._driver.create_disks(
            [
                base.NewDisk(
                    record.disk_name,
                    MIB,
                    'raw',
                    ownership.label(record.fill_id),
                )
                for record in records
            ]
        )
        for record, disk in zip(records, disks, strict=True):
            self._catalog.base_images.set_disk(
                record, disk.udid, disk.capacity
            )
            self._catalog.base_images.finish_fill(record, record.image)
        seen = len(self._host.control.requests())
        started = time.monotonic()
        done = self._manager.run_cleanup()
        seconds = time.monotonic() - started
        gone = sum(
            each.removed
            for each in (done.eviction.results if done.eviction else ())
        )
        if gone != count or self._host.control.disks():
            raise RuntimeError(f'{gone} of {count} were evicted')
        return seconds, len(self._host.control.requests()) - seen

    def remove_the_old_way(self, count: int) -> float:
        """Seconds for so many disks by pypowervm's own task."""
        self._driver.create_disks(
            [
                base.NewDisk(f'old{number}', MIB, 'raw')
                for number in range(count)
            ]
        )
        adapter = self._driver._adapters()
        server = pvm_vios.VIOS.get(adapter)[0]
        group = next(
            each
            for each in pvm_storage.VG.get(adapter, parent=server)
            if each.name == GROUP
        )
        started = time.monotonic()
        pvm_tasks.rm_vg_storage(group, vdisks=list(group.virtual_disks))
        seconds = time.monotonic() - started
        if self._host.control.disks():
            raise RuntimeError('disks are left')
        return seconds


if __name__ == '__main__':
    sys.exit(main())
