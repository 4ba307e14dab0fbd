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

"""Forked commands are like those that are started."""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from oslotest import base as test_base

from pvm_imagecache.tests import functional_base
from pvm_imagecache.tests.servers import shell_probe
from pvm_imagecache.tests.servers import shells

_SIZE = 3 << 20
_PROBE = [sys.executable, '-m', shell_probe.__name__]
# A parent that has a command forked, prints both process IDs, and waits.
_PARENT = """
import subprocess, sys
from pvm_imagecache.tests.servers import shells
started = shells.start(sys.argv[1:], stdout=subprocess.PIPE)
started.stdout.readline()
print(started.pid, shells._SERVERS[0].process.pid, flush=True)
sys.stdin.read()
"""


def _forked(*arguments: str, **options: Any) -> shells.Command:
    process = shells.start([*_PROBE, *arguments], **options)
    assert isinstance(process, shells.Command), 'it was started'
    return process


def _both(
    *arguments: str, **options: Any
) -> list['subprocess.CompletedProcess[Any]']:
    """How a command ends, started and forked."""
    options['capture_output'] = True
    if 'input' not in options:
        options.setdefault('stdin', subprocess.DEVNULL)
    with _forked('exit', '0', stdout=subprocess.DEVNULL):
        pass
    return [
        subprocess.run([*_PROBE, *arguments], **options),
        shells.run([*_PROBE, *arguments], **options),
    ]


class StateTestCase(test_base.BaseTestCase):
    """What the process of a command is like at its beginning."""

    def assert_same(self, **options: Any) -> dict[str, Any]:
        started, forked = (
            json.loads(each.stdout) for each in _both('state', **options)
        )
        # By name, so that a failure is readable.
        for name, value in started.items():
            self.assertEqual(value, forked[name], name)
        self.assertEqual(started.keys(), forked.keys())
        self.assertEqual(['0', '1', '2'], forked['descriptors'])
        return forked

    def test_by_default_all_is_the_parents(self) -> None:
        found = self.assert_same()
        self.assertEqual(os.getcwd(), found['directory'])
        self.assertEqual(os.getpgrp(), found['group'])

    def test_directory_environment_and_umask_are_the_given_ones(self) -> None:
        self.addCleanup(os.umask, os.umask(0o027))
        directory = tempfile.mkdtemp()
        found = self.assert_same(
            cwd=directory,
            env={
                name: value
                for name, value in os.environ.items()
                if name != 'HOME'
            }
            | {
                'OS_NAME': 'Zo\xeb \udcff',
                'TZ': 'Asia/Tokyo',
                'TMPDIR': directory,
            },
        )
        self.assertEqual(directory, found['directory'])
        self.assertEqual(directory, found['path'][0])
        self.assertEqual('Zo\xeb \udcff', found['environment']['OS_NAME'])
        self.assertNotIn('HOME', found['environment'])
        self.assertEqual('JST', found['time zone'][0])
        self.assertEqual(0o027, found['umask'])

    def test_a_change_of_the_parents_environment_counts(self) -> None:
        os.environ['OS_CHANGED'] = 'yes'
        self.addCleanup(os.environ.pop, 'OS_CHANGED')
        self.assertEqual(
            'yes', self.assert_same()['environment']['OS_CHANGED']
        )

    def test_a_session_of_its_own(self) -> None:
        found = self.assert_same(start_new_session=True)
        self.assertEqual((True, True), (found['session'], found['group']))

    def test_streams_of_a_terminal(self) -> None:
        leader, follower = pty.openpty()
        self.addCleanup(os.close, leader)
        self.addCleanup(os.close, follower)
        self.assertTrue(self.assert_same(stdin=follower)['streams'][0][-2])

    def test_each_has_random_numbers_of_its_own(self) -> None:
        found = {
            shells.run(
                [*_PROBE, 'random'], stdout=subprocess.PIPE, text=True
            ).stdout
            for _ in range(3)
        }
        self.assertEqual(3, len(found))


