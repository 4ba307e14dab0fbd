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

"""The command as a user runs it: bad input, formats, questions."""

import json
import os
import pathlib
import socket

from oslo_utils import units

from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images


class BadInputTestCase(base.FunctionalTestCase):
    """One clear line, and an exit code that is not zero."""

    def refused(
        self,
        *arguments: str,
        says: str,
        conf_file: pathlib.Path | None = None,
        code: int = 1,
    ) -> None:
        done = self.run_shell(*arguments, conf_file=conf_file)
        self.assertEqual(code, done.returncode, done.stderr)
        self.assertEqual('', done.stdout)
        self.assertIn(says, done.stderr)
        self.assertNotIn('Traceback', done.stderr)
        self.assertNotIn(self.glance.token(), done.stderr)
        if code == 1:
            self.assertEqual(
                1, len(done.stderr.strip().splitlines()), done.stderr
            )

    def conf(self, options: str, **kwargs: str) -> pathlib.Path:
        return self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\n' + options,
            'bad.conf',
            **kwargs,
        )

    def test_unknown_volume_group_is_refused(self) -> None:
        self.refused(
            'usage',
            conf_file=self.conf('volume_group_name = datavg'),
            says='There is no volume group "datavg". There are: cachevg on '
            'vios1, rootvg on vios1.',
        )

    def test_ambiguous_volume_group(self) -> None:
        self.powervm.control.add_vios('vios2')
        self.powervm.control.add_volume_group('vios2', 'cachevg', units.Gi)
        self.refused('usage', says='Set vios_name in [pvm_imagecache]')
        done = self.run_shell(
            'usage',
            conf_file=self.conf(
                'volume_group_name = cachevg\nvios_name = vios2'
            ),
        )
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('1 GiB', done.stdout)

    def test_unknown_vios_is_refused(self) -> None:
        self.refused(
            'usage',
            conf_file=self.conf(
                'volume_group_name = cachevg\nvios_name = nobody'
            ),
            says='There is no Virtual I/O Server "nobody". There are: vios1',
        )

    def test_no_volume_group(self) -> None:
        self.refused(
            'usage',
            conf_file=self.conf(''),
            says='volume_group_name in [pvm_imagecache] is not set',
        )

    def test_powervm_that_does_not_listen_is_one_line(self) -> None:
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            port = unused.getsockname()[1]
            conf_file = self.write_conf(
                f'host = 127.0.0.1\nport = {port}\nprotocol = http\n'
                'volume_group_name = cachevg'
            )
            self.refused(
                'usage',
                conf_file=conf_file,
                says=f'http://127.0.0.1:{port} does not answer: '
                'connection refused',
            )

    def test_wrong_password_is_refused(self) -> None:
        self.refused(
            'usage',
            conf_file=self.conf(
                'volume_group_name = cachevg\nuser = pvmadmin\n'
                'password = wr0ngwr0ng'
            ),
            says='authentication failed for pvmadmin',
        )

    def test_wrong_protocol_is_refused(self) -> None:
        self.refused(
            'usage',
            conf_file=self.conf('volume_group_name = cachevg\nprotocol = ftp'),
            says='protocol',
        )

    def test_unknown_image_is_refused(self) -> None:
        for text in (
            'no-such-image',
            'cafe',
            'cafe0000-1111-4222-8333-444455556666',
        ):
            self.refused(
                'disk',
                'create',
                text,
                'vm1',
                says=f'No image "{text}" in Glance, or not visible',
            )

    def test_ambiguous_start_of_an_id(self) -> None:
        start = f'{os.getpid() % 0xFFFF:04x}5555'
        for last in '12':
            self.store_raw(1, id=f'{start}-0000-4000-8000-00000000000{last}')
        self.refused(
            'disk',
            'create',
            start,
            'vm1',
            says=f'"{start}" matches several images; give the full',
        )

    def test_unique_start_of_an_id(self) -> None:
        start = f'{os.getpid() % 0xFFFF:04x}6666'
        image_id = self.store_raw(1, id=f'{start}-0000-4000-8000-000000000001')
        done = self.run_shell('disk', 'create', start, 'vm1')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assert_holds('vm1', image_id, 1)

    def test_a_disk_smaller_than_its_image_is_refused(self) -> None:
        image_id = self.store(images.qcow2_bytes(3 * units.Gi), 'qcow2')
        self.refused(
            'disk',
            'create',
            image_id,
            'vm1',
            '--size',
            '2',
            says='A disk of 2 GiB (2147483648 bytes) is too small',
        )

    def test_a_size_that_is_no_size_is_refused(self) -> None:
        image_id = self.store_raw(1)
        for size in ('0', '-1', 'big', 'nan', 'inf'):
            self.refused(
                'disk',
                'create',
                image_id,
                'vm1',
                f'--size={size}',
                says='not a size in GiB',
                code=2,
            )

    def test_invalid_disk_names_are_refused(self) -> None:
        image_id = self.store_raw(1)
        for name, says in (
            ('sixteen_letters_', 'it has 16 characters'),
            ('a/b', 'only letters, digits'),
            ('', 'it is empty'),
            ('i_12345678_1234', 'reserved for cached images'),
        ):
            self.refused('disk', 'create', image_id, name, says=says)

    def test_unknown_driver_is_refused(self) -> None:
        self.refused(
            'usage',
            conf_file=self.conf('disk_driver = floppy'),
            says='There is no plugin "floppy" in '
            'pvm_imagecache.drivers. Installed are: localdisk',
        )

    def test_unknown_policy_is_refused(self) -> None:
        self.refused(
            'usage',
            conf_file=self.conf(
                'volume_group_name = cachevg\neviction_policies = none, magic'
            ),
            says='There is no plugin "magic" in pvm_imagecache.eviction',
        )

    def test_configuration_that_is_not_there(self) -> None:
        self.refused(
            'usage',
            conf_file=self.directory / 'missing.conf',
            says='missing.conf cannot be read: No such file',
        )

    def test_configuration_that_is_no_configuration(self) -> None:
        path = self.directory / 'nonsense.conf'
        path.write_bytes(b'\xff\xfe\x00nonsense')
        self.refused('usage', conf_file=path, says='nonsense.conf')
        path.write_text('volume_group_name cachevg\n')
        self.refused('usage', conf_file=path, says='nonsense.conf')

    def test_configuration_with_a_wrong_value(self) -> None:
        self.refused('usage', conf_file=self.conf('port = many'), says='port')

    def test_no_credentials_for_glance(self) -> None:
        path = self.conf('volume_group_name = cachevg')
        path.write_text(path.read_text().split('[glance]')[0])
        self.refused(
            'prefetch',
            'x',
            conf_file=path,
            says='auth_type in [glance] is not set',
        )

    def test_reader_may_not_fetch(self) -> None:
        image_id = self.store_raw(1)
        self.refused(
            'disk',
            'create',
            image_id,
            'vm1',
            conf_file=self.conf(
                'volume_group_name = cachevg',
                token=self.glance.token(roles=('reader',)),
            ),
            says='may not be downloaded',
        )
        self.assertEqual({}, self.disks())

    def test_unsupported_formats_are_refused(self) -> None:
        image_id = self.store(images.vmdk_bytes(units.Gi), 'vmdk')
        self.refused(
            'disk',
            'create',
            image_id,
            'vm1',
            says='has the disk format "vmdk"',
        )

    def test_purge_requires_a_selection(self) -> None:
        self.refused('purge', says='Nothing to purge given', code=2)
        for other in ('x', '--unused', '--deleted', '--older-than=1d'):
            self.refused(
                'purge', '--all', other, says='cannot be combined', code=2
            )
        self.refused('purge', 'x', says='Image "x" is not cached.')

    def test_disk_that_is_not_there(self) -> None:
        self.refused(
            'disk', 'delete', 'vm1', says='There is no disk "vm1" in cachevg'
        )

    def test_unknown_command_and_option(self) -> None:
        done = self.run_shell('liste')
        self.assertEqual(2, done.returncode)
        self.assertEqual(2, self.run_shell('list', '--nope').returncode)
        self.assertEqual(2, self.run_shell().returncode)


