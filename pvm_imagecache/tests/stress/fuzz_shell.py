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

"""Random command lines: whatever is typed, nobody gets a traceback.

Commands, options, values and nonsense are put together at random, and run
on a real Glance and a simulated PowerVM, each in a child of its own. The
status must be one that is documented, and what is printed no traceback and
no sign of an error that was not foreseen.

    python -m pvm_imagecache.tests.stress.fuzz_shell --count 2000
"""

import argparse
import collections
from collections.abc import Sequence
import os
import pathlib
import random
import re
import shlex
import signal
import sys
import tempfile
import time
import traceback

from pvm_imagecache.cmd import main as command
from pvm_imagecache.cmd import shell
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import process
from pvm_imagecache.tests.stress import interrupt

COMMANDS = (
    'list',
    'show',
    'usage',
    'history',
    'explain',
    'prefetch',
    'pin',
    'unpin',
    'evict',
    'purge',
    'verify',
    'adopt',
    'plugin list',
    'platform show',
    'disk create',
    'disk delete',
    'help',
    'complete',
)
OPTIONS = (
    '-f',
    '--format',
    '-c',
    '--column',
    '--sort-column',
    '--long',
    '--yes',
    '-y',
    '--dry-run',
    '--all',
    '--unused',
    '--deleted',
    '--older-than',
    '--reason',
    '--image',
    '--action',
    '--since',
    '--limit',
    '--for',
    '--note',
    '--size',
    '--textfile',
    '--no-glance',
    '--fit-width',
    '--max-width',
    '--print-empty',
    '--quote',
    '--noindent',
    '--help',
    '-h',
    '--sort-descending',
    '--prefix',
    '--nonsense',
    '-x',
    '--',
    '-',
)
GLOBAL = (
    '-v',
    '-vv',
    '-q',
    '--quiet',
    '--os-cloud',
    '--log-file',
    '--config-dir',
    '--version',
    '--help',
    '--nonsense',
)
NONSENSE = (
    '',
    ' ',
    '0',
    '-1',
    '1',
    '1d',
    '12h',
    '99999999999',
    '1e400',
    'nan',
    'é',
    '\u202e',
    '💾',
    '\udcff',
    "'",
    '"',
    '\\',
    '%s%n',
    '{0}',
    '{}',
    '$(id)',
    '../../etc/passwd',
    '/dev/null',
    '/dev/full',
    '/no/such',
    '.',
    '*',
    '%',
    'a' * 300,
    '\n',
    '\t',
    '\x1b[31m',
    'json',
    'yaml',
    'csv',
    'value',
    'table',
    'shell',
    'xml',
    'ID',
    'Size',
    'id',
    'hit',
    'purge',
    'vm1',
    '2026-01-31',
    '2026-99-99',
    '9999-12-31T23:59:59',
    '0001-01-01',
    '1970-01-01T00:00:00+14:00',
    'None',
    'true',
    'SELECT 1; --',
    '0x10',
    '１２',
    '5w',
    '0s',
    '1.5',
    '1_000',
    '١',
)
ALLOWED = (0, 1, 2)
_SLOW = 60


