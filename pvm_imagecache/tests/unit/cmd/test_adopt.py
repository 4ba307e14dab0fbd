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

"""The command ``adopt``."""

from pvm_imagecache import naming
from pvm_imagecache.tests.unit.cmd import cases


class AdoptTest(cases.CommandTestCase):
    def setUp(self):
        super().setUp()
        (self.image,) = self.store('rhel-9')
        self.disk = naming.base_image_name(self.image.id)

    def test_a_dry_run_changes_nothing(self):
        self.driver.add(self.disk)
        (row,) = self.json('adopt', 'rhel-9', '--dry-run')
        self.assertEqual(
            (self.image.id, self.disk, 'would be adopted'),
            (row['ID'], row['Disk'], row['Result']),
        )
        self.assertEqual([], self.json('list'))

    def test_an_adopted_disk_is_a_cached_image(self):
        self.driver.add(self.disk)
        self.assertEqual(
            {'rhel-9': 'adopted'}, self.results('adopt', 'rhel-9', '--yes')
        )
        self.assertEqual(
            [self.image.id], [row['ID'] for row in self.json('list')]
        )

    def test_adopt_requires_confirmation(self):
        self.driver.add(self.disk)
        self.assertEqual(
            'Not a terminal: use --yes to confirm.\n',
            self.refused('adopt', 'rhel-9'),
        )
        message = self.refused_by_user('adopt', 'rhel-9')
        self.assertIn(f'Disk {self.disk} (1 GiB): image rhel-9', message)
        self.assertIn('Cancelled. Nothing was adopted.', message)
        self.assertEqual([], self.json('list'))

    def refused_by_user(self, *arguments):
        self.run_command(*arguments, code=1, stdin=cases.Terminal('n\n'))
        return self.errors.getvalue()

    def test_a_disk_of_another_catalog_needs_an_option(self):
        self.driver.add(self.disk, label=cases.LABEL_OF_OTHER)
        for arguments in ((), ('--yes',), ('--dry-run',)):
            message = self.refused('adopt', 'rhel-9', *arguments)
            for text in (self.disk, '(5e1f0c2a)', '--take-over'):
                self.assertIn(text, message)
        self.assertIn(
            'use --yes', self.refused('adopt', 'rhel-9', '--take-over')
        )
        self.assertEqual([], self.json('list'))
        self.assertEqual(
            {'rhel-9': 'would be adopted'},
            self.results('adopt', 'rhel-9', '--take-over', '--dry-run'),
        )
        self.assertEqual(
            {'rhel-9': 'adopted'},
            self.results('adopt', 'rhel-9', '--take-over', '--yes'),
        )
        self.assertEqual(
            [self.image.id], [row['ID'] for row in self.json('list')]
        )

    def test_a_missing_disk_is_refused(self):
        self.assertIn(
            f'cannot be adopted as image {self.image.id}',
            self.refused('adopt', 'rhel-9', '--yes'),
        )
