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

"""Everything but the disks' bytes, in one SQLite file.

Documents (JSON) by kind and key. A transaction is either wholly there after
a kill -9, or not at all. Nothing is flushed to the medium: the state outlives
the process, not a power failure.
"""

from __future__ import annotations

import collections.abc
import contextlib
import fcntl
import json
import os
import sqlite3
import threading
import typing

Record = dict[str, typing.Any]


class InUse(Exception):
    """Another simulator runs on this state directory."""


class Store:
    """Records of a state directory, which it locks while open."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, 0o700, exist_ok=True)
        self._guard = _lock(os.path.join(directory, 'lock'))
        path = os.path.join(directory, 'state.sqlite')
        # Made here for its mode; SQLite gives its side files the same.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        self._db.execute('PRAGMA journal_mode = WAL')
        self._db.execute('PRAGMA synchronous = OFF')
        self._db.execute(
            'CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, '
            'body TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID'
        )

    def close(self) -> None:
        with self._lock:
            self._db.close()
        os.close(self._guard)

    @contextlib.contextmanager
    def transaction(self) -> collections.abc.Iterator[None]:
        """All changes made inside, or none."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._db.execute('BEGIN IMMEDIATE')
                yield
            except BaseException:
                if self._depth == 1:
                    self._db.execute('ROLLBACK')
                raise
            else:
                if self._depth == 1:
                    self._db.execute('COMMIT')
            finally:
                self._depth -= 1

    def load(self, kind: str) -> dict[str, Record]:
        """All records of a kind by key, in the order of their keys."""
        with self._lock:
            rows = self._db.execute(
                'SELECT key, body FROM record WHERE kind = ? ORDER BY key',
                (kind,),
            ).fetchall()
        return {key: json.loads(body) for key, body in rows}

    def save(self, kind: str, key: str, record: Record) -> None:
        body = json.dumps(record)
        with self._lock:
            self._db.execute(
                'INSERT INTO record VALUES (?, ?, ?) ON CONFLICT (kind, key) '
                'DO UPDATE SET body = excluded.body',
                (kind, key, body),
            )

    def delete(self, kind: str, key: str) -> None:
        with self._lock:
            self._db.execute(
                'DELETE FROM record WHERE kind = ? AND key = ?', (kind, key)
            )


def _lock(path: str) -> int:
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise InUse(f'{path} is locked by another simulator') from None
    return fd
