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

"""Images of one Glance: look-ups, permission checks, and their data."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import http
from typing import Any
from typing import TYPE_CHECKING
from typing import TypeVar
import uuid

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa_exceptions
import requests

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text
from pvm_imagecache.glance import errors
from pvm_imagecache.glance import properties
from pvm_imagecache.glance import signatures
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import identity
from pvm_imagecache.system import retry
from pvm_imagecache.system import waiting

if TYPE_CHECKING:
    from pvm_imagecache.glance import client as glance_client

_Result = TypeVar('_Result')


class ImageSource:
    """Images of one Glance.

    Requests that fail with a transient error are repeated. All errors are
    those of :func:`pvm_imagecache.glance.errors.translated`; each method
    names the others that it raises.

    :param client_for: returns a glanceclient (API version 2) for a request
        context of nova, or for None: one with the configured credentials.
        See :func:`pvm_imagecache.glance.client.factory`.
    :param inspect_raw: whether to refuse raw images whose data is of another
        format.
    """

    def __init__(
        self,
        client_for: 'glance_client.ClientFactory',
        inspect_raw: bool = True,
    ) -> None:
        self._client_for = client_for
        self._inspect_raw = inspect_raw

    def get(
        self, image_id: str, context: identity.RequestContext | None = None
    ) -> image_module.Image:
        """Return the image that has exactly this ID.

        :param image_id: ID of the image, in the spelling of Glance.
        :param context: whose permissions apply; None for the configured
            credentials.
        :returns: the image.
        :raises ImageNotFound: if it does not exist, or is not visible.
        :raises ImageNotActive: if its status is not ``active``.
        :raises ImageFormatUnsupported: if PowerVM cannot boot from it.
        :raises ImageNotBootable: if its data is encrypted, is in volumes, or
            is for another processor architecture.
        :raises ImageHasNoData: if Glance knows no size of it.
        :raises ImageError: if Glance fails.
        """
        found = self._call(
            image_id, context, lambda client: client.images.get(image_id)
        )
        if found['id'] != image_id:
            # A database that ignores case returned a different image.
            raise exceptions.ImageNotFound(image=image_id)
        return _usable(found)

    def find(
        self, name_or_id: str, context: identity.RequestContext | None = None
    ) -> image_module.Image:
        """Return an image by ID, by a unique prefix of its ID, or by name.

        A name takes precedence over a prefix of an ID.

        :param name_or_id: ID, name, or the first characters (two or more) of
            an ID.
        :param context: whose permissions apply; None for the configured
            credentials.
        :returns: the image.
        :raises ImageAmbiguous: if several images match.
        :raises ImageNotFound: if no visible image matches.
        :raises ImageNotActive: if its status is not ``active``.
        :raises ImageFormatUnsupported: if PowerVM cannot boot from it.
        :raises ImageNotBootable: if its data is encrypted, is in volumes, or
            is for another processor architecture.
        :raises ImageHasNoData: if Glance knows no size of it.
        :raises ImageError: if Glance fails.
        """
        if not name_or_id:
            # Glance allows an empty name, but it identifies no image.
            raise exceptions.ImageNotFound(image=name_or_id)
        if _is_uuid(name_or_id):
            return self.get(name_or_id, context)
        matches = self._call(
            name_or_id, context, lambda client: _matches(client, name_or_id)
        )
        if not matches:
            raise exceptions.ImageNotFound(image=name_or_id)
        if len(matches) > 1:
            raise exceptions.ImageAmbiguous(
                image=name_or_id,
                matches=text.listed(
                    {found['id']: found.get('name') for found in matches}
                ),
            )
        return _usable(matches[0])

    @contextlib.contextmanager
    def open(
        self,
        image: image_module.Image,
        context: identity.RequestContext | None = None,
        verifier: signatures.Verifier | None = None,
    ) -> Iterator[image_stream.ImageStream]:
        """Open the data of an image for the length of the ``with`` block.

        The first bytes have arrived when the block is entered. Errors of
        Glance and of the header are therefore raised before any disk is
        created.

        :param image: the image, as :meth:`get` or :meth:`find` returned it.
        :param context: whose permissions apply; None for the configured
            credentials.
        :param verifier: verifies the signature of the data; None if none is
            required.
        :returns: the stream; the block iterates over it once.
        :raises ImageForbidden: if downloading the data is not permitted.
        :raises ImageNotFound: if the image was deleted meanwhile.
        :raises ImageHasNoData: if Glance sends no bytes.
        :raises ImageFormatWrong: if the data is not of the declared format.
        :raises ImageUnsafe: if the header is not that of a safe image.
        :raises ImageError: if Glance fails.
        """
        stream = image_stream.ImageStream(
            image,
            lambda position: self._data(image.id, position, context),
            verifier,
            self._inspect_raw,
        )
        try:
            stream.begin()
            yield stream
        finally:
            stream.close()

    def check_readable(
        self,
        image: image_module.Image,
        context: identity.RequestContext | None = None,
    ) -> None:
        """Ask Glance whether downloading the image is permitted.

        A cache hit needs the same permission as a download
        (CVE-2013-4428). Glance is asked for one byte of the data.

        :param image: the image.
        :param context: whose permission is checked; None for the configured
            credentials.
        :raises ImageForbidden: if it is not permitted.
        :raises ImageNotFound: if the image is not visible.
        :raises ImageError: if Glance fails.
        """
        self._call(
            image.id,
            context,
            lambda client: _range(client, image.id, 'bytes=0-0').close(),
        )

    @waiting.on('Glance')
    def _call(
        self,
        image: str,
        context: identity.RequestContext | None,
        call: Callable[[Any], _Result],
    ) -> _Result:
        """Return what a call of a client returns; retry transient errors."""

        def attempt() -> _Result:
            with errors.translated(image):
                return call(self._client_for(context))

        return retry.retry(attempt, image_stream.RETRY_DELAYS)

    def _data(
        self,
        image_id: str,
        position: int,
        context: identity.RequestContext | None,
    ) -> Iterator[bytes]:
        """Return the data of an image from a position in bytes on."""
        client = self._client_for(context)
        if position:
            response = _range(client, image_id, f'bytes={position}-')
            if response.status_code == http.HTTPStatus.PARTIAL_CONTENT:
                position = 0
            return image_stream.content(response, skip=position)
        body = client.images.data(image_id, do_checksum=False)
        # HTTP 204 gives a proxy around None.
        if getattr(body, '__wrapped__', body) is None:
            raise exceptions.ImageHasNoData(image=image_id)
        return iter(body)


def _range(client: Any, image_id: str, value: str) -> requests.Response:
    """Return the response to a request for a part of the data."""
    # glanceclient does not support ranges, and would percent-encode this
    # header: call the method of its base class.
    try:
        return adapter.Adapter.request(
            client.http_client,
            f'/v2/images/{image_id}/file',
            'GET',
            headers={'Range': value},
            stream=True,
        )
    except ksa_exceptions.Forbidden as error:
        raise exceptions.ImageForbidden(image=image_id) from error
    except ksa_exceptions.NotFound as error:
        raise exceptions.ImageNotFound(image=image_id) from error


def _matches(client: Any, name_or_id: str) -> list[Mapping[str, Any]]:
    """Return the images that have a name, or else that prefix of an ID."""
    # Glance cannot search for a prefix of an ID.
    return list(client.images.list(filters={'name': name_or_id})) or [
        found
        for found in client.images.list()
        if _looks_like_id(name_or_id) and found['id'].startswith(name_or_id)
    ]


def _usable(found: Mapping[str, Any]) -> image_module.Image:
    """Return an image of glanceclient as one that can be deployed."""
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
    properties.check(found)
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
        signature=properties.signature(found),
    )
    image_module.check_format(image)
    return image


def _is_uuid(name_or_id: str) -> bool:
    try:
        return str(uuid.UUID(name_or_id)) == name_or_id.lower()
    except ValueError:
        return False


def _looks_like_id(prefix: str) -> bool:
    return len(prefix) >= 2 and all(
        character in '0123456789abcdefABCDEF-' for character in prefix
    )
