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

"""Keystone: users, projects, roles, and the service catalog."""

from typing import Any

from cloud import ini
from cloud import processes
from cloud import site as site_module
from cloud import wsgi

#: Services that log on by themselves.
SERVICE_USERS = ('placement', 'glance', 'nova', 'imagecache')
#: Type, and what the path of its address is.
CATALOG = {
    'placement': ('placement', ''),
    'glance': ('image', ''),
    'nova': ('compute', '/v2.1'),
    'neutron': ('network', ''),
}
ADMIN = 'admin'
#: A plain user, with a project of the same name.
MEMBER = 'alice'


def commands(site: site_module.Site) -> list[processes.Command]:
    """What is done once, before it starts."""
    home = site.home('keystone')
    conf = ini.write(
        home / 'keystone.conf',
        {
            'database': {'connection': site.database('keystone')},
            'fernet_tokens': {'key_repository': home / 'fernet'},
            'fernet_receipts': {'key_repository': home / 'receipts'},
            'credential': {'key_repository': home / 'credentials'},
            'oslo_policy': {'policy_file': home / 'policy.yaml'},
        },
    )
    url = site.url('keystone', '/v3')
    manage = [site_module.command('keystone-manage'), '--config-file', conf]
    owner = [
        '--keystone-user',
        str(home.stat().st_uid),
        '--keystone-group',
        str(home.stat().st_gid),
    ]
    return [
        processes.Command('keystone-db-sync', [*manage, 'db_sync']),
        processes.Command(
            'keystone-fernet-setup', [*manage, 'fernet_setup', *owner]
        ),
        processes.Command(
            'keystone-credential-setup', [*manage, 'credential_setup', *owner]
        ),
        processes.Command(
            'keystone-bootstrap',
            [
                *manage,
                'bootstrap',
                '--bootstrap-region-id',
                site_module.REGION,
                '--bootstrap-public-url',
                url,
                '--bootstrap-internal-url',
                url,
                '--bootstrap-admin-url',
                url,
            ],
            # Not among the arguments, which everybody can see.
            {'OS_BOOTSTRAP_PASSWORD': site.password},
        ),
    ]


def service(site: site_module.Site) -> processes.Service:
    """Its API."""
    return wsgi.service(
        site,
        'keystone',
        'keystone.wsgi.api:application',
        {'OS_KEYSTONE_CONFIG_DIR': str(site.home('keystone'))},
    )


def connect(site: site_module.Site, user: str = ADMIN) -> Any:
    """A connection of openstacksdk, of a user to its own project."""
    import openstack

    return openstack.connect(
        auth={
            'auth_url': site.url('keystone', '/v3'),
            'username': user,
            'password': site.password,
            'project_name': user,
            'user_domain_name': site_module.DOMAIN,
            'project_domain_name': site_module.DOMAIN,
        },
        region_name=site_module.REGION,
        load_yaml_config=False,
        load_envvars=False,
    )


def fill(site: site_module.Site) -> None:
    """Make users and projects, and tell where the services will be."""
    with connect(site) as cloud:
        identity = cloud.identity
        project = identity.create_project(name='service', domain_id='default')
        roles = {role.name: role for role in identity.roles()}
        for name in SERVICE_USERS:
            user = identity.create_user(
                name=name, password=site.password, domain_id='default'
            )
            for role in ('admin', 'service'):
                identity.assign_project_role_to_user(
                    project, user, roles[role]
                )
        own = identity.create_project(name=MEMBER, domain_id='default')
        member = identity.create_user(
            name=MEMBER, password=site.password, domain_id='default'
        )
        identity.assign_project_role_to_user(own, member, roles['member'])
        catalog = CATALOG
        if site.as_deployed:
            catalog = CATALOG | {'glance': ('image', '/v2')}
        for name, (kind, path) in catalog.items():
            entry = identity.create_service(name=name, type=kind)
            for interface in ('public', 'internal', 'admin'):
                identity.create_endpoint(
                    service_id=entry.id,
                    interface=interface,
                    region_id=site_module.REGION,
                    url=site.url(name, path),
                )
