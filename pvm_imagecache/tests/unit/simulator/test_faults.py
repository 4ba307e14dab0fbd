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

from oslotest import base

from pvm_imagecache.simulator import faults


class FaultsTest(base.BaseTestCase):
    def test_skip_and_count(self):
        found = faults.Faults()
        found.add(
            {'action': 'status', 'skip': 2, 'count': 1, 'match': {'kind': 'K'}}
        )
        hits = [bool(found.hitting(kind, 'GET', '/')) for kind in 'KKLKKK']
        self.assertEqual([False, False, False, True, False, False], hits)

    def test_latency_goes_with_others(self):
        found = faults.Faults()
        found.add({'action': 'latency', 'seconds': 1})
        found.add({'action': 'reset_before', 'match': {'method': 'post'}})
        found.add({'action': 'status'})
        self.assertEqual(
            ['latency', 'reset_before'],
            [rule.action for rule in found.hitting('K', 'POST', '/')],
        )
        self.assertEqual(
            ['latency', 'status'],
            [rule.action for rule in found.hitting('K', 'GET', '/')],
        )
        self.assertEqual([2, 1, 1], [rule['hits'] for rule in found.rules()])

    def test_rules_can_be_removed(self):
        found = faults.Faults()
        first = found.add({'action': 'status'})
        second = found.add({'action': 'status'})
        found.remove(first)
        self.assertEqual([second], [rule['id'] for rule in found.rules()])
        found.remove()
        self.assertEqual([], found.rules())
