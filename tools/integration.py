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

"""All of nova on this machine, with our driver in nova-compute.

RabbitMQ, MariaDB, Keystone, Placement, Glance and nova run as they do in a
cloud, each as a process of its own; a simulator stands in for the PowerVM
host and a few lines for Neutron. Servers are booted, deleted, and images are
cached and evicted, all by the openstack client. Everything is installed into
.integration/ of this checkout, but for two servers from Debian, and nothing
is left running.
"""

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import fcntl
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from typing import Any

from cloud import debian
from cloud import wheel
import environment

HOME = environment.ROOT / '.integration'
#: By release of OpenStack: the series of nova, Glance, Keystone, Placement.
SERIES = {
    '2025.1': (31, 30, 27, 13),
    '2025.2': (32, 31, 28, 14),
    '2026.1': (33, 32, 29, 15),
    '2026.2': (34, 33, 30, 16),
}
#: Their nova-compute has native threads by default.
NATIVE = ('2026.2',)
PACKAGES = (
    '--requirement=requirements.txt',
    'osc-placement',
    'pbr>=6.1.1',
    'PyMySQL',
    'python-openstackclient',
    'setuptools>=77.0',
    'wheel',
)
MIB = 1 << 20
GIB = 1 << 30
#: Room for the databases and journals of the servers, and for the images
#: and disks in sizes of the image.
SPACE = 2 * GIB
COPIES_KEPT = 8


def main() -> int:
    """Parse the options, make the environment, run in it."""
    environment.check_python()
    options = parse(sys.argv[1:])
    venv = HOME / f'venv-{options.release}'
    if not environment.is_running_in(venv):
        debian.check(options.install)
        environment.replace_process(
            environment.prepare(
                venv,
                packages(options.release),
                f'OpenStack {options.release}',
            ),
            __file__,
        )
    debian.check(install=False)
    # A service manager or a closed terminal ends the run as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    check_space(options)
    with only_one():
        directory = pathlib.Path(tempfile.mkdtemp(prefix='run-', dir=HOME))
        kept = options.keep
        try:
            code = run(directory, options)
            kept = kept or code != 0
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            code = 130
        except Exception:
            kept = True
            raise
        finally:
            if kept:
                print(f'Kept: {directory}, with all logs in {directory}/logs')
            else:
                shutil.rmtree(directory, ignore_errors=True)
    return code


def packages(release: str) -> list[str]:
    """The arguments of pip for the services of a release."""
    names = ('nova', 'glance', 'keystone', 'openstack-placement')
    return [
        f'--constraint=constraints/{release}.txt',
        *PACKAGES,
        *(
            f'{name}~={series}.0'
            for name, series in zip(names, SERIES[release], strict=True)
        ),
    ]


def end(number: int, frame: Any) -> None:
    """Leave, by way of everything that tidies up."""
    print(f'ended by signal {number}', file=sys.stderr)
    sys.exit(128 + number)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--install',
        action='store_true',
        help='install what is missing of Debian (as root)',
    )
    parser.add_argument(
        '--size',
        metavar='MIB',
        type=int,
        default=512,
        help='size of the larger of two images (default: %(default)s)',
    )
    parser.add_argument(
        '--release',
        choices=SERIES,
        default=max(SERIES),
        help='release of OpenStack (default: %(default)s)',
    )
    parser.add_argument(
        '--eventlet',
        action=argparse.BooleanOptionalAction,
        help='run nova under eventlet, or with native threads (default: as '
        'the release does)',
    )
    parser.add_argument(
        '--as-deployed',
        action='store_true',
        help='Glance and Keystone as in many clouds: one of two api_servers '
        'is down, addresses of Glance have a version, its store cannot read '
        'ranges, and auth_url in [service_user] has no version',
    )
    parser.add_argument(
        '--keep',
        action='store_true',
        help='leave everything running at the end, until Ctrl-C, and tell '
        'how to use it',
    )
    options = parser.parse_args(arguments)
    if options.eventlet is None:
        options.eventlet = options.release not in NATIVE
    if not 2 <= options.size <= 1024:
        parser.error(
            '--size must be from 2 to 1024: the disks of the '
            'servers have 2 GiB'
        )
    return options


def run(directory: pathlib.Path, options: argparse.Namespace) -> int:
    """Bring the cloud up, use it, sum up."""
    started = time.monotonic()
    print('Bringing up:\n   the wheel of this checkout ...', flush=True)
    wheel.install(environment.ROOT, directory)
    # These import what the wheel has brought.
    from cloud import processes
    from cloud import site as site_module
    from cloud import story as story_module
    from cloud import whole

    site = site_module.Site.make(
        directory, options.eventlet, options.as_deployed
    )
    try:
        with whole.Cloud(site) as cloud:
            print(f'   up after {time.monotonic() - started:.0f} seconds')
            story = story_module.Story(cloud, options.size * MIB)
            story.tell()
            story.sum_up()
            if options.keep:
                keep(site)
    except processes.ProcessError as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    print(
        f'\n{time.monotonic() - started:.0f} seconds in all, OpenStack '
        f'{options.release}, nova with '
        f'{"eventlet" if options.eventlet else "native threads"}'
        f'{", Glance as deployed" if options.as_deployed else ""}.'
    )
    for failure in story.failures:
        print(f'WRONG: {failure}')
    return 1 if story.failures else 0


def keep(site: Any) -> None:
    """Say how to use what is running, and wait for Ctrl-C."""
    from cloud import client
    from cloud import keystone
    from cloud import nova

    print(
        f"""
Everything is running until Ctrl-C. To use it, in another terminal:
  export PATH={pathlib.Path(sys.prefix) / 'bin'}:$PATH
  . {client.write_rc(site, keystone.ADMIN)}    (an administrator)
  . {client.write_rc(site, keystone.MEMBER)}    (a user)
  openstack server create --flavor small --image debian --no-network vm1
  pvm-imagecache --config-file {nova.compute_conf(site)} list
  curl -H "X-Simulator-Control: 1" {site.url('powervm')}/simulator/disks
The logs of all services are in {site.logs}.""",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Leave if another run uses the environment, which we change."""
    with (HOME / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit('Another run of this checkout is not over yet.')
        yield


def check_space(options: argparse.Namespace) -> None:
    """Leave if there is no room for the run."""
    wanted = SPACE + COPIES_KEPT * options.size * MIB
    free = shutil.disk_usage(HOME).free
    if free < wanted:
        sys.exit(
            f'{wanted / GIB:.1f} GiB of disk space are needed, but only '
            f'{free / GIB:.1f} GiB are free. Try --size 64.'
        )


if __name__ == '__main__':
    sys.exit(main())
