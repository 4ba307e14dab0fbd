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

import logging
import uuid

import fixtures
import hypothesis
from hypothesis import strategies
from pypowervm import util as pvm_util

from pvm_imagecache import naming
from pvm_imagecache.tests.unit import base
from pvm_imagecache.virt import boot_disks
from pvm_imagecache.virt import fault_log
from pvm_imagecache.virt import partitions

ID = '8a1c0f2e-4b5d-4c6e-9f70-1234567890ab'


class DiskNamesTest(base.TestCase):
    def test_as_nova_powervm_made_them(self):
        self.assertEqual(
            ['b_instance_8a1c', 'b_instance_0f2e', 'b_instance_4b5d'],
            boot_disks.short_names('instance-0000002a', ID)[:3],
        )
        self.assertEqual('b_web_8a1c', boot_disks.short_names('web', ID)[0])

    def test_where_they_may_be_long(self):
        self.assertEqual(
            'boot_instance_0000002a_8a1c0f2e_4b5d_4c6e_9f70_1234567890ab',
            boot_disks.long_name('instance-0000002a', ID, 79),
        )

    @hypothesis.given(strategies.text(min_size=1), strategies.uuids())
    def test_any(self, name, uid):
        names = boot_disks.short_names(name, str(uid))
        self.assertEqual(8, len(names))
        for each in names:
            self.assertEqual(each, naming.check_disk_name(each))
        long = boot_disks.long_name(name, str(uid), 79)
        self.assertEqual(long, naming.check_disk_name(long, 79))
        # However long the name is, another instance's disk is another one's.
        self.assertTrue(long.endswith(str(uid).replace('-', '_')))


class PartitionsTest(base.TestCase):
    @hypothesis.given(strategies.uuids())
    def test_uuids(self, uid):
        made = partitions.partition_uuid(str(uid))
        self.assertIn(made[0], '01234567')
        self.assertIn(str(uid), partitions.instance_uuids(made))
        self.assertEqual(
            2,
            len({uuid.UUID(each) for each in partitions.instance_uuids(made)}),
        )

    def test_memory_comes_in_regions(self):
        for wanted, given in ((1, 256), (256, 256), (257, 512), (2048, 2048)):
            self.assertEqual(
                given, partitions.attributes('a', ID, 1, wanted, 256)['memory']
            )

    def test_name(self):
        self.assertEqual(
            'instance-0000002a', partitions.partition_name('instance-0000002a')
        )
        self.assertEqual(
            pvm_util.sanitize_partition_name_for_api('a b' * 20),
            partitions.partition_name('a b' * 20),
        )


class TroubleTest(base.TestCase):
    def test_once_as_long_as_it_stays_the_same(self):
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        trouble = fault_log.FaultLog('do it')
        trouble.recovered()
        self.assertEqual('', log.output)
        for error in ('one', 'one', 'two', 'two', 'one'):
            trouble.failed(ValueError(error))
        lines = log.output.splitlines()
        self.assertEqual(3, len(lines), lines)
        for line, error in zip(lines, ('one', 'two', 'one'), strict=True):
            self.assertEqual(
                f'nova-compute can not do it, and will try it again: {error}',
                line,
            )
        trouble.recovered()
        trouble.recovered()
        self.assertEqual(
            ['nova-compute can do it again'], log.output.splitlines()[3:]
        )
        trouble.failed(ValueError())
        self.assertIn('again: ValueError', log.output.splitlines()[-1])
