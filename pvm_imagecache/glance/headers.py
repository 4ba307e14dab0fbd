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
"""What the data of an image is, according to its first and last bytes."""

from collections.abc import Callable
import dataclasses
import enum
import struct
from typing import Final

from oslo_utils.imageutils import format_inspector

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module

#: Bytes at the end of an image that are inspected: the footer of a VHD.
END_LENGTH: Final = 512

_SECTOR: Final = 512
_BOOT_SIGNATURE: Final = b'\x55\xaa'
#: Offset of the encryption method in the header of qcow2, and its length.
_QCOW2_ENCRYPTION: Final = slice(32, 36)


class Kind(enum.Enum):
    """What can be done about data that is not a raw disk."""

    DISK = 'disk'
    """Another disk format."""

    PACKED = 'packed'
    """A compressed file or an archive."""

    ENCRYPTED = 'encrypted'
    """An encrypted disk."""

    TEXT = 'text'
    """A document."""


_ADVICE: Final = {
    Kind.DISK: 'Upload it with its own disk format, or convert it first, '
    'for example with "qemu-img convert -O raw"',
    Kind.PACKED: 'Unpack it, and upload the disk that it contains',
    Kind.ENCRYPTED: 'Upload the decrypted disk',
    Kind.TEXT: 'Upload the disk itself',
}


@dataclasses.dataclass(frozen=True)
class Look:
    """What data looks like.

    :ivar name: of the format, for messages.
    :ivar kind: what can be done about it.
    """

    name: str
    kind: Kind


def inspected(
    image: image_module.Image, head: bytes, inspect_raw: bool = True
) -> image_module.Image:
    """Return an image with its virtual size, if its data can be deployed.

    PowerVM writes the bytes of a raw image to the disk as they are. An image
    that is declared as raw but is, for example, a qcow2 file would be cached
    and boot nowhere. A qcow2 image can name other files of the host that
    reads it (CVE-2024-32498).

    :param image: as Glance describes it.
    :param head: the first bytes of its data.
    :param inspect_raw: whether raw images are inspected.
    :returns: the image.
    :raises ImageFormatWrong: if the data does not begin as the declared
        format does.
    :raises ImageUnsafe: if the header is not that of a safe image.
    """
    if image.disk_format in image_module.SPARSE_FORMATS:
        return _sparse(image, head)
    if inspect_raw:
        _refuse(image, look_of(head))
    return image


def end_of(before: bytes, piece: bytes) -> bytes:
    """Return the last bytes of a stream, for :func:`check_end`.

    :param before: what this function returned for the pieces before.
    :param piece: the next piece.
    :returns: at most :data:`END_LENGTH` bytes.
    """
    if len(piece) >= END_LENGTH:
        return piece[-END_LENGTH:]
    return (before + piece)[-END_LENGTH:]


def check_end(image: image_module.Image, end: bytes) -> None:
    """Check that raw data does not end as another format.

    :param image: as Glance describes it.
    :param end: its last bytes; see :func:`end_of`.
    :raises ImageFormatWrong: if it ends with the footer of another format.
    """
    if image.disk_format in image_module.SPARSE_FORMATS:
        return
    for name, magic in _FOOTERS:
        if end.startswith(magic):
            _refuse(image, Look(name, Kind.DISK))


def look_of(head: bytes) -> Look | None:
    """Return which format data looks like that is no raw disk.

    Partition tables (MBR, GPT), boot sectors, file systems and ISO 9660
    images are raw disks.

    :param head: the first bytes; 64 KiB are enough.
    :returns: the format; None if it may be a raw disk.
    """
    for look, matches in _LOOKS:
        if matches(head):
            return look
    return None


def _sparse(image: image_module.Image, head: bytes) -> image_module.Image:
    inspector = format_inspector.ALL_FORMATS[image.disk_format]()
    inspector.eat_chunk(head)
    if not inspector.format_match:
        look = look_of(head)
        if look and look.name != f'a {image.disk_format} image':
            _refuse(image, look)
        raise exceptions.ImageUnsafe(
            image=image.id,
            format=image.disk_format,
            reason='it does not begin with the header of that format',
        )
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        reasons = ', '.join(
            str(failure) for failure in error.failures.values()
        )
        raise exceptions.ImageUnsafe(
            image=image.id, format=image.disk_format, reason=reasons
        ) from error
    if image.disk_format == 'qcow2' and any(head[_QCOW2_ENCRYPTION]):
        _refuse(image, Look('an encrypted qcow2 image', Kind.ENCRYPTED))
    size = max(image.virtual_size or 0, inspector.virtual_size)
    return dataclasses.replace(image, virtual_size=size)


def _refuse(image: image_module.Image, look: Look | None) -> None:
    if look is not None:
        raise exceptions.ImageFormatWrong(
            image=image.id,
            image_name=image.name,
            format=image.disk_format,
            actual=look.name,
            reason=_ADVICE[look.kind],
        )


# -- the formats

_Matches = Callable[[bytes], bool]


def _begins(*magics: bytes) -> _Matches:
    return lambda head: head.startswith(magics)


def _has_text(*beginnings: bytes) -> _Matches:
    """Match a text file by its first characters, in any case."""

    def matches(head: bytes) -> bool:
        return (
            head[:_SECTOR]
            .removeprefix(b'\xef\xbb\xbf')
            .lstrip()
            .lower()
            .startswith(beginnings)
        )

    return matches


