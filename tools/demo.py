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

"""The main job on real parts: one image, deployed twice through the cache.

A real Glance API server holds the image, a PowerVM simulator with real bytes
on disk is the host, and between them is what an operator installs: the
command pvm-imagecache with unmodified pypowervm. Everything is installed
into .demo/ of this checkout, and nothing is left running.
"""

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import environment

HOME = environment.ROOT / '.demo'
VENV = HOME / 'venv'
MIB = 1 << 20
GIB = 1 << 30
#: Bytes per second, the modelled rates: of a host on a 1 Gbit/s network.
GLANCE_RATE = 120_000_000
DISK_RATE = 250_000_000
#: Disk space that the demo needs, in sizes of the image.
COPIES_KEPT = 5
#: Requests that any call of the command makes to find its way.
SESSION_KINDS = (
    'Logon.create',
    'Logon.delete',
    'VirtualIOServer.feed',
    'VolumeGroup.feed',
)


@dataclasses.dataclass
class Deploy:
    """What was seen of one ``disk create``, from outside of it."""

    disk: str
    outcome: str
    seconds: float
    fetched: int
    requests: list[str]
    session_requests: list[str]
    equal: bool


def main() -> int:
    """Parse the options, make the environment, run in it."""
    environment.check_python()
    options = parse(sys.argv[1:])
    if not environment.is_running_in(VENV):
        environment.replace_process(
            environment.prepare(
                VENV,
                ['--editable', '.[functional]'],
                'pvm_imagecache, pypowervm and Glance',
            ),
            __file__,
        )
    # A service manager or a closed terminal ends the demo as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    directory = tempfile.mkdtemp(prefix='run-', dir=HOME)
    try:
        return run(pathlib.Path(directory), options)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f'Kept: {directory}')
        else:
            shutil.rmtree(directory, ignore_errors=True)


def end(number: int, frame: Any) -> None:
    """Leave, by way of everything that tidies up."""
    print(f'ended by signal {number}', file=sys.stderr)
    sys.exit(128 + number)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--size',
        metavar='MIB',
        type=int,
        default=1024,
        help='size of the image that is made (default: %(default)s)',
    )
    parser.add_argument(
        '--image',
        metavar='FILE',
        type=pathlib.Path,
        help='deploy this raw or qcow2 image instead of a made one',
    )
    parser.add_argument(
        '--format',
        choices=('raw', 'qcow2'),
        default='raw',
        help='the format of the image (default: %(default)s)',
    )
    parser.add_argument(
        '--unlimited',
        action='store_true',
        help='do not model the rates of a network and of disks',
    )
    parser.add_argument(
        '--keep',
        action='store_true',
        help='keep the files of the run, to look at them',
    )
    options = parser.parse_args(arguments)
    if options.image and not options.image.is_file():
        parser.error(f'there is no file {options.image}')
    if options.size < 1:
        parser.error('--size must be at least 1')
    return options


def run(directory: pathlib.Path, options: argparse.Namespace) -> int:
    """Start the servers, deploy twice, compare, tidy up."""
    from pvm_imagecache import simulator
    from pvm_imagecache.tests.servers import glance as glance_server

    size = check_space(options)
    say('Starting a Glance API server and a PowerVM simulator')
    with contextlib.ExitStack() as running:
        glance = running.enter_context(
            glance_server.GlanceServer(directory / 'glance')
        )
        powervm = running.enter_context(
            simulator.Simulator(directory / 'powervm')
        )
        image_id = store_image(directory, glance, size, options)
        if not options.unlimited:
            glance.set_bandwidth(GLANCE_RATE)
            powervm.control.change_settings(
                copy_rate=DISK_RATE, upload_rate=DISK_RATE
            )
            print(
                'Rates, as of a host on a 1 Gbit/s network: Glance '
                f'{GLANCE_RATE // 10**6} MB/s, uploads to and copies on '
                f'the host {DISK_RATE // 10**6} MB/s each.'
            )
        shell = Shell(directory, glance, powervm)
        deploys = [
            deploy(shell, glance, powervm, image_id, name)
            for name in ('vm1', 'vm2')
        ]
        say('What the cache holds, and what it saved')
        shell('list')
        shell('usage')
        say('Emptying it: the disks of the VMs stay as they are')
        shell('purge', '--all', '--yes')
        shell('list')
        image = glance.data_path(image_id)
        kept = all(
            same_bytes(image, path_of(powervm, each.disk)) for each in deploys
        )
    report(deploys, kept)
    good = (
        kept
        and [each.outcome for each in deploys] == ['miss', 'hit']
        and all(each.equal for each in deploys)
    )
    return 0 if good else 1


