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

"""glanceclients from the ``[glance]`` options of the configuration."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
from typing import Any
from typing import Final

import glanceclient
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import loading

from pvm_imagecache import exceptions
from pvm_imagecache.conf import glance

#: Seconds for which Glance may be silent, unless ``timeout`` is set.
DEFAULT_TIMEOUT: Final = 60


def factory(
    conf: Any,
    auth_of: Callable[[Any], Any] = (
        lambda context: context.get_auth_plugin()
    ),
    session_of_user: Callable[[], Any] = lambda: None,
) -> Callable[[Any], Any]:
    """A maker of clients for :class:`image_source.ImageSource`.

    Called with None it gives a client with the configured credentials, made
    once; called with a request context of nova, one that acts for the user
    of that request: whoever asks for an image has to be allowed to.

    :param auth_of: the keystoneauth1 plugin of a request context.
    :param session_of_user: gives a session of keystoneauth1, or None; it is
        taken where no credentials are configured.
    :raises ConfigurationError: when called, if the options make no sense.
    """

    @functools.cache
    def session() -> Any:
        glance.register(conf)
        with _explained():
            # Without a bound a silent Glance would hold a deploy for ever.
            return loading.load_session_from_conf_options(
                conf, 'glance', timeout=conf.glance.timeout or DEFAULT_TIMEOUT
            )

    @functools.cache
    def configured() -> Any:
        options = session()
        with _explained():
            auth = loading.load_auth_from_conf_options(conf, 'glance')
        if auth is None:
            session_with_auth = session_of_user()
            if session_with_auth is not None:
                return _clockless(
                    glanceclient.Client(
                        '2', session=session_with_auth, **_where(conf.glance)
                    )
                )
            raise exceptions.ConfigurationError(
                reason='auth_type in [glance] is not set: without '
                'credentials no image can be read. Set auth_type '
                '(for example "password"), auth_url, username, '
                'password and project_name there.'
            )
        _check_complete(conf.glance)
        return _clockless(
            glanceclient.Client(
                '2', session=options, auth=auth, **_where(conf.glance)
            )
        )

    def client_for(context: Any) -> Any:
        if context is None:
            return configured()
        options = session()
        return _clockless(
            glanceclient.Client(
                '2',
                session=options,
                auth=auth_of(context),
                global_request_id=context.global_id,
                **_where(conf.glance),
            )
        )

    return client_for


def auth_urls(conf: Any) -> list[str]:
    """Where the configured credentials are presented; [] if nowhere.

    :raises ConfigurationError: if the options make no sense.
    """
    glance.register(conf)
    with _explained():
        auth = loading.load_auth_from_conf_options(conf, 'glance')
    url = getattr(auth, 'auth_url', None)
    return [url] if url else []


def _check_complete(options: Any) -> None:
    """Say what is missing before anybody is asked to log us on without it.

    :raises ConfigurationError: naming the option.
    """
    if options.auth_type not in ('password', 'v3password'):
        return
    for names in (('username', 'user_id'), ('password',)):
        if not any(getattr(options, each, None) for each in names):
            raise exceptions.ConfigurationError(
                reason=f'{" or ".join(names)} in [glance] is not set: '
                f'auth_type = {options.auth_type} needs it.'
            )


def _clockless(client: Any) -> Any:
    """A client that does not wait when the clock is set back.

    keystoneauth1 keeps the time of the last request for limits of rates,
    though none is set, and sleeps until the clock has come to it again.
    """
    client.http_client._rate_semaphore = None
    return client


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ksa_exceptions.ClientException, OSError) as error:
        raise exceptions.ConfigurationError(
            reason=f'The options in [glance] can not be used: {error}'
        ) from error


def _where(options: Any) -> dict[str, Any]:
    """The arguments that tell a client where Glance is."""
    override = options.endpoint_override or next(
        iter(options.api_servers or ()), None
    )
    return {
        'service_type': options.service_type or 'image',
        'service_name': options.service_name,
        'interface': list(options.valid_interfaces or ()) or 'public',
        'region_name': options.region_name,
        'endpoint_override': override,
    }
