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

"""Some cells of the fault matrix; all of them take a quarter of an hour.

``python -m pvm_imagecache.tests.stress.fault_matrix`` runs those.
"""

from oslotest import base

from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests.stress import fault_matrix


class FaultMatrixTestCase(base.BaseTestCase):
    def setUp(self) -> None:
        super().setUp()
        functional_base.quiet_libraries()

    def check(self, *patterns: str) -> None:
        """Run the cells of these names; every one must be good."""
        chosen = fault_matrix.selected(patterns)
        self.assertNotEqual([], chosen)
        problems = {}
        for cell in chosen:
            verdict = fault_matrix.run(cell)
            if verdict.problems:
                problems[cell.name] = verdict.problems
        self.assertEqual({}, problems)

    def test_names_are_unique(self) -> None:
        names = [cell.name for cell in fault_matrix.cells()]
        self.assertEqual(len(names), len(set(names)))

    def test_faults_of_the_volume_group(self) -> None:
        self.check(
            'VolumeGroup.update:lost.*:cold',
            'VolumeGroup.update:lost.once:warm',
            'VolumeGroup.update:500.once:dead',
            'VolumeGroup.update:nospace.once:purge',
            'VolumeGroup.get:503.always:warm',
            'VolumeGroup.update/both-failed:500.always:cold',
        )

    def test_faults_of_the_session(self) -> None:
        self.check(
            'Logon.create:reset.once:cold',
            'Logon.create/again:401.once:warm',
            'VirtualIOServer.feed:lost.once:cold',
            'VolumeGroup.feed:reset.once:warm',
            'Logon.delete:reset.always:warm',
        )

    def test_faults_of_an_upload(self) -> None:
        self.check(
            'File.create/base:limit.always:cold',
            'File.upload/base:401@mid.once:cold',
            'File.upload/instance:reset@end.once:cold',
            'File.upload/instance:hang.once:cold',
            'File.upload/base:stall.once:cold',
            'File.upload:reset@mid.always:cold',
            'File.delete/base:500.once:cold',
            'File.feed/lost:500.once:cold',
        )

    def test_faults_after_a_crash(self) -> None:
        self.check(
            'File.delete:500.always:dead',
            'VirtualIOServer.get:503.once:deadvm',
        )

    def test_faults_of_requests_to_glance(self) -> None:
        self.check(
            'Glance.get:503.once:cold',
            'Glance.data:reset@mid.twice:cold',
            'Glance.data:403.always:prefetch',
            'Glance.data:stall.once:bare',
        )

    def test_faults_of_the_catalog(self) -> None:
        self.check(
            'Catalog:locked-ever.midway:cold',
            'Catalog:read-only.midway:warm',
            'Catalog:full.midway:cold',
            'Catalog:corrupt-pages.*:warm',
            'Catalog:missing-file.midway:cold',
            'Catalog:newer.start:warm',
        )

    def test_faults_of_the_locks(self) -> None:
        self.check(
            'Locks:image-ever.start:cold',
            'Locks:group-ever.start:warm',
            'Locks:catalog-ever.start:warm',
            'Locks:no-locks.start:cold',
        )
