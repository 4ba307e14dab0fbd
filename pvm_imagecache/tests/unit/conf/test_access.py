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

"""Options of access control."""

from oslo_config import cfg

from pvm_imagecache.conf import access
from pvm_imagecache.conf import cache
from pvm_imagecache.tests.unit.conf import base


class AccessOptionsTest(base.ConfTestCase):
    def register(self, conf):
        cache.register(conf)
        access.register(conf)

    def test_the_defaults_are_as_documented(self):
        options = self.read('', self.register).pvm_imagecache
        self.assertEqual(
            (
                'local',
                ['pvm_admin'],
                [],
                [],
                '/etc/pvm_imagecache/policy.yaml',
            ),
            (
                options.auth_strategy,
                options.admin_groups,
                options.reader_groups,
                options.keystone_auth_urls,
                options.policy_file,
            ),
        )

    def test_an_unknown_strategy_is_refused(self):
        options = self.read(
            '[pvm_imagecache]\nauth_strategy = none\n', self.register
        ).pvm_imagecache
        self.assertRaises(
            cfg.ConfigFileValueError, getattr, options, 'auth_strategy'
        )
