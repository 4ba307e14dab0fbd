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

"""What the tests of the incidents have in common.

An incident is something that went wrong for the users of another image
cache. Its test makes the same circumstances, on real servers.
"""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import json
import pathlib
import sqlite3
import subprocess
import sys
import time
from typing import Any

from oslo_utils import units
from pypowervm import const as pvm_const
from pypowervm.tasks import scsi_mapper
from pypowervm.utils import lpar_builder
from pypowervm.wrappers import managed_system as pvm_system
from pypowervm.wrappers import storage as pvm_storage
from pypowervm.wrappers import virtual_io_server as pvm_vios

from pvm_imagecache import image as image_module
from pvm_imagecache import manager as manager_module
from pvm_imagecache import naming
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import glance_wsgi

#: So many pieces that a fetch can be held in the middle.
HELD_SIZE = 12 * units.Mi + 17
#: Bytes per second: quick enough to start, and almost standing still.
_START = 2_000_000
_HELD = 20_000
#: Seconds after which what should have happened will not.
_TOO_LONG = 60.0

#: Deploys an image to several disks at once, each from its own thread.
_WORKER = """
import sys
from concurrent import futures
from pvm_imagecache.cmd import shell
from pvm_imagecache import manager
from pvm_imagecache.glance import client as glance_client
from pvm_imagecache.glance import source as image_source
conf_file, image_id, *names = sys.argv[1:]
conf = shell.read_configuration([conf_file], [])
source = image_source.ImageSource(glance_client.factory(conf))
images = manager.ImageManager.from_conf(conf, source)
image = source.get(image_id)
with futures.ThreadPoolExecutor(len(names)) as pool:
    for done in pool.map(
            lambda name: images.create_disk(image, name), names):
        print(done.outcome.value, flush=True)
images.close()
"""


