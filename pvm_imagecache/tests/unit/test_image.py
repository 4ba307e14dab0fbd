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

"""Descriptions of images, and when two are of the same bytes."""

import dataclasses
import hashlib

import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.tests.unit import base

SAME = image_module.Sameness.SAME
DIFFERENT = image_module.Sameness.DIFFERENT
UNKNOWN = image_module.Sameness.UNKNOWN

# Few values, so that two descriptions often agree.
images = strategies.builds(
    image_module.Image,
    id=strategies.sampled_from(['abcd', 'ABCD', 'abce']),
    name=strategies.sampled_from([None, 'a', 'b']),
    size=strategies.integers(1, 2),
    disk_format=strategies.sampled_from(['raw', 'qcow2']),
    virtual_size=strategies.sampled_from([None, 7]),
    os_hash_algo=strategies.sampled_from([None, 'sha256', 'sha512']),
    os_hash_value=strategies.sampled_from([None, '', 'aa', 'AA', 'bb']),
    checksum=strategies.sampled_from([None, '', 'cc', 'CC', 'dd']),
)


class LooksLikeIdTest(base.TestCase):
    def test_ids_and_their_beginnings_in_any_spelling_look_like_ids(self):
        for text in (
            base.IMAGE_ID,
            base.IMAGE_ID.upper(),
            base.IMAGE_ID.replace('-', ''),
            base.IMAGE_ID[:13],
            f' {base.IMAGE_ID}\n',
            'cafe',
            '1',
            '12-',
            '{12345678-abcd}',
            '{12',
            'urn:uuid:12345678-abcd',
            'URN:UUID:{ABCD}',
            'uuid:12',
        ):
            self.assertTrue(image_module.looks_like_id(text), text)

    def test_other_texts_do_not_look_like_ids(self):
        for text in (
            '',
            ' ',
            '-',
            'debian',
            'cafe 1',
            'i_12345678',
            '٣',
            '{}',
        ):
            self.assertFalse(image_module.looks_like_id(text), text)

    def test_ids_that_collide_have_the_same_form(self):
        self.assertEqual(
            image_module.normalized_id('ABCD-12'),
            image_module.normalized_id(' abcd12'),
        )


class DigestTest(base.TestCase):
    def test_digest_prefers_the_hash_of_glance(self):
        image = base.image_of(b'x')
        self.assertEqual(
            image_module.Digest('sha512', hashlib.sha512(b'x').hexdigest()),
            image.digest,
        )

    def test_digest_is_md5_without_another_hash(self):
        image = base.image_of(b'x', os_hash_algo=None, os_hash_value=None)
        self.assertEqual(
            image_module.Digest('md5', hashlib.md5(b'x').hexdigest()),
            image.digest,
        )

    def test_digest_is_md5_if_python_lacks_the_other(self):
        image = base.image_of(b'x', os_hash_algo='blake17')
        self.assertEqual('md5', image.digest.algorithm)

    def test_digest_is_md5_if_the_other_has_no_value(self):
        for value in (None, ''):
            image = base.image_of(b'x', os_hash_value=value)
            self.assertEqual('md5', image.digest.algorithm)

    def test_digest_is_none_without_a_hash(self):
        image = base.image_of(b'x', os_hash_algo=None, checksum=None)
        self.assertIsNone(image.digest)
        image = base.image_of(b'x', os_hash_algo='blake17', checksum='')
        self.assertIsNone(image.digest)

    def test_digest_is_in_lower_case(self):
        image = base.image_of(b'x', os_hash_value='ABCDEF')
        self.assertEqual('abcdef', image.digest.value)
        image = base.image_of(b'x', os_hash_algo=None, checksum='ABCDEF')
        self.assertEqual('abcdef', image.digest.value)


class CompareTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.image = base.image_of(b'some bytes')

    def _compared(self, **changes):
        return image_module.compare(
            self.image, dataclasses.replace(self.image, **changes)
        )

    @base.generated
    @hypothesis.given(images, images)
    def test_comparison_is_symmetric(self, one, other):
        self.assertIs(
            image_module.compare(one, other), image_module.compare(other, one)
        )

    @base.generated
    @hypothesis.given(images, images)
    def test_same_images_agree_in_all_that_is_known(self, one, other):
        if image_module.compare(one, other) is not SAME:
            return
        self.assertEqual(
            (one.id, one.size, one.disk_format),
            (other.id, other.size, other.disk_format),
        )
        agreed = 0
        if one.checksum and other.checksum:
            self.assertEqual(one.checksum.lower(), other.checksum.lower())
            agreed += 1
        if (
            one.os_hash_algo
            and one.os_hash_algo == other.os_hash_algo
            and one.os_hash_value
            and other.os_hash_value
        ):
            self.assertEqual(
                one.os_hash_value.lower(), other.os_hash_value.lower()
            )
            agreed += 1
        self.assertGreater(agreed, 0)

    @base.generated
    @hypothesis.given(images)
    def test_an_image_is_never_different_from_itself(self, image):
        self.assertIsNot(DIFFERENT, image_module.compare(image, image))
        if image.checksum:
            self.assertIs(SAME, image_module.compare(image, image))

    def test_equal_descriptions_are_the_same(self):
        self.assertIs(SAME, self._compared())

    def test_case_of_a_hash_does_not_matter(self):
        self.assertIs(
            SAME,
            self._compared(
                os_hash_value=self.image.os_hash_value.upper(),
                checksum=self.image.checksum.upper(),
            ),
        )

    def test_name_and_virtual_size_do_not_matter(self):
        self.assertIs(SAME, self._compared(name='other', virtual_size=1))

    def test_case_of_the_id_matters(self):
        self.assertIs(DIFFERENT, self._compared(id=self.image.id.upper()))

    def test_size_and_format_matter(self):
        self.assertIs(DIFFERENT, self._compared(size=1))
        self.assertIs(DIFFERENT, self._compared(disk_format='qcow2'))

    def test_one_hash_in_common_is_enough(self):
        for changes in (
            {'os_hash_algo': None, 'os_hash_value': None},
            {'os_hash_algo': 'sha256'},
            {'checksum': None},
            {'checksum': ''},
        ):
            self.assertIs(SAME, self._compared(**changes), changes)

    def test_one_hash_that_differs_is_enough(self):
        self.assertIs(DIFFERENT, self._compared(os_hash_value='0' * 128))
        self.assertIs(DIFFERENT, self._compared(checksum='0' * 32))

    def test_no_hash_in_common_is_unknown(self):
        self.assertIs(
            UNKNOWN, self._compared(os_hash_algo='sha256', checksum=None)
        )
        self.assertIs(
            UNKNOWN,
            self._compared(os_hash_algo=None, os_hash_value=None, checksum=''),
        )


class SizeTest(base.TestCase):
    def test_least_disk_size_is_the_larger_size(self):
        self.assertEqual(2, base.image_of(b'xx').least_disk_size)
        self.assertEqual(
            7, base.image_of(b'xx', virtual_size=7).least_disk_size
        )
        self.assertEqual(
            2, base.image_of(b'xx', virtual_size=1).least_disk_size
        )

    def test_only_sparse_formats_need_a_virtual_size(self):
        self.assertFalse(base.image_of(b'xx').needs_virtual_size)
        qcow2 = base.image_of(b'xx', disk_format='qcow2')
        self.assertTrue(qcow2.needs_virtual_size)
        self.assertFalse(
            dataclasses.replace(qcow2, virtual_size=7).needs_virtual_size
        )


class LabelTest(base.TestCase):
    def test_label_is_name_and_short_id(self):
        self.assertEqual('an image (3e865d14)', base.image_of(b'x').label)

    def test_label_without_a_name_is_the_whole_id(self):
        for name in (None, ''):
            self.assertEqual(
                base.IMAGE_ID, base.image_of(b'x', name=name).label
            )

    def test_label_is_safe_on_a_terminal(self):
        image = base.image_of(b'x', name='\x1b[2J')
        self.assertEqual(r'\x1b[2J (3e865d14)', image.label)


class CheckFormatTest(base.TestCase):
    def test_supported_formats_are_accepted(self):
        for disk_format in image_module.SUPPORTED_FORMATS:
            image_module.check_format(
                base.image_of(b'x', disk_format=disk_format)
            )

    def test_other_formats_are_refused(self):
        for disk_format in ('vmdk', 'iso', 'none', 'RAW', ''):
            error = self.assertRaises(
                exceptions.ImageFormatUnsupported,
                image_module.check_format,
                base.image_of(b'x', disk_format=disk_format),
            )
            self.assertIn('raw and qcow2', str(error))
            self.assertFalse(error.transient)
