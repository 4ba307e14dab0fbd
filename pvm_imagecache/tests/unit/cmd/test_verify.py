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

"""The command ``verify``."""

import dataclasses

from pvm_imagecache import exceptions
from pvm_imagecache import naming
from pvm_imagecache.tests.unit.cmd import cases


class VerifyTest(cases.CommandTestCase):
    def test_good_images_are_ok(self):
        self.cache('debian-12', 'debian-13')
        self.assertEqual(
            {
                'debian-12': ('ok', 'active, same hash'),
                'debian-13': ('ok', 'active, same hash'),
            },
            {
                row['Name']: (row['Result'], row['Glance'])
                for row in self.json('verify')
            },
        )
        self.assertEqual(
            ['debian-12'],
            [row['Name'] for row in self.json('verify', 'debian-12')],
        )

    def test_a_missing_disk_is_reported(self):
        (image,) = self.cache('debian-13')
        self.driver.vanish(naming.base_image_name(image.id))
        self.assertEqual(
            {'debian-13': 'disk missing, record removed'},
            self.results('verify', code=1),
        )
        self.assertEqual([], self.json('verify'))

    def test_an_untracked_disk_is_reported(self):
        (image,) = self.store('debian-13')
        name = naming.base_image_name(image.id)
        self.driver.add(name)
        (row,) = self.json('verify', code=1)
        self.assertEqual(
            (None, name, 'untracked: see "adopt"'),
            (row['ID'], row['Disk'], row['Result']),
        )

    def test_disks_of_another_catalog_are_reported(self):
        self.cache('debian-12')
        (image,) = self.store('debian-13')
        name = naming.base_image_name(image.id)
        self.driver.add(name, label=cases.LABEL_OF_OTHER)
        for _ in range(2):
            rows = {
                row['Disk']: row['Result']
                for row in self.json('verify', code=1)
            }
            self.assertEqual(
                'of another catalog (5e1f0c2a), not changed', rows.pop(name)
            )
            self.assertEqual(['ok'], list(rows.values()))

    def test_another_catalog_is_taken_over_after_confirmation(self):
        (image,) = self.store('debian-13')
        name = naming.base_image_name(image.id)
        self.driver.add(name, label=cases.LABEL_OF_OTHER)
        self.driver.add('vm', label=cases.LABEL_OF_OTHER)
        command = ('verify', '--take-over', '5e1f0c2a')
        self.assertIn('use --yes', self.refused(*command))
        self.run_command(*command, code=1, stdin=cases.Terminal('n\n'))
        message = self.errors.getvalue()
        for text in (name, 'vm (1 GiB)', '5e1f0c2a', 'Nothing was changed'):
            self.assertIn(text, message)
        (row,) = self.json('verify', code=1)
        self.assertIn('another catalog', row['Result'])
        # Whole, as "usage" shows it on the other host.
        (row,) = self.json(
            *command[:2], '5e1f0c2a' + '0' * 24, '--yes', code=1
        )
        self.assertEqual('untracked: see "adopt"', row['Result'])
        (event,) = self.json('history', '--action', 'take-over')
        self.assertEqual('catalog 5e1f0c2a: 2 disk(s)', event['Reason'])
        self.run_command('adopt', 'debian-13', '--yes')
        self.assertEqual({'debian-13': 'ok'}, self.results('verify'))

    def test_a_catalog_that_has_no_disks_is_not_taken_over(self):
        (image,) = self.cache('debian-13')
        own = self.json('usage')['catalog_id']
        self.driver.add('vm', label=cases.LABEL_OF_OTHER)
        for catalog in ('', 'ffffffff', '5e1f', own, own[:8]):
            message = self.refused('verify', '--take-over', catalog, '--yes')
            self.assertIn(f'"{catalog}"', message)
            self.assertIn('Other catalogs in the pool: 5e1f0c2a', message)

    def test_a_mapped_disk_is_quarantined(self):
        (image,) = self.cache('debian-13')
        self.driver.taken.add(naming.base_image_name(image.id))
        (result,) = self.results('verify', code=1).values()
        self.assertIn('is mapped to a partition', result)
        self.assertEqual('quarantined', self.json('list')[0]['State'])

    def test_an_image_deleted_from_glance_is_reported(self):
        self.cache('debian-13')
        self.source.images.clear()
        (row,) = self.json('verify', code=1)
        self.assertEqual(('ok', 'not found'), (row['Result'], row['Glance']))
        (row,) = self.json('verify', '--no-glance')
        self.assertIsNone(row['Glance'])

    def test_names_follow_glance(self):
        (image,) = self.cache('debian-13')
        (pinned,) = self.store('rhel')
        self.run_command('pin', 'rhel')
        for each, name in ((image, 'older'), (pinned, 'rhel-9')):
            self.source.images[each.id] = dataclasses.replace(each, name=name)
        (row,) = self.json('verify')
        self.assertEqual('older', row['Name'])
        self.assertEqual('older', self.json('list')[0]['Name'])
        self.assertEqual(
            {'rhel-9': 'unpinned'}, self.results('unpin', 'rhel-9')
        )
        self.assertEqual(
            {('older', 'was "debian-13"'), ('rhel-9', 'was "rhel"')},
            {
                (row['Name'], row['Reason'])
                for row in self.json('history', '--action', 'rename')
            },
        )

    def test_a_pinned_image_that_was_deleted_does_not_matter(self):
        self.cache('debian-13')
        (pinned,) = self.store('rhel')
        self.run_command('pin', 'rhel')
        del self.source.images[pinned.id]
        self.run_command('verify')

    def test_a_glance_that_does_not_answer_is_a_failure(self):
        (image,) = self.cache('debian-13')
        for error, code in (
            (exceptions.GlanceUnreachable(reason='time-out'), 1),
            (exceptions.ConfigurationError(reason='no auth_type'), 0),
        ):
            self.source.images[image.id] = error
            (row,) = self.json('verify', code=code)
            self.assertIsNone(row['Glance'])
            self.assertIn('Not checked in Glance: ', self.errors.getvalue())
