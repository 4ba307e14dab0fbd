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

"""A stand-in for Neutron: there are no networks, ports, or anything else.

nova asks for the ports of every server, even of one without any network.
This part of the run is not real, and nothing of the image cache needs it.
"""

from collections.abc import Callable
from collections.abc import Iterable
import json
from typing import Any

from cloud import processes
from cloud import site as site_module
from cloud import wsgi


def service(site: site_module.Site) -> processes.Service:
    """Its API."""
    return wsgi.service(site, 'neutron', f'{__name__}:application')


def application(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Answer every list with an empty one."""
    name = environ['PATH_INFO'].rstrip('/').rsplit('/', 1)[-1]
    if environ['REQUEST_METHOD'] == 'GET' and '/v2.0/' in environ['PATH_INFO']:
        status, answer = '200 OK', {name.replace('-', '_'): []}
    else:
        status, answer = '404 Not Found', {}
    body = json.dumps(answer).encode()
    start_response(
        status,
        [
            ('Content-Type', 'application/json'),
            ('Content-Length', str(len(body))),
        ],
    )
    return [body]
