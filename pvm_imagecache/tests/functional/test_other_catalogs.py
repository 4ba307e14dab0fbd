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

"""Several catalogs, and several pools of one catalog.

Two hosts in one volume group, a wrong or lost state directory, a backup that
is restored, a host that is cloned: no disk of another catalog is touched, and
every instance disk has the bytes of its image.
"""

from collections.abc import Callable
from concurrent import futures
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any
import uuid

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import manager as manager_module
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import base as drivers
from pvm_imagecache.tests import functional_base as base

HIT = instance_disk.Outcome.HIT
MISS = instance_disk.Outcome.MISS
BYPASS = instance_disk.Outcome.BYPASS
PATIENCE = 60.0


def base_name(image_id: str) -> str:
    return 'i_' + image_id.replace('-', '_')[:13]


class OtherCatalogTestCase(base.FunctionalTestCase):
    """Hosts with a state directory each."""

    def conf_of(self, host: str, group: str = 'cachevg') -> pathlib.Path:
        return self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            f'protocol = http\nvolume_group_name = {group}\n'
            f'state_path = {self.directory / host}\nminimum_age = 0\n',
            f'{host}-{group}.conf',
        )

    def host(
        self, name: str, group: str = 'cachevg'
    ) -> manager_module.ImageManager:
        return self.make_manager(self.conf_of(name, group))

    def catalog_of(self, name: str) -> str:
        path = self.directory / name / 'catalog.id'
        return path.read_text().strip()[:8]

    def disks_with(self, catalog: str) -> dict[str, dict[str, Any]]:
        """The disks whose labels name a catalog, by name."""
        return {
            each['name']: each
            for each in self.powervm.control.disks()
            if each['label'].endswith(f'_{catalog}')
        }

    def labels(self) -> dict[str, str]:
        return {
            each['name']: each['label']
            for each in self.powervm.control.disks()
        }

    def shell_of(self, host: str, *arguments: str) -> tuple[int, str, str]:
        done = self.run_shell(*arguments, conf_file=self.conf_of(host))
        return done.returncode, done.stdout, done.stderr

    def json_of(self, host: str, *arguments: str) -> Any:
        return json.loads(self.shell_of(host, *arguments, '-f', 'json')[1])


