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

"""Interrupt the command in the middle of a prefetch, at each of its lines.

A prefetch is run once to count the lines of our code that its main thread
comes to, from the first that handles signals to the last. Then it is run
once more for many of them, in a process that gets SIGINT there, as from
Ctrl-C. Each time the image must be cached and whole, or there is nothing of
it: no disk, no record, no lock, no web/File entry; and nobody sees a
traceback.

    python -m pvm_imagecache.tests.stress.interrupt [--every 25]
"""

import argparse
import collections
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import fcntl
import os
import pathlib
import signal
import sqlite3
import sys
import tempfile
import traceback
import types
from typing import Any

from oslo_utils import units
import stevedore

from pvm_imagecache import manager as _manager  # noqa: F401
from pvm_imagecache import naming
from pvm_imagecache.cmd import images as _images  # noqa: F401
from pvm_imagecache.cmd import main as command
from pvm_imagecache.cmd import shell as _shell  # noqa: F401
from pvm_imagecache.tests import images
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import glance as glance_server
from pvm_imagecache.tests.servers import powervm as powervm_server
from pvm_imagecache.tests.servers import process

SIZE = 3 * units.Mi + 17
INTERRUPTED = 130
# What the command imports when it needs it is imported above already, so
# that its children need not.
_PACKAGE = (
    os.path.dirname(os.path.dirname(os.path.abspath(naming.__file__)))
    + '/pvm_imagecache/'
)


class Failure(Exception):
    """Something was left behind, or was not as it should be."""


class World:
    """A Glance with one image, a PowerVM, and a configuration."""

    def __init__(self, directory: pathlib.Path) -> None:
        # What is installed is looked up once, not by every child.
        stevedore.ExtensionManager('cliff.formatter.list')
        self.directory = directory
        self.state = directory / 'state'

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have the servers run for the length of the block."""
        with contextlib.ExitStack() as held:
            self.glance = held.enter_context(
                glance_server.GlanceServer(self.directory / 'glance')
            )
            self.image_id = self.glance.create_image(
                'image', images.raw_bytes(SIZE, 1)
            )
            powervm = held.enter_context(
                powervm_server.PowerVMServer(self.directory / 'powervm')
            )
            self.control = powervm.control
            self.conf = self.directory / 'conf'
            self.conf.write_text(f"""[pvm_imagecache]
state_path = {self.state}
host = 127.0.0.1
port = {powervm.port}
protocol = http
volume_group_name = cachevg

