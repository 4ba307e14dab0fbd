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


"""The clock of the catalog."""

from pvm_imagecache import exceptions
from pvm_imagecache.tests.unit.catalog import base


class ClockTest(base.ClockTestCase):
    def test_an_age_is_the_time_since_the_last_use(self):
        self.make_ready()
        self.later(1000)
        self.assertEqual(1000, self.age())
        self.catalog.base_images.record_hit(self.get())
        self.assertEqual(0, self.age())

    def test_setting_the_system_clock_changes_no_age(self):
        self.make_ready()
        self.later(1000)
        for step in (base.YEARS, -base.YEARS, -base.YEARS):
            self.now += step
            self.assertEqual(1000, self.age())
            self.later(10)
            self.catalog.clock.save()
            self.assertEqual(1010, self.age())
            self.later(-10)
            self.catalog.base_images.record_hit(self.get())
            self.later(1000)

    def test_a_restart_of_the_service_changes_no_age(self):
        self.make_ready()
        self.later(1000)
        self.catalog = self.open()
        self.assertEqual(1000, self.age())

    def test_time_while_the_host_is_down_does_not_count(self):
        self.make_ready()
        self.later(1000)
        self.catalog.clock.save()
        self.reboot()
        self.assertEqual(1020, self.age())
        self.later(5)
        self.catalog.clock.save()
        self.later(5)
        self.assertEqual(1030, self.age())

    def test_no_age_is_ever_negative(self):
        self.make_ready()
        self.later(1000)
        self.catalog.base_images.record_hit(self.get())
        self.reboot(-base.YEARS)
        self.assertGreaterEqual(self.age(), 0)
        self.assertLess(self.age(), 100)

    def test_a_host_without_boot_ids_has_no_negative_age(self):
        self.boot = ''
        self.make_ready()
        self.later(100)
        self.up = 3.0
        self.assertGreaterEqual(self.age(), 0)

    def test_save_returns_the_time_that_it_stores(self):
        self.catalog.clock.save()
        self.later(7)
        self.assertEqual(7, self.catalog.clock.save())
        self.assertEqual(7, self.catalog.clock.now())

    def test_a_malformed_time_is_a_catalog_error(self):
        self.catalog.clock.save()
        self.sql("UPDATE clock SET seconds = 'noon'")
        self.assertRaises(exceptions.CatalogError, self.catalog.clock.now)
