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

"""What is needed of Debian: servers that pip does not bring."""

import os
import pathlib
import shutil
import subprocess
import sys

from cloud import rabbitmq

#: Programs, and the packages that have them. mariadb-server-core is
#: mariadb-server without the service of the system.
_PACKAGES = {
    rabbitmq.PROGRAM: 'rabbitmq-server',
    'epmd': 'rabbitmq-server',
    'mariadbd': 'mariadb-server-core',
    'my_print_defaults': 'mariadb-client-core',
    'setpriv': 'util-linux',
}


def check(install: bool) -> None:
    """Leave if packages are missing, or install them.

    :param install: whether to install them; only root can.
    """
    # Servers are where the path of a plain user does not lead.
    os.environ['PATH'] = f'{os.environ["PATH"]}:/usr/sbin:/sbin'
    packages = missing()
    if not packages:
        return
    command = ['apt-get', 'install', '--no-install-recommends', *packages]
    if not install:
        sys.exit(
            f'Missing: {", ".join(packages)}. On Debian and Ubuntu:\n'
            f'  {" ".join(command)}\nor let --install do it.'
        )
    if os.geteuid():
        sys.exit(f'Only root can install packages: sudo {" ".join(command)}')
    print(f'Installing {", ".join(packages)} ...', flush=True)
    for step in (
        ['apt-get', '--quiet=2', 'update'],
        [*command, '--yes', '--quiet=2'],
    ):
        done = subprocess.run(
            step,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=os.environ | {'DEBIAN_FRONTEND': 'noninteractive'},
        )
        if done.returncode:
            sys.exit(f'{done.stdout}\n{" ".join(step)} failed: see above.')
    if missing():
        sys.exit(f'Still missing after the installation: {missing()}.')


def missing() -> list[str]:
    """The packages that are not installed."""
    return sorted(
        {
            package
            for program, package in _PACKAGES.items()
            if not (shutil.which(program) or pathlib.Path(program).exists())
        }
    )
