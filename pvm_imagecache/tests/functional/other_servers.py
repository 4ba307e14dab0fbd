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

"""The same deploys on PowerVM servers without code of the simulator."""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any
import urllib.request

from oslo_utils import units

from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images

_START_TIMEOUT = 60.0


class OtherServerCase(base.FunctionalTestCase):
    """Host, port and credentials are all that is known of the server.

    :cvar server: name of its module.
    :cvar inside: first part of the paths where it shows what is inside.
    :cvar arguments: more ones of its command line.
    :cvar credentials: options of the configuration.
    :cvar hit: methods of the requests of a hit.
    """

    server = ''
    inside = ''
    arguments: tuple[str, ...] = ()
    credentials = ''
    hit: tuple[str, ...] = ()

    def start_powervm(self) -> None:
        ready = self.directory / 'ready'
        process = subprocess.Popen(
            [
                sys.executable,
                '-m',
                f'pvm_imagecache.tests.servers.{self.server}',
                '--state-dir',
                str(self.directory / 'other'),
                '--port',
                '0',
                '--ready-file',
                str(ready),
                *self.arguments,
                '--watch-stdin',
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.stdin.close)
        end = time.monotonic() + _START_TIMEOUT
        while not (ready.exists() and ready.read_text().strip()):
            if process.poll() is not None or time.monotonic() > end:
                self.fail('the other server did not start')
            time.sleep(0.02)
        self.url = ready.read_text().strip()
        host, port = self.url.removeprefix('http://').rsplit(':', 1)
        self.options = (
            f'host = {host}\nport = {port}\nprotocol = http\n'
            + self.credentials
        )
        self.conf_file = self.write_conf(
            self.options + 'volume_group_name = cachevg'
        )

    def ask(self, what: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f'{self.url}/{self.inside}/{what}') as answer:
            return json.load(answer)

    def disks(self) -> dict[str, pathlib.Path]:
        return {
            os.path.basename(each['name']): pathlib.Path(each['path'])
            for each in self.ask('disks')
        }


class Deploys(OtherServerCase):
    """Tests for each of these servers."""

    def test_deploys_work_without_the_simulator(self) -> None:
        manager = self.make_manager()
        manager.usage()
        stored = [
            self.store_raw(1),
            self.store_raw(units.Mi - 1, 1),
            self.store_raw(units.Mi + 1, 2),
            self.store(images.qcow2_bytes(units.Gi), 'qcow2'),
        ]
        for number, image_id in enumerate(stored):
            image = self.image(image_id)
            for name, outcome in (
                (f'a{number}', instance_disk.Outcome.MISS),
                (f'b{number}', instance_disk.Outcome.HIT),
                (f'c{number}', instance_disk.Outcome.HIT),
            ):
                seen = len(self.ask('log'))
                done = manager.create_disk(image, name)
                self.assertEqual(outcome, done.outcome)
                self.assert_holds(name, image_id, image.size)
                methods = [each.split()[0] for each in self.ask('log')[seen:]]
                if outcome is instance_disk.Outcome.HIT:
                    self.assertEqual([*self.hit], methods)
        self.assertEqual(0, self.ask('files'))
        self.assertEqual(4, len(manager.list()))
        self.assertTrue(
            all(each.removed for each in manager.purge(manager.list()))
        )
        self.assertEqual(12, len(self.disks()))
        for name in self.disks():
            self.assert_holds(name, stored[int(name[1])], 1)
            manager.delete_disk(name)
        self.assertEqual({}, self.disks())

    def test_numbers_that_are_used_again(self) -> None:
        manager = self.make_manager()
        first, second = self.store_raw(units.Mi, 1), self.store_raw(10, 2)
        manager.prefetch(self.image(first))
        manager.purge(manager.list())
        manager.prefetch(self.image(second))
        manager.create_disk(self.image(first), 'vm1')
        manager.create_disk(self.image(second), 'vm2')
        self.assert_holds('vm1', first, 1)
        self.assert_holds('vm2', second, 1)
