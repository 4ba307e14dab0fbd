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

"""Look-ups of images in Glance by ID, by a prefix of an ID and by name."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Final
import uuid

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.glance import entry as entry_module
from pvm_imagecache.glance import pages

#: Glance accepts no longer names.
_LONGEST_NAME: Final = 255
_SHORTEST_PREFIX: Final = 2
#: How many images a message lists.
_SHOWN: Final = 20

#: Returns the image with an ID.
Show = Callable[[str], entry_module.Entry]


def find(
    wanted: str,
    ask: pages.Ask,
    show_image: Show,
    whose: Callable[[], str],
    *,
    latest: bool,
    by_name: bool = False,
) -> entry_module.Entry:
    """Return an image by ID, by a unique prefix of its ID, or by name.

    A text that looks like an ID, or the beginning of one, is never taken for
    a name: any user may give an image the name that is the ID of another
    image.

    :param wanted: the ID, prefix or name.
    :param ask: asks for a page of the list of images.
    :param show_image: returns the image with an ID.
    :param whose: returns whose credentials they are, for the message.
    :param latest: whether a name that several active images have means the
        newest one.
    :param by_name: whether the text is a name, whatever it looks like.
    :returns: the image: that with the ID, in any status, or an active one.
    :raises ImageNameAmbiguous: if several active images have the name.
    :raises ImageAmbiguous: if several active images have the prefix, in any
        spelling.
    :raises NoActiveImage: if images match, but none is active.
    :raises NoImageMatches: if no visible image matches.
    :raises ImageError: if Glance fails.
    """
    is_id = not by_name and image_module.looks_like_id(wanted)
    if is_id and is_uuid(wanted):
        try:
            return show_image(wanted)
        except exceptions.ImageNotFound:
            matches = _Matches()
    elif is_id:
        matches = _with_prefix(wanted, ask)
    else:
        matches = _named(wanted, ask)
    active = matches.active
    if is_id and active and len(active) + len(matches.active_near) > 1:
        raise exceptions.ImageAmbiguous(
            image=wanted, matches=_listed([*active, *matches.active_near])
        )
    if len(active) > 1 and not latest:
        raise exceptions.ImageNameAmbiguous(
            image=wanted, matches=_listed([*active, *matches.inactive])
        )
    if active:
        return matches.newest()
    if matches.inactive:
        raise exceptions.NoActiveImage(
            image=wanted,
            matches=_listed(matches.inactive),
            status=', '.join(
                sorted({each.status for each in matches.inactive})
            ),
        )
    near = [*matches.near, *_with_other_spelling(wanted, show_image)]
    hint = (
        f' IDs and names must match exactly. Glance has {_listed(near)}.'
        if near
        else _name_hint(wanted, ask, is_id)
    )
    raise exceptions.NoImageMatches(image=wanted, whose=whose(), hint=hint)


def _named(wanted: str, ask: pages.Ask) -> '_Matches':
    """Return the images with a name."""
    found = _Matches()
    if _may_be_a_name(wanted):
        # Without "eq:", Glance reads "word:" in a name as an operator.
        for each in pages.listing(ask, {'name': f'eq:{wanted}'}, wanted):
            # Databases may ignore case, accents and trailing spaces.
            found.add(each, exact=each.name == wanted)
    return found


def _with_prefix(wanted: str, ask: pages.Ask) -> '_Matches':
    """Return the images whose IDs have a prefix, in any spelling."""
    found = _Matches()
    digits = image_module.normalized_id(wanted)
    if len(digits) < _SHORTEST_PREFIX:
        return found
    for each in pages.listing(ask, {}, wanted):
        if image_module.normalized_id(each.id).startswith(digits):
            found.add(each, exact=each.id.startswith(wanted))
    return found


def _name_hint(wanted: str, ask: pages.Ask, is_id: bool) -> str:
    return exceptions.USE_NAME if is_id and _named(wanted, ask).active else ''


class _Matches:
    """Images that match, by what they are good for."""

    def __init__(self) -> None:
        self.active: list[entry_module.Entry] = []
        self.inactive: list[entry_module.Entry] = []
        self.near: list[entry_module.Entry] = []

    def add(self, entry: entry_module.Entry, *, exact: bool) -> None:
        if not exact:
            self.near.append(entry)
        elif entry.active:
            self.active.append(entry)
        else:
            self.inactive.append(entry)

    @property
    def active_near(self) -> list[entry_module.Entry]:
        return [each for each in self.near if each.active]

    def newest(self) -> entry_module.Entry:
        # Times have no fractions of a second. Among equal ones the first
        # counts: Glance lists the newest first.
        return max(self.active, key=lambda each: each.created_at)


def _listed(entries: Sequence[entry_module.Entry]) -> str:
    more = len(entries) - _SHOWN
    return ', '.join(each.described for each in entries[:_SHOWN]) + (
        f' and {more} more' if more > 0 else ''
    )


def _with_other_spelling(
    wanted: str, show_image: Show
) -> list[entry_module.Entry]:
    """Return the image whose ID a user wrote in another form, if any."""
    try:
        usual = str(uuid.UUID(wanted))
    except ValueError:
        return []
    if usual == wanted:
        return []
    try:
        return [show_image(usual)]
    except exceptions.ImageNotFound:
        return []


def is_uuid(text: str) -> bool:
    """Return whether a text has the form of an image ID.

    :param text: any text.
    :returns: whether it is a UUID with dashes; the case does not matter.
    """
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _may_be_a_name(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        # Bytes of the command line that are not UTF-8.
        return False
    return 0 < len(text) <= _LONGEST_NAME
