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

"""Tests of the rules of a deploy."""

import dataclasses

import hypothesis
from hypothesis import strategies

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import models
from pvm_imagecache.deploy import checks
from pvm_imagecache.tests.unit import base

READY = models.State.READY
POPULATING = models.State.POPULATING


class ChecksTest(base.TestCase):
    image = base.image_of(b'some bytes')

    def _record(self, **values):
        defaults = {
            'pool': 'pool',
            'disk_name': 'i_',
            'image': self.image,
            'state': READY,
            'fill_id': 'l',
            'holder': 'h',
            'udid': 'u',
            'capacity': base.GIB,
            'bytes_done': 10,
            'created_at': 1.0,
            'ready_at': 1.0,
            'last_used_at': 1.0,
            'hits': 0,
            'reason': None,
            'started_clock': 1.0,
            'ready_clock': 1.0,
            'used_clock': 1.0,
        }
        return models.BaseImage(**defaults | values)

    def test_ready_record_of_the_image_is_servable(self):
        self.assertTrue(checks.is_servable(self._record(), self.image))

    def test_incomplete_or_other_record_is_not_servable(self):
        for values in (
            {'udid': None},
            {'udid': ''},
            {'state': POPULATING},
            {'state': models.State.EVICTING},
            {'image': dataclasses.replace(self.image, disk_format='qcow2')},
        ):
            self.assertFalse(
                checks.is_servable(self._record(**values), self.image),
                values,
            )

    @base.generated
    @hypothesis.given(
        strategies.sampled_from(models.State),
        strategies.sampled_from([None, '', 'udid']),
        strategies.sampled_from([base.IMAGE_ID, base.IMAGE_ID.upper()]),
        strategies.sampled_from([10, 11]),
        strategies.sampled_from(['raw', 'qcow2']),
        strategies.sampled_from([None, 'sha512', 'sha256']),
        strategies.sampled_from([None, 'other']),
    )
    def test_only_an_identical_image_is_servable(
        self, state, udid, image_id, size, disk_format, algo, value
    ):
        cached = dataclasses.replace(
            self.image,
            id=image_id,
            size=size,
            disk_format=disk_format,
            os_hash_algo=algo,
            os_hash_value=value or self.image.os_hash_value,
        )
        served = checks.is_servable(
            self._record(state=state, udid=udid, image=cached), self.image
        )
        same = image_module.compare(cached, self.image)
        self.assertEqual(
            state is READY
            and udid == 'udid'
            and disk_format == 'raw'
            and same is image_module.Sameness.SAME,
            served,
        )
        if served:
            self.assertEqual(
                (base.IMAGE_ID, 10, 'raw'),
                (cached.id, cached.size, cached.disk_format),
            )

    def test_disk_smaller_than_the_image_is_refused(self):
        checks.check_size(self.image, 0)
        checks.check_size(self.image, 10)
        self.assertRaises(
            exceptions.DiskTooSmall, checks.check_size, self.image, 9
        )
        large = dataclasses.replace(self.image, virtual_size=base.GIB + 1)
        error = self.assertRaises(
            exceptions.DiskTooSmall, checks.check_size, large, base.GIB
        )
        self.assertIn('1 GiB (1073741824 bytes)', str(error))
        self.assertIn('(1073741825 bytes)', str(error))

    def test_image_without_a_known_hash_is_not_cacheable(self):
        checks.check_cacheable(self.image)
        for values, text in (
            ({'os_hash_algo': 'blake17'}, '"blake17", which this Python'),
            (
                {'os_hash_algo': None, 'os_hash_value': None},
                'Glance has no hash of it yet',
            ),
            ({'os_hash_value': None}, 'Glance has no hash of it yet'),
        ):
            error = self.assertRaises(
                exceptions.ImageNotCacheable,
                checks.check_cacheable,
                dataclasses.replace(self.image, checksum=None, **values),
            )
            self.assertIn(text, str(error))
            self.assertIn(self.image.label, str(error))
