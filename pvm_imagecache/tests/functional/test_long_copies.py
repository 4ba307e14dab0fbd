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

"""Copies that take long, and updates whose answers are lost.

Incident 48: copies that take longer than the limit are sent again and again.
Six at once became 14 updates, and two to three copies of each disk.
"""

import collections
from concurrent import futures
import sys
from unittest import mock

from pvm_imagecache import simulator
from pvm_imagecache.drivers import copy_time
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers import rest_liveness
from pvm_imagecache.drivers.localdisk import volume_group
from pvm_imagecache.tests.functional import incidents

MIB = 1 << 20
SIZE = 3 * MIB + 17
#: Bytes per second: a disk of one GiB takes longer than the limit.
_RATE = 250 * MIB
#: Deploys to disks at once, with other limits than those of the product.
_WORKER = """
import sys
from concurrent import futures
from pvm_imagecache import manager
from pvm_imagecache.cmd import shell
from pvm_imagecache.drivers import copy_time
from pvm_imagecache.drivers.localdisk import volume_group
from pvm_imagecache.glance import client as glance_client
from pvm_imagecache.glance import source as image_source
conf_file, image_id, limit, *names = sys.argv[1:]
volume_group.COPY_TIMEOUT = float(limit)
copy_time.SLOWEST_RATE = 1 << 40
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


class Incident48LongCopiesTestCase(incidents.IncidentTestCase):
    """Each copy is made once, whatever becomes of the answer."""

    volume_groups = (simulator.Group('cachevg', 100),)
    options = 'request_timeout = 3\n'

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.store_raw(SIZE)
        self.other_manager('', 'first.conf').prefetch(
            self.image(self.image_id)
        )
        # No update may take longer than other requests.
        for where, name, value in (
            (volume_group, 'COPY_TIMEOUT', 1.0),
            (copy_time, 'SLOWEST_RATE', 1 << 40),
        ):
            patch = mock.patch.object(where, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.names = [f'vm{each}' for each in range(6)]

    def fault(self, action: str, **kwargs: object) -> None:
        self.powervm.control.add_fault(
            action, kind='VolumeGroup.update', **{'count': 1} | kwargs
        )

    def deploy_all(self) -> collections.Counter[str]:
        """Deploy to six disks at once, and compare every byte."""
        image = self.image(self.image_id)
        with futures.ThreadPoolExecutor(len(self.names)) as pool:
            done = list(
                pool.map(
                    lambda name: self.manager.create_disk(image, name),
                    self.names,
                )
            )
        self.check_all()
        outcomes = collections.Counter(each.outcome.value for each in done)
        self.assertEqual(len(self.names), outcomes['hit'] + outcomes['bypass'])
        return outcomes

    def check_all(self, *more: str) -> None:
        for name in self.names:
            self.assert_whole(name, self.image_id)
        self.assert_cached(self.image_id)
        self.assertEqual(
            {*self.names, *(each.disk_name for each in self.manager.list())},
            set(self.disks()),
        )
        self.assertEqual([], list(self.unfinished(self.manager)))

    def assert_each_was_copied_once(self, bypasses: int = 0) -> None:
        """No disk was copied twice.

        A UDID ends in a number that no other disk gets. A copy that was not
        confirmed is deleted, and the disk is created again for its bypass.
        """
        numbers = [
            int(each['udid'].rpartition('.')[2])
            for each in self.powervm.control.disks()
        ]
        self.assertLessEqual(max(numbers), len(numbers) + bypasses)

    def test_six_copies_over_the_limit(self) -> None:
        self.powervm.control.change_settings(copy_rate=_RATE)
        outcomes = self.deploy_all()
        self.assert_each_was_copied_once(outcomes['bypass'])

    def test_a_request_that_arrives_after_the_time_limit(self) -> None:
        # Nothing shows that it is on its way. It is late, and refused.
        self.names = self.names[:3]
        for way in ('queued', 'refused', 'busy'):
            self.powervm.control.change_settings(concurrent_updates=way)
            self.fault('latency', seconds=3.5)
            seen = self.last_request()
            self.assertEqual(3, self.deploy_all().total(), way)
            # The volume group must not be again as the late one expects it.
            self.wait_until(
                lambda seen=seen: all(
                    row['seconds'] is not None
                    for row in self.rows('VolumeGroup.update', seen)
                )
            )
            for name in self.names:
                self.manager.delete_disk(name)

    def test_lost_answers(self) -> None:
        self.fault('lose_answer', count=3)
        outcomes = self.deploy_all()
        self.assert_each_was_copied_once(outcomes['bypass'])

    def test_lost_requests(self) -> None:
        # PowerVM works on nothing: they are sent again.
        self.fault('reset_before', count=2)
        self.assertEqual({'hit': 6}, self.deploy_all())
        self.assert_each_was_copied_once()

    def test_without_labels(self) -> None:
        # Whose disk it is cannot be known: it is fetched instead.
        self.manager.purge(self.manager.list())
        self.powervm.control.change_settings(labels='dropped')
        self.manager.prefetch(self.image(self.image_id))
        self.fault('lose_answer')
        outcomes = self.deploy_all()
        self.assertGreater(outcomes['bypass'], 0)
        self.assertEqual({'hit', 'bypass'}, {*outcomes, 'hit'})

    def test_while_other_updates_are_refused(self) -> None:
        self._check_while_updates_are('refused')

    def test_while_the_vios_is_busy(self) -> None:
        self._check_while_updates_are('busy')

    def _check_while_updates_are(self, way: str) -> None:
        self.powervm.control.change_settings(
            copy_rate=_RATE, concurrent_updates=way
        )
        self.names = self.names[:2]
        outcomes = self.deploy_all()
        self.assert_each_was_copied_once(outcomes['bypass'])

    def test_processes_at_once(self) -> None:
        self.powervm.control.change_settings(copy_rate=_RATE)
        workers = [
            self.start_process(
                sys.executable,
                *('-W', 'ignore', '-c', _WORKER),
                *(str(self.conf_file), self.image_id, '1', *names),
            )
            for names in (self.names[:3], self.names[3:])
        ]
        outcomes = ''.join(self.finish(each) for each in workers).split()
        self.assertEqual(6, len(outcomes))
        self.check_all()
        self.assert_each_was_copied_once(outcomes.count('bypass'))

    def test_the_waiting_process_is_killed(self) -> None:
        self.powervm.control.change_settings(copy_rate=_RATE)
        worker = self.start_process(
            sys.executable,
            *('-W', 'ignore', '-c', _WORKER),
            *(str(self.conf_file), self.image_id, '1', 'vm0'),
        )
        seen = self.last_request()
        self.wait_until(lambda: self.rows('VolumeGroup.update', seen))
        # After the time limit it asks what became of the update.
        sent = self.rows('VolumeGroup.update', seen)[0]['seq']
        self.wait_until(lambda: self.powervm.control.requests(since=sent))
        worker.kill()
        worker.wait()
        # While PowerVM copies, nothing is forgotten.
        self.assertEqual((), self.manager.reconcile().forgotten)
        self.wait_until(lambda: len(self.disks()) == 2)
        self.manager.run_cleanup(())
        self.names = []
        self.check_all()

    def test_a_deploy_after_the_death_of_a_copying_process(self) -> None:
        # PowerVM refuses updates during a copy for a crashed process.
        for way in ('queued', 'refused', 'busy'):
            self.powervm.control.change_settings(
                copy_rate=_RATE, concurrent_updates=way
            )
            seen = self.last_request()
            worker = self.start_process(
                sys.executable,
                *('-W', 'ignore', '-c', _WORKER),
                *(str(self.conf_file), self.image_id, '60', 'orphaned'),
            )
            self.wait_until(
                lambda seen=seen: any(
                    row['seconds'] is None
                    for row in self.rows('VolumeGroup.update', seen)
                )
            )
            worker.kill()
            worker.wait()
            # A second of attempts is less than the copy takes.
            with (
                mock.patch.object(powervm, 'UPDATE_ATTEMPTS', 4),
                mock.patch.object(volume_group, 'COPY_TIMEOUT', 60.0),
            ):
                image = self.image(self.image_id)
                done = self.manager.create_disk(image, f'vm_{way}')
            self.assertEqual('hit', done.outcome.value, way)
            self.manager.run_cleanup(())
            self.names = [f'vm_{way}']
            self.check_all()
            self.manager.delete_disk(f'vm_{way}')

    def test_a_server_that_answers_nothing_any_more(self) -> None:
        # The limit of the update is an hour; that of others a second.
        with (
            mock.patch.object(volume_group, 'COPY_TIMEOUT', 3600.0),
            mock.patch.object(rest_liveness, 'INTERVAL', 0.2),
        ):
            self.fault('hang', seconds=30)
            self.powervm.control.add_fault(
                'hang', kind='ManagedSystem.feed', seconds=30
            )
            self.assertEqual({'bypass': 1}, self._deploy_one())

    def _deploy_one(self) -> collections.Counter[str]:
        self.names = ['vm0']
        return self.deploy_all()

    def test_a_slow_copy_by_a_living_server(self) -> None:
        # Thrice as long as any other request may take.
        with (
            mock.patch.object(volume_group, 'COPY_TIMEOUT', 3600.0),
            mock.patch.object(rest_liveness, 'INTERVAL', 0.2),
        ):
            self.powervm.control.change_settings(copy_rate=_RATE)
            seen = self.last_request()
            self.assertEqual({'hit': 1}, self._deploy_one())
            self.assertEqual(1, len(self.rows('VolumeGroup.update', seen)))
