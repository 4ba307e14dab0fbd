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

"""Deploys and faults again, with other stores of Glance.

``rbd`` cannot read parts of an image, as Ceph RBD, Swift, S3 and VMware;
``http`` reads images from an address, and no parts of them either. What
moves the data of images runs with both; all other tests do not depend on the
store.
"""

from pvm_imagecache.tests.functional import test_concurrency
from pvm_imagecache.tests.functional import test_deploy
from pvm_imagecache.tests.functional import test_faults
from pvm_imagecache.tests.functional import test_image_data
from pvm_imagecache.tests.functional import test_incidents_fetch


class RBDDeployTestCase(test_deploy.DeployTestCase):
    glance_store = 'rbd'


class HTTPDeployTestCase(test_deploy.DeployTestCase):
    glance_store = 'http'


class RBDFaultsTestCase(test_faults.GlanceFaultsTestCase):
    glance_store = 'rbd'


class HTTPFaultsTestCase(test_faults.GlanceFaultsTestCase):
    glance_store = 'http'


class RBDOneFetchTestCase(test_concurrency.OneFetchTestCase):
    glance_store = 'rbd'


class RBDPermissionTestCase(
    test_incidents_fetch.Incident17RightToDownloadTestCase
):
    glance_store = 'rbd'


class HTTPPermissionTestCase(
    test_incidents_fetch.Incident17RightToDownloadTestCase
):
    glance_store = 'http'


class RBDWrongDataTestCase(test_incidents_fetch.Incident15WrongDataTestCase):
    glance_store = 'rbd'


class RBDCorruptTestCase(test_image_data.CorruptTestCase):
    glance_store = 'rbd'
