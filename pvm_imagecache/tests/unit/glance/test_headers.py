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
"""Tests of what data looks like, with files of the real programs."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile

import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache.glance import headers
from pvm_imagecache.tests import images
from pvm_imagecache.tests.unit import base

DISK = images.raw_bytes(200_000, seed=3)
#: A boot sector with a partition of type PReP boot, as disks for POWER have.
MBR = (
    bytes(446)
    + struct.pack('<B3sB3sII', 0x80, b'', 0x41, b'', 2048, 16384)
    + bytes(48)
    + b'\x55\xaa'
)


def tar(form):
    to = io.BytesIO()
    with tarfile.open(fileobj=to, mode='w', format=form) as archive:
        member = tarfile.TarInfo('disk.raw')
        member.size = len(DISK)
        archive.addfile(member, io.BytesIO(DISK))
    return to.getvalue()


def zipped():
    to = io.BytesIO()
    with zipfile.ZipFile(to, 'w') as archive:
        archive.writestr('disk.raw', DISK)
    return to.getvalue()


#: By what the message says: data of that format.
FORMATS = {
    'a qcow2 image': [images.qcow2_bytes(base.GIB), b'QFI\xfb\0\0\0\1'],
    'a QED image': [b'QED\0' + bytes(600)],
    'a VMDK image': [
        images.vmdk_bytes(base.GIB),
        b'COWD' + bytes(600),
        struct.pack('<Q', 0xCAFEBABE) + bytes(600),
    ],
    'the descriptor of a VMDK image': [
        b'# Disk DescriptorFile\nversion=1\n',
        b'\n# disk descriptorfile\r\nversion=1\n',
    ],
    'a VHD image': [b'conectix' + bytes(504) + DISK],
    'a VHDX image': [b'vhdxfile' + bytes(600)],
    'a VDI image': [
        b'<<< Oracle VM VirtualBox Disk Image >>>\n'.ljust(64, b'\0')
        + struct.pack('<II', 0xBEDA107F, 0x00010001)
        + bytes(600)
    ],
    'a Parallels image': [b'WithoutFreeSpace' + bytes(600)],
    'an Android sparse image': [struct.pack('<IHH', 0xED26FF3A, 1, 0)],
    'an encrypted disk (LUKS)': [
        b'LUKS\xba\xbe\x00\x01' + bytes(600),
        b'LUKS\xba\xbe\x00\x02' + bytes(600),
    ],
    'a file compressed with gzip': [gzip.compress(DISK)],
    'a file compressed with xz': [lzma.compress(DISK)],
    'a file compressed with lzma': [
        lzma.compress(DISK, format=lzma.FORMAT_ALONE)
    ],
    'a file compressed with bzip2': [bz2.compress(DISK), bz2.compress(b'')],
    'a file compressed with zstd': [
        b'\x28\xb5\x2f\xfd' + DISK,
        b'\x53\x2a\x4d\x18' + DISK,
    ],
    'a file compressed with lz4': [
        b'\x04\x22\x4d\x18' + DISK,
        b'\x02\x21\x4c\x18' + DISK,
    ],
    'a file compressed with lzip': [b'LZIP\x01\x0c' + DISK],
    'a file compressed with lzop': [b'\x89LZO\x00\r\n\x1a\n' + DISK],
    'a file compressed with compress': [b'\x1f\x9d\x90' + DISK],
    'a zip archive': [zipped(), b'PK\x05\x06' + bytes(18)],
    'a 7z archive': [b"7z\xbc\xaf'\x1c\0\4" + DISK],
    'a rar archive': [b'Rar!\x1a\x07\x01\x00' + DISK],
    'a tar archive': [
        tar(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT)
    ],
    'a cpio archive': [b'070701' + b'0' * 104],
    'an ar archive or a package': [b'!<arch>\ndebian-binary'],
    'an RPM package': [b'\xed\xab\xee\xdb\x03\x00' + DISK],
    'a Windows archive': [b'MSWIM\0\0\0' + DISK],
    'a web page or an XML document': [
        b'<!DOCTYPE html>\n<html>',
        b'\n <HTML><head>',
        b'\xef\xbb\xbf<?xml version="1.0"?><Envelope/>',
    ],
}


class LookTest(base.TestCase):
    def test_other_formats_are_recognized(self):
        for name, contents in FORMATS.items():
            for content in contents:
                look = headers.look_of(content)
                self.assertIsNotNone(look, f'{name}: {content[:16]!r}')
                self.assertEqual(name, look.name)

    def test_every_format_has_an_example(self):
        self.assertEqual(
            {look.name for look, _ in headers._LOOKS}, set(FORMATS)
        )

    def test_tar_archives_without_a_magic_number_are_recognized(self):
        header = bytearray(tar(tarfile.USTAR_FORMAT))
        header[257:265] = bytes(8)
        header[148:156] = b' ' * 8
        header[148:156] = b'%06o\0 ' % sum(header[:512])
        self.assertEqual('a tar archive', headers.look_of(header).name)

    def test_disks_are_raw(self):
        for content in (
            DISK,
            MBR + DISK,
            MBR + b'EFI PART' + bytes(504) + DISK,
            images.iso_bytes(100_000),
            # The disk of an AIX system begins with IBMA in EBCDIC.
            b'\xc9\xc2\xd4\xc1' + DISK,
            bytes(1 << 20),
            b'\x00',
            b'',
        ):
            self.assertIsNone(headers.look_of(content))

    def test_magic_numbers_elsewhere_in_a_boot_sector_are_code(self):
        sector = bytearray(MBR)
        for _, contents in sorted(FORMATS.items()):
            for content in contents:
                for offset in (1, 3, 90, 257, 400):
                    code = bytes(sector)
                    code = code[:offset] + content[:8] + code[offset + 8 :]
                    self.assertIsNone(headers.look_of(code + DISK))

    @base.generated
    @hypothesis.given(strategies.integers())
    def test_random_data_behind_a_boot_jump_is_raw(self, seed):
        code = random.Random(seed).randbytes(508)
        self.assertIsNone(
            headers.look_of(b'\xeb\x58' + code + b'\x55\xaa' + DISK)
        )

    @base.generated
    @hypothesis.given(strategies.binary(max_size=700))
    def test_any_beginning_can_be_looked_at(self, content):
        headers.look_of(content)


class InspectedTest(base.TestCase):
    def refused(self, content, **values):
        error = self.assertRaises(
            exceptions.ImageFormatWrong,
            headers.inspected,
            base.image_of(content, **values),
            content,
        )
        self.assertFalse(error.transient)
        return str(error)

    def test_the_message_says_what_it_is_and_what_to_do(self):
        for content, expected in (
            (
                images.qcow2_bytes(base.GIB),
                'is declared as raw, but its data is a qcow2 image: a server '
                'could not boot from it. Upload it with its own disk format, '
                'or convert it first, for example with "qemu-img convert '
                '-O raw".',
            ),
            (
                gzip.compress(DISK),
                'its data is a file compressed with gzip: a server could not '
                'boot from it. Unpack it, and upload the disk that it '
                'contains.',
            ),
            (
                b'LUKS\xba\xbe\x00\x02',
                'its data is an encrypted disk (LUKS): a server could not '
                'boot from it. Upload the decrypted disk.',
            ),
            (b'<html>', 'Upload the disk itself.'),
        ):
            message = self.refused(content)
            self.assertIn('Image an image (3e865d14)', message)
            self.assertTrue(message.endswith(expected), message)

    def test_data_that_is_declared_as_qcow2_is_named(self):
        self.assertIn(
            'is declared as qcow2, but its data is a VMDK image',
            self.refused(images.vmdk_bytes(base.GIB), disk_format='qcow2'),
        )

    def test_encrypted_qcow2_is_refused(self):
        for method in (1, 2):
            content = bytearray(images.qcow2_bytes(base.GIB))
            content[32:36] = struct.pack('>I', method)
            self.assertIn(
                'an encrypted qcow2 image',
                self.refused(bytes(content), disk_format='qcow2'),
            )

    def test_inspection_of_raw_images_can_be_switched_off(self):
        image = base.image_of(b'QFI\xfb')
        self.assertIs(image, headers.inspected(image, b'QFI\xfb', False))


class EndTest(base.TestCase):
    def end(self, content, size):
        end = b''
        for start in range(0, len(content), size):
            end = headers.end_of(end, content[start : start + size])
        return end

    def test_the_last_bytes_are_kept_however_they_arrive(self):
        for length in (1, 511, 512, 513, 2000):
            for size in (1, 7, 511, 512, 5000):
                self.assert_bytes(
                    DISK[:length][-512:], self.end(DISK[:length], size)
                )

    def test_footers_are_refused(self):
        for name, magic in (
            ('a VHD image', b'conectix'),
            ('a DMG image', b'koly\0\0\0\x04'),
        ):
            error = self.assertRaises(
                exceptions.ImageFormatWrong,
                headers.check_end,
                base.image_of(DISK),
                magic.ljust(512, b'\0'),
            )
            self.assertIn(name, str(error))

    def test_other_ends_are_accepted(self):
        for end in (
            b'',
            bytes(512),
            b'EFI PART'.ljust(512, b'\0'),
            b'\0conectix'.ljust(512, b'\0'),
        ):
            headers.check_end(base.image_of(DISK), end)
        headers.check_end(
            base.image_of(DISK, disk_format='qcow2'),
            b'conectix'.ljust(512, b'\0'),
        )
