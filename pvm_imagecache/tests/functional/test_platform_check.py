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

"""The platform check on the simulator, with each value of each fact."""

import json
import signal
import subprocess
import time
from typing import Any

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import platform_facts
from pvm_imagecache.platform_check import probes
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.functional import other_servers

#: Of one copy, in bytes per second: fast, and slow enough to compare.
COPY_RATE = 2 * units.Gi


class PlatformCheckTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(probes, 'UPLOAD_SIZE', 4 * units.Mi)

    def check(
        self, other: str | None = 'rootvg', **settings: Any
    ) -> platform_facts.PlatformFacts:
        """Measure a platform with some settings, beside a disk of others."""
        self.powervm.control.change_settings(copy_rate=COPY_RATE, **settings)
        if 'b_vm1' not in self.disks():
            self.powervm.control.plant_disk('cachevg', 'b_vm1', units.Gi)
        self.manager = self.make_manager()
        self.done = self.manager.check_platform(other)
        self.assertEqual({'b_vm1'}, set(self.disks()))
        self.assertEqual(0, self.file_entries())
        self.assertEqual([], list(self.unfinished(self.manager)))
        rows = {each.fact: each for each in self.manager.platform()}
        self.reasons = {fact: each.reason for fact, each in rows.items()}
        return platform_facts.from_values(
            {fact: each.value for fact, each in rows.items()}
        )

    def test_the_platform_that_is_most_like_the_documents(self) -> None:
        facts = self.check()
        self.assertEqual(((), ()), (self.done.failed, self.done.left))
        self.assertEqual(
            platform_facts.PlatformFacts(
                platform_level='NovaLink REST API V1_3_0',
                vios_level='VIOS 2.2.4.0',
                pypowervm_version=facts.pypowervm_version,
                keeps_labels=True,
                granularity=units.Mi,
                fractional_capacity=True,
                copies_into_larger=True,
                copies_side_by_side=False,
                concurrent_updates=platform_facts.ConcurrentUpdates.QUEUED,
                stale_etag_refused=True,
                copy_rate=facts.copy_rate,
                upload_rate=facts.upload_rate,
                upload_rate_2=facts.upload_rate_2,
                upload_rate_3=facts.upload_rate_3,
                upload_rate_6=facts.upload_rate_6,
                no_space_words=facts.no_space_words,
                name_exists_words='A virtual disk named NAME exists already '
                'in the volume group NAME',
                names_per_vios=True,
                accepts_qcow2=True,
            ),
            facts,
        )
        self.assertIn('0516-404', facts.no_space_words or '')
        for name in ('copy_rate', 'upload_rate', 'upload_rate_6'):
            self.assertGreater(getattr(facts, name), 0)

    def test_a_platform_that_differs_in_everything(self) -> None:
        facts = self.check(
            labels='dropped',
            granularity=64 * units.Mi,
            copy_larger='refused',
            copies='parallel',
            concurrent_updates='busy',
            name_scope='vg',
            file_formats='refused',
            logical_volume_limit=255,
            vios_level='VIOS 4.1.0.10',
            platform_level='V1_9_0',
            space_wording='volumes',
            name_wording='lvm',
        )
        self.assertEqual((), self.done.failed)
        self.assertEqual(
            ('NovaLink REST API V1_9_0', 'VIOS 4.1.0.10', 64 * units.Mi, 255),
            (
                facts.platform_level,
                facts.vios_level,
                facts.granularity,
                facts.logical_volume_limit,
            ),
        )
        self.assertEqual(
            (False, False, True, False, False),
            (
                facts.keeps_labels,
                facts.copies_into_larger,
                facts.copies_side_by_side,
                facts.names_per_vios,
                facts.accepts_qcow2,
            ),
        )
        self.assertIs(
            platform_facts.ConcurrentUpdates.BUSY, facts.concurrent_updates
        )
        self.assertIn('0516-814', facts.no_space_words or '')
        self.assertIn('0516-020', facts.name_exists_words or '')

    def test_shortened_labels(self) -> None:
        facts = self.check(labels='shortened')
        self.assertIs(False, facts.keeps_labels)

    def test_updates_that_are_refused_with_412(self) -> None:
        facts = self.check(concurrent_updates='refused', fractions='refused')
        self.assertIs(
            platform_facts.ConcurrentUpdates.REFUSED, facts.concurrent_updates
        )
        self.assertEqual(
            (False, units.Gi), (facts.fractional_capacity, facts.granularity)
        )

    def test_states_that_are_compared_when_an_update_arrives(self) -> None:
        facts = self.check(if_match='on-arrival')
        self.assertIs(True, facts.stale_etag_refused)
        self.assertIs(
            platform_facts.ConcurrentUpdates.OVERWRITES,
            facts.concurrent_updates,
        )

    def test_outdated_updates_that_are_accepted(self) -> None:
        facts = self.check(None, if_match='ignored', fractions='rounded')
        self.assertIs(False, facts.stale_etag_refused)
        self.assertIsNone(facts.concurrent_updates)
        self.assertEqual(('concurrent_updates',), self.done.failed)
        self.assertEqual(
            (True, units.Gi), (facts.fractional_capacity, facts.granularity)
        )
        self.assertIn('--other-vg', self.reasons['names_per_vios'])

    def test_a_limit_of_uploads_is_a_reason(self) -> None:
        # Slow enough for all of them to run at the same time.
        facts = self.check(upload_limit=3, upload_rate=16 * units.Mi)
        self.assertEqual(('upload_rate_6',), self.done.failed)
        self.assertIsNotNone(facts.upload_rate_3)
        self.assertIn('maximum number', self.reasons['upload_rate_6'])

    def test_a_full_limit_of_logical_volumes_is_a_reason(self) -> None:
        facts = self.check(None, logical_volume_limit=1)
        self.assertEqual(1, facts.logical_volume_limit)
        self.assertIn('0516-1163', self.reasons['upload_rate'])
        self.assertIn('upload_rate', self.done.failed)

    def test_words_that_were_learned_make_space_for_a_deploy(self) -> None:
        """0516-814 is no message for a full pool that the cache knows."""
        self.check(None, space_wording='volumes')
        image = self.image(self.store_raw(units.Mi))
        self.powervm.control.add_fault(
            'status',
            kind='VolumeGroup.update',
            status=500,
            message='0516-814 mklv: No other physical volumes are available.',
        )
        self.assertRaises(
            exceptions.SpaceRefused, self.manager.create_disk, image, 'vm2'
        )

    def test_another_volume_group_that_does_not_exist(self) -> None:
        error = self.assertRaises(
            exceptions.VolumeGroupNotFound, self.check, 'nope'
        )
        self.assertIn('rootvg', str(error))

    def test_the_record_of_a_disk_is_dropped_with_its_volume_group(
        self,
    ) -> None:
        """It is kept while another Virtual I/O Server has that."""
        control = self.powervm.control
        control.add_vios('vios2')
        group = control.add_volume_group('vios2', 'vg2', units.Gi)
        manager = self.make_manager()
        disks = manager._catalog.instance_disks
        pool = str(group['uuid']).lower()
        for number, each in enumerate((pool, '0' * 36)):
            disks.start(each, f'pvmic_chk_000{number}', units.Gi)
        for _ in range(2):
            self.assertEqual((), tuple(manager.reconcile().failed))
            self.assertEqual(
                ['pvmic_chk_0000'], [x.disk_name for x in disks.list(pool)]
            )
            self.assertEqual([], disks.list('0' * 36))
        control.remove_volume_group('vg2')
        self.assertEqual((), tuple(manager.reconcile().failed))
        self.assertEqual([], disks.list(pool))

    def test_a_pool_that_caches_itself_is_not_measured(self) -> None:
        manager = self.make_manager(
            self.write_conf(
                f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
                'protocol = http\ndisk_driver = ssp\n',
                'ssp.conf',
            )
        )
        self.assertRaises(exceptions.NotSupported, manager.check_platform)


