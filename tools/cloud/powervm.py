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

"""The PowerVM host: the simulator of this project in place of NovaLink."""

from collections.abc import Iterator
import os
import pathlib
from typing import Any

from cloud import processes
from cloud import site as site_module
from pvm_imagecache.simulator import control

#: One that the simulator has by default.
VOLUME_GROUP = 'cachevg'
_PIECE = 1 << 20


def service(site: site_module.Site) -> processes.Service:
    """The REST API of the host."""
    return processes.Service(
        'powervm',
        [
            site_module.command('pvm-imagecache-simulator'),
            '--state-dir',
            site.home('powervm'),
            '--port',
            str(site.ports.powervm),
        ],
        port=site.ports.powervm,
    )


def disks(site: site_module.Site) -> dict[str, dict[str, Any]]:
    """All virtual disks of the host, by their names."""
    host = control.Control(site.url('powervm'))
    return {disk['name']: disk for disk in host.disks()}


def same_bytes(image: os.PathLike[str], disk: dict[str, Any]) -> bool:
    """Whether a disk is the image, and zeros after it."""
    with (
        open(image, 'rb') as expected,
        pathlib.Path(disk['path']).open('rb') as actual,
    ):
        for piece in _pieces(expected):
            if actual.read(len(piece)) != piece:
                return False
        zeros = bytes(_PIECE)
        return all(piece == zeros[: len(piece)] for piece in _pieces(actual))


def _pieces(file: Any) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
