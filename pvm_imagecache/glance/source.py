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

"""Glance as a source of images: look-ups, and verified streams of bytes.

Everything that glanceclient, keystoneauth1 or requests raise is turned into
an error of ours here and nowhere else. That matters beyond good manners:
glanceclient reports a corrupt image as ``IOError(EPIPE)``, which urllib3
would take for a closed socket, and swallow, if it came out of the iterator
of an upload.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import hmac
import http
import queue
import threading
import time
from typing import Any
from typing import Final
import uuid

from glanceclient import exc as glance_exceptions
from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa_exceptions
from oslo_log import log as logging
from oslo_utils.imageutils import format_inspector
import requests

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.system import network_errors
from pvm_imagecache.system import waiting

LOG = logging.getLogger(__name__)

#: Bytes of one piece of a stream: large enough that the work per piece is
#: lost in the noise, small enough that a few of them are no memory at all.
CHUNK_SIZE: Final = 1024 * 1024
#: Seconds before each attempt to go on after Glance has failed, until one
#: has brought bytes.
RETRY_DELAYS: Final = (0.5, 2.0, 8.0)
#: How often one download may fail altogether, bytes or no bytes.
MOST_FAILURES: Final = 30
#: What may be gone a little later. OSError is what the others leave of a
#: broken connection where they don't say so.
_PASSING: Final = (
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
_PART_SIZE: Final = 64 * 1024
_HASH_QUEUE: Final = 8
_AMBIGUOUS_SHOWN: Final = 5


class ImageSource:
    """Images of one Glance.

    :param client_for: makes a glanceclient (version 2) for a request
        context of nova, or for None: the configured credentials.
    """

    def __init__(self, client_for: Callable[[Any], Any]) -> None:
        self._client_for = client_for

    def get(self, image_id: str, context: Any = None) -> image_module.Image:
        """Look an image up by its exact id.

        :raises ImageNotFound: if it is not there, or may not be seen.
        :raises ImageNotActive: if it is not active.
        :raises ImageFormatUnsupported: if PowerVM can't boot from it.
        :raises ImageHasNoData: if Glance knows no size of it.
        """
        found = _persistently(
            image_id, lambda: self._client_for(context).images.get(image_id)
        )
        if found['id'] != image_id:
            # Databases that compare without case answer with a twin.
            raise exceptions.ImageNotFound(image=image_id)
        return _usable(found)

    def find(self, text: str, context: Any = None) -> image_module.Image:
        """Look an image up by id, by the unique start of an id, or by name.

        :raises ImageAmbiguous: if several images answer to it.
        """
        if not text:
            # An image may have no name, but nobody means it by that.
            raise exceptions.ImageNotFound(image=text)
        if _is_uuid(text):
            return self.get(text, context)
        matches = _persistently(
            text, lambda: self._matches(text, self._client_for(context))
        )
        if not matches:
            raise exceptions.ImageNotFound(image=text)
        if len(matches) > 1:
            raise exceptions.ImageAmbiguous(
                image=text, matches=_listed(matches)
            )
        return _usable(matches[0])

    @staticmethod
    def _matches(text: str, client: Any) -> list[Any]:
        # Glance can't search for the start of an id.
        return list(client.images.list(filters={'name': text})) or [
            found
            for found in client.images.list()
            if _looks_like_id(text) and found['id'].startswith(text)
        ]

    @contextlib.contextmanager
    def open(
        self, image: image_module.Image, context: Any = None
    ) -> Iterator['ImageStream']:
        """Open the image's data; the ``with`` block iterates over it once.

        The beginning has arrived when the block is entered, so errors of
        Glance and of the image's header come before any disk is made.

        :raises ImageForbidden: if the data may not be read.
        :raises ImageHasNoData: if there is none.
        :raises ImageUnsafe: if the header is not that of a safe image.
        """
        stream = ImageStream(
            image, lambda position: self._data(image.id, position, context)
        )
        try:
            stream.begin()
            yield stream
        finally:
            stream.close()

    def check_readable(
        self, image: image_module.Image, context: Any = None
    ) -> None:
        """Ask Glance whether the image's data may be read; one byte comes.

        Who is served from a cache needs the same right as who is not
        (CVE-2013-4428).

        :raises ImageForbidden, ImageNotFound: if it may not.
        :raises ImageError: if Glance can't tell.
        """
        _persistently(
            image.id,
            lambda: self._part(
                self._client_for(context), image.id, 'bytes=0-0'
            ).close(),
        )

    @staticmethod
    def _part(client: Any, image_id: str, part: str) -> requests.Response:
        # glanceclient has no word for a part of the data, and would
        # percent-encode this header: ask the adapter that it is.
        try:
            return adapter.Adapter.request(
                client.http_client,
                f'/v2/images/{image_id}/file',
                'GET',
                headers={'Range': part},
                stream=True,
            )
        except ksa_exceptions.Forbidden as error:
            raise exceptions.ImageForbidden(image=image_id) from error
        except ksa_exceptions.NotFound as error:
            raise exceptions.ImageNotFound(image=image_id) from error

    def _data(
        self, image_id: str, position: int, context: Any
    ) -> Iterator[bytes]:
        """The image's data from a position on."""
        client = self._client_for(context)
        if position:
            answer = self._part(client, image_id, f'bytes={position}-')
            if answer.status_code == http.HTTPStatus.PARTIAL_CONTENT:
                position = 0
            return _content(answer, position)
        body = client.images.data(image_id, do_checksum=False)
        # A proxy around None stands for HTTP 204.
        if getattr(body, '__wrapped__', body) is None:
            raise exceptions.ImageHasNoData(image=image_id)
        return iter(body)


