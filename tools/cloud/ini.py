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

"""Configuration files of OpenStack services."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any
from typing import TypeAlias

from cloud import site as site_module

Sections: TypeAlias = Mapping[str, Mapping[str, Any]]


def write(path: pathlib.Path, sections: Sections) -> pathlib.Path:
    """Write a file that only its owner can read; returns its path."""
    lines = []
    for name, options in sections.items():
        lines.append(f'[{name}]')
        # oslo.config substitutes what follows a dollar sign.
        lines += [
            f'{key} = {value}'.replace('$', '$$')
            for key, value in options.items()
        ]
        lines.append('')
    path.touch(0o600)
    path.write_text('\n'.join(lines))
    return path


def copy(source: os.PathLike[str], target: pathlib.Path) -> pathlib.Path:
    """Copy a file that comes with a service, as it is; returns its path."""
    target.write_bytes(pathlib.Path(source).read_bytes())
    return target


def credentials(site: site_module.Site, user: str) -> dict[str, str]:
    """The options by which a service logs on to Keystone."""
    return {
        'auth_type': 'password',
        'auth_url': site.url('keystone', '/v3'),
        'username': user,
        'password': site.password,
        'project_name': 'service',
        'user_domain_name': site_module.DOMAIN,
        'project_domain_name': site_module.DOMAIN,
        'region_name': site_module.REGION,
    }


def token_checks(site: site_module.Site, user: str) -> dict[str, str]:
    """The options by which a service has Keystone check its users' tokens."""
    return credentials(site, user) | {
        'www_authenticate_uri': site.url('keystone', '/v3'),
        'service_token_roles': 'service',
        'service_token_roles_required': 'true',
    }
