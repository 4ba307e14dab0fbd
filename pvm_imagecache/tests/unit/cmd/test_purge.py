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

"""The command ``purge``."""

from pvm_imagecache.glance import presence
from pvm_imagecache.tests.unit.cmd import cases


class PurgeTest(cases.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.old, self.new = self.cache('debian-12', 'debian-13')

    def _names(self):
        return {row['Name'] for row in self.json('list')}

    def test_a_dry_run_purges_nothing(self):
        self.assertEqual(
            {'debian-12': 'would be purged', 'debian-13': 'would be purged'},
            self.results('purge', '--all', '--dry-run'),
        )
        self.assertEqual({'debian-12', 'debian-13'}, self._names())

    def test_named_images_are_purged(self):
        self.assertEqual(
            {'debian-12': 'purged'},
            self.results('purge', 'debian-12', '--yes', '--reason', 'CVE'),
        )
        self.assertEqual({'debian-13'}, self._names())
        (row,) = self.json('history', '--action', 'purge')
        self.assertEqual((self.old.id, 'CVE'), (row['Image'], row['Reason']))

    def test_a_pinned_image_is_kept(self):
        self.run_command('pin', 'debian-12')
        kept = {'debian-12': 'kept: pinned (unpin it first)'}
        self.assertEqual(kept, self.results('purge', 'debian-12', '--dry-run'))
        self.assertEqual(
            kept, self.results('purge', 'debian-12', '--yes', code=1)
        )

    def test_an_image_in_use_is_kept_unless_it_is_named(self):
        self.manager().run_cleanup([self.old.id])
        results = self.results('purge', '--all', '--yes', code=1)
        self.assertTrue(
            results['debian-12'].startswith(
                'kept: in use by instances of this host'
            ),
            results,
        )
        self.assertEqual('purged', results['debian-13'])
        self.assertEqual(
            {'debian-12': 'purged'},
            self.results('purge', 'debian-12', '--yes'),
        )

    def test_unused_selects_images_without_copies(self):
        self.manager().create_disk(self.old, 'vm1')
        self.assertEqual(
            {'debian-13': 'purged'}, self.results('purge', '--unused', '--yes')
        )

    def test_deleted_selects_images_that_glance_does_not_have(self):
        del self.source.images[self.old.id]
        self.assertEqual(
            {'debian-12': 'purged'},
            self.results('purge', '--deleted', '--yes'),
        )

    def test_images_that_glance_hides_were_not_deleted(self):
        del self.source.images[self.old.id]
        self.source.missing[self.old.id] = presence.Presence.HIDDEN
        kept = {
            'debian-12': 'kept: in Glance, but not visible to ann/demo',
        }
        for option in ('--dry-run', '--yes'):
            self.assertEqual(
                kept, self.results('purge', '--deleted', option, code=1)
            )
        self.assertEqual({'debian-12', 'debian-13'}, self._names())

    def test_nothing_is_purged_without_proof(self):
        self.source.images.clear()
        for option in ('--dry-run', '--yes'):
            self.assertIn(
                'Nothing was purged.',
                self.refused('purge', '--deleted', option),
            )
        self.assertEqual({'debian-12', 'debian-13'}, self._names())

    def test_most_of_the_cache_requires_force(self):
        third = self.cache('debian-14')[0]
        self.source.images = {'x': third}
        for each in (self.old, self.new, third):
            self.source.missing[each.id] = presence.Presence.DELETED
        self.assertIn(
            '3 of 3 cached images', self.refused('purge', '--deleted', '--yes')
        )
        self.assertEqual(
            {'would be purged with --force'},
            {
                *self.results(
                    'purge', '--deleted', '--dry-run', code=1
                ).values()
            },
        )
        self.assertIn('--force', self.errors.getvalue())
        self.assertEqual(3, len(self._names()))
        self.assertEqual(
            {'purged'},
            {*self.results('purge', '--deleted', '--yes', '--force').values()},
        )

    def test_a_couple_of_images_requires_no_force(self):
        self.source.images = {'x': self.old}
        for each in (self.old, self.new):
            self.source.missing[each.id] = presence.Presence.DELETED
        self.assertEqual(2, len(self.results('purge', '--deleted', '--yes')))

    def test_force_is_only_for_deleted(self):
        self.assertIn(
            'only be used with --deleted',
            self.refused('purge', '--all', '--force', code=2),
        )

    def test_older_than_selects_by_the_last_use(self):
        self.assertEqual(
            {}, self.results('purge', '--older-than', '1h', '--yes')
        )
        self.assertEqual(
            {},
            self.results('purge', '--unused', '--older-than', '1h', '--yes'),
        )

    def test_the_selection_is_required_and_unambiguous(self):
        self.assertIn('Nothing to purge given', self.refused('purge', code=2))
        for other in ('debian-12', '--unused', '--deleted'):
            self.assertIn(
                'cannot be combined',
                self.refused('purge', '--all', other, code=2),
            )

    def test_purge_requires_confirmation(self):
        self.assertIn('use --yes to confirm', self.refused('purge', '--all'))
        self.run_command('purge', '--all', code=1, stdin=cases.Terminal('n\n'))
        for text in (
            f'debian-12 ({self.old.id})\n',
            'Purge 2 image(s) (2 GiB) from the cache? [y/N] ',
            'Cancelled. Nothing was purged.\n',
        ):
            self.assertIn(text, self.errors.getvalue())
        self.assertEqual({'debian-12', 'debian-13'}, self._names())
        self.run_command('purge', '--all', stdin=cases.Terminal('y\n'))
        self.assertEqual(set(), self._names())
