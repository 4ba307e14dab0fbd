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

"""nova: API, conductor, scheduler, and nova-compute on the PowerVM host.

nova-compute has a configuration file of its own, as on a host of its own: it
knows no database.
"""

import pathlib
import sys

from cloud import ini
from cloud import powervm
from cloud import processes
from cloud import site as site_module
from cloud import wsgi

COMPUTE_HOST = 'powervm1'
DRIVER = 'pvm_imagecache.PowerVMDriver'
#: Seconds between runs of periodic tasks.
_OFTEN = 5


def commands(site: site_module.Site) -> list[processes.Command]:
    """What is done once, before it starts."""
    home = site.home('nova')
    for name in ('locks', 'state'):
        (home / name).mkdir(mode=0o700)
    conf = ini.write(
        home / 'nova.conf',
        _common(site)
        | {
            'api_database': {'connection': site.database('nova_api')},
            'database': {'connection': site.database('nova')},
            'conductor': {'workers': 1},
            'scheduler': {'workers': 1},
        },
    )
    manage = [site_module.command('nova-manage'), '--config-file', conf]
    return [
        processes.Command('nova-api-db-sync', [*manage, 'api_db', 'sync']),
        processes.Command(
            'nova-map-cell0',
            [
                *manage,
                'cell_v2',
                'map_cell0',
                '--database_connection',
                site.database('nova_cell0'),
            ],
        ),
        # Connections are taken from nova.conf.
        processes.Command(
            'nova-create-cell',
            [*manage, 'cell_v2', 'create_cell', '--name', 'cell1'],
        ),
        # That of cell0 too.
        processes.Command('nova-db-sync', [*manage, 'db', 'sync']),
    ]


def discover_hosts(site: site_module.Site) -> processes.Command:
    """What adds a new nova-compute to its cell."""
    return processes.Command(
        'nova-discover-hosts',
        [
            site_module.command('nova-manage'),
            '--config-file',
            site.home('nova') / 'nova.conf',
            'cell_v2',
            'discover_hosts',
        ],
    )


def api(site: site_module.Site) -> processes.Service:
    """nova-api; it never runs under eventlet here, as it never forks."""
    paste = pathlib.Path(sys.prefix, 'etc/nova/api-paste.ini')
    return wsgi.service(
        site,
        'nova',
        'nova.wsgi.osapi_compute:application',
        {'OS_NOVA_CONFIG_FILES': f'{paste};{site.home("nova") / "nova.conf"}'},
    )


def controllers(site: site_module.Site) -> list[processes.Service]:
    """The conductor and the scheduler."""
    return [
        _service(site, name, site.home('nova') / 'nova.conf')
        for name in ('nova-conductor', 'nova-scheduler')
    ]


def compute(site: site_module.Site) -> processes.Service:
    """nova-compute; configure_compute() comes before."""
    return _service(site, 'nova-compute', compute_conf(site))


def compute_conf(site: site_module.Site) -> pathlib.Path:
    """The nova.conf of the host, which pvm-imagecache reads as well."""
    return site.home('compute') / 'nova.conf'


def configure_compute(
    site: site_module.Site,
    idle_age: int,
    minimum_age: int,
    glance_servers: str = '',
) -> None:
    """Write the configuration of the host.

    :param idle_age: after how many seconds without use images are evicted.
    :param minimum_age: for how many seconds they stay in any case.
    :param glance_servers: for api_servers; if empty, the address of the
        service catalog is used.
    """
    home = site.home('compute')
    for name in ('locks', 'state', 'instances', 'imagecache'):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    common = _common(site)
    common['DEFAULT'] |= {
        'host': COMPUTE_HOST,
        'compute_driver': DRIVER,
        'state_path': home / 'state',
        'instances_path': home / 'instances',
        # Inventories go to placement with this one.
        'update_resources_interval': _OFTEN,
        'periodic_fuzzy_delay': 0,
    }
    ini.write(
        compute_conf(site),
        common
        | {
            'oslo_concurrency': {'lock_path': home / 'locks'},
            # nova-compute uses the tokens of its users; these credentials are
            # for pvm-imagecache.
            'glance': _logon(site, 'imagecache')
            | ({'api_servers': glance_servers} if glance_servers else {}),
            'image_cache': {
                'manager_interval': _OFTEN,
                'remove_unused_original_minimum_age_seconds': idle_age,
            },
            'pvm_imagecache': {
                'disk_driver': 'localdisk',
                'volume_group_name': powervm.VOLUME_GROUP,
                'host': site_module.HOST,
                'port': site.ports.powervm,
                'protocol': 'http',
                'state_path': home / 'imagecache',
                'eviction_policies': 'age',
                'minimum_age': minimum_age,
            },
        },
    )


def _common(site: site_module.Site) -> dict[str, dict[str, object]]:
    home = site.home('nova')
    return {
        'DEFAULT': {
            'transport_url': site.transport_url,
            'my_ip': site_module.HOST,
            'use_stderr': 'true',
            'state_path': home / 'state',
            'report_interval': _OFTEN,
        },
        'oslo_concurrency': {'lock_path': home / 'locks'},
        'oslo_policy': {'policy_file': home / 'policy.yaml'},
        'keystone_authtoken': ini.token_checks(site, 'nova'),
        'placement': ini.credentials(site, 'nova'),
        'neutron': ini.credentials(site, 'nova'),
        'service_user': _logon(site, 'nova')
        | {'send_service_user_token': 'true'},
    }


def _logon(site: site_module.Site, user: str) -> dict[str, str]:
    """Credentials; the address of Keystone may have no version."""
    found = ini.credentials(site, user)
    if site.as_deployed:
        found['auth_url'] = site.url('keystone')
    return found


def _service(
    site: site_module.Site, name: str, conf: pathlib.Path
) -> processes.Service:
    disabled = 'false' if site.eventlet else 'true'
    return processes.Service(
        name,
        [site_module.command(name), '--config-file', conf],
        {'OS_NOVA_DISABLE_EVENTLET_PATCHING': disabled},
    )