class PlatformShellTestCase(base.FunctionalTestCase):
    """The commands as processes of their own."""

    def test_an_operator_measures_the_platform(self) -> None:
        self.powervm.control.change_settings(copy_rate=COPY_RATE)
        done = self.run_shell(
            'platform', 'check', '--yes', '--other-vg', 'rootvg', '-f', 'json'
        )
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('[1/17] read the levels', done.stderr)
        rows = json.loads(done.stdout)
        self.assertEqual(list(platform_facts.TYPES), [x['Fact'] for x in rows])
        self.assertEqual({}, self.disks())
        for secret in (self.powervm.host, str(self.powervm.port), 'pvmic_chk'):
            self.assertNotIn(secret, done.stdout)
        self.powervm.control.change_settings(vios_level='VIOS 9')
        shown = json.loads(
            self.run_shell('platform', 'show', '-f', 'json').stdout
        )
        self.assertIn('out-of-date', {x['State'] for x in shown})
        usage = json.loads(self.run_shell('usage', '-f', 'json').stdout)
        self.assertEqual('out-of-date', usage['platform_facts'])

    def test_signals_delete_the_disks(self) -> None:
        self.powervm.control.change_settings(copy_rate=units.Gi // 4)
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen(
                self.shell_command('platform', 'check', '--yes'),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.addCleanup(process.kill)
            end = time.monotonic() + 120
            while not self.disks() and time.monotonic() < end:
                time.sleep(0.05)
            process.send_signal(number)
            output, errors = process.communicate(timeout=120)
            self.assertEqual('', output)
            self.assertNotEqual(0, process.returncode)
            self.assertIn('Interrupted', errors)
            self.assertEqual({}, self.disks())
            self.assertEqual(0, self.file_entries())
            manager = self.make_manager()
            self.assertEqual([], list(self.unfinished(manager)))
            with seams.no_late_requests():
                self.assertEqual((), manager.reconcile().removed)


class OtherPlatformTestCase(other_servers.OtherServerCase):
    """The second server."""

    server = 'other_powervm'
    inside = 'other'
    arguments = ('--user', 'admin', '--password', 'secret')
    credentials = 'user = admin\npassword = secret\n'
    other: str | None = 'rootvg'

    def check(self) -> platform_facts.PlatformFacts:
        self.patch(probes, 'UPLOAD_SIZE', 4 * units.Mi)
        self.manager = self.make_manager()
        self.done = self.manager.check_platform(self.other)
        self.assertEqual({}, self.disks())
        self.assertEqual(0, self.ask('files'))
        self.assertEqual([], list(self.unfinished(self.manager)))
        return platform_facts.from_values(
            {each.fact: each.value for each in self.manager.platform()}
        )

    def test_its_facts_are_found(self) -> None:
        facts = self.check()
        self.assertEqual(
            ('NovaLink REST API V1_9_0', False, units.Gi, True, True, True),
            (
                facts.platform_level,
                facts.keeps_labels,
                facts.granularity,
                facts.fractional_capacity,
                facts.copies_into_larger,
                facts.names_per_vios,
            ),
        )
        self.assertEqual(
            (platform_facts.ConcurrentUpdates.QUEUED, True, True),
            (
                facts.concurrent_updates,
                facts.stale_etag_refused,
                facts.accepts_qcow2,
            ),
        )
        self.assertIn('to allocate', facts.no_space_words or '')
        self.assertIn('already used', facts.name_exists_words or '')


class ThirdPlatformTestCase(OtherPlatformTestCase):
    """The third server."""

    server = 'third_powervm'
    inside = 'third'
    arguments = ()
    credentials = ''
    other = None

    def test_its_facts_are_found(self) -> None:
        facts = self.check()
        self.assertEqual(
            ('NovaLink REST API V1_11_0', True, 96 * units.Mi, True, True),
            (
                facts.platform_level,
                facts.keeps_labels,
                facts.granularity,
                facts.fractional_capacity,
                facts.copies_into_larger,
            ),
        )
        self.assertEqual(
            (platform_facts.ConcurrentUpdates.REFUSED, True, 40),
            (
                facts.concurrent_updates,
                facts.stale_etag_refused,
                facts.logical_volume_limit,
            ),
        )
        self.assertIn('left in NAME', facts.no_space_words or '')
        self.assertIn('given to something', facts.name_exists_words or '')
