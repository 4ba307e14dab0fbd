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

"""Where a request to Glance is sent, and who is blamed for a refusal."""

from collections.abc import Mapping
import http
from typing import Any
from typing import Final
from urllib import parse

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session as ksa_session
from oslo_log import log as logging
import requests

from pvm_imagecache import exceptions
from pvm_imagecache.glance import endpoints
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import location as location_module
from pvm_imagecache.glance import login
from pvm_imagecache.system import network_errors

LOG = logging.getLogger(__name__)

#: Seconds until a server accepts the connection, if there are others.
_CONNECT_TIMEOUT: Final = 5.0
#: Answers of a server, or of a proxy before it, that is not in service.
_OUT_OF_SERVICE: Final = (
    http.HTTPStatus.BAD_GATEWAY,
    http.HTTPStatus.SERVICE_UNAVAILABLE,
    http.HTTPStatus.GATEWAY_TIMEOUT,
)


class GlanceAdapter(adapter.Adapter):
    """Sends requests to Glance, with the token of one user.

    The requests of an attempt are sent to one server of Glance. If that one
    cannot be reached or is out of service, the others are tried at once.

    :param session: session of keystoneauth1, without credentials.
    :param auth: the credentials.
    :param where: where Glance is.
    :param servers: the servers of ``where``, which clients share; None if
        the service catalog has the address.
    :param tls: parameters ``verify`` and ``cert`` of requests to Glance, if
        they are not those of the session.
    :param must_choose: refuse to guess which region is meant.
    :param kwargs: other parameters of the base class.
    """

    def __init__(
        self,
        session: ksa_session.Session,
        *,
        auth: login.Login,
        where: location_module.Location,
        servers: endpoints.Servers | None,
        tls: Mapping[str, Any] | None = None,
        must_choose: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            session,
            auth=auth,
            service_type=where.service_type,
            service_name=where.service_name,
            interface=list(where.interfaces),
            region_name=where.region,
            **kwargs,
        )
        self._login = auth
        self._order: list[str] = []
        self._where = where
        self._servers = servers
        self._tls = dict(tls or {})
        self._must_choose = must_choose
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Let the following requests begin with the next server."""
        if self._servers is not None:
            self._order = self._servers.for_attempt()

    def request(
        self, url: str, method: str, **kwargs: Any
    ) -> requests.Response:
        """Send a request.

        :param url: the path after the address of Glance, or the complete
            address that Glance redirected to.
        :param method: HTTP method, one that changes nothing.
        :param kwargs: other parameters of the base class.
        :returns: the answer.
        :raises TokenRefused: if Keystone or Glance refused the credentials.
        :raises KeystoneUnreachable: if Keystone cannot issue a token for the
            moment.
        :raises KeystoneNotThere: if there is no Keystone at its address.
        :raises ImageServiceNotFound: if the service catalog has no address
            of Glance.
        :raises keystoneauth1.exceptions.ClientException: if no server of
            Glance answers.
        """
        kwargs |= self._tls
        if parse.urlsplit(url).netloc:
            return self._accepted(super().request(url, method, **kwargs))
        if self._servers is None:
            # keystoneauth1 replaces names after a percent sign.
            kwargs['endpoint_override'] = self._from_catalog().replace(
                '%', '%%'
            )
            return self._accepted(super().request(url, method, **kwargs))
        return self._accepted(
            self._from_any(self._servers, url, method, kwargs)
        )

    def _from_any(
        self,
        servers: endpoints.Servers,
        url: str,
        method: str,
        kwargs: dict[str, Any],
    ) -> requests.Response:
        """Return the answer of the first server that is in service."""
        failure: Exception | None = None
        *others, last = servers.usable_first(self._order)
        for server in others:
            try:
                response = super().request(
                    url,
                    method,
                    **_impatient(kwargs, self.session),
                    endpoint_override=server,
                )
            except ksa_exceptions.ConnectionError as error:
                failure = _more_hopeful(failure, error)
                reason = network_errors.known_cause(error) or 'no answer'
            else:
                if response.status_code not in _OUT_OF_SERVICE:
                    servers.answered(server)
                    return response
                response.close()
                reason = f'HTTP {response.status_code}'
            servers.failed(server)
            LOG.warning(
                'Glance at %(server)s is out of service; using another '
                'server of api_servers: %(reason)s',
                {'server': glance_http.address(server), 'reason': reason},
            )
        try:
            response = super().request(
                url, method, **kwargs, endpoint_override=last
            )
        except ksa_exceptions.ConnectionError as error:
            servers.failed(last)
            raise _more_hopeful(failure, error) from error
        if response.status_code in _OUT_OF_SERVICE:
            servers.failed(last)
        else:
            servers.answered(last)
        return response

    def _from_catalog(self) -> str:
        """Return the address of Glance according to the service catalog."""
        url = self.get_endpoint()
        if not url:
            raise exceptions.ImageServiceNotFound(
                reason=location_module.missing(
                    self._where, self._login.get_catalog(self.session)
                ),
                options=self._login.credentials.options,
            )
        if self._must_choose:
            self._check_chosen()
        return endpoints.without_version(url)

    def _check_chosen(self) -> None:
        catalog = self._login.get_catalog(self.session)
        if catalog and location_module.is_ambiguous(self._where, catalog):
            raise exceptions.ImageServiceNotFound(
                reason='several regions with different addresses of the '
                'image service, and none is chosen: '
                + location_module.regions(self._where, catalog),
                options=self._login.credentials.options,
            )
        self._must_choose = False

    def _accepted(self, response: requests.Response) -> requests.Response:
        """Return an answer unless it refuses the token."""
        if response.status_code != http.HTTPStatus.UNAUTHORIZED:
            return response
        response.close()
        raise exceptions.TokenRefused(
            service='Glance',
            url=glance_http.address(response.url),
            whose=self._login.credentials.whose,
            reason='HTTP 401 (Unauthorized)',
            advice=self._login.credentials.advice,
        )


def _impatient(
    kwargs: dict[str, Any], session: ksa_session.Session
) -> dict[str, Any]:
    """Return parameters with a short limit for the connection itself."""
    limit = kwargs.get('timeout', session.timeout)
    connect, read = limit if isinstance(limit, tuple) else (limit, limit)
    return kwargs | {
        'timeout': (min(_CONNECT_TIMEOUT, connect or _CONNECT_TIMEOUT), read)
    }


def _more_hopeful(first: Exception | None, second: Exception) -> Exception:
    """Return the error that is more likely to be transient."""
    if first is None or network_errors.is_permanent(
        network_errors.plain_cause(first)
    ):
        return second
    return first