class Shell:
    """Runs pvm-imagecache as a user would, and shows it."""

    def __init__(
        self, directory: pathlib.Path, glance: Any, powervm: Any
    ) -> None:
        self._conf = directory / 'demo.conf'
        self._conf.touch(0o600)
        self._conf.write_text(f"""[pvm_imagecache]
host = {powervm.host}
port = {powervm.port}
protocol = http
volume_group_name = cachevg
state_path = {directory / 'state'}

[glance]
auth_type = admin_token
endpoint = {glance.url}
token = {glance.token()}
""")

    def __call__(self, *arguments: str) -> str:
        print(f'\n$ pvm-imagecache {" ".join(arguments)}', flush=True)
        command = pathlib.Path(sys.executable).with_name('pvm-imagecache')
        # Servers on loopback are not behind anybody's proxy.
        surroundings = os.environ | {'no_proxy': '127.0.0.1'}
        done = subprocess.run(
            [command, '--config-file', self._conf, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=surroundings,
            check=False,
        )
        print(done.stdout, end='', flush=True)
        if done.returncode:
            sys.exit(f'pvm-imagecache ended with {done.returncode}.')
        return done.stdout


def deploy(
    shell: Shell, glance: Any, powervm: Any, image_id: str, disk: str
) -> Deploy:
    """Make one disk, and look at it from the servers' side."""
    say(f'Deploying the image to {disk}')
    glance.reset_downloads()
    seen = max((row['seq'] for row in powervm.control.requests()), default=0)
    started = time.monotonic()
    output = shell('disk', 'create', image_id, disk)
    seconds = time.monotonic() - started
    kinds = [row['type'] for row in powervm.control.requests(since=seen)]
    return Deploy(
        disk=disk,
        outcome=field_of(output, 'outcome'),
        seconds=seconds,
        fetched=sum(each.bytes_sent for each in glance.downloads()),
        requests=[each for each in kinds if each not in SESSION_KINDS],
        session_requests=[each for each in kinds if each in SESSION_KINDS],
        equal=same_bytes(glance.data_path(image_id), path_of(powervm, disk)),
    )


def report(deploys: Sequence[Deploy], kept: bool) -> None:
    """The summary of both deploys."""
    say('Summary')
    rows = [
        ('', *(each.disk for each in deploys)),
        ('outcome', *(each.outcome for each in deploys)),
        (
            'seconds, the whole command',
            *(f'{each.seconds:.1f}' for each in deploys),
        ),
        (
            'bytes fetched from Glance',
            *(str(each.fetched) for each in deploys),
        ),
        (
            'REST requests of the deploy',
            *(str(len(each.requests)) for each in deploys),
        ),
        (
            '... and to log on and find the VG',
            *(str(len(each.session_requests)) for each in deploys),
        ),
        (
            'every byte equals the image',
            *('yes' if each.equal else 'NO' for each in deploys),
        ),
    ]
    width = max(len(row[0]) for row in rows)
    for row in rows:
        print(
            f'{row[0]:<{width}}' + ''.join(f'  {cell:>12}' for cell in row[1:])
        )
    for each in deploys:
        print(f'{each.disk}: {", ".join(each.requests)}')
    print(
        'Both disks were compared again after the purge: '
        + ('unchanged.' if kept else 'THEY HAVE CHANGED.')
    )


def store_image(
    directory: pathlib.Path,
    glance: Any,
    size: int,
    options: argparse.Namespace,
) -> str:
    """Put the image into Glance; returns its id."""
    from pvm_imagecache.tests import images

    path = options.image or directory / 'image'
    if not options.image:
        print(f'Making an image of {size // MIB} MiB ...', flush=True)
        if options.format == 'qcow2':
            path.write_bytes(images.qcow2_bytes(2 * size, size, seed=1))
        else:
            images.write_raw(path, size, seed=1)
    print('Storing it in Glance ...', flush=True)
    image_id = glance.create_image(path.name, path, disk_format=options.format)
    if not options.image:
        path.unlink()
    return str(image_id)


def check_space(options: argparse.Namespace) -> int:
    """The size of the image in bytes; leaves if there is no room for it."""
    size = (
        options.image.stat().st_size if options.image else options.size * MIB
    )
    free = shutil.disk_usage(HOME).free
    if free < COPIES_KEPT * size:
        sys.exit(
            f'The demo needs {COPIES_KEPT * size / GIB:.1f} GiB of '
            f'disk space for an image of that size, but only '
            f'{free / GIB:.1f} GiB are free. Try --size 64.'
        )
    return int(size)


def path_of(powervm: Any, disk: str) -> pathlib.Path:
    """The file that holds a disk's bytes."""
    return next(
        pathlib.Path(each['path'])
        for each in powervm.control.disks()
        if each['name'] == disk
    )


def same_bytes(image: os.PathLike[str], disk: os.PathLike[str]) -> bool:
    """Whether a disk is the image, and zeros after it."""
    with open(image, 'rb') as expected, open(disk, 'rb') as actual:
        for piece in pieces(expected):
            if actual.read(len(piece)) != piece:
                return False
        zeros = bytes(MIB)
        return all(piece == zeros[: len(piece)] for piece in pieces(actual))


def pieces(file: Any) -> Iterator[bytes]:
    """The bytes of a file."""
    while piece := file.read(MIB):
        yield piece


def field_of(table: str, field: str) -> str:
    """A value out of a table with the columns Field and Value."""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split('|')]
        if len(cells) == 4 and cells[1] == field:
            return cells[2]
    return ''


def say(text: str) -> None:
    """A heading."""
    print(f'\n== {text}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
