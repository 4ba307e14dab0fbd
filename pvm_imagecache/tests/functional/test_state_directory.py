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

"""The owner of the state directory gains nothing from commands of root."""

import fcntl
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys

from oslo_utils import units

from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import seams

#: The owner, and a reader in the group of the directory.
OWNER, GROUP, READER = 12345, 54321, 23456

_CALLS = (
    'open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,rmdir,'
    'mkdir,mkdirat,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,'
    'chown,fchown,lchown,fchownat,truncate,utimensat,mknod,mknodat,'
    'setuid,setreuid,setresuid,setfsuid'
)
#: What SQLite opens by itself: it knows no open directories. It also writes
#: the directory to the disk.
_BY_PATH = re.compile(r'^(state|catalog\.sqlite(-wal|-shm|-journal)?)$')
#: A shell command that runs as another user.
_LOCKED = """
import fcntl, os, pathlib, sys
os.setgroups([]); os.setresgid({group}, {group}, {group})
os.setresuid({uid}, {uid}, {uid})
for each in pathlib.Path(sys.argv[1]).rglob('*'):
    try:
        file = open(each, 'rb')
    except OSError:
        continue
    print(each.name)
"""
#: The same, which locks a file as soon as there is one.
_LOCK_NEW = """
import fcntl, os, sys, time
os.setgroups([]); os.setresgid({group}, {group}, {group})
os.setresuid({uid}, {uid}, {uid})
print('ready', flush=True)
while True:
    try:
        file = open(sys.argv[1], 'rb')
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        break
    except OSError:
        pass
print('locked', flush=True)
time.sleep(600)
"""


