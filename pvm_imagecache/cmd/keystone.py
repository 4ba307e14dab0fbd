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

"""Authentication of the user with Keystone.

Credentials come from clouds.yaml (``--os-cloud``) or from the environment
variables of the openstack command. They are read without openstacksdk, whose
import takes longer than most commands of this project.
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
from pvm_imagecache import text
from pvm_imagecache.system import identity
from pvm_imagecache.system import waiting

_TIMEOUT: Final = 60
_DIRECTORIES: Final = ('.', '~/.config/openstack', '/etc/openstack')
_FALSE: Final = ('', '0', 'false', 'no')


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Credentials for Keystone. Secrets are not part of the repr.

    :ivar auth_type: name of the authentication plugin of keystoneauth1.
    :ivar options: options of the plugin, by name.
    :ivar verify: whether to verify TLS certificates, or path of a CA bundle.
    :ivar certificate: path of a client certificate, or paths of certificate
        and key.
    """

    auth_type: str
    options: Mapping[str, Any] = dataclasses.field(repr=False)
    verify: bool | str = True
    certificate: str | tuple[str, str] | None = None


def session(credentials: Credentials) -> ksa_session.Session:
    """Return a session that authenticates when it is first used.

    :param credentials: the credentials.
    :returns: the session.
    :raises KeystoneFailed: if the credentials are incomplete.
    """

    def value(option: Any) -> Any:
        for each in (option, *option.deprecated):
            found = credentials.options.get(each.dest)
            if found is not None:
                return found
        return option.default

    with _translated_errors():
        auth: Any = loading.get_plugin_loader(
            credentials.auth_type
        ).load_from_options_getter(value)
    return ksa_session.Session(
        auth,
        verify=credentials.verify,
        cert=credentials.certificate,
        timeout=_TIMEOUT,
    )


@waiting.on('Keystone')
def authenticate(
    session: ksa_session.Session, trusted: Sequence[str]
) -> identity.Identity:
    """Authenticate the user, and return who it is.

    :param session: a session with the credentials of the user.
    :param trusted: URLs of the Keystone that is trusted.
    :returns: the user, with their roles.
    :raises KeystoneFailed: if the credentials are for another Keystone, or
        are rejected.
    """
    # Plugins without a URL, or without tokens of Keystone, are not trusted.
    plugin: Any = session.auth
    url = getattr(plugin, 'auth_url', None) or ''
    if _normalized(url) not in map(_normalized, trusted):
        raise exceptions.KeystoneFailed(
            reason=f'{url or "no URL"} is not the Keystone of this '
            f'host, which is {" or ".join(trusted)} '
            '(keystone_auth_urls in [pvm_imagecache])'
        )
    with _translated_errors():
        access = plugin.get_access(session)
    project = access.project_name
    who = access.username or access.user_id
    return identity.Identity(
        f'{who} (project {project})' if project else f'{who} (no project)',
        frozenset(access.role_names),
        access.user_id,
        access.project_id,
    )


def from_cloud(name: str) -> Credentials:
    """Return the credentials of a cloud of clouds.yaml.

    :param name: name of the cloud.
    :returns: the credentials.
    :raises KeystoneFailed: if there is no such cloud, or no clouds.yaml.
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
            reason=f'cloud "{name}" in {path} has no auth_url (vendor '
            'profiles are not supported)'
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
    """Return the credentials of the OS_* environment variables.

    :param environment: the environment.
    :returns: the credentials; None without OS_AUTH_URL.
    """
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


def _certificate(
    cert: str | None, key: str | None
) -> str | tuple[str, str] | None:
    return (cert, key) if cert and key else cert or None


def _read(name: str, variable: str) -> tuple[str, Mapping[str, Any]]:
    """Return path and clouds of the first such file; '' if there is none."""
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
                reason=f'{path} cannot be read: {text.one_line(error)}'
            ) from error
        return path, _mapping(_mapping(content).get('clouds'))
    return '', {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _normalized(url: str) -> str:
    """Return a URL without the version, in lower case, to compare it."""
    parts = parse.urlsplit(url.strip().rstrip('/'))
    path = parts.path.removesuffix('/v3').removesuffix('/v2.0').rstrip('/')
    return f'{parts.scheme}://{parts.netloc}{path}'.lower()


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except ksa_exceptions.Unauthorized as error:
        raise exceptions.KeystoneFailed(
            reason='the credentials were rejected'
        ) from error
    except Exception as error:
        # Plugins raise errors of many libraries, and plain Exceptions.
        raise exceptions.KeystoneFailed(reason=text.one_line(error)) from error
