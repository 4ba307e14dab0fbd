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

"""Options of the connection to Glance."""

from oslo_config import cfg

from pvm_imagecache.conf import glance
from pvm_imagecache.tests.unit.conf import base


class GlanceOptionsTest(base.ConfTestCase):
    def test_the_defaults_are_as_documented(self):
        options = self.read('', glance.register).glance
        self.assertEqual(
            ([], None, None, None),
            (
                options.api_servers,
                options.auth_type,
                options.region_name,
                options.endpoint_override,
            ),
        )

    def test_options_can_be_registered_twice(self):
        conf = self.read(
            '[glance]\napi_servers = http://a, http://b\n', glance.register
        )
        glance.register(conf)
        self.assertEqual(['http://a', 'http://b'], conf.glance.api_servers)

    def test_options_of_nova_are_not_replaced(self):
        def register(conf):
            conf.register_opts(
                [cfg.ListOpt('api_servers', help='nova')], group='glance'
            )
            glance.register(conf)

        options = self.read(
            '[glance]\nauth_type = password\n', register
        ).glance
        self.assertEqual(
            (None, 'password'), (options.api_servers, options.auth_type)
        )