class ImageStream:
    """The bytes of one image, once, verified before the last are given.

    Iterating yields pieces of about :data:`CHUNK_SIZE` bytes. The last
    piece is held back until size and hash are known to be right: whoever
    writes the pieces somewhere can't complete a wrong image by accident.
    The hash is computed in a thread of its own. A connection that breaks
    is made again, and goes on where it was.

    :param open_at: opens the data from a position (bytes) on.
    :ivar image: the image, its virtual size filled in from its header
        where Glance did not know it.
    """

    def __init__(
        self,
        image: image_module.Image,
        open_at: Callable[[int], Iterator[bytes]],
    ) -> None:
        self.image = image
        self._open_at = open_at
        self._body: Any = None
        self._first = b''
        self._received = 0
        self._failures = self._failures_in_all = 0
        self._cause: exceptions.ImageError
        self._hasher: _Hasher | None = None

    @property
    def bytes_received(self) -> int:
        """How many bytes have come from Glance up to now."""
        return self._received

    def begin(self) -> None:
        """Wait for the first bytes, and look at the header in them."""
        self._first = self._next()
        if not self._first:
            raise exceptions.ImageHasNoData(image=self.image.id)
        self.image = _inspected(self.image, self._first)

    def __iter__(self) -> Iterator[bytes]:
        digest = self.image.digest
        self._hasher = _Hasher(digest.algorithm) if digest else None
        held_back, self._first = self._first, b''
        while True:
            if self._hasher:
                self._hasher.update(held_back)
            following = self._next()
            if not following:
                break
            if self._received > self.image.size:
                self._refuse_length('more than it has')
            yield held_back
            held_back = following
        self._verify(digest)
        yield held_back

    def close(self) -> None:
        """Let go of the connection to Glance and of the hashing thread."""
        if self._hasher:
            self._hasher.stop()
        self._close_body()

    def _next(self) -> bytes:
        """The next piece, made of the small parts that Glance sends."""
        waiting: list[bytes] = []
        size = 0
        while size < CHUNK_SIZE and (part := self._next_part()):
            waiting.append(part)
            size += len(part)
        return b''.join(waiting)

    @waiting.on('Glance')
    def _next_part(self) -> bytes:
        while True:
            try:
                with _translated(self.image.id, self):
                    if self._body is None:
                        self._body = self._open_at(self._received)
                    part = next((each for each in self._body if each), b'')
            except exceptions.ImageError as error:
                self._close_body()
                self._wait_or_raise(error)
            else:
                if part:
                    self._failures = 0
                self._received += len(part)
                return part

    def _wait_or_raise(self, error: exceptions.ImageError) -> None:
        """Let some time pass after a transient fault, if there is a point."""
        self._failures_in_all += 1
        if self._failures == 0:
            self._cause = error
        if (
            not error.transient
            or self._failures >= len(RETRY_DELAYS)
            or self._failures_in_all > MOST_FAILURES
        ):
            # How the attempts to go on ended tells less than why they were
            # made.
            raise self._cause
        delay = RETRY_DELAYS[self._failures]
        self._failures += 1
        LOG.warning(
            'The data of image %(image)s stopped at byte '
            '%(position)d, going on in %(delay).1f s: %(error)s',
            {
                'image': self.image.id,
                'position': self._received,
                'delay': delay,
                'error': error,
            },
        )
        time.sleep(delay)

    def _close_body(self) -> None:
        body, self._body = self._body, None
        close = getattr(body, 'close', None)
        if close:
            try:
                close()
            except Exception as error:
                # What has come is whole, or was given up, without this.
                LOG.debug(
                    'Closing the data of image %(image)s failed: %(error)s',
                    {'image': self.image.id, 'error': error},
                )

    def _verify(self, digest: image_module.Digest | None) -> None:
        if self._received != self.image.size:
            self._refuse_length('the stream ended')
        if not digest or not self._hasher:
            return
        actual = self._hasher.hexdigest()
        if not hmac.compare_digest(actual, digest.value):
            raise exceptions.ImageCorrupt(
                image=self.image.id,
                algorithm=digest.algorithm,
                expected=digest.value,
                actual=actual,
            )

    def _refuse_length(self, reason: str) -> None:
        raise exceptions.ImageTruncated(
            image=self.image.id,
            expected=self.image.size,
            received=self._received,
            reason=reason,
        )


