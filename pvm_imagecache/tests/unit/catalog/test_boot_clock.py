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


"""The uptime of the host."""

from pvm_imagecache.catalog import boot_clock
from pvm_imagecache.tests.unit.catalog import base


class BootClockTest(base.TestCase):
    def test_the_uptime_never_decreases(self):
        first = boot_clock.uptime()
        self.assertGreater(first, 0)
        self.assertGreaterEqual(boot_clock.uptime(), first)

    def test_the_boot_id_stays_the_same(self):
        self.assertEqual(boot_clock.boot(), boot_clock.boot())

    def test_the_boot_id_is_empty_if_the_system_has_none(self):
        self.addCleanup(boot_clock.boot.cache_clear)
        boot_clock.boot.cache_clear()
        self.patch(boot_clock, 'BOOT_ID_PATH', self.path('nothing'))
        self.assertEqual('', boot_clock.boot())
