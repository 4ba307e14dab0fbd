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
"""Ask the kernel for the owner of one TCP socket of this host.

The tables in /proc/net list all sockets. To read them takes longer than
a request to PowerVM on a host with thousands of connections. The interface
is described in sock_diag(7) and netlink(7).
"""

import dataclasses
import errno
import socket
import struct
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_HEADER: Final = struct.Struct('=IHHII')
#: ``inet_diag_req_v2`` up to the addresses, which follow in two fields of 16
#: bytes.
_REQUEST: Final = struct.Struct('=BBBxI')
_PORTS: Final = struct.Struct('!HH')
_INTERFACE_AND_COOKIE: Final = struct.pack('=I', 0) + bytes([255] * 8)
#: In ``inet_diag_msg``: the family and the state are before the addresses,
#: the owner and the inode are at its end.
_OWNER: Final = struct.Struct('=II')
_OWNER_OFFSET: Final = _HEADER.size + 4 + 48 + 12
_LARGEST: Final = 8192
#: Seconds. The kernel answers before the request returns.
_PATIENCE: Final = 1.0


class NotAvailable(Exception):
    """The kernel does not report the owner, or has no such socket."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """The owner of a socket.

    :ivar uid: user ID; 0 if no process has the socket.
    :ivar inode: 0 if no process has the socket: it was not accepted, or it
        was closed.
    """

    uid: int
    inode: int


def owner(local: tuple[str, int], remote: tuple[str, int]) -> Owner:
    """Return the owner of the socket that has two addresses.

    :param local: IP address and port of the socket, without an interface.
    :param remote: those of its other end.
    :raises NotAvailable: if the kernel does not report it, or if no socket
        has these addresses.
    """
    try:
        with socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC,
            _NETLINK_SOCK_DIAG,
        ) as netlink:
            netlink.settimeout(_PATIENCE)
            netlink.sendto(_request(local, remote), (0, 0))
            while True:
                answer, sender = netlink.recvfrom(_LARGEST)
                # Only the kernel has the port 0.
                if sender[0] == 0:
                    return _owner_in(answer)
    except OSError as error:
        raise NotAvailable(str(error)) from error


def _request(local: tuple[str, int], remote: tuple[str, int]) -> bytes:
    family = socket.AF_INET6 if ':' in local[0] else socket.AF_INET
    body = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
        + _PORTS.pack(local[1], remote[1])
        + socket.inet_pton(family, local[0]).ljust(16, b'\0')
        + socket.inet_pton(family, remote[0]).ljust(16, b'\0')
        + _INTERFACE_AND_COOKIE
    )
    size = _HEADER.size + len(body)
    header = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    return header + body


def _owner_in(answer: bytes) -> Owner:
    """:raises OSError: if the answer is an error, or too short."""
    if len(answer) < _HEADER.size + 4:
        raise OSError(errno.EPROTO, 'the answer is too short')
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        (negative,) = struct.unpack_from('=i', answer, _HEADER.size)
        raise OSError(-negative, 'the kernel refused the request')
    if kind != _SOCK_DIAG_BY_FAMILY or (
        len(answer) < _OWNER_OFFSET + _OWNER.size
    ):
        raise OSError(errno.EPROTO, 'the answer is of another kind')
    return Owner(*_OWNER.unpack_from(answer, _OWNER_OFFSET))
