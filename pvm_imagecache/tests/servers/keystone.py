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

"""Start a real Keystone, and make users in it.

The server is a process of its own, see ``keystone_wsgi``, and ends with the
one that started it.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from keystoneauth1 import session as ksa_session
from keystoneauth1.identity import v3
import requests

from pvm_imagecache.tests.servers import glance_wsgi
from pvm_imagecache.tests.servers import keystone_wsgi
from pvm_imagecache.tests.servers import process as process_module

_START_TIMEOUT = 180.0


class KeystoneServer:
    """A Keystone on a loopback port.

    :param state_dir: the directory of all its files; made, and empty.
    """

    def __init__(self, state_dir: str | os.PathLike[str]) -> None:
        self._state = pathlib.Path(state_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._session: Any = None
        self.url = ''

    @property
    def unversioned_url(self) -> str:
        """The address without the version of the API."""
        return self.url.removesuffix('/v3')

    @property
    def admin(self) -> tuple[str, str]:
        """Address, and password of the user admin."""
        return self.url, keystone_wsgi.PASSWORD

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._state.mkdir(parents=True, mode=0o700)
        ready = self._state / glance_wsgi.READY_FILE
        log_path = self._state / 'log'
        environment = {
            name: value
            for name, value in os.environ.items()
            # OS_GROUP__OPTION would override Keystone's configuration.
            if not name.startswith('OS_')
        }
        environment['PYTHONPATH'] = os.pathsep.join(
            filter(
                None,
                (
                    str(pathlib.Path(__file__).resolve().parents[3]),
                    environment.get('PYTHONPATH'),
                ),
            )
        )
        with open(log_path, 'wb') as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    '-P',
                    '-m',
                    keystone_wsgi.__name__,
                    f'--state-dir={self._state}',
                ],
                # Its end tells the server that we are gone.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._state,
                env=environment,
                umask=0o077,
                start_new_session=True,
            )
        end = time.monotonic() + _START_TIMEOUT
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(
                    'Keystone has not started:\n'
                    + log_path.read_text()[-4000:]
                )
            time.sleep(0.05)
        port = json.loads(ready.read_text())['port']
        self.url = f'http://{glance_wsgi.HOST}:{port}/v3'
        transport = requests.Session()
        # No proxy that the environment names leads to the loopback.
        transport.trust_env = False
        self._session = ksa_session.Session(
            v3.Password(
                self.url,
                username='admin',
                password=keystone_wsgi.PASSWORD,
                user_domain_id='default',
                project_name='admin',
                project_domain_id='default',
            ),
            session=transport,
        )

    def stop(self) -> None:
        """Stop the server."""
        process, self._process = self._process, None
        if process is not None:
            process_module.end(process)

    def add_domain(self, name: str) -> str:
        """Make a domain; returns its id."""
        made = self._post('domains', {'domain': {'name': name}})
        return made['domain']['id']

    def add_project(self, name: str, domain: str = 'default') -> str:
        """Make a project; returns its id."""
        return self._post(
            'projects', {'project': {'name': name, 'domain_id': domain}}
        )['project']['id']

    def add_user(
        self,
        name: str,
        password: str,
        project_id: str,
        *roles: str,
        domain: str = 'default',
    ) -> None:
        """Make a user with these roles in a project."""
        user_id = self._post(
            'users',
            {
                'user': {
                    'name': name,
                    'password': password,
                    'domain_id': domain,
                }
            },
        )['user']['id']
        known = {
            each['name']: each['id']
            for each in self._session.get(f'{self.url}/roles').json()['roles']
        }
        for role in roles:
            self._session.put(
                f'{self.url}/projects/{project_id}/users/{user_id}/roles/'
                f'{known[role]}'
            )

    def add_image_endpoints(self, region: str, **urls: str) -> None:
        """Add a region, if it is new, and addresses of Glance in it.

        :param urls: the address of each interface.
        """
        url = f'{self.url}/services?type=image'
        services = self._session.get(url).json()['services']
        service = (
            services[0]
            if services
            else self._post(
                'services', {'service': {'type': 'image', 'name': 'glance'}}
            )['service']
        )
        self._session.put(
            f'{self.url}/regions/{region}',
            json={'region': {}},
            raise_exc=False,
        )
        for interface, url in urls.items():
            self._post(
                'endpoints',
                {
                    'endpoint': {
                        'service_id': service['id'],
                        'region_id': region,
                        'interface': interface,
                        'url': url,
                    }
                },
            )

    def revoke(self, token: str) -> None:
        """Make a token invalid, as if it had expired."""
        self._session.delete(
            f'{self.url}/auth/tokens', headers={'X-Subject-Token': token}
        )

    def environment(
        self, user: str, password: str, project: str
    ) -> dict[str, str]:
        """What that user would have in the environment."""
        return {
            'OS_AUTH_URL': self.url,
            'OS_USERNAME': user,
            'OS_PASSWORD': password,
            'OS_PROJECT_NAME': project,
            'OS_USER_DOMAIN_NAME': 'Default',
            'OS_PROJECT_DOMAIN_NAME': 'Default',
        }

    def _post(self, path: str, body: Any) -> Any:
        return self._session.post(f'{self.url}/{path}', json=body).json()
