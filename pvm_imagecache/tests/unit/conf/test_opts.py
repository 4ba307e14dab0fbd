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

"""The list of all options."""

from pvm_imagecache.conf import cache
from pvm_imagecache.conf import compute
from pvm_imagecache.conf import glance
from pvm_imagecache.conf import opts
from pvm_imagecache.tests.unit import base


class ListOptsTest(base.TestCase):
    def test_groups_are_sorted_by_name(self):
        self.assertEqual(
            [
                'glance',
                'pvm_imagecache',
                'pvm_imagecache_age',
                'pvm_imagecache_lru',
                'pvm_imagecache_watermark',
            ],
            [group.name for group, _ in opts.list_opts()],
        )

    def test_every_option_is_listed_once_with_a_help(self):
        for group, options in opts.list_opts():
            names = [option.name for option in options]
            self.assertEqual(sorted(set(names)), sorted(names), group.name)
            for option in options:
                self.assertTrue(option.help, option.name)

    def test_passwords_are_marked_as_secret(self):
        for _, options in opts.list_opts():
            for option in options:
                if 'password' in option.name:
                    self.assertTrue(option.secret, option.name)

    def test_the_lists_can_be_changed(self):
        for module in (cache, compute, glance):
            ((_, listed),) = module.list_opts()
            listed.clear()
            self.assertTrue(module.OPTIONS)

    def test_durations_and_sizes_have_a_unit(self):
        units = {
            'max_age': 'seconds',
            'max_gib': 'GiB',
            'max_images': 'images',
            'minimum_age': 'seconds',
            'request_timeout': 'seconds',
            'stall_timeout': 'seconds',
            'fetch_timeout': 'seconds',
            'first_byte_timeout': 'seconds',
            'high': 'percent',
            'low': 'percent',
        }
        found = {
            option.name: option.help.partition('\nUnit: ')[2].split('\n')[0]
            for group, options in opts.list_opts()
            for option in options
            if group.name.startswith('pvm_imagecache')
        }
        for name, unit in units.items():
            self.assertEqual(unit, found[name], name)
