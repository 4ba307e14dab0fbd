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

"""What differs between the supported releases of nova.

Each difference names the release that made it. No other module looks which
release is installed.
"""

from typing import Any
from typing import Final

from keystoneauth1 import plugin
from oslo_log import log as logging

from nova import service_auth
from pvm_imagecache import exceptions
from pvm_imagecache import version
from pvm_imagecache.system import releases

LOG = logging.getLogger(__name__)

_CHECKED: Final = (releases.NOVA, releases.PYPOWERVM)


def check() -> None:
    """Compare the installed releases with those that were tested.

    A newer release than those is logged, and so is one without a version
    that can be compared.

    :raises ReleaseTooOld: if nova or pypowervm is older than supported.
    """
    for supported in _CHECKED:
        found = releases.find(supported)
        if found is None or found.state is releases.State.TESTED:
            continue
        if found.state is releases.State.TOO_OLD:
            raise exceptions.ReleaseTooOld(
                found=str(found),
                supported=str(supported),
                version=version.version_string(),
            )
        LOG.warning(
            '%(found)s was not tested with pvm_imagecache %(version)s, which '
            'supports %(supported)s. Upgrade '
            'pvm_imagecache if a newer release supports it.',
            {
                'found': found,
                'version': version.version_string(),
                'supported': supported,
            },
        )


def user_auth(context: Any) -> plugin.BaseAuthPlugin:
    """Return the authentication plugin of a request.

    :param context: the ``RequestContext`` of nova.
    :returns: a plugin with the token of the user, and with that of
        ``[service_user]`` if nova is configured to send it.
    :raises ClientException: of keystoneauth1, if it cannot be made.
    """
    # nova 33 (OpenStack 2026.1) gave it a name that tells whose token it is.
    function = getattr(
        service_auth, 'get_service_user_token_auth_plugin', None
    )
    if function is None:
        function = service_auth.get_auth_plugin
    return function(context)
