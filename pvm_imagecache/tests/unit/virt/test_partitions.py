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

from unittest import mock
import uuid

import hypothesis
from hypothesis import strategies
from pypowervm import util as pvm_util
from pypowervm.wrappers import logical_partition as pvm_lpar

from pvm_imagecache import exceptions
from pvm_imagecache.drivers import powervm
from pvm_imagecache.tests.unit import base
from pvm_imagecache.tests.unit.drivers import volume_groups
from pvm_imagecache.virt import partitions

ID = '8a1c0f2e-4b5d-4c6e-9f70-1234567890ab'


class PartitionsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.rest = mock.Mock(spec=['read', 'delete'])
        adapters = powervm.AdapterSource(powervm.Connection())
        self.patch(adapters, '_adapter', self.rest)
        self.get = mock.Mock(spec=[])
        self.patch(pvm_lpar.LPAR, 'get', self.get)
        self.partitions = partitions.Partitions(adapters, 0.1)
        self.partition = mock.Mock(uuid='uuid')

    def test_a_partition_is_found_by_the_instance(self):
        self.get.return_value = self.partition
        self.assertIs(self.partition, self.partitions.find(ID))
        self.assertEqual(
            partitions.partition_uuid(ID), self.get.call_args.kwargs['uuid']
        )

    def test_the_state_is_read_without_quotes(self):
        self.rest.read.return_value = mock.Mock(body=' "running"\n')
        self.assertEqual('running', self.partitions.state(ID))

    def test_a_missing_partition_is_no_error(self):
        for request in (self.get, self.rest.read, self.rest.delete):
            request.side_effect = volume_groups.refusal(404)
        self.assertIsNone(self.partitions.find(ID))
        self.assertIsNone(self.partitions.state(ID))
        self.partitions.delete(self.partition)
        self.assertEqual(1, self.rest.delete.call_count)

    def test_other_refusals_are_raised(self):
        for request in (self.get, self.rest.read, self.rest.delete):
            request.side_effect = volume_groups.refusal(400)
        for call, what in (
            (self.partitions.find, ID),
            (self.partitions.state, ID),
            (self.partitions.delete, self.partition),
        ):
            self.assertRaises(exceptions.PowerVMRequestFailed, call, what)


class AttributesTest(base.TestCase):
    @hypothesis.given(strategies.uuids())
    def test_one_of_two_candidate_uuids_is_the_instance(self, uid):
        made = partitions.partition_uuid(str(uid))
        self.assertIn(made[0], '01234567')
        self.assertIn(str(uid), partitions.instance_uuids(made))
        self.assertEqual(
            2,
            len({uuid.UUID(each) for each in partitions.instance_uuids(made)}),
        )

    def test_memory_is_rounded_up_to_regions(self):
        for wanted, given in ((1, 256), (256, 256), (257, 512), (2048, 2048)):
            self.assertEqual(
                given, partitions.attributes('a', ID, 1, wanted, 256)['memory']
            )

    def test_the_name_is_that_of_nova_powervm(self):
        self.assertEqual(
            'instance-0000002a', partitions.partition_name('instance-0000002a')
        )
        self.assertEqual(
            pvm_util.sanitize_partition_name_for_api('a b' * 20),
            partitions.partition_name('a b' * 20),
        )
