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

"""Rules of a policy file that ask a server (``http:`` and ``https:``).

The answer of the server gives access, so it must be the right one: with
https its certificate is verified, and without https it must be this host.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Final
import urllib.parse

_LOOPBACK: Final = ('localhost', '127.0.0.1', '::1')


def check(rules: Mapping[str, Any]) -> None:
    """Check that no rule asks another host without a certificate.

    :param rules: the parsed checks of oslo.policy by the name of the rule.
    :raises ValueError: if a rule does.
    """
    for name, rule in rules.items():
        for each in _checks(rule):
            kind = getattr(each, 'kind', '')
            if kind not in ('http', 'https'):
                continue
            address = urllib.parse.urlsplit(f'{kind}:{each.match}')
            host = address.hostname
            # Users choose their names. What looks like a port, and is
            # followed by "@" and a server, is a password.
            if not host or '%' in address.netloc:
                raise ValueError(
                    f'"{name}" needs the fixed name of a server, to which '
                    'facts of the token can add a path'
                )
            if kind == 'http' and host not in _LOOPBACK:
                raise ValueError(
                    f'"{name}" asks "{host}" without verifying that it is '
                    'this server: use https'
                )


def _checks(rule: Any) -> Iterator[Any]:
    """Yield the single checks of a rule."""
    yield rule
    for each in getattr(rule, 'rules', ()):
        yield from _checks(each)
    inner = getattr(rule, 'rule', None)
    if inner is not None:
        yield from _checks(inner)
