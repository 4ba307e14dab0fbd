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

"""Checks that a catalog is one of ours before anything is done with it.

The owner of the directory can write any database in it. SQLite runs what a
schema contains, such as triggers and views, and removes the file that a
journal names as its super-journal.
"""

import functools
import hashlib
import os
import sqlite3
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import connection as catalog_connection
from pvm_imagecache.catalog import schema
from pvm_imagecache.system import private_files

#: Bytes of the longest value.
_MAX_LENGTH: Final = 1 << 20
#: The last bytes of a journal that names a super-journal.
_SUPER_JOURNAL: Final = bytes.fromhex('d9d505f920a163d7')
#: Hash of the tables of the current version, as most releases of SQLite store
#: them. To create the tables, only to compare, takes several milliseconds.
_CURRENT_TABLES: Final = (
    '79cd834b60006b275a8d93c39aae9f675698d53aaf079e8a4a3f25d99c974783'
)


def restrict(connection: catalog_connection.Connection) -> None:
    """Limit what a database can make SQLite do.

    :param connection: a new connection.
    :raises sqlite3.Error: if SQLite reports an error.
    """
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_LENGTH)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for each in ('trusted_schema = OFF', 'cell_size_check = ON'):
        connection.execute(f'PRAGMA {each}')
    connection.execute('PRAGMA mmap_size = 0')


def check_journal(directory: private_files.Directory, name: str) -> None:
    """Check the rollback journal of a catalog, which seldom exists.

    A crash while a catalog is created leaves one. It belongs to that catalog
    alone: it names no other file.

    :param directory: the open directory of the catalog.
    :param name: name of the catalog.
    :raises OSError: if it cannot be read.
    :raises StateRefused: if it is not a regular file of the owner, or if it
        is the journal of several databases.
    """
    journal = f'{name}-journal'
    try:
        descriptor = directory.open(journal)
    except FileNotFoundError:
        return
    try:
        size = os.fstat(descriptor).st_size
        end = os.pread(descriptor, len(_SUPER_JOURNAL), max(0, size - 8))
    finally:
        os.close(descriptor)
    if end == _SUPER_JOURNAL:
        raise exceptions.StateRefused(
            path=os.path.join(directory.path, journal),
            reason='it is a journal that names another file',
        )


def check(connection: catalog_connection.Connection, path: str) -> None:
    """Check that a catalog has the tables of its version, and nothing else.

    :param connection: the open catalog.
    :param path: its path, for the message.
    :raises CatalogRefused: if the tables differ from those of that version,
        or if there are triggers, views or other tables.
    :raises sqlite3.Error: if SQLite reports an error.
    """
    row = connection.row('PRAGMA user_version')
    version = 0 if row is None else row.integer('user_version')
    if version > schema.VERSION:
        # Not opened at all.
        return
    found = _objects(connection)
    if version == schema.VERSION and _hash(found) == _CURRENT_TABLES:
        return
    differing = found ^ _expected(version)
    if differing:
        names = sorted({f'{kind} {name}' for kind, name, _, _ in differing})
        raise exceptions.CatalogRefused(
            path=path,
            reason='these are not what schema '
            f'{version} has: {", ".join(names[:5])!a:.200}',
        )


@functools.cache
def _expected(version: int) -> frozenset[tuple[str, str, str, str]]:
    """Return the tables of a version, by what creates them."""
    connection = sqlite3.connect(
        ':memory:', factory=catalog_connection.Connection
    )
    try:
        for each in range(1, version + 1):
            connection.executescript(schema.STEPS[each])
        return _objects(connection)
    finally:
        connection.close()


def _objects(
    connection: catalog_connection.Connection,
) -> frozenset[tuple[str, str, str, str]]:
    return frozenset(
        (
            row.text('type'),
            row.text('name'),
            row.text('tbl_name'),
            _normal(row.text_or_none('sql')),
        )
        for row in connection.rows(
            'SELECT type, name, tbl_name, sql FROM sqlite_master'
        )
    )


def _hash(tables: frozenset[tuple[str, str, str, str]]) -> str:
    return hashlib.sha256(repr(sorted(tables)).encode()).hexdigest()


def _normal(statement: str | None) -> str:
    """Return SQL without what differs between releases of SQLite."""
    return ''.join((statement or '').replace('"', '').split()).lower()
