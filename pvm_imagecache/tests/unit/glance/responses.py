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

"""What a Glance answers in the unit tests: data, and errors."""

import errno
import http.client
import ssl

from keystoneauth1 import exceptions as ksa_exceptions
import requests
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache.glance import http as glance_http

FILE_URL = 'http://glance.invalid/v2/images/an-id/file'


def refused(status, url=FILE_URL, retry_after=None):
    """What a request raises that a server answered with an HTTP status."""
    return glance_http.BadAnswer(url, status, f'HTTP {status}', retry_after)


#: Errors that the libraries may raise while an image is read.
ERRORS = (
    BrokenPipeError(errno.EPIPE, 'Broken pipe'),
    OSError(errno.EPIPE, 'Corrupted image. Checksum was a, expected b'),
    ConnectionResetError(errno.ECONNRESET, 'reset'),
    OSError('no errno'),
    TimeoutError(),
    ValueError('v'),
    KeyError('k'),
    RuntimeError(),
    MemoryError(),
    AssertionError(),
    ssl.SSLError('s'),
    http.client.IncompleteRead(b'partial'),
    urllib3_exceptions.ProtocolError('p'),
    urllib3_exceptions.ReadTimeoutError(None, 'url', 'm'),
    requests.exceptions.ChunkedEncodingError('c'),
    requests.exceptions.ConnectionError('c'),
    requests.exceptions.ReadTimeout('r'),
    requests.exceptions.ContentDecodingError('d'),
    glance_http.Interrupted(FILE_URL, 'reset'),
    refused(200),
    refused(400),
    refused(401),
    refused(403),
    refused(404),
    refused(503),
    ksa_exceptions.Unauthorized('u'),
    ksa_exceptions.ConnectFailure('c'),
    ksa_exceptions.EndpointNotFound('e'),
    ksa_exceptions.MissingAuthPlugin('m'),
)


class Body:
    """Parts of an image, as an iterator that can be closed."""

    def __init__(self, parts, error=None):
        self._parts = iter(parts)
        self._error = error
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._parts)
        except StopIteration:
            if self._error:
                raise self._error from None
            raise

    def close(self):
        self.closed = True


def parts_of(content, size):
    """Cut bytes into parts of a size."""
    return [
        content[start : start + size] for start in range(0, len(content), size)
    ]
