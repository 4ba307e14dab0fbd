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

"""MariaDB from Debian, as a private instance of this run.

nova needs it: under sqlite its processes lock each other out.
"""

import getpass

from cloud import processes
from cloud import site as site_module

#: One of each for every service, and two cells for nova.
DATABASES = (
    'keystone',
    'placement',
    'glance',
    'nova_api',
    'nova_cell0',
    'nova',
)


def commands(site: site_module.Site) -> list[processes.Command]:
    """What makes the directory of data."""
    return [
        processes.Command(
            'mariadb-install-db',
            [
                'mariadb-install-db',
                '--no-defaults',
                f'--datadir={_data(site)}',
                f'--user={getpass.getuser()}',
                '--skip-name-resolve',
                '--skip-test-db',
                '--auth-root-authentication-method=socket',
            ],
        )
    ]


def service(site: site_module.Site) -> processes.Service:
    """The server; it makes databases and the user before it listens."""
    home = site.home('mariadb')
    statements = [f'CREATE DATABASE {name};' for name in DATABASES]
    statements.append(
        f"CREATE USER openstack@'{site_module.HOST}' IDENTIFIED BY "
        f"'{site.password}';"
    )
    statements += [
        f"GRANT ALL ON {name}.* TO openstack@'{site_module.HOST}';"
        for name in DATABASES
    ]
    (home / 'init.sql').touch(0o600)
    (home / 'init.sql').write_text('\n'.join(statements) + '\n')
    return processes.Service(
        'mariadb',
        [
            # First: it reads no configuration of the system.
            'mariadbd',
            '--no-defaults',
            f'--datadir={_data(site)}',
            # It does not start as root unless told so.
            f'--user={getpass.getuser()}',
            f'--socket={home}/socket',
            f'--pid-file={home}/pid',
            f'--bind-address={site_module.HOST}',
            f'--port={site.ports.mariadb}',
            f'--init-file={home}/init.sql',
            '--skip-name-resolve',
            '--max-connections=1000',
            '--character-set-server=utf8mb3',
            '--collation-server=utf8mb3_general_ci',
            # The data need not outlive a power failure.
            '--innodb-flush-log-at-trx-commit=0',
            '--innodb-doublewrite=0',
        ],
        port=site.ports.mariadb,
    )


def _data(site: site_module.Site) -> str:
    return str(site.home('mariadb') / 'data')
