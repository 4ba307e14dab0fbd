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

from collections.abc import Mapping
from collections.abc import Sequence
import os
from typing import Any
from typing import Final
from urllib import parse

from keystoneauth1 import loading
from keystoneauth1 import session as ksa_session

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import clouds
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import keystone_errors
from pvm_imagecache.system import caller as caller_module
from pvm_imagecache.system import identity
from pvm_imagecache.system import retry
from pvm_imagecache.system import streaming
from pvm_imagecache.system import waiting

_TIMEOUT: Final = 60
#: Seconds to wait before each repetition while Keystone is out of service.
RETRY_DELAYS: Final = (0.5, 2.0, 8.0)


#: Plugins that a caller under sudo may choose: others start programs, read
#: files or ask any server.
ALLOWED_TYPES: Final = (
    'password',
    'v3password',
    'token',
    'v3token',
    'v3applicationcredential',
)
#: Bytes of a certificate file that are accepted.
_MAX_PEM: Final = 4 * 1024 * 1024


def session(
    credentials: clouds.Credentials,
    caller: caller_module.Caller | None = None,
) -> ksa_session.Session:
    """Return a session that authenticates when it is first used.

    :param credentials: the credentials.
    :param caller: the user on whose behalf this process runs, if it is
        another one. Certificate files are read with the rights of that user,
        and certificates of servers are always verified.
    :returns: the session.
    :raises KeystoneFailed: if the credentials are incomplete, or if the
        caller may not read a file.
    :raises AuthTypeRefused: if a caller chose a plugin that is not accepted.
    """
    if caller is not None and credentials.auth_type not in ALLOWED_TYPES:
        raise exceptions.AuthTypeRefused(
            auth_type=credentials.auth_type,
            source=credentials.source,
            allowed=', '.join(ALLOWED_TYPES),
        )

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
    verify, certificate = _files(credentials, caller)
    made = ksa_session.Session(
        auth, verify=verify, cert=certificate, timeout=_TIMEOUT
    )
    if caller is not None:
        _ignore_environment(made)
    return _bounded(made)


def configured_session(
    session: ksa_session.Session, options: Any
) -> ksa_session.Session:
    """Return a session that trusts the certificates of the configuration.

    Neither the caller nor the environment can make it ask another server.

    :param session: a session with the credentials of the user.
    :param options: the options in ``[glance]``.
    :returns: a session with the same credentials.
    """
    made = ksa_session.Session(
        session.auth,
        verify=False if options.insecure else options.cafile or True,
        # Of the user, read with the rights of the user.
        cert=session.cert,
        timeout=_TIMEOUT,
    )
    _ignore_environment(made)
    return _bounded(made)


def _bounded(session: ksa_session.Session) -> ksa_session.Session:
    """Limit the answers of Keystone, and follow it to no other server."""
    streaming.use(session, _TIMEOUT)
    return glance_http.stay_on_server(session)


def _ignore_environment(session: ksa_session.Session) -> None:
    """Use no proxy, bundle or .netrc that variables name."""
    session.session.trust_env = False


def _files(
    credentials: clouds.Credentials, caller: caller_module.Caller | None
) -> tuple[bool | str, str | tuple[str, str] | None]:
    """Return CA bundle and client certificate for requests."""
    verify, certificate = credentials.verify, credentials.certificate
    if caller is not None and verify is False:
        verify = True
    if isinstance(verify, str):
        verify = _readable(verify, credentials, caller)
    if isinstance(certificate, str):
        certificate = _readable(certificate, credentials, caller)
    elif certificate is not None:
        certificate = (
            _readable(certificate[0], credentials, caller),
            _readable(certificate[1], credentials, caller),
        )
    return verify, certificate


def _readable(
    path: str,
    credentials: clouds.Credentials,
    caller: caller_module.Caller | None,
) -> str:
    """Return a path with which requests reads what the caller may read."""
    if caller is None:
        return path
    try:
        if not os.path.isabs(path):
            raise OSError(0, 'it must be an absolute path')
        content = caller_module.read(path, caller, _MAX_PEM)
    except OSError as error:
        raise exceptions.KeystoneFailed(
            reason=f'{path} of {credentials.source} cannot be read with the '
            f'permissions of {caller.name}: {error.strerror}'
        ) from error
    # A file without a name, which no process can replace. It is kept open for
    # the connections to come.
    descriptor = os.memfd_create('certificate')
    with open(descriptor, 'wb', closefd=False) as file:
        file.write(content)
    return f'/proc/self/fd/{descriptor}'


@waiting.on('Keystone')
def authenticate(
    session: ksa_session.Session,
    trusted: Sequence[str],
    connection: ksa_session.Session | None = None,
    by: str = '',
    domains: Sequence[str] = ('default',),
) -> identity.Identity:
    """Authenticate the user, and return who it is.

    :param session: a session with the credentials of the user.
    :param trusted: URLs of the Keystone that is trusted.
    :param connection: the session with which Keystone is asked; None for
        the one with the credentials.
    :param by: the user of the operating system, if the history is to name
        both.
    :param domains: IDs of the domains whose roles the default rules count.
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
    access = retry.retry(
        lambda: _access(connection or session, plugin), RETRY_DELAYS
    )
    project = access.project_name
    who = access.username or access.user_id
    who += f' (project {project})' if project else ' (no project)'
    return identity.Identity(
        f'{who} by {by}' if by else who,
        frozenset(access.role_names),
        access.user_id,
        access.project_id,
        _scope(access),
        _is_of(access, domains),
    )


def _scope(access: Any) -> Mapping[str, str]:
    """Return the facts of a token that rules can refer to."""
    facts = {
        'user_name': access.username,
        'username': access.username,
        'user_domain_id': access.user_domain_id,
        'user_domain_name': access.user_domain_name,
        'project_name': access.project_name,
        'project_domain_id': access.project_domain_id,
        'project_domain_name': access.project_domain_name,
        'domain_id': access.domain_id,
        'domain_name': access.domain_name,
        'system_scope': 'all' if _is_of_system(access) else None,
    }
    return {name: str(value) for name, value in facts.items() if value}


def _is_of_system(access: Any) -> bool:
    return bool(getattr(access, 'system_scoped', False))


def _is_of(access: Any, domains: Sequence[str]) -> bool:
    """Return whether a token is for the system or for one of some domains."""
    return _is_of_system(access) or bool(
        {access.project_domain_id, access.domain_id} & set(domains)
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
