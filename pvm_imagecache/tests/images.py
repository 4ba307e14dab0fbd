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

"""Makers of image content: the same bytes for the same arguments, always.

Raw content is quick to make at any size, and no two of its 4 KiB pages are
alike, so that misplaced or repeated data never goes unnoticed. The other
formats are as small as they can be while Glance and oslo.utils know them for
what they are. Nothing here speaks to a server.
"""

from collections import abc
import os
import random
import struct

# A page, which begins with its own number, and the block of random pages
# that raw content repeats, bytes.
_PAGE = 4096
_BLOCK = 1 << 20

_QCOW2_CLUSTER_BITS = 16
_QCOW2_CLUSTER = 1 << _QCOW2_CLUSTER_BITS
# An L2 table, one cluster of eight-byte entries, maps this much of the disk.
_QCOW2_L2_SPAN = _QCOW2_CLUSTER // 8 * _QCOW2_CLUSTER
_QCOW2_HEADER_LENGTH = 104
# Sixteen-bit reference counts, as qemu makes them by default.
_QCOW2_REFCOUNT_ORDER = 4
_QCOW2_COPIED = 1 << 63

_ISO_SECTOR = 2048
_ISO_SYSTEM_AREA = 16 * _ISO_SECTOR

_VMDK_SECTOR = 512
_VMDK_DESCRIPTOR = """\
# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicSparse"
RW {sectors} SPARSE "disk.vmdk"
ddb.virtualHWVersion = "4"
"""


def random_bytes(size: int, seed: int = 0) -> abc.Iterator[bytes]:
    """Yield content of a raw image in pieces of at most 1 MiB.

    It looks like no format there is, not even like a boot sector.

    :param size: bytes in all
    :param seed: another number gives other content
    """
    block = bytearray(random.Random(seed).randbytes(_BLOCK))
    # 0x55 0xAA here would make it an MBR, which Glance takes amiss.
    block[510:512] = b'\0\0'
    for start in range(0, size, _BLOCK):
        for offset in range(0, _BLOCK, _PAGE):
            struct.pack_into('<Q', block, offset, (start + offset) // _PAGE)
        yield bytes(block[: size - start])


def raw_bytes(size: int, seed: int = 0) -> bytes:
    """Return the content of a small raw image of that size, bytes."""
    return b''.join(random_bytes(size, seed))


def write_raw(path: str | os.PathLike[str], size: int, seed: int = 0) -> None:
    """Write a raw image of that size, bytes, to a file."""
    with open(path, 'wb') as image:
        for piece in random_bytes(size, seed):
            image.write(piece)


def qcow2_bytes(
    virtual_size: int,
    payload_size: int = 0,
    seed: int = 0,
    backing_file: str | None = None,
) -> bytes:
    """Return an empty qcow2 disk, followed by clusters it does not use.

    :param virtual_size: size of the disk, bytes
    :param payload_size: size of the file, bytes; it is never smaller than
        what describes the disk, 256 KiB for disks up to 4 TiB
    :param seed: another number gives other content of the unused clusters
    :param backing_file: name of a file that the disk is an overlay of,
        which no service should follow, nor accept
    """
    l1_entries = max(1, -(-virtual_size // _QCOW2_L2_SPAN))
    l1_clusters = -(-l1_entries * 8 // _QCOW2_CLUSTER)
    used_clusters = 3 + l1_clusters
    name = (backing_file or '').encode()
    # After the header comes the end marker of its extensions, of 8 bytes.
    name_offset = _QCOW2_HEADER_LENGTH + 8 if name else 0
    header = struct.pack(
        '>4sIQIIQIIQQIIQQQQII',
        b'QFI\xfb',
        3,
        name_offset,
        len(name),
        _QCOW2_CLUSTER_BITS,
        virtual_size,
        0,  # not encrypted
        l1_entries,
        3 * _QCOW2_CLUSTER,  # the L1 table is last
        1 * _QCOW2_CLUSTER,  # the reference count table
        1,  # which has one cluster
        0,  # no snapshots
        0,
        0,  # no incompatible,
        0,  # compatible
        0,  # or autoclear features
        _QCOW2_REFCOUNT_ORDER,
        _QCOW2_HEADER_LENGTH,
    )
    clusters = (
        header + bytes(8) + name,
        struct.pack('>Q', 2 * _QCOW2_CLUSTER),
        struct.pack('>H', 1) * used_clusters,
    )
    disk = b''.join(c.ljust(_QCOW2_CLUSTER, b'\0') for c in clusters)
    disk += bytes(l1_clusters * _QCOW2_CLUSTER)
    return disk + raw_bytes(max(0, payload_size - len(disk)), seed)


def vmdk_bytes(
    virtual_size: int, payload_size: int = 0, seed: int = 0
) -> bytes:
    """Return the beginnings of a sparse VMDK, enough to be known as one.

    :param virtual_size: size of the disk, bytes
    :param payload_size: size of the file, bytes, or larger if need be
    :param seed: another number gives other content after the description
    """
    sectors = virtual_size // _VMDK_SECTOR
    header = struct.pack(
        '<4sIIQQQQIQQ',
        b'KDMV',
        1,
        3,  # line endings can be checked, there is a redundant table
        sectors,
        128,  # sectors of a grain
        1,  # sector of the descriptor
        20,  # sectors of the descriptor
        512,  # entries of a grain table
        21,  # sector of the redundant grain directory
        26,  # sector of the grain directory
    )
    descriptor = _VMDK_DESCRIPTOR.format(sectors=sectors).encode()
    disk = header.ljust(_VMDK_SECTOR, b'\0')
    disk += descriptor.ljust(20 * _VMDK_SECTOR, b'\0')
    return disk + raw_bytes(max(0, payload_size - len(disk)), seed)


def iso_bytes(payload_size: int = 0, seed: int = 0) -> bytes:
    """Return the beginnings of an ISO 9660 file system, enough for one.

    :param payload_size: size of the file, bytes, or larger if need be
    :param seed: another number gives other content after the description
    """
    size = max(payload_size, _ISO_SYSTEM_AREA + 2 * _ISO_SECTOR)
    blocks = size // _ISO_SECTOR
    primary = bytearray(_ISO_SECTOR)
    struct.pack_into('<B5sB', primary, 0, 1, b'CD001', 1)
    struct.pack_into('<I', primary, 80, blocks)
    struct.pack_into('>I', primary, 84, blocks)
    struct.pack_into('<H', primary, 128, _ISO_SECTOR)
    struct.pack_into('>H', primary, 130, _ISO_SECTOR)
    terminator = struct.pack('<B5sB', 255, b'CD001', 1)
    disk = bytes(_ISO_SYSTEM_AREA) + bytes(primary)
    disk += terminator.ljust(_ISO_SECTOR, b'\0')
    return disk + raw_bytes(size - len(disk), seed)
