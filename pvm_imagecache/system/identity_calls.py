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

"""The system calls that change the identity of the calling thread.

Only root may make them: see :mod:`pvm_imagecache.system.thread_identity`.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import ctypes
import os
from typing import Final

from pvm_imagecache import exceptions

#: Numbers of setgroups, setresgid and setresuid, by machine.
_NUMBERS: Final = {
    'x86_64': (116, 119, 117),
    'ppc64le': (81, 169, 164),
    'ppc64': (81, 169, 164),
    'aarch64': (159, 149, 147),
    'riscv64': (159, 149, 147),
    's390x': (206, 210, 208),
}
#: Leaves a user or group as it is.
_KEEP: Final = -1


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Make the block act with a user, a group and no supplementary groups.

    :param uid: ID of the user.
    :param gid: ID of the group.
    :raises IdentityFailed: if the identity cannot be changed.
    """
    group, groups = os.getegid(), os.getgroups()
    try:
        _become(uid, gid, ())
        yield
    finally:
        # In this order: only root may change groups.
        _call(2, _KEEP, 0, _KEEP)
        _call(1, _KEEP, group, _KEEP)
        _set_groups(groups)


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    _set_groups(groups)
    _call(1, _KEEP, gid, _KEEP)
    _call(2, _KEEP, uid, _KEEP)
    if (os.geteuid(), os.getegid(), os.getgroups()) != (uid, gid, []):
        raise exceptions.IdentityFailed(reason='it did not change')


def _set_groups(groups: Sequence[int]) -> None:
    array = (ctypes.c_uint32 * max(len(groups), 1))(*groups)
    _call(0, len(groups), ctypes.addressof(array))


def _call(which: int, *arguments: int) -> None:
    numbers = _NUMBERS.get(os.uname().machine)
    if numbers is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise exceptions.IdentityFailed(
            reason=f'not supported on {os.uname().machine}'
        )
    result = _LIBC.syscall(
        ctypes.c_long(numbers[which]),
        *(ctypes.c_long(each) for each in arguments),
    )
    if result != 0:
        raise exceptions.IdentityFailed(reason=os.strerror(ctypes.get_errno()))


_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
