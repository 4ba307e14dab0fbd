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

"""Let one thread of a process of root act as another user.

The owner of a directory can replace whatever is in it at any moment. What
root does there is done with the rights of that owner, so that it can reach
nothing that the owner could not reach anyway.

The C library changes the identity of all threads. Other threads of a command
need the rights of root meanwhile, for example to read configuration files,
so the system calls are made directly: they change the calling thread only.
Do not start threads or processes, and do not switch green threads, inside of
a block: nothing but calls of the file system and of SQLite belongs there.
"""

import contextlib
import functools
import os
from types import ModuleType
from typing import Final

_UNCHANGED: Final = contextlib.nullcontext()


def acting_as(uid: int, gid: int) -> contextlib.AbstractContextManager[None]:
    """Make the block act with a user, a group and no supplementary groups.

    Only the effective identity of the calling thread changes. Nothing
    changes if the process does not act as root, or if the user is root.

    :param uid: ID of the user.
    :param gid: ID of the group.
    :returns: a context manager.
    :raises IdentityFailed: if the identity cannot be changed.
    """
    if uid == 0 or os.geteuid() != 0:
        # Hundreds of these are made in a cleanup run.
        return _UNCHANGED
    acting: contextlib.AbstractContextManager[None] = _calls().acting_as(
        uid, gid
    )
    return acting


@functools.cache
def _calls() -> ModuleType:
    """Import what changes the identity: slow, and most users are not root.

    It is kept: nothing can be imported when the interpreter ends. And it is
    not imported in the block, which may not be able to read it.
    """
    from pvm_imagecache.system import identity_calls

    return identity_calls
