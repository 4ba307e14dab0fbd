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

"""The version of this distribution."""

from importlib import metadata

from pvm_imagecache import version
from pvm_imagecache.tests.unit import base


class VersionTest(base.TestCase):
    def test_version_is_that_of_the_distribution(self):
        self.assertEqual(
            metadata.version('pvm_imagecache'), version.version_string()
        )

    def test_version_is_unknown_if_not_installed(self):
        def version_of(name):
            raise metadata.PackageNotFoundError(name)

        self.patch(metadata, 'version', version_of)
        self.assertEqual('unknown', version.version_string())
