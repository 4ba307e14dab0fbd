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

"""Options of nova that also apply to the cache."""

from oslo_config import cfg

from pvm_imagecache.conf import nova
from pvm_imagecache.tests.unit.conf import base


class NovaOptionsTest(base.ConfTestCase):
    def test_the_defaults_are_those_of_nova(self):
        options = self.read('', nova.register).image_cache
        self.assertEqual(
            (True, 86400),
            (
                options.remove_unused_base_images,
                options.remove_unused_original_minimum_age_seconds,
            ),
        )

    def test_options_of_nova_are_not_replaced(self):
        def register(conf):
            conf.register_opts(
                [cfg.BoolOpt('remove_unused_base_images', default=False)],
                group='image_cache',
            )
            nova.register(conf)

        self.assertFalse(
            self.read('', register).image_cache.remove_unused_base_images
        )
