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
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
from typing import Any
from typing import cast
from typing import TypeAlias

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import loading
from keystoneauth1 import plugin
from keystoneauth1 import session as ksa_session
from oslo_log import log as logging

from pvm_imagecache import exceptions
from pvm_imagecache.conf import cache as cache_conf
from pvm_imagecache.conf import glance
from pvm_imagecache.conf import types as conf_types
from pvm_imagecache.glance import endpoints
from pvm_imagecache.glance import http
from pvm_imagecache.glance import location as location_module
from pvm_imagecache.glance import login
from pvm_imagecache.glance import transport
from pvm_imagecache.system import identity

LOG = logging.getLogger(__name__)

#: Returns a client of Glance that acts for the user of a request context, or
#: one with the configured credentials for None.
ClientFactory: TypeAlias = Callable[
    [identity.RequestContext | None], http.Client
]


@dataclasses.dataclass(frozen=True)
class UserAccess:
    """Access of the user of a command to Glance.

    :ivar session: session of keystoneauth1.
    :ivar auth: the credentials.
    :ivar location: where Glance is, according to the user.
    :ivar source: where the credentials are, for messages.
    """

    session: ksa_session.Session
    auth: plugin.BaseAuthPlugin
    location: location_module.Location
    source: str


def _auth_plugin(context: identity.RequestContext) -> plugin.BaseAuthPlugin:
    return context.get_auth_plugin()


def _no_access() -> UserAccess | None:
    return None


def factory(
    conf: conf_types.Conf,
    auth_of: Callable[
        [identity.RequestContext], plugin.BaseAuthPlugin
    ] = _auth_plugin,
    access_of_user: Callable[[], UserAccess | None] = _no_access,
) -> ClientFactory:
    """Return a function that makes clients for an ``ImageSource``.

    The client with the configured credentials is made once. A client for a
    request context acts for the user of that request, so that the
    permissions of that user apply. All clients share the servers of
    ``api_servers``, and use them in turn.

    The function that is returned raises :exc:`ConfigurationError` if the
    options in ``[glance]`` are invalid or incomplete.

    :param conf: the configuration; the ``[glance]`` options are registered
        in it.
    :param auth_of: returns the authentication plugin of a request context;
        a :class:`~pvm_imagecache.glance.login.Login` is used as it is.
    :param access_of_user: returns how the user of the command has access if
        no credentials are configured, or None if they have no access.
    :returns: the function.
    """

    @functools.cache
    def session() -> ksa_session.Session:
        glance.register(conf)
        cache_conf.register(conf)
        with _explained():
            # Without a limit a silent Glance would block a deploy forever.
            return http.stay_on_server(
                loading.load_session_from_conf_options(
                    conf,
                    'glance',
                    timeout=conf.glance.timeout or http.DEFAULT_TIMEOUT,
                )
            )

    @functools.cache
    def servers_of(urls: Sequence[str]) -> endpoints.Servers | None:
        return _servers(urls) if urls else None

    def made(
        session: ksa_session.Session,
        auth: login.Login,
        where: location_module.Location,
        **kwargs: Any,
    ) -> http.Client:
        return http.make_client(
            session,
            first_byte_timeout=conf.pvm_imagecache.first_byte_timeout,
            min_rate=conf.pvm_imagecache.min_transfer_rate,
            transport=transport.GlanceAdapter,
            auth=auth,
            where=where,
            servers=servers_of(tuple(where.servers)),
            **kwargs,
        )

    @functools.cache
    def configured() -> http.Client:
        options = session()
        with _explained():
            auth = loading.load_auth_from_conf_options(conf, 'glance')
        if auth is not None:
            _check_complete(conf.glance)
            return made(
                options,
                login.Login(auth, login.CONFIGURED),
                location_module.from_options(conf.glance),
                must_choose=True,
            )
        access = access_of_user()
        if access is None:
            raise exceptions.ConfigurationError(
                reason='auth_type in [glance] is not set: no image can be '
                'read without credentials. Set auth_type (for example '
                '"password"), auth_url, username, password and '
                'project_name in [glance].'
            )
        if conf.glance.timeout:
            access.session.timeout = float(conf.glance.timeout)
        return made(
            access.session,
            login.Login(access.auth, login.of_user(access.source)),
            location_module.from_options(conf.glance, access.location),
            tls=_tls(conf.glance),
            must_choose=True,
        )

    def client_for(context: identity.RequestContext | None) -> http.Client:
        if context is None:
            client = configured()
            # Each attempt asks for a client.
            cast(transport.GlanceAdapter, client.http_client).begin_attempt()
            return client
        options, auth = session(), auth_of(context)
        if not isinstance(auth, login.Login):
            auth = login.Login(auth, login.USER_TOKEN)
        return made(
            options,
            auth,
            location_module.from_options(conf.glance),
            global_request_id=context.global_id,
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


def _servers(urls: Sequence[str]) -> endpoints.Servers:
    """Return the configured servers, without versions in their addresses."""
    for url in urls:
        if '://' not in url:
            LOG.warning(
                '"%s" in [glance] has no scheme: http is assumed. Set '
                'api_servers or endpoint_override to a complete URL.',
                http.address(endpoints.with_scheme(url)),
            )
    return endpoints.Servers(
        [endpoints.without_version(endpoints.with_scheme(url)) for url in urls]
    )


def _tls(options: Any) -> dict[str, Any]:
    """Return the TLS parameters of requests that are configured."""
    found: dict[str, Any] = {}
    if options.insecure:
        found['verify'] = False
    elif options.cafile:
        found['verify'] = options.cafile
    if options.certfile:
        found['cert'] = (
            (options.certfile, options.keyfile)
            if options.keyfile
            else options.certfile
        )
    return found
