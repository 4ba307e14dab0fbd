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

"""What is known of images that Glance does not show."""

from collections.abc import Callable
from collections.abc import Mapping
import enum
import http
import uuid

from pvm_imagecache import exceptions
from pvm_imagecache.glance import entry as entry_module
from pvm_imagecache.glance import pages


class Presence(enum.Enum):
    """What is known of an image that Glance does not show."""

    DELETED = 'deleted'
    """Glance has the record of an image that was deleted."""

    HIDDEN = 'hidden'
    """Glance has the image, and does not show it to these credentials."""

    ABSENT = 'absent'
    """This Glance has no such image. It may never have had it."""


def shows_images(ask: pages.Ask, wanted: str) -> bool:
    """Return whether Glance shows any image, after a check that it is one.

    :param ask: asks for a page of the list of images.
    :param wanted: what is searched, for the message.
    :returns: False if the list is empty.
    :raises GlanceListFailed: if what answers does not behave like Glance.
    :raises ImageError: if Glance fails.
    """
    found = False
    for hidden in pages.HIDDEN:
        first = ask({**pages.ALL, **hidden, 'limit': '1'})
        if first.refused:
            pages.refuse(first, wanted)
        found = found or bool(first.entries)
    if ask(_after(str(uuid.uuid4()))).refused != http.HTTPStatus.BAD_REQUEST:
        raise exceptions.GlanceListFailed(
            image=wanted,
            reason='it accepts the ID of an image that does not exist as the '
            'marker of a page',
        )
    return found


def of(
    image_id: str,
    ask: pages.Ask,
    show_image: Callable[[str], entry_module.Entry],
) -> Presence | None:
    """Return what is known of an image that Glance does not show.

    Glance answers "not found" for images that were deleted and for images
    of other projects. A request for the list of the images that follow this
    one has different answers: HTTP 400 if there was no such image, HTTP 403
    if these credentials may not see it, and otherwise a list. Only
    administrators get the list after a deleted image.

    :param image_id: ID of an image that Glance did not show.
    :param ask: asks for a page of the list of images.
    :param show_image: returns the image with an ID.
    :returns: what is known; None if Glance shows the image by now.
    :raises ImageError: if Glance fails.
    """
    after = ask(_after(image_id))
    try:
        show_image(image_id)
    except exceptions.ImageNotFound:
        pass
    else:
        return None
    if not after.refused:
        return Presence.DELETED
    if after.refused == http.HTTPStatus.FORBIDDEN:
        return Presence.HIDDEN
    if after.refused != http.HTTPStatus.BAD_REQUEST:
        pages.refuse(after, image_id)
    return Presence.ABSENT


def _after(image_id: str) -> Mapping[str, str]:
    return {**pages.ALL, 'limit': '1', 'marker': image_id}
