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

"""The user on whose behalf this process runs, and files with their rights.

A command that sudo, doas or pkexec starts has the rights of another user,
usually of root. The user who typed it gets only what the access policy
gives: their files are opened with their rights, not with those of root.

These are the signs of another user. Each is used, so that a variable that
the user sets adds a restriction and removes none:

* ``SUDO_UID``, ``PKEXEC_UID`` and ``DOAS_USER``;
* in a process of root, the login user, which the kernel keeps;
* in a process that changed its effective user, the real user.

root, as another user, gains nothing and is no restriction.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import errno
import os
import pwd
import stat
from typing import Final

from pvm_imagecache.system import identity

#: What the kernel shows for users that it cannot name; also used here.
_UNKNOWN_UID: Final = 65534
_MAX_LINKS: Final = 40


@dataclasses.dataclass(frozen=True)
class Caller:
    """The users on whose behalf this process runs. Usually it is one.

    :ivar uids: their user IDs; the first one is the user of the command.
    :ivar groups: the group IDs of each, the primary group first.
    """

    uids: tuple[int, ...]
    groups: Mapping[int, tuple[int, ...]]

    @property
    def name(self) -> str:
        """The names of the users, for messages."""
        return ' and '.join(_name(each) for each in self.uids)

    @property
    def home(self) -> str:
        """The home directory of the user; '/nonexistent' without one."""
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(self.uids[0]).pw_dir
        return '/nonexistent'

    @contextlib.contextmanager
    def rights(self, uid: int | None = None) -> Iterator[None]:
        """Use the rights of the user for files, in the whole process.

        :param uid: which of the users; None for the only one.
        :raises PermissionError: if this process cannot take their rights, or
            if there are several users and none is given.
        """
        if uid is None:
            if len(self.uids) > 1:
                raise PermissionError(
                    errno.EPERM,
                    f'it is not clear for which user, {self.name}, this '
                    'command runs',
                )
            (uid,) = self.uids
        if os.geteuid() != 0:
            raise PermissionError(
                errno.EPERM,
                f'only root can use the rights of the user {self.name}',
            )
        before = os.getegid(), os.getgroups()
        groups = self.groups[uid]
        try:
            os.setgroups(groups)
            os.setegid(groups[0])
            os.seteuid(uid)
            yield
        finally:
            os.seteuid(0)
            os.setegid(before[0])
            os.setgroups(before[1])

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """Open a file as each of the users could.

        :param path: an absolute path.
        :param flags: flags of ``os.open``.
        :param mode: mode of a file that is created.
        :returns: a descriptor that child processes do not inherit.
        :raises OSError: if one of the users may not open the file.
        """
        if os.geteuid() != 0:
            return self._open_of_others(path, flags)
        opened: list[int] = []
        try:
            for uid in self.uids:
                with self.rights(uid):
                    opened.append(os.open(path, flags | os.O_CLOEXEC, mode))
            first = os.fstat(opened[0])
            if not all(
                os.path.samestat(first, os.fstat(each)) for each in opened
            ):
                raise PermissionError(errno.EPERM, 'it was replaced')
            return opened.pop()
        finally:
            for each in opened:
                os.close(each)

    def _open_of_others(self, path: str, flags: int) -> int:
        """Open a file for reading that its mode opens to the users.

        Without the rights of root this process cannot take theirs.
        """
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(
                errno.EPERM,
                f'only root can use the rights of the user {self.name}',
            )
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            real = os.readlink(f'/proc/self/fd/{descriptor}')
            self._check_mode(os.fstat(descriptor), stat.S_IROTH)
            while real != '/':
                real = os.path.dirname(real)
                self._check_mode(os.stat(real), stat.S_IXOTH)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_mode(self, found: os.stat_result, needed: int) -> None:
        is_owner = self.uids == (found.st_uid,)
        if not is_owner and not found.st_mode & needed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def current() -> Caller | None:
    """Return the user on whose behalf this process runs.

    :returns: the user; None if it runs for its own user, or for root.
    """
    mine = os.geteuid()
    signs = [
        _number(os.environ.get('SUDO_UID')),
        _number(os.environ.get('PKEXEC_UID')),
        _named(os.environ.get('DOAS_USER')),
        os.getuid(),
    ]
    if mine == 0:
        signs.append(identity.login_uid())
    uids = tuple(
        dict.fromkeys(
            each
            for each in signs
            if each is not None and each not in (0, mine)
        )
    )
    if not uids:
        return None
    return Caller(uids, {each: _groups(each) for each in uids})


def read(path: str, caller: Caller | None, limit: int) -> bytes:
    """Return the content of a regular file, with the rights of a user.

    :param path: an absolute path, or a relative one without a caller.
    :param caller: the user; None for the rights of this process.
    :param limit: largest size in bytes.
    :returns: the content.
    :raises OSError: if the file cannot be read, is not a regular file or is
        too large.
    """
    # A FIFO must not block.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    if caller is None:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    else:
        descriptor = caller.open(path, flags)
    with open(descriptor, 'rb') as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, 'it is not a regular file')
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f'it is larger than {limit} bytes')
    return content


def check_trusted(path: str, owners: tuple[int, ...]) -> None:
    """Check that only some users can change what a path leads to.

    Each directory and each symbolic link on the way is checked. In a
    directory with the sticky bit, such as /tmp, other users can only add
    entries.

    :param path: an absolute path.
    :param owners: IDs of the trusted users. In a user namespace, users of
        the host are trusted too: they own what a container is given.
    :raises PermissionError: if another user can change it.
    :raises OSError: if it does not exist, or cannot be looked at.
    """
    where, rest, links = '/', _parts(path), 0
    _check_owner('/', os.lstat('/'), owners)
    while rest:
        name = rest.pop(0)
        if name == '..':
            where = os.path.dirname(where)
            continue
        entry = os.path.join(where, name)
        found = os.lstat(entry)
        _check_owner(entry, found, owners)
        if not stat.S_ISLNK(found.st_mode):
            where = entry
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(entry)
        if target.startswith('/'):
            where = '/'
        rest = [*_parts(target), *rest]


def _parts(path: str) -> list[str]:
    return [each for each in path.split('/') if each not in ('', '.')]


def _check_owner(
    path: str, found: os.stat_result, owners: tuple[int, ...]
) -> None:
    if found.st_uid not in owners and (
        found.st_uid not in identity.unmapped_users()
    ):
        raise PermissionError(
            errno.EPERM,
            f'{path} belongs to {_name(found.st_uid)}, who could change it',
        )
    mode = found.st_mode
    if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and found.st_gid != 0):
        raise PermissionError(
            errno.EPERM,
            f'{path} has the mode {stat.S_IMODE(mode):04o}, with which other '
            'users can change it',
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f'uid {uid}'


def _number(text: str | None) -> int | None:
    """Return a user ID; that of nobody if the text is not one."""
    if not text:
        return None
    uid = identity.uid_of(text)
    return _UNKNOWN_UID if uid is None else uid


def _named(name: str | None) -> int | None:
    if not name:
        return None
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return _UNKNOWN_UID


def _groups(uid: int) -> tuple[int, ...]:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        gid = None
        if os.environ.get('SUDO_UID') == str(uid):
            gid = identity.uid_of(os.environ.get('SUDO_GID', ''))
        # The group root of a forged variable gives nothing.
        return (gid or _UNKNOWN_UID,)
    others = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return tuple(dict.fromkeys((entry.pw_gid, *others)))
