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
"""The image that is meant by an argument of ``pin``."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache.tests.unit.cmd import cases


class PinnableImageTest(cases.CommandTestCase):
    def _pinned(self, *arguments):
        (row,) = self.json('pin', *arguments)
        return row['ID']

    def _fail(self, error):
        def find(text, context=None, **kwargs):
            raise error

        self.patch(self.source, 'find', find)

    def test_an_id_of_a_cached_image_needs_no_glance(self):
        (image,) = self.cache('debian-13')
        self._fail(AssertionError('Glance was asked'))
        self.assertEqual(image.id, self._pinned(image.id))

    def test_glance_knows_what_has_a_name_now(self):
        old, new = self.cache('debian-13', 'debian-14')
        self.source.images[old.id] = dataclasses.replace(old, name='older')
        self.source.images[new.id] = dataclasses.replace(new, name='debian-13')
        self.assertEqual(new.id, self._pinned('debian-13'))
        self.assertEqual(
            {'debian-13'},
            {row['Name'] for row in self.json('list')},
        )

    def test_a_name_that_is_not_in_glance_any_more_is_refused(self):
        (image,) = self.cache('debian-13')
        self.source.images[image.id] = dataclasses.replace(image, name='x')
        message = self.refused('pin', 'debian-13')
        self.assertIn('No image "debian-13" in Glance', message)
        self.assertIn(f'is "x" ({image.id}) in Glance now', message)

    def test_a_cached_image_that_was_deleted_can_be_pinned(self):
        (image,) = self.cache('debian-13')
        self.source.images.clear()
        for text in ('debian-13', image.id[:6]):
            self.assertEqual(image.id, self._pinned(text))
            self.assertIn(
                f'Using the cached image {image.id}', self.errors.getvalue()
            )

    def test_the_cache_is_used_while_glance_does_not_answer(self):
        (image,) = self.cache('debian-13')
        for error in (
            exceptions.GlanceUnreachable(reason='time-out'),
            exceptions.GlanceLogonFailed(reason='wrong'),
            exceptions.ConfigurationError(reason='no auth_type'),
        ):
            self._fail(error)
            self.assertEqual(image.id, self._pinned('debian-13'))
            self.assertIn(str(error), self.errors.getvalue())
            self.assertEqual(cases.IDS[2], self._pinned(cases.IDS[2]))
            self.assertIn('by its ID', self.errors.getvalue())
            self.refused('pin', 'unknown')

    def test_an_id_that_glance_does_not_have_is_refused(self):
        self.assertIn('No image', self.refused('pin', cases.IDS[0]))

    def test_an_ambiguous_name_is_refused_though_one_image_is_cached(self):
        self.cache('debian-13')
        self._fail(
            exceptions.ImageNameAmbiguous(image='debian-13', matches='a, b')
        )
        self.assertIn('--latest', self.refused('pin', 'debian-13'))

    def test_a_name_of_several_cached_images_is_refused(self):
        for image in self.cache('debian-13', 'debian-14'):
            self.source.images[image.id] = dataclasses.replace(
                image, name='twin'
            )
        self.run_command('verify')
        self.source.images.clear()
        message = self.refused('pin', 'twin')
        self.assertIn('"twin" matches several images', message)
        for each in cases.IDS[:2]:
            self.assertIn(each, message)

    def test_an_ambiguous_prefix_is_refused_though_one_image_is_cached(self):
        self.cache('debian-13')
        self._fail(exceptions.ImageAmbiguous(image='aaaa', matches='a, b'))
        self.assertIn('give the full ID', self.refused('pin', 'aaaa'))

    def test_a_prefix_of_a_cached_and_of_another_image_is_refused(self):
        # Glance does not show the cached one any more.
        (image,) = self.cache('debian-13')
        other = dataclasses.replace(image, id=image.id[:-4] + 'ffff')
        self.patch(self.source, 'find', lambda *args, **kwargs: other)
        message = self.refused('pin', image.id[:6])
        for each in (image.id, other.id):
            self.assertIn(each, message)

    def test_a_name_that_looks_like_an_id_needs_an_option(self):
        victim, attacker = self.cache('debian-13', 'debian-14')
        for name in (victim.id.upper(), victim.id.replace('-', '')):
            self.source.images[attacker.id] = dataclasses.replace(
                attacker, name=name
            )
            self.run_command('verify')
            for command in ('show', 'explain', 'purge --yes', 'pin'):
                self.refused(*command.split(), name)
            (row,) = self.json('pin', '--name', name)
            self.assertEqual(attacker.id, row['ID'])

    def test_a_name_that_is_a_prefix_of_an_id_is_not_chosen(self):
        victim, attacker = self.cache('debian-13', 'debian-14')
        self.source.images[attacker.id] = dataclasses.replace(
            attacker, name=victim.id[:8]
        )
        self.run_command('verify')
        self.assertEqual(victim.id, self.json('show', victim.id[:8])['id'])
        self.assertEqual(
            attacker.id, self.json('show', '--name', victim.id[:8])['id']
        )
        (row,) = self.json('purge', victim.id[:8], '--yes')
        self.assertEqual(victim.id, row['ID'])
