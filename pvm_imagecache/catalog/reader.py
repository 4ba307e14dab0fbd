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


"""What the catalog knows of a pool, without a request to PowerVM.

The shell uses it to list and show images, and to print the history.
"""

import builtins
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import logging
import os

from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text as text_module
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.conf import cache as cache_conf

LOG = logging.getLogger(__name__)


class CatalogReader:
    """The records of one pool. Nothing is written to the catalog.

    A catalog that does not exist yet is empty, and is not created.

    :param catalog: the catalog.
    :param pool: ID of the pool.
    """

    def __init__(self, catalog: facade.Catalog, pool: str) -> None:
        self._catalog = catalog
        self._pool = pool

    def close(self) -> None:
        """Close the catalog; the next call opens it again."""
        self._catalog.close()

    def list(self) -> builtins.list[models.BaseImage]:
        """Return the base images.

        :returns: their records, least recently used first.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self._catalog.exists:
            return []
        return self._catalog.base_images.list(self._pool)

    def find(self, text: str, *, by_name: bool = False) -> models.BaseImage:
        """Return one base image.

        :param text: ID of the image, a unique prefix of it, or its name: see
            :func:`matching`.
        :param by_name: whether the text is a name, whatever it looks like.
        :returns: the record of the base image.
        :raises ImageNotCached: if no cached image matches.
        :raises ImageAmbiguous: if several cached images match.
        :raises CatalogError: if the catalog cannot be read.
        """
        records = {each.image.id: each for each in self.list()}
        matches = matching(
            text,
            {
                image_id: {each.image.name}
                for image_id, each in records.items()
            },
            by_name=by_name,
        )
        if not matches:
            raise exceptions.ImageNotCached(
                image=text,
                hint=name_hint(
                    text, (each.image.name for each in records.values())
                ),
            )
        if len(matches) > 1:
            raise exceptions.ImageAmbiguous(
                image=text,
                matches=text_module.listed(
                    {each: records[each].image.name for each in matches}
                ),
            )
        return records[matches[0]]

    def age(self, record: models.BaseImage) -> float:
        """Return how long a base image has not been used.

        :param record: the record of the base image.
        :returns: seconds since its last use, or since its fill started, by
            the clock of the catalog.
        :raises CatalogError: if the catalog cannot be read.
        """
        since = record.used_clock
        if since is None:
            since = record.started_clock
        return self._catalog.clock.now() - since

    def metadata(self) -> dict[str, image_module.Metadata]:
        """Return project, tags and selected properties of cached images.

        :returns: by image ID; images of which nothing is known are left out.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self._catalog.exists:
            return {}
        return self._catalog.image_metadata.list(self._pool)

    def pins(self) -> dict[str, models.Pin]:
        """Return the pins that have not ended.

        :returns: the pins by image ID, oldest first.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self._catalog.exists:
            return {}
        return self._catalog.pins.list(self._pool)

    def find_pinned(
        self, text: str, *, by_name: bool = False
    ) -> tuple[str, str | None] | None:
        """Return ID and name of a pinned image, which need not be cached.

        :param text: ID of the image, a unique prefix of it, or its name:
            that of its base image, or else the newest one in the history.
        :param by_name: whether the text is a name, whatever it looks like.
        :returns: ID and name, the latter None if it is not known; None if no
            pinned image matches.
        :raises ImageAmbiguous: if several pinned images match.
        :raises CatalogError: if the catalog cannot be read.
        """
        pinned = self.pins()
        if not pinned:
            return None
        names = self.names()
        shown = {each: names.get(each) for each in pinned}
        matches = matching(
            text,
            {each: {name} - {None} for each, name in shown.items()},
            by_name=by_name,
        )
        if len(matches) > 1:
            raise exceptions.ImageAmbiguous(
                image=text,
                matches=text_module.listed(
                    {each: shown[each] for each in matches}
                ),
            )
        return (matches[0], shown[matches[0]]) if matches else None

    def names(self) -> dict[str, str | None]:
        """Return the names of images, as far as they are known.

        :returns: by image ID: the name that the record of the base image
            has, or else the newest one in the history.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self._catalog.exists:
            return {}
        return {
            **self._catalog.history.last_names(self._pool),
            **{each.image.id: each.image.name for each in self.list()},
        }

    def in_use(self) -> dict[str, float]:
        """Return the images that instances used at the last cleanup run.

        :returns: by image ID, when its use was seen, in Unix seconds.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self._catalog.exists:
            return {}
        return self._catalog.pins.in_use(self._pool)

    def other_catalogs(self) -> Sequence[models.OtherCatalog]:
        """Return the other catalogs that were seen last in the pool.

        :returns: each catalog with the number of its base images.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self._catalog.exists:
            return ()
        return self._catalog.identity.others(self._pool)

    def history(
        self,
        *,
        image: str | None = None,
        by_name: bool = False,
        since: float | None = None,
        actions: Collection[str] = (),
        limit: int | None = None,
    ) -> builtins.list[models.HistoryEvent]:
        """Return events, newest first.

        :param image: only events of an image: its ID, a unique prefix of
            it, or a name, which stands for all images that had it. None: all
            events.
        :param by_name: whether ``image`` is a name, whatever it looks like.
        :param since: only events at or after this time, in Unix seconds.
        :param actions: only these actions; empty: all actions.
        :param limit: maximum number of events; None: no limit.
        :returns: the events.
        :raises ImageNotInHistory: if no event is about such an image.
        :raises ImageAmbiguous: if ``image`` is a prefix of several IDs.
        :raises CatalogError: if the catalog cannot be read.
        """
        if not self._catalog.exists:
            return []
        return self._catalog.history.list(
            self._pool,
            since=since,
            actions=actions,
            images=(
                None if image is None else self._ids_in_history(image, by_name)
            ),
            limit=limit,
        )

    def _ids_in_history(self, text: str, by_name: bool) -> builtins.list[str]:
        names = self._catalog.history.image_names(self._pool)
        matches = matching(text, names, by_name=by_name)
        if not matches:
            raise exceptions.ImageNotInHistory(
                image=text,
                hint=name_hint(text, (x for y in names.values() for x in y)),
            )
        # Images are replaced under the same name: it stands for all of them.
        is_name = by_name or not image_module.looks_like_id(text)
        if len(matches) > 1 and not (is_name and text in names[matches[0]]):
            raise exceptions.ImageAmbiguous(
                image=text,
                matches=text_module.listed(
                    {each: next(iter(names[each])) for each in matches}
                ),
            )
        return matches


