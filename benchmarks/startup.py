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

"""How long commands take from start to end, against a bare cliff program.

Whole processes, run in turn, so that what else the machine does strikes all
of them. ``list`` reads a catalog of 20 images that a simulated PowerVM
holds; the bare program lists as many rows. Stevedore keeps what is installed
in a file of the user, which the first run writes. Ratios are of medians of
the seconds of CPU time, which is what a command takes for itself.

Ends with 1 if a ratio is above its limit.
"""

import argparse
from collections.abc import Sequence
import os
import pathlib
import shutil
import statistics
import sys
import tempfile

from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import facade

IMAGES = 20
_BARE = """
import sys
from cliff import app
from cliff import commandmanager
from cliff import lister


class List(lister.Lister):
    'List things.'

    def take_action(self, parsed_args):
        return ('ID', 'Name', 'State', 'Size', 'Hits', 'Last Accessed'), [
            (f'{number:08}', f'image-{number}', 'ready', '400 MiB', number,
             '3 h ago') for number in range(20)]


manager = commandmanager.CommandManager('a.namespace.of.nobody')
manager.add_command('list', List)
sys.exit(app.App('bare', '1', manager).run(sys.argv[1:]))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all of them, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=15)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix='startup-') as name:
        directory = pathlib.Path(name)
        bare = directory / 'bare.py'
        bare.write_text(_BARE)
        conf = prepare(directory)
        ours = [
            sys.executable,
            '-m',
            'pvm_imagecache.cmd.main',
            '--config-file',
            str(conf),
        ]
        commands = {
            'bare --version': [sys.executable, str(bare), '--version'],
            'bare list': [sys.executable, str(bare), 'list'],
            '--version': [
                sys.executable,
                '-m',
                'pvm_imagecache.cmd.main',
                '--version',
            ],
            'list': [*ours, 'list'],
        }
        openstack = shutil.which(
            'openstack', path=os.path.dirname(sys.executable)
        ) or (shutil.which('openstack'))
        if openstack:
            commands['openstack --version'] = [openstack, '--version']
        medians = measure(commands, options.rounds)
    for each, seconds in medians.items():
        print(f'{each:22}{seconds * 1000:7.0f} ms of CPU')
    limits = [('--version', 'bare --version', 1.1), ('list', 'bare list', 1.3)]
    if openstack:
        limits += [
            ('--version', 'openstack --version', 0.5),
            ('list', 'openstack --version', 0.5),
        ]
    else:
        print('openstack is not installed: not compared')
    good = True
    for one, other, limit in limits:
        ratio = medians[one] / medians[other]
        good = good and ratio <= limit
        print(
            f'{one} / {other}: {ratio:.2f}, at most {limit}: '
            + ('met' if ratio <= limit else 'NOT MET')
        )
    return 0 if good else 1


def prepare(directory: pathlib.Path) -> pathlib.Path:
    """A configuration, and a catalog that was used before."""
    state = directory / 'state'
    conf = directory / 'conf'
    conf.write_text(
        f'[pvm_imagecache]\nstate_path = {state}\n'
        'volume_group_name = cachevg\n'
    )
    catalog = facade.Catalog(str(state / 'catalog.sqlite'))
    catalog.pools.record_name('localdisk/localhost///cachevg', 'pool')
    for number in range(IMAGES):
        image = image_module.Image(
            f'{number:08}-0000-4000-8000-000000000000',
            f'image-{number}',
            400 << 20,
            'raw',
            os_hash_algo='sha512',
            os_hash_value='ab' * 64,
        )
        record = catalog.base_images.start_fill('pool', f'disk{number}', image)
        catalog.base_images.set_disk(record, f'udid{number}', 1 << 30)
        catalog.base_images.finish_fill(record, image)
    catalog.close()
    return conf


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """The median seconds of CPU time of each, run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, words in commands.items():
            spent = run(words)
            if number:
                seconds[name].append(spent)
    return {name: statistics.median(each) for name, each in seconds.items()}


def run(words: list[str]) -> float:
    """Run a process to its end; its seconds of CPU time."""
    null = os.open(os.devnull, os.O_RDWR)
    child = os.posix_spawn(
        words[0],
        words,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, null, 1),
        ],
    )
    os.close(null)
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f'{" ".join(words)} failed')
    return usage.ru_utime + usage.ru_stime


if __name__ == '__main__':
    sys.exit(main())
