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

"""Authentication of the user with Keystone."""

from collections.abc import Sequence
from typing import Any
from typing import Final
from urllib import parse

from keystoneauth1 import loading
from keystoneauth1 import session as ksa_session

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import clouds
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import keystone_errors
from pvm_imagecache.system import identity
from pvm_imagecache.system import retry
from pvm_imagecache.system import waiting

_TIMEOUT: Final = 60
#: Seconds to wait before each repetition while Keystone is out of service.
RETRY_DELAYS: Final = (0.5, 2.0, 8.0)


def session(credentials: clouds.Credentials) -> ksa_session.Session:
    """Return a session that authenticates when it is first used.

    :param credentials: the credentials.
    :returns: the session.
    :raises KeystoneFailed: if the credentials are incomplete.
    """

    def value(option: Any) -> Any:
        for each in (option, *option.deprecated):
            found = credentials.options.get(each.dest)
            if found is not None:
                return found
        return option.default

    try:
        auth: Any = loading.get_plugin_loader(
            credentials.auth_type
        ).load_from_options_getter(value)
    except Exception as error:
        # Plugins raise errors of many libraries, and plain Exceptions.
        fault = keystone_errors.fault(error)
        raise exceptions.KeystoneFailed(
            reason=f'{credentials.source}: {fault.reason}'
        ) from error
    return ksa_session.Session(
        auth,
        verify=credentials.verify,
        cert=credentials.certificate,
        timeout=_TIMEOUT,
    )


@waiting.on('Keystone')
def authenticate(
    session: ksa_session.Session, trusted: Sequence[str]
) -> identity.Identity:
    """Authenticate the user, and return who it is.

    :param session: a session with the credentials of the user.
    :param trusted: URLs of the Keystone that is trusted.
    :returns: the user, with their roles.
    :raises KeystoneFailed: if the credentials are for another Keystone, or
        are rejected.
    :raises KeystoneUnavailable: if Keystone is out of service, even after
        several attempts.
    """
    # Plugins without a URL, or without tokens of Keystone, are not trusted.
    plugin: Any = session.auth
    url = getattr(plugin, 'auth_url', None) or ''
    if _normalized(url) not in map(_normalized, trusted):
        raise exceptions.KeystoneFailed(
            reason=f'{_shown(url) or "no URL"} is not the Keystone of this '
            f'host, which is {" or ".join(map(_shown, trusted))} '
            '(keystone_auth_urls in [pvm_imagecache])'
        )
    access = retry.retry(lambda: _access(session, plugin), RETRY_DELAYS)
    project = access.project_name
    who = access.username or access.user_id
    return identity.Identity(
        f'{who} (project {project})' if project else f'{who} (no project)',
        frozenset(access.role_names),
        access.user_id,
        access.project_id,
    )


def _access(session: ksa_session.Session, plugin: Any) -> Any:
    """Return what Keystone says about the user, with a token."""
    try:
        return plugin.get_access(session)
    except Exception as error:
        # Plugins raise errors of many libraries, and plain Exceptions.
        fault = keystone_errors.fault(error)
        url = keystone_errors.address(plugin)
        if fault.kind is keystone_errors.Kind.OUTAGE:
            raise exceptions.KeystoneUnavailable(
                url=url, reason=fault.reason, retry_after=fault.retry_after
            ) from error
        if fault.kind is keystone_errors.Kind.REJECTED:
            raise exceptions.KeystoneFailed(
                reason=f'{url} rejected the credentials: {fault.reason}'
            ) from error
        raise exceptions.KeystoneFailed(
            reason=f'{url}: {fault.reason}'
        ) from error


def _shown(url: str) -> str:
    """Return a URL without a password, for messages."""
    return glance_http.address(url) if url else ''


def _normalized(url: str) -> str:
    """Return a URL without the version, in lower case, to compare it."""
    parts = parse.urlsplit(url.strip().rstrip('/'))
    path = parts.path.removesuffix('/v3').removesuffix('/v2.0').rstrip('/')
    return f'{parts.scheme}://{parts.netloc}{path}'.lower()
