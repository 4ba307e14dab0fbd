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

"""What the catalogue can tell of a pool without asking PowerVM.

The shell lists, shows and tells the history from here: no session, no
request, and nothing but the catalogue has to be read.
"""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

from pvm_imagecache import catalog as catalog_module
from pvm_imagecache import exceptions

_SHOWN: Final = 5


class Records:
    """The records of one pool.

    A catalogue that is not there yet has none, and is not made for it.

    :param pool: its id.
    """

    def __init__(self, catalog: catalog_module.Catalog, pool: str) -> None:
        self._catalog = catalog
        self._pool = pool

    def list(self) -> Sequence[catalog_module.BaseImage]:
        """The base images, least recently used first."""
        if not self._catalog.exists:
            return []
        return self._catalog.images(self._pool)

    def find(self, text: str) -> catalog_module.BaseImage:
        """A base image by its image's id, unique start of it, or name.

        :raises ImageNotCached, ImageAmbiguous:
        """
        records = {each.image.id: each for each in self.list()}
        matches = matching(
            text,
            {
                image_id: {each.image.name}
                for image_id, each in records.items()
            },
        )
        if not matches:
            raise exceptions.ImageNotCached(image=text)
        if len(matches) > 1:
            raise exceptions.ImageAmbiguous(
                image=text,
                matches=_listed(
                    {each: records[each].image.name for each in matches}
                ),
            )
        return records[matches[0]]

    def age(self, record: catalog_module.BaseImage) -> float:
        """Seconds since a base image was used last, or was begun."""
        since = record.used_clock
        if since is None:
            since = record.started_clock
        return self._catalog.clock() - since

    def pins(self) -> dict[str, catalog_module.Pin]:
        """By image id, what is pinned."""
        return self._catalog.pins(self._pool) if self._catalog.exists else {}

    def find_pinned(self, text: str) -> tuple[str, str | None] | None:
        """Id and name of a pinned image, which need not be cached.

        :param text: its id, a unique start of it, or its name: as it is
            cached, or as the history has it.
        :raises ImageAmbiguous:
        """
        pinned = self.pins()
        if not pinned:
            return None
        names: dict[str, set[str | None]] = {each: set() for each in pinned}
        for image_id, known in self._catalog.images_in_history(
            self._pool
        ).items():
            if image_id in names:
                names[image_id] |= known - {None}
        for each in self.list():
            if each.image.id in names and each.image.name:
                names[each.image.id] = {each.image.name}
        shown = {
            image_id: next(iter(known), None)
            for image_id, known in names.items()
        }
        matches = matching(text, names)
        if len(matches) > 1:
            raise exceptions.ImageAmbiguous(
                image=text,
                matches=_listed({each: shown[each] for each in matches}),
            )
        return (matches[0], shown[matches[0]]) if matches else None

    def in_use(self) -> dict[str, float]:
        """By image id, when instances were last seen to use it."""
        return self._catalog.in_use(self._pool) if self._catalog.exists else {}

    def history(
        self, *, image: str | None = None, **filters: Any
    ) -> Sequence[catalog_module.Event]:
        """What was done, the newest first; see ``Catalog.history``.

        :param image: an id, a unique start of one, or a name.
        :raises ImageNotInHistory, ImageAmbiguous:
        """
        if not self._catalog.exists:
            return []
        ids = None if image is None else self._ids_in_history(image)
        return self._catalog.history(self._pool, images=ids, **filters)

    def _ids_in_history(self, text: str) -> Sequence[str]:
        names = self._catalog.images_in_history(self._pool)
        matches = matching(text, names)
        if not matches:
            raise exceptions.ImageNotInHistory(image=text)
        # Images come and go under a name: who asks by one means them all.
        if len(matches) > 1 and text not in names[matches[0]]:
            raise exceptions.ImageAmbiguous(
                image=text,
                matches=_listed(
                    {each: next(iter(names[each])) for each in matches}
                ),
            )
        return matches


def matching(
    text: str, names: Mapping[str, Collection[str | None]]
) -> Sequence[str]:
    """The ids that somebody means: by id, by name, or by how it begins.

    :param names: by id.
    """
    if not text:
        return []
    return (
        [each for each in names if each == text]
        or [each for each, known in names.items() if text in known]
        or [each for each in names if each.startswith(text)]
    )


def _listed(names: Mapping[str, str | None]) -> str:
    shown = [
        f'{image_id} ({name or "no name"})' for image_id, name in names.items()
    ]
    more = len(shown) - _SHOWN
    return ', '.join(shown[:_SHOWN]) + (
        f' and {more} more' if more > 0 else ''
    )
