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

"""A paste filter that stands in for keystonemiddleware's ``authtoken``.

A token spells out who bears it, ``user:project:role1,role2``, and becomes
the identity headers that Glance's own ``context`` filter reads, so that
Glance's policy and tenancy apply as in a cloud. Nothing is looked up
anywhere: whoever reaches the server may be whoever they like.

All other tokens are checked by ``authtoken`` itself if the filter has the
address of a Keystone.
"""

from collections import abc
import typing
import urllib.parse
from wsgiref import types

# What keystonemiddleware sets, and therefore nobody else may.
_IDENTITY_PREFIXES = (
    'HTTP_OPENSTACK_SYSTEM_SCOPE',
    'HTTP_X_DOMAIN',
    'HTTP_X_IDENTITY',
    'HTTP_X_IS_ADMIN',
    'HTTP_X_PROJECT',
    'HTTP_X_ROLE',
    'HTTP_X_SERVICE',
    'HTTP_X_TENANT',
    'HTTP_X_USER',
)


def identity_headers(token: str) -> dict[str, str]:
    """Return the WSGI variables of a token's identity, none if invalid."""
    # glanceclient percent-encodes every header it sends.
    parts = urllib.parse.unquote(token).split(':')
    if len(parts) != 3 or not all(parts):
        return {'HTTP_X_IDENTITY_STATUS': 'Invalid'}

    user, project, roles = parts
    return {
        'HTTP_X_IDENTITY_STATUS': 'Confirmed',
        'HTTP_X_USER_ID': user,
        'HTTP_X_USER_NAME': user,
        'HTTP_X_USER_DOMAIN_ID': 'default',
        'HTTP_X_PROJECT_ID': project,
        'HTTP_X_PROJECT_NAME': project,
        'HTTP_X_PROJECT_DOMAIN_ID': 'default',
        'HTTP_X_ROLES': roles,
    }


class TokenAuth:
    """Replace a request's identity by the one its token spells out.

    :param app: the application that is protected.
    :param checked: the same application behind ``authtoken``, for tokens of
        Keystone; None without one.
    """

    def __init__(
        self,
        app: types.WSGIApplication,
        checked: types.WSGIApplication | None = None,
    ) -> None:
        self._app = app
        self._checked = checked

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> abc.Iterable[bytes]:
        for name in [n for n in environ if n.startswith(_IDENTITY_PREFIXES)]:
            del environ[name]

        token = urllib.parse.unquote(environ.get('HTTP_X_AUTH_TOKEN', ''))
        if self._checked is not None and ':' not in token:
            return self._checked(environ, start_response)
        environ.update(identity_headers(environ.get('HTTP_X_AUTH_TOKEN', '')))
        return self._app(environ, start_response)


def filter_factory(
    global_conf: dict[str, typing.Any], **local_conf: typing.Any
) -> abc.Callable[[types.WSGIApplication], TokenAuth]:
    """Return the filter, as paste asks for it.

    With options, they are those of ``authtoken``.
    """
    if not local_conf:
        return TokenAuth

    def protected(app: types.WSGIApplication) -> TokenAuth:
        from keystonemiddleware import auth_token

        return TokenAuth(app, auth_token.AuthProtocol(app, local_conf))

    return protected
