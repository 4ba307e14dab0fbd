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

"""Names of virtual disks."""

import string
import uuid

import hypothesis
from hypothesis import strategies
from pypowervm import const as pvm_const
from pypowervm import util as pvm_util

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.tests.unit import base

ALLOWED = string.ascii_letters + string.digits + '._'


class BaseImageNameTest(base.TestCase):
    def test_a_known_image_has_a_known_name(self):
        self.assertEqual(
            'i_3e865d14_8c1e', naming.base_image_name(base.IMAGE_ID)
        )

    @base.generated
    @hypothesis.given(strategies.text(min_size=1))
    def test_names_are_those_of_nova_powervm(self, image_id):
        self.assertEqual(
            pvm_util.sanitize_file_name_for_api(
                image_id, prefix='i_', max_len=pvm_const.MaxLen.VDISK_NAME
            ),
            naming.base_image_name(image_id),
        )

    @base.generated
    @hypothesis.given(strategies.uuids())
    def test_every_uuid_gives_a_base_image_name(self, image_id):
        for spelling in (str(image_id), str(image_id).upper()):
            name = naming.base_image_name(spelling)
            self.assertTrue(naming.is_base_image_name(name))
            self.assertEqual(naming.MAX_DISK_NAME, len(name))

    @base.generated
    @hypothesis.given(strategies.text(), strategies.text())
    def test_every_image_has_a_second_name(self, image_id, pool):
        name = naming.second_base_image_name(image_id, pool)
        self.assertTrue(naming.is_base_image_name(name))
        self.assertNotEqual(
            name, naming.second_base_image_name(image_id, pool + '2')
        )
        self.assertNotEqual(
            name, naming.second_base_image_name(image_id + '2', pool)
        )

    def test_names_keep_the_case_of_the_id(self):
        self.assertNotEqual(
            naming.base_image_name(base.IMAGE_ID),
            naming.base_image_name(base.IMAGE_ID.upper()),
        )

    def test_longest_name_is_that_of_pypowervm(self):
        self.assertEqual(pvm_const.MaxLen.VDISK_NAME, naming.MAX_DISK_NAME)


class IsBaseImageNameTest(base.TestCase):
    def test_takes_the_last_component_of_a_path(self):
        self.assertTrue(naming.is_base_image_name('/var/vio/i_3e865d14_8c1e'))
        self.assertFalse(naming.is_base_image_name('/i_3e865d14_8c1e/disk'))

    def test_other_names_are_not_base_images(self):
        for name in (
            '',
            'i_',
            'b_web_3e86',
            'r_web_3e86',
            'i_3e865d14-8c1e',
            'i_3e865d14_8c1',
            'i_3e865d14_8c1e0',
            'i_3e865d14_8c1g',
            'xi_3e865d14_8c1e',
            'i_3e865d14_8c1e\n',
            'I_3e865d14_8c1e',
            'i_3e865d14_8c1\u0661',
        ):
            self.assertFalse(naming.is_base_image_name(name), name)

    def test_last_component_follows_the_last_slash(self):
        self.assertEqual('disk', naming.last_component('disk'))
        self.assertEqual('disk', naming.last_component('/path/to/disk'))
        self.assertEqual('', naming.last_component('/path/'))


class CheckDiskNameTest(base.TestCase):
    @base.generated
    @hypothesis.given(strategies.text(ALLOWED, min_size=1, max_size=15))
    def test_names_that_powervm_allows_are_accepted(self, name):
        hypothesis.assume(not naming.is_base_image_name(name))
        self.assertEqual(name, naming.check_disk_name(name))

    @base.generated
    @hypothesis.given(strategies.text(max_size=20))
    def test_other_names_are_refused(self, name):
        try:
            naming.check_disk_name(name)
        except exceptions.DiskNameInvalid as error:
            self.assertEqual(name, error.name)
        else:
            self.assertLessEqual(set(name), set(ALLOWED))
            self.assertTrue(0 < len(name) <= 15)

    def test_names_that_are_too_long_are_refused(self):
        naming.check_disk_name('a' * 15)
        self.assertIn('16 characters', self._refused('a' * 16))
        naming.check_disk_name('a' * 79, max_length=79)
        self.assertIn('79 at most', self._refused('a' * 80, max_length=79))

    def test_refusals_name_their_reason(self):
        self.assertIn('empty', self._refused(''))
        for name in ('a b', 'a-b', 'a/b', 'a\n', 'ä', '\0', '\u0661'):
            self.assertIn('only letters', self._refused(name))
        self.assertIn('cached images', self._refused('i_3e865d14_8c1e'))

    def test_every_name_of_an_image_of_a_uuid_is_refused(self):
        self._refused(naming.base_image_name(str(uuid.uuid4())))

    def _refused(self, name, **kwargs):
        return str(
            self.assertRaises(
                exceptions.DiskNameInvalid,
                naming.check_disk_name,
                name,
                **kwargs,
            )
        )


class LabelTest(base.TestCase):
    def test_complete_labels_of_both_forms_are_labels(self):
        for text, expected in (
            ('imagecache_0123456789_5e1f0c2a', True),
            ('imagecache_0123456789abcdef', True),
            ('imagecache_0123456789_5e1f0c2', False),
            ('imagecache_0123456789abcde', False),
            ('imagecache_0123456789_5E1F0C2A', False),
            ('imagecache_0123456789_5e1f0c2a\n', False),
            ('imagecache_', False),
            ('theirs', False),
            ('None', False),
            ('', False),
        ):
            self.assertIs(expected, naming.is_label(text), text)