class _Hasher:
    """A hash computed beside the transfer; hashlib releases the GIL."""

    def __init__(self, algorithm: str) -> None:
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_HASH_QUEUE)
        self._stopped = False
        self._thread = threading.Thread(
            target=self._run, name='pvm_imagecache-hash', daemon=True
        )
        self._thread.start()

    def update(self, piece: bytes) -> None:
        self._pieces.put(piece)

    def hexdigest(self) -> str:
        self._pieces.put(None)
        self._thread.join()
        return self._hash.hexdigest()

    def stop(self) -> None:
        self._stopped = True
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if not self._stopped:
                self._hash.update(piece)


@waiting.on('Glance')
def _persistently(image: str, call: Callable[[], Any]) -> Any:
    """Ask Glance, again if a transient fault comes between."""
    for delay in RETRY_DELAYS:
        try:
            with _translated(image):
                return call()
        except exceptions.ImageError as error:
            if not error.transient:
                raise
            LOG.warning(
                'Glance is asked again in %(delay).1f s: %(error)s',
                {'delay': delay, 'error': error},
            )
            time.sleep(delay)
    with _translated(image):
        return call()


def _content(answer: requests.Response, left_out: int) -> Iterator[bytes]:
    """The body of an answer without its beginning.

    Servers may send everything though they were asked for a part.
    """
    with answer:
        for part in answer.iter_content(_PART_SIZE):
            skipped = min(left_out, len(part))
            left_out -= skipped
            yield part[skipped:]


