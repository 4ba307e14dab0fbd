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

"""What the commands print: for programs, for people, and for nobody."""

import csv
import datetime
import fcntl
import io
import json
import os
import pathlib
import pty
import re
import sqlite3
import stat
import struct
import subprocess
import sys
import termios
from typing import Any

import jsonschema
from oslo_utils import units
from prometheus_client import parser
import yaml

from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import schemas

# What is in no process that only lists: told by sys.modules at its end.
_HEAVY = (
    'nova',
    'openstack',
    'pypowervm',
    'glanceclient',
    'keystoneauth1',
    'eventlet',
    'requests',
    'oslo_log.log',
    'oslo_policy',
    'taskflow',
    'prometheus_client',
    'lxml',
)
_TELL = """
import json, sys
from pvm_imagecache.cmd import main
try:
    status = main.main(sys.argv[1:])
except SystemExit as ended:
    status = ended.code or 0
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
sys.exit(status)
"""


class OutputTestCase(base.FunctionalTestCase):
    """Runs commands, and holds what they print against their schemas."""

    def json(
        self, command: str, *arguments: str, code: int = 0, schema: str = ''
    ) -> Any:
        done = self.run_shell(*command.split(), *arguments, '-f', 'json')
        self.assertEqual(code, done.returncode, done.stderr)
        found = json.loads(done.stdout)
        jsonschema.validate(found, schemas.SCHEMAS[schema or command])
        return found

    def text(self, *arguments: str) -> str:
        done = self.run_shell(*arguments)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout


