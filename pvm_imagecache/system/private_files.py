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

"""Files and directories that only their owner and group can read.

nova-compute runs as the user nova, and administrators often run commands as
root. Both use the same files, so what root creates is given to the owner of
the directory that contains it.
"""

import os
from typing import Final

#: Modes of what is created here, whatever the umask is.
DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640


def make_directory(path: str) -> None:
    """Create a directory, and missing directories above it, with mode 0750.

    A directory that exists is not changed.

    :param path: path of the directory.
    :raises OSError: if a directory cannot be created, or if a link or a file
        has its name.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    make_directory(parent)
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _make_private(descriptor, DIRECTORY_MODE, parent)
    finally:
        os.close(descriptor)


def open_for_update(path: str) -> int:
    """Open a file for reading and writing; create it if it is missing.

    A new file has mode 0640. The content and the mode of an existing one are
    not changed.

    :param path: path of the file.
    :returns: a descriptor that child processes do not inherit.
    :raises OSError: if the file cannot be opened or created, or if it is a
        symbolic link.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileExistsError:
        return os.open(path, flags)
    try:
        _make_private(
            descriptor, FILE_MODE, os.path.dirname(os.path.abspath(path))
        )
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _make_private(descriptor: int, mode: int, parent: str) -> None:
    # By descriptor: the owner of the directory could replace the file by a
    # link.
    os.fchmod(descriptor, mode)
    if os.geteuid() == 0:
        owner = os.stat(parent)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
