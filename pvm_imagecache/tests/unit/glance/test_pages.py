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
"""The list of images, page by page."""

from pvm_imagecache import exceptions
from pvm_imagecache.glance import pages
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.glance import listings


class ListingTest(base.TestCase):
    def _ids(self, server, filters=None):
        return [
            each.id for each in pages.listing(server.ask, filters or {}, 'x')
        ]

    def test_all_that_glance_serves_is_asked_for(self):
        server = listings.Server('a', hidden=['b'])
        self.assertEqual(['a', 'b'], self._ids(server, {'name': 'eq:x'}))
        for query in server.queries:
            self.assertEqual(
                ('all', 'all', 'eq:x'),
                (query['visibility'], query['member_status'], query['name']),
            )
        self.assertEqual(
            [None, 'true'], [each.get('os_hidden') for each in server.queries]
        )

    def test_all_pages_are_read_once(self):
        server = listings.Server(*'abcdefg', page=3)
        self.assertEqual([*'abcdefg'], self._ids(server))
        self.assertEqual(
            [None, 'c', 'f', None],
            [each.get('marker') for each in server.queries],
        )

    def test_a_page_begins_after_an_earlier_image_if_its_own_is_gone(self):
        for status in (400, 403, 404):
            server = listings.Server(*'abcdefghi', page=3, refusal=status)
            server.delete_after = {1: 'bc', 2: 'def', 3: 'a'}
            found = self._ids(server)
            self.assertEqual(len(set(found)), len(found))
            self.assertEqual({'g', 'h', 'i'}, set(found) & set('ghi'))

    def test_a_listing_begins_again_if_all_images_before_it_are_gone(self):
        server = listings.Server(*'abcdef', page=2)
        server.delete_after = {1: 'ab'}
        self.assertEqual([*'abcdef'], self._ids(server))

    def test_a_refused_listing_is_an_error(self):
        for status, text in (
            (403, 'get_images'),
            (404, 'address'),
            (400, 'address'),
        ):
            error = self.assertRaises(
                exceptions.GlanceListFailed,
                list,
                pages.listing(
                    lambda query, status=status: pages.Page(
                        (), refused=status, answer=f'HTTP {status}'
                    ),
                    {},
                    'x',
                ),
            )
            self.assertIn(text, str(error))
            self.assertIn(f'HTTP {status}', str(error))

    def test_a_list_that_is_too_long_is_refused(self):
        self.patch(pages, 'MAX_IMAGES', 5)
        self.assertEqual(5, len(self._ids(listings.Server(*'abcde', page=2))))
        error = self.assertRaises(
            exceptions.GlanceListFailed,
            self._ids,
            listings.Server(*'abcdef', page=2),
        )
        self.assertIn('more than 5 images', str(error))

    def test_a_list_that_takes_too_long_is_refused(self):
        self.patch(pages, 'MAX_SECONDS', -1)
        error = self.assertRaises(
            exceptions.GlanceListFailed, self._ids, listings.Server('a')
        )
        self.assertIn('takes more than', str(error))

    def test_a_server_that_repeats_a_page_forever_is_refused(self):
        page = pages.Page([listings.entry('a')], more=True)
        error = self.assertRaises(
            exceptions.GlanceListFailed,
            list,
            pages.listing(lambda query: page, {}, 'x'),
        )
        self.assertIn('repeat', str(error))

    def test_a_server_that_refuses_every_second_page_is_refused(self):
        asked = []

        def ask(query):
            asked.append(query)
            if 'marker' in query:
                return pages.Page((), refused=400)
            return pages.Page([listings.entry('a')], more=True)

        self.assertRaises(
            exceptions.GlanceListFailed, list, pages.listing(ask, {}, 'x')
        )
