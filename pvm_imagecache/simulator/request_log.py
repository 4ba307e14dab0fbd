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

"""What was asked of the server: a log that tests read."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time

_KEPT = 200_000


@dataclasses.dataclass
class Row:
    """One request.

    :ivar time: when it came, seconds since the epoch.
    :ivar type: its kind, such as ``VolumeGroup.update``.
    :ivar status: None until it is answered, and for good if it never is.
    :ivar seconds: how long it took; None until it is over.
    :ivar session: tells sessions apart without giving their tokens away.
    :ivar fault: the action of the fault rule that hit it.
    """

    seq: int
    time: float
    method: str
    path: str
    type: str
    if_match: str | None
    session: str | None
    status: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float | None = None
    fault: str | None = None


class RequestLog:
    """Rows in the order in which the requests came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: collections.deque[Row] = collections.deque(maxlen=_KEPT)
        self._next = 1

    def begin(
        self,
        method: str,
        path: str,
        kind: str,
        if_match: str | None,
        session: str | None,
    ) -> Row:
        with self._lock:
            row = Row(
                self._next, time.time(), method, path, kind, if_match, session
            )
            self._next += 1
            self._rows.append(row)
        return row

    def end(
        self, row: Row, status: int | None, bytes_in: int, bytes_out: int
    ) -> None:
        with self._lock:
            row.status = status
            row.bytes_in = bytes_in
            row.bytes_out = bytes_out
            row.seconds = time.time() - row.time

    def rows(self, since: int = 0) -> list[dict[str, object]]:
        """Rows whose seq is greater than this."""
        with self._lock:
            return [
                dataclasses.asdict(row)
                for row in self._rows
                if row.seq > since
            ]

    def clear(self) -> None:
        """Forget all rows; sequence numbers go on."""
        with self._lock:
            self._rows.clear()

    def counters(self) -> dict[str, object]:
        """Counts and bytes received per kind, and in all."""
        kinds: dict[str, dict[str, int]] = {}
        total = {'requests': 0, 'bytes_in': 0}
        with self._lock:
            for row in self._rows:
                count = kinds.setdefault(
                    row.type, {'requests': 0, 'bytes_in': 0}
                )
                for counted in (count, total):
                    counted['requests'] += 1
                    counted['bytes_in'] += row.bytes_in
        return {'kinds': kinds, 'total': total}