class OutputTestCase(base.FunctionalTestCase):
    """Machine-readable output of the commands."""

    def test_a_session_of_commands_counts_what_it_does(self) -> None:
        image_id = self.store_raw(units.Mi)
        fetched = self.json('prefetch', image_id)
        self.assertEqual(
            [(image_id, 'fetched', units.Mi)],
            [(row['ID'], row['Result'], row['Fetched']) for row in fetched],
        )
        self.assertEqual(
            'already cached', self.json('prefetch', image_id)[0]['Result']
        )
        created = self.json('disk', 'create', image_id, 'vm1', '--size', '2')
        self.assertEqual(
            ('vm1', 2 * units.Gi, 'hit', 0),
            (
                created['name'],
                created['size'],
                created['outcome'],
                created['bytes_from_glance'],
            ),
        )
        shown = self.json('show', image_id[:6])
        self.assertEqual(
            (image_id, 'ready', units.Mi, units.Gi, 1),
            (
                shown['id'],
                shown['state'],
                shown['size'],
                shown['disk_size'],
                shown['hits'],
            ),
        )
        self.assertRegex(shown['ready_at'], r'^\d{4}-\d\d-\d\dT.*\+00:00$')
        usage = self.json('usage')
        self.assertEqual(
            (1000 * units.Gi, 3 * units.Gi, 1, units.Gi, 1, units.Mi),
            (
                usage['pool_size'],
                usage['pool_used'],
                usage['cached_images'],
                usage['cache_size'],
                usage['hits'],
                usage['bytes_saved'],
            ),
        )

    def test_cached_image_is_no_instance_disk(self) -> None:
        image_id = self.store_raw(units.Mi)
        name = self.json('prefetch', image_id)[0]['Disk']
        done = self.run_shell('disk', 'delete', name, '--yes')
        self.assertEqual(1, done.returncode)
        self.assertIn(f'is the cached image {image_id}', done.stderr)

    def test_purge_requires_confirmation(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.json('prefetch', image_id)
        self.assertEqual(
            'would be purged',
            self.json('purge', '--all', '--dry-run')[0]['Result'],
        )
        done = self.run_shell('purge', '--all')
        self.assertEqual(1, done.returncode)
        self.assertIn('Not a terminal: use --yes to confirm.', done.stderr)
        self.assertEqual(1, len(self.json('list')))
        self.assertEqual(
            'purged', self.json('purge', '--all', '--yes')[0]['Result']
        )
        self.assertEqual([], self.json('list'))

    def test_plugin_list_shows_which_are_enabled(self) -> None:
        rows = {
            (row['Namespace'], row['Name']): row
            for row in self.json('plugin', 'list')
        }
        driver = rows['pvm_imagecache.drivers', 'localdisk']
        self.assertTrue(driver['Enabled'])
        self.assertEqual('', driver['Error'])
        self.assertFalse(rows['pvm_imagecache.drivers', 'ssp']['Enabled'])

    def json(self, *arguments: str) -> object:
        done = self.run_shell(*arguments, '-f', 'json')
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)


class NothingThereTestCase(base.FunctionalTestCase):
    """Unreachable services are reported in one line each time."""

    def refused(self, glance: str, says: str) -> None:
        path = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'volume_group_name = cachevg',
            'nothing.conf',
        )
        path.write_text(path.read_text().replace(self.glance.url, glance))
        done = self.run_shell('prefetch', 'image', conf_file=path)
        self.assertEqual(1, done.returncode)
        *retries, last = done.stderr.strip().splitlines()
        self.assertIn(says, last)
        for line in retries:
            self.assertRegex(line, '^(Retrying in .* s: |Waiting for Glance)')

    def test_unreachable_glance_is_one_line(self) -> None:
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            port = unused.getsockname()[1]
            self.refused(f'http://127.0.0.1:{port}', 'connection refused')

    def test_invalid_glance_url_is_one_line(self) -> None:
        self.refused('nonsense', 'Glance does not answer')

    def test_a_column_that_there_is_not(self) -> None:
        done = self.run_shell('list', '-c', 'nope')
        self.assertEqual(2, done.returncode)
        self.assertIn(
            'There is no column "nope". Columns are: ID, ', done.stderr
        )
