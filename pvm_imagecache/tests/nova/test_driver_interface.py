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

"""The tests of nova for any compute driver, run against ours.

They are in ``nova.tests.unit.virt.test_virt_drivers``, and accept
NotImplementedError from any method. Those that our driver must support are
listed below.
"""

import shutil
import tempfile
import threading
from typing import Any
from unittest import mock

from nova.tests import fixtures as nova_fixtures
from nova.tests.unit import utils as test_utils
from nova.tests.unit.virt import test_virt_drivers
from oslo_utils import units

from nova import context as nova_context
from nova import objects
from nova import test
from pvm_imagecache import simulator
from pvm_imagecache.conf import compute
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests.nova import base as nova_base

#: Methods that must not raise NotImplementedError.
SUPPORTED = frozenset(
    (
        'init_host',
        'list_instances',
        'list_instance_uuids',
        'spawn',
        'reboot',
        'power_off',
        'power_on',
        'destroy',
        'get_info',
        'get_available_resource',
        'get_available_nodes',
        'cleanup',
    )
)


#: Older releases of nova replace it in tests; no thread can start without it.
_WAIT = threading.Event.wait


class PowerVMDriverTestCase(
    test_virt_drivers._VirtDriverTestCase, test.TestCase
):
    def setUp(self) -> None:
        self.driver_module = 'nova.virt.pvm_imagecache.PowerVMDriver'
        self.unimplemented: list[str] = []
        super().setUp()
        directory = tempfile.mkdtemp(prefix='nova-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        powervm = simulator.Simulator(f'{directory}/powervm')
        powervm.__enter__()
        self.addCleanup(powervm.__exit__, None, None, None)
        compute.register(nova_base.CONF)
        self.flags(
            group='pvm_imagecache',
            host=powervm.host,
            port=powervm.port,
            protocol='http',
            volume_group_name='cachevg',
            state_path=f'{directory}/state',
        )
        self.useFixture(nova_base.QuickJobs())
        self.useFixture(nova_base.RealGlance(self))
        self.image_id = base.glance().create_image(
            'image', images.raw_bytes(units.Mi)
        )
        self.connection.init_host('myhostname')
        self.addCleanup(self.connection.cleanup_host, 'myhostname')

    def tearDown(self) -> None:
        for line in self.stdlog.logger.output.splitlines():
            if ' does not implement ' in line:
                method = line.split(' does not implement ')[1].split()[0]
                self.assertNotIn(method, SUPPORTED)
        super().tearDown()

    def test_live_migration(self) -> None:
        self.skipTest('Not supported; nova skips it for its base class.')

    def test_live_migration_force_complete(self) -> None:
        self.skipTest('Not supported; the test wants parts of libvirt.')

    def _setup_fakelibvirt(self) -> None:
        """The harness would put a libvirt in place."""

    def _teardown_fakelibvirt(self) -> None:
        """There is none."""

    def _get_running_instance(self, obj: bool = True) -> tuple[Any, Any]:
        # nova's own boots with networks, from an image that is nowhere.
        self.useFixture(nova_fixtures.Database(database='api'))
        instance = test_utils.get_test_instance(obj=obj)
        # The patch of nova's test, if it has one, ends with the test.
        threading.Event.wait = _WAIT  # type: ignore[method-assign]
        with mock.patch.object(objects.Instance, 'save', autospec=True):
            self.connection.spawn(
                nova_context.RequestContext('user', 'project'),
                instance,
                objects.ImageMeta(id=self.image_id),
                [],
                'herp',
                {},
                network_info=[],
            )
        return instance, []
