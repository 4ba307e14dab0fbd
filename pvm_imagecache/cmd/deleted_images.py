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

"""Which cached images were deleted from Glance, with proof.

Glance answers "not found" for an image that was deleted, and also for an
image of another project, at the wrong address, and in the wrong region. An
image counts as deleted if all of these hold:

* Glance shows at least one image to the credentials;
* Glance does not show this image, and does not hide it from the credentials;
* Glance has the record of the deleted image, which only administrators can
  find out; or it is certain that the image was in this Glance: it shows
  another cached image with the same hash, or has the record of another one
  that was deleted.

The Glance of another region may have copies of cached images, with the same
IDs and hashes. No user can choose the time at which an image was created, so
a copy has another one. Therefore:

* if a cached image that Glance shows has another time, it is another Glance;
* an image whose time was recorded counts as deleted only if Glance shows
  another cached image with the recorded time, or has the record of the
  deletion. Of images that earlier releases fetched, the time is not known.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import enum
from typing import TYPE_CHECKING

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import glance_state
from pvm_imagecache.glance import presence

if TYPE_CHECKING:
    from pvm_imagecache import image as image_module
    from pvm_imagecache.glance import source as image_source


@dataclasses.dataclass(frozen=True)
class Deletions:
    """What was found out about cached images.

    :ivar deleted: IDs of the images that were deleted from Glance.
    :ivar hidden: IDs of the images that Glance has, and does not show to
        these credentials.
    :ivar whose: the credentials.
    """

    deleted: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    whose: str = ''


def find(
    source: 'image_source.ImageSource',
    images: 'Sequence[image_module.Image]',
) -> Deletions:
    """Return which images were deleted from Glance.

    :param source: the images of Glance.
    :param images: all images that are cached: those that Glance still has
        prove that it is the right one.
    :returns: the images that were deleted, and those that are hidden.
    :raises DeletionNotProven: if Glance does not show images, and nothing
        proves that they were deleted.
    :raises ImageError: if Glance cannot be queried.
    :raises ConfigurationError: if no credentials are configured.
    """
    states = glance_state.states(source, images)
    missing = [each for each, state in states.items() if not state.shown]
    if not missing:
        return Deletions()
    if not source.shows_images():
        raise exceptions.DeletionNotProven(
            reason=f'Glance shows no image at all to {source.whose}. That '
            f'does not prove that {len(missing)} cached image(s) were '
            'deleted: check the address, the region and the project in '
            '[glance].'
        )
    found = {each: source.presence(each) for each in missing}
    deleted = _with(found, presence.Presence.DELETED)
    absent = _with(found, presence.Presence.ABSENT)
    _check_no_copy(images, states)
    evidence = _evidence(images, states)
    if absent and not (deleted or evidence is not _Evidence.NONE):
        raise exceptions.DeletionNotProven(
            reason=f'Glance shows none of the {len(images)} cached image(s) '
            f'to {source.whose}, and does not know {len(absent)} of them. It '
            'may be the Glance of another region: check the address and the '
            'region in [glance]. If the images were deleted, purge them by '
            'ID.'
        )
    known = {each.id for each in images if each.created_at}
    unproven = absent & known
    if unproven and evidence is not _Evidence.SAME_GLANCE and not deleted:
        raise exceptions.DeletionNotProven(
            reason=f'Nothing shows that {len(unproven)} of the cached '
            'image(s), which Glance does not know, came from it: it shows no '
            'cached image of which the time of its creation was recorded. '
            'If the images were deleted, purge them by ID.'
        )
    return Deletions(
        deleted | absent,
        _with(found, presence.Presence.HIDDEN),
        source.whose,
    )


def _check_no_copy(
    images: 'Sequence[image_module.Image]',
    states: 'Mapping[str, glance_state.State]',
) -> None:
    """Check that Glance shows no image that was created at another time.

    Glance does not use an ID again, unless the record of the deleted image
    was removed.
    """
    for each in images:
        found = states[each.id].created_at
        if each.created_at and found and found != each.created_at:
            raise exceptions.DeletionNotProven(
                reason=f'Image {each.label} was created at {found} in this '
                f'Glance, and the cached one at {each.created_at}: it seems '
                'to be the Glance of another region, which has copies. Check '
                'the address and the region in [glance]. If the image was '
                'created again with the same ID, purge it by ID first.'
            )


class _Evidence(enum.Enum):
    """What the cached images that Glance shows say about it."""

    SAME_GLANCE = enum.auto()
    """It shows an image that was cached from it."""

    UNKNOWN = enum.auto()
    """It shows an image with the same ID and hash, which may be a copy."""

    NONE = enum.auto()


def _evidence(
    images: 'Sequence[image_module.Image]',
    states: 'Mapping[str, glance_state.State]',
) -> _Evidence:
    """Return what the images that Glance shows say about it."""
    found = _Evidence.NONE
    for each in images:
        state = states[each.id]
        if not state.shown:
            continue
        if not each.created_at or not state.created_at:
            if state.text == glance_state.SAME and (found is _Evidence.NONE):
                found = _Evidence.UNKNOWN
        elif state.text == glance_state.SAME:
            found = _Evidence.SAME_GLANCE
    return found


def _with(
    found: 'dict[str, presence.Presence | None]', kind: presence.Presence
) -> frozenset[str]:
    return frozenset(each for each, known in found.items() if known is kind)