def _inspected(image: image_module.Image, head: bytes) -> image_module.Image:
    """Check the header of an image that PowerVM interprets.

    A qcow2 image can name other files of the host that reads it
    (CVE-2024-32498): such images, and those that are none, are refused.
    Raw bytes mean nothing to the host, so they are taken as they are.

    :returns: the image with its virtual size.
    """
    if image.disk_format not in image_module.SPARSE_FORMATS:
        return image
    inspector = format_inspector.ALL_FORMATS[image.disk_format]()
    inspector.eat_chunk(head)
    if not inspector.format_match:
        raise exceptions.ImageUnsafe(
            image=image.id,
            format=image.disk_format,
            reason='it does not begin with the header of that format',
        )
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        reasons = ', '.join(
            str(failure) for failure in error.failures.values()
        )
        raise exceptions.ImageUnsafe(
            image=image.id, format=image.disk_format, reason=reasons
        ) from error
    size = max(image.virtual_size or 0, inspector.virtual_size)
    return dataclasses.replace(image, virtual_size=size)


def _usable(found: Any) -> image_module.Image:
    """What Glance answered, as an :class:`Image` that can be deployed."""
    image_id = found['id']
    if found['status'] != 'active':
        raise exceptions.ImageNotActive(image=image_id, status=found['status'])
    container = found.get('container_format')
    if container not in ('bare', None):
        raise exceptions.ImageFormatUnsupported(
            image=image_id,
            kind='container',
            format=container,
            supported='bare',
        )
    if not found.get('size'):
        raise exceptions.ImageHasNoData(image=image_id)
    image = image_module.Image(
        id=image_id,
        name=found.get('name'),
        size=int(found['size']),
        disk_format=found.get('disk_format') or 'none',
        virtual_size=found.get('virtual_size') or None,
        os_hash_algo=found.get('os_hash_algo'),
        os_hash_value=found.get('os_hash_value'),
        checksum=found.get('checksum'),
    )
    image_module.check_format(image)
    return image


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _looks_like_id(text: str) -> bool:
    return len(text) >= 2 and all(
        character in '0123456789abcdefABCDEF-' for character in text
    )


def _listed(matches: list[Any]) -> str:
    shown = [
        f'{found["id"]} ({found.get("name") or "no name"})'
        for found in matches[:_AMBIGUOUS_SHOWN]
    ]
    more = len(matches) - len(shown)
    return ', '.join(shown) + (f' and {more} more' if more > 0 else '')


@contextlib.contextmanager
def _translated(
    image: str, stream: ImageStream | None = None
) -> Iterator[None]:
    """Turn what others raise about Glance into errors of ours."""
    try:
        yield
    except exceptions.PVMImageCacheError:
        raise
    except (
        glance_exceptions.HTTPUnauthorized,
        ksa_exceptions.Unauthorized,
    ) as error:
        raise exceptions.GlanceLogonFailed(reason=_one_line(error)) from error
    except (
        ksa_exceptions.MissingAuthPlugin,
        ksa_exceptions.MissingRequiredOptions,
        ksa_exceptions.EndpointNotFound,
        ksa_exceptions.NoMatchingPlugin,
    ) as error:
        raise exceptions.GlanceLogonFailed(reason=_one_line(error)) from error
    except glance_exceptions.HTTPForbidden as error:
        raise exceptions.ImageForbidden(image=image) from error
    except glance_exceptions.HTTPNotFound as error:
        raise exceptions.ImageNotFound(image=image) from error
    except (
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ConnectionError,
    ) as error:
        if stream is None:
            raise _unreachable(error) from error
        raise exceptions.ImageTruncated(
            image=image,
            expected=stream.image.size,
            received=stream.bytes_received,
            reason='the connection broke',
        ) from error
    except _PASSING as error:
        raise _unreachable(error) from error
    except Exception as error:
        # glanceclient lets errors of every library below it through, and
        # none of them may reach the upload as it is.
        raise exceptions.GlanceFailed(
            image=image, reason=f'{type(error).__name__}: {_one_line(error)}'
        ) from error


def _unreachable(error: BaseException) -> exceptions.GlanceUnreachable:
    cause = network_errors.plain_cause(error)
    if network_errors.is_permanent(cause):
        return exceptions.GlanceNotThere(reason=cause)
    return exceptions.GlanceUnreachable(reason=cause)


def _one_line(error: BaseException) -> str:
    return (' '.join(str(error).split()) or type(error).__name__).rstrip('.')
