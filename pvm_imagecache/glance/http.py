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

"""Requests to Glance, and what counts as an answer of it.

What is neither data nor JSON of the expected kind is a :exc:`BadAnswer`, with
address and status. The requests are sent by keystoneauth1, not by
glanceclient: that reports most statuses without address and number, fails
with errors of Python at the page of a proxy, and asks for a schema first.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import email.utils
import functools
import http
import http.client
import json
import re
import time
from typing import Any
from typing import Final
import urllib.parse

from keystoneauth1 import adapter
from keystoneauth1 import session as ksa_session
import requests
from urllib3 import exceptions as urllib3_exceptions
from urllib3 import util as urllib3_util

from pvm_imagecache.glance import pace as pace_module
from pvm_imagecache.system import content as content_module
from pvm_imagecache.system import network_errors
from pvm_imagecache.system import streaming

#: Seconds without an answer after which a request fails, if the session has
#: no limit of its own.
DEFAULT_TIMEOUT: Final = 60
#: Seconds until the first byte of the data of an image.
DEFAULT_FIRST_BYTE_TIMEOUT: Final = 600
#: Bytes per second with which the data of an image must arrive.
DEFAULT_MIN_RATE: Final = 64 * 1024

#: The adapter that knows nothing but the type of the service.
_ADAPTER: Final = functools.partial(adapter.Adapter, service_type='image')
#: How many redirections of one request are followed.
_REDIRECTS: Final = 3
#: Bytes of JSON that are accepted. A page has 500 images of a few KiB each.
_MAX_JSON: Final = 16 * 1024 * 1024
#: Seconds in which they must arrive.
_MAX_JSON_SECONDS: Final = 300.0
#: Values in them, each of which needs a hundred bytes of memory or more.
_MAX_JSON_VALUES: Final = 500_000
#: Characters of a header that a message shows.
_SHOWN: Final = 40
_OCTETS: Final = 'octet-stream'
_HTML: Final = ('text/html', 'application/xhtml+xml')
#: What requests and the libraries below it raise while content is read.
_BROKEN: Final = (
    requests.exceptions.RequestException,
    urllib3_exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)
_OF_IMAGE: Final = re.compile(r'/v2/images/[^/]+(/file)?$')
_CONTENT_RANGE: Final = re.compile(
    r'bytes (\d{1,20})-(\d{1,20})/(\d{1,20})$', re.ASCII
)


class BadAnswer(Exception):
    """An answer that is not what was requested.

    The parameters are kept as attributes.

    :param url: address of the request, without user, password and query.
    :param status: HTTP status of the answer.
    :param problem: what was answered, without a final stop.
    :param retry_after: seconds after which the server asks for a repetition,
        or None.
    """

    def __init__(
        self,
        url: str,
        status: int,
        problem: str,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f'{url} answered {problem}')
        self.url = url
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def of_image(self) -> bool:
        """Whether the request was for one image, or its data."""
        return _OF_IMAGE.search(self.url) is not None


class Interrupted(Exception):
    """A connection that broke while data was read.

    The parameters are kept as attributes.

    :param url: address of the request, without user, password and query.
    :param cause: why, without a final stop.
    """

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f'the connection to {url} broke: {cause}')
        self.url = url
        self.cause = cause


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the data of an image.

    :ivar first: position of the first byte.
    :ivar last: position of the last byte, or None for the end of the image.
    """

    first: int
    last: int | None = None

    @property
    def header(self) -> str:
        """The value of the header ``Range``."""
        last = '' if self.last is None else self.last
        return f'bytes={self.first}-{last}'


