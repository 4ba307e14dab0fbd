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

"""Limits that are not bytes: disks of a volume group, and File entries.

Incident 50: the limit of logical volumes is reached while bytes are free.
"""

from typing import Any

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import simulator
from pvm_imagecache.tests.functional import incidents

SIZE = 2 * units.Mi + 17


class Incident50TooManyDisksTestCase(incidents.IncidentTestCase):
    """At the limit, evicting one base image helps each deploy."""

    volume_groups = (  # type: ignore[assignment]
        simulator.Group('cachevg', 100),
    )
    options = 'minimum_age = 0\neviction_policies = lru\n'

    def setUp(self) -> None:
        super().setUp()
        self.cached = [self.store_raw(SIZE, each) for each in (1, 2, 3)]
        for each in self.cached:
            self.manager.prefetch(self.image(each))
        self.new = self.store_raw(SIZE, 4)
        self.limit(0)

    def limit(self, left: int) -> None:
        """Let the volume group take so many more disks."""
        self.powervm.control.change_settings(
            logical_volume_limit=len(self.disks()) + left
        )

    def outcome(self, image_id: str, name: str, **kwargs: Any) -> str:
        return self.deploy(image_id, name, **kwargs).value

    def test_a_miss(self) -> None:
        # Two disks are needed.
        self.assertEqual('miss', self.outcome(self.new, 'vm1'))
        self.assert_cached(self.cached[2], self.new)

    def test_a_miss_while_there_is_one_left(self) -> None:
        self.limit(1)
        self.assertEqual('miss', self.outcome(self.new, 'vm1'))
        self.assert_cached(*self.cached[1:], self.new)

    def test_a_hit(self) -> None:
        self.assertEqual('hit', self.outcome(self.cached[0], 'vm1'))
        self.assert_cached(self.cached[0], self.cached[2])

    def test_a_bypass(self) -> None:
        self.manager = self.other_manager(self.options + 'enabled = false\n')
        self.assertEqual('bypass', self.outcome(self.new, 'vm1'))
        self.assert_cached(*self.cached[1:])

    def test_a_prefetch(self) -> None:
        self.limit(1)
        self.manager.prefetch(self.image(self.new))
        self.assert_cached(*self.cached, self.new)

    def test_the_last_disk_is_for_the_instance(self) -> None:
        for each in self.cached:
            self.manager.pin(each)
        self.limit(1)
        self.assertEqual('bypass', self.outcome(self.new, 'vm1'))
        error = self.assertRaises(
            exceptions.TooManyDisks, self.deploy, self.new, 'vm2'
        )
        # The numbers, and what PowerVM says.
        self.assertIn('4 virtual disks and can have 4', str(error))
        self.assertIn('0516-822', str(error))
        self.assert_cached(*self.cached)

    def test_the_last_image_makes_room_for_its_own_instance(self) -> None:
        self.manager.purge(
            [
                each
                for each in self.manager.list()
                if each.image.id != self.cached[0]
            ]
        )
        self.limit(0)
        self.assertEqual('bypass', self.outcome(self.cached[0], 'vm1'))
        self.assert_cached()

    def test_words_that_are_not_known(self) -> None:
        # The number of disks decides, and not the words.
        self.powervm.control.add_fault(
            'status',
            kind='VolumeGroup.update',
            message='0516-822 mklv: Kein logischer Datentr\u00e4ger.',
            count=1,
        )
        self.assertEqual('miss', self.outcome(self.new, 'vm1'))

    def test_an_unexplained_refusal_far_from_the_limit(self) -> None:
        self.powervm.control.change_settings(logical_volume_limit=255)
        self.powervm.control.add_fault(
            'status',
            kind='VolumeGroup.update',
            message='0516-822 mklv: Unable to create logical volume.',
            count=1,
        )
        self.assertRaises(
            exceptions.PowerVMRequestFailed, self.deploy, self.new, 'vm1'
        )
        self.assert_cached(*self.cached)

    def test_usage_shows_it(self) -> None:
        found = self.shell_json('usage')
        self.assertEqual(
            (3, 3), (found['pool_disks'], found['pool_max_disks'])
        )
        self.powervm.control.change_settings(logical_volume_limit=0)
        found = self.shell_json('usage')
        self.assertEqual(
            (3, None), (found['pool_disks'], found['pool_max_disks'])
        )

    def test_the_watermark_policy_respects_it(self) -> None:
        self.manager = self.other_manager(
            'minimum_age = 0\neviction_policies = watermark\n'
            '[pvm_imagecache_watermark]\nhigh = 60\nlow = 40\n'
        )
        self.powervm.control.change_settings(logical_volume_limit=5)
        self.manager.run_cleanup(())
        self.assert_cached(*self.cached)
        self.powervm.control.change_settings(logical_volume_limit=4)
        done = self.manager.run_cleanup(())
        assert done.eviction is not None
        self.assertIn(
            '3 of at most 4 disks', done.eviction.plan.choices[0].reason
        )
        self.assert_cached(self.cached[2])
