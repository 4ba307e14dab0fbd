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
"""What is known of images that Glance does not show."""

from pvm_imagecache import exceptions
from pvm_imagecache.glance import pages
from pvm_imagecache.glance import presence
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import listings


class PresenceTest(base.TestCase):
    def _of(self, refused, server=None):
        server = server or listings.Server()
        return presence.of(
            'a',
            lambda query: pages.Page((), refused=refused),
            server.show,
        )

    def test_the_list_tells_deleted_from_hidden_images(self):
        for refused, known in (
            (0, presence.Presence.DELETED),
            (403, presence.Presence.HIDDEN),
            (400, presence.Presence.ABSENT),
        ):
            self.assertIs(known, self._of(refused))

    def test_an_image_that_is_shown_by_now_is_not_missing(self):
        for refused in (0, 400, 403):
            self.assertIsNone(self._of(refused, listings.Server('a')))

    def test_another_answer_is_an_error(self):
        self.assertRaises(exceptions.GlanceListFailed, self._of, 404)


class ShowsImagesTest(base.TestCase):
    def _shows(self, server):
        return presence.shows_images(server.ask, 'list')

    def test_visible_and_hidden_images_count(self):
        self.assertTrue(self._shows(listings.Server('a')))
        self.assertTrue(self._shows(listings.Server(hidden=['a'])))
        self.assertFalse(self._shows(listings.Server()))

    def test_what_does_not_behave_like_glance_is_refused(self):
        for refused in (0, 403, 404):
            error = self.assertRaises(
                exceptions.GlanceListFailed,
                self._shows,
                listings.Server('a', refusal=refused),
            )
            self.assertIn('marker', str(error))

    def test_a_refused_list_is_an_error(self):
        for refused in (400, 403, 404):
            self.assertRaises(
                exceptions.GlanceListFailed,
                presence.shows_images,
                lambda query, refused=refused: pages.Page((), refused=refused),
                'list',
            )
