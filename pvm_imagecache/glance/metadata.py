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

"""Requests for the metadata of images."""

from collections.abc import Mapping
import http
from typing import Final
import urllib.parse

from pvm_imagecache import exceptions
from pvm_imagecache.glance import entry as entry_module
from pvm_imagecache.glance import http as glance_http
from pvm_imagecache.glance import pages

#: Answers to a request for a list by which Glance says that the marker is
#: wrong, or that listing is not permitted.
_REFUSED: Final = (
    http.HTTPStatus.BAD_REQUEST,
    http.HTTPStatus.FORBIDDEN,
    http.HTTPStatus.NOT_FOUND,
)


def show(client: glance_http.Client, image_id: str) -> entry_module.Entry:
    """Return the image that has exactly this ID.

    :param client: a client of Glance.
    :param image_id: ID of the image.
    :returns: the image.
    :raises ImageNotFound: if a different image was returned.
    :raises GlanceFailed: if the answer is not an image.
    """
    body = client.get(f'/v2/images/{urllib.parse.quote(image_id, safe="")}')
    found = entry_module.entry(body, image_id)
    if found.id != image_id:
        # A database that ignores case returned a different image.
        raise exceptions.ImageNotFound(image=image_id)
    return found


def page(
    client: glance_http.Client, wanted: str, query: Mapping[str, str]
) -> pages.Page:
    """Return a page of the list of images.

    :param client: a client of Glance.
    :param wanted: what is searched, for the message.
    :param query: parameters of the request.
    :returns: the page, or that the request was refused.
    :raises GlanceListFailed: if the answer is not a list of images.
    """
    try:
        body = client.get(f'/v2/images?{urllib.parse.urlencode(query)}')
    except glance_http.BadAnswer as error:
        if error.status not in _REFUSED:
            raise
        return pages.Page((), refused=error.status, answer=str(error))
    listed = body.get('images') if isinstance(body, Mapping) else None
    if not isinstance(listed, list):
        raise exceptions.GlanceListFailed(
            image=wanted,
            reason='the answer is not a list of images of the Image service '
            'API v2',
        )
    return pages.Page(
        [entry_module.entry(each, wanted) for each in listed],
        more=bool(body.get('next')),
    )
