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
"""Look-ups by ID, by name and by prefix of an ID."""

import uuid

from pvm_imagecache import exceptions
from pvm_imagecache.glance import lookup
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import listings


class FindTest(base.TestCase):
    def _find(self, server, wanted, *, latest=False, by_name=False):
        return lookup.find(
            wanted,
            server.ask,
            server.show,
            lambda: 'ann/demo',
            latest=latest,
            by_name=by_name,
        ).id

    def _refused(self, kind, server, wanted, **kwargs):
        return self.assertRaises(kind, self._find, server, wanted, **kwargs)

    def test_an_id_is_not_searched(self):
        server = listings.Server(base.IMAGE_ID)
        self.assertEqual(base.IMAGE_ID, self._find(server, base.IMAGE_ID))
        self.assertEqual([], server.queries)

    def test_what_looks_like_an_id_is_no_name(self):
        for name in (
            base.IMAGE_ID,
            base.IMAGE_ID.upper(),
            base.IMAGE_ID.replace('-', ''),
            base.IMAGE_ID[:9],
            'cafe',
            'f',
        ):
            server = listings.Server(listings.entry('0', name))
            error = self._refused(exceptions.NoImageMatches, server, name)
            self.assertIn('use --name', str(error))
            self.assertEqual('0', self._find(server, name, by_name=True))

    def test_a_prefix_of_an_id_precedes_a_name(self):
        server = listings.Server('cafe1', listings.entry('b', 'cafe'))
        self.assertEqual('cafe1', self._find(server, 'cafe'))
        self.assertEqual('b', self._find(server, 'cafe', by_name=True))

    def test_an_id_is_no_name(self):
        server = listings.Server(base.IMAGE_ID)
        self._refused(
            exceptions.NoImageMatches, server, base.IMAGE_ID, by_name=True
        )

    def test_a_prefix_in_several_spellings_is_ambiguous(self):
        other = base.IMAGE_ID.upper()
        server = listings.Server(base.IMAGE_ID, other)
        error = self._refused(
            exceptions.ImageAmbiguous, server, base.IMAGE_ID[:8]
        )
        self.assertIn(other, error.matches)
        self.assertEqual(other, self._find(server, other))

    def test_names_are_compared_exactly(self):
        server = listings.Server(
            listings.entry('a', 'Debian'), listings.entry('b', 'debian ')
        )
        self.assertEqual('a', self._find(server, 'Debian'))
        error = self._refused(exceptions.NoImageMatches, server, 'debian')
        self.assertIn('must match exactly', str(error))
        self.assertIn('a (Debian, active)', str(error))

    def test_an_operator_of_the_filter_is_part_of_the_name(self):
        server = listings.Server(listings.entry('a', 'in:a,b'))
        self.assertEqual('a', self._find(server, 'in:a,b'))
        self.assertEqual('eq:in:a,b', server.queries[0]['name'])

    def test_an_inactive_image_does_not_make_a_name_ambiguous(self):
        server = listings.Server(
            listings.entry('a', 'twin', 'queued'),
            listings.entry('b', 'twin'),
            listings.entry('c', 'twin', 'deactivated'),
        )
        self.assertEqual('b', self._find(server, 'twin'))

    def test_several_active_images_are_listed_with_date_and_status(self):
        server = listings.Server(
            listings.entry('a', 'twin', created_at='2026-01-01'),
            listings.entry('b', 'twin', 'queued'),
            hidden=[listings.entry('c', 'twin', created_at='2025-01-01')],
        )
        error = self._refused(exceptions.ImageNameAmbiguous, server, 'twin')
        self.assertIn('--latest', str(error))
        for text in (
            'a (twin, 2026-01-01, active)',
            'b (twin, queued)',
            'c (twin, 2025-01-01, active)',
        ):
            self.assertIn(text, error.matches)

    def test_latest_is_the_newest_active_image(self):
        server = listings.Server(
            listings.entry('a', 'twin', 'queued', created_at='2026-12-01'),
            listings.entry('b', 'twin', created_at='2025-01-01'),
            listings.entry('c', 'twin', created_at='2025-01-01'),
            hidden=[listings.entry('d', 'twin', created_at='2026-01-01')],
        )
        self.assertEqual('d', self._find(server, 'twin', latest=True))
        server.hidden.clear()
        # The first one of the same second.
        self.assertEqual('b', self._find(server, 'twin', latest=True))

    def test_several_prefixes_are_refused_even_with_latest(self):
        server = listings.Server('cafe1', 'cafe2')
        error = self._refused(
            exceptions.ImageAmbiguous, server, 'cafe', latest=True
        )
        self.assertNotIn('--latest', str(error))

    def test_an_inactive_image_does_not_make_a_prefix_ambiguous(self):
        server = listings.Server(
            'cafe1', listings.entry('cafe2', status='killed')
        )
        self.assertEqual('cafe1', self._find(server, 'cafe'))

    def test_only_inactive_images_are_listed(self):
        server = listings.Server(
            listings.entry('cafe1', status='queued'),
            listings.entry('cafe2', status='deactivated'),
        )
        error = self._refused(exceptions.NoActiveImage, server, 'cafe')
        self.assertEqual('deactivated, queued', error.status)
        for text in ('cafe1 (a name, queued)', 'cafe2 (a name, deactivated)'):
            self.assertIn(text, str(error))

    def test_nothing_says_whose_credentials_were_used(self):
        error = self._refused(
            exceptions.NoImageMatches, listings.Server(), 'none'
        )
        self.assertEqual(
            'No image "none" in Glance, or not visible to ann/demo.',
            str(error),
        )

    def test_another_spelling_of_an_id_is_named(self):
        server = listings.Server(base.IMAGE_ID)
        for text in (
            base.IMAGE_ID.upper(),
            base.IMAGE_ID.replace('-', ''),
            base.IMAGE_ID[:8].upper(),
            f'{{{base.IMAGE_ID}}}',
        ):
            error = self._refused(exceptions.NoImageMatches, server, text)
            self.assertIn(base.IMAGE_ID, error.hint)

    def test_what_cannot_be_a_name_is_not_searched(self):
        for text in ('x' * 256, 'not\udcff utf-8'):
            server = listings.Server('a')
            self._refused(exceptions.NoImageMatches, server, text)
            self.assertEqual([], server.queries)

    def test_only_hexadecimal_digits_are_a_prefix(self):
        server = listings.Server('g1')
        for text in ('g1', 'a', '12 4'):
            server.queries.clear()
            self._refused(exceptions.NoImageMatches, server, text)
            self.assertEqual(2, len(server.queries))

    def test_an_id_that_glance_does_not_have_lists_no_images(self):
        server = listings.Server('a')
        self._refused(exceptions.NoImageMatches, server, str(uuid.uuid4()))
        self.assertEqual(
            [True, True], ['name' in each for each in server.queries]
        )


class IsUuidTest(base.TestCase):
    def test_only_the_form_with_dashes_is_an_id(self):
        self.assertTrue(lookup.is_uuid(base.IMAGE_ID))
        self.assertTrue(lookup.is_uuid(base.IMAGE_ID.upper()))
        for text in (
            '',
            base.IMAGE_ID[:-1],
            base.IMAGE_ID.replace('-', ''),
            f'urn:uuid:{base.IMAGE_ID}',
        ):
            self.assertFalse(lookup.is_uuid(text), text)
