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

"""Placement: what hosts have, and what is taken of it."""

from cloud import ini
from cloud import processes
from cloud import site as site_module
from cloud import wsgi


def commands(site: site_module.Site) -> list[processes.Command]:
    """What is done once, before it starts."""
    home = site.home('placement')
    ini.write(
        home / 'placement.conf',
        {
            'api': {'auth_strategy': 'keystone'},
            'placement_database': {'connection': site.database('placement')},
            'keystone_authtoken': ini.token_checks(site, 'placement'),
            'oslo_policy': {'policy_file': home / 'policy.yaml'},
        },
    )
    return [
        processes.Command(
            'placement-db-sync',
            [
                site_module.command('placement-manage'),
                '--config-file',
                home / 'placement.conf',
                'db',
                'sync',
            ],
        )
    ]


def service(site: site_module.Site) -> processes.Service:
    """Its API."""
    return wsgi.service(
        site,
        'placement',
        'placement.wsgi.api:application',
        {'OS_PLACEMENT_CONFIG_DIR': str(site.home('placement'))},
    )
