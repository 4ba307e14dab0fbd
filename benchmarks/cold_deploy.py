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

"""A cold deploy through the cache, against the same one without a cache.

Both run on the same servers in turn, at modelled rates, and are measured as
whole calls of ``ImageManager.create_disk``. What counts is the ratio: the
cache fills a second disk from the same stream, and must not make the first
VM wait for it. The way of the old driver, upload and then copy, is measured
beside it.

Ends with 1 if a ratio is above the limit.
"""

import argparse
from collections.abc import Sequence
import contextlib
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from pvm_imagecache import manager as manager_module
from pvm_imagecache import simulator
from pvm_imagecache.cmd import shell
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.tests import images
from pvm_imagecache.tests.servers import glance as glance_server

MIB = 1 << 20
GLANCE_RATE = 120_000_000
DISK_RATE = 250_000_000
LIMIT = 1.15


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all sizes, print the ratios."""
    options = parse(arguments)
    good = True
    with contextlib.ExitStack() as running:
        directory = pathlib.Path(
            running.enter_context(
                tempfile.TemporaryDirectory(prefix='benchmark-')
            )
        )
        glance = running.enter_context(
            glance_server.GlanceServer(directory / 'glance')
        )
        powervm = running.enter_context(
            simulator.Simulator(str(directory / 'powervm'))
        )
        bench = Bench(directory, glance, powervm)
        print(
            f'Glance {GLANCE_RATE // 10**6} MB/s, uploads and copies '
            f'{DISK_RATE // 10**6} MB/s each; medians of '
            f'{options.rounds} rounds, seconds\n'
        )
        print(
            f'{"image":>10} {"no cache":>9} {"miss":>9} {"hit":>9} '
            f'{"old way":>9} {"miss ratio":>11} {"old ratio":>10}'
        )
        for size in options.sizes:
            ratio = bench.measure(size * MIB, options.rounds)
            good = good and ratio <= LIMIT
        bench.close()
    print(
        f'\nmiss ratio: a miss against no cache, {LIMIT} at most: '
        + ('met' if good else 'NOT MET')
    )
    return 0 if good else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--sizes',
        metavar='MIB',
        type=int,
        nargs='+',
        default=[256, 1024],
        help='sizes of the images (default: 256 1024)',
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=3,
        help='deploys of each kind (default: %(default)s)',
    )
    return parser.parse_args(arguments)


class Bench:
    """The servers, and a manager with and one without a cache."""

    def __init__(
        self, directory: pathlib.Path, glance: Any, powervm: Any
    ) -> None:
        self._directory = directory
        self._glance = glance
        self._powervm = powervm
        self._cached = self._manager('true')
        self._plain = self._manager('false')

    def measure(self, size: int, rounds: int) -> float:
        """Deploy an image of so many bytes in each way; the miss ratio."""
        image = self._store(size)
        self._set_rates(GLANCE_RATE, DISK_RATE)
        seconds: dict[str, list[float]] = {
            'plain': [],
            'miss': [],
            'hit': [],
            'old': [],
        }
        for _ in range(rounds):
            seconds['plain'].append(self._deploy(self._plain, image))
            seconds['miss'].append(self._deploy(self._cached, image))
            seconds['hit'].append(self._deploy(self._cached, image))
            self._cached.purge(self._cached.list())
            seconds['old'].append(self._deploy_the_old_way(image))
        self._set_rates(0, 0)
        plain, miss, hit, old = (
            statistics.median(each) for each in seconds.values()
        )
        ratio = statistics.median(
            one / other
            for one, other in zip(
                seconds['miss'], seconds['plain'], strict=True
            )
        )
        print(
            f'{size // MIB:>6} MiB {plain:9.2f} {miss:9.2f} {hit:9.2f} '
            f'{old:9.2f} {ratio:11.3f} {old / plain:10.3f}',
            flush=True,
        )
        return ratio

    def close(self) -> None:
        """Log off."""
        self._cached.close()
        self._plain.close()

    def _deploy(self, manager: Any, image: Any) -> float:
        started = time.monotonic()
        manager.create_disk(image, 'vm')
        seconds = time.monotonic() - started
        manager.delete_disk('vm')
        return seconds

    def _deploy_the_old_way(self, image: Any) -> float:
        """Upload to the cached disk, and then copy that."""
        started = time.monotonic()
        self._cached.prefetch(image)
        self._cached.create_disk(image, 'vm')
        seconds = time.monotonic() - started
        self._cached.delete_disk('vm')
        self._cached.purge(self._cached.list())
        return seconds

    def _set_rates(self, glance: int, disk: int) -> None:
        self._glance.set_bandwidth(glance)
        self._powervm.control.change_settings(copy_rate=disk, upload_rate=disk)

    def _store(self, size: int) -> Any:
        path = self._directory / 'image'
        images.write_raw(path, size, seed=size)
        image_id = self._glance.create_image('image', path)
        path.unlink()
        return self._source.get(image_id)

    def _manager(self, enabled: str) -> Any:
        path = self._directory / f'{enabled}.conf'
        path.write_text(f"""[pvm_imagecache]
host = {self._powervm.host}
port = {self._powervm.port}
protocol = http
volume_group_name = cachevg
state_path = {self._directory / 'state'}
enabled = {enabled}
[glance]
auth_type = admin_token
endpoint = {self._glance.url}
token = {self._glance.token()}
""")
        conf = shell.read_configuration([str(path)], [])
        self._source = image_source.ImageSource(client.factory(conf))
        return manager_module.ImageManager.from_conf(conf, self._source)


if __name__ == '__main__':
    sys.exit(main())