class Client:
    """Glance for one user: what an ``ImageSource`` needs of it.

    :param http_client: the adapter of keystoneauth1 that knows the endpoint
        and the credentials; kept as an attribute.
    :param first_byte_timeout: seconds until the first byte of data.
    :param min_rate: bytes per second with which data must arrive; 0 for no
        minimum.
    """

    def __init__(
        self,
        http_client: adapter.Adapter,
        first_byte_timeout: float,
        min_rate: float = DEFAULT_MIN_RATE,
    ) -> None:
        self.http_client = http_client
        self._min_rate = min_rate
        self._timeout = http_client.session.timeout or DEFAULT_TIMEOUT
        self._first_byte_timeout = first_byte_timeout

    def pace(self) -> pace_module.Pace:
        """Return what measures the rate of a new download.

        :returns: the object.
        """
        return pace_module.Pace(
            self._min_rate, max(self._timeout, self._first_byte_timeout)
        )

    def get(self, url: str) -> dict[str, Any]:
        """Return the answer to a request for JSON.

        :param url: path of the request, with its query.
        :returns: the content of the answer.
        :raises BadAnswer: if the answer has an HTTP status of 300 or above,
            or is not JSON of the kind that Glance has for this path.
        :raises keystoneauth1.exceptions.ClientException: if there is no
            answer, or Keystone fails.
        """
        response = self._request(url, {})
        with response:
            return _json(response)

    def data(
        self, image_id: str, part: Part | None = None
    ) -> requests.Response:
        """Return the answer to a request for the data of an image.

        The first byte may take as long as the client was created with.

        :param image_id: ID of the image.
        :param part: the part to ask for, or None for all data. The status
            of the answer shows whether the server respected it.
        :returns: the answer, whose content is not yet read. It has the
            status 200, 204 (no data), or 206 if a part was requested. The
            caller closes it.
        :raises BadAnswer: if the answer has another status, or its content
            is not that of an image.
        :raises keystoneauth1.exceptions.ClientException: if there is no
            answer, or Keystone fails.
        """
        response = self._request(
            f'/v2/images/{urllib.parse.quote(image_id, safe="")}/file',
            # The positions of a part are those of data as they are.
            {
                'Accept-Encoding': 'identity',
                'Range': part.header if part else None,
            },
            timeout=(
                self._timeout,
                max(self._timeout, self._first_byte_timeout),
            ),
        )
        try:
            _check_data(response, part)
        except BadAnswer:
            response.close()
            raise
        return response

    def _request(
        self, url: str, headers: Mapping[str, str | None], **kwargs: Any
    ) -> requests.Response:
        """Return a successful answer, whose content is not yet read."""
        kwargs.setdefault('timeout', self._timeout)
        for _ in range(_REDIRECTS + 1):
            try:
                response = self.http_client.request(
                    url,
                    'GET',
                    headers={
                        name: value for name, value in headers.items() if value
                    },
                    raise_exc=False,
                    # A redirection would take the token to any server.
                    redirect=False,
                    stream=True,
                    # The default one sleeps until the clock shows the time of
                    # the last request again, if it was set back.
                    rate_semaphore=contextlib.nullcontext(),
                    **kwargs,
                )
            except ValueError as error:
                # requests reads the target of a redirection at once.
                raise BadAnswer(
                    address(url),
                    http.HTTPStatus.FOUND,
                    'a redirection to an invalid URL',
                ) from error
            target = _redirection(response)
            if target is None:
                break
            response.close()
            url = target
        if response.status_code >= http.HTTPStatus.MULTIPLE_CHOICES:
            with response:
                raise _bad(response, _status(response))
        return response


def make_client(
    session: ksa_session.Session,
    *,
    first_byte_timeout: float = DEFAULT_FIRST_BYTE_TIMEOUT,
    min_rate: float = DEFAULT_MIN_RATE,
    transport: Callable[..., adapter.Adapter] = _ADAPTER,
    **where: Any,
) -> Client:
    """Return a client of Glance; no request is made.

    :param session: session of keystoneauth1; its ``timeout`` is the limit
        of a request, and of each byte of data after the first one.
    :param first_byte_timeout: seconds until the first byte of data.
    :param min_rate: bytes per second with which data must arrive.
    :param transport: creates the adapter of keystoneauth1.
    :param where: parameters of the adapter of keystoneauth1 that specify where
        Glance is, and whose credentials are used, such as ``auth``,
        ``interface`` and ``endpoint_override``.
    :returns: the client.
    """
    streaming.use(session, session.timeout or DEFAULT_TIMEOUT)
    where.setdefault('user_agent', 'pvm_imagecache')
    return Client(transport(session, **where), first_byte_timeout, min_rate)


