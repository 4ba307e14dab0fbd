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
import contextlib
import http
import time
from typing import Any
from typing import Final
from typing import TYPE_CHECKING
from typing import TypeVar

import requests

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.glance import body
from pvm_imagecache.glance import credentials
from pvm_imagecache.glance import entry as entry_module
from pvm_imagecache.glance import errors
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import lookup
from pvm_imagecache.glance import metadata
from pvm_imagecache.glance import pace as pace_module
from pvm_imagecache.glance import pages
from pvm_imagecache.glance import presence as presence_module
from pvm_imagecache.glance import signatures
from pvm_imagecache.glance import stream as image_stream
from pvm_imagecache.system import identity
from pvm_imagecache.system import retry
from pvm_imagecache.system import waiting

if TYPE_CHECKING:
    from pvm_imagecache.glance import client as glance_client

#: The answers to a request for a part, if only the whole can be requested.
#: With 206, the content is something else than a part.
_NO_PARTS: Final = frozenset(
    {
        http.HTTPStatus.PARTIAL_CONTENT,
        http.HTTPStatus.BAD_REQUEST,
        http.HTTPStatus.METHOD_NOT_ALLOWED,
        http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        http.HTTPStatus.NOT_IMPLEMENTED,
    }
)

_Result = TypeVar('_Result')


class ImageSource:
    """Images of one Glance.

    Requests that fail with a transient error are repeated. All errors are
    those of :func:`pvm_imagecache.glance.errors.translated`; each method
    names the others that it raises.

    :param client_for: returns a client of Glance for a request context of
        nova, or for None: one with the configured credentials.
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
        return self.entry(image_id, context).image()

    def entry(
        self, image_id: str, context: identity.RequestContext | None = None
    ) -> entry_module.Entry:
        """Return what Glance says about the image with exactly this ID.

        :param image_id: ID of the image, in the spelling of Glance.
        :param context: whose permissions apply; None for the configured
            credentials.
        :returns: the image, in any status.
        :raises ImageNotFound: if it does not exist, or is not visible.
        :raises ImageError: if Glance fails.
        """
        return self._call(
            image_id, context, lambda client: metadata.show(client, image_id)
        )

    def find(
        self,
        name_or_id: str,
        context: identity.RequestContext | None = None,
        *,
        latest: bool = False,
        by_name: bool = False,
    ) -> image_module.Image:
        """Return an image by ID, by a unique prefix of its ID, or by name.

        Every active image that Glance serves to the credentials is found:
        hidden, community and shared images too. What looks like an ID, or
        the beginning of one, is never taken for a name.

        :param name_or_id: ID, the first characters of an ID, or name. Case
            and spaces matter.
        :param context: whose permissions apply; None for the configured
            credentials.
        :param latest: whether a name that several active images have means
            the newest one.
        :param by_name: whether the text is a name, whatever it looks like.
        :returns: the image.
        :raises ImageAmbiguous: if several active images match.
        :raises ImageNotFound: if no visible image matches.
        :raises ImageNotActive: if images match, but none is active.
        :raises ImageFormatUnsupported: if PowerVM cannot boot from it.
        :raises ImageNotBootable: if its data is encrypted, is in volumes, or
            is for another processor architecture.
        :raises ImageHasNoData: if Glance knows no size of it.
        :raises ImageError: if Glance fails.
        """
        if not name_or_id:
            # Glance allows an empty name, but it identifies no image.
            raise exceptions.ImageNotFound(image=name_or_id)
        return lookup.find(
            name_or_id,
            self._asking(name_or_id, context),
            lambda image_id: self.entry(image_id, context),
            lambda: credentials.described(self._client_for(context), context),
            latest=latest,
            by_name=by_name,
        ).image()

    def shows_images(self) -> bool:
        """Return whether Glance shows any image to the configured credentials.

        :returns: False if its list is empty.
        :raises ImageError: if Glance fails, or if there is no Glance.
        """
        return presence_module.shows_images(self._asking('list', None), 'list')

    def presence(self, image_id: str) -> presence_module.Presence | None:
        """Return what is known of an image that Glance does not show.

        :param image_id: ID of an image for which :meth:`entry` raised
            ImageNotFound with the configured credentials.
        :returns: what is known; None if Glance shows the image by now.
        :raises ImageError: if Glance fails.
        """
        return presence_module.of(
            image_id, self._asking(image_id, None), self.entry
        )

    @property
    def whose(self) -> str:
        """The user and project of the configured credentials, for messages.

        It is known after a request.

        :raises ConfigurationError: if no credentials are configured.
        """
        return credentials.described(self._client_for(None), None)

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
        paces: list[pace_module.Pace] = []
        stream = image_stream.ImageStream(
            image,
            lambda position: self._data(image, position, context, paces),
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
        (CVE-2013-4428). Glance is asked for one byte of the data, or for all
        data if its store cannot read a part; they are not read then.

        :param image: the image.
        :param context: whose permission is checked; None for the configured
            credentials.
        :raises ImageForbidden: if it is not permitted.
        :raises ImageNotFound: if the image is not visible.
        :raises ImageError: if Glance fails. The permission is not known
            then.
        """
        self._call(
            image.id,
            context,
            lambda client: _check(client, image),
        )

    def _asking(
        self, wanted: str, context: identity.RequestContext | None
    ) -> pages.Ask:
        """Return a function that asks for a page of the list of images."""
        return lambda query: self._call(
            wanted,
            context,
            lambda client: metadata.page(client, wanted, query),
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
        image: image_module.Image,
        position: int,
        context: identity.RequestContext | None,
        paces: list[pace_module.Pace],
    ) -> Iterator[bytes]:
        """Return the data of an image from a position in bytes on.

        :param paces: of the download: empty until it begins.
        """
        began = time.monotonic() if paces else None
        client = self._client_for(context)
        if not paces:
            paces.append(client.pace())
        (pace,) = paces
        if position:
            response = _part(client, image, glance_http.Part(position))
            if response is not None:
                whole = response.status_code == http.HTTPStatus.OK
                return body.Body(
                    response, position if whole else 0, pace, began
                )
        response = client.data(image.id)
        if response.status_code == http.HTTPStatus.NO_CONTENT:
            response.close()
            raise exceptions.ImageHasNoData(image=image.id)
        return body.Body(response, position, pace, began)


def _check(client: glance_http.Client, image: image_module.Image) -> None:
    """Return if the data of an image may be downloaded."""
    response = _part(client, image, glance_http.Part(0, 0))
    if response is None:
        response = client.data(image.id)
    response.close()
    glance_http.check_has_data(response, image.size)


def _part(
    client: glance_http.Client,
    image: image_module.Image,
    part: glance_http.Part,
) -> requests.Response | None:
    """Return the answer to a request for a part of the data, if usable.

    It has the part, or all data with the status 200. Ceph RBD, Swift, S3 and
    other stores cannot read parts, and Glance refuses the request. Some
    servers and proxies promise a part and send something else.
    """
    try:
        response = client.data(image.id, part)
    except glance_http.BadAnswer as error:
        if error.status in _NO_PARTS:
            return None
        raise
    if response.status_code == http.HTTPStatus.OK or glance_http.holds(
        response, part, image.size
    ):
        return response
    response.close()
    return None
