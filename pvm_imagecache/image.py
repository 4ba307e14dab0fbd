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

"""What is known of a Glance image, and when two of them are the same.

Nothing here talks to Glance: see :mod:`pvm_imagecache.glance.source`.
"""

from collections.abc import Iterator
import dataclasses
import enum
import hashlib
from typing import Final

from pvm_imagecache import exceptions

SUPPORTED_FORMATS: Final = ('raw', 'qcow2')
#: Formats of disks that hold more bytes than their file has.
SPARSE_FORMATS: Final = ('qcow2',)


@dataclasses.dataclass(frozen=True)
class Digest:
    """A hash that an image's bytes must have; ``value`` is hexadecimal."""

    algorithm: str
    value: str


@dataclasses.dataclass(frozen=True)
class Image:
    """A Glance image; sizes are in bytes.

    :ivar id: in the spelling that Glance has, which is never changed: the
        same UUID in another case is another image.
    :ivar virtual_size: what a guest sees; None where nobody knows yet.
    :ivar os_hash_algo: with ``os_hash_value`` Glance's own hash, usually
        sha512; None for images that are older than Glance 17.
    :ivar checksum: md5, the only hash of an old image.
    """

    id: str
    name: str | None
    size: int
    disk_format: str
    virtual_size: int | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    checksum: str | None = None

    @property
    def label(self) -> str:
        """Name and short ID for messages: ``debian-13 (e975f0c7)``."""
        return f'{self.name} ({self.id[:8]})' if self.name else self.id

    @property
    def digest(self) -> Digest | None:
        """The best hash there is that this Python can compute, or None."""
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
    def needs_virtual_size(self) -> bool:
        """Whether a guest's size has to be read from the image itself."""
        return self.virtual_size is None and self.disk_format in SPARSE_FORMATS

    @property
    def least_disk_size(self) -> int:
        """The bytes that a disk must have at least to boot from this."""
        return max(self.size, self.virtual_size or 0)


class Sameness(enum.Enum):
    """What two descriptions tell about the bytes that they describe."""

    SAME = 'same'
    DIFFERENT = 'different'
    UNKNOWN = 'unknown'
    """Nothing speaks against it, but they have no hash in common."""


def compare(one: Image, other: Image) -> Sameness:
    """Whether two descriptions are of the same bytes.

    The id must be equal to the letter, the size and format too, and of the
    hashes all that both know: at least one, and none may differ. nova's own
    image object, for one, has only the md5.
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


def check_format(image: Image) -> None:
    """Raise :exc:`ImageFormatUnsupported` unless PowerVM takes the format."""
    if image.disk_format not in SUPPORTED_FORMATS:
        raise exceptions.ImageFormatUnsupported(
            image=image.id,
            kind='disk',
            format=image.disk_format,
            supported=' and '.join(SUPPORTED_FORMATS),
        )
