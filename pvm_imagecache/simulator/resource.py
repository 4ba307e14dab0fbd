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

"""What every REST type offers, and the bodies of its requests."""

from __future__ import annotations

import collections.abc
import dataclasses

from lxml import etree

from pvm_imagecache.simulator import atom
from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import schema

# Raises RestError 412 when the client's If-Match is stale. To be called
# under the lock that keeps the resource from changing.
Check = collections.abc.Callable[[], None]


class Resource:
    """A REST type. Refuses what a subclass does not offer.

    :cvar parents: types below whose entries it is served; None for the root.
    :cvar search_keys: elements that ``Type/search/(Key=='value')`` takes.
    """

    layout: schema.Layout
    parents: tuple[str | None, ...] = (None,)
    search_keys: frozenset[str] = frozenset()
    has_links = True

    def documents(self, parent: str | None) -> list[atom.Document]:
        """All entries, or those of a parent (404 if it does not exist)."""
        raise NotImplementedError

    def document(self, uuid: str, parent: str | None) -> atom.Document:
        for document in self.documents(parent):
            if document.uuid.lower() == uuid.lower():
                return document
        raise errors.not_found(f'{self.layout.name} {uuid} does not exist.')

    def create(self, element: etree._Element, parent: str | None) -> str:
        """Create from a client's element; the new UUID."""
        raise self._not_offered('PUT')

    def update(self, uuid: str, parent: str | None, change: Change) -> None:
        raise self._not_offered('POST')

    def delete(self, uuid: str, parent: str | None, check: Check) -> None:
        raise self._not_offered('DELETE')

    def _not_offered(self, method: str) -> errors.RestError:
        return errors.RestError(
            405,
            f'{method} is not supported for {self.layout.name}.',
            'Method Not Allowed',
        )


@dataclasses.dataclass
class Work:
    """What a fault changes in how a request is carried out.

    :ivar copy_limit: bytes after which each copy ends; None for all.
    """

    copy_limit: int | None = None


class Change:
    """A POST: the whole new document, for which groups, on what condition.

    :ivar conditional: whether the client sent If-Match.
    :ivar groups: attribute groups that the document speaks of, None for all.
    """

    def __init__(
        self,
        element: etree._Element,
        groups: frozenset[str] | None,
        *,
        conditional: bool,
        check: Check,
        work: Work,
    ) -> None:
        self.element = element
        self.groups = groups
        self.conditional = conditional
        self.check = check
        self.work = work

    def covers(self, group: str) -> bool:
        return self.groups is None or group in self.groups


def parse(body: bytes, name: str) -> etree._Element:
    """The element of a client's body, which must be of this type."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        huge_tree=True,
    )
    try:
        element = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as exc:
        raise errors.bad_request(
            f'The request body is not valid XML: {exc}'
        ) from exc
    if schema.local_name(element) != name:
        raise errors.bad_request(
            f'The request body must be a {name}, not a '
            f'{schema.local_name(element)}.'
        )
    return element


def child(element: etree._Element, path: str) -> etree._Element | None:
    """The first element at a /-separated path of local names."""
    found: etree._Element | None = element
    for tag in path.split('/'):
        if found is None:
            return None
        found = next(found.iterchildren('{*}' + tag), None)
    return found


def children(element: etree._Element, path: str) -> list[etree._Element]:
    *above, last = path.split('/')
    parent = child(element, '/'.join(above)) if above else element
    return [] if parent is None else list(parent.iterchildren('{*}' + last))


def text(element: etree._Element, path: str) -> str | None:
    """Stripped text of an element; None if it is absent or empty."""
    found = child(element, path)
    if found is None or found.text is None:
        return None
    return found.text.strip() or None
