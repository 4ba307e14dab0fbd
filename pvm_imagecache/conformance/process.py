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

"""Calls of a driver in another process, for the conformance suites.

What a driver keeps in its class or module is not seen by another process of
the same host, such as a command beside nova-compute.
"""

from collections.abc import Mapping
import itertools
import json
import os
import subprocess
import sys
from typing import Any
from typing import Final

from pvm_imagecache import manager
from pvm_imagecache import plugins
from pvm_imagecache.conf import types
from pvm_imagecache.conformance import configuration
from pvm_imagecache.conformance import images
from pvm_imagecache.drivers import base

#: Exit code of a process that was killed.
_KILLED: Final = 9


def call(
    options: Mapping[str, Mapping[str, object]], method: str, name: str = ''
) -> Any:
    """Load a driver in another process, and call a method of it.

    :param options: the configuration: values by group and option name.
    :param method: ``pool_id``, ``find``, ``create`` or ``delete``.
    :param name: of the disk.
    :returns: the ID of the pool, or the UDID of the disk; None if there is
        none.
    :raises RuntimeError: if the process failed.
    """
    done = _run({'options': options, 'method': method, 'name': name})
    if done.returncode:
        raise RuntimeError(
            f'{method} failed in another process: {done.stderr.strip()}'
        )
    return json.loads(done.stdout.splitlines()[-1])


def crash(
    options: Mapping[str, Mapping[str, object]],
    state: str,
    image_id: str,
    size: int,
) -> None:
    """Kill another process while it caches an image.

    :param options: the configuration: values by group and option name.
    :param state: path of the state directory.
    :param image_id: ID of the image.
    :param size: of the image, in bytes; more than 2 MiB.
    :raises RuntimeError: if the process was not killed.
    """
    done = _run(
        {
            'options': {
                **options,
                'pvm_imagecache': {
                    **options.get('pvm_imagecache', {}),
                    'state_path': state,
                },
            },
            'method': 'crash',
            'name': image_id,
            'size': size,
        }
    )
    if done.returncode != _KILLED:
        raise RuntimeError(
            f'the process was not killed: {done.stderr.strip()}'
        )


def _run(wanted: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, '-W', 'ignore', '-m', __name__],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )


def main() -> None:
    """Make the call that the standard input describes."""
    wanted = json.load(sys.stdin)
    conf = configuration.configuration(wanted['options'])
    if wanted['method'] == 'crash':
        _crash(conf, wanted['name'], wanted['size'])
    driver = plugins.load_driver(conf)
    try:
        found = _called(driver, wanted['method'], wanted['name'])
    finally:
        driver.close()
    print(json.dumps(found))


def _crash(conf: types.Conf, image_id: str, size: int) -> None:
    """Cache an image, and end without any clean-up in the middle of it."""
    source = images.MemoryImages()
    image = source.add(size=size, image_id=image_id)
    pieces = itertools.count()

    def before_piece(image_id: str) -> None:
        if next(pieces) == 2:
            os._exit(_KILLED)

    source.before_piece = before_piece
    manager.ImageManager.from_conf(conf, source, lambda conf: ()).prefetch(
        image
    )


def _called(driver: base.DiskDriver, method: str, name: str) -> str | None:
    if method == 'pool_id':
        return driver.pool_id()
    if method == 'create':
        (made,) = driver.create_disks([base.NewDisk(name, 1 << 20, 'raw')])
        return made.udid
    found = driver.find_disk(name)
    if method == 'delete' and found is not None:
        driver.delete_disks([found])
    return found.udid if found else None


if __name__ == '__main__':
    main()
