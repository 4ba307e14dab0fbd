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

"""A cloud with a real Keystone, and with a real Glance in each region."""

import atexit
from collections.abc import Mapping
import dataclasses
import functools
import os
import shutil
import tempfile

from pvm_imagecache.tests.servers import glance as glance_server
from pvm_imagecache.tests.servers import keystone as keystone_server

#: Password of all users.
SECRET = 'keep-me-secret'
_TEMPORARY = tempfile.gettempdir()


@dataclasses.dataclass(frozen=True)
class Cloud:
    """The servers of a process, started when first asked for.

    Region "one" has versions in the addresses of Glance, and other public
    addresses, where nothing listens. Region "two" has a public address only.

    :ivar keystone: has user "ann" in project "ops", and user "nova" with the
        role "service".
    :ivar glances: by region.
    """

    keystone: keystone_server.KeystoneServer
    glances: Mapping[str, glance_server.GlanceServer]


@functools.cache
def cloud() -> Cloud:
    """The cloud of this process."""
    directory = tempfile.mkdtemp(prefix='regions-', dir=_TEMPORARY)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    keystone = keystone_server.KeystoneServer(
        os.path.join(directory, 'keystone')
    )
    atexit.register(keystone.stop)
    keystone.start()
    project = keystone.add_project('ops')
    keystone.add_user('ann', SECRET, project, 'member', 'reader')
    service = keystone.add_project('service')
    keystone.add_user('nova', SECRET, service, 'service')
    glances = {}
    for region in ('one', 'two'):
        glances[region] = glance_server.GlanceServer(
            os.path.join(directory, region), keystone=keystone.admin
        )
        glances[region].start()
        atexit.register(glances[region].stop)
    keystone.add_image_endpoints(
        'one',
        internal=f'{glances["one"].url}/v2/',
        public='http://127.0.0.1:9/v2.15',
    )
    keystone.add_image_endpoints('two', public=f'{glances["two"].url}/v2')
    return Cloud(keystone, glances)
