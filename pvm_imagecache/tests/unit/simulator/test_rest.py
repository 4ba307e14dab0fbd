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

from pvm_imagecache.simulator import rest

VIOS = '/rest/api/uom/VirtualIOServer'


class RouteTest(base.BaseTestCase):
    def test_requests_are_named_by_kind(self):
        for method, path, kind in (
            ('PUT', '/rest/api/web/Logon', 'Logon.create'),
            ('DELETE', '/rest/api/web/Logon', 'Logon.delete'),
            ('GET', VIOS, 'VirtualIOServer.feed'),
            ('GET', f'{VIOS}/u?group=None', 'VirtualIOServer.get'),
            ('POST', f'{VIOS}/u?group=None', 'VirtualIOServer.update'),
            (
                'GET',
                f"{VIOS}/search/(PartitionName=='x')",
                'VirtualIOServer.search',
            ),
            ('GET', f'{VIOS}/u/quick/PartitionID', 'VirtualIOServer.quick'),
            ('GET', f'{VIOS}/u/VolumeGroup', 'VolumeGroup.feed'),
            ('GET', f'{VIOS}/u/VolumeGroup/v', 'VolumeGroup.get'),
            ('POST', f'{VIOS}/u/VolumeGroup/v', 'VolumeGroup.update'),
            ('PUT', '/rest/api/web/File', 'File.create'),
            ('PUT', '/rest/api/web/File/contents/f', 'File.upload'),
            ('POST', '/rest/api/web/File/contents/f', 'File.upload'),
            ('GET', '/rest/api/web/File/contents/f', 'File.download'),
            ('DELETE', '/rest/api/web/File/f', 'File.delete'),
            (
                'GET',
                '/rest/api/uom/LogicalPartition/l/do/PowerOn',
                'Job.template',
            ),
            (
                'PUT',
                '/rest/api/uom/LogicalPartition/l/do/PowerOn',
                'Job.create',
            ),
            ('GET', '/rest/api/uom/jobs/1', 'Job.get'),
            ('POST', '/rest/api/uom/jobs/1/cancel', 'Job.cancel'),
            ('DELETE', '/rest/api/uom/jobs/1', 'Job.delete'),
            ('PUT', '/rest/api/uom/Tier/t/LogicalUnit', 'LogicalUnit.create'),
            ('GET', '/', 'Unknown'),
            ('GET', '/rest/api/', 'Unknown'),
            ('GET', '/rest/api/uom/a/b/c/d/e', 'Unknown'),
        ):
            self.assertEqual(kind, rest.route(method, path).kind, path)

    def test_a_route_knows_its_parents(self):
        route = rest.route('GET', f'{VIOS}/u/VolumeGroup/v?group=None')
        self.assertEqual(
            (
                'VolumeGroup',
                'v',
                'VirtualIOServer',
                'u',
                f'{VIOS}/u/VolumeGroup/v',
            ),
            (
                route.type,
                route.uuid,
                route.parent_type,
                route.parent,
                route.path,
            ),
        )
        route = rest.route('GET', f"{VIOS}/search/(PartitionName=='a%20b')")
        self.assertEqual(
            ("(PartitionName=='a b')", VIOS), (route.operation, route.path)
        )
