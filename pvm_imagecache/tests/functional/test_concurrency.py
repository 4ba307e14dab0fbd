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

"""Several threads and processes at once, in one volume group."""

from concurrent import futures
import subprocess
import sys

from oslo_utils import units
from pypowervm import adapter as pvm_adapter
from pypowervm.tasks import storage as pvm_tasks
from pypowervm.wrappers import storage as pvm_storage

from pvm_imagecache.deploy.instance_disk import Outcome
from pvm_imagecache.tests.functional import base

PROCESSES = 2
DISKS_EACH = 10

#: Deploys an image to NAME0, NAME1 ... as nova-compute would, with one
#: manager for all of them.
_WORKER = """
import sys
from pvm_imagecache.cmd import shell
from pvm_imagecache import manager
from pvm_imagecache.glance import client as glance_client
from pvm_imagecache.glance import source as image_source
conf_file, image_id, name, count = sys.argv[1:]
conf = shell.read_configuration([conf_file], [])
source = image_source.ImageSource(glance_client.factory(conf))
images = manager.ImageManager.from_conf(conf, source)
image = source.get(image_id)
for number in range(int(count)):
    done = images.create_disk(image, f'{name}{number}')
    print(done.outcome.value, done.bytes_fetched, flush=True)
images.close()
"""


#: As nova-compute does where eventlet is still asked for.
_GREEN = """
import eventlet
eventlet.monkey_patch()
"""


