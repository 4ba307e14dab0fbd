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

"""What the errors of keystoneauth1 say about Keystone.

keystoneauth1 hides the cause of a failure in several ways: a discovery that
fails raises ``DiscoveryFailure``, whatever the HTTP status was, and an
answer of a proxy is quoted with all of its HTML.
"""

from collections.abc import Iterator
import dataclasses
import enum
import http
from typing import Final
from urllib import parse

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import plugin
from oslo_log import log as logging
import requests

from pvm_imagecache.system import network_errors

LOG = logging.getLogger(__name__)

#: Answers that mean that a service or a proxy cannot answer now.
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_NO_ADDRESS: Final = (
    ksa_exceptions.EndpointNotFound,
    ksa_exceptions.MissingAuthPlugin,
)
_LONGEST_MESSAGE: Final = 300


class Kind(enum.Enum):
    """What to do about an error of Keystone."""

    OUTAGE = 'outage'
    """Repeat the request: Keystone or a proxy fails for the moment."""

    REJECTED = 'rejected'
    """Correct the credentials."""

    WRONG = 'wrong'
    """Correct the address or other options."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """An error of Keystone.

    :ivar kind: what to do about it.
    :ivar reason: the cause, without a final stop.
    :ivar retry_after: seconds after which Keystone asks to be tried again;
        None if it does not say so.
    """

    kind: Kind
    reason: str
    retry_after: float | None = None


def fault(error: Exception) -> Fault:
    """Return what an error says about Keystone.

    :param error: what a request for a token or for the service catalog
        raised.
    :returns: the fault; its reason contains neither HTML nor the text of a
        Python error.
    """
    if type(error) is Exception:
        # Plugins raise it for a missing password, for example.
        return Fault(Kind.WRONG, _shortened(error))
    for each in _causes(error):
        if isinstance(each, ksa_exceptions.HttpError):
            return _of_status(each)
        if isinstance(each, ksa_exceptions.MissingAuthMethods):
            return Fault(
                Kind.REJECTED,
                'it requires more than one authentication method',
            )
        if isinstance(
            each,
            ksa_exceptions.ConnectionError
            | requests.exceptions.RequestException,
        ):
            return _of_connection(each)
        if isinstance(each, ksa_exceptions.InvalidResponse):
            return _unexpected(each.response)
    if any(isinstance(each, _NO_ADDRESS) for each in _causes(error)):
        # keystoneauth1 takes the address for a path, and has no other one.
        return Fault(
            Kind.WRONG, 'its address is no complete URL of http or https'
        )
    if isinstance(error, ksa_exceptions.DiscoveryFailure):
        if 'domain scope' in str(error):
            return Fault(
                Kind.WRONG,
                'it has only version 2 of the Identity API, which knows no '
                'domains',
            )
        return _unexpected(None)
    if isinstance(
        error,
        ksa_exceptions.AuthPluginException
        | ksa_exceptions.AuthorizationFailure
        | OSError,
    ):
        return Fault(Kind.WRONG, _shortened(error))
    # An answer in JSON, but not the one that keystoneauth1 expects.
    LOG.debug('Unexpected answer of Keystone', exc_info=error)
    return _unexpected(None)


def address(auth: plugin.BaseAuthPlugin | None) -> str:
    """Return the address of the Keystone that an authentication plugin uses.

    :param auth: the plugin.
    :returns: the address without user, password, query and fragment;
        ``an unknown address`` if the plugin has none.
    """
    url = getattr(auth, 'auth_url', None)
    if not url:
        return 'an unknown address'
    scheme, host, path, _, _ = parse.urlsplit(url)
    return parse.urlunsplit((scheme, host.rpartition('@')[2], path, '', ''))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it was raised for, the first one last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _of_status(error: ksa_exceptions.HttpError) -> Fault:
    status = int(error.http_status or 0)
    reason = status_text(status)
    if status in _BUSY:
        return Fault(Kind.OUTAGE, reason, _retry_after(error))
    if status == http.HTTPStatus.NOT_FOUND:
        return Fault(
            Kind.WRONG, f'{reason}: there is no Identity API at this address'
        )
    said = _said(error)
    if said:
        reason = f'{reason}: {said}'
    rejected = status in (
        http.HTTPStatus.UNAUTHORIZED,
        http.HTTPStatus.FORBIDDEN,
    )
    return Fault(Kind.REJECTED if rejected else Kind.WRONG, reason)


def _of_connection(error: BaseException) -> Fault:
    cause = network_errors.known_cause(error)
    if cause is None:
        LOG.debug('Unknown failure of a connection', exc_info=error)
        return Fault(Kind.OUTAGE, 'the connection failed')
    if network_errors.is_permanent(cause) and not network_errors.is_at_restart(
        cause
    ):
        return Fault(Kind.WRONG, cause)
    return Fault(Kind.OUTAGE, cause)


def _unexpected(response: requests.Response | None) -> Fault:
    kind = ''
    if response is not None:
        kind = response.headers.get('Content-Type', '').partition(';')[0]
    what = f'an answer of type {kind}' if kind else 'an answer'
    return Fault(
        Kind.OUTAGE,
        f'{what} that is not from the Identity API; a proxy or a login page '
        'may answer instead of it',
    )


def _retry_after(error: ksa_exceptions.HttpError) -> float | None:
    headers = getattr(error.response, 'headers', {})
    try:
        return max(0.0, float(headers.get('Retry-After', '')))
    except ValueError:
        # A date, or none.
        return None


def _said(error: ksa_exceptions.HttpError) -> str:
    """Return the message of Keystone; '' for an answer of something else."""
    headers = getattr(error.response, 'headers', {})
    if not headers.get('Content-Type', '').startswith('application/json'):
        return ''
    return _shortened(error.message or '').rstrip('.')


def _shortened(message: object) -> str:
    return ' '.join(str(message).split())[:_LONGEST_MESSAGE].rstrip('.')


def status_text(status: int) -> str:
    """Return an HTTP status with its name: ``HTTP 503 (...)``.

    :param status: the status.
    :returns: the text.
    """
    try:
        return f'HTTP {status} ({http.HTTPStatus(status).phrase})'
    except ValueError:
        return f'HTTP {status}'
