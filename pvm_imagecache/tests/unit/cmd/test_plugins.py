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

"""The command ``plugin list``."""

from pvm_imagecache.tests.unit.cmd import cases


class ListPluginsTest(cases.CommandTestCase):
    options = {'eviction_policies': ['age', 'magic']}

    def test_installed_and_configured_plugins_are_listed(self):
        rows = {
            (row['Namespace'], row['Name']): row
            for row in self.json('plugin list')
        }
        for namespace, name, enabled, error in (
            ('pvm_imagecache.drivers', 'localdisk', True, ''),
            ('pvm_imagecache.drivers', 'ssp', False, ''),
            ('pvm_imagecache.eviction', 'age', True, ''),
            ('pvm_imagecache.eviction', 'magic', True, 'not installed'),
        ):
            row = rows[namespace, name]
            self.assertEqual((enabled, error), (row['Enabled'], row['Error']))

    def test_a_table_hides_the_classes(self):
        self.assertNotIn(
            'pvm_imagecache.eviction.age', self.run_command('plugin', 'list')
        )
        self.assertIn(
            'pvm_imagecache.eviction.age',
            self.run_command('plugin', 'list', '--long'),
        )


class MisconfiguredTest(cases.CommandTestCase):
    def test_the_reason_of_an_invalid_option_is_shown(self):
        self.conf.clear_override('volume_group_name', 'pvm_imagecache')
        rows = {row['Name']: row for row in self.json('plugin list')}
        self.assertEqual('misconfigured', rows['localdisk']['State'])
        self.assertIn('volume_group_name', rows['localdisk']['Error'])
        self.assertEqual('available', rows['ssp']['State'])
