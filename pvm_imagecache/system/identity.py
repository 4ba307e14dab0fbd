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

"""Who the operating system says we are, and which roles that gives.

Variables of the environment are not believed, except those of sudo where
root has them: root could write anything anyway. Keystone's word is asked for
in :mod:`pvm_imagecache.cmd.keystone`.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import grp
import os
import pwd
from typing import Any
from typing import Final

ADMIN: Final = 'admin'
READER: Final = 'reader'

_LOGIN_UID: Final = '/proc/self/loginuid'
#: What the kernel says of a process that began with no login.
_NO_LOGIN: Final = (1 << 32) - 1


@dataclasses.dataclass(frozen=True)
class Identity:
    """Somebody who wants something done.

    :ivar who: for people, and for the history.
    :ivar roles: by which rules of policy are decided.
    """

    who: str
    roles: frozenset[str] = frozenset()
    user_id: str | None = None
    project_id: str | None = None


def user() -> str:
    """The user who runs this process, and who is behind it.

    ``ann``, or ``ann as root`` where Ann logged in and became root: the
    kernel keeps who logged in (``loginuid``) through su and sudo. Where it
    does not know, root's word is taken for who called sudo.
    """
    uid = os.getuid()
    name = _name(uid)
    behind = _login_uid()
    if behind is None and uid == 0:
        behind = _sudo_uid()
    if behind is None or behind == uid:
        return name
    return _acting(_name(behind), name)


def of_request(context: Any) -> str | None:
    """Who has asked nova for something, by way of the user who runs us.

    :param context: nova's request context. It has the name where the API
        service was told one by Keystone, and the id in any case.
    :returns: None where nobody has, as in periodic tasks.
    """
    who = getattr(context, 'user_name', None) or getattr(
        context, 'user_id', None
    )
    return _acting(who, _name(os.getuid())) if who else None


def _acting(who: str, name: str) -> str:
    return f'{who} as {name}'


def local(
    admin_groups: Iterable[str],
    reader_groups: Iterable[str],
    state_path: str,
) -> Identity:
    """Ourselves, with the roles that the operating system gives us.

    root, the owner of the state directory and the members of some groups
    are administrators; the members of others are readers. A directory that
    is not there yet has the owner of the one that it would be made in.
    """
    roles = set()
    if os.getuid() in (0, _owner(state_path)) or _in_any(admin_groups):
        roles |= {ADMIN, READER}
    elif _in_any(reader_groups):
        roles.add(READER)
    return Identity(user(), frozenset(roles), user_id=_name(os.getuid()))


def _in_any(groups: Iterable[str]) -> bool:
    mine = {os.getegid(), *os.getgroups()}
    for name in groups:
        try:
            if grp.getgrnam(name).gr_gid in mine:
                return True
        except KeyError:
            # There need not be a group of that name on every host.
            continue
    return False


def _owner(path: str) -> int | None:
    """The owner of a directory, or of the nearest one above it."""
    while True:
        try:
            return os.stat(path).st_uid
        except FileNotFoundError:
            path = os.path.dirname(path)
        except OSError:
            return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f'uid {uid}'


def _login_uid() -> int | None:
    try:
        with open(_LOGIN_UID, encoding='ascii') as file:
            uid = int(file.read())
    except (OSError, ValueError):
        return None
    return None if uid == _NO_LOGIN else uid


def _sudo_uid() -> int | None:
    text = os.environ.get('SUDO_UID', '')
    if not (text.isascii() and text.isdigit()) or int(text) >= _NO_LOGIN:
        return None
    return int(text)


def described(roles: Sequence[str] | frozenset[str]) -> str:
    """Roles for a person to read."""
    if not roles:
        return 'no role'
    named = ', '.join(sorted(roles))
    return f'the role{"s" if len(roles) > 1 else ""} {named}'
