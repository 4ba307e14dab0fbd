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

"""Times in which something is not tried again."""

from pvm_imagecache.system import cooldown
from pvm_imagecache.tests.unit import base


class CooldownTest(base.TestCase):
    def test_it_begins_once(self):
        running = cooldown.Cooldown(1000)
        self.assertEqual(
            [True, False, False], [running.begin() for _ in range(3)]
        )

    def test_it_begins_again_after_its_time(self):
        over = cooldown.Cooldown(0)
        self.assertEqual([True, True], [over.begin() for _ in range(2)])

    def test_it_begins_again_after_it_was_ended(self):
        running = cooldown.Cooldown(1000)
        running.begin()
        running.end()
        self.assertTrue(running.begin())

    def test_one_of_several_threads_begins_it(self):
        running = cooldown.Cooldown(1000)
        begun = self.in_threads(*[running.begin] * 8)
        self.assertEqual(1, sum(begun))