class RunTestCase(test_base.BaseTestCase):
    """How it takes input, gives output, and ends."""

    def assert_same(self, *arguments: str, **options: Any) -> Any:
        started, forked = _both(*arguments, **options)
        self.assertEqual(started.returncode, forked.returncode)
        self.assertEqual(started.stdout, forked.stdout)
        self.assertEqual(started.args, forked.args)
        return forked

    def test_exit_status(self) -> None:
        for status in (0, 1, 2, 130, 255):
            done = self.assert_same('exit', str(status), text=True)
            self.assertEqual(
                (status, 'the end\n', ''),
                (done.returncode, done.stdout, done.stderr),
            )

    def test_signals_that_kill(self) -> None:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            done = self.assert_same('die', str(int(number)))
            # Shells have commands in the background ignore it.
            ignored = signal.getsignal(number) == signal.SIG_IGN
            self.assertEqual(0 if ignored else -number, done.returncode)

    def test_an_error_is_a_traceback(self) -> None:
        done = self.assert_same('raise', 'a message', text=True)
        self.assertEqual(1, done.returncode)
        self.assertTrue(done.stderr.endswith('ValueError: a message\n'))

    def test_warnings_are_shown_or_not_as_they_would_be(self) -> None:
        started, forked = _both('warn', 'a message', text=True)
        self.assertEqual(started.stderr, forked.stderr)

    def test_more_input_and_output_than_pipes_hold(self) -> None:
        data = os.urandom(_SIZE)
        done = self.assert_same('copy', input=data)
        self.assertEqual(data, done.stdout)
        self.assertEqual(data[::-1], done.stderr)

    def test_output_and_errors_in_one_file(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(b'in')
            file.seek(0)
            with _forked(
                'copy',
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as process:
                output, errors = process.communicate()
        self.assertEqual(
            (b'inni', None),
            (b''.join(sorted([output[:2], output[2:]])), errors),
        )

    def test_check_raises(self) -> None:
        error = self.assertRaises(
            subprocess.CalledProcessError,
            shells.run,
            [*_PROBE, 'exit', '3'],
            stdout=subprocess.PIPE,
            check=True,
        )
        self.assertEqual(3, error.returncode)

    def test_a_timeout_kills(self) -> None:
        self.assertRaises(
            subprocess.TimeoutExpired,
            shells.run,
            [*_PROBE, 'wait'],
            stdout=subprocess.PIPE,
            timeout=0.1,
        )

    def test_signals_reach_it(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            process = _forked('wait', stdout=subprocess.PIPE, text=True)
            assert process.stdout
            self.assertEqual('waits\n', process.stdout.readline())
            self.assertIsNone(process.poll())
            self.assertRaises(subprocess.TimeoutExpired, process.wait, 0.01)
            process.send_signal(number)
            self.assertEqual(('', None), process.communicate())
            self.assertEqual(-number, process.returncode)
            # Another process has this number now.
            process.kill()

    def test_many_at_once(self) -> None:
        processes = [
            _forked('exit', str(number), stdout=subprocess.PIPE)
            for number in range(20)
        ]
        for number, process in reversed(list(enumerate(processes))):
            self.assertEqual(b'the end\n', process.communicate()[0])
            self.assertEqual(number, process.returncode)

    def test_the_parents_end_is_that_of_the_server(self) -> None:
        # Killed, it cannot end anything.
        with subprocess.Popen(
            [sys.executable, '-c', _PARENT, *_PROBE, 'wait'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as parent:
            assert parent.stdout
            command, server = map(int, parent.stdout.readline().split())
            self.assertTrue(_runs(command))
            parent.kill()
        while _runs(server):
            time.sleep(0.02)
        # As a command that was started, it goes on.
        self.assertTrue(_runs(command))
        os.kill(command, signal.SIGKILL)
        while _runs(command):
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(')')[2].split()[0] not in ('Z', 'X')


class StartTestCase(test_base.BaseTestCase):
    """What a forked process would not be like is started."""

    def assert_started(self, *command: str, **options: Any) -> None:
        with shells.start(
            command or [*_PROBE, 'exit', '0'],
            stdout=subprocess.DEVNULL,
            **options,
        ) as process:
            self.assertIsInstance(process, subprocess.Popen)

    def assert_forked(self, **options: Any) -> None:
        with _forked('exit', '0', stdout=subprocess.DEVNULL, **options):
            pass

    def test_what_depends_on_the_start_of_the_interpreter(self) -> None:
        self.assert_forked()
        for name, value in (
            ('PYTHONPATH', '/nowhere'),
            ('PYTHONUNBUFFERED', '2'),
            ('PYTHONIOENCODING', 'latin-1'),
            ('LANG', 'C'),
            ('LC_ALL', 'POSIX'),
            ('SUDO_USER', 'nobody'),
            ('OS_DEFAULT__DEBUG', 'true'),
            ('COVERAGE_PROCESS_CONFIG', 'x'),
            (shells.START, '1'),
            ('PATH', '/nowhere'),
        ):
            self.assertNotEqual(value, os.environ.get(name))
            self.assert_started(env=os.environ | {name: value})
        self.assert_started(env={'HOME': '/'})

    def test_a_server_that_could_not_prepare_itself(self) -> None:
        server = shells._Server()
        server.process.kill()
        self.addCleanup(server.stop)
        for _ in range(2):
            self.assertFalse(server.fits(os.environ, pathlib.Path.cwd()))

    def test_the_real_way_can_be_asked_for(self) -> None:
        os.environ[shells.START] = '1'
        self.addCleanup(os.environ.pop, shells.START)
        self.assert_started()

    def test_other_programs_and_options(self) -> None:
        self.assert_started(sys.executable, '-c', '')
        self.assert_started(sys.executable, '-I', '-m', 'this')
        self.assert_started(sys.executable, '-m', 'this')
        self.assert_started('true')
        self.assert_started(pass_fds=[0])
        self.assert_started(umask=0o077)

    def test_modules_in_its_directory_are_imported(self) -> None:
        directory = pathlib.Path(tempfile.mkdtemp())
        self.assert_forked(cwd=directory)
        (directory / 'os.py').touch()
        self.assert_started(cwd=directory, env=os.environ)

    def test_a_directory_that_is_not_there(self) -> None:
        self.assertRaises(
            FileNotFoundError, self.assert_started, cwd='/no/such/place'
        )


def _timeless(text: str) -> str:
    """Leave out how long ago something was, and what is aligned with it."""
    text = re.sub(r'(\d+ (s|min)\b ?)+', 'some time ', text)
    return re.sub(r' {2,}|-{2,}', ' ', text)


class SameOutputTestCase(functional_base.FunctionalTestCase):
    """The commands, run in both ways."""

    def assert_same(self, *arguments: str, code: int = 0) -> None:
        started, forked = (
            run(
                self.shell_command(*arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            for run in (subprocess.run, shells.run)
        )
        self.assertEqual(code, started.returncode, started.stderr)
        self.assertEqual(forked.returncode, started.returncode)
        self.assertEqual(_timeless(started.stdout), _timeless(forked.stdout))
        self.assertEqual(_timeless(started.stderr), _timeless(forked.stderr))

    def test_they_say_the_same(self) -> None:
        image_id = self.store_raw(1 << 20)
        self.assert_same('show', image_id, code=1)
        # From here on both find the same.
        done = subprocess.run(
            self.shell_command('prefetch', image_id), capture_output=True
        )
        self.assertEqual(0, done.returncode, done.stderr)
        for arguments in (
            ('--version',),
            ('--help',),
            ('list',),
            ('show', image_id),
            ('usage',),
            ('history', '-f', 'json'),
            ('verify',),
            ('prefetch', image_id, '-c', 'id', '-c', 'result'),
            ('purge', '--all', '--dry-run'),
            ('platform', 'show'),
            ('plugin', 'list'),
        ):
            self.assert_same(*arguments)
        self.assert_same('adopt', '--dry-run', image_id, code=1)
        self.assert_same('list', '--nonsense', code=2)
        self.assert_same('pin', 'nothing', code=1)
        self.assert_same('disk', 'delete', 'nothing', '--yes', code=1)
