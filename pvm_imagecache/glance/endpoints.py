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

"""Addresses of Glance: API versions in them, and several servers."""

from collections.abc import Sequence
import random
import re
import threading
import time
from typing import Final
from urllib import parse

#: Seconds for which a server that failed is tried after the others.
_AVOIDED: Final = 60.0
_VERSION: Final = re.compile(r'v\d+(\.\d+)?', re.IGNORECASE)


def without_version(url: str) -> str:
    """Return the address of Glance without the version of its API.

    Every request of this project begins with ``/v2``. Many service
    catalogs and configurations have the version in the address, which nova
    and glanceclient remove too.

    :param url: the address of an endpoint, with or without a version.
    :returns: the address without version, final slash, query and fragment;
        a path before the version is kept.
    """
    scheme, host, path, _, _ = parse.urlsplit(url.strip())
    parts = path.rstrip('/').split('/')
    if _VERSION.fullmatch(parts[-1]):
        parts.pop()
    return parse.urlunsplit(
        (scheme, host, '/'.join(parts).rstrip('/'), '', '')
    )


def with_scheme(server: str) -> str:
    """Return a server as a URL.

    :param server: a URL, or host and port.
    :returns: the URL; ``http`` is the scheme if there was none, as in nova
        before it required one.
    """
    return server if '://' in server else f'http://{server}'


class Servers:
    """Several servers of one Glance, each of which can answer a request.

    The servers are in a random order, so that the processes of a cloud do
    not all use the same one. Each attempt begins with the next server.

    :param urls: addresses of the servers; at least one.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        # Servers that the configuration names twice are not preferred.
        self._urls = list(dict.fromkeys(urls))
        random.shuffle(self._urls)
        self._failed_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def for_attempt(self) -> list[str]:
        """Return the order in which the requests of one attempt use servers.

        :returns: all servers; the first one is the next in turn.
        """
        with self._lock:
            self._urls.append(self._urls.pop(0))
            return list(self._urls)

    def usable_first(self, urls: Sequence[str]) -> list[str]:
        """Return servers with those that failed in the last minute at the end.

        :param urls: the servers, as :meth:`for_attempt` returned them.
        :returns: the servers in the order in which a request tries them.
        """
        with self._lock:
            return sorted(urls, key=self._is_avoided)

    def failed(self, url: str) -> None:
        """Note that a server did not answer, or cannot for the moment.

        :param url: address of the server, as :meth:`for_attempt` returned
            it.
        """
        with self._lock:
            self._failed_at[url] = time.monotonic()

    def answered(self, url: str) -> None:
        """Note that a server answered.

        :param url: address of the server, as :meth:`for_attempt` returned
            it.
        """
        with self._lock:
            self._failed_at.pop(url, None)

    def _is_avoided(self, url: str) -> bool:
        failed_at = self._failed_at.get(url)
        return (
            failed_at is not None and time.monotonic() - failed_at < _AVOIDED
        )
