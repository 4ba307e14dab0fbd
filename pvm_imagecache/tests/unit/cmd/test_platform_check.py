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

"""The commands ``platform check`` and ``platform show``."""

from oslo_utils import units

from pvm_imagecache.cmd import platform_check as command
from pvm_imagecache.platform_check import bench
from pvm_imagecache.platform_check import probes
from pvm_imagecache.system import identity
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.cmd import cases
from pvm_imagecache.tests.unit.platform_check import platforms


class PlatformTest(cases.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.driver = platforms.Platform()
        self.patch(probes, 'UPLOAD_SIZE', units.Mi)
        self.patch(bench, 'time', self.driver.clock)

    def rows(self, *arguments, code=0):
        rows = self.json(*arguments, code=code)
        return {row['Fact']: row for row in rows}

    def test_a_check_shows_what_was_measured(self):
        found = self.rows('platform check', '--yes')
        self.assertEqual(
            (True, 'measured', units.Mi, None, 'unknown'),
            (
                found['keeps_labels']['Value'],
                found['keeps_labels']['State'],
                found['granularity']['Value'],
                found['new_disk_zeroed']['Value'],
                found['new_disk_zeroed']['State'],
            ),
        )
        self.assertEqual([], self.driver.names())
        self.assertEqual(found, self.rows('platform show'))
        self.assertEqual('measured', self.json('usage')['platform_facts'])

    def test_a_table_wraps_long_messages(self):
        self.driver.space = 'not enough space ' * 20
        self.run_command('platform', 'check', '--yes')
        for columns, options, width in (
            ('0', (), 120),
            ('150', (), 150),
            ('150', ('--max-width', '100'), 100),
        ):
            self.useFixture(base.environment('COLUMNS', columns))
            table = self.run_command('platform', 'show', *options)
            self.assertLessEqual(max(map(len, table.splitlines())), width)
            self.assertIn('| granularity ', table)
            self.assertNotIn('Field', table)

    def test_facts_are_out_of_date_after_an_upgrade(self):
        self.run_command('platform', 'check', '--yes')
        self.driver.level = '2'
        found = self.rows('platform show')
        self.assertEqual('out-of-date', found['granularity']['State'])
        self.assertEqual(units.Mi, found['granularity']['Value'])
        self.assertEqual('out-of-date', self.json('usage')['platform_facts'])
        self.rows('platform check', '--yes')
        self.assertEqual('measured', self.json('usage')['platform_facts'])

    def test_nothing_is_known_before_a_check(self):
        found = self.rows('platform show')
        self.assertEqual({'unknown'}, {x['State'] for x in found.values()})
        self.assertEqual({None}, {x['Measured At'] for x in found.values()})
        self.assertIsNone(self.json('usage')['platform_facts'])

    def test_a_fact_that_was_not_measured_is_a_failure(self):
        self.driver.etags = self.driver.enforced = False
        found = self.rows('platform check', '--yes', code=1)
        self.assertIn('no ETag', found['stale_etag_refused']['Reason'])

    def test_the_user_is_asked_before_disks_are_created(self):
        self.refused('platform', 'check')
        self.assertIn('use --yes', self.errors.getvalue())
        self.run_command(
            'platform', 'check', code=1, stdin=cases.Terminal('n\n')
        )
        self.assertIn('pvmic_chk_XXXX', self.errors.getvalue())
        self.assertIn('Nothing was created', self.errors.getvalue())
        self.assertEqual([], self.driver.sent)
        self.run_command('platform', 'check', stdin=cases.Terminal('y\n'))
        self.assertNotEqual([], self.driver.sent)

    def test_a_dry_run_creates_nothing(self):
        found = self.rows('platform check', '--dry-run')
        self.assertEqual([], self.driver.sent)
        self.assertIn('would ', found['granularity']['Effect'])
        self.assertIn('100 GiB free', self.errors.getvalue())

    def test_only_administrators_may_check(self):
        self.user = identity.Identity('bob', frozenset({'reader'}))
        self.refused('platform', 'check', '--yes')
        self.assertIn('pvm_imagecache:check_platform', self.errors.getvalue())
        self.assertEqual([], self.driver.sent)
        self.rows('platform show')
        self.rows('platform check', '--dry-run')

    def test_a_driver_that_cannot_be_measured_is_an_error(self):
        self.driver = cases.fakes.FakeDriver()
        for arguments in (('check', '--yes'), ('show',)):
            self.refused('platform', *arguments)
            self.assertIn('cannot measure', self.errors.getvalue())


class ValueTest(base.TestCase):
    def test_values_have_units_in_tables_only(self):
        for fact, value, shown in (
            ('keeps_labels', True, 'yes'),
            ('keeps_labels', False, 'no'),
            ('keeps_labels', None, ''),
            ('granularity', units.Mi, '1 MiB'),
            ('copy_rate', units.Mi, '1 MiB/s'),
            ('logical_volume_limit', 255, '255'),
            ('no_space_words', 'a\nb', 'a\\nb'),
        ):
            found = command.Value(fact, value)
            self.assertEqual(shown, found.human_readable())
            self.assertEqual(value, found.machine_readable())
