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
import time

import requests

from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import pace as pace_module
from pvm_imagecache.system import content


class Body:
    """Iterator over the data in an answer, without what is known already.

    :param response: the answer; :meth:`close` closes it.
    :param skip: how many bytes to leave out at the beginning: a server may
        send all of an image though it was asked for a part.
    :param pace: measures the rate of the download; None for no minimum.
    :param resumed_at: when a resumed download was requested, by
        ``time.monotonic``; None at the begin of a download.
    """

    def __init__(
        self,
        response: requests.Response,
        skip: int = 0,
        pace: pace_module.Pace | None = None,
        resumed_at: float | None = None,
    ) -> None:
        self._response = response
        self._parts = content.parts(response)
        #: Whether waits are reported while a part is read.
        self._watched = content.watch(response, self._waited)
        self._pace = pace or pace_module.Pace(0, 0)
        self._resumed_at = resumed_at
        self._waiting_since = 0.0
        self._is_first = True
        self._restarted = skip > 0
        self._skip = skip
        self._new = False
        self._ended = False

    @property
    def no_more(self) -> bool:
        """Whether the server sent what was known already, and nothing else.

        It has no more data then, and asking again would repeat the whole
        transfer.
        """
        return (
            self._restarted
            and self._ended
            and not self._skip
            and not self._new
        )

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next bytes.

        :returns: one byte or more.
        :raises Interrupted: if the connection breaks.
        :raises TooSlow: if the data arrives too slowly.
        """
        while True:
            part = self._read()
            skipped = min(self._skip, len(part))
            self._skip -= skipped
            if part[skipped:]:
                self._new = True
                return part[skipped:]

    def close(self) -> None:
        """Close the answer. May be called more than once."""
        self._response.close()

    def _read(self) -> bytes:
        began = self._waiting_since = time.monotonic()
        try:
            part = self._next_part()
        except glance_http.Interrupted:
            # Otherwise a server could be silent again and again.
            if not self._is_first:
                self._pace.waited_for_resumption(
                    time.monotonic() - self._waiting_since
                )
            raise
        waited = 0.0 if self._watched else time.monotonic() - began
        if self._is_first:
            self._begin()
            waited = 0.0
        self._pace.received(len(part), waited)
        return part

    def _waited(self, seconds: float) -> None:
        """Count a wait for data, except the one for the first byte."""
        if self._is_first:
            self._begin()
        else:
            self._pace.waited(seconds)
        self._waiting_since = time.monotonic()

    def _begin(self) -> None:
        self._is_first = False
        if self._resumed_at is not None:
            self._pace.waited_for_resumption(
                time.monotonic() - self._resumed_at
            )

    def _next_part(self) -> bytes:
        try:
            with glance_http.reading(self._response):
                return next(self._parts)
        except StopIteration:
            self._ended = True
            raise
        except glance_http.Interrupted as error:
            self._ended = _is_end(error)
            raise


def _is_end(error: BaseException | None) -> bool:
    """Check if the server closed the connection before the announced end."""
    while error is not None:
        if isinstance(error, http.client.IncompleteRead):
            return True
        error = error.__cause__ or error.__context__
    return False
