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

"""The commands of a user and of an operator, run as they would run them."""

import json
import os
import pathlib
import shlex
import subprocess
from typing import Any

from cloud import nova
from cloud import processes
from cloud import site as site_module

_TIMEOUT = 300.0


class CommandError(Exception):
    """A command failed."""


class OpenStack:
    """The openstack client, as one user.

    :param user: who has a project of the same name.
    """

    def __init__(self, site: site_module.Site, user: str) -> None:
        self.user = user
        self._variables = variables(site, user)

    def __call__(self, *arguments: str) -> None:
        """Run a command that prints nothing of interest."""
        _run(self.user, 'openstack', arguments, self._variables)

    def read(self, *arguments: str) -> Any:
        """Run a command that tells something; returns what it tells."""
        return json.loads(
            _run(
                self.user,
                'openstack',
                [*arguments, '-f', 'json'],
                self._variables,
            )
        )

    def show(self, *arguments: str) -> None:
        """Run a command, and print what it prints."""
        print(
            _run(self.user, 'openstack', arguments, self._variables),
            end='',
            flush=True,
        )


class Shell:
    """The command pvm-imagecache, beside a running nova-compute."""

    def __init__(self, site: site_module.Site) -> None:
        self._options = ['--config-file', str(nova.compute_conf(site))]

    def read(self, *arguments: str) -> Any:
        """Run a command, without a word on it; returns what it tells."""
        return json.loads(
            _run(
                '',
                'pvm-imagecache',
                [*self._options, *arguments, '-f', 'json'],
                {},
            )
        )

    def show(self, *arguments: str) -> None:
        """Run a command, and print what it prints."""
        print(
            f'\nroot@{nova.COMPUTE_HOST}# pvm-imagecache '
            f'{shlex.join(arguments)}'
        )
        print(
            _run(
                '',
                'pvm-imagecache',
                [*self._options, *arguments],
                {'COLUMNS': '120'},
            ),
            end='',
            flush=True,
        )


def variables(site: site_module.Site, user: str) -> dict[str, str]:
    """What the openstack client takes from its environment."""
    return {
        'OS_AUTH_URL': site.url('keystone', '/v3'),
        'OS_COMPUTE_API_VERSION': '2.81',
        'OS_IDENTITY_API_VERSION': '3',
        'OS_PASSWORD': site.password,
        'OS_PLACEMENT_API_VERSION': '1.39',
        'OS_PROJECT_DOMAIN_NAME': site_module.DOMAIN,
        'OS_PROJECT_NAME': user,
        'OS_REGION_NAME': site_module.REGION,
        'OS_USERNAME': user,
        'OS_USER_DOMAIN_NAME': site_module.DOMAIN,
    }


def write_rc(site: site_module.Site, user: str) -> pathlib.Path:
    """A file for a shell to source, to be that user."""
    path = site.directory / f'{user}.rc'
    path.touch(0o600)
    path.write_text(
        ''.join(
            f'export {name}={shlex.quote(value)}\n'
            for name, value in variables(site, user).items()
        )
    )
    return path


def _run(
    user: str, name: str, arguments: Any, environment: dict[str, str]
) -> str:
    if user:
        print(f'{user}$ {name} {shlex.join(arguments)}', flush=True)
    process = subprocess.Popen(
        [
            'setpriv',
            '--pdeathsig',
            'TERM',
            site_module.command(name),
            *arguments,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=processes.clean_environment() | environment,
    )
    try:
        output, errors = process.communicate(timeout=_TIMEOUT)
    finally:
        # When it takes too long, or we were told to end.
        process.kill()
    if process.returncode:
        raise CommandError(
            f'{name} {shlex.join(arguments)} ended with '
            f'{process.returncode}:{os.linesep}{output}{errors}'
        )
    return output
