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

"""The user of this process, according to the operating system.

Environment variables are not trusted, with one exception: what sudo, pkexec
and doas set in a process of root, which could forge everything else too.
Authentication by Keystone is in :mod:`pvm_imagecache.cmd.keystone`.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import grp
import os
import pwd
from typing import Final
from typing import Protocol
from typing import TYPE_CHECKING

from pvm_imagecache import text

if TYPE_CHECKING:
    from keystoneauth1 import plugin

#: Roles that the rules of the access policy refer to.
ADMIN: Final = 'admin'
READER: Final = 'reader'

_LOGIN_UID: Final = '/proc/self/loginuid'
_UID_MAP: Final = '/proc/self/uid_map'
_OVERFLOW_UID: Final = '/proc/sys/kernel/overflowuid'
#: The map of user IDs of the initial user namespace, that of the host.
_HOST_MAP: Final = [0, 0, (1 << 32) - 1]
#: What the kernel returns for a process without a login.
_NO_LOGIN: Final = (1 << 32) - 1


class RequestContext(Protocol):
    """The part of nova's request context that the cache reads."""

    @property
    def user_id(self) -> str | None:
        """ID of the user that made the request; None in periodic tasks."""

    @property
    def user_name(self) -> str | None:
        """Name of that user, if Keystone returned one to the API service."""

    @property
    def global_id(self) -> str:
        """ID of the request in the logs of all services."""

    def get_auth_plugin(self) -> 'plugin.BaseAuthPlugin':
        """Return a plugin that authenticates with the user's token."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """A user that asks for an operation, and the roles of that user.

    :ivar who: human-readable name; it is recorded in the history.
    :ivar roles: roles that the rules of the access policy are checked with.
    :ivar user_id: name of the user of the operating system, or the ID of
        the Keystone user; None if unknown.
    :ivar project_id: ID of the Keystone project, if any.
    :ivar scope: other facts of the Keystone token that rules can refer to,
        by name: names, domains, system scope.
    :ivar default_rules_apply: whether the default rules count the roles; if
        not, only the rules of a policy file do.
    """

    who: str
    roles: frozenset[str] = frozenset()
    user_id: str | None = None
    project_id: str | None = None
    scope: Mapping[str, str] = dataclasses.field(default_factory=dict)
    default_rules_apply: bool = True


def user() -> str:
    """Return the user that runs this process.

    The kernel keeps the user that logged in (``loginuid``) through su and
    sudo. If it has none, the user that called sudo, pkexec or doas is taken
    from the environment, in a process of root only.

    :returns: ``ann``, or ``ann as root`` if Ann logged in and became root.
    """
    uid = os.getuid()
    name = _name(uid)
    login = login_uid()
    if login is None and uid == 0:
        login = _sudo_uid()
    if login is None or login == uid:
        return name
    return _acting(_name(login), name)


def of_request(context: RequestContext | None) -> str | None:
    """Return the user that made a request to nova.

    :param context: nova's request context, or None.
    :returns: name or else ID of the user, and the user of this process:
        ``ann as nova``. None if no user made the request, as in periodic
        tasks.
    """
    who = getattr(context, 'user_name', None) or getattr(
        context, 'user_id', None
    )
    if not who:
        return None
    return _acting(text.printable(str(who)), _name(os.getuid()))


def project_of(context: RequestContext | None) -> str | None:
    """Return the project of a request to nova.

    :param context: nova's request context, or None.
    :returns: ID of the project; None if there was no request, or if it has
        none.
    """
    found = getattr(context, 'project_id', None)
    return found if isinstance(found, str) and found else None


def _acting(who: str, name: str) -> str:
    return f'{who} as {name}'


def local(
    admin_groups: Iterable[str],
    reader_groups: Iterable[str],
    state_path: str,
) -> Identity:
    """Return the user of this process, with roles by uid and groups.

    These are administrators:

    * root;
    * the owner of the state directory. If that does not exist, it is the
      owner of the directory in which it would be created;
    * the members of the administrators' groups.

    The members of the readers' groups are readers.

    Any user can make a user namespace, and be root and a member of any group
    in it. There, only the owner of the state directory has roles.

    :param admin_groups: names of groups whose members are administrators;
        groups that do not exist are ignored.
    :param reader_groups: the same for readers.
    :param state_path: path of the state directory.
    :returns: the user and the roles; administrators have both.
    """
    roles = set()
    on_host = _is_host_namespace()
    if _owns(state_path, on_host) or (
        on_host and (os.getuid() == 0 or _in_any(admin_groups))
    ):
        roles |= {ADMIN, READER}
    elif on_host and _in_any(reader_groups):
        roles.add(READER)
    return Identity(user(), frozenset(roles), user_id=_name(os.getuid()))


def _is_host_namespace() -> bool:
    """Return whether user IDs mean the users of the host."""
    try:
        with open(_UID_MAP, encoding='ascii') as file:
            return [int(each) for each in file.read().split()] == _HOST_MAP
    except (OSError, ValueError):
        return False


def unmapped_users() -> frozenset[int]:
    """Return who owns, as this process sees it, what no user of it owns.

    In a user namespace, such as that of a container, that is what belongs
    to users of the host: the directories above a mounted file, for example.

    :returns: the user ID that stands for all of them; nothing outside of a
        user namespace.
    """
    if _is_host_namespace():
        return frozenset()
    try:
        with open(_OVERFLOW_UID, encoding='ascii') as file:
            return frozenset({int(file.read())})
    except (OSError, ValueError):
        return frozenset()


def _owns(state_path: str, on_host: bool) -> bool:
    """Return whether the state directory belongs to this user."""
    owner = _owner(state_path)
    if owner != os.getuid():
        return False
    if on_host:
        return True
    # A user of the namespace can have the ID that stands for those of the
    # host.
    unmapped = unmapped_users()
    return bool(unmapped) and owner not in unmapped


def _in_any(groups: Iterable[str]) -> bool:
    mine = {os.getegid(), *os.getgroups()}
    for name in groups:
        try:
            if grp.getgrnam(name).gr_gid in mine:
                return True
        except KeyError:
            # Not every host has every group.
            continue
    return False


def _owner(path: str) -> int | None:
    """Return the owner of a directory, or of the nearest one above it."""
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


def login_uid() -> int | None:
    """Return the user that logged in, which sudo and su do not change.

    :returns: the user ID; None if no login led to this process.
    """
    try:
        with open(_LOGIN_UID, encoding='ascii') as file:
            uid = int(file.read())
    except (OSError, ValueError):
        return None
    return None if uid == _NO_LOGIN else uid


def _sudo_uid() -> int | None:
    """Return the user that called sudo, pkexec or doas."""
    for name in ('SUDO_UID', 'PKEXEC_UID'):
        found = uid_of(os.environ.get(name, ''))
        if found is not None:
            return found
    try:
        return pwd.getpwnam(os.environ.get('DOAS_USER', '')).pw_uid
    except (KeyError, ValueError):
        return None


def uid_of(text: str) -> int | None:
    """Return a user ID or group ID that is given as text.

    :param text: decimal digits.
    :returns: the ID; None if the text is not one.
    """
    if not (text.isascii() and text.isdigit()) or int(text) >= _NO_LOGIN:
        return None
    return int(text)


def described(roles: Sequence[str] | frozenset[str]) -> str:
    """Return roles as text: ``no role``, ``the roles admin, reader``.

    :param roles: names of roles, in any order.
    :returns: the text, in alphabetical order.
    """
    if not roles:
        return 'no role'
    named = ', '.join(sorted(roles))
    return f'the role{"s" if len(roles) > 1 else ""} {named}'
