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

"""The control API: JSON under /simulator/, for tests and demonstrations."""

from __future__ import annotations

import collections.abc
import json
import os
import stat
import urllib.parse

from pvm_imagecache.simulator import disks
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import host as host_module
from pvm_imagecache.simulator import sizes
from pvm_imagecache.simulator import storage

PREFIX = '/simulator/'
# Of each kind of thing that control requests add.
_MOST = 1000
_Json = dict[str, object]


class ControlApi:
    """Answers control requests from a host."""

    def __init__(self, host: host_module.Host) -> None:
        self._host = host
        self._handlers: dict[
            tuple[str, str], collections.abc.Callable[[_Json], object]
        ] = {
            ('GET', 'requests'): self._requests,
            ('DELETE', 'requests'): self._clear_requests,
            ('GET', 'counters'): lambda wanted: host.log.counters(),
            ('GET', 'faults'): lambda wanted: host.faults.rules(),
            ('POST', 'faults'): self._add_fault,
            ('DELETE', 'faults'): self._remove_faults,
            ('GET', 'settings'): lambda wanted: host.settings.as_dict(),
            ('PATCH', 'settings'): self._change_settings,
            ('GET', 'disks'): lambda wanted: host.describe_disks(),
            ('POST', 'disks'): self._plant,
            ('POST', 'vios'): self._add_vios,
            ('POST', 'volume_groups'): self._add_volume_group,
            ('DELETE', 'volume_groups'): self._remove_volume_group,
            ('POST', 'sessions/expire'): lambda wanted: {
                'expired': host.sessions.forget_all()
            },
        }

    def handle(
        self, method: str, target: str, body: bytes
    ) -> tuple[int, bytes]:
        """Status and JSON of an answer."""
        parts = urllib.parse.urlsplit(target)
        handler = self._handlers.get((method, parts.path[len(PREFIX) :]))
        try:
            if handler is None:
                raise errors.not_found(f'No {method} {parts.path}')
            wanted: _Json = dict(urllib.parse.parse_qsl(parts.query))
            if body:
                given = json.loads(body)
                if not isinstance(given, dict):
                    raise ValueError('a JSON object is wanted')
                wanted.update(given)
            return 200, json.dumps(handler(wanted)).encode()
        except errors.RestError as exc:
            return exc.status, _error(exc.message)
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            OSError,
        ) as exc:
            return 400, _error(f'{type(exc).__name__}: {exc}')

    def _requests(self, wanted: _Json) -> object:
        return self._host.log.rows(int(str(wanted.get('since', 0))))

    def _clear_requests(self, wanted: _Json) -> object:
        self._host.log.clear()
        return {}

    def _add_fault(self, wanted: _Json) -> object:
        _check_number('rules', len(self._host.faults.rules()))
        return {'id': self._host.faults.add(wanted)}

    def _remove_faults(self, wanted: _Json) -> object:
        rule = wanted.get('id')
        self._host.faults.remove(None if rule is None else int(str(rule)))
        return {}

    def _change_settings(self, wanted: _Json) -> object:
        self._host.settings.change(wanted)
        return self._host.settings.as_dict()

    def _plant(self, wanted: _Json) -> object:
        """Sizes in bytes; content is the path of a file to copy from."""
        size = sizes.round_up(
            int(str(wanted['size'])), self._host.settings.granularity
        )
        content = wanted.get('content')
        kept = (
            {'FileFormat': str(wanted['file_format'])}
            if wanted.get('file_format')
            else {}
        )

        def fill(path: str) -> None:
            if content is not None:
                _copy(str(content), path, size)

        disk = self._host.volume_groups.plant(
            str(wanted['vg']),
            storage.NewDisk(str(wanted['name']), size, kept=kept),
            fill,
        )
        return self._host.describe_disk(disk)

    def _add_vios(self, wanted: _Json) -> object:
        _check_number('VIOSes', len(self._host.vioses.all()))
        vios = self._host.add_vios(str(wanted['name']))
        return {'uuid': vios.uuid, 'id': vios.id, 'name': vios.name}

    def _add_volume_group(self, wanted: _Json) -> object:
        """Capacity in bytes."""
        _check_number('groups', len(self._host.volume_groups.all()))
        vios = self._host.vioses.get(str(wanted['vios']))
        group = self._host.volume_groups.add_group(
            vios.uuid, str(wanted['name']), int(str(wanted['capacity']))
        )
        return {'uuid': group.uuid, 'vios': vios.uuid, 'name': group.name}

    def _remove_volume_group(self, wanted: _Json) -> object:
        self._host.volume_groups.remove_group(str(wanted['vg']))
        return {}


def _check_number(what: str, number: int) -> None:
    if number >= _MOST:
        raise ValueError(f'there are {number} {what} already')


def _copy(content: str, path: str, size: int) -> None:
    """Copy a file to the start of a disk of this size."""
    # A pipe would block, and a device would not end.
    fd = os.open(content, os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, 'rb') as source, open(path, 'r+b') as target:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > size:
            raise ValueError(f'{content} is no file of at most {size} bytes')
        left = size
        while left and (piece := source.read(min(1 << 20, left))):
            disks.check_room(path, len(piece))
            target.write(piece)
            left -= len(piece)


def _error(message: str) -> bytes:
    return json.dumps({'error': message}).encode()
