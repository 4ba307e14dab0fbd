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

"""The data of an image in one answer of Glance."""

from collections.abc import Iterator
import http.client
from typing import Final

import requests
from urllib3 import exceptions as urllib3_exceptions

from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.system import network_errors

#: Bytes that are read at a time.
_PART_SIZE: Final = 64 * 1024
#: What requests and the libraries below it raise while data is read.
_BROKEN: Final = (
    requests.exceptions.RequestException,
    urllib3_exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)


class Body:
    """Iterator over the data in an answer, without what is known already.

    :param response: the answer; :meth:`close` closes it.
    :param skip: how many bytes to leave out at the beginning: a server may
        send all of an image though it was asked for a part.
    """

    def __init__(self, response: requests.Response, skip: int = 0) -> None:
        self._response = response
        self._parts: Iterator[bytes] = response.iter_content(_PART_SIZE)
        self._skip = skip

    @property
    def skipping(self) -> bool:
        """Whether bytes that are left out have not all arrived."""
        return self._skip > 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next bytes.

        :returns: one byte or more.
        :raises Interrupted: if the connection breaks.
        """
        while True:
            part = self._read()
            skipped = min(self._skip, len(part))
            self._skip -= skipped
            if part[skipped:]:
                return part[skipped:]

    def close(self) -> None:
        """Close the answer. May be called more than once."""
        self._response.close()

    def _read(self) -> bytes:
        try:
            return next(self._parts)
        except _BROKEN as error:
            raise glance_http.Interrupted(
                glance_http.address(self._response.url),
                network_errors.plain_cause(error),
            ) from error
