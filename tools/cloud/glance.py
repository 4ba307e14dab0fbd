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

"""Glance: images, in files."""

import json
import pathlib
import sys
from typing import Any
import urllib.request

from cloud import ini
from cloud import processes
from cloud import site as site_module
from cloud import wsgi
from pvm_imagecache.tests.servers import glance_wsgi


def commands(site: site_module.Site) -> list[processes.Command]:
    """What is done once, before it starts."""
    home = site.home('glance')
    for name in ('images', 'staging', 'tasks', 'locks'):
        (home / name).mkdir(mode=0o700)
    paste = ini.copy(
        pathlib.Path(sys.prefix, 'etc/glance/glance-api-paste.ini'),
        home / 'glance-api-paste.ini',
    )
    conf = ini.write(
        home / 'glance-api.conf',
        {
            'DEFAULT': {
                'use_stderr': 'true',
                'enabled_backends': 'fs:file',
                'worker_self_reference_url': site.url('glance'),
            },
            'database': {'connection': site.database('glance')},
            'glance_store': {'default_backend': 'fs'},
            'fs': {'filesystem_store_datadir': home / 'images'},
            'os_glance_staging_store': {
                'filesystem_store_datadir': home / 'staging'
            },
            'os_glance_tasks_store': {
                'filesystem_store_datadir': home / 'tasks'
            },
            'oslo_concurrency': {'lock_path': home / 'locks'},
            'oslo_policy': {'policy_file': home / 'policy.yaml'},
            'paste_deploy': {'config_file': paste, 'flavor': 'keystone'},
            'keystone_authtoken': ini.token_checks(site, 'glance'),
        },
    )
    return [
        processes.Command(
            'glance-db-sync',
            [
                site_module.command('glance-manage'),
                '--config-file',
                conf,
                'db_sync',
            ],
        )
    ]


def service(site: site_module.Site) -> processes.Service:
    """Its API."""
    environment = {'OS_GLANCE_CONFIG_DIR': str(site.home('glance'))}
    if site.as_deployed:
        environment[wsgi.WITHOUT_RANGES] = '1'
    return wsgi.service(
        site, 'glance', 'glance.wsgi.api:application', environment
    )


def servers(site: site_module.Site) -> str:
    """Two servers of Glance for api_servers, one of which is down."""
    return f'{site.url("nothing")}/v2,{site.url("glance", "/v2/")}'


def downloads(site: site_module.Site) -> list[dict[str, Any]]:
    """Requests for data of images so far: image_id, status, bytes_sent."""
    url = site.url('glance', glance_wsgi.CONTROL_PREFIX + 'downloads')
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found