def stay_on_server(session: ksa_session.Session) -> ksa_session.Session:
    """Let a session send passwords and tokens to no other server.

    keystoneauth1 follows redirections of Keystone to any server, and sends
    the whole request again. Here those to another server are answers like
    any other.

    :param session: session of keystoneauth1; it is changed.
    :returns: the same session.
    """
    session.session.hooks['response'].append(_keep_on_server)
    return session


def _keep_on_server(response: requests.Response, **kwargs: Any) -> None:
    """Remove the target of a redirection that is not to be followed.

    The requests to Glance, which are streams, decide that themselves.
    """
    if (
        response.is_redirect
        and not kwargs.get('stream')
        and not _is_same_server(response.url, _target(response))
    ):
        del response.headers['Location']


@contextlib.contextmanager
def reading(response: requests.Response) -> Iterator[None]:
    """Translate the errors of a connection that breaks.

    :param response: the answer whose content is read in the block.
    :raises Interrupted: if the connection breaks in the block.
    """
    try:
        yield
    except _BROKEN as error:
        raise Interrupted(
            address(response.url),
            network_errors.known_cause(error) or 'unknown reason',
        ) from error


def holds(response: requests.Response, part: Part, size: int) -> bool:
    """Check if an answer contains the part that was requested.

    Some servers answer "partial content" and send everything.

    :param response: an answer to a request for the part.
    :param part: the part.
    :param size: size of the image in bytes.
    :returns: True if the answer says that it begins and ends where the part
        does, and that the image has this size.
    """
    if (
        response.status_code != http.HTTPStatus.PARTIAL_CONTENT
        or response.headers.get('Content-Encoding', 'identity') != 'identity'
    ):
        return False
    found = _CONTENT_RANGE.match(response.headers.get('Content-Range', ''))
    last = size - 1 if part.last is None else part.last
    return found is not None and (part.first, last, size) == tuple(
        map(int, found.groups())
    )


def check_has_data(response: requests.Response, size: int) -> None:
    """Check that an answer is the data of an image, without reading it.

    :param response: an answer to a request for data.
    :param size: size of the image in bytes.
    :raises BadAnswer: if the answer has no content, or if neither its type
        nor its length are those of the data.
    """
    if response.status_code == http.HTTPStatus.PARTIAL_CONTENT:
        return
    length = response.headers.get('Content-Length', '')
    if response.status_code == http.HTTPStatus.NO_CONTENT or length == '0':
        raise _bad(response, f'{_status(response)} without data')
    if not _media_type(response) and length != str(size):
        raise _bad(response, _instead_of('the data of an image', response))


def address(url: str) -> str:
    """Return a URL without user, password, query and fragment.

    :param url: the URL.
    :returns: the URL as it may be logged.
    """
    try:
        split = urllib.parse.urlsplit(url)
    except ValueError:
        # It may have a password somewhere.
        return 'an invalid URL'
    host = split.netloc.rpartition('@')[2]
    return urllib.parse.urlunsplit((split.scheme, host, split.path, '', ''))


# -- judging answers


def _redirection(response: requests.Response) -> str | None:
    """Return where a redirection leads, unless that is another server."""
    if not response.is_redirect:
        return None
    target = _target(response)
    return target if _is_same_server(response.url, target) else None


def _is_same_server(url: str, target: str) -> bool:
    """Return whether a redirection stays on a server, or secures it."""
    try:
        # As the library reads them that opens the connection: others see
        # another host, for example in "http://host\\@other/".
        old = urllib3_util.parse_url(url)
        new = urllib3_util.parse_url(target)
    except urllib3_exceptions.LocationParseError:
        return False
    if (new.auth, new.host) != (old.auth, old.host):
        return False
    secured = (old.scheme, new.scheme) == ('http', 'https')
    same = (new.scheme, new.port) == (old.scheme, old.port)
    return same or secured


