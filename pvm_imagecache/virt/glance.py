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

"""Glance with the options of nova and the token of a request."""

import dataclasses
from typing import Any
from typing import Final

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import plugin
from keystoneauth1 import service_token
import nova.conf
from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.glance import client
from pvm_imagecache.glance import login
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.virt import nova_release

_USER_WITH_SERVICE: Final = dataclasses.replace(
    login.USER_TOKEN,
    whose='the token of the user who made the request, with that of '
    '[service_user]',
    advice='The token may have been revoked, or the user of [service_user] '
    'lacks the roles that service_token_roles in glance-api.conf requires. '
    'Repeat the request with a new token, or check those options.',
)


def source() -> image_source.ImageSource:
    """Return a source of images.

    It connects according to ``[glance]`` of nova, with the permissions of
    the user of each request.

    :returns: the source; no request is made.
    """
    return image_source.ImageSource(
        client.factory(nova.conf.CONF, auth_of=_auth_of),
        not nova.conf.CONF.workarounds.disable_deep_image_inspection,
    )


def _auth_of(context: Any) -> plugin.BaseAuthPlugin:
    """Return the authentication plugin of a request.

    With ``[service_user]``, a request may outlive the token of its user.
    """
    try:
        auth = nova_release.user_auth(context)
    except (ksa_exceptions.ClientException, cfg.Error) as error:
        raise exceptions.ConfigurationError(
            reason='The options in [service_user] cannot be used: '
            f'{text.one_line(error)}.'
        ) from error
    if not isinstance(auth, service_token.ServiceTokenAuthWrapper):
        return login.Login(auth, login.USER_TOKEN)
    return login.Login(
        service_token.ServiceTokenAuthWrapper(
            user_auth=auth.user_auth,
            service_auth=login.Login(auth.service_auth, login.SERVICE_USER),
        ),
        _USER_WITH_SERVICE,
    )
