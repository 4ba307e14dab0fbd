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


"""The instance disks that are being created."""

import dataclasses
import os
import stat

from pvm_imagecache import exceptions
from pvm_imagecache.catalog import file as catalog_file
from pvm_imagecache.tests.unit.catalog import base


class InstanceDisksTest(base.ClockTestCase):
    def setUp(self):
        super().setUp()
        self.disks = self.catalog.instance_disks

    def test_other_pools_are_found_by_the_names_of_disks(self):
        for pool, name in (
            ('pool', 'chk_1'),
            ('other', 'chk_2'),
            ('other', 'chk_3'),
            ('third', 'chkx4'),
        ):
            self.catalog.instance_disks.start(pool, name, 5)
        self.assertEqual(
            ['other'], self.catalog.instance_disks.other_pools('pool', 'chk_')
        )

    def test_a_started_disk_is_listed_until_it_is_finished(self):
        entry = self.disks.start('pool', 'vm', 5)
        self.assertEqual(
            ('vm', 5, None, self.now),
            (entry.disk_name, entry.size, entry.udid, entry.started_at),
        )
        self.assertIn(f'/{os.getpid()}', entry.holder)
        self.assertEqual([entry], self.open().instance_disks.list('pool'))
        self.assertEqual([], self.disks.list('other'))
        self.disks.finish(entry)
        self.disks.finish(entry)
        self.assertEqual([], self.disks.list('pool'))
        self.assertFalse(os.path.exists(self.path('state', 'finished')))

    def test_a_late_request_is_recorded(self):
        entry = self.disks.start('pool', 'vm', 5)
        self.disks.set_requested(entry)
        self.assertEqual([entry], self.disks.list('pool'))
        entry = dataclasses.replace(
            entry, started_clock=entry.started_clock - 100
        )
        self.disks.set_requested(entry)
        (found,) = self.disks.list('pool')
        self.assertGreater(found.started_clock, entry.started_clock + 99)

    def test_list_returns_the_oldest_first(self):
        for name in 'ab':
            self.disks.start('pool', name, 5)
            self.now -= 1
        self.assertEqual(
            ['b', 'a'], [each.disk_name for each in self.disks.list('pool')]
        )

    def test_start_refuses_a_second_entry_of_a_name(self):
        entry = self.disks.start('pool', 'vm', 5)
        error = self.assertRaises(
            exceptions.CatalogConflict, self.disks.start, 'pool', 'vm', 6
        )
        self.assertIn('being created already', str(error))
        self.assertEqual([entry], self.disks.list('pool'))

    def test_start_with_a_fill_id_replaces_the_entry(self):
        stale = self.disks.start('pool', 'vm', 5)
        entry = self.disks.start('pool', 'vm', 6, stale.fill_id)
        self.assertEqual(stale.fill_id, entry.fill_id)
        self.assertEqual([entry], self.disks.list('pool'))

    def test_set_udid_changes_only_the_entry_of_its_fill(self):
        stale = self.disks.start('pool', 'vm', 5)
        self.disks.finish(stale)
        entry = self.disks.start('pool', 'vm', 5)
        self.disks.set_udid(stale, 'stale')
        self.assertEqual([entry], self.disks.list('pool'))
        for udid in ('udid', None):
            self.disks.set_udid(entry, udid)
            self.assertEqual(udid, self.disks.list('pool')[0].udid)

    def test_a_malformed_entry_is_a_catalog_error(self):
        self.disks.start('pool', 'vm', 5)
        self.sql("UPDATE instance_disks SET size = 'x'")
        self.assertRaises(exceptions.CatalogError, self.disks.list, 'pool')


class FinishedTest(base.CatalogTestCase):
    """A disk is complete, and the catalog cannot be written."""

    def setUp(self):
        super().setUp()
        self.patch(catalog_file, 'BUSY_TIMEOUT', 0)
        self.disks = self.catalog.instance_disks
        self.entry = self.disks.start('pool', 'vm', 5)
        self.other = self.disks.start('pool', 'other', 5)

    def finish(self, entry=None):
        holder = self.lock_file()
        try:
            self.disks.finish(entry or self.entry)
        finally:
            holder.execute('COMMIT')

    def marked(self):
        return os.listdir(self.path('state', 'finished'))

    def test_finish_records_it_in_a_file(self):
        self.finish()
        self.assertEqual([self.entry.fill_id], self.marked())
        path = self.path('state', 'finished', self.entry.fill_id)
        self.assertEqual(0o640, stat.S_IMODE(os.stat(path).st_mode))
        self.assertIn(
            'Could not mark disk vm complete in the catalog; recorded it in '
            f'{path} instead: ',
            self.logger.output,
        )

    def test_list_removes_the_entry_and_the_file(self):
        self.finish()
        self.assertEqual([self.other], self.disks.list('pool'))
        self.assertEqual([], self.marked())
        self.assertEqual([self.other], self.disks.list('pool'))

    def test_list_keeps_the_file_while_the_catalog_cannot_be_written(self):
        self.finish()
        holder = self.lock_file()
        self.assertRaises(exceptions.CatalogError, self.disks.list, 'pool')
        holder.execute('COMMIT')
        self.assertEqual([self.entry.fill_id], self.marked())

    def test_finish_fails_if_the_file_cannot_be_written_either(self):
        with open(self.path('state', 'finished'), 'w'):
            pass
        self.assertRaises(exceptions.CatalogError, self.finish)
        os.remove(self.path('state', 'finished'))
        self.assertEqual([self.entry, self.other], self.disks.list('pool'))

    def test_a_linked_directory_is_not_used(self):
        os.mkdir(self.path('elsewhere'))
        target = self.path('elsewhere', self.entry.fill_id)
        with open(target, 'w'):
            pass
        os.symlink(self.path('elsewhere'), self.path('state', 'finished'))
        self.assertRaises(exceptions.CatalogError, self.disks.list, 'pool')
        self.assertRaises(exceptions.CatalogError, self.finish, self.other)
        self.assertEqual(
            [self.entry.fill_id], os.listdir(self.path('elsewhere'))
        )

    def test_a_fill_id_that_is_a_path_leads_to_no_file(self):
        known = self.disks.list('pool')[0]
        target = self.path('precious')
        with open(target, 'w'):
            pass
        os.mkdir(self.path('state', 'finished'))
        for path in (target, '../../precious'):
            self.sql('UPDATE instance_disks SET fill_id = ?', (path,))
            self.assertRaises(exceptions.CatalogError, self.disks.list, 'pool')
            self.assertTrue(os.path.exists(target))
            # As it was read before.
            entry = dataclasses.replace(known, fill_id=path)
            os.rename(target, self.path('moved'))
            self.assertRaises(exceptions.CatalogError, self.finish, entry)
            self.assertFalse(os.path.exists(target))
            os.rename(self.path('moved'), target)