class JSONTestCase(OutputTestCase):
    def test_every_command_keeps_to_its_schema(self) -> None:
        first, second = (self.store_raw(units.Mi, seed) for seed in (1, 2))
        self.json('list')
        self.json('usage')
        self.json('history')
        self.json('verify')
        self.json('prefetch', first, second)
        self.json('prefetch', first)
        self.json('disk create', first, 'vm1')
        self.json('list')
        self.json('list', '--long', schema='list --long')
        self.json('show', first)
        self.json('pin', first, '--note', 'why', '--for', '1d')
        shown = self.json('show', first)
        self.assertEqual('why', shown['pin_note'])
        left = datetime.datetime.fromisoformat(
            shown['pinned_until']
        ) - datetime.datetime.now(datetime.UTC)
        self.assertLess(datetime.timedelta(hours=23), left)
        self.assertLessEqual(left, datetime.timedelta(days=1))
        self.json('explain', first)
        self.json('purge', '--all', '--dry-run')
        self.json('purge', '--all', '--yes', code=1)
        self.assertEqual('pinned', self.json('explain', first)['code'])
        name = shown['name']
        self.assertEqual('unpinned', self.json('unpin', name)[0]['Result'])
        self.assertEqual('not pinned', self.json('unpin', first)[0]['Result'])
        for action in ('pin', 'unpin'):
            (row,) = self.json('history', '--action', action)
            self.assertEqual((first, name), (row['Image'], row['Name']))
        self.assertIsNone(self.json('usage')['last_run'])
        self.make_manager().run_cleanup([first])
        self.assertEqual([], self.json('history', '--action', 'cleanup'))
        usage = self.json('usage')
        self.assertIsNotNone(usage['last_run'])
        self.assertIsNone(usage['last_run_error'])
        self.assertEqual('in-use', self.json('explain', first)['code'])
        self.json('show', first)
        self.json('purge', '--all', '--yes', code=1)
        self.json('purge', first, '--yes', '--reason', 'CVE')
        self.json('adopt', '--dry-run', self._left_over())
        self.json('verify', code=1)
        self.json('adopt', '--yes', self._left_over())
        self.json('verify')
        self.json('history', '--limit', '0')
        self.json('plugin list')
        usage = self.json('usage')
        self.assertEqual(
            (2, 2, 1), (usage['prefetches'], usage['purges'], usage['hits'])
        )
        self.assertEqual(units.Mi, usage['bytes_saved'])

    def test_evict_removes_what_a_policy_selects(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.conf_file.write_text(
            self.conf_file.read_text().replace(
                '[glance]',
                'minimum_age = 0\neviction_policies = lru\n'
                '[pvm_imagecache_lru]\nmax_images = 1\n[glance]',
            )
        )
        self.json('prefetch', image_id, self.store_raw(units.Mi, 2))
        explained = self.json('explain', image_id)
        self.assertEqual(
            ('lru', 'too-many'), (explained['policy'], explained['code'])
        )
        (row,) = self.json('evict', '--dry-run')
        self.assertEqual(
            ('would be evicted', 'lru', 'too-many'),
            (row['Result'], row['Policy'], row['Code']),
        )
        self.assertNotIn('Code', self.text('evict', '--dry-run'))
        self.assertIn(
            'too-many', self.text('evict', '--dry-run', '-c', 'code')
        )
        (row,) = self.json('evict')
        self.assertEqual(('evicted', 'too-many'), (row['Result'], row['Code']))
        self.assertEqual([], self.json('evict'))
        event = self.json('history', '--action', 'evict')[0]
        self.assertEqual(
            (image_id, True, 'too-many'),
            (
                event['Image'],
                event['Reason'].startswith('lru: '),
                event['Code'],
            ),
        )

    def _left_over(self) -> str:
        if not hasattr(self, '_image_id'):
            self._image_id = self.store_raw(units.Mi, 9)
            name = 'i_{}_{}'.format(*self._image_id.split('-')[:2])
            self.powervm.control.plant_disk('cachevg', name, units.Gi)
        return self._image_id

    def test_a_failed_prefetch_does_not_stop_the_others(self) -> None:
        good, bad, last = (
            self.store_raw(units.Mi, seed) for seed in (1, 2, 3)
        )
        data = bytearray(self.glance.data_path(bad).read_bytes())
        data[7] ^= 1
        self.glance.data_path(bad).write_bytes(data)
        rows = self.json('prefetch', good, bad, last, code=1)
        self.assertEqual(
            ['fetched', True, 'fetched'],
            [
                row['Result']
                if row['Result'] == 'fetched'
                else row['Result'].startswith('failed: The data of image')
                for row in rows
            ],
        )
        self.assertEqual(
            {good, last}, {row['ID'] for row in self.json('list')}
        )

    def test_a_disk_being_created_is_not_waited_for(self) -> None:
        image_id = self.store_raw(8 * units.Mi)
        self.glance.set_bandwidth(units.Mi)
        self.addCleanup(self.glance.set_bandwidth, 0)
        first = subprocess.Popen(
            self.shell_command('disk', 'create', image_id, 'vm1'),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while 'vm1' not in self.disks():
            self.assertIsNone(first.poll())
        done = self.run_shell('disk', 'create', image_id, 'vm1')
        self.assertIsNone(first.poll(), 'it was waited for')
        self.assertEqual(1, done.returncode)
        self.assertIn('"vm1" is being created in cachevg', done.stderr)
        self.glance.set_bandwidth(0)
        self.assertEqual(0, first.wait())
        self.assert_holds('vm1', image_id, units.Gi)

    def test_verify_reports_the_state_in_glance(self) -> None:
        kept, deleted, off, changed = (
            self.store_raw(units.Mi, seed) for seed in range(4)
        )
        self.json('prefetch', kept, deleted, off, changed)
        client = self.glance.client().images
        client.delete(deleted)
        client.deactivate(off)
        self.glance.replace_data(changed, b'other bytes')
        rows = {row['ID']: row for row in self.json('verify', code=1)}
        self.assertEqual(
            {
                kept: 'active, same hash',
                deleted: 'not found',
                off: 'deactivated',
                changed: 'different data',
            },
            {image_id: row['Glance'] for image_id, row in rows.items()},
        )
        self.assertEqual({'ok'}, {row['Result'] for row in rows.values()})
        self.assertEqual(
            [kept], [row['ID'] for row in self.json('verify', kept)]
        )
        self.assertEqual(
            {None},
            {row['Glance'] for row in self.json('verify', '--no-glance')},
        )
        self.assertEqual(
            [deleted],
            [row['ID'] for row in self.json('purge', '--deleted', '--yes')],
        )
        self.assertEqual([], self.json('purge', '--deleted', '--yes'))

    def test_purge_combines_unused_and_older_than(self) -> None:
        used, unused = (self.store_raw(units.Mi, seed) for seed in (1, 2))
        self.json('prefetch', used, unused)
        self.json('disk create', used, 'vm1')
        self.assertEqual([], self.json('purge', '--older-than', '1h', '--yes'))
        self.assertEqual(
            [],
            self.json('purge', '--unused', '--older-than', '1h', '--dry-run'),
        )
        self.assertEqual(
            [unused],
            [row['ID'] for row in self.json('purge', '--unused', '--yes')],
        )
        self.assertEqual([used], [row['ID'] for row in self.json('list')])

    def test_reading_creates_no_state(self) -> None:
        for command in ('list', 'usage', 'history', 'plugin list'):
            self.json(command)
        self.run_shell('show', 'x')
        self.assertFalse((self.directory / 'state').exists())


class FormatTestCase(OutputTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ids = [
            self.store_raw(size * units.Mi, size) for size in (2, 1, 3)
        ]
        self.make_manager()
        for image_id in self.ids:
            self.run_shell('prefetch', '-q', image_id)

    def test_all_formats_show_the_same_values(self) -> None:
        rows = self.json('list', '--long', schema='list --long')
        self.assertEqual(
            rows, yaml.safe_load(self.text('list', '--long', '-f', 'yaml'))
        )
        table = list(
            csv.DictReader(io.StringIO(self.text('list', '-f', 'csv')))
        )
        self.assertEqual(
            [(row['ID'], str(row['Size'])) for row in rows],
            [(row['ID'], row['Size']) for row in table],
        )
        self.assertEqual(
            ''.join(f'{row["ID"]} {row["Last Accessed"]}\n' for row in rows),
            self.text(
                'list', '-f', 'value', '-c', 'ID', '-c', 'Last Accessed'
            ),
        )

    def test_columns_are_sorted_and_selected(self) -> None:
        sizes = [
            int(each)
            for each in self.text(
                'list',
                '-f',
                'value',
                '-c',
                'size',
                '--sort-column',
                'Size',
                '--sort-descending',
            ).split()
        ]
        self.assertEqual([3 * units.Mi, 2 * units.Mi, units.Mi], sizes)
        self.assertEqual(
            'i_', self.text('list', '-f', 'value', '-c', 'Disk')[:2]
        )
        for option in ('-c', '--sort-column'):
            done = self.run_shell('list', option, 'nope')
            self.assertEqual((2, ''), (done.returncode, done.stdout))
            self.assertIn('There is no column "nope"', done.stderr)

    def test_a_wrong_column_stops_before_anything_is_done(self) -> None:
        self.assertEqual(
            2,
            self.run_shell('purge', '--all', '--yes', '-c', 'nope').returncode,
        )
        self.assertEqual(3, len(self.json('list')))

    def test_a_table_is_sorted_by_what_is_not_always_there(self) -> None:
        self.run_shell('pin', self.ids[0])
        for column in ('Seconds', 'Fetched', 'Name', 'Reason', 'Code'):
            for arguments in (('--long',), ()):
                done = self.run_shell(
                    'history', *arguments, '--sort-column', column
                )
                self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertEqual(
            'pin',
            self.text(
                'history',
                '-c',
                'Action',
                '-c',
                'Seconds',
                '--sort-column',
                'Seconds',
            )
            .splitlines()[-2]
            .split()[1],
        )

    def test_an_empty_list_prints_nothing(self) -> None:
        self.json('purge', '--all', '--yes')
        self.assertEqual('', self.text('list'))
        self.assertEqual('', self.text('list', '-f', 'value'))
        self.assertEqual([], self.json('list'))
        self.assertEqual('', self.text('evict'))

    def test_a_table_fits_the_terminal(self) -> None:
        for arguments in (
            ('list',),
            ('verify',),
            ('history',),
            ('purge', '--all', '--dry-run'),
        ):
            table = self.on_terminal(80, *arguments)
            self.assertLessEqual(max(map(len, table.splitlines())), 80, table)
            self.assertIn(self.ids[0][:8], table)

    def test_too_many_columns_are_shown_row_by_row(self) -> None:
        shown = self.on_terminal(80, 'list', '--long')
        self.assertEqual(3, shown.count('| Last Modified |'))
        self.assertLessEqual(max(map(len, shown.splitlines())), 80)
        wide = self.on_terminal(200, 'list', '--long')
        self.assertEqual(1, wide.count('| Last Modified |'))

    def test_control_characters_are_escaped_on_a_terminal(self) -> None:
        name = '\x1b[31mred\x07\n| x'
        image_id = self.glance.create_image(name, b'x' * units.Ki)
        self.assertNotIn('\x1b', self.run_shell('prefetch', image_id).stderr)
        for arguments in (
            ('list',),
            ('show', image_id),
            ('history',),
            ('list', '-f', 'value'),
            ('list', '-f', 'json'),
            ('show', image_id, '-f', 'shell'),
            ('purge', '--all', '--dry-run'),
        ):
            shown = self.on_terminal(120, *arguments)
            self.assertNotIn('\x1b', shown)
            self.assertNotIn('\x07', shown)
            self.assertIn('red', shown)
        # No name begins a line of its own in a program's input.
        self.assertEqual(
            '\\x1b[31mred\\x07\\n| x\n',
            self.text('show', image_id, '-f', 'value', '-c', 'name'),
        )
        self.assertEqual(name, self.json('show', image_id)['name'])

    def on_terminal(self, columns: int, *arguments: str) -> str:
        """What a command prints on a terminal of that width."""
        leader, follower = pty.openpty()
        fcntl.ioctl(
            follower,
            termios.TIOCSWINSZ,
            struct.pack('HHHH', 24, columns, 0, 0),
        )
        process = subprocess.Popen(
            self.shell_command(*arguments),
            stdin=follower,
            stdout=follower,
            stderr=subprocess.PIPE,
            env={
                name: value
                for name, value in os.environ.items()
                if name not in ('COLUMNS', 'CLIFF_FIT_WIDTH')
            },
        )
        os.close(follower)
        pieces = []
        try:
            while piece := os.read(leader, 65536):
                pieces.append(piece)
        except OSError:
            # So Linux tells that nobody has the terminal open any more.
            pass
        finally:
            os.close(leader)
        errors = process.communicate()[1].decode()
        self.assertEqual(0, process.returncode, errors)
        return b''.join(pieces).decode().replace('\r\n', '\n')

    def test_quiet_prints_no_progress(self) -> None:
        self.json('purge', '--all', '--yes')
        loud = self.run_shell('prefetch', self.ids[0])
        self.assertIn('Fetching', loud.stderr)
        quiet = self.run_shell('-q', 'prefetch', self.ids[1])
        self.assertEqual((0, ''), (quiet.returncode, quiet.stderr))

    def test_an_unwritable_log_is_reported_once(self) -> None:
        done = self.run_shell('--log-file', '/dev/full', '-vv', 'show', 'x')
        self.assertEqual(1, done.returncode)
        self.assertEqual(
            1,
            done.stderr.count('Could not write the log: [Errno 28]'),
            done.stderr,
        )
        self.assertIn('Image "x" is not cached', done.stderr)
        self.assertNotIn('Traceback', done.stderr)

    def test_closed_or_full_output_is_one_line_at_most(self) -> None:
        with open('/dev/full', 'w') as full:
            done = subprocess.run(
                self.shell_command('list'),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        self.assertEqual(1, done.returncode)
        self.assertIn('No space left on device', done.stderr)
        self.assertEqual(1, len(done.stderr.splitlines()))
        for arguments in (('list',), ('help',), ('usage',)):
            done = subprocess.run(
                ['sh', '-c', '"$@" >&-', '-', *self.shell_command(*arguments)],
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            self.assertEqual((0, ''), (done.returncode, done.stderr))
            done = subprocess.run(
                [
                    'bash',
                    '-c',
                    'set -o pipefail; "$@" | true',
                    '-',
                    *self.shell_command(*arguments),
                ],
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            self.assertEqual('', done.stderr)


class TextfileTestCase(OutputTestCase):
    def test_the_metrics_are_those_of_usage(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.json('prefetch', image_id)
        self.json('disk create', image_id, 'vm1')
        path = self.directory / 'pvm.prom'
        self.addCleanup(os.umask, os.umask(0o077))
        usage = self.json('usage', '--textfile', str(path))
        found = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in parser.text_string_to_metric_families(
                path.read_text()
            )
            for sample in family.samples
        }
        for name, value in (
            ('size_bytes', usage['cache_size']),
            ('images', 1),
            ('pool_size_bytes', usage['pool_size']),
            ('pool_used_bytes', usage['pool_used']),
            ('saved_bytes_total', units.Mi),
            ('fetched_bytes_total', units.Mi),
        ):
            self.assertEqual(value, found[f'pvm_imagecache_{name}', 'cachevg'])
        self.assertEqual(
            1, found['pvm_imagecache_deploys_total', 'cachevg', 'hit']
        )
        self.assertEqual(0o644, stat.S_IMODE(path.stat().st_mode))
        self.assertEqual(
            ['pvm.prom'],
            [
                each.name
                for each in self.directory.iterdir()
                if 'prom' in each.name or each.name.startswith('.')
            ],
        )

    def test_an_unwritable_textfile_is_reported(self) -> None:
        for path, says in (
            ('/no/such/place.prom', 'No such file'),
            ('/dev/null', 'it exists and is not a regular file'),
            (str(self.directory), 'it exists and is not a regular file'),
        ):
            done = self.run_shell('usage', '--textfile', path)
            self.assertEqual((1, ''), (done.returncode, done.stdout))
            self.assertIn(says, done.stderr)
        self.assertTrue(pathlib.Path('/dev/null').is_char_device())

    def test_each_cleanup_run_writes_the_metrics(self) -> None:
        path = self.directory / 'pass.prom'
        self.conf_file.write_text(
            self.conf_file.read_text().replace(
                '[glance]', f'metrics_textfile = {path}\n[glance]'
            )
        )
        made = self.make_manager()
        made.run_cleanup([])
        self.assertIn(
            'pvm_imagecache_images{pool="cachevg"} 0.0', path.read_text()
        )
        path.unlink()
        path.mkdir()
        # A pass does its work without.
        self.assertIsNotNone(made.run_cleanup([]).eviction)


class ImportsTestCase(OutputTestCase):
    """What a command that is to answer at once does not wait for."""

    def modules(self, *arguments: str) -> set[str]:
        done = subprocess.run(
            [
                sys.executable,
                '-c',
                _TELL,
                '--config-file',
                str(self.conf_file),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return set(json.loads(done.stderr.splitlines()[-1]))

    def test_commands_that_read_import_nothing_heavy(self) -> None:
        image_id = self.store_raw(units.Mi)
        self.json('prefetch', image_id)
        for arguments in (
            ('--version',),
            ('--help',),
            ('list',),
            ('list', '--long'),
            ('show', image_id),
            ('history',),
            ('help', 'purge'),
            ('complete',),
        ):
            self.assertEqual(
                set(), self.modules(*arguments) & set(_HEAVY), arguments
            )

    def test_usage_imports_pypowervm_but_not_nova(self) -> None:
        found = self.modules('usage')
        self.assertIn('pypowervm', found)
        self.assertFalse({'nova', 'openstack'} & found)

    def test_a_list_asks_powervm_for_nothing(self) -> None:
        self.json('prefetch', self.store_raw(units.Mi))
        seen = self.last_request()
        self.assertEqual(1, len(self.json('list')))
        self.assertEqual([], self.kinds_since(seen))


class UsageErrorTestCase(OutputTestCase):
    def test_no_arguments_print_the_help(self) -> None:
        done = self.run_shell()
        self.assertEqual((2, ''), (done.returncode, done.stdout))
        for command in ('list', 'purge', 'disk create', 'history'):
            self.assertRegex(done.stderr, rf'(?m)^  {command} ')

    def test_help_of_an_unknown_command_is_refused(self) -> None:
        done = self.run_shell('help', 'nope')
        self.assertEqual(2, done.returncode)
        self.assertIn('There is no command "nope"', done.stderr)

    def test_every_help_has_examples(self) -> None:
        listed = re.findall(
            r'(?m)^  ([a-z]+(?: [a-z]+)?)  ',
            self.text('--help').partition('commands:')[2],
        )
        self.assertGreater(len(listed), 15)
        for command in set(listed) - {'help', 'complete'}:
            text = self.text('help', *command.split())
            self.assertIn('Examples::', text)
            for line in re.findall(
                r'(?m)^  pvm-imagecache (.*)', text.partition('Examples::')[2]
            ):
                self.assertTrue(line.startswith(command), line)

    def test_a_relative_state_path_is_refused(self) -> None:
        path = self.directory / 'relative.conf'
        path.write_text('[pvm_imagecache]\nstate_path = state\n')
        done = self.run_shell('list', conf_file=path)
        self.assertEqual(1, done.returncode)
        self.assertIn('"state" is not an absolute path', done.stderr)

    def test_a_missing_plugin_is_listed(self) -> None:
        self.conf_file.write_text(
            self.conf_file.read_text().replace(
                '[glance]', 'eviction_policies = age,magic\n[glance]'
            )
        )
        (row,) = [
            row for row in self.json('plugin list') if row['Name'] == 'magic'
        ]
        self.assertEqual(
            (True, 'not installed'), (row['Enabled'], row['Error'])
        )

    def test_a_missing_option_of_glance_is_named(self) -> None:
        self.conf_file.write_text(
            self.conf_file.read_text().split('[glance]')[0]
            + '[glance]\nauth_type = password\nusername = u\n'
        )
        done = self.run_shell('prefetch', 'x')
        self.assertEqual(1, done.returncode)
        self.assertIn('auth_url', done.stderr)
        self.assertIn('[glance]', done.stderr)
        self.assertNotIn('Glance refused', done.stderr)

    def test_a_size_beyond_all_pools_is_refused(self) -> None:
        done = self.run_shell(
            'disk', 'create', 'x', 'vm1', '--size', str(1 << 31)
        )
        self.assertEqual(2, done.returncode)
        self.assertIn('not greater than 1073741824', done.stderr)


class CompletionTestCase(OutputTestCase):
    def test_bash_completes_commands_and_options(self) -> None:
        script = self.directory / 'completion'
        script.write_text(self.text('complete'))
        for words, expected in (
            (('pu',), {'purge'}),
            (('purge', '--ol'), {'--older-than'}),
            (('disk', ''), {'create', 'delete'}),
        ):
            # The function is one of the package bash-completion.
            done = subprocess.run(
                [
                    'bash',
                    '-c',
                    f'''
_get_comp_words_by_ref() {{ words=("${{COMP_WORDS[@]}}")
    cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}"; }}
source {script}
COMP_WORDS=(pvm-imagecache "$@") COMP_CWORD=$#
_pvm_imagecache
echo "${{COMPREPLY[@]}}"''',
                    'bash',
                    *words,
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(
                (expected, ''), (set(done.stdout.split()), done.stderr)
            )


class StatusTestCase(OutputTestCase):
    def status(self, code: int) -> dict[str, str]:
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pvm_imagecache.cmd.status',
                '--config-file',
                str(self.conf_file),
                'upgrade',
                'check',
                '--json',
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return {
            each['check']: each['details'] or ''
            for each in json.loads(done.stdout)['checks']
        }

    def test_a_good_host_passes_all_checks(self) -> None:
        self.json('prefetch', self.store_raw(units.Mi))
        before = sorted((self.directory / 'state').iterdir())
        found = self.status(0)
        self.assertEqual(
            {
                'Policy file',
                'Catalog',
                'nova',
                'pypowervm',
                'Libraries',
                'Plugins',
                'Watermarks',
                'Pool',
                'Untracked disks',
                'Other catalogs',
                'Platform facts',
            },
            set(found),
        )
        self.assertEqual(before, sorted((self.directory / 'state').iterdir()))

    def test_an_untracked_disk_is_a_warning(self) -> None:
        self.powervm.control.plant_disk('cachevg', 'i_12345678_1234', units.Gi)
        self.assertIn('i_12345678_1234', self.status(1)['Untracked disks'])

    def test_a_catalog_of_another_version_is_reported(self) -> None:
        self.json('prefetch', self.store_raw(units.Mi))
        for version, code in ((2, 1), (99, 2)):
            with sqlite3.connect(
                self.directory / 'state' / 'catalog.sqlite'
            ) as file:
                file.execute(f'PRAGMA user_version = {version}')
            self.assertIn(
                f'has version {version}', self.status(code)['Catalog']
            )
            # Looking has not brought it up to date.
            with sqlite3.connect(
                self.directory / 'state' / 'catalog.sqlite'
            ) as file:
                self.assertEqual(
                    (version,), file.execute('PRAGMA user_version').fetchone()
                )

    def test_invalid_options_are_failures(self) -> None:
        policy = self.directory / 'policy.yaml'
        policy.write_text('"pvm_imagecache:list": "rule:nobody"')
        self.conf_file.write_text(
            self.conf_file.read_text()
            .replace(
                'volume_group_name = cachevg',
                f'volume_group_name = other\npolicy_file = {policy}',
            )
            .replace(
                '[glance]',
                '[pvm_imagecache_watermark]\nhigh = 50\nlow = 60\n[glance]',
            )
        )
        found = self.status(2)
        self.assertIn(str(policy), found['Policy file'])
        self.assertIn('no volume group "other"', found['Pool'])
        self.assertIn('low (60) is above high (50)', found['Watermarks'])

    def test_an_unknown_rule_is_a_warning(self) -> None:
        policy = self.directory / 'policy.yaml'
        policy.write_text('"pvm_imagecache:lisst": "role:admin"')
        self.conf_file.write_text(
            self.conf_file.read_text().replace(
                '[glance]', f'policy_file = {policy}\n[glance]'
            )
        )
        self.assertIn('pvm_imagecache:lisst', self.status(1)['Policy file'])

    def test_a_missing_configuration_is_an_error(self) -> None:
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pvm_imagecache.cmd.status',
                '--config-file',
                '/no/such/file',
                'upgrade',
                'check',
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(255, done.returncode)
        self.assertNotIn('Traceback', done.stdout + done.stderr)
