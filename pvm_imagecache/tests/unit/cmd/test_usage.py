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

"""The command ``usage``."""

from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit import fakes
from pvm_imagecache.tests.unit.cmd import cases


class UsageTest(cases.CommandTestCase):
    def test_an_empty_cache_has_used_nothing(self):
        usage = self.json('usage')
        self.assertEqual(
            (100 * base.GIB, 0, 0, None, None),
            (
                usage['pool_size'],
                usage['cached_images'],
                usage['hits'],
                usage['last_run'],
                usage['last_run_error'],
            ),
        )

    def test_deploys_are_counted(self):
        (image,) = self.cache('debian-13')
        self.manager().create_disk(image, 'vm1')
        usage = self.json('usage')
        self.assertEqual(
            (1, 1, base.GIB, 1024, 1024),
            (
                usage['prefetches'],
                usage['hits'],
                usage['cache_size'],
                usage['bytes_from_glance'],
                usage['bytes_saved'],
            ),
        )

    def test_the_last_cleanup_run_is_shown(self):
        self.cache('debian-13')
        self.manager().run_cleanup([])
        usage = self.json('usage')
        self.assertIsNotNone(usage['last_run'])
        self.assertIsNone(usage['last_run_error'])

    def test_other_catalogs_are_shown_even_without_a_catalog(self):
        self.driver.add('i_00000000_0000', label=cases.LABEL_OF_OTHER)
        self.driver.add('vm1', label=cases.LABEL_OF_OTHER)
        self.driver.add('vm2', label='theirs')
        usage = self.json('usage')
        self.assertIsNone(usage['catalog_id'])
        for _ in range(2):
            self.assertEqual(
                [
                    {
                        'catalog': '5e1f0c2a',
                        'base_images': 1,
                        'other_disks': 1,
                    }
                ],
                self.json('usage')['other_catalogs'],
            )
            self.assertIn(
                '5e1f0c2a (base images: 1, other disks: 1)',
                self.run_command('usage'),
            )
            self.cache('debian-13')
        self.assertRegex(self.json('usage')['catalog_id'], '^[0-9a-f]{32}$')

    def test_disks_of_this_catalog_are_of_no_other(self):
        (image,) = self.cache('debian-13')
        self.manager().create_disk(image, 'vm1')
        self.assertEqual([], self.json('usage')['other_catalogs'])

    def test_a_pool_of_its_own_has_no_numbers_of_ours(self):
        self.driver = fakes.FakePool()
        usage = self.json('usage')
        self.assertEqual(
            (None, None), (usage['cached_images'], usage['cache_size'])
        )
        self.assertIn('managed by the pool', self.run_command('usage'))

    def test_the_metrics_file_has_the_new_names(self):
        self.cache('debian-13')
        self.manager().run_cleanup([])
        path = self.path('pvm.prom')
        self.run_command('usage', '--textfile', path)
        with open(path) as file:
            content = file.read()
        self.assertIn('pvm_imagecache_last_run_timestamp_seconds{', content)
        self.assertIn('pvm_imagecache_last_run_failed{', content)

    def test_an_empty_path_is_refused(self):
        self.assertIn(
            '--textfile requires the path of a file',
            self.refused('usage', '--textfile', '', code=2),
        )
