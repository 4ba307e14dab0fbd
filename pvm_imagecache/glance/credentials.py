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

"""The user and project whose credentials Glance gets, for messages."""

from typing import Any
from typing import Final

from pvm_imagecache.system import identity

_UNKNOWN: Final = 'the credentials in use'


def described(client: Any, context: identity.RequestContext | None) -> str:
    """Return whose credentials a client sends. No request is made.

    :param client: a client of Glance.
    :param context: the request context that it acts for, or None for the
        configured credentials.
    :returns: ``user/project``, or that it is not known: Keystone may not
        have been asked, or does not take part.
    """
    if context is not None:
        user, project = (
            getattr(context, f'{each}_name', None)
            or getattr(context, f'{each}_id', None)
            for each in ('user', 'project')
        )
    else:
        access = getattr(_plugin(client), 'auth_ref', None)
        user = getattr(access, 'username', None)
        project = getattr(access, 'project_name', None)
    if not user:
        return _UNKNOWN
    return f'{user}/{project}' if project else str(user)


def _plugin(client: Any) -> Any:
    """Return the authentication plugin of a client, or None."""
    adapter = getattr(client, 'http_client', None)
    return getattr(adapter, 'auth', None) or getattr(
        getattr(adapter, 'session', None), 'auth', None
    )
