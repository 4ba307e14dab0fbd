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

Everything that glanceclient, keystoneauth1 or requests raise is turned into
an error of this project here and nowhere else. glanceclient, for one,
reports a corrupt image as ``IOError(EPIPE)``. urllib3 would take that for a
closed socket, and ignore it, if it came out of the iterator of an upload.
"""

from collections.abc import Iterator
import contextlib
from typing import Final

from glanceclient import exc as glance_exceptions
from keystoneauth1 import exceptions as ksa_exceptions
import requests

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.system import network_errors

#: A wrong or missing credential, or no endpoint to present it to.
_LOGON_FAILED: Final = (
    glance_exceptions.HTTPUnauthorized,
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
#: Glance or the network fails for the moment. OSError is what some
#: libraries raise for a broken connection.
_TRANSIENT: Final = (
    glance_exceptions.CommunicationError,
    glance_exceptions.HTTPBadGateway,
    glance_exceptions.HTTPInternalServerError,
    glance_exceptions.HTTPOverLimit,
    glance_exceptions.HTTPServiceUnavailable,
    glance_exceptions.InvalidEndpoint,
    ksa_exceptions.ConnectionError,
    ksa_exceptions.HttpServerError,
    requests.exceptions.RequestException,
    OSError,
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
    :raises ImageForbidden: if Glance refused the request (HTTP 403).
    :raises ImageNotFound: if Glance does not know the image (HTTP 404).
    :raises ImageTruncated: if the connection broke while data was read.
    :raises GlanceUnreachable: if Glance did not answer, or cannot for the
        moment.
    :raises GlanceNotThere: if nothing answers at that address, and
        repeating the request is pointless.
    :raises GlanceFailed: for every other error.
    """
    try:
        yield
    except exceptions.PVMImageCacheError:
        raise
    except _LOGON_FAILED as error:
        raise exceptions.GlanceLogonFailed(
            reason=text.one_line(error)
        ) from error
    except glance_exceptions.HTTPForbidden as error:
        raise exceptions.ImageForbidden(image=image) from error
    except glance_exceptions.HTTPNotFound as error:
        raise exceptions.ImageNotFound(image=image) from error
    except _BROKEN as error:
        if expected is None:
            raise _unreachable(error) from error
        raise exceptions.ImageTruncated(
            image=image,
            expected=expected,
            received=received,
            reason='the connection broke',
        ) from error
    except _TRANSIENT as error:
        raise _unreachable(error) from error
    except Exception as error:
        # glanceclient lets errors of every library below it through. None
        # of them may reach an upload unchanged.
        raise exceptions.GlanceFailed(
            image=image,
            reason=f'{type(error).__name__}: {text.one_line(error)}',
        ) from error


def _unreachable(error: BaseException) -> exceptions.GlanceUnreachable:
    cause = network_errors.plain_cause(error)
    if network_errors.is_permanent(cause):
        return exceptions.GlanceNotThere(reason=cause)
    return exceptions.GlanceUnreachable(reason=cause)
