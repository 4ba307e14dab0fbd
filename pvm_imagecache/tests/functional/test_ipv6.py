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

"""PowerVM at an IPv6 address: ``::1`` and ``[::1]`` as the host."""

import socket
import unittest

from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import simulator
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests.functional import test_simulator

SIZE = 2 * units.Mi + 17
_OPTIONS = 'protocol = http\nvolume_group_name = cachevg\n'


def _has_ipv6() -> bool:
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@unittest.skipUnless(_has_ipv6(), 'needs the address ::1')
class IPv6TestCase(base.FunctionalTestCase):
    def start_powervm(self) -> None:
        self.powervm = simulator.Simulator(
            str(self.directory / 'powervm'), bind='::1'
        )
        self.powervm.__enter__()
        self.addCleanup(self.powervm.__exit__, None, None, None)
        self.port = self.powervm.port
        self.conf_file = self.conf_of('::1', self.port)

    def conf_of(self, host: str, port: int) -> object:
        return self.write_conf(f'host = {host}\nport = {port}\n{_OPTIONS}')

    def test_deploys_reach_an_ipv6_address(self) -> None:
        self.assertEqual(f'http://[::1]:{self.port}', self.powervm.url)
        image_id = self.store_raw(SIZE)
        for number, (host, outcome) in enumerate(
            (
                ('::1', instance_disk.Outcome.MISS),
                ('[::1]', instance_disk.Outcome.HIT),
                ('0:0:0:0:0:0:0:1', instance_disk.Outcome.HIT),
            )
        ):
            manager = self.make_manager(self.conf_of(host, self.port))
            done = manager.create_disk(self.image(image_id), f'vm{number}')
            self.assertEqual(outcome, done.outcome, host)
            self.assert_holds(f'vm{number}', image_id, SIZE)
        self.assertEqual(0, self.file_entries())

    def test_commands_reach_an_ipv6_address(self) -> None:
        for host in ('::1', '[::1]'):
            done = self.run_shell(
                'usage', '-c', 'pool', conf_file=self.conf_of(host, self.port)
            )
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn('cachevg', done.stdout)

    def test_messages_have_an_address_that_can_be_used(self) -> None:
        self.powervm.stop()
        for host in ('::1', '[::1]'):
            manager = self.make_manager(self.conf_of(host, self.port))
            error = self.assertRaises(
                exceptions.PowerVMUnreachable, manager.reconcile
            )
            self.assertIn(f'at http://[::1]:{self.port} does', str(error))

    def test_unmodified_pypowervm_uses_links_of_an_ipv6_address(self) -> None:
        session = test_simulator.pvm_adapter.Session(
            host='::1', port=self.port
        )
        self.addCleanup(session._logoff)
        adapter = test_simulator.pvm_adapter.Adapter(session)
        vios = adapter.read('VirtualIOServer').feed.entries[0]
        again = adapter.read_by_href(vios.links['SELF'][0])
        self.assertEqual(vios.uuid, again.entry.uuid)
        self.assertIn(f'//[::1]:{self.port}/', vios.links['SELF'][0])