def matching(
    text: str,
    names: Mapping[str, Collection[str | None]],
    *,
    by_name: bool = False,
) -> list[str]:
    """Return the images that a user means.

    :param text: an ID, a prefix of an ID, or a name.
    :param names: the names of each image by its ID.
    :param by_name: whether the text is a name, whatever it looks like.
    :returns: the image with that ID, else those whose ID has that prefix. If
        several IDs have the prefix in any spelling, all of them. If the text
        does not look like an ID, those with that name. None for an empty
        text.
    """
    if not text:
        return []
    if not by_name:
        if text in names:
            return [text]
        if image_module.looks_like_id(text):
            return _with_prefix(text, names)
    return [each for each, known in names.items() if text in known]


def _with_prefix(text: str, ids: Iterable[str]) -> list[str]:
    """Return the IDs with a prefix; several if it is ambiguous."""
    digits = image_module.normalized_id(text)
    found = [
        each
        for each in ids
        if image_module.normalized_id(each).startswith(digits)
    ]
    if len(found) > 1:
        return found
    return [each for each in found if each.startswith(text)]


def name_hint(text: str, names: Iterable[str | None]) -> str:
    """Return what to do if a text that looks like an ID is a name.

    :param text: what the user called the image.
    :param names: of the images.
    :returns: a sentence that begins with a space; '' if no image has it as
        its name.
    """
    if not image_module.looks_like_id(text) or text not in names:
        return ''
    return exceptions.USE_NAME


def open_reader(conf: cfg.ConfigOpts) -> CatalogReader | None:
    """Return the records of the configured pool, without asking PowerVM.

    The ID of the pool is the one that the last command or cleanup run found.
    If the volume group was re-created under its name, the records are those
    of the old one until the next command that talks to PowerVM, or the next
    cleanup run. Never change anything based on them.

    :param conf: the configuration, with the options of the cache.
    :returns: the records; None if PowerVM must be asked for the pool.
    :raises CatalogError: if the user has no permission to read the catalog,
        which a request to PowerVM would not report.
    :raises CatalogRefused: if the file is not one of this project.
    :raises StateRefused: if its directory or a file cannot be trusted.
    """
    path = cache_conf.catalog_path(conf)
    if _is_forbidden(path):
        raise exceptions.CatalogError(
            path=path,
            reason='Permission denied. Reading it requires read permission '
            'on the file and on its directory.',
        )
    catalog = facade.Catalog(path, read_only=True)
    try:
        pool = catalog.pools.id_of(cache_conf.pool_name(conf))
    except (exceptions.CatalogRefused, exceptions.StateRefused):
        raise
    except exceptions.CatalogError as error:
        # It is missing, must be upgraded, or is corrupt: a process that may
        # write to it handles that.
        LOG.debug('Could not read the catalog without PowerVM: %s', error)
        return None
    return CatalogReader(catalog, pool) if pool else None


def _is_forbidden(path: str) -> bool:
    """Return whether there may be a file, but none that the user may read."""
    try:
        os.stat(path)
    except OSError as error:
        return isinstance(error, PermissionError)
    return not os.access(path, os.R_OK)
