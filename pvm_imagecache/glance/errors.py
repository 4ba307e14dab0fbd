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

"""Translation of the errors that libraries raise about Glance.

Everything that keystoneauth1 or requests raise is turned into an error of
this project here and nowhere else. urllib3 could take an error of a library
in the iterator of an upload for a closed socket, and ignore it.
"""

from collections.abc import Iterator
import contextlib
import http
from typing import Final

from keystoneauth1 import exceptions as ksa_exceptions
from oslo_log import log as logging
import requests
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import pace
from pvm_imagecache.system import network_errors

LOG = logging.getLogger(__name__)

#: A wrong or missing credential, or no endpoint to present it to.
_LOGON_FAILED: Final = (
    ksa_exceptions.EndpointNotFound,
    ksa_exceptions.MissingAuthPlugin,
    ksa_exceptions.MissingRequiredOptions,
    ksa_exceptions.NoMatchingPlugin,
    ksa_exceptions.Unauthorized,
)
#: The connection broke while data was read.
_BROKEN: Final = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ConnectionError,
)
#: There is no answer. OSError is what some libraries raise for a broken
#: connection.
_NO_CONNECTION: Final = (
    ksa_exceptions.ConnectionError,
    ksa_exceptions.HttpServerError,
    requests.exceptions.RequestException,
    urllib3_exceptions.HTTPError,
    OSError,
)
#: The answers of a server, or of a proxy in front of it, that has a problem
#: which may be over soon.
_TRANSIENT_STATUSES: Final = frozenset(
    {
        http.HTTPStatus.REQUEST_TIMEOUT,
        http.HTTPStatus.TOO_MANY_REQUESTS,
        http.HTTPStatus.INTERNAL_SERVER_ERROR,
        http.HTTPStatus.BAD_GATEWAY,
        http.HTTPStatus.SERVICE_UNAVAILABLE,
        http.HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@contextlib.contextmanager
def translated(
    image: str, *, expected: int | None = None, received: int = 0
) -> Iterator[None]:
    """Raise the errors of libraries in the block as errors of this project.

    Errors of this project leave the block unchanged. The cause of any other
    is chained.

    :param image: ID of the image that the block asks for, or the text that
        it searches.
    :param expected: size of the image in bytes if the block reads its data,
        None if it makes another request.
    :param received: bytes that had arrived before the block.
    :raises GlanceLogonFailed: if Glance or Keystone refused the
        credentials, or has no endpoint for them.
    :raises ImageForbidden: if Glance refused a request for the image (HTTP
        403).
    :raises ImageNotFound: if Glance does not know the image (HTTP 404).
    :raises ImageTooSlow: if data arrives too slowly.
    :raises ImageTruncated: if the connection broke while data was read.
    :raises GlanceBusy: if Glance, or a proxy in front of it, cannot answer
        for the moment (HTTP 408, 429, 500, 502, 503 or 504).
    :raises GlanceUnreachable: if Glance did not answer.
    :raises GlanceNotThere: if Glance cannot be reached at that address, and
        repeating the request is pointless.
    :raises GlanceFailed: for every other answer, and every other error.
    """
    try:
        yield
    except exceptions.PVMImageCacheError:
        raise
    except pace.TooSlow as error:
        raise exceptions.ImageTooSlow(
            image=image,
            rate=text.size(int(error.rate)),
            minimum=text.size(int(error.minimum)),
        ) from error
    except glance_http.BadAnswer as error:
        raise _of_answer(image, error) from error
    except _LOGON_FAILED as error:
        raise exceptions.GlanceLogonFailed(
            reason=text.one_line(error)
        ) from error
    except glance_http.Interrupted as error:
        raise _interrupted(image, error, expected, received) from error
    except _BROKEN as error:
        if expected is None:
            raise _unreachable(error) from error
        raise exceptions.ImageTruncated(
            image=image,
            expected=expected,
            received=received,
            reason='the connection broke',
        ) from error
    except _NO_CONNECTION as error:
        raise _unreachable(error) from error
    except Exception as error:
        # The libraries let errors of every library below them through. None
        # of them may reach an upload unchanged.
        LOG.warning(
            'Unexpected error of a library at a request to Glance for %s',
            image,
            exc_info=True,
        )
        raise exceptions.GlanceFailed(
            image=image,
            reason='the request failed in a library for an unexpected '
            'reason, which is in the log',
        ) from error


def _of_answer(
    image: str, answer: glance_http.BadAnswer
) -> exceptions.ImageError:
    """Return the error for an answer that was not what was requested."""
    reason = str(answer)
    if answer.status in _TRANSIENT_STATUSES:
        return exceptions.GlanceBusy(
            reason=reason, retry_after=answer.retry_after
        )
    if answer.status == http.HTTPStatus.UNAUTHORIZED:
        return exceptions.GlanceLogonFailed(reason=reason)
    if answer.of_image and answer.status == http.HTTPStatus.FORBIDDEN:
        return exceptions.ImageForbidden(image=image, answer=f' ({reason})')
    if answer.of_image and answer.status == http.HTTPStatus.NOT_FOUND:
        return exceptions.ImageNotFound(image=image, answer=f' ({reason})')
    return exceptions.GlanceFailed(image=image, reason=reason)


def _interrupted(
    image: str,
    error: glance_http.Interrupted,
    expected: int | None,
    received: int,
) -> exceptions.ImageError:
    reason = str(error)
    if expected is None:
        return exceptions.GlanceUnreachable(reason=reason)
    return exceptions.ImageTruncated(
        image=image, expected=expected, received=received, reason=reason
    )


def _unreachable(error: BaseException) -> exceptions.GlanceUnreachable:
    cause = network_errors.known_cause(error)
    if cause is None:
        # The text may be one of Python, or of a page.
        LOG.debug('Unknown network error', exc_info=error)
        cause = 'the connection failed'
    address = network_errors.address(error)
    reason = f'{address}: {cause}' if address else cause
    if network_errors.is_permanent(cause) and not network_errors.is_at_restart(
        cause
    ):
        return exceptions.GlanceNotThere(reason=reason)
    return exceptions.GlanceUnreachable(reason=reason)
