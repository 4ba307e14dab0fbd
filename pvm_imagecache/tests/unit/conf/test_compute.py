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

"""Options of the compute driver."""

from oslo_config import cfg

from pvm_imagecache.conf import compute
from pvm_imagecache.tests.unit.conf import base


class ComputeOptionsTest(base.ConfTestCase):
    def test_the_defaults_are_as_documented(self):
        options = self.read('', compute.register).pvm_imagecache
        self.assertEqual(
            (0.1, False, 'localdisk'),
            (
                options.proc_units_factor,
                options.send_notifications,
                options.disk_driver,
            ),
        )

    def test_options_of_nova_powervm_are_accepted(self):
        options = self.read(
            '[powervm]\nproc_units_factor = 0.5\n', compute.register
        ).pvm_imagecache
        self.assertEqual(0.5, options.proc_units_factor)

    def test_invalid_values_are_refused(self):
        options = self.read(
            '[pvm_imagecache]\nproc_units_factor = 2\n', compute.register
        ).pvm_imagecache
        self.assertRaises(
            cfg.ConfigFileValueError, getattr, options, 'proc_units_factor'
        )
