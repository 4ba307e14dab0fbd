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

"""Whether there is a policy file, and whether it can be relied on.

A file that cannot be found only because a directory cannot be read, or that
another user can change, must not end in the default rules.
"""

from collections.abc import Mapping
import os
import stat
from typing import Any

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.system import caller


def exists(path: str) -> bool:
    """Return whether there is a policy file.

    :param path: the absolute path of the file.
    :returns: False only if there certainly is none.
    :raises PolicyFileRefused: if this is uncertain, or if the file cannot be
        read, is not a regular file or can be changed by other users than
        root and the user of this process.
    """
    if not os.path.isabs(path):
        raise exceptions.PolicyFileRefused(
            path=path or '""', reason='it is not an absolute path'
        )
    try:
        if _is_missing(path):
            return False
        caller.check_trusted(path, (0, os.geteuid()))
        # A FIFO must not block.
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        )
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(0, 'it is not a regular file')
        finally:
            os.close(descriptor)
    except OSError as error:
        raise exceptions.PolicyFileRefused(
            path=path, reason=error.strerror or text.one_line(error)
        ) from error
    return True


def check_content(content: Any) -> None:
    """Check that each rule of a policy file has a check.

    oslo.policy would allow everything to all users by a rule without one,
    for example if the line with its check was made a comment.

    :param content: the content of the file.
    :raises ValueError: if there is a rule without a check.
    """
    if not isinstance(content, Mapping):
        return
    for name, check in content.items():
        if check is None:
            raise ValueError(f'"{name}" has no check')


def _is_missing(path: str) -> bool:
    """Return whether a path does not exist.

    :param path: an absolute path.
    :raises OSError: if the directory that would contain it cannot be listed.
    """
    parent, name = os.path.split(path.rstrip('/'))
    if not name:
        return False
    try:
        return name not in os.listdir(parent)
    except FileNotFoundError:
        # The directory is missing, or is a link to nothing.
        if _is_missing(parent):
            return True
        raise
