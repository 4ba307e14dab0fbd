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

"""Requests that a page in a browser may have sent.

A page of any site can send requests to this host. With a name that leads
to 127.0.0.1 (DNS rebinding), it can also read the answers. No client of
PowerVM sends what these requests have.
"""

from __future__ import annotations

import ipaddress

from pvm_imagecache.simulator import body

# Browsers add them, and pages cannot remove them.
_ADDED_BY_BROWSERS = (
    'Origin',
    'Sec-Fetch-Site',
    'Sec-Fetch-Mode',
    'Sec-Fetch-Dest',
    'Access-Control-Request-Method',
)


def is_suspect(headers: body.Headers, is_local: bool) -> bool:
    """Whether a browser may have sent a request.

    :param is_local: whether the server listens on this host only. Its
        clients then use an address, or localhost, as its name.
    """
    if any(headers.get(name) is not None for name in _ADDED_BY_BROWSERS):
        return True
    host = headers.get('Host')
    return is_local and host is not None and not _is_address(host)


def _is_address(host: str) -> bool:
    name = host.strip().lower()
    if name.startswith('['):
        name = name[1:].partition(']')[0]
    else:
        name = name.partition(':')[0]
    if name == 'localhost':
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
