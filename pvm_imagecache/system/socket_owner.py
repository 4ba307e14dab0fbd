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
"""The users of this host whose process has the other end of a connection.

Any user may listen on a port above 1023 while its service is not running.
"""

from collections.abc import Iterator
import dataclasses
import socket
import struct
import sys
import time
from typing import Final

from pvm_imagecache.system import socket_diag

#: Connections of this network namespace, with the user IDs of their owners.
#: They are in the byte order of the host.
_TABLES: Final = ('/proc/net/tcp', '/proc/net/tcp6')
_LISTENING: Final = '0A'
_TIME_WAIT: Final = '06'
#: State of TCP_INFO.
_ESTABLISHED: Final = 1
#: The inode of a connection that no process has: not accepted, or closed.
_NO_INODE: Final = '0'
_MAPPED: Final = bytes(10) + b'\xff\xff'
#: Seconds that a process has to accept a connection.
_PATIENCE: Final = 1.0
#: Seconds between two questions to the kernel, and two looks at the tables.
_INTERVAL: Final = 0.002
_TABLE_INTERVAL: Final = 0.02


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A line of a table; addresses as the kernel writes them."""

    local: str
    remote: str
    state: str
    uid: int
    inode: str


def peers(connected: socket.socket) -> frozenset[int]:
    """Return the users that may read what is sent on a connection.

    If no process has accepted the connection within a second, they are the
    users that listen on its port.

    :param connected: a connected TCP socket.
    :returns: their user IDs; empty if the other end of the connection is not
        on this host, or in another network namespace.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            owner = socket_diag.owner(
                _plain(connected.getpeername()),
                _plain(connected.getsockname()),
            )
        except socket_diag.NotAvailable:
            users, accepted = _peers_in_tables(connected)
            if accepted or time.monotonic() >= end:
                return users
            time.sleep(_TABLE_INTERVAL)
            continue
        if owner.inode:
            return frozenset({owner.uid})
        if time.monotonic() >= end:
            # The kernel names one listener; there can be several.
            return _peers_in_tables(connected)[0]
        time.sleep(_INTERVAL)


def _plain(address: tuple[str, int]) -> tuple[str, int]:
    """Return address and port, without what IPv6 adds to them."""
    # A link-local address of IPv6 can name an interface.
    return address[0].partition('%')[0], address[1]


def _peers_in_tables(connected: socket.socket) -> tuple[frozenset[int], bool]:
    """Return the users at the other end, as the tables have them.

    :returns: their user IDs, and whether a process of theirs has accepted
        the connection; otherwise they listen on its port.
    """
    here = _spellings(connected.getsockname())
    there = _spellings(connected.getpeername())
    listeners: set[int] = set()
    for table in _TABLES:
        entries = list(_entries(table, there))
        # Listeners precede connections in a table, and a connection
        # that was not accepted ends with its listener. So a listener
        # that is found here is the one that has the connection.
        for entry in entries:
            if (
                entry.local not in there
                or entry.remote not in here
                or entry.state in (_LISTENING, _TIME_WAIT)
            ):
                continue
            if entry.inode != _NO_INODE:
                return frozenset({entry.uid}), True
            listeners |= _listeners(entries, there)
    return frozenset(listeners), False


def is_open(connected: socket.socket) -> bool:
    """Return whether the other end has neither closed nor reset a connection.

    :param connected: a TCP socket that was connected.
    """
    (state,) = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state == _ESTABLISHED


def _listeners(entries: list[_Entry], there: list[str]) -> set[int]:
    """Return the users that listen on an address, or on all."""
    return {
        entry.uid
        for entry in entries
        if entry.state == _LISTENING
        and (
            entry.local in there
            or not entry.local.partition(':')[0].strip('0')
        )
    }


def _entries(table: str, there: list[str]) -> Iterator[_Entry]:
    """Return the entries of the port of an address."""
    port = there[0].rpartition(':')[2]
    try:
        with open(table, encoding='ascii') as file:
            lines = file.readlines()[1:]
    except FileNotFoundError:
        return
    for line in lines:
        if f':{port} ' not in line:
            continue
        fields = line.split()
        if fields[1].endswith(f':{port}'):
            yield _Entry(
                fields[1], fields[2], fields[3], int(fields[7]), fields[9]
            )


def _spellings(address: tuple[str, int]) -> list[str]:
    """Return an address as the tables have it, also within IPv6."""
    name, port = _plain(address)
    if ':' in name:
        packed = [socket.inet_pton(socket.AF_INET6, name)]
        if packed[0].startswith(_MAPPED):
            packed.append(packed[0].removeprefix(_MAPPED))
    else:
        four = socket.inet_pton(socket.AF_INET, name)
        packed = [four, _MAPPED + four]
    return [f'{_hexadecimal(each)}:{port:04X}' for each in packed]


def _hexadecimal(packed: bytes) -> str:
    order = '<' if sys.byteorder == 'little' else '>'
    words = struct.unpack(f'{order}{len(packed) // 4}I', packed)
    return ''.join(f'{word:08X}' for word in words)
