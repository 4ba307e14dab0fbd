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

"""The functional harness of nova, on a simulator and a real Glance.

All services of nova run in the process of the tests, and are accessed
through the API. Its database is SQLite, its message bus a fake; placement
is real, Neutron and Cinder are nova's own stand-ins.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from importlib import metadata
import os
import pathlib
import shutil
import sys
import tempfile
import time
import types
from typing import Any
from unittest import mock
import uuid

import fixtures
from keystoneauth1 import token_endpoint
import nova.conf
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers
from oslotest import base as test_base
from pypowervm import adapter as pvm_adapter
from pypowervm import const as pvm_const
from pypowervm.tasks import scsi_mapper
from pypowervm.wrappers import job as pvm_job
from pypowervm.wrappers import logical_partition as pvm_lpar
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from nova import context as nova_context
from nova import objects
import nova.virt.pvm_imagecache
from pvm_imagecache import simulator
from pvm_imagecache.catalog import facade
from pvm_imagecache.conf import compute
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images

CONF = nova.conf.CONF
MIB = base.MIB
GIB = base.GIB
#: How often a server is checked for a state, every 0.5 s.
_RETRIES = 240


class RealGlance(fixtures.Fixture):
    """A real Glance in place of nova's fake.

    The token of a context names its user and project. A context without a
    user, as in periodic tasks, gets no token.
    """

    def __init__(self, test: Any) -> None:
        super().__init__()
        self._store = getattr(test, 'glance_store', 'file')

    def _setUp(self) -> None:
        server = base.glance(self._store)
        server.clear_faults()
        server.reset_downloads()
        CONF.set_override('api_servers', [server.url], group='glance')
        self.addCleanup(CONF.clear_override, 'api_servers', group='glance')

        def plugin_of(context: Any) -> Any:
            if not (context.user_id and context.project_id):
                raise AssertionError('a request to Glance without a user')
            roles = context.roles or ['member', 'reader']
            return token_endpoint.Token(
                server.url,
                server.token(
                    context.user_id,
                    context.project_id,
                    {*roles, 'member', 'reader'},
                ),
            )

        self.useFixture(
            fixtures.MockPatchObject(
                nova_context.RequestContext,
                'get_auth_plugin',
                lambda context, **kwargs: plugin_of(context),
            )
        )


class QuickJobs(fixtures.Fixture):
    """Make pypowervm check jobs 20 times a second instead of once.

    Jobs of the simulator are done immediately.
    """

    def _setUp(self) -> None:
        self.useFixture(
            fixtures.MockPatchObject(
                pvm_job,
                'time',
                types.SimpleNamespace(
                    time=time.time,
                    sleep=lambda seconds: time.sleep(seconds / 20),
                ),
            )
        )


class FilesTestCase(test_base.BaseTestCase):
    """A test with its own directory, without the services of nova."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='nova-'))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)


