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

"""Configurations of files, for tests of options."""

from oslo_config import cfg

from pvm_imagecache.conf import cache
from pvm_imagecache.tests.unit import base


class ConfTestCase(base.TestCase):
    def read(self, text, register=cache.register):
        """Return the configuration that a file with this text makes."""
        path = self.useFixture(
            base.TextFile(self.path('nova.conf'), text)
        ).path
        conf = cfg.ConfigOpts()
        register(conf)
        conf(
            ['--config-file', path],
            default_config_files=[],
            default_config_dirs=[],
        )
        return conf
