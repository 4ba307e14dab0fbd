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

"""What the functional tests run on: real servers, and our own manager.

One Glance serves all tests of a process; each test has a PowerVM simulator
and a state directory of its own.
"""

import atexit
from collections.abc import Sequence
import contextlib
import errno
import functools
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any
import uuid

from oslotest import base
from pypowervm import const as pvm_const
from pypowervm.tasks import scsi_mapper
from pypowervm.utils import lpar_builder
from pypowervm.wrappers import managed_system as pvm_system
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import image as image_module
from pvm_imagecache import manager
from pvm_imagecache import simulator
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import glance as glance_conf
from pvm_imagecache.drivers import powervm
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.tests import images
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import glance as glance_server
from pvm_imagecache.tests.servers import powervm as powervm_server
from pvm_imagecache.tests.servers import shells

MIB = 1 << 20
GIB = 1 << 30
#: As of now: each test has one of its own, removed at its end.
_TEMPORARY = tempfile.gettempdir()


def glance(store: str = 'file') -> glance_server.GlanceServer:
    """The Glance of this process, started when first asked for.

    :param store: what it stores images in, see ``GlanceServer``.
    """
    return _glance(store)


@functools.cache
def _glance(store: str) -> glance_server.GlanceServer:
    directory = tempfile.mkdtemp(prefix='glance-', dir=_TEMPORARY)
    server = glance_server.GlanceServer(
        os.path.join(directory, 'glance'), store=store
    )
    server.start()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    return server


def quiet_libraries() -> None:
    """Log no traces of libraries, which are more than all else together."""
    for name in (
        'pypowervm',
        'urllib3',
        'charset_normalizer',
        'keystoneauth',
        'glanceclient',
        'stevedore',
    ):
        logging.getLogger(name).setLevel(logging.WARNING)