class NovaTestCase(integrated_helpers._IntegratedTestBase):
    """A nova with one compute node, on its own PowerVM."""

    ADMIN_API = True
    microversion = 'latest'
    CAST_AS_CALL = False

    volume_groups = (
        simulator.Group('rootvg', 100),
        simulator.Group('cachevg', 1000),
    )
    cluster: tuple[str, float] | None = None
    options: dict[str, Any] = {'volume_group_name': 'cachevg'}
    #: What Glance stores images in, see ``GlanceServer``.
    glance_store = 'file'

    def setUp(self) -> None:
        base.quiet_libraries()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='nova-'))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.powervm = simulator.Simulator(
            str(self.directory / 'powervm'),
            cluster=self.cluster,
            volume_groups=self.volume_groups,
        )
        self.powervm.__enter__()
        self.useFixture(QuickJobs())
        self.addCleanup(self.powervm.__exit__, None, None, None)
        patch = mock.patch.object(nova_fixtures, 'GlanceFixture', RealGlance)
        patch.start()
        self.addCleanup(patch.stop)
        super().setUp()

    def _setup_services(self) -> None:
        self.flags(
            api_paste_config=os.path.join(
                sys.prefix, 'etc', 'nova', 'api-paste.ini'
            ),
            group='wsgi',
        )
        compute.register(CONF)
        # By default nova's harness does not wait for the thread that ends a
        # manager: late, it would end the executors of the next tests.
        # nova 33 waits in the thread of the test, and all of that time.
        if int(metadata.version('nova').partition('.')[0]) >= 34:
            self.flags(manager_shutdown_timeout=30)
        self.flags(
            compute_driver='pvm_imagecache.PowerVMDriver',
            instances_path=str(self.directory),
        )
        self.flags(
            group='pvm_imagecache',
            host=self.powervm.host,
            port=self.powervm.port,
            protocol='http',
            state_path=str(self.directory / 'state'),
            **self.options,
        )
        super()._setup_services()
        self.server = base.glance(self.glance_store)
        self.flavor = self._create_flavor(
            memory_mb=1000, vcpu=1, disk=1, ephemeral=0
        )

    # -- images and servers

    def store(self, size: int, seed: int = 0, **properties: Any) -> str:
        """Store a raw image of so many bytes in Glance; return its ID."""
        return self.server.create_image(
            f'image-{uuid.uuid4().hex[:8]}',
            images.raw_bytes(size, seed),
            **properties,
        )

    def boot(self, image_id: str, **kwargs: Any) -> dict[str, Any]:
        """Create a server, and wait for it."""
        kwargs.setdefault('flavor_id', self.flavor)
        return self._create_server(
            image_uuid=image_id, networks='none', **kwargs
        )

    def _wait_for_server_parameter(
        self,
        server: dict[str, Any],
        expected: dict[str, Any],
        max_retries: int = _RETRIES,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        # nova's harness gives up after five seconds: its drivers are fakes.
        return super()._wait_for_server_parameter(
            server, expected, max_retries, *args, **kwargs
        )

    def _wait_for_state_change(
        self,
        server: dict[str, Any],
        expected_status: str,
        max_retries: int = _RETRIES,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        return super()._wait_for_state_change(
            server, expected_status, max_retries, *args, **kwargs
        )

    def fetched(self) -> int:
        """Return the bytes that Glance has sent since the last call."""
        sent = sum(each.bytes_sent for each in self.server.downloads())
        self.server.reset_downloads()
        return sent

    def assert_permission_checked(
        self, times: int = 1, fetched: Sequence[int] = ()
    ) -> None:
        """Glance was asked that often for permission since the last call.

        It is asked for one byte. A store that cannot read parts is asked
        for all data then, which are not read.

        :param fetched: the sizes of the images that were fetched besides.
        """
        downloads = self.server.downloads()
        self.server.reset_downloads()
        if self.glance_store == 'file':
            self.assertEqual(
                [*[1] * times, *fetched],
                sorted(each.bytes_sent for each in downloads),
            )
            return
        self.assertEqual(
            [200] * (times + len(fetched)) + [400] * times,
            sorted(each.status for each in downloads),
        )

    def run_cleanup(self) -> None:
        """Do what nova does every ``manager_interval`` seconds."""
        self.compute.manager._run_image_cache_manager_pass(
            nova_context.get_admin_context()
        )

    def instance(self, server: dict[str, Any]) -> objects.Instance:
        """A server as nova-compute knows it."""
        context = nova_context.get_admin_context()
        with nova_context.target_cell(
            context, self.cell_mappings['cell1']
        ) as in_cell:
            return objects.Instance.get_by_uuid(in_cell, server['id'])

    # -- PowerVM

    @property
    def catalog(self) -> facade.Catalog:
        return facade.Catalog(str(self.directory / 'state' / 'catalog.sqlite'))

    def disks(self) -> dict[str, Any]:
        """Return all disks of the control API, by name."""
        return {each['name']: each for each in self.powervm.control.disks()}

    def instance_disks(self) -> dict[str, Any]:
        """Return the disks that are no base images."""
        return {
            name: each
            for name, each in self.disks().items()
            if not name.startswith('i_')
        }

    def base_images(self) -> set[str]:
        """The names of base images."""
        return {name for name in self.disks() if name.startswith('i_')}

    def partitions(self) -> dict[str, str]:
        """By name, the state of each partition of an instance."""
        with self.adapter() as adapter:
            return {
                each.name: each.state
                for each in pvm_lpar.LPAR.get(adapter)
                if not each.is_mgmt_partition
            }

    @contextlib.contextmanager
    def adapter(self) -> Iterator[Any]:
        """A session with PowerVM beside nova's."""
        session = pvm_adapter.Session(
            host=self.powervm.host, port=self.powervm.port
        )
        try:
            yield pvm_adapter.Adapter(session)
        finally:
            session._logoff()

    def attach(self, server: dict[str, Any], disk: str) -> None:
        """Map a disk to a server's partition, without nova."""
        with self.adapter() as adapter:
            vios = pvm_vios.VIOS.get(adapter, xag=[pvm_const.XAG.VIO_SMAP])[0]
            (partition,) = (
                each
                for each in pvm_lpar.LPAR.get(adapter)
                if each.name == server['OS-EXT-SRV-ATTR:instance_name']
            )
            scsi_mapper.add_map(
                vios,
                scsi_mapper.build_vscsi_mapping(
                    None,
                    vios,
                    partition.uuid,
                    pvm_storage.VDisk.bld_ref(adapter, disk),
                ),
            )
            vios.update()

    def disk_of(self, server: dict[str, Any]) -> dict[str, Any]:
        """The disk that a server's partition has."""
        name = server['OS-EXT-SRV-ATTR:instance_name']
        (disk,) = (
            each
            for each in self.powervm.control.disks()
            if each['mapped_to'] == [name]
        )
        return disk

    def assert_boots_from(self, server: dict[str, Any], image_id: str) -> None:
        """Every byte of the server's disk is the image's."""
        base.assert_same_bytes(
            self, self.server.data_path(image_id), self.disk_of(server)['path']
        )

    def assert_nothing_left(self) -> None:
        """No partition, instance disk, mapping or record is there."""
        self.assertEqual({}, self.partitions())
        self.assertEqual({}, self.instance_disks())
        self.assertEqual(
            [],
            [
                each
                for each in self.powervm.control.disks()
                if each['mapped_to']
            ],
        )
        self.assertEqual(
            [],
            self.catalog.instance_disks.list(
                self.compute.driver.image_cache.driver.pool_id()
            ),
        )
