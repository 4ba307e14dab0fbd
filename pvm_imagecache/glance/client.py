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

"""Clients of Glance, made from the ``[glance]`` options."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
from typing import Any
from typing import TypeAlias

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import loading
from keystoneauth1 import plugin
from keystoneauth1 import session as ksa_session

from pvm_imagecache import exceptions
from pvm_imagecache.conf import cache as cache_conf
from pvm_imagecache.conf import glance
from pvm_imagecache.conf import types as conf_types
from pvm_imagecache.glance import http
from pvm_imagecache.system import identity

#: Returns a client of Glance that acts for the user of a request context, or
#: one with the configured credentials for None.
ClientFactory: TypeAlias = Callable[
    [identity.RequestContext | None], http.Client
]


def _auth_plugin(context: identity.RequestContext) -> plugin.BaseAuthPlugin:
    return context.get_auth_plugin()


def _no_session() -> ksa_session.Session | None:
    return None


def factory(
    conf: conf_types.Conf,
    auth_of: Callable[
        [identity.RequestContext], plugin.BaseAuthPlugin
    ] = _auth_plugin,
    session_of_user: Callable[[], ksa_session.Session | None] = _no_session,
) -> ClientFactory:
    """Return a function that makes clients for an ``ImageSource``.

    The client with the configured credentials is made once. A client for a
    request context acts for the user of that request, so that the
    permissions of that user apply.

    The function that is returned raises :exc:`ConfigurationError` if the
    options in ``[glance]`` are invalid or incomplete.

    :param conf: the configuration; the ``[glance]`` options are registered
        in it.
    :param auth_of: returns the authentication plugin of a request context.
    :param session_of_user: returns the session to use if no credentials are
        configured, or None if there is none.
    :returns: the function.
    """

    @functools.cache
    def session() -> ksa_session.Session:
        glance.register(conf)
        cache_conf.register(conf)
        with _explained():
            # Without a limit a silent Glance would block a deploy forever.
            return loading.load_session_from_conf_options(
                conf,
                'glance',
                timeout=conf.glance.timeout or http.DEFAULT_TIMEOUT,
            )

    @functools.cache
    def configured() -> http.Client:
        options = session()
        with _explained():
            auth = loading.load_auth_from_conf_options(conf, 'glance')
        if auth is None:
            session_with_auth = session_of_user()
            if session_with_auth is not None:
                return http.make_client(session_with_auth, **_where(conf))
            raise exceptions.ConfigurationError(
                reason='auth_type in [glance] is not set: no image can be '
                'read without credentials. Set auth_type (for example '
                '"password"), auth_url, username, password and '
                'project_name in [glance].'
            )
        _check_complete(conf.glance)
        return http.make_client(options, auth=auth, **_where(conf))

    def client_for(context: identity.RequestContext | None) -> http.Client:
        if context is None:
            return configured()
        options = session()
        return http.make_client(
            options,
            auth=auth_of(context),
            global_request_id=context.global_id,
            **_where(conf),
        )

    return client_for


def auth_urls(conf: conf_types.Conf) -> list[str]:
    """Return the URLs that the configured credentials are sent to.

    :param conf: the configuration; the ``[glance]`` options are registered
        in it.
    :returns: the URL of Keystone, or an empty list if none is configured.
    :raises ConfigurationError: if the options in ``[glance]`` are invalid.
    """
    glance.register(conf)
    with _explained():
        auth = loading.load_auth_from_conf_options(conf, 'glance')
    url = getattr(auth, 'auth_url', None)
    return [url] if url else []


def _check_complete(options: Any) -> None:
    """Raise ConfigurationError if an option that a logon needs is missing."""
    if options.auth_type not in ('password', 'v3password'):
        return
    for names in (('username', 'user_id'), ('password',)):
        if not any(getattr(options, each, None) for each in names):
            raise exceptions.ConfigurationError(
                reason=f'{" or ".join(names)} in [glance] is not set: '
                f'auth_type = {options.auth_type} requires it.'
            )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ksa_exceptions.ClientException, OSError) as error:
        raise exceptions.ConfigurationError(
            reason=f'The options in [glance] cannot be used: {error}'
        ) from error


def _where(conf: conf_types.Conf) -> dict[str, Any]:
    """Return the arguments by which a client finds and waits for Glance."""
    options = conf.glance
    override = options.endpoint_override or next(
        iter(options.api_servers or ()), None
    )
    return {
        'first_byte_timeout': conf.pvm_imagecache.first_byte_timeout,
        'service_type': options.service_type or 'image',
        'service_name': options.service_name,
        'interface': list(options.valid_interfaces or ()) or 'public',
        'region_name': options.region_name,
        'endpoint_override': override,
    }
