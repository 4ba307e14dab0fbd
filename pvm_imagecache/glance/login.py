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

"""Tokens of Keystone for requests to Glance, and their errors.

An error that is raised while a token is fetched must not be taken for one of
Glance. It is therefore translated where it arises: in the authentication
plugin.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
from typing import Any
from typing import Final

from keystoneauth1 import access
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import plugin
from keystoneauth1 import session as ksa_session
from keystoneauth1.access import service_catalog

from pvm_imagecache import exceptions
from pvm_imagecache.glance import keystone_errors
from pvm_imagecache.system import waiting


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Whose credentials are used, for messages.

    :ivar whose: what a service accepts or refuses.
    :ivar advice: what to do if it is refused, as a sentence.
    :ivar options: what determines region and interface of Glance.
    """

    whose: str
    advice: str
    options: str = 'region_name and valid_interfaces in [glance]'


CONFIGURED: Final = Credentials(
    'the credentials in [glance]', 'Check the auth_* options in [glance].'
)
USER_TOKEN: Final = Credentials(
    'the token of the user who made the request',
    'It may have expired or been revoked. Repeat the request with a new '
    'token. With send_service_user_token = true in [service_user] of '
    'nova.conf, Glance accepts tokens that expire during a build.',
)
SERVICE_USER: Final = Credentials(
    'the credentials in [service_user]',
    'Check the auth_* options in [service_user] of nova.conf.',
)


def of_user(source: str) -> Credentials:
    """Return the credentials of the user of a command.

    :param source: where they are, as ``the OS_* variables``.
    :returns: the credentials.
    """
    return Credentials(
        f'the credentials of {source}',
        'Check user, password and project there.',
        f'region_name and interface of {source}, or region_name and '
        'valid_interfaces in [glance]',
    )


class Login(plugin.BaseAuthPlugin):
    """An authentication plugin that raises errors of this project.

    All methods call those of another plugin. They raise

    * :exc:`KeystoneUnreachable` if Keystone cannot answer for the moment;
    * :exc:`KeystoneNotThere` if the address is wrong;
    * :exc:`TokenRefused` if Keystone refuses the credentials.

    :param auth: the other plugin.
    :param credentials: whose credentials it has.
    :ivar credentials: whose credentials it has.
    """

    def __init__(
        self, auth: plugin.BaseAuthPlugin, credentials: Credentials
    ) -> None:
        super().__init__()
        self._auth: Any = auth
        self.credentials = credentials

    @property
    def auth_ref(self) -> access.AccessInfo | None:
        """What Keystone sent with the token; None if there is no token."""
        found: access.AccessInfo | None = getattr(self._auth, 'auth_ref', None)
        return found

    def get_headers(
        self, session: ksa_session.Session
    ) -> dict[str, str] | None:
        """Return the headers with the token.

        :param session: sends requests to Keystone.
        :returns: the headers, or None.
        """
        with self._translated():
            headers: dict[str, str] | None = self._auth.get_headers(session)
            return headers

    def get_token(self, session: ksa_session.Session) -> str | None:
        """Return the token.

        :param session: sends requests to Keystone.
        :returns: the token, or None.
        """
        with self._translated():
            token: str | None = self._auth.get_token(session)
            return token

    def get_endpoint(
        self, session: ksa_session.Session, **kwargs: Any
    ) -> str | None:
        """Return an address of the service catalog.

        :param session: sends requests to Keystone.
        :param kwargs: what the address is of.
        :returns: the address, or None if the catalog has none.
        """
        with self._translated():
            try:
                url: str | None = self._auth.get_endpoint(session, **kwargs)
            except ksa_exceptions.CatalogException:
                return None
            return url

    def get_connection_params(self, session: ksa_session.Session) -> Any:
        """Return the TLS parameters of requests.

        :param session: sends requests to Keystone.
        :returns: the parameters, by name.
        """
        with self._translated():
            return self._auth.get_connection_params(session)

    def get_user_id(self, session: ksa_session.Session) -> str | None:
        """Return the ID of the user.

        :param session: sends requests to Keystone.
        :returns: the ID, or None.
        """
        with self._translated():
            user_id: str | None = self._auth.get_user_id(session)
            return user_id

    def get_project_id(self, session: ksa_session.Session) -> str | None:
        """Return the ID of the project.

        :param session: sends requests to Keystone.
        :returns: the ID, or None.
        """
        with self._translated():
            project_id: str | None = self._auth.get_project_id(session)
            return project_id

    def invalidate(self) -> bool:
        """Forget the token, so that the next request fetches a new one.

        :returns: False if that is not possible.
        """
        return bool(self._auth.invalidate())

    def get_catalog(
        self, session: ksa_session.Session
    ) -> service_catalog.ServiceCatalog | None:
        """Return the service catalog that came with the token.

        :param session: sends requests to Keystone.
        :returns: the catalog, or None if the plugin has none.
        """
        # A plugin that adds the token of a service has that of the user.
        auth = getattr(self._auth, 'user_auth', self._auth)
        if isinstance(auth, Login):
            return auth.get_catalog(session)
        with self._translated():
            if hasattr(auth, 'get_access'):
                auth = auth.get_access(session)
        found = getattr(auth, 'service_catalog', None)
        return (
            found
            if isinstance(found, service_catalog.ServiceCatalog)
            else None
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with waiting.on('Keystone'):
                yield
        except exceptions.PVMImageCacheError:
            raise
        except Exception as error:
            raise self._translation(error) from error

    def _translation(self, error: Exception) -> exceptions.ImageError:
        found = keystone_errors.fault(error)
        url = keystone_errors.address(self._auth)
        if found.kind is keystone_errors.Kind.REJECTED:
            return exceptions.TokenRefused(
                service='Keystone',
                url=url,
                whose=self.credentials.whose,
                reason=found.reason,
                advice=self.credentials.advice,
            )
        kind = (
            exceptions.KeystoneUnreachable
            if found.kind is keystone_errors.Kind.OUTAGE
            else exceptions.KeystoneNotThere
        )
        return kind(
            url=url,
            whose=self.credentials.whose,
            reason=found.reason,
            retry_after=found.retry_after,
        )