[glance]
auth_type = admin_token
endpoint = {self.glance.url}
token = {self.glance.token()}
""")
            yield

    def run(
        self, *arguments: str, at: int | None = None, signals: int = 1
    ) -> tuple[int, str, int]:
        """Run a command in a child; it gets SIGINT at a line.

        :returns: its status, what it printed on stderr, and how many lines
            its main thread came to.
        """
        output = self.directory / 'stderr'
        counted = self.directory / 'lines'
        child = os.fork()
        if not child:
            self._in_child(output, counted, arguments, at, signals)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return (
            status,
            output.read_text(errors='replace'),
            int(counted.read_text()),
        )

    def _in_child(
        self,
        output: pathlib.Path,
        counted: pathlib.Path,
        arguments: Sequence[str],
        at: int | None,
        signals: int,
    ) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Whoever started us may have it ignored, as shells do.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115
        sys.stderr = open(output, 'w')  # noqa: SIM115
        trap = Trap(at, signals)
        status = 99
        try:
            trap.install()
            status = command.main(
                ['--config-file', str(self.conf), *arguments]
            )
        except BaseException:
            traceback.print_exc()
        finally:
            sys.settrace(None)
            sys.stderr.flush()
            counted.write_text(str(trap.count))
            os._exit(status)

    # -- what must be

    def check(self, status: int, errors: str) -> str:
        """Look at what a prefetch has left; returns what became of it."""
        if 'Traceback' in errors:
            raise Failure(f'a traceback:\n{errors}')
        states = self._states()
        disks = {
            each['name']: pathlib.Path(each['path'])
            for each in self.control.disks()
        }
        self._check_locks()
        self._check_entries()
        name = naming.base_image_name(self.image_id)
        if status not in (0, INTERRUPTED):
            raise Failure(f'status {status}:\n{errors}')
        if not states and not disks:
            if status != INTERRUPTED:
                raise Failure('done, but nothing is there')
            return 'nothing'
        if states != [seams.READY] or (list(disks) != [name]):
            raise Failure(f'left: {states} {list(disks)}\n{errors}')
        with (
            open(self.glance.data_path(self.image_id), 'rb') as image,
            open(disks[name], 'rb') as disk,
        ):
            if image.read() != disk.read(SIZE):
                raise Failure('the disk is not the image')
        return 'whole'

    def _states(self) -> list[str]:
        """The states of all records, whatever their pool."""
        path = self.state / seams.CATALOG_FILE
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path)) as file:
            return [
                state
                for (state,) in file.execute(
                    'SELECT state FROM base_images UNION ALL'
                    " SELECT 'instance disk' FROM instance_disks"
                )
            ]

    def _check_locks(self) -> None:
        for path in seams.lock_directory(self.state).glob('*.lock'):
            with open(path) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise Failure(f'{path.name} is held') from None

    def _check_entries(self) -> None:
        entries = powervm_server.file_entries(self.control)
        if entries:
            raise Failure(f'{entries} web/File entries are left')

    def clear(self) -> None:
        """Have nothing cached."""
        status, errors, _ = self.run('purge', '--all', '--yes')
        if status:
            raise Failure(errors)


class Trap:
    """Counts the lines of our code, and sends SIGINT at one of them."""

    def __init__(self, at: int | None, signals: int) -> None:
        self._at = at
        self._signals = signals
        self._ready = False
        self.count = 0

    def install(self) -> None:
        """Begin to count, in this thread."""
        sys.settrace(self._called)

    def _called(
        self, frame: types.FrameType, event: str, argument: Any
    ) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(_PACKAGE) or '/tests/' in path:
            return None
        if (
            path.endswith('terminal.py')
            or frame.f_code.co_name in seams.SIGNAL_FUNCTIONS
        ):
            # What handles signals is not interrupted by the first one.
            self._ready = frame.f_code.co_name != (seams.SIGNALS_IGNORED)
            return None
        return self._line

    def _line(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if self._ready:
            self.count += 1
            if self.count == self._at:
                for _ in range(self._signals):
                    os.kill(os.getpid(), signal.SIGINT)
        return self._line


def main(arguments: Sequence[str] | None = None) -> int:
    """Interrupt it everywhere; 1 if anything was left."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--every',
        type=int,
        default=25,
        help='interrupt at each so manyth line',
    )
    parser.add_argument('--first', type=int, default=1)
    parser.add_argument('--last', type=int, default=None)
    parser.add_argument(
        '--signals',
        type=int,
        default=1,
        help='how many come, one right after the other',
    )
    options = parser.parse_args(arguments)
    process.exit_on_sigterm()
    failures = 0
    seen: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix='interrupt-') as name:
        world = World(pathlib.Path(name))
        with world.running():
            # Which lines come is the same from the second time on.
            for _ in range(2):
                status, errors, lines = world.run('prefetch', world.image_id)
                world.check(status, errors)
                world.clear()
            for at in range(
                options.first, (options.last or lines) + 1, options.every
            ):
                try:
                    seen[
                        world.check(
                            *world.run(
                                'prefetch',
                                world.image_id,
                                at=at,
                                signals=options.signals,
                            )[:2]
                        )
                    ] += 1
                except Failure as failure:
                    failures += 1
                    print(f'line {at}: {failure}', flush=True)
                world.clear()
    print(
        f'{lines} lines, interrupted at {sum(seen.values()) + failures} '
        f'of them: {seen["nothing"]} times nothing was left, '
        f'{seen["whole"]} times the image was cached and whole, '
        f'{failures} failures'
    )
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
