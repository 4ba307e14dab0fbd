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

"""The commands ``list``, ``show`` and ``prefetch``."""

from pvm_imagecache.tests.unit import fakes
from pvm_imagecache.tests.unit.cmd import cases


class ListTest(cases.CommandTestCase):
    def test_a_wrong_state_path_is_announced(self):
        self.driver.add('i_00000000_0000', label=cases.LABEL_OF_OTHER)
        self.assertEqual([], self.json('list'))
        self.assertIn('another catalog (5e1f0c2a)', self.errors.getvalue())

    def test_what_usage_found_is_announced(self):
        self.cache('debian-13')
        self.driver.add('i_00000000_0000', label=cases.LABEL_OF_OTHER)
        self.run_command('usage')
        self.driver.before['snapshot'] = fakes.refusal
        self.run_command('list')
        self.assertIn('another catalog (5e1f0c2a)', self.errors.getvalue())

    def test_base_images_of_another_catalog_are_announced(self):
        self.cache('debian-13')
        self.driver.add('i_00000000_0000', label=cases.LABEL_OF_OTHER)
        self.manager().run_cleanup([])
        self.assertEqual(1, len(self.json('list')))
        self.assertIn(
            '1 base image(s) of another catalog (5e1f0c2a)',
            self.errors.getvalue(),
        )
        self.driver.vanish('i_00000000_0000')
        self.manager().run_cleanup([])
        self.run_command('list')
        self.assertNotIn('another catalog', self.errors.getvalue())

    def test_an_empty_cache_is_an_empty_list(self):
        self.assertEqual([], self.json('list'))
        self.assertEqual('', self.run_command('list'))

    def test_the_least_recently_used_image_is_first(self):
        self.cache('debian-12', 'debian-13')
        self.manager().create_disk(self.source.find('debian-12'), 'vm1')
        self.assertEqual(
            [('debian-13', 0), ('debian-12', 1)],
            [(row['Name'], row['Hits']) for row in self.json('list')],
        )

    def test_long_shows_pins_and_use(self):
        old, new = self.cache('debian-12', 'debian-13')
        self.run_command('pin', 'debian-12')
        self.manager().run_cleanup([new.id])
        self.assertEqual(
            {'debian-12': (True, False), 'debian-13': (False, True)},
            {
                row['Name']: (row['Pinned'], row['In Use'])
                for row in self.json('list', '--long', schema='list --long')
            },
        )

    def test_a_selected_column_needs_no_long(self):
        self.cache('debian-13')
        self.assertEqual(
            'False\n', self.run_command('list', '-f', 'value', '-c', 'Pinned')
        )

    def test_list_sends_no_request_to_powervm(self):
        self.cache('debian-13')
        self.driver.calls.clear()
        self.json('list')
        self.assertEqual([], self.driver.calls)


class ShowTest(cases.CommandTestCase):
    def test_an_image_is_found_by_id_prefix_or_name(self):
        (image,) = self.cache('debian-13')
        for text in (image.id, image.id[:6], 'debian-13'):
            shown = self.json('show', text)
            self.assertEqual(
                (image.id, 'ready', 1024),
                (shown['id'], shown['state'], shown['bytes_done']),
            )
            self.assertRegex(shown['fetched_by'], r'^.+/\d+$')
            self.assertIsNone(shown['last_seen_in_use'])

    def test_an_image_that_is_not_cached_is_refused(self):
        self.store('debian-13')
        self.assertEqual(
            'Image "debian-13" is not cached. "pvm-imagecache list" shows '
            'the cached images. If an image was renamed in Glance, "verify" '
            'updates its name.\n',
            self.refused('show', 'debian-13'),
        )


class PrefetchTest(cases.CommandTestCase):
    def test_an_image_is_fetched_once(self):
        self.store('debian-13')
        (row,) = self.json('prefetch', 'debian-13')
        self.assertEqual(('fetched', 1024), (row['Result'], row['Fetched']))
        self.assertEqual(
            {'debian-13': 'already cached'},
            self.results('prefetch', 'debian-13', 'debian-13'),
        )

    def test_a_failed_fetch_does_not_stop_the_others(self):
        bad, _ = self.store('debian-12', 'debian-13')
        self.source.put(bad, b'x' * 1024)
        results = self.results('prefetch', 'debian-12', 'debian-13', code=1)
        self.assertTrue(
            results['debian-12'].startswith('failed: The data of image'),
            results,
        )
        self.assertEqual('fetched', results['debian-13'])

    def test_all_images_are_looked_up_first(self):
        self.store('debian-13')
        self.assertIn(
            'No image "rhel" in Glance, or not visible',
            self.refused('prefetch', 'debian-13', 'rhel'),
        )
        self.assertEqual([], self.json('list'))
