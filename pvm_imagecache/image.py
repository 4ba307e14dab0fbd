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

"""Descriptions of Glance images, and their comparison.

This module sends no requests: see :mod:`pvm_imagecache.glance.source`.
"""

from collections.abc import Collection
from collections.abc import Iterator
import dataclasses
import enum
import hashlib
import json
import re
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache import text

#: Disk formats of Glance that can be deployed.
SUPPORTED_FORMATS: Final = ('raw', 'qcow2')
#: Disk formats whose disk can be larger than the file.
SPARSE_FORMATS: Final = ('qcow2',)

_SHORT_ID: Final = 8
_HEXADECIMAL: Final = frozenset('0123456789abcdef')
#: What other programs write around a UUID.
_AROUND_ID: Final = re.compile(r'urn:|uuid:|[{}]')


@dataclasses.dataclass(frozen=True)
class Digest:
    """The hash that the bytes of an image must have.

    :ivar algorithm: its name in :mod:`hashlib`, such as ``sha512``.
    :ivar value: hexadecimal, in lower case.
    """

    algorithm: str
    value: str


@dataclasses.dataclass(frozen=True)
class Signature:
    """The signature of an image, from its properties in Glance.

    Anyone who may change the image may change them. A property that the
    image does not have is None.

    :ivar value: ``img_signature``: the signature, in base64.
    :ivar hash_method: ``img_signature_hash_method``, such as ``SHA-256``.
    :ivar key_type: ``img_signature_key_type``, such as ``RSA-PSS``.
    :ivar certificate: ``img_signature_certificate_uuid``: ID of the signing
        certificate in the key manager.
    """

    value: str | None = None
    hash_method: str | None = None
    key_type: str | None = None
    certificate: str | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the properties that the image does not have."""
        return tuple(
            name
            for name, value in (
                ('img_signature', self.value),
                ('img_signature_hash_method', self.hash_method),
                ('img_signature_key_type', self.key_type),
                ('img_signature_certificate_uuid', self.certificate),
            )
            if not value
        )

    @property
    def fingerprint(self) -> str:
        """A hash of all the properties, to compare them later."""
        return hashlib.sha256(
            json.dumps(dataclasses.astuple(self)).encode()
        ).hexdigest()


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Properties of an image in Glance that do not describe its data.

    :ivar project_id: ID of the project that owns the image; None if it is
        not known.
    :ivar tags: tags of the image, sorted.
    :ivar properties: names and values of its properties, sorted by name.
    """

    project_id: str | None = None
    tags: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()

    def with_properties(self, names: Collection[str]) -> 'Metadata':
        """Return the same with some properties only.

        :param names: of the properties.
        :returns: the metadata without other properties.
        """
        return dataclasses.replace(
            self,
            properties=tuple(
                each for each in self.properties if each[0] in names
            ),
        )


