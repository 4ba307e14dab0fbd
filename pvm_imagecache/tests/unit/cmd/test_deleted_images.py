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
"""Which cached images were deleted from Glance."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import deleted_images
from pvm_imagecache.glance import presence
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases

DELETED = presence.Presence.DELETED
HIDDEN = presence.Presence.HIDDEN
ABSENT = presence.Presence.ABSENT


class FindTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.source = cases.Images()
        self.images = [base.image_of(b'x', each) for each in cases.IDS]
        self.source.images = {'other': base.image_of(b'y', 'other')}

    def _find(self):
        return deleted_images.find(self.source, self.images)

    def _show(self, *images):
        self.source.images |= {each.id: each for each in images}

    def _know(self, *known):
        self.source.missing = dict(zip(cases.IDS, known, strict=False))

    def test_nothing_is_asked_if_all_images_are_shown(self):
        self._show(*self.images)
        self.assertEqual(deleted_images.Deletions(), self._find())

    def test_a_record_of_a_deleted_image_is_proof(self):
        self._know(DELETED, HIDDEN, None)
        found = self._find()
        self.assertEqual({cases.IDS[0]}, found.deleted)
        self.assertEqual({cases.IDS[1]}, found.hidden)
        self.assertEqual('ann/demo', found.whose)

    def test_an_unknown_image_was_deleted_if_another_is_shown(self):
        self._know(ABSENT, HIDDEN)
        self._show(self.images[2])
        self.assertEqual({cases.IDS[0]}, self._find().deleted)

    def test_an_unknown_image_was_deleted_if_another_was(self):
        self._know(ABSENT, DELETED, HIDDEN)
        self.assertEqual(set(cases.IDS[:2]), self._find().deleted)

    def test_unknown_images_alone_prove_nothing(self):
        self._know(ABSENT, ABSENT, HIDDEN)
        error = self.assertRaises(exceptions.DeletionNotProven, self._find)
        self.assertIn('another region', str(error))
        self.assertIn('Nothing was purged.', str(error))

    def test_an_image_with_the_same_id_but_other_data_proves_nothing(self):
        self._know(ABSENT, ABSENT)
        self._show(
            dataclasses.replace(base.image_of(b'other'), id=self.images[2].id)
        )
        self.assertRaises(exceptions.DeletionNotProven, self._find)

    def _fetched(self, *times):
        """Let the time of creation of some images be recorded."""
        self.images = [
            dataclasses.replace(each, created_at=time)
            for each, time in zip(self.images, times, strict=True)
        ]

    def test_an_image_that_was_created_at_the_same_time_is_proof(self):
        self._fetched('2026-01-01', '2026-01-02', '2026-01-03')
        self._know(ABSENT, ABSENT)
        self._show(self.images[2])
        self.assertEqual(set(cases.IDS[:2]), self._find().deleted)

    def test_a_copy_shows_that_it_is_another_glance(self):
        self._fetched('2026-01-01', '2026-01-02', '2026-01-03')
        copy = dataclasses.replace(self.images[2], created_at='2026-02-03')
        for known in (ABSENT, DELETED, HIDDEN):
            for shown in ((copy,), (copy, self.images[1])):
                self.source.images = {}
                self._know(known, known)
                self._show(*shown)
                error = self.assertRaises(
                    exceptions.DeletionNotProven, self._find
                )
                for text in ('2026-02-03', '2026-01-03', 'another region'):
                    self.assertIn(text, str(error))

    def test_an_image_of_unknown_age_proves_only_for_others_of_it(self):
        self._fetched('', '2026-01-02', '')
        self._show(self.images[2])
        self._know(ABSENT, HIDDEN)
        self.assertEqual({cases.IDS[0]}, self._find().deleted)
        self._know(ABSENT, ABSENT)
        error = self.assertRaises(exceptions.DeletionNotProven, self._find)
        self.assertIn('1 of the cached', str(error))
        self._know(ABSENT, DELETED)
        self.assertEqual(set(cases.IDS[:2]), self._find().deleted)

    def test_a_glance_without_times_is_judged_as_before(self):
        self._fetched('', '', '2026-01-03')
        self._show(dataclasses.replace(self.images[2], created_at=''))
        self._know(ABSENT, ABSENT)
        self.assertEqual(set(cases.IDS[:2]), self._find().deleted)

    def test_an_image_with_other_data_of_the_same_time_is_no_proof(self):
        self._fetched('2026-01-01', '2026-01-02', '2026-01-03')
        self._know(ABSENT, ABSENT)
        self._show(
            dataclasses.replace(
                base.image_of(b'other'),
                id=self.images[2].id,
                created_at='2026-01-03',
            )
        )
        self.assertRaises(exceptions.DeletionNotProven, self._find)

    def test_an_empty_glance_proves_nothing(self):
        self.source.images.clear()
        self._know(DELETED, DELETED, DELETED)
        error = self.assertRaises(exceptions.DeletionNotProven, self._find)
        self.assertIn('no image at all to ann/demo', str(error))

    def test_a_glance_that_does_not_answer_is_an_error(self):
        self.source.images[cases.IDS[0]] = exceptions.GlanceUnreachable(
            reason='x'
        )
        self.assertRaises(exceptions.GlanceUnreachable, self._find)