class IncidentTestCase(base.FunctionalTestCase):
    """A manager, and ways to stop others in the middle of their work."""

    def setUp(self) -> None:
        super().setUp()
        self.manager = self.make_manager()
        self.addCleanup(self.glance.set_bandwidth, 0)

    def deploy(
        self, image_id: str, name: str, size: int = 0, **kwargs: Any
    ) -> instance_disk.Outcome:
        """Make a disk of an image, and compare every byte."""
        done = self.manager.create_disk(
            self.image(image_id), name, size, **kwargs
        )
        self.assert_whole(name, image_id)
        return done.outcome

    def assert_whole(self, name: str, image_id: str) -> None:
        self.assert_holds(
            name, image_id, self.glance.data_path(image_id).stat().st_size
        )

    def assert_cached(self, *image_ids: str) -> None:
        """Exactly these are in the cache, with all of their bytes."""
        cached = {
            each.image.id: each.disk_name for each in self.manager.list()
        }
        self.assertEqual(set(image_ids), set(cached))
        for image_id, name in cached.items():
            self.assert_whole(name, image_id)

    def assert_nothing_left(self, *disks: str) -> None:
        """Nothing is there but disks of these names."""
        self.assertEqual(set(disks), set(self.disks()))
        self.assertEqual([], list(self.manager.list()))
        self.assertEqual(0, self.file_entries())

    def other_manager(
        self, options: str = '', name: str = 'other.conf'
    ) -> manager_module.ImageManager:
        """A second one, as another process has: nothing is shared."""
        return self.make_manager(self.conf_with(options, name))

    def conf_with(
        self, options: str, name: str = 'other.conf', token: str = ''
    ) -> pathlib.Path:
        """The configuration of this test with more options."""
        return self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = cachevg\n' + options,
            name,
            token,
        )

    # -- others at work

    def start_worker(
        self, image_id: str, *names: str
    ) -> subprocess.Popen[str]:
        """A process that deploys an image to all these disks at once."""
        return self.start_process(
            sys.executable,
            '-W',
            'ignore',
            '-c',
            _WORKER,
            str(self.conf_file),
            image_id,
            *names,
        )

    def start_process(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def finish(self, process: subprocess.Popen[str]) -> str:
        """What a process said that did well."""
        out, error = process.communicate()
        self.assertEqual(0, process.returncode, error)
        return out

    def thread(
        self, call: Callable[..., Any], *args: Any
    ) -> 'futures.Future[Any]':
        pool = futures.ThreadPoolExecutor(1)
        self.addCleanup(pool.shutdown)
        return pool.submit(call, *args)

    def in_time(self, call: Callable[..., Any], *args: Any) -> Any:
        """What a call returns, which must not wait for what is held."""
        return self.thread(call, *args).result(_TOO_LONG / 2)

    def wait_until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + _TOO_LONG
        while not condition():
            if time.monotonic() > deadline:
                self.fail('it did not happen')
            time.sleep(0.01)

    @contextlib.contextmanager
    def slow_glance(self) -> Iterator[None]:
        """Let no download end within the block, though all begin."""
        self.glance.set_bandwidth(_START)
        try:
            yield
        finally:
            self.glance.set_bandwidth(0)

    def hold_fetch(self, image_id: str) -> None:
        """Hold a fetch under :meth:`slow_glance` in the middle.

        There is a base image then with its first bytes, but not the last.
        """
        name = naming.base_image_name(image_id)
        self.wait_until(lambda: self.written(name))
        self.glance.set_bandwidth(_HELD)
        self.assertFalse(self.is_fetched(image_id))

    def is_fetched(self, image_id: str) -> bool:
        """Whether a download of an image has brought all of it."""
        size = self.glance.data_path(image_id).stat().st_size
        return any(
            each.bytes_sent >= size for each in self.downloads_of(image_id)
        )

    def downloads_of(self, image_id: str) -> list[Any]:
        return [
            each
            for each in self.glance.downloads()
            if each.image_id == image_id
        ]

    def written(self, name: str) -> int:
        """The bytes that a disk really has; 0 where there is none."""
        path = self.disks().get(name)
        return path.stat().st_blocks * 512 if path else 0

    def kill_in_the_middle(self, image_id: str, name: str) -> None:
        """Have a process killed while it fetches an image."""
        with self.slow_glance():
            worker = self.start_worker(image_id, name)
            self.hold_fetch(image_id)
            worker.kill()
            worker.wait()

    # -- looking, and setting up

    def record(self, image_id: str) -> seams.BaseImage | None:
        """What the catalog says of an image's disk name."""
        with seams.open_catalog(self.directory / 'state') as catalog:
            return seams.base_image(
                catalog,
                self.manager.driver.pool_id(),
                naming.base_image_name(image_id),
            )

    def rows(self, kind: str, since: int = 0) -> list[dict[str, Any]]:
        """The requests of a kind."""
        return [
            row
            for row in self.powervm.control.requests(since=since)
            if row['type'] == kind
        ]

    def sql(self, statement: str, *values: Any) -> None:
        """Change Glance's database, as no API does."""
        database = sqlite3.connect(
            self.glance.state_dir / glance_wsgi.DATABASE_FILE, timeout=60
        )
        with contextlib.closing(database), database:
            database.execute(statement, values)

    def spoil(
        self, image_id: str, change: Callable[[bytearray], Any]
    ) -> bytes:
        """Change an image's data behind Glance's back; returns the old."""
        path = self.glance.data_path(image_id)
        good = path.read_bytes()
        data = bytearray(good)
        change(data)
        path.write_bytes(data)
        return good

    def plant(self, name: str, size: int = units.Gi) -> pathlib.Path:
        """A disk of somebody else's, with bytes; returns what is in it."""
        content = self.directory / f'content-of-{name}'
        content.write_bytes(b'not ours' * 4096 + name.encode())
        self.powervm.control.plant_disk(
            'cachevg', name, size, content=str(content)
        )
        return content

    def assert_untouched(self, content: pathlib.Path) -> None:
        name = content.name.removeprefix('content-of-')
        base.assert_same_bytes(self, content, self.disks()[name])

    def map_disk(self, name: str) -> str:
        """Give a disk to a partition; returns the partition's UUID.

        PowerVM does not delete such a disk.
        """
        adapter = self.adapter()
        server = self._vios(adapter)
        system = pvm_system.System.get(adapter)[0]
        partition = (
            lpar_builder.LPARBuilder(
                adapter,
                {'name': f'lpar-{name}', 'vcpu': 1, 'memory': 1024},
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
                partition.uuid,
                pvm_storage.VDisk.bld_ref(adapter, name),
            ),
        )
        server.update()
        return str(partition.uuid)

    def unmap_disk(self, partition: str) -> None:
        server = self._vios(self.adapter())
        scsi_mapper.remove_maps(server, partition)
        server.update()

    @staticmethod
    def _vios(adapter: Any) -> Any:
        return pvm_vios.VIOS.get(adapter, xag=[pvm_const.XAG.VIO_SMAP])[0]

    def shell_json(self, *arguments: str) -> Any:
        """What a command answers, as a process of its own."""
        done = self.run_shell(*arguments, '-f', 'json')
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)


def flip_last(data: bytearray) -> None:
    """Change one bit."""
    data[-1] ^= 1


def with_md5_only(image: image_module.Image) -> image_module.Image:
    """An image as Glance had it before it knew better hashes."""
    return image_module.Image(
        id=image.id,
        name=image.name,
        size=image.size,
        disk_format=image.disk_format,
        virtual_size=image.virtual_size,
        checksum=image.checksum,
    )
