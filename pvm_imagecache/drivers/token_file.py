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
"""The file of a token that the REST API names at a logon without password.

The server can name any file, and receives what is read from it. So only a
file is read that can be such a token.
"""

import contextlib
import os
import re
import stat
import time
from typing import Final

#: Bytes that a token may have.
MAX_TOKEN: Final = 4096
_TOKEN: Final = re.compile(r'[A-Za-z0-9+/=_.~-]+')
#: Seconds by which the clock of a file system may be behind.
_CLOCK_STEP: Final = 0.05
_WRITABLE_BY_OTHERS: Final = stat.S_IWOTH


class Refused(Exception):
    """Raised if a file is not accepted as the file of a token.

    :param reason: why, without the content of the file.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def now() -> float:
    """Return the time of files that are written now.

    :returns: seconds since the epoch.
    """
    return time.clock_gettime(time.CLOCK_REALTIME)


def read(path: str, directory: str, since: float, owners: set[int]) -> str:
    """Return the token in a file.

    The file must be a regular file with one name, owned by one of the
    owners, that other users cannot write to. It has at most 4 KiB of the
    characters of a token, and is not a file of the kernel, as in /proc. No
    link is followed, except one that only root could make, such as /var/run,
    if no directory is configured.

    :param path: as the server named it.
    :param directory: the file must be below it. If it is empty, the file
        must have been written since the logon began, in a directory that
        only the owners can write to.
    :param since: when the logon began, in seconds since the epoch.
    :param owners: user IDs.
    :returns: the token.
    :raises Refused: if the file does not have these properties.
    """
    try:
        with contextlib.ExitStack() as held:
            return _token(_open(path, directory, owners, held), since, owners)
    except PermissionError:
        raise Refused('this process has no permission to read it') from None
    except OSError as error:
        raise Refused(
            f'it cannot be opened without following links: {error.strerror}'
        ) from None


def _open(
    path: str, directory: str, owners: set[int], held: contextlib.ExitStack
) -> tuple[int, bool]:
    """Open the file; return whether its directory is configured, too."""

    def opened(name: str, flags: int, parent: int | None = None) -> int:
        fd = os.open(name, flags | os.O_CLOEXEC, dir_fd=parent)
        held.callback(os.close, fd)
        return fd

    start, parts = _split(path, directory)
    # The operator may have configured a link.
    parent = opened(start, os.O_PATH | os.O_DIRECTORY)
    for part in parts[:-1]:
        flags = os.O_PATH | os.O_DIRECTORY
        if directory or not _is_link_of_system(part, parent):
            flags |= os.O_NOFOLLOW
        parent = opened(part, flags, parent)
    if not directory:
        _check_directory(os.fstat(parent), owners)
    # Looked at before it is opened: opening a device can have an effect.
    _check_kind(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False))
    fd = opened(
        parts[-1],
        os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY,
        parent,
    )
    return fd, bool(directory)


def _is_link_of_system(name: str, parent: int) -> bool:
    """Return whether a name is a link such as /var/run, which only root set.

    :param name: in a directory.
    :param parent: descriptor of the directory.
    """
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    directory = os.fstat(parent)
    return (
        stat.S_ISLNK(status.st_mode)
        and status.st_uid == directory.st_uid == 0
        and not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _split(path: str, directory: str) -> tuple[str, list[str]]:
    """Return the directory to start from, and what is below it."""
    for start in (
        (directory, os.path.realpath(directory)) if directory else ('/',)
    ):
        prefix = start.rstrip('/') + '/'
        if path.startswith(prefix):
            parts = path.removeprefix(prefix).split('/')
            if {'', '.', '..'} & set(parts) or '\0' in path:
                raise Refused('its path is not a plain one')
            return start, parts
    raise Refused(
        f'it is not below {directory}' if directory else 'its path is relative'
    )


def _check_directory(status: os.stat_result, owners: set[int]) -> None:
    if status.st_uid not in owners:
        raise Refused(f'its directory belongs to user ID {status.st_uid}')
    if status.st_mode & _WRITABLE_BY_OTHERS and not (
        status.st_mode & stat.S_ISVTX
    ):
        raise Refused('its directory is writable by all users')


def _check_kind(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused('it is not a regular file')


def _token(opened: tuple[int, bool], since: float, owners: set[int]) -> str:
    fd, configured = opened
    status = os.fstat(fd)
    _check_kind(status)
    if status.st_uid not in owners:
        raise Refused(f'it belongs to user ID {status.st_uid}')
    if status.st_mode & _WRITABLE_BY_OTHERS or status.st_nlink != 1:
        raise Refused('other users can write to it, or it has several names')
    if not configured and not (
        since - _CLOCK_STEP <= status.st_ctime <= now() + _CLOCK_STEP
    ):
        raise Refused('it was not written for this logon')
    if status.st_size > MAX_TOKEN:
        raise Refused(f'it has more than {MAX_TOKEN} bytes')
    content = os.read(fd, MAX_TOKEN + 1)
    # Those of the kernel, as below /proc/sys, are new whenever the kernel
    # makes an inode. Their size is 0 or 4096, whatever they contain.
    if len(content) != status.st_size:
        raise Refused('its size is not that of its content')
    return _checked(content)


def _checked(content: bytes) -> str:
    token = content.decode('ascii', 'replace').strip(' \n')
    if len(content) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise Refused('its content is not a token')
    return token