@dataclasses.dataclass(frozen=True)
class Image:
    """A Glance image.

    :ivar id: ID of the image, in the spelling of Glance, which is never
        changed: the same UUID in a different case is a different image.
    :ivar name: name of the image, or None if it has none. Names are not
        unique.
    :ivar size: bytes that Glance stores.
    :ivar disk_format: ``raw`` or ``qcow2``, or another one of Glance's
        formats, which cannot be deployed.
    :ivar virtual_size: bytes of the disk that a guest sees; None if unknown.
    :ivar os_hash_algo: algorithm of ``os_hash_value``, usually ``sha512``;
        None for images that are older than Glance 17.
    :ivar os_hash_value: the hash that Glance computed, hexadecimal.
    :ivar checksum: MD5, hexadecimal; the only hash of an old image.
    :ivar signature: the signature of the bytes, if the image has one. It is
        not compared, and the catalog does not keep it.
    :ivar created_at: when Glance created the image, in its words; '' if that
        is not known. No user can choose it, so it differs from that of a
        copy of the image in another Glance. It is not compared.
    :ivar metadata: metadata for eviction policies; it is not compared.
    """

    id: str
    name: str | None
    size: int
    disk_format: str
    virtual_size: int | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    checksum: str | None = None
    signature: Signature = dataclasses.field(
        default=Signature(), compare=False
    )
    created_at: str = dataclasses.field(default='', compare=False)
    metadata: Metadata = dataclasses.field(default=Metadata(), compare=False)

    @property
    def label(self) -> str:
        """Name and short ID for messages: ``debian-13 (e975f0c7)``.

        The whole ID if the image has no name.
        """
        if not self.name:
            return self.id
        return f'{text.printable(self.name)} ({self.id[:_SHORT_ID]})'

    @property
    def digest(self) -> Digest | None:
        """The strongest known hash that this Python can compute, or None."""
        if (
            self.os_hash_value
            and self.os_hash_algo
            and self.os_hash_algo in hashlib.algorithms_available
            and not self.os_hash_algo.startswith('shake')
        ):
            return Digest(self.os_hash_algo, self.os_hash_value.lower())
        if self.checksum:
            return Digest('md5', self.checksum.lower())
        return None

    @property
    def data_id(self) -> str:
        """Identifies the data: ID, size and hash."""
        digest = self.digest
        return f'{self.id} {self.size} {digest.value if digest else ""}'

    @property
    def needs_virtual_size(self) -> bool:
        """True if the virtual size must be read from the image's header."""
        return self.virtual_size is None and self.disk_format in SPARSE_FORMATS

    @property
    def least_disk_size(self) -> int:
        """Bytes that a disk must have at least to hold the image."""
        return max(self.size, self.virtual_size or 0)


class Sameness(enum.Enum):
    """Whether two descriptions are of the same bytes."""

    SAME = 'same'
    """Everything that is known of both is equal, at least one hash."""

    DIFFERENT = 'different'
    """ID, size, format or a hash differ."""

    UNKNOWN = 'unknown'
    """Nothing differs, but no hash is known of both."""


def compare(one: Image, other: Image) -> Sameness:
    """Compare two descriptions of images.

    They are of the same bytes if all of these hold:

    * the ID is equal, including the case of its letters;
    * size and disk format are equal;
    * at least one hash is known of both, and no hash differs. nova's own
      image object, for example, has only the MD5.

    :param one: a description.
    :param other: the description to compare it with; the order does not
        matter.
    :returns: the result.
    """
    if (one.id, one.size, one.disk_format) != (
        other.id,
        other.size,
        other.disk_format,
    ):
        return Sameness.DIFFERENT
    known = [
        (ours.lower(), theirs.lower())
        for ours, theirs in _common_hashes(one, other)
        if ours and theirs
    ]
    if any(ours != theirs for ours, theirs in known):
        return Sameness.DIFFERENT
    return Sameness.SAME if known else Sameness.UNKNOWN


def _common_hashes(
    one: Image, other: Image
) -> Iterator[tuple[str | None, str | None]]:
    yield one.checksum, other.checksum
    if one.os_hash_algo and one.os_hash_algo == other.os_hash_algo:
        yield one.os_hash_value, other.os_hash_value


def looks_like_id(text: str) -> bool:
    """Return whether a user means an ID, or the beginning of one.

    Such a text is never taken for a name: any user may give an image the
    name that is the ID of another image, or a prefix of it.

    :param text: what the user called the image.
    :returns: True for hexadecimal digits, in any case, with or without
        dashes, braces, "urn:" and "uuid:".
    """
    digits = normalized_id(_AROUND_ID.sub('', text.lower()))
    return bool(digits) and _HEXADECIMAL.issuperset(digits)


def normalized_id(text: str) -> str:
    """Return an ID, or a prefix of one, in the form in which IDs collide.

    :param text: the ID. Glance has several images whose IDs differ only in
        the case of letters.
    :returns: the ID in lower case, without dashes and outer spaces.
    """
    return text.strip().replace('-', '').lower()


def check_format(image: Image) -> None:
    """Check that PowerVM can boot from the disk format of an image.

    :param image: the image.
    :raises ImageFormatUnsupported: if it cannot.
    """
    if image.disk_format not in SUPPORTED_FORMATS:
        raise exceptions.ImageFormatUnsupported(
            image=image.id,
            kind='disk',
            format=image.disk_format,
            supported=' and '.join(SUPPORTED_FORMATS),
        )