def _is_vdi(head: bytes) -> bool:
    # The text before the signature is free. The version confirms it, because
    # a boot sector may have any bytes here.
    return head[64:68] == b'\x7f\x10\xda\xbe' and head[70:72] in (
        b'\x00\x00',
        b'\x01\x00',
    )


def _is_gzip(head: bytes) -> bool:
    return (
        head.startswith(b'\x1f\x8b\x08')
        and len(head) > 3
        and not head[3] & 0xE0
    )


def _is_bzip2(head: bytes) -> bool:
    return (
        head.startswith(b'BZh')
        and head[3:4] in b'123456789'
        and head[4:10] in (b'1AY&SY', b'\x17rE8P\x90')
    )


def _is_zstd(head: bytes) -> bool:
    frame = head[:4]
    # A file may begin with a frame of any other data.
    skippable = frame[1:] == b'\x2a\x4d\x18' and 0x50 <= frame[0] <= 0x5F
    return frame == b'\x28\xb5\x2f\xfd' or skippable


def _is_lzma(head: bytes) -> bool:
    """Match the old format of xz, which has no magic number."""
    if len(head) < 14 or not head.startswith(b'\x5d\x00\x00'):
        return False
    dictionary, size = struct.unpack_from('<IQ', head, 1)
    return (
        dictionary.bit_count() <= 2
        and (size == (1 << 64) - 1 or size < 1 << 48)
        and head[13] == 0
    )


def _is_compress(head: bytes) -> bool:
    # Two bytes are few: a boot sector takes precedence.
    return (
        head.startswith(b'\x1f\x9d')
        and len(head) > 2
        and 9 <= head[2] & 0x1F <= 16
        and head[510:512] != _BOOT_SIGNATURE
    )


def _is_tar(head: bytes) -> bool:
    """Match the checksum of the first header; old archives have no magic."""
    header = head[:_SECTOR]
    if len(header) < _SECTOR or not header[0]:
        return False
    try:
        stored = int(header[148:156].strip(b' \0') or b'x', 8)
    except ValueError:
        return False
    return stored == sum(header[:148]) + 8 * ord(' ') + sum(header[156:])


#: The footers of formats that begin as a raw disk does.
_FOOTERS: Final = (
    ('a VHD image', b'conectix'),
    ('a DMG image', b'koly\x00\x00\x00\x04'),
)

_LOOKS: Final[tuple[tuple[Look, _Matches], ...]] = (
    (Look('a qcow2 image', Kind.DISK), _begins(b'QFI\xfb')),
    (Look('a QED image', Kind.DISK), _begins(b'QED\x00')),
    (
        Look('a VMDK image', Kind.DISK),
        _begins(b'KDMV', b'COWD', b'\xbe\xba\xfe\xca\x00\x00\x00\x00'),
    ),
    (
        Look('the descriptor of a VMDK image', Kind.DISK),
        _has_text(b'# disk descriptorfile'),
    ),
    (Look('a VHD image', Kind.DISK), _begins(b'conectix')),
    (Look('a VHDX image', Kind.DISK), _begins(b'vhdxfile')),
    (Look('a VDI image', Kind.DISK), _is_vdi),
    (
        Look('a Parallels image', Kind.DISK),
        _begins(b'WithoutFreeSpace', b'WithouFreSpacExt'),
    ),
    (
        Look('an Android sparse image', Kind.DISK),
        _begins(b'\x3a\xff\x26\xed\x01\x00'),
    ),
    (
        Look('an encrypted disk (LUKS)', Kind.ENCRYPTED),
        _begins(b'LUKS\xba\xbe'),
    ),
    (Look('a file compressed with gzip', Kind.PACKED), _is_gzip),
    (
        Look('a file compressed with xz', Kind.PACKED),
        _begins(b'\xfd7zXZ\x00'),
    ),
    (Look('a file compressed with bzip2', Kind.PACKED), _is_bzip2),
    (Look('a file compressed with zstd', Kind.PACKED), _is_zstd),
    (
        Look('a file compressed with lz4', Kind.PACKED),
        _begins(b'\x04\x22\x4d\x18', b'\x02\x21\x4c\x18'),
    ),
    (Look('a file compressed with lzip', Kind.PACKED), _begins(b'LZIP\x01')),
    (
        Look('a file compressed with lzop', Kind.PACKED),
        _begins(b'\x89LZO\x00\r\n\x1a\n'),
    ),
    (Look('a file compressed with lzma', Kind.PACKED), _is_lzma),
    (Look('a file compressed with compress', Kind.PACKED), _is_compress),
    (
        Look('a zip archive', Kind.PACKED),
        _begins(b'PK\x03\x04', b'PK\x05\x06', b'PK\x07\x08'),
    ),
    (Look('a 7z archive', Kind.PACKED), _begins(b"7z\xbc\xaf'\x1c")),
    (Look('a rar archive', Kind.PACKED), _begins(b'Rar!\x1a\x07')),
    (Look('a tar archive', Kind.PACKED), _is_tar),
    (
        Look('a cpio archive', Kind.PACKED),
        _begins(b'070701', b'070702', b'070707'),
    ),
    (Look('an ar archive or a package', Kind.PACKED), _begins(b'!<arch>\n')),
    (Look('an RPM package', Kind.PACKED), _begins(b'\xed\xab\xee\xdb')),
    (
        Look('a Windows archive', Kind.PACKED),
        _begins(b'MSCF\x00\x00\x00\x00', b'MSWIM\x00\x00\x00'),
    ),
    (
        Look('a web page or an XML document', Kind.TEXT),
        _has_text(b'<!doctype', b'<html', b'<?xml'),
    ),
)
