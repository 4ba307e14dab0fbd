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

"""Credentials and regions of clouds.yaml and of OS_* variables.

They are read as openstacksdk reads them, but without it: its import takes
longer than most commands of this project.

The variables OS_REGION_NAME, OS_INTERFACE, OS_CACERT, OS_CERT and OS_KEY
apply to a cloud of clouds.yaml too, and take precedence over the file, as
with the openstack command.

On behalf of another user, as under sudo, all files are read with the rights
of that user, from the home directory of that user, and none from the current
directory.
"""

from collections.abc import Mapping
import dataclasses
import io
import os
from typing import Any
from typing import Final

import yaml

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.glance import location as location_module
from pvm_imagecache.system import caller as caller_module
from pvm_imagecache.system import yaml_files

_DIRECTORIES: Final = ('.', '~/.config/openstack', '/etc/openstack')
#: Bytes of clouds.yaml that are accepted.
_MAX_SIZE: Final = 1024 * 1024
_FALSE: Final = ('', '0', 'false', 'no')
#: Keys of a cloud that environment variables replace.
_REPLACED: Final = ('region_name', 'interface', 'cacert', 'cert', 'key')


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Credentials for Keystone. Secrets are not part of the repr.

    :ivar auth_type: name of the authentication plugin of keystoneauth1.
    :ivar options: options of the plugin, by name.
    :ivar verify: whether to verify TLS certificates, or path of a CA bundle.
    :ivar certificate: path of a client certificate, or paths of certificate
        and key.
    :ivar location: where Glance is, as far as it is configured here.
    :ivar source: where the credentials are, for messages.
    """

    auth_type: str
    options: Mapping[str, Any] = dataclasses.field(repr=False)
    verify: bool | str = True
    certificate: str | tuple[str, str] | None = None
    location: location_module.Location = location_module.Location()
    source: str = 'the OS_* variables'


def from_cloud(
    name: str,
    environment: Mapping[str, str],
    caller: caller_module.Caller | None = None,
) -> Credentials:
    """Return the credentials of a cloud of clouds.yaml.

    :param name: name of the cloud.
    :param environment: the environment.
    :param caller: the user on whose behalf this process runs, if it is
        another one.
    :returns: the credentials.
    :raises KeystoneFailed: if there is no such cloud or region, or no
        clouds.yaml, or if the caller may not read the file.
    :raises ConfigurationError: if another version of the Image API is
        required.
    """
    path, clouds = _read(
        'clouds.yaml', environment, 'OS_CLIENT_CONFIG_FILE', caller
    )
    if not path:
        home = _home(caller)
        places = [
            'this directory' if each == '.' else each.replace('~', home)
            for each in _directories(caller)
        ]
        raise exceptions.KeystoneFailed(
            reason='there is no clouds.yaml in '
            f'{", ".join(places[:-1])} or in {places[-1]}'
        )
    entry = clouds.get(name)
    if not isinstance(entry, dict):
        raise exceptions.KeystoneFailed(
            reason=f'there is no cloud "{name}" in {path}'
        )
    _, secrets = _read(
        'secure.yaml', environment, 'OS_CLIENT_SECURE_FILE', caller
    )
    source = f'cloud "{name}" in {path}'
    values = _in_region(
        _merged(_normalized(entry), _normalized(secrets.get(name))),
        environment.get('OS_REGION_NAME'),
        source,
    )
    for key in _REPLACED:
        if environment.get(f'OS_{key.upper()}'):
            values[key] = environment[f'OS_{key.upper()}']
    auth = _mapping(values.get('auth'))
    if not auth.get('auth_url'):
        raise exceptions.KeystoneFailed(
            reason=f'{source} has no auth_url (vendor profiles are not '
            'supported)'
        )
    insecure = values.get('verify') is False or values.get('insecure') is True
    return _credentials(values, auth, insecure, source, caller)


def from_environment(
    environment: Mapping[str, str],
    caller: caller_module.Caller | None = None,
) -> Credentials | None:
    """Return the credentials of the OS_* environment variables.

    :param environment: the environment.
    :param caller: the user on whose behalf this process runs, if it is
        another one.
    :returns: the credentials; None without OS_AUTH_URL.
    :raises ConfigurationError: if another version of the Image API is
        required.
    """
    if not environment.get('OS_AUTH_URL'):
        return None
    values = {
        name[3:].lower(): value
        for name, value in environment.items()
        if name.startswith('OS_') and value
    }
    insecure = values.get('insecure', '').lower() not in _FALSE
    return _credentials(values, values, insecure, 'the OS_* variables', caller)


def _credentials(
    values: Mapping[str, Any],
    auth: Mapping[str, Any],
    insecure: bool,
    source: str,
    caller: caller_module.Caller | None,
) -> Credentials:
    cacert, cert, key = (
        _in_home(str(values.get(each) or ''), caller)
        for each in ('cacert', 'cert', 'key')
    )
    verify: bool | str = cacert or True
    return Credentials(
        str(values.get('auth_type') or _auth_type(auth)),
        auth,
        False if insecure else verify,
        (cert, key) if cert and key else cert or None,
        _location(values, source),
        source,
    )


def _auth_type(options: Mapping[str, Any]) -> str:
    if options.get('application_credential_secret'):
        return 'v3applicationcredential'
    if options.get('token') and not options.get('password'):
        return 'token'
    return 'password'


# -- regions and interfaces


def _location(
    values: Mapping[str, Any], source: str
) -> location_module.Location:
    """Return where Glance is; keys with the prefix take precedence."""
    version = str(values.get('image_api_version') or '2')
    if version.lower().removeprefix('v').split('.')[0] != '2':
        raise exceptions.ConfigurationError(
            reason=f'image_api_version in {source} is {version}, but only '
            'version 2 of the Image API is supported. Remove it or set it '
            'to 2.'
        )
    override = values.get('image_endpoint_override')
    return location_module.Location(
        servers=(str(override),) if override else (),
        region=_first(values, 'image_region_name', 'region_name'),
        interfaces=_interfaces(
            values.get('image_interface')
            or values.get('interface')
            or values.get('endpoint_type')
        ),
        service_type=_first(values, 'image_service_type') or 'image',
        service_name=_first(values, 'image_service_name'),
    )


def _interfaces(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else str(value or '').split(',')
    return tuple(str(name).strip() for name in names if str(name).strip())


def _first(values: Mapping[str, Any], *keys: str) -> str | None:
    return next((str(values[key]) for key in keys if values.get(key)), None)


def _in_region(
    entry: Mapping[str, Any], wanted: str | None, source: str
) -> dict[str, Any]:
    """Return a cloud with what its list of regions says of one of them."""
    regions = {}
    listed = entry.get('regions') or []
    if not isinstance(listed, list):
        raise exceptions.KeystoneFailed(
            reason=f'regions of {source} is not a list'
        )
    for each in listed:
        region = each if isinstance(each, dict) else {'name': each}
        regions[str(region.get('name'))] = _normalized(region.get('values'))
    chosen = wanted or entry.get('region_name') or next(iter(regions), None)
    if regions and str(chosen) not in regions:
        raise exceptions.KeystoneFailed(
            reason=f'there is no region "{chosen}" in {source}, whose regions '
            f'are {", ".join(sorted(regions))}'
        )
    values = _merged(entry, regions.get(str(chosen), {}))
    return values | {'region_name': chosen}


# -- files


def _read(
    name: str,
    environment: Mapping[str, str],
    variable: str,
    caller: caller_module.Caller | None,
) -> tuple[str, Mapping[str, Any]]:
    """Return path and clouds of the first such file; '' if there is none."""
    candidates = [os.path.join(each, name) for each in _directories(caller)]
    if environment.get(variable):
        candidates = [environment[variable]]
    for each in candidates:
        path = _in_home(each, caller)
        if caller is not None and not os.path.isabs(path):
            raise exceptions.KeystoneFailed(
                reason=f'{variable} must be an absolute path, because this '
                f'command runs on behalf of {caller.name}'
            )
        try:
            data = caller_module.read(path, caller, _MAX_SIZE)
            content = yaml_files.load(io.StringIO(data.decode()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (
            OSError,
            UnicodeDecodeError,
            yaml.YAMLError,
            RecursionError,
        ) as error:
            raise exceptions.KeystoneFailed(
                reason=f'{path} cannot be read: {_why(error)}'
            ) from error
        return path, _mapping(_mapping(content).get('clouds'))
    return '', {}


def _directories(caller: caller_module.Caller | None) -> tuple[str, ...]:
    return _DIRECTORIES if caller is None else _DIRECTORIES[1:]


def _home(caller: caller_module.Caller | None) -> str:
    return '~' if caller is None else caller.home


def _in_home(path: str, caller: caller_module.Caller | None) -> str:
    """Return a path with the home directory of the user for ``~``."""
    if caller is None:
        return os.path.expanduser(path)
    if path == '~' or path.startswith('~/'):
        return caller.home + path[1:]
    return path


def _why(error: Exception) -> str:
    """Return a cause without a part of the file, which has passwords."""
    if isinstance(error, OSError):
        return error.strerror or text.one_line(error)
    if isinstance(error, yaml_files.TooLarge):
        return str(error)
    mark = getattr(error, 'problem_mark', None)
    where = (
        f' in line {mark.line + 1}, column {mark.column + 1}' if mark else ''
    )
    return f'it is not valid YAML{where}'


def _normalized(value: Any) -> dict[str, Any]:
    """Return a mapping with underscores for hyphens in its keys."""
    return {
        str(key).replace('-', '_'): _normalized(each)
        if isinstance(each, dict)
        else each
        for key, each in _mapping(value).items()
    }


def _merged(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, Any]:
    """Return two mappings as one; the second one takes precedence."""
    merged = dict(one)
    for key, value in other.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        merged[key] = value
    return merged


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
