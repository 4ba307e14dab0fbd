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

"""What Glance says of images that are cached here.

Inside nova nobody asks: the periodic task has no user's token. The commands
do, so that images which were deleted, deactivated or replaced are seen.
"""

from collections.abc import Sequence
from typing import Any
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module

SAME: Final = 'active, same hash'
GONE: Final = 'not there'
OTHER: Final = 'has other bytes'
UNKNOWN: Final = 'no hash in common'


def states(
    source: Any, images: Sequence[image_module.Image]
) -> dict[str, str]:
    """By image id, how an image is in Glance.

    :param source: a :class:`pvm_imagecache.glance.source.ImageSource`.
    :raises ImageError: if Glance can't tell.
    """
    return {each.id: _state(source, each) for each in images}


def _state(source: Any, image: image_module.Image) -> str:
    try:
        found = source.get(image.id)
    except exceptions.ImageNotFound:
        return GONE
    except exceptions.ImageNotActive as error:
        return error.status
    except exceptions.ImageHasNoData:
        return 'has no data'
    except exceptions.ImageFormatUnsupported:
        return 'has another format'
    sameness = image_module.compare(image, found)
    if sameness is image_module.Sameness.SAME:
        return SAME
    if sameness is image_module.Sameness.UNKNOWN:
        return UNKNOWN
    return OTHER
