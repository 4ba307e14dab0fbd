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

"""State in Glance of images that are cached on this host.

The commands query Glance, and so report images that were deleted,
deactivated, renamed or replaced. nova-compute does not: its periodic task has
no token of a user.
"""

from collections.abc import Sequence
import dataclasses
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module

if TYPE_CHECKING:
    from pvm_imagecache.glance import entry as entry_module
    from pvm_imagecache.glance import source as image_source

SAME: Final = 'active, same hash'
GONE: Final = 'not found'
OTHER: Final = 'different data'
UNKNOWN: Final = 'no common hash'


@dataclasses.dataclass(frozen=True)
class State:
    """State of one image in Glance.

    :ivar text: one of the constants of this module, or the status of an
        image that is not active.
    :ivar shown: whether Glance shows the image.
    :ivar name: its name in Glance; None if it has none, or is not shown.
    :ivar created_at: when Glance created it; '' if that is not known.
    """

    text: str
    shown: bool = False
    name: str | None = None
    created_at: str = ''


def states(
    source: 'image_source.ImageSource', images: Sequence[image_module.Image]
) -> dict[str, State]:
    """Return the state of images in Glance.

    :param source: the images of Glance.
    :param images: the images, as the cache knows them.
    :returns: the states by image ID.
    :raises ImageError: if Glance cannot be queried.
    :raises ConfigurationError: if no credentials are configured.
    """
    return {each.id: _state(source, each) for each in images}


def _state(
    source: 'image_source.ImageSource', image: image_module.Image
) -> State:
    try:
        found = source.entry(image.id)
    except exceptions.ImageNotFound:
        return State(GONE)
    return State(
        _text(image, found),
        shown=True,
        name=found.name,
        created_at=found.created_at,
    )


def _text(image: image_module.Image, found: 'entry_module.Entry') -> str:
    try:
        current = found.image()
    except exceptions.ImageNotActive:
        return found.status
    except exceptions.ImageHasNoData:
        return 'no data'
    except exceptions.ImageFormatUnsupported:
        return 'different format'
    sameness = image_module.compare(image, current)
    if sameness is image_module.Sameness.SAME:
        return SAME
    if sameness is image_module.Sameness.UNKNOWN:
        return UNKNOWN
    return OTHER