def _bad(response: requests.Response, problem: str) -> BadAnswer:
    return BadAnswer(
        address(response.url),
        response.status_code,
        problem,
        _retry_after(response),
    )


def _status(response: requests.Response) -> str:
    """Return status and reason; the reason of the server may be anything."""
    try:
        phrase = http.HTTPStatus(response.status_code).phrase
    except ValueError:
        phrase = ''
    shown = f'HTTP {response.status_code} {phrase}'.rstrip()
    if response.is_redirect:
        shown += f', a redirection to {address(_target(response))}'
    return shown


def _target(response: requests.Response) -> str:
    """Return where a redirection leads; it need not be a valid URL."""
    location = response.headers['Location']
    try:
        return urllib.parse.urljoin(response.url, location)
    except ValueError:
        return location


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds of ``Retry-After``, which may be a date."""
    value = response.headers.get('Retry-After', '').strip()
    if value.isdecimal():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return max(0.0, date - time.time())


def _media_type(response: requests.Response) -> str:
    value = response.headers.get('Content-Type', '')
    return str(value.partition(';')[0].strip().lower())


def _check_data(response: requests.Response, part: Part | None) -> None:
    """Raise BadAnswer if a content cannot be the data of an image."""
    status = response.status_code
    if status == http.HTTPStatus.NO_CONTENT:
        return
    if status != http.HTTPStatus.OK and (
        part is None or status != http.HTTPStatus.PARTIAL_CONTENT
    ):
        raise _bad(response, _status(response))
    kind = _media_type(response)
    if kind and kind.rpartition('/')[2] != _OCTETS:
        raise _bad(response, _instead_of('the data of an image', response))
    _check_encoding(response)


def _check_encoding(response: requests.Response) -> None:
    """Raise BadAnswer if a content cannot be decoded in bounded memory."""
    if not content_module.is_supported(response):
        raise _bad(
            response,
            f'{_status(response)} with the unsupported content encoding '
            f'{content_module.encoding(response)[:_SHOWN]!r}',
        )


def _instead_of(expected: str, response: requests.Response) -> str:
    kind = _media_type(response)
    found = (
        'a web page'
        if kind in _HTML
        else f'content of the type {kind!r}'
        if kind
        else 'content without a type'
    )
    return f'{_status(response)} with {found} in place of {expected}'


def _json(response: requests.Response) -> dict[str, Any]:
    """Return the content of an answer if it is of the expected kind."""
    kind = _media_type(response)
    if kind not in ('', 'application/json'):
        raise _bad(response, _instead_of('JSON', response))
    _check_encoding(response)
    try:
        with reading(response):
            text = content_module.read(response, _MAX_JSON, _MAX_JSON_SECONDS)
    except Interrupted as error:
        if isinstance(error.__cause__, content_module.TooMuch):
            raise _bad(
                response, f'{_status(response)}, but {error.__cause__}'
            ) from error
        raise
    if content_module.has_many_values(text, _MAX_JSON_VALUES):
        raise _bad(
            response,
            f'{_status(response)} with more than {_MAX_JSON_VALUES} values '
            'of JSON',
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad(
            response, f'{_status(response)} with invalid JSON'
        ) from None
    path = urllib.parse.urlsplit(response.url).path
    if not _is_expected(path, content):
        raise _bad(
            response, f'{_status(response)} with JSON that is not of Glance'
        )
    found: dict[str, Any] = content
    return found


def _is_expected(path: str, content: Any) -> bool:
    """Check if the content is an image, or a list of images."""
    if not isinstance(content, dict):
        return False
    if path.endswith('/images'):
        found = content.get('images')
        # A complete URL would be sent the token, whatever its server is.
        next_page = content.get('next', '/')
        return (
            isinstance(found, list)
            and all(_is_image(each) for each in found)
            and isinstance(next_page, str)
            and not urllib.parse.urlsplit(next_page).netloc
        )
    return _is_image(content)


def _is_image(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(name), str) for name in ('id', 'status')
    )
