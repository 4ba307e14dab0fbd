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
"""What Glance says about one image."""

from pvm_imagecache import exceptions
from pvm_imagecache.glance import entry
from pvm_imagecache.tests.unit import base

_FACTS = {
    'id': base.IMAGE_ID,
    'name': 'an image',
    'status': 'active',
    'created_at': '2026-01-02T03:04:05Z',
    'size': 7,
    'disk_format': 'raw',
    'container_format': 'bare',
}


class EntryTest(base.TestCase):
    def test_an_active_image_can_be_deployed(self):
        found = entry.entry(_FACTS, 'x')
        self.assertTrue(found.active)
        image = found.image()
        self.assertEqual(
            (base.IMAGE_ID, 'an image', 7, 'raw'),
            (image.id, image.name, image.size, image.disk_format),
        )

    def test_it_is_described_by_id_name_date_and_status(self):
        for facts, text in (
            ({}, 'an image, 2026-01-02T03:04:05Z, active'),
            (
                {'name': None, 'created_at': None, 'status': 'queued'},
                'no name, queued',
            ),
            ({'name': 'a\nb', 'created_at': None}, 'a\\nb, active'),
        ):
            self.assertEqual(
                f'{base.IMAGE_ID} ({text})',
                entry.entry(_FACTS | facts, 'x').described,
            )

    def test_an_image_that_cannot_be_deployed_says_why(self):
        for facts, kind in (
            ({'status': 'queued'}, exceptions.ImageNotActive),
            ({'size': None}, exceptions.ImageHasNoData),
            ({'size': -1}, exceptions.ImageHasNoData),
            ({'disk_format': None}, exceptions.ImageFormatUnsupported),
            ({'disk_format': 'iso'}, exceptions.ImageFormatUnsupported),
            ({'container_format': 'ova'}, exceptions.ImageFormatUnsupported),
        ):
            self.assertRaises(kind, entry.entry(_FACTS | facts, 'x').image)

    def test_what_is_no_image_is_refused(self):
        for facts in (
            None,
            [],
            'text',
            {},
            {'id': base.IMAGE_ID},
            {'status': 'active'},
            _FACTS | {'id': ''},
            _FACTS | {'id': 7},
            _FACTS | {'status': None},
            _FACTS | {'name': 7},
            _FACTS | {'size': 'large'},
            _FACTS | {'virtual_size': 7.5},
            _FACTS | {'checksum': []},
            _FACTS | {'os_hash_value': {}},
        ):
            error = self.assertRaises(
                exceptions.GlanceFailed, entry.entry, facts, 'x'
            )
            self.assertIn('not an image', str(error))
