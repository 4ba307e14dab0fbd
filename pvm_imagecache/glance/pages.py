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

"""The list of images in Glance, page by page.

Glance serves more images than it lists by default: hidden ones, community
images of other projects, and images that another project shares and the
members have not accepted. The requests here ask for all of them.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import http
import time
from typing import Final
from typing import NoReturn

from pvm_imagecache import exceptions
from pvm_imagecache.glance import entry as entry_module

#: Parameters of a request for all images that Glance serves to these
#: credentials, except hidden ones.
ALL: Final[Mapping[str, str]] = {'visibility': 'all', 'member_status': 'all'}
#: Parameters of one request for the images that are not hidden, and of one
#: for those that are.
HIDDEN: Final[tuple[Mapping[str, str], ...]] = ({}, {'os_hidden': 'true'})

_PAGE_SIZE: Final = 500
#: How often a listing continues after the images before the next page, which
#: say where it begins, were deleted.
_MAX_STEPS_BACK: Final = 100
#: Images of a list, and seconds for it, after which a listing fails: a server
#: may have a next page forever.
MAX_IMAGES: Final = 100_000
MAX_SECONDS: Final = 900.0
#: Pages without a new image after which a listing fails.
_MAX_IDLE_PAGES: Final = 3


@dataclasses.dataclass(frozen=True)
class Page:
    """A part of a list of images.

    :ivar entries: the images.
    :ivar more: whether another page follows.
    :ivar refused: HTTP status if Glance refused the request, else 0.
    :ivar answer: address and status of the refusal, else ''.
    """

    entries: Sequence[entry_module.Entry]
    more: bool = False
    refused: int = 0
    answer: str = ''


#: Asks Glance for a page of the list of images, by the parameters of the
#: request.
Ask = Callable[[Mapping[str, str]], Page]


def listing(
    ask: Ask, filters: Mapping[str, str], wanted: str
) -> Iterator[entry_module.Entry]:
    """Yield all images that Glance serves, the visible ones first.

    Images that are created or deleted meanwhile do not matter: each of the
    others is yielded once.

    :param ask: asks for a page of the list of images.
    :param filters: parameters that select images.
    :param wanted: what is searched, for the message.
    :returns: the images, newest first among the visible and the hidden ones.
    :raises GlanceListFailed: if Glance refuses the list, or repeats pages,
        or if the list is too long or takes too long.
    :raises ImageError: if Glance fails.
    """
    seen: set[str] = set()
    end = time.monotonic() + MAX_SECONDS

    def ask_in_time(query: Mapping[str, str]) -> Page:
        if time.monotonic() > end:
            raise exceptions.GlanceListFailed(
                image=wanted,
                reason=f'the list takes more than {MAX_SECONDS:g} s',
            )
        return ask(query)

    for hidden in HIDDEN:
        query = {**ALL, **filters, **hidden, 'limit': str(_PAGE_SIZE)}
        for each in _pages(ask_in_time, query, wanted):
            if each.id not in seen:
                seen.add(each.id)
                if len(seen) > MAX_IMAGES:
                    raise exceptions.GlanceListFailed(
                        image=wanted,
                        reason=f'the list has more than {MAX_IMAGES} images',
                    )
                yield each


def _pages(
    ask: Ask, query: Mapping[str, str], wanted: str
) -> Iterator[entry_module.Entry]:
    """Yield the images of all pages; some of them several times."""
    # A page begins after an image, which may be deleted before it is asked
    # for. Then it begins after an earlier one.
    markers: list[str] = []
    known: set[str] = set()
    step, steps_back, idle = 1, 0, 0
    while True:
        marker = {'marker': markers[-1]} if markers else {}
        found = ask({**query, **marker})
        if found.refused:
            steps_back += 1
            if not markers or steps_back > _MAX_STEPS_BACK:
                refuse(found, wanted)
            del markers[-step:]
            step *= 2
            continue
        step = 1
        yield from found.entries
        ids = [each.id for each in found.entries]
        if not found.more or not ids:
            return
        idle = idle + 1 if known.issuperset(ids) else 0
        if idle > _MAX_IDLE_PAGES:
            raise exceptions.GlanceListFailed(
                image=wanted, reason='the pages of its list repeat'
            )
        known.update(ids)
        markers += ids


def refuse(page: Page, wanted: str) -> NoReturn:
    """Raise the error for a list of images that Glance refused.

    :param page: the page that was refused.
    :param wanted: what is searched, for the message.
    :raises GlanceListFailed: always.
    """
    reason = (
        'its policy get_images does not let these credentials list images'
        if page.refused == http.HTTPStatus.FORBIDDEN
        else 'there is no list of images at the address of the endpoint'
    )
    raise exceptions.GlanceListFailed(
        image=wanted, reason=f'{reason} ({page.answer})'
    )
