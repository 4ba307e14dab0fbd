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

import fixtures
from oslotest import base

from pvm_imagecache.simulator import __main__ as main_module
from pvm_imagecache.simulator import simulator


class ArgumentsTest(base.BaseTestCase):
    def parse(self, *argv):
        return main_module._parser().parse_args(['--state-dir', 'd', *argv])

    def test_storage_options_are_parsed(self):
        args = self.parse(
            '--volume-group',
            'a=1',
            '--volume-group',
            'v/b=0.5',
            '--cluster',
            'c=7',
            '--copy-rate',
            '1.5k',
        )
        self.assertEqual(
            [simulator.Group('a', 1.0), simulator.Group('b', 0.5, 'v')],
            args.volume_group,
        )
        self.assertEqual(('c', 7.0), args.cluster)
        self.assertEqual(1536, args.copy_rate)

    def test_invalid_options_are_refused(self):
        self.useFixture(fixtures.MockPatch('sys.stderr'))
        for argv in (
            ('--volume-group', 'a'),
            ('--volume-group', 'a=0'),
            ('--copy-rate', 'fast'),
            ('--copies', 'some'),
            ('--cluster', '=5'),
        ):
            self.assertRaises(SystemExit, self.parse, *argv)

    def test_only_loopback_addresses_are_bound(self):
        for address in ('0.0.0.0', '192.0.2.1', '::', 'example.com'):
            self.assertRaises(
                ValueError, simulator.Simulator, 'unused', bind=address
            )
            self.assertFalse(simulator._is_loopback(address))
        for address in ('127.0.0.1', '127.1.2.3', '::1', 'localhost'):
            self.assertTrue(simulator._is_loopback(address))

    def test_an_invalid_wording_is_an_error(self):
        stderr = self.useFixture(fixtures.MockPatch('sys.stderr')).mock
        state_dir = self.useFixture(fixtures.TempDir()).path
        self.assertEqual(
            1,
            main_module.main(
                ['--state-dir', state_dir, '--space-wording', 'mlkv']
            ),
        )
        words = ''.join(call.args[0] for call in stderr.write.mock_calls)
        self.assertIn("'mlkv' is neither of allocp, mklv", words)

    def test_a_port_in_use_is_an_error(self):
        state_dir = self.useFixture(fixtures.TempDir()).path
        with simulator.Simulator(state_dir) as sim:
            stderr = self.useFixture(fixtures.MockPatch('sys.stderr')).mock
            self.assertEqual(
                1,
                main_module.main(
                    [
                        '--state-dir',
                        self.useFixture(fixtures.TempDir()).path,
                        '--port',
                        str(sim.port),
                    ]
                ),
            )
        self.assertTrue(stderr.write.called)
