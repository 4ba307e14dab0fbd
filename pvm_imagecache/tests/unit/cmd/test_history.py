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

"""The command ``history``."""

import os

from pvm_imagecache.tests.unit.cmd import cases


class HistoryTest(cases.CommandTestCase):
    def test_an_empty_history_is_an_empty_list(self):
        self.assertEqual([], self.json('history'))
        self.assertFalse(os.path.exists(self.path('state')))

    def test_events_are_shown_newest_first(self):
        (image,) = self.cache('debian-13')
        self.run_command('pin', 'debian-13', '--note', 'rollout')
        rows = self.json('history')
        self.assertEqual(
            [('pin', 'rollout'), ('prefetch', None)],
            [(row['Action'], row['Reason']) for row in rows],
        )
        self.assertEqual(
            ('ann', image.id, 'debian-13'),
            (rows[0]['User'], rows[0]['Image'], rows[0]['Name']),
        )

    def test_events_are_filtered(self):
        self.cache('debian-12', 'debian-13')
        for arguments, count in (
            (('--image', 'debian-12'), 1),
            (('--action', 'prefetch'), 2),
            (('--action', 'purge', '--action', 'evict'), 0),
            (('--limit', '1'), 1),
            (('--limit', '0'), 2),
            (('--since', '1h'), 2),
            (('--since', '2999-01-01'), 0),
        ):
            self.assertEqual(count, len(self.json('history', *arguments)))

    def test_an_image_without_events_is_refused(self):
        self.cache('debian-13')
        self.assertIn(
            'no events of image "rhel"',
            self.refused('history', '--image', 'rhel'),
        )

    def test_invalid_filters_are_refused(self):
        for arguments, says in (
            (('--limit', '-1'), 'must be 0 or more'),
            (('--limit', 'x'), 'must be 0 or more'),
            (('--since', 'x'), 'neither a duration nor a date'),
            (('--action', 'pass'), 'invalid choice'),
        ):
            self.assertIn(says, self.refused('history', *arguments, code=2))

    def test_a_table_shows_ids_of_ambiguous_names_only(self):
        self.cache('debian-12', 'debian-13')
        self.assertNotIn('| Image ', self.run_command('history'))
        self.assertIn('| Image ', self.run_command('history', '--long'))
        self.source.images.popitem()
        self.source.images['x'] = None
        (other,) = self.store('debian-12')
        self.manager().prefetch(other)
        self.assertIn('| aaaaaaaa', self.run_command('history'))