class StateDirectoryTestCase(base.FunctionalTestCase):
    """Root uses a directory of the user of nova."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid():
            self.skipTest('only root can act as another user')
        self.conf_file = self.write_conf(
            f'host = {self.powervm.host}\nport = {self.powervm.port}\n'
            'protocol = http\nvolume_group_name = cachevg'
        )
        for each in (self.directory, self.directory.parent):
            if each.stat().st_mode & 0o077 == 0:
                each.chmod(0o755)
        self.state = self.directory / 'state'
        self.state.mkdir(0o750)
        os.chown(self.state, OWNER, GROUP)
        self.image_id = self.store_raw(units.Mi)

    def run_ok(self, *arguments: str) -> str:
        done = self.run_shell(*arguments, conf_file=self.conf_file)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = self.run_shell(*arguments, conf_file=self.conf_file)
        self.assertEqual(1, done.returncode, done.stdout + done.stderr)
        self.assertNotIn('Traceback', done.stderr)
        self.assertNotIn('should not have happened', done.stderr)
        return done.stderr

    def test_all_files_belong_to_the_owner(self) -> None:
        self.run_ok('prefetch', self.image_id)
        self.run_ok('pin', self.image_id)
        for each in (self.state, *self.state.rglob('*')):
            found = each.stat()
            self.assertEqual((OWNER, GROUP), (found.st_uid, found.st_gid))

    def test_a_user_in_the_group_can_open_no_lock(self) -> None:
        self.run_ok('prefetch', self.image_id)
        # As an older release made them.
        for each in (self.state / 'locks').iterdir():
            each.chmod(0o640)
        (self.state / 'locks').chmod(0o750)
        with seams.open_catalog(self.state) as catalog:
            catalog.pins.pin('pool', 'x', '', None)
            self.run_ok('unpin', '--help')
            self.run_ok('pin', self.image_id)
            done = subprocess.run(
                [
                    sys.executable,
                    '-c',
                    _LOCKED.format(uid=READER, group=GROUP),
                    str(self.state),
                ],
                capture_output=True,
                text=True,
                check=True,
            )
        names = set(done.stdout.split())
        self.assertIn('catalog.sqlite', names)
        self.assertEqual(
            set(), names - {'catalog.sqlite', 'catalog.sqlite-wal'}
        )

    def test_a_lock_on_a_new_catalog_keeps_nobody_out(self) -> None:
        with subprocess.Popen(
            [
                sys.executable,
                '-c',
                _LOCK_NEW.format(uid=READER, group=GROUP),
                str(self.state / 'catalog.sqlite'),
            ],
            stdout=subprocess.PIPE,
        ) as reader:
            self.addCleanup(reader.kill)
            assert reader.stdout
            self.assertEqual(b'ready\n', reader.stdout.readline())
            self.run_ok('prefetch', self.image_id)
            self.assertEqual(b'locked\n', reader.stdout.readline())
            self.run_ok('pin', self.image_id)
            reader.kill()

    def test_readers_read_while_another_process_writes(self) -> None:
        self.run_ok('prefetch', self.image_id)
        with seams.open_catalog(self.state) as catalog, catalog.transaction():
            catalog.pins.pin('pool', 'x', '', None)
            self.assertIn(self.image_id, self.run_ok('list', '-f', 'csv'))
            self.run_ok('history')
        # And while locks are held.
        for each in (self.state / 'locks').iterdir():
            file = each.open()
            self.addCleanup(file.close)
            fcntl.flock(file, fcntl.LOCK_EX)
        self.assertIn(self.image_id, self.run_ok('show', self.image_id))

    def test_a_fill_id_that_is_a_path_reaches_no_file(self) -> None:
        self.run_ok('prefetch', self.image_id)
        victim = self.directory / 'victim'
        victim.write_text('kept')
        for fill_id in (str(victim), '../../victim', ''):
            with sqlite3.connect(self.state / 'catalog.sqlite') as file:
                file.execute('DELETE FROM instance_disks')
                file.execute(
                    'INSERT INTO instance_disks SELECT pool, ?, 1, ?, ?,'
                    ' NULL, 1, 1 FROM pool_names',
                    ('vm', fill_id, 'h/1'),
                )
            file.close()
            finished = self.state / 'finished'
            finished.mkdir(exist_ok=True)
            self.assertIn('fill_id', self.refused('verify'))
            self.assertEqual('kept', victim.read_text())
            self.assertEqual([], [*finished.iterdir()])

    def test_a_record_of_another_disk_deletes_no_disk(self) -> None:
        self.run_ok('prefetch', self.image_id)
        self.powervm.control.plant_disk('cachevg', 'data', units.Gi)
        (udid,) = (
            each['udid']
            for each in self.powervm.control.disks()
            if each['name'] == 'data'
        )
        for state in ('ready', 'quarantined', 'populating', 'evicting'):
            if state == 'evicting':
                # The last run has removed the record.
                self.run_ok('prefetch', self.image_id)
            with sqlite3.connect(self.state / 'catalog.sqlite') as file:
                file.execute(
                    'UPDATE base_images SET disk_name = ?, udid = ?,'
                    ' state = ?, capacity = ?',
                    ('data', udid, state, units.Gi),
                )
            file.close()
            for command in (
                ('purge', self.image_id, '--yes'),
                ('verify',),
            ):
                self.run_shell(*command, conf_file=self.conf_file)
                self.assertIn('data', self.disks(), (state, command))

    def test_what_is_no_file_of_the_owner_is_refused(self) -> None:
        self.run_ok('prefetch', self.image_id)
        victim = self.directory / 'victim'
        victim.write_text('kept')
        catalog = self.state / 'catalog.sqlite'
        kept = catalog.read_bytes()

        def bind(path: pathlib.Path) -> None:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(path))

        for name in ('catalog.sqlite', 'catalog.sqlite-wal', 'locks'):
            for make in (
                lambda path: path.symlink_to(victim),
                lambda path: path.symlink_to(self.directory / 'new'),
                lambda path: path.hardlink_to(victim),
                os.mkfifo,
                bind,
                lambda path: path.write_text('of root'),
            ):
                path = self.state / name
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                make(path)
                self.assertIn(str(path), self.refused('pin', self.image_id))
                path.unlink()
            catalog.write_bytes(kept)
            os.chown(catalog, OWNER, GROUP)
        self.assertEqual('kept', victim.read_text())
        self.assertFalse((self.directory / 'new').exists())

    def test_another_directory_in_its_place_is_refused(self) -> None:
        home = self.directory / 'home'
        home.mkdir()
        root = home / 'state'
        root.mkdir()
        os.chown(home, OWNER, GROUP)
        self.conf_file.write_text(
            self.conf_file.read_text().replace(str(self.state), str(root))
        )
        self.assertIn(str(root), self.refused('pin', self.image_id))
        self.assertEqual([], [*root.iterdir()])
        root.rmdir()
        root.symlink_to(self.directory)
        self.assertIn('symbolic link', self.refused('pin', self.image_id))

    def test_a_directory_that_others_can_write_is_refused(self) -> None:
        self.state.chmod(0o777)
        self.assertIn('chmod o-w', self.refused('pin', self.image_id))
        self.state.chmod(0o750)
        self.directory.chmod(0o777)
        self.assertIn('chmod o-w', self.refused('list'))

    def test_an_empty_or_relative_path_is_refused(self) -> None:
        text = self.conf_file.read_text()
        for value in ('', 'relative', '/x/../y'):
            self.conf_file.write_text(text.replace(str(self.state), value))
            for command in ('list', 'pin'):
                self.assertIn(
                    'state_path',
                    self.refused(
                        command, *[self.image_id] * (command == 'pin')
                    ),
                )

    def test_the_whole_protocol_has_the_identity_of_the_owner(self) -> None:
        strace = shutil.which('strace')
        if strace is None:
            self.skipTest('strace is missing (see bindep.txt)')
        trace = self.directory / 'trace'
        seen = set()
        for arguments in (
            ('prefetch', self.image_id),
            ('pin', self.image_id),
            ('list',),
            ('history',),
            ('verify',),
            ('unpin', self.image_id),
            ('disk', 'create', self.image_id, 'vm1'),
            ('purge', '--all', '--yes'),
        ):
            subprocess.run(
                [
                    strace,
                    '-f',
                    '-y',
                    '-o',
                    str(trace),
                    '-e',
                    f'trace={_CALLS}',
                    *self.shell_command(*arguments, conf_file=self.conf_file),
                ],
                check=True,
                capture_output=True,
                stdin=subprocess.DEVNULL,
            )
            seen |= self.check_trace(trace.read_text(), arguments)
        self.assertTrue({'openat', 'mkdirat', 'unlink'} <= seen, seen)

    def check_trace(self, trace: str, arguments: tuple[str, ...]) -> set[str]:
        """Check each call in the directory; return which were made."""
        effective: dict[str, int] = {}
        seen = set()
        below = str(self.state)
        for line in trace.splitlines():
            match = re.match(r'(\d+) +(\w+)\((.*)', line)
            if match is None:
                continue
            thread, call, rest = match.groups()
            if call.startswith('set'):
                self.assertEqual('setresuid', call)
                if rest.rstrip().endswith('= 0'):
                    effective[thread] = int(rest.split(',')[1])
                continue
            if below not in rest:
                continue
            seen.add(call)
            # To find out who the owner is, root looks at the way to it.
            if 'O_PATH' in rest and f'"{below}' not in rest:
                continue
            self.assertEqual(
                OWNER, effective.get(thread, 0), (arguments, line)
            )
            for path in re.findall(f'"({re.escape(below)}[^"]*)"', rest):
                self.assertRegex(
                    os.path.basename(path), _BY_PATH, (arguments, line)
                )
        return seen
