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
root. Both use the same files. The owner of a directory can replace anything
in it at any time, so root trusts nothing there: a directory is opened once,
without following links, and all that is done in it is done relative to the
open directory, with the identity of its owner.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import errno
import os
import stat
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.system import identity
from pvm_imagecache.system import thread_identity

#: Modes of what is created here, whatever the umask is.
DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640
#: Of files and directories that the group cannot read either.
OWNER_DIRECTORY_MODE: Final = 0o700
OWNER_FILE_MODE: Final = 0o600

_MAX_LINKS: Final = 40
_SEARCH: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclasses.dataclass(frozen=True)
class Directory:
    """An open directory whose owner, or root, controls the way to it.

    :ivar path: its path, for messages.
    :ivar descriptor: the open directory.
    :ivar uid: its owner.
    :ivar gid: its group.
    """

    path: str
    descriptor: int
    uid: int
    gid: int

    def acting(self) -> contextlib.AbstractContextManager[None]:
        """Make a block of a process of root act as the owner.

        :returns: a context manager; see :func:`.thread_identity.acting_as`.
        :raises IdentityFailed: if the identity cannot be changed.
        """
        return thread_identity.acting_as(self.uid, self.gid)

    def open(
        self, name: str, flags: int = os.O_RDONLY, mode: int = FILE_MODE
    ) -> int:
        """Open a file of the directory.

        :param name: name of the file.
        :param flags: how to open it; with ``O_CREAT`` it is created if it is
            missing. Links are not followed, and nothing blocks.
        :param mode: mode of a new file.
        :returns: a descriptor that child processes do not inherit.
        :raises OSError: if the file cannot be opened or created.
        :raises StateRefused: if it is not a regular file of the owner with
            one name.
        """
        with self.acting():
            descriptor = self._open(name, flags, mode)
            try:
                self._check_file(name, os.fstat(descriptor))
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def check(self, name: str) -> bool:
        """Check that a file is a regular file of the owner with one name.

        :param name: name of the file.
        :returns: whether there is such a file.
        :raises OSError: if it cannot be examined.
        :raises StateRefused: if it is something else.
        """
        try:
            found = self.stat(name)
        except FileNotFoundError:
            return False
        self._check_file(name, found)
        return True

    def stat(self, name: str) -> os.stat_result:
        """Return the properties of a file or link of the directory.

        :param name: name of the file.
        :returns: the properties, of a link itself if it is one.
        :raises OSError: if it is missing or cannot be examined.
        """
        with self.acting():
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def names(self) -> list[str]:
        """Return the names of the files in the directory.

        :returns: the names, in any order.
        :raises OSError: if the directory cannot be read.
        """
        with self.acting():
            return os.listdir(self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file of the directory.

        :param name: name of the file.
        :raises OSError: if it cannot be removed.
        """
        with self.acting():
            os.unlink(name, dir_fd=self.descriptor)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a file within the directory.

        :param name: name of the file.
        :param new_name: its new name.
        :raises OSError: if it cannot be renamed.
        """
        with self.acting():
            os.rename(
                name,
                new_name,
                src_dir_fd=self.descriptor,
                dst_dir_fd=self.descriptor,
            )

    def keep_from_group(self, name: str) -> None:
        """Take the permissions of the group from a file, if it has any.

        :param name: name of the file, which may be missing.
        :raises OSError: if the mode cannot be changed.
        :raises StateRefused: if it is not a regular file of the owner.
        """
        if not self.check(name):
            return
        with self.acting(), contextlib.suppress(FileNotFoundError):
            # To close a file that was opened in another way would release
            # all locks that SQLite has on it.
            descriptor = os.open(
                name,
                os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC,
                dir_fd=self.descriptor,
            )
            try:
                self._check_file(name, os.fstat(descriptor))
                self._restrict(descriptor, OWNER_FILE_MODE)
            finally:
                os.close(descriptor)

    def restrict(self) -> None:
        """Take the permissions of the group from the directory itself.

        :raises OSError: if the mode cannot be changed.
        """
        self._restrict(self.descriptor, OWNER_DIRECTORY_MODE)

    def _restrict(self, descriptor: int, mode: int) -> None:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & ~mode & 0o777:
            with self.acting():
                if os.geteuid() == self.uid:
                    os.chmod(f'/proc/self/fd/{descriptor}', mode)

    def _open(self, name: str, flags: int, mode: int) -> int:
        plain = _FILE | flags & ~os.O_CREAT
        try:
            return os.open(name, plain, dir_fd=self.descriptor)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                # A link, a FIFO or socket, a directory.
                raise self._refused(
                    name, 'it is not a regular file'
                ) from error
            raise
        try:
            descriptor = os.open(
                name,
                plain | os.O_CREAT | os.O_EXCL,
                mode,
                dir_fd=self.descriptor,
            )
        except FileExistsError:
            return os.open(name, plain, dir_fd=self.descriptor)
        # Whatever the umask is.
        os.fchmod(descriptor, mode)
        return descriptor

    def _check_file(self, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise self._refused(name, 'it is not a regular file')
        if found.st_nlink > 1:
            raise self._refused(name, 'it is a hard link')
        if found.st_uid != self.uid:
            raise self._refused(
                name,
                f'it belongs to uid {found.st_uid}, but the directory '
                f'belongs to uid {self.uid}',
            )

    def _refused(self, name: str, reason: str) -> exceptions.StateRefused:
        return exceptions.StateRefused(
            path=os.path.join(self.path, name), reason=reason
        )


@contextlib.contextmanager
def opened(
    path: str, *, create: bool = False, mode: int = DIRECTORY_MODE
) -> Iterator[Directory]:
    """Open a directory, and check who controls the way to it.

    Every directory and link on the way must belong to root or to the owner
    of the directory, and others must not be able to replace it. Otherwise
    another user could have the files of a third one used.

    :param path: an absolute path; the last component is never followed if it
        is a link.
    :param create: whether to create the directory, and those above it, if
        they are missing, as the owner of the directory that exists.
    :param mode: mode of the directory, if it is created.
    :returns: a context manager that gives the open directory.
    :raises OSError: if it does not exist, or cannot be opened or created.
    :raises StateRefused: if the directory cannot be trusted.
    """
    descriptor = _walk(path, create, mode)
    try:
        found = os.fstat(descriptor)
        yield Directory(path, descriptor, found.st_uid, found.st_gid)
    finally:
        os.close(descriptor)


def _walk(path: str, create: bool, mode: int) -> int:
    """Return the open directory of a path."""
    if not os.path.isabs(path):
        raise exceptions.StateRefused(
            path=path, reason='it is not an absolute path'
        )
    left = _components(path)
    if '..' in left:
        raise exceptions.StateRefused(path=path, reason='it contains ".."')
    above = [os.open('/', _SEARCH)]
    #: Owners of what is on the way, with its path.
    owners: list[tuple[str, int]] = []
    links, at = 0, '/'
    try:
        while left:
            name = left.pop(0)
            is_last = not left
            current = above[-1]
            owners.append((at, _checked_parent(at, current)))
            at = os.path.join(at, name)
            found = _found(current, name, create, is_last, mode)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if is_last or links > _MAX_LINKS:
                    raise exceptions.StateRefused(
                        path=at, reason='it is a symbolic link'
                    )
                owners.append((at, found.st_uid))
                target = os.readlink(name, dir_fd=current)
                left = _components(target) + left
                if os.path.isabs(target):
                    above.append(os.open('/', _SEARCH))
                    at = '/'
                else:
                    at = os.path.dirname(at)
                continue
            above.append(
                _open_last(current, name, at, found)
                if is_last
                else os.open(name, _SEARCH, dir_fd=current)
            )
        _check_owners(at, os.fstat(above[-1]), owners)
        return above.pop()
    finally:
        for each in above:
            os.close(each)


def _components(path: str) -> list[str]:
    return [each for each in path.split('/') if each not in ('', '.')]


def _open_last(
    parent: int, name: str, path: str, found: os.stat_result
) -> int:
    if os.geteuid() != 0 or found.st_uid == 0:
        return os.open(name, _LIST, dir_fd=parent)
    with thread_identity.acting_as(found.st_uid, found.st_gid):
        try:
            return os.open(name, _LIST, dir_fd=parent)
        except PermissionError as error:
            raise exceptions.StateRefused(
                path=path,
                reason=f'its owner, uid {found.st_uid}, has no permission '
                'for it, or for a directory above it',
            ) from error


def _found(
    parent: int, name: str, create: bool, is_last: bool, mode: int
) -> os.stat_result:
    """Return what has a name; create a directory if it is missing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        if not create:
            raise
    mode = mode if is_last else DIRECTORY_MODE
    owner = os.fstat(parent)
    with thread_identity.acting_as(owner.st_uid, owner.st_gid):
        try:
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            pass
        else:
            # The umask may have taken the permission to read it.
            descriptor = os.open(name, _SEARCH, dir_fd=parent)
            try:
                os.chmod(f'/proc/self/fd/{descriptor}', mode)
            finally:
                os.close(descriptor)
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def _checked_parent(path: str, descriptor: int) -> int:
    """Return the owner of a directory in which others replace nothing."""
    found = os.fstat(descriptor)
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise exceptions.StateRefused(
            path=path,
            reason='every user can replace what is in it (chmod o-w)',
        )
    return found.st_uid


def _check_owners(
    path: str, found: os.stat_result, owners: list[tuple[str, int]]
) -> None:
    if found.st_mode & stat.S_IWOTH:
        raise exceptions.StateRefused(
            path=path, reason='every user can write to it (chmod o-w)'
        )
    for each, owner in owners:
        if (
            owner not in (0, found.st_uid)
            and owner not in identity.unmapped_users()
        ):
            raise exceptions.StateRefused(
                path=path,
                reason=f'{each} belongs to uid {owner}, which could replace '
                f'the directory of uid {found.st_uid}',
            )
