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

"""Client of the simulator's control API; needs the standard library only."""

from __future__ import annotations

import json
import typing
import urllib.error
import urllib.request

Json = dict[str, typing.Any]
# Every request needs it: a page in a browser cannot send it to a server that
# does not allow it.
HEADER = 'X-Simulator-Control'
HEADER_VALUE = '1'
_SCHEMES = ('http://', 'https://')


class ControlError(Exception):
    """The simulator refused a control request."""


class Control:
    """Watch and steer a running simulator; proxies are never used."""

    def __init__(self, base_url: str, timeout: float = 60.0) -> None:
        if not base_url.startswith(_SCHEMES):
            raise ValueError(f'{base_url} is not a URL of HTTP')
        self._base = base_url.rstrip('/') + '/simulator/'
        self._timeout = timeout
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({})
        )

    def _call(
        self, method: str, path: str, wanted: Json | None = None
    ) -> typing.Any:
        # The constructor has checked the scheme.
        request = urllib.request.Request(  # noqa: S310
            self._base + path,
            method=method,
            data=None if wanted is None else json.dumps(wanted).encode(),
            headers={
                'Content-Type': 'application/json',
                HEADER: HEADER_VALUE,
            },
        )
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                raise ControlError(json.load(exc)['error']) from None

    def requests(self, since: int = 0) -> list[Json]:
        """Rows of the request log with a greater seq."""
        return typing.cast(
            list[Json], self._call('GET', f'requests?since={since}')
        )

    def clear_requests(self) -> None:
        self._call('DELETE', 'requests')

    def counters(self) -> Json:
        """{kinds: {kind: {requests, bytes_in}}, total: {...}}."""
        return typing.cast(Json, self._call('GET', 'counters'))

    def faults(self) -> list[Json]:
        """Rules in force, with how often each matched and hit."""
        return typing.cast(list[Json], self._call('GET', 'faults'))

    def add_fault(
        self,
        action: str,
        *,
        kind: str | None = None,
        method: str | None = None,
        path_regex: str | None = None,
        **wanted: typing.Any,
    ) -> int:
        """Add a fault rule; its id.

        :param wanted: skip, count, seconds, status, message, bytes.
        """
        match = {
            name: value
            for name, value in (
                ('kind', kind),
                ('method', method),
                ('path_regex', path_regex),
            )
            if value is not None
        }
        answer = self._call(
            'POST', 'faults', {'action': action, 'match': match, **wanted}
        )
        return int(answer['id'])

    def remove_fault(self, rule: int) -> None:
        self._call('DELETE', f'faults?id={rule}')

    def clear_faults(self) -> None:
        self._call('DELETE', 'faults')

    def settings(self) -> Json:
        return typing.cast(Json, self._call('GET', 'settings'))

    def change_settings(self, **changes: int | str) -> Json:
        return typing.cast(Json, self._call('PATCH', 'settings', changes))

    def disks(self) -> list[Json]:
        """All virtual disks and logical units, sizes in bytes."""
        return typing.cast(list[Json], self._call('GET', 'disks'))

    def plant_disk(
        self,
        vg: str,
        name: str,
        size: int,
        content: str | None = None,
        file_format: str | None = None,
    ) -> Json:
        """Make a disk as another client of the platform would.

        :param vg: name or UUID of the volume group.
        :param size: in bytes.
        :param content: path of a file with the disk's first bytes.
        """
        return typing.cast(
            Json,
            self._call(
                'POST',
                'disks',
                {
                    'vg': vg,
                    'name': name,
                    'size': size,
                    'content': content,
                    'file_format': file_format,
                },
            ),
        )

    def add_vios(self, name: str) -> Json:
        return typing.cast(Json, self._call('POST', 'vios', {'name': name}))

    def add_volume_group(self, vios: str, name: str, capacity: int) -> Json:
        """:param capacity: in bytes."""
        return typing.cast(
            Json,
            self._call(
                'POST',
                'volume_groups',
                {'vios': vios, 'name': name, 'capacity': capacity},
            ),
        )

    def remove_volume_group(self, name: str) -> None:
        """Have a volume group gone, as if its server had been replaced."""
        self._call('DELETE', 'volume_groups', {'vg': name})

    def expire_sessions(self) -> int:
        """Forget all tokens; how many there were."""
        return int(self._call('POST', 'sessions/expire')['expired'])