class Fuzzer:
    """Makes command lines, runs them, and judges what they did."""

    def __init__(self, world: interrupt.World, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)
        self.statuses: collections.Counter[int] = collections.Counter()
        self.commands: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self._options = {name: _options(name) for name in COMMANDS}

    def line(self) -> list[str]:
        """A random command line."""
        choice = self._random
        words: list[str] = []
        # Half of them are of such words only as the command knows.
        sensible = choice.random() < 0.5
        for _ in range(0 if sensible else choice.choice((0, 0, 0, 1, 2))):
            words.append(choice.choice(GLOBAL))
            if choice.random() < 0.4:
                words.append(self._value())
        name = choice.choice(COMMANDS)
        self.commands[name] += 1
        parts = name.split()
        if not sensible and choice.random() < 0.1:
            parts[0] = self._damaged(parts[0])
        words += parts
        if sensible:
            return words + self._sensible(name)
        for _ in range(choice.choice((0, 1, 1, 2, 3, 5))):
            word = (
                choice.choice(OPTIONS)
                if choice.random() < 0.5
                else (self._value())
            )
            if choice.random() < 0.1:
                word = f'{word}={self._value()}'
            words.append(word)
        if choice.random() < 0.2:
            words.append('--yes')
        return words

    def _sensible(self, name: str) -> list[str]:
        choice = self._random
        words: list[str] = []
        known = self._options[name]
        for action in choice.sample(
            known, min(len(known), choice.choice((0, 1, 1, 2, 3)))
        ):
            words.append(choice.choice(action.option_strings))
            if action.choices:
                words.append(choice.choice(sorted(action.choices)))
            elif action.nargs != 0:
                words.append(
                    choice.choice(
                        ('1d', '5', 'ID', 'image', 'x', '1', self._value())
                    )
                )
        for _ in range(choice.choice((0, 1, 1, 1, 2))):
            words.append(
                choice.choice(
                    ('image', self._world.image_id, 'vm1', self._value())
                )
            )
        return words

    def _value(self) -> str:
        choice = self._random
        draw = choice.random()
        if draw < 0.3:
            image_id = self._world.image_id
            return choice.choice(
                (
                    image_id,
                    image_id[: choice.randrange(1, 36)],
                    'image',
                    image_id.upper(),
                )
            )
        if draw < 0.4:
            return ''.join(
                chr(
                    choice.choice(
                        (
                            choice.randrange(1, 128),
                            choice.randrange(160, 0x2FF),
                            choice.randrange(0x4E00, 0x9FFF),
                        )
                    )
                )
                for _ in range(choice.randrange(1, 20))
            )
        return choice.choice(NONSENSE)

    def _damaged(self, text: str) -> str:
        at = self._random.randrange(len(text) + 1)
        return (
            text[:at]
            + self._random.choice(('', 'x', '-', ' ', 'é'))
            + text[at + 1 :]
        )

    def run(self, words: Sequence[str]) -> None:
        """Run a line in a child, and judge it."""
        output = self._world.directory / 'output'
        status = self._in_child(words, output)
        self.statuses[status] += 1
        text = output.read_text(encoding='utf-8', errors='replace')
        if (
            status not in ALLOWED
            or 'Traceback' in text
            or seams.UNEXPECTED_ERROR in text
        ):
            self.failures.append(
                f'{shlex.join(words)!a}\n  status {status}:\n{text[-3000:]}'
            )

    def _in_child(self, words: Sequence[str], output: pathlib.Path) -> int:
        with open(output, 'wb') as file:
            child = os.fork()
            if child:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            status = 98
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                # A command that hangs is one that fails.
                signal.alarm(_SLOW)
                os.chdir(self._world.directory / 'here')
                null = os.open(os.devnull, os.O_RDONLY)
                for number, target in (
                    (0, null),
                    (1, file.fileno()),
                    (2, file.fileno()),
                ):
                    os.dup2(target, number)
                sys.stdout = open(  # noqa: SIM115
                    1, 'w', closefd=False, encoding='utf-8'
                )
                sys.stderr = open(  # noqa: SIM115
                    2,
                    'w',
                    closefd=False,
                    encoding='utf-8',
                    errors='backslashreplace',
                )
                status = command.main(
                    ['--config-file', str(self._world.conf), *words]
                )
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 97
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)


def _options(name: str) -> list[argparse.Action]:
    """The options of a command."""
    application = shell.Shell()
    found, words, _ = application.command_manager.find_command(name.split())
    made = found(application, None, cmd_name=words)
    return [
        each
        for each in made.get_parser(name)._actions
        if each.option_strings and each.dest not in ('help', 'textfile')
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lines; 1 if one was answered as none may be."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--count', type=int, default=2000)
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args(arguments)
    process.exit_on_sigterm()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='fuzz-') as name:
        world = interrupt.World(pathlib.Path(name))
        (world.directory / 'here').mkdir()
        with world.running():
            fuzzer = Fuzzer(world, options.seed)
            for number in range(options.count):
                fuzzer.run(fuzzer.line())
                if number % 500 == 499:
                    print(f'{number + 1} lines', flush=True)
    for each in fuzzer.failures:
        print(each)
    tracebacks = sum(
        bool(re.search('Traceback', each)) for each in fuzzer.failures
    )
    print(
        f'{options.count} command lines (seed {options.seed}) of '
        f'{len(fuzzer.commands)} commands in '
        f'{time.monotonic() - started:.0f} s: {tracebacks} tracebacks, '
        f'{len(fuzzer.failures)} failures; by status: '
        + ', '.join(
            f'{status}: {count}'
            for status, count in sorted(fuzzer.statuses.items())
        )
    )
    return 1 if fuzzer.failures else 0


if __name__ == '__main__':
    sys.exit(main())