class FunctionalTestCase(base.BaseTestCase):
    """A test with a real Glance and a PowerVM of its own."""

    volume_groups: Sequence[simulator.Group] = (
        simulator.Group('rootvg', 100),
        simulator.Group('cachevg', 1000),
    )
    cluster: tuple[str, float] | None = None
    options = ''
    #: What Glance stores images in, see ``GlanceServer``.
    glance_store = 'file'

    def setUp(self) -> None:
        super().setUp()
        quiet_libraries()
        held = contextlib.ExitStack()
        self.addCleanup(held.close)
        held.enter_context(seams.short_retries())
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='pvm-'))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.glance = glance(self.glance_store)
        self.glance.clear_faults()
        self.glance.reset_downloads()
        self.start_powervm()

    def start_powervm(self) -> None:
        """Start the simulator; overridden to run on something else."""
        self.powervm = simulator.Simulator(
            str(self.directory / 'powervm'),
            cluster=self.cluster,
            volume_groups=self.volume_groups,
        )
        self.powervm.__enter__()
        self.addCleanup(self.powervm.__exit__, None, None, None)
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = cachevg\n' + self.options
        )

    # -- configuration

    def write_conf(
        self, options: str, name: str = 'test.conf', token: str = ''
    ) -> pathlib.Path:
        """A configuration file for this test's servers."""
        path = self.directory / name
        path.write_text(f"""[pvm_imagecache]
state_path = {self.directory / 'state'}
{options}

[glance]
auth_type = admin_token
endpoint = {self.glance.url}
token = {token or self.glance.token()}
""")
        return path

    def make_manager(
        self, conf_file: pathlib.Path | None = None
    ) -> manager.ImageManager:
        """A manager as the configuration describes it."""
        conf = shell.read_configuration([str(conf_file or self.conf_file)], [])
        glance_conf.register(conf)
        self.source = image_source.ImageSource(client.factory(conf))
        made = manager.ImageManager.from_conf(conf, self.source)
        self.addCleanup(made.close)
        return made

    def run_shell(
        self,
        *arguments: str,
        conf_file: pathlib.Path | None = None,
        **kwargs: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run pvm-imagecache as a process of its own, see ``shells``."""
        return shells.run(
            self.shell_command(*arguments, conf_file=conf_file),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            **kwargs,
        )

    def shell_command(
        self, *arguments: str, conf_file: pathlib.Path | None = None
    ) -> list[str]:
        """The arguments of such a process."""
        return [
            sys.executable,
            '-m',
            'pvm_imagecache.cmd.main',
            '--config-file',
            str(conf_file or self.conf_file),
            *arguments,
        ]

    # -- images

    def store(
        self,
        data: bytes | pathlib.Path,
        disk_format: str = 'raw',
        **properties: Any,
    ) -> str:
        """Put an image into Glance; returns its id."""
        return self.glance.create_image(
            f'image-{uuid.uuid4().hex[:8]}',
            data,
            disk_format=disk_format,
            **properties,
        )

    def store_raw(self, size: int, seed: int = 0, **properties: Any) -> str:
        """Put a raw image of so many bytes into Glance."""
        return self.store(images.raw_bytes(size, seed), **properties)

    def image(self, image_id: str) -> image_module.Image:
        """An image as the manager wants it."""
        return self.source.get(image_id)

    def fetched(self) -> int:
        """The bytes that Glance has sent since it was asked last."""
        sent = sum(each.bytes_sent for each in self.glance.downloads())
        self.glance.reset_downloads()
        return sent

    # -- changing PowerVM

    def adapter(self) -> Any:
        """A session with PowerVM beside that of the manager."""
        adapters = powervm.AdapterSource(
            powervm.Connection(
                host=self.powervm.host,
                port=self.powervm.port,
                protocol='http',
            )
        )
        self.addCleanup(adapters.close)
        return adapters()

    def map_disk(self, made: manager.ImageManager, name: str) -> None:
        """Give a disk to a partition that has not been there before."""
        adapter = self.adapter()
        server = pvm_vios.VIOS.get(adapter, xag=[pvm_const.XAG.VIO_SMAP])[0]
        system = pvm_system.System.get(adapter)[0]
        lpar = (
            lpar_builder.LPARBuilder(
                adapter,
                {'name': f'of_{name}', 'vcpu': 1, 'memory': 1024},
                lpar_builder.DefaultStandardize(system),
            )
            .build()
            .create(parent=system)
        )
        scsi_mapper.add_map(
            server,
            scsi_mapper.build_vscsi_mapping(
                system.uuid,
                server,
                lpar.uuid,
                pvm_storage.VDisk.bld_ref(adapter, name),
            ),
        )
        server.update()

    def unmap_disk(self, made: manager.ImageManager, name: str) -> None:
        """Take it from the partition again."""
        server = pvm_vios.VIOS.get(
            self.adapter(), xag=[pvm_const.XAG.VIO_SMAP]
        )[0]
        removed = scsi_mapper.remove_maps(
            server,
            None,
            scsi_mapper.gen_match_func(pvm_storage.VDisk, names=[name]),
        )
        self.assertEqual(1, len(removed))
        server.update()

    # -- looking at the catalog

    def catalog(self) -> seams.Catalog:
        """The catalog of this test, as another process opens it."""
        held = contextlib.ExitStack()
        self.addCleanup(held.close)
        return held.enter_context(seams.open_catalog(self.directory / 'state'))

    def unfinished(
        self, made: manager.ImageManager
    ) -> Sequence[seams.InstanceDisk]:
        """The records of instance disks that are being written."""
        with seams.open_catalog(self.directory / 'state') as catalog:
            return seams.instance_disks(catalog, made.driver.pool_id())

    # -- looking at PowerVM

    def disks(self) -> dict[str, pathlib.Path]:
        """The files of all virtual disks, by name."""
        return {
            each['name']: pathlib.Path(each['path'])
            for each in self.powervm.control.disks()
        }

    def kinds_since(self, seen: int) -> list[str]:
        """The kinds of the requests that came after ``seen``."""
        return [
            row['type'] for row in self.powervm.control.requests(since=seen)
        ]

    def last_request(self) -> int:
        """The number of the newest request."""
        return max(
            (row['seq'] for row in self.powervm.control.requests()), default=0
        )

    def file_entries(self) -> int:
        """How many web/File entries PowerVM has now."""
        return powervm_server.file_entries(self.powervm.control)

    def assert_holds(self, disk: str, image_id: str, size: int) -> None:
        """Every byte of a disk is the image's, and zero after it.

        :param size: that the disk must have at least.
        """
        path = self.disks()[disk]
        self.assertGreaterEqual(path.stat().st_size, size)
        assert_same_bytes(self, self.glance.data_path(image_id), path)


def assert_same_bytes(
    test: base.BaseTestCase,
    image: os.PathLike[str],
    disk: os.PathLike[str],
) -> None:
    """Compare an image and a disk; what follows it must be zeros."""
    with open(image, 'rb') as expected, open(disk, 'rb') as actual:
        position = 0
        while piece := expected.read(MIB):
            if actual.read(len(piece)) != piece:
                test.fail(f'the disk differs in the MiB at {position}')
            position += len(piece)
        while (data := _next_data(actual, position)) is not None:
            actual.seek(data)
            piece = actual.read(MIB)
            if piece.count(0) != len(piece):
                test.fail(f'after the image, not all is zero at {data}')
            position = data + len(piece)


def _next_data(file: Any, position: int) -> int | None:
    """Where bytes begin that are not a hole of the file: holes are zeros."""
    try:
        return os.lseek(file.fileno(), position, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None
