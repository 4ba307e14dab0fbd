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

"""Registration of options."""

from oslo_config import cfg

from pvm_imagecache.conf import registration
from pvm_imagecache.tests.unit import base

GROUP = cfg.OptGroup('pvm_imagecache_test', title='A group')
OPTIONS = [cfg.IntOpt('number', default=1)]


class RegisterTest(base.TestCase):
    def make_registered(self):
        conf = cfg.ConfigOpts()
        registration.register(conf, GROUP, OPTIONS)
        return conf

    def test_options_can_be_read(self):
        self.assertEqual(1, self.make_registered().pvm_imagecache_test.number)

    def test_options_can_be_registered_twice(self):
        conf = self.make_registered()
        conf.set_override('number', 2, GROUP.name)
        registration.register(conf, GROUP, OPTIONS)
        self.assertEqual(2, conf.pvm_imagecache_test.number)

    def test_values_of_one_configuration_do_not_reach_another(self):
        first, second = self.make_registered(), self.make_registered()
        first.set_override('number', 2, GROUP.name)
        self.assertEqual(1, second.pvm_imagecache_test.number)
        self.assertEqual(1, self.make_registered().pvm_imagecache_test.number)

    def test_a_different_option_of_the_same_name_is_refused(self):
        conf = self.make_registered()
        self.assertRaises(
            cfg.DuplicateOptError,
            registration.register,
            conf,
            GROUP,
            [cfg.StrOpt('number')],
        )

    def test_the_group_keeps_its_title_and_help(self):
        conf = self.make_registered()
        self.assertEqual('A group', conf._groups[GROUP.name].title)
