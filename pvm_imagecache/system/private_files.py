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

nova-compute runs as the user nova, an administrator's shell often as root,
and both use the same files: what root makes is handed to the owner of the
directory that it is made in.
"""

import os
from typing import Final

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640


def make_directory(path: str) -> None:
    """Make a directory, and those above it that are missing (0750)."""
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
    """Open a file to read and write it, made (0640) when it is missing.

    :returns: a descriptor that child processes don't inherit.
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
    # By descriptor: whoever owns the directory could put a link in place.
    os.fchmod(descriptor, mode)
    if os.geteuid() == 0:
        owner = os.stat(parent)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