class TwoHostsTestCase(OtherCatalogTestCase):
    """Two hosts cache images in one volume group."""

    def test_deploys_and_cleanup_runs_at_once(self) -> None:
        stored = [self.store_raw(2 * units.Mi, seed) for seed in range(3)]
        hosts = {name: self.host(name) for name in 'ab'}
        images = {each: self.image(each) for each in stored}
        self.glance.set_bandwidth(4_000_000)
        self.addCleanup(self.glance.set_bandwidth, 0)

        def deploy(host: str, round_: int, number: int) -> str:
            name = f'{host}{round_}{number}'
            hosts[host].create_disk(images[stored[number]], name)
            return name

        def clean_up(host: str) -> None:
            for _ in range(5):
                hosts[host].run_cleanup(stored)
                hosts[host].reconcile()

        with futures.ThreadPoolExecutor(16) as pool:
            runs = [pool.submit(clean_up, host) for host in hosts]
            made = [
                pool.submit(deploy, host, round_, number)
                for round_ in range(3)
                for number in range(3)
                for host in hosts
            ]
            names = [each.result() for each in made]
            for each in runs:
                each.result()
        for name in names:
            self.assert_holds(name, stored[int(name[2])], 1)
        cached = [
            {each.image.id for each in manager.list()}
            for manager in hosts.values()
        ]
        self.assertEqual(set(stored), cached[0] | cached[1])
        self.assertEqual(set(), cached[0] & cached[1])
        for image_id in stored:
            self.assert_holds(base_name(image_id), image_id, 1)
        self.assertEqual(0, self.file_entries())

    def test_nothing_in_one_touches_a_disk_of_the_other(self) -> None:
        stored = [self.store_raw(2 * units.Mi, seed) for seed in range(4)]
        one, other = self.host('a'), self.host('b')
        for image_id in stored[:2]:
            one.create_disk(self.image(image_id), f'a{image_id[:4]}')
        for image_id in stored[2:]:
            other.create_disk(self.image(image_id), f'b{image_id[:4]}')
        catalog = self.catalog_of('b')
        theirs = self.disks_with(catalog)
        self.assertEqual(4, len(theirs))
        # The images of the other one, by each way to a disk.
        for image_id in stored[2:]:
            done = one.create_disk(self.image(image_id), f'c{image_id[:4]}')
            self.assertEqual(BYPASS, done.outcome)
            for text in (base_name(image_id), catalog, 'state_path'):
                self.assertIn(text, done.reason)
            self.assert_holds(f'c{image_id[:4]}', image_id, 1)
            self.assertRaises(
                exceptions.BaseImageOfOtherCatalog,
                one.prefetch,
                self.image(image_id),
            )
            self.assertRaises(
                exceptions.DiskOfOtherCatalog,
                one.adopt,
                self.image(image_id),
            )
        one.run_cleanup([])
        one.evict()
        for arguments in (
            ('purge', '--all', '--yes'),
            ('verify', '--no-glance'),
            ('evict', '--yes'),
            *(
                ('disk', 'delete', name, *force, '--yes')
                for name in theirs
                for force in ((), ('--force',))
            ),
        ):
            self.shell_of('a', *arguments)
        self.assertEqual([], one.list())
        self.assertEqual(theirs, self.disks_with(catalog))
        for image_id in stored[2:]:
            for name in (base_name(image_id), f'b{image_id[:4]}'):
                self.assert_holds(name, image_id, 1)
            done = other.create_disk(self.image(image_id), f'd{image_id[:4]}')
            self.assertEqual(HIT, done.outcome)

    def test_an_upload_of_the_other_is_not_broken_off(self) -> None:
        image_id = self.store_raw(8 * units.Mi)
        one, other = self.host('a'), self.host('b')
        one.reconcile()
        self.glance.set_bandwidth(2_000_000)
        self.addCleanup(self.glance.set_bandwidth, 0)
        image = self.image(image_id)
        with futures.ThreadPoolExecutor(1) as pool:
            made = pool.submit(other.create_disk, image, 'vm1')
            self.wait_until(self.file_entries)
            while not made.done():
                # It looks for stale File entries each time.
                self.assertEqual((), one.reconcile().removed)
                one.run_cleanup([])
            self.assertEqual(MISS, made.result().outcome)
        self.assert_holds('vm1', image_id, 1)
        self.assert_holds(base_name(image_id), image_id, 1)
        self.assertEqual(0, self.file_entries())

    def wait_until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def test_what_a_killed_process_left_is_for_its_own_catalog(self) -> None:
        image_id = self.store_raw(8 * units.Mi)
        one, other = self.host('a'), self.host('b')
        one.usage()
        self.glance.set_bandwidth(1_000_000)
        self.addCleanup(self.glance.set_bandwidth, 0)
        process = subprocess.Popen(
            self.shell_command(
                'disk',
                'create',
                image_id,
                'vm1',
                conf_file=self.conf_of('b'),
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.wait_until(lambda: self.file_entries() == 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.glance.set_bandwidth(0)
        catalog = self.catalog_of('b')
        theirs = self.disks_with(catalog)
        self.assertEqual({base_name(image_id), 'vm1'}, set(theirs))
        one.reconcile()
        one.run_cleanup([])
        self.assertRaises(
            exceptions.DiskExists,
            one.create_disk,
            self.image(image_id),
            'vm1',
        )
        done = one.create_disk(self.image(image_id), 'vm2')
        self.assertEqual(BYPASS, done.outcome)
        self.assertEqual(theirs, self.disks_with(catalog))
        self.assertEqual(2, self.file_entries())
        self.assertEqual(
            {base_name(image_id), 'vm1'}, set(other.reconcile().removed)
        )
        self.assertEqual({'vm2'}, set(self.disks()))
        self.assertEqual(0, self.file_entries())
        self.assert_holds('vm2', image_id, 1)

    def test_commands_show_that_there_is_another_catalog(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.host('b').create_disk(self.image(image_id), 'vm1')
        catalog, name = self.catalog_of('b'), base_name(image_id)
        usage = self.json_of('a', 'usage')
        self.assertEqual(
            [{'catalog': catalog, 'base_images': 1, 'other_disks': 1}],
            usage['other_catalogs'],
        )
        code, output, _ = self.shell_of('a', 'verify', '--no-glance')
        self.assertEqual(1, code)
        self.assertIn(f'of another catalog ({catalog})', output)
        code, _, error = self.shell_of('a', 'list')
        self.assertEqual(0, code)
        self.assertIn(f'another catalog ({catalog})', error)
        code, _, error = self.shell_of('a', 'disk', 'delete', name, '--yes')
        self.assertEqual(1, code)
        for text in (name, catalog, '--take-over', 'Nothing was changed'):
            self.assertIn(text, error)
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pvm_imagecache.cmd.status',
                '--config-file',
                str(self.conf_of('a')),
                'upgrade',
                'check',
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn('Check: Other catalogs', done.stdout)
        self.assertIn(catalog, done.stdout)
        self.assertEqual([], self.json_of('b', 'usage')['other_catalogs'])

    def test_the_other_one_can_be_taken_over(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.host('b').create_disk(self.image(image_id), 'vm1')
        catalog, name = self.catalog_of('b'), base_name(image_id)
        one = self.host('a')
        code, _, error = self.shell_of(
            'a', 'disk', 'delete', 'vm1', '--take-over', '--yes'
        )
        self.assertEqual(0, code, error)
        self.assertNotIn('vm1', self.disks())
        self.assertEqual(
            0,
            self.shell_of('a', 'adopt', image_id, '--take-over', '--yes')[0],
        )
        done = one.create_disk(self.image(image_id), 'vm2')
        self.assertEqual(HIT, done.outcome)
        self.assert_holds('vm2', image_id, 1)
        self.assertEqual([], self.json_of('a', 'usage')['other_catalogs'])
        self.assertEqual((), one.reconcile().of_others)
        # It is this catalog's now, and is evicted as any other.
        self.assertTrue(one.purge(one.list())[0].removed)
        self.assertNotIn(name, self.disks())
        self.assertEqual({}, self.disks_with(catalog))


class StateDirectoryTestCase(OtherCatalogTestCase):
    """A state directory is lost, copied, restored, or of an older release."""

    def test_a_lost_state_directory_is_taken_over(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.host('a').create_disk(self.image(image_id), 'vm1')
        catalog, name = self.catalog_of('a'), base_name(image_id)
        shutil.rmtree(self.directory / 'a')
        before = self.disks()[name]
        host = self.host('a')
        done = host.create_disk(self.image(image_id), 'vm2')
        self.assertEqual(BYPASS, done.outcome)
        self.assertIn(f'verify --take-over {catalog}', done.reason)
        self.assertEqual(before, self.disks()[name])
        code, output, error = self.shell_of(
            'a', 'verify', '--take-over', catalog, '--yes'
        )
        self.assertEqual(1, code, error)
        self.assertIn('untracked', output)
        self.assertEqual([], self.json_of('a', 'usage')['other_catalogs'])
        for disk, outcome in (('vm3', MISS), ('vm4', HIT)):
            done = host.create_disk(self.image(image_id), disk)
            self.assertEqual(outcome, done.outcome)
            self.assert_holds(disk, image_id, 1)
        self.assertNotEqual(before, self.disks()[name])
        host.delete_disk('vm1')

    def test_a_lost_cache_can_be_served_again(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.host('a').create_disk(self.image(image_id), 'vm1')
        shutil.rmtree(self.directory / 'a')
        self.assertEqual(
            0,
            self.shell_of('a', 'adopt', image_id, '--take-over', '--yes')[0],
        )
        done = self.host('a').create_disk(self.image(image_id), 'vm2')
        self.assertEqual(HIT, done.outcome)
        self.assert_holds('vm2', image_id, 1)

    def test_a_lost_catalog_file_is_no_other_catalog(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.host('a').create_disk(self.image(image_id), 'vm1')
        for path in (self.directory / 'a').glob('catalog.sqlite*'):
            path.unlink()
        host = self.host('a')
        self.assertEqual((base_name(image_id),), host.reconcile().untracked)
        done = host.create_disk(self.image(image_id), 'vm2')
        self.assertEqual(MISS, done.outcome)
        self.assert_holds('vm2', image_id, 1)

    def test_a_disk_of_an_earlier_release_is_replaced_as_before(self) -> None:
        image_id = self.store_raw(2 * units.Mi)
        name = base_name(image_id)
        host = self.host('a')
        (disk,) = host.driver.create_disks(
            [
                drivers.NewDisk(
                    name,
                    units.Gi,
                    'raw',
                    f'imagecache_{uuid.uuid4().hex[:16]}',
                )
            ]
        )
        half = self.glance.data_path(image_id).read_bytes()[: units.Mi]
        host.driver.upload(disk, iter([half]), len(half))
        self.assertEqual((name,), host.reconcile().untracked)
        for vm, outcome in (('vm1', MISS), ('vm2', HIT)):
            done = host.create_disk(self.image(image_id), vm)
            self.assertEqual(outcome, done.outcome)
            self.assert_holds(vm, image_id, 1)
        self.assertRegex(
            self.labels()[name],
            f'^imagecache_[0-9a-f]{{10}}_{self.catalog_of("a")}$',
        )

    def test_a_backup_of_the_state_directory_is_restored(self) -> None:
        stored = [self.store_raw(units.Mi, seed) for seed in range(3)]
        first = self.host('a')
        for number in range(2):
            first.prefetch(self.image(stored[number]))
        first.close()
        shutil.copytree(self.directory / 'a', self.directory / 'backup')
        again = self.host('a')
        again.purge([again.find(stored[0])])
        again.prefetch(self.image(stored[0]))
        again.purge([again.find(stored[1])])
        again.prefetch(self.image(stored[2]))
        again.close()
        shutil.rmtree(self.directory / 'a')
        shutil.copytree(self.directory / 'backup', self.directory / 'a')
        host = self.host('a')
        found = host.reconcile()
        self.assertEqual(
            {base_name(each) for each in stored[:2]}, set(found.forgotten)
        )
        self.assertEqual((), found.of_others)
        for number, image_id in enumerate(stored):
            for disk, outcome in ((f'm{number}', MISS), (f'h{number}', HIT)):
                done = host.create_disk(self.image(image_id), disk)
                self.assertEqual(outcome, done.outcome)
                self.assert_holds(disk, image_id, 1)

    def test_a_cloned_host_deploys_the_right_bytes(self) -> None:
        stored = [self.store_raw(units.Mi, seed) for seed in range(2)]
        first = self.host('a')
        first.prefetch(self.image(stored[0]))
        first.close()
        shutil.copytree(self.directory / 'a', self.directory / 'b')
        self.assertEqual(self.catalog_of('a'), self.catalog_of('b'))
        hosts = {name: self.host(name) for name in 'ab'}
        for round_ in range(2):
            for number, image_id in enumerate(stored):
                for name, manager in hosts.items():
                    disk = f'{name}{round_}{number}'
                    manager.create_disk(self.image(image_id), disk)
                    manager.run_cleanup([])
                    self.assert_holds(disk, image_id, 1)
        self.assertEqual(0, self.file_entries())

    def test_pools_of_one_catalog_are_of_no_other(self) -> None:
        image_id = self.store_raw(units.Mi)
        hosts = [self.host('a', group) for group in ('cachevg', 'rootvg')]
        for number, manager in enumerate(hosts):
            # Names are unique on a Virtual I/O Server: one of them bypasses.
            manager.create_disk(self.image(image_id), f'vm{number}')
            self.assertEqual((), manager.reconcile().of_others)
            self.assertEqual((), tuple(manager.usage().other_catalogs))
            self.assert_holds(f'vm{number}', image_id, 1)


class LabelsDroppedTestCase(OtherCatalogTestCase):
    """A platform without labels: as in earlier releases."""

    def test_deploys_of_two_hosts_have_the_right_bytes(self) -> None:
        self.powervm.control.change_settings(labels='dropped')
        stored = [self.store_raw(units.Mi, seed) for seed in range(2)]
        hosts = {name: self.host(name) for name in 'ab'}
        for round_ in range(3):
            for number, image_id in enumerate(stored):
                for name, manager in hosts.items():
                    disk = f'{name}{round_}{number}'
                    manager.create_disk(self.image(image_id), disk)
                    self.assertEqual((), manager.reconcile().of_others)
                    self.assert_holds(disk, image_id, 1)
        self.assertEqual({'None'}, set(self.labels().values()))

    def test_one_host_is_served_and_cleans_up(self) -> None:
        self.powervm.control.change_settings(labels='dropped')
        image_id = self.store_raw(units.Mi)
        host = self.host('a')
        for disk, outcome in (('vm1', MISS), ('vm2', HIT)):
            done = host.create_disk(self.image(image_id), disk)
            self.assertEqual(outcome, done.outcome)
            self.assert_holds(disk, image_id, 1)
        self.assertTrue(host.purge(host.list())[0].removed)
        self.assertEqual({'vm1', 'vm2'}, set(self.disks()))
