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

"""Who somebody is by the word of Keystone, and the session to prove it.

Credentials come from clouds.yaml (``--os-cloud``) or from the variables of
the environment that the openstack command reads. They are read here, without
openstacksdk, whose import takes longer than most of our commands do.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import os
from typing import Any
from typing import Final
from urllib import parse

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import loading
from keystoneauth1 import session as ksa_session
import yaml

from pvm_imagecache import exceptions
from pvm_imagecache.system import identity

_TIMEOUT: Final = 60
_DIRECTORIES: Final = ('.', '~/.config/openstack', '/etc/openstack')
_FALSE: Final = ('', '0', 'false', 'no')


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What somebody presents to Keystone; nothing of it is ever shown.

    :ivar options: of the plugin that logs on, by name.
    """

    auth_type: str
    options: Mapping[str, Any] = dataclasses.field(repr=False)
    verify: bool | str = True
    certificate: Any = None


def session(credentials: Credentials) -> Any:
    """A session of keystoneauth1 that logs on when it is first used.

    :raises KeystoneFailed: if the credentials are not complete.
    """

    def value(option: Any) -> Any:
        for each in (option, *option.deprecated):
            found = credentials.options.get(each.dest)
            if found is not None:
                return found
        return option.default

    with _explained():
        auth: Any = loading.get_plugin_loader(
            credentials.auth_type
        ).load_from_options_getter(value)
    return ksa_session.Session(
        auth,
        verify=credentials.verify,
        cert=credentials.certificate,
        timeout=_TIMEOUT,
    )


def whoami(opened: Any, trusted: Sequence[str]) -> identity.Identity:
    """Log on, and have Keystone say who that is.

    :param trusted: the addresses of the Keystone whose word counts.
    :raises KeystoneFailed: if it is another one, or does not let us in.
    """
    url = getattr(opened.auth, 'auth_url', None) or ''
    if _plain(url) not in map(_plain, trusted):
        raise exceptions.KeystoneFailed(
            reason=f'{url or "no address"} is not the Keystone of this '
            f'host, which is {" or ".join(trusted)} '
            '(keystone_auth_urls in [pvm_imagecache])'
        )
    with _explained():
        access = opened.auth.get_access(opened)
    project = access.project_name
    who = access.username or access.user_id
    return identity.Identity(
        f'{who} (project {project})' if project else f'{who} (no project)',
        frozenset(access.role_names),
        access.user_id,
        access.project_id,
    )


def from_cloud(name: str) -> Credentials:
    """The credentials of a cloud in clouds.yaml.

    :raises KeystoneFailed: if there is none of that name.
    """
    path, clouds = _read('clouds.yaml', 'OS_CLIENT_CONFIG_FILE')
    if not path:
        raise exceptions.KeystoneFailed(
            reason='there is no clouds.yaml in this directory, in '
            '~/.config/openstack or in /etc/openstack'
        )
    entry = clouds.get(name)
    if not isinstance(entry, dict):
        raise exceptions.KeystoneFailed(
            reason=f'there is no cloud "{name}" in {path}'
        )
    _, secrets = _read('secure.yaml', 'OS_CLIENT_SECURE_FILE')
    secret = secrets.get(name)
    auth = dict(_mapping(entry.get('auth')))
    if isinstance(secret, dict):
        auth |= _mapping(secret.get('auth'))
    if not auth.get('auth_url'):
        raise exceptions.KeystoneFailed(
            reason=f'cloud "{name}" in {path} has no auth_url (profiles of '
            'vendors are not read)'
        )
    verify = entry.get('cacert') or True
    if entry.get('verify') is False or entry.get('insecure') is True:
        verify = False
    return Credentials(
        str(entry.get('auth_type') or _auth_type(auth)),
        auth,
        verify,
        _certificate(entry.get('cert'), entry.get('key')),
    )


def from_environment(environment: Mapping[str, str]) -> Credentials | None:
    """The credentials in OS_AUTH_URL and so on; None where there are none."""
    if not environment.get('OS_AUTH_URL'):
        return None
    options = {
        name[3:].lower(): value
        for name, value in environment.items()
        if name.startswith('OS_') and value
    }
    verify: bool | str = environment.get('OS_CACERT') or True
    if environment.get('OS_INSECURE', '').lower() not in _FALSE:
        verify = False
    return Credentials(
        environment.get('OS_AUTH_TYPE') or _auth_type(options),
        options,
        verify,
        _certificate(environment.get('OS_CERT'), environment.get('OS_KEY')),
    )


def _auth_type(options: Mapping[str, Any]) -> str:
    if options.get('application_credential_secret'):
        return 'v3applicationcredential'
    if options.get('token') and not options.get('password'):
        return 'token'
    return 'password'


def _certificate(cert: Any, key: Any) -> Any:
    return (cert, key) if cert and key else cert or None


def _read(name: str, variable: str) -> tuple[str, Mapping[str, Any]]:
    """The clouds of the first file of a name; '' where there is none."""
    candidates = [os.path.join(each, name) for each in _DIRECTORIES]
    if os.environ.get(variable):
        candidates = [os.environ[variable]]
    for each in candidates:
        path = os.path.expanduser(each)
        if not os.path.exists(path):
            continue
        try:
            with open(path, encoding='utf-8') as file:
                content = yaml.safe_load(file)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise exceptions.KeystoneFailed(
                reason=f'{path} can not be read: {_one_line(error)}'
            ) from error
        return path, _mapping(_mapping(content).get('clouds'))
    return '', {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(url: str) -> str:
    """An address without what does not matter in it."""
    parts = parse.urlsplit(url.strip().rstrip('/'))
    path = parts.path.removesuffix('/v3').removesuffix('/v2.0').rstrip('/')
    return f'{parts.scheme}://{parts.netloc}{path}'.lower()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ksa_exceptions.Unauthorized as error:
        raise exceptions.KeystoneFailed(
            reason='it does not accept the credentials'
        ) from error
    except Exception as error:
        # Of requests, of the plug-ins, and some are plain Exceptions.
        raise exceptions.KeystoneFailed(reason=_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    return (' '.join(str(error).split()) or type(error).__name__).rstrip('.')