class _Base(base.FunctionalTestCase):
    def start_worker(
        self, image_id: str, name: str, count: int, before: str = ''
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                sys.executable,
                '-W',
                'ignore',
                '-c',
                before + _WORKER,
                str(self.conf_file),
                image_id,
                name,
                str(count),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def finish(self, process: subprocess.Popen[str]) -> list[list[str]]:
        out, error = process.communicate()
        self.assertEqual(0, process.returncode, error)
        return [line.split() for line in out.splitlines()]


class TwoProcessesTestCase(_Base):
    """No disk is lost, whatever an update without If-Match means."""

    def create_at_once(self, reading: str) -> None:
        self.powervm.control.change_settings(unconditional_update=reading)
        stored = [self.store_raw(units.Mi, seed) for seed in range(PROCESSES)]
        workers = [
            self.start_worker(image_id, f'p{number}_', DISKS_EACH)
            for number, image_id in enumerate(stored)
        ]
        for worker in workers:
            self.assertEqual(DISKS_EACH, len(self.finish(worker)))
        disks = self.powervm.control.disks()
        self.assertEqual(PROCESSES * (DISKS_EACH + 1), len(disks))
        self.assertEqual(len(disks), len({each['udid'] for each in disks}))
        for number, image_id in enumerate(stored):
            for disk in range(DISKS_EACH):
                self.assert_holds(f'p{number}_{disk}', image_id, 1)

    def test_disks_of_both_survive_updates_that_overwrite(self) -> None:
        self.create_at_once('overwrite')

    def test_disks_of_both_survive_updates_that_merge(self) -> None:
        self.create_at_once('merge')

    def test_the_old_way_loses_a_disk(self) -> None:
        # pypowervm's crt_vdisk between the two halves of another one: what
        # the tests above would show if it were not for the etag.
        session = pvm_adapter.Session(
            host=self.powervm.host, port=self.powervm.port
        )
        adapter = pvm_adapter.Adapter(session)
        server, group = pvm_tasks.find_vg(adapter, 'cachevg')
        stale = adapter.read(
            'VirtualIOServer', server.uuid, 'VolumeGroup', group.uuid
        )
        pvm_tasks.crt_vdisk(adapter, server.uuid, group.uuid, 'vm1', 1)
        wrapper = pvm_storage.VG.wrap(stale.entry)
        wrapper.virtual_disks.append(pvm_storage.VDisk.bld(adapter, 'vm2', 1))
        wrapper.update()
        self.assertEqual({'vm2'}, set(self.disks()))


class OneFetchTestCase(_Base):
    """Many want one image that is not there: it is fetched once."""

    def test_four_processes_fetch_an_image_once(self) -> None:
        image_id = self.store_raw(8 * units.Mi)
        self.glance.set_bandwidth(8_000_000)
        self.addCleanup(self.glance.set_bandwidth, 0)
        workers = [
            self.start_worker(image_id, f'p{number}_', 1)
            for number in range(4)
        ]
        outcomes = sorted(
            outcome for worker in workers for outcome, _ in self.finish(worker)
        )
        self.assertEqual(['hit', 'hit', 'hit', 'miss'], outcomes)
        self.assertEqual(8 * units.Mi, self.fetched())
        for number in range(4):
            self.assert_holds(f'p{number}_0', image_id, units.Mi)

    def test_ten_threads_fetch_an_image_once(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(8 * units.Mi)
        image = self.image(image_id)
        with futures.ThreadPoolExecutor(10) as pool:
            done = list(
                pool.map(
                    lambda number: manager.create_disk(image, f'vm{number}'),
                    range(10),
                )
            )
        self.assertEqual(
            1, [each.outcome for each in done].count(Outcome.MISS)
        )
        self.assertEqual(9, [each.outcome for each in done].count(Outcome.HIT))
        self.assertEqual(8 * units.Mi, self.fetched())
        for number in range(10):
            self.assert_holds(f'vm{number}', image_id, units.Mi)

    def test_the_others_when_the_fetching_process_is_killed(self) -> None:
        image_id = self.store_raw(8 * units.Mi)
        self.glance.set_bandwidth(2_000_000)
        self.addCleanup(self.glance.set_bandwidth, 0)
        first = self.start_worker(image_id, 'killed', 1)
        while not self.glance.downloads():
            self.assertIsNone(first.poll())
        second = self.start_worker(image_id, 'second', 1)
        first.kill()
        first.wait()
        self.glance.set_bandwidth(0)
        ((outcome, _),) = self.finish(second)
        self.assertEqual('miss', outcome)
        self.assert_holds('second0', image_id, units.Mi)
        (listed,) = self.make_manager().list()
        self.assert_holds(listed.disk_name, image_id, units.Mi)


class EventletTestCase(_Base):
    """Under nova's monkey-patching, beside a process with native threads."""

    def test_green_and_native_threads_fetch_once(self) -> None:
        image_id = self.store_raw(8 * units.Mi)
        green = self.start_worker(image_id, 'green', 4, _GREEN)
        native = self.start_worker(image_id, 'native', 4)
        outcomes = [
            outcome
            for worker in (green, native)
            for outcome, _ in self.finish(worker)
        ]
        self.assertEqual(['hit'] * 7 + ['miss'], sorted(outcomes))
        for number in range(4):
            for name in ('green', 'native'):
                self.assert_holds(f'{name}{number}', image_id, units.Mi)


class GroupCommitTestCase(_Base):
    """Copies that are wanted at the same moment go into one update."""

    def test_hits_at_once(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(units.Mi)
        image = self.image(image_id)
        manager.create_disk(image, 'first')
        seen = self.last_request()
        self.powervm.control.add_fault(
            'latency', kind='VolumeGroup.get', count=1, seconds=1.0
        )
        with futures.ThreadPoolExecutor(8) as pool:
            done = list(
                pool.map(
                    lambda number: manager.create_disk(image, f'vm{number}'),
                    range(8),
                )
            )
        self.assertEqual({Outcome.HIT}, {each.outcome for each in done})
        for number in range(8):
            self.assert_holds(f'vm{number}', image_id, units.Mi)
        updates = self.kinds_since(seen).count('VolumeGroup.update')
        self.assertLessEqual(updates, 4)

    def test_one_that_can_not_be_made_spoils_no_other(self) -> None:
        manager = self.make_manager()
        image_id = self.store_raw(units.Mi)
        image = self.image(image_id)
        manager.create_disk(image, 'first')
        self.powervm.control.add_fault(
            'latency', kind='VolumeGroup.get', count=1, seconds=0.5
        )
        names = ['vm1', 'first', 'vm2', 'vm3']
        with futures.ThreadPoolExecutor(4) as pool:
            results = [
                pool.submit(manager.create_disk, image, name) for name in names
            ]
        self.assertEqual(
            [False, True, False, False],
            [each.exception() is not None for each in results],
        )
        for name in ('first', 'vm1', 'vm2', 'vm3'):
            self.assert_holds(name, image_id, units.Mi)
