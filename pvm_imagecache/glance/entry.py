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

"""What Glance says about one image, checked."""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import text
from pvm_imagecache.glance import properties

ACTIVE: Final = 'active'

_TEXTS: Final = (
    'name',
    'created_at',
    'disk_format',
    'container_format',
    'os_hash_algo',
    'os_hash_value',
    'checksum',
)
_NUMBERS: Final = ('size', 'virtual_size')


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image of Glance in any status.

    :ivar id: ID of the image, in the spelling of Glance.
    :ivar name: name of the image, or None.
    :ivar status: status of the image, for example ``active``.
    :ivar created_at: when it was created, in ISO 8601; '' if unknown.
    :ivar facts: the whole description.
    """

    id: str
    name: str | None
    status: str
    created_at: str
    facts: Mapping[str, Any]

    @property
    def active(self) -> bool:
        """Whether Glance serves the data of the image."""
        return self.status == ACTIVE

    @property
    def described(self) -> str:
        """The image in a list: ``ID (name, date, status)``."""
        details = ', '.join(
            filter(
                None,
                (text.printable(self.name or 'no name'), self.created_at),
            )
        )
        return f'{self.id} ({details}, {self.status})'

    def image(self) -> image_module.Image:
        """Return the image for a deploy.

        :returns: the image.
        :raises ImageNotActive: if its status is not ``active``.
        :raises ImageFormatUnsupported: if PowerVM cannot boot from it.
        :raises ImageNotBootable: if its data is encrypted, is in volumes, or
            is for another processor architecture.
        :raises ImageHasNoData: if Glance knows no size of it.
        """
        if not self.active:
            raise exceptions.ImageNotActive(image=self.id, status=self.status)
        container = self.facts.get('container_format')
        if container not in ('bare', None):
            raise exceptions.ImageFormatUnsupported(
                image=self.id,
                kind='container',
                format=container,
                supported='bare',
            )
        properties.check(self.facts)
        size = self.facts.get('size') or 0
        if size <= 0:
            raise exceptions.ImageHasNoData(image=self.id)
        image = image_module.Image(
            id=self.id,
            name=self.name,
            size=size,
            disk_format=self.facts.get('disk_format') or 'none',
            virtual_size=self.facts.get('virtual_size') or None,
            os_hash_algo=self.facts.get('os_hash_algo'),
            os_hash_value=self.facts.get('os_hash_value'),
            checksum=self.facts.get('checksum'),
            signature=properties.signature(self.facts),
            created_at=self.created_at,
            metadata=properties.metadata(self.facts),
        )
        image_module.check_format(image)
        return image


def entry(facts: object, wanted: str) -> Entry:
    """Return what Glance says about one image.

    :param facts: what Glance sent, parsed.
    :param wanted: what was asked for, for the message.
    :returns: the image.
    :raises GlanceFailed: if this is not an image of Glance's API v2.
    """
    if not isinstance(facts, Mapping) or not (
        _has(facts, ('id', 'status'), str)
        and facts['id']
        and _has(facts, _TEXTS, str, optional=True)
        and _has(facts, _NUMBERS, int, optional=True)
    ):
        raise exceptions.GlanceFailed(
            image=wanted,
            reason='the answer is not an image of the Image service API v2',
        )
    return Entry(
        facts['id'],
        facts.get('name'),
        facts['status'],
        facts.get('created_at') or '',
        facts,
    )


def _has(
    facts: Mapping[str, Any],
    names: tuple[str, ...],
    kind: type,
    *,
    optional: bool = False,
) -> bool:
    """Return whether the values of some names have a type."""
    return all(
        isinstance(value, kind) or (optional and value is None)
        for value in map(facts.get, names)
    )
