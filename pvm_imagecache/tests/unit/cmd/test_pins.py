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

"""The commands ``pin`` and ``unpin``."""

from pvm_imagecache.tests.unit.cmd import cases


class PinTest(cases.CommandTestCase):
    def test_a_cached_image_is_pinned_without_glance(self):
        self.cache('debian-13')
        self.source.images.clear()
        self.assertEqual(
            {'debian-13': 'pinned'},
            self.results('pin', 'debian-13', '--for', '30d'),
        )
        self.assertIsNotNone(self.json('show', 'debian-13')['pinned_until'])

    def test_an_image_of_glance_is_pinned_before_it_is_cached(self):
        self.store('debian-13')
        self.assertEqual(
            {'debian-13': 'pinned'}, self.results('pin', 'debian-13')
        )
        self.assertEqual([], self.json('list'))

    def test_an_unknown_image_is_not_pinned(self):
        self.assertIn('No image "rhel" in Glance', self.refused('pin', 'rhel'))

    def test_an_invalid_duration_is_refused(self):
        self.assertIn(
            'is not a duration',
            self.refused('pin', 'debian-13', '--for', '1 d', code=2),
        )

    def test_a_long_note_is_refused(self):
        self.assertIn(
            'at most 1000',
            self.refused('pin', 'debian-13', '--note', 'x' * 1001, code=2),
        )


class UnpinTest(cases.CommandTestCase):
    def test_an_unpinned_image_can_be_purged(self):
        self.cache('debian-13')
        self.run_command('pin', 'debian-13')
        self.assertEqual(
            {'debian-13': 'unpinned'}, self.results('unpin', 'debian-13')
        )
        self.assertEqual(
            {'debian-13': 'purged'},
            self.results('purge', 'debian-13', '--yes'),
        )

    def test_an_image_without_a_pin_is_reported(self):
        self.cache('debian-13')
        self.assertEqual(
            {'debian-13': 'not pinned'}, self.results('unpin', 'debian-13')
        )

    def test_a_pin_is_found_by_a_name_of_the_history(self):
        self.cache('debian-13')
        self.run_command('pin', 'debian-13')
        self.run_command('purge', 'debian-13', '--yes', code=1)
        self.source.images.clear()
        self.assertEqual(
            {'debian-13': 'unpinned'}, self.results('unpin', 'debian-13')
        )
