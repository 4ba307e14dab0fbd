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

"""The same deploys on a PowerVM server that somebody else wrote.

It differs from ours in all that PowerVM leaves open: file-backed names,
reused UDIDs, elements that nobody knows, updates without an etag refused.
"""

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache.tests.functional import other_servers


class OtherPowerVMTestCase(other_servers.Deploys):
    server = 'other_powervm'
    inside = 'other'
    arguments = ('--user', 'admin', '--password', 'secret')
    credentials = 'user = admin\npassword = secret\n'
    # This pool drops labels: a record identifies its disk by name, so that
    # the name is checked before it is recorded.
    hit = ('GET', 'GET', 'POST')

    def test_a_name_that_two_servers_have(self) -> None:
        ambiguous = self.make_manager(
            self.write_conf(self.options + 'volume_group_name = rootvg')
        )
        error = self.assertRaises(
            exceptions.VolumeGroupAmbiguous, ambiguous.usage
        )
        self.assertIn('viosA, viosB', str(error))
        chosen = self.make_manager(
            self.write_conf(
                self.options + 'volume_group_name = rootvg\nvios_name = viosB'
            )
        )
        image_id = self.store_raw(units.Mi)
        chosen.create_disk(self.image(image_id), 'vm1')
        self.assert_holds('vm1', image_id, 1)
        self.assertEqual(
            {'viosB'}, {each['vios'] for each in self.ask('disks')}
        )
