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

"""Command line of the simulator."""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import os
import re
import signal
import sys
import threading
import types

from pvm_imagecache.simulator import errors
from pvm_imagecache.simulator import settings as settings_module
from pvm_imagecache.simulator import simulator as simulator_module
from pvm_imagecache.simulator import state
from pvm_imagecache.simulator import wordings

_UNITS = {'': 1, 'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30}
_RATE = re.compile(r'(\d+(?:\.\d+)?)([kmg]?)', re.IGNORECASE)
_EPILOG = """
Log on with pypowervm from the same machine, without a password:
  Session(host='127.0.0.1', port=PORT)
or with one: Session(host='127.0.0.1', port=PORT, protocol='http',
  username=USER, password=PASSWORD).
Rates are bytes per second; suffixes k, m and g mean KiB, MiB and GiB.
"""


def _rate(text: str) -> int:
    match = _RATE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r} is not a rate')
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _sized(text: str) -> tuple[str, float]:
    name, _, size = text.rpartition('=')
    try:
        gb = float(size)
    except ValueError:
        gb = 0.0
    if not name or gb <= 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=GB')
    return name, gb


def _group(text: str) -> simulator_module.Group:
    name, gb = _sized(text)
    vios, _, group = name.rpartition('/')
    return simulator_module.Group(group, gb, vios or None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='pvm-imagecache-simulator',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='A PowerVM REST API server (NovaLink) with real bytes '
        'on disk. Prints its URL on one line when it is ready; '
        'SIGTERM and SIGINT stop it.',
    )
    parser.add_argument(
        '--state-dir',
        required=True,
        metavar='DIR',
        help='where disks and state are kept; made if it does not exist, '
        'continued if it does',
    )
    parser.add_argument(
        '--port',
        type=int,
        default=0,
        help='TCP port (default: 0, any free one)',
    )
    parser.add_argument(
        '--bind',
        default='127.0.0.1',
        metavar='ADDRESS',
        help='address to listen on (default: %(default)s)',
    )
    parser.add_argument(
        '--allow-remote',
        action='store_true',
        help='permit a --bind address that is not loopback; anyone who '
        'reaches it may then control the simulator',
    )
    parser.add_argument(
        '--ready-file',
        metavar='FILE',
        help='write the URL to this file when ready',
    )
    parser.add_argument(
        '--watch-stdin',
        action='store_true',
        help='stop when standard input ends, too: with whoever holds the '
        'other end of the pipe',
    )
    parser.add_argument(
        '--user',
        default=simulator_module.DEFAULT_USER,
        help='for log-on by password (default: %(default)s)',
    )
    parser.add_argument(
        '--password',
        default=simulator_module.DEFAULT_PASSWORD,
        help='for log-on by password (default: %(default)s)',
    )
    _add_storage(parser.add_argument_group('storage'))
    _add_settings(
        parser.add_argument_group(
            'behaviour', 'can be changed at run time by the control API'
        )
    )
    return parser


def _add_storage(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--vios',
        action='append',
        metavar='NAME',
        help='a Virtual I/O Server; may be repeated (default: vios1)',
    )
    group.add_argument(
        '--volume-group',
        action='append',
        type=_group,
        metavar='[VIOS/]NAME=GB',
        help='a volume group, of the first VIOS unless said otherwise; may '
        'be repeated (default: rootvg=100 and cachevg=1000)',
    )
    group.add_argument(
        '--cluster',
        type=_sized,
        metavar='NAME=GB',
        help='a cluster of all VIOSes with a Shared Storage Pool of that '
        'capacity (default: none)',
    )


def _add_settings(group: argparse._ArgumentGroup) -> None:
    _add_transfers(group)
    _add_updates(group)
    _add_disks(group)
    group.add_argument(
        '--file-limit',
        type=int,
        metavar='N',
        help='most web/File entries at a time (default: 100)',
    )
    group.add_argument(
        '--vios-level',
        metavar='TEXT',
        help='version of each VIOS (default: VIOS 2.2.4.0)',
    )
    group.add_argument(
        '--platform-level',
        metavar='TEXT',
        help='schema version that a logon is answered with (default: V1_3_0)',
    )


def _add_transfers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--copy-rate',
        type=_rate,
        metavar='RATE',
        help='of each copy of a base image (default: unlimited)',
    )
    group.add_argument(
        '--total-copy-rate',
        type=_rate,
        metavar='RATE',
        help='of all copies together (default: unlimited)',
    )
    group.add_argument(
        '--copies',
        choices=list(settings_module.Copies),
        help='how copies in one update run (default: serial)',
    )
    group.add_argument(
        '--copy-larger',
        choices=list(settings_module.CopyLarger),
        help='a copy to a disk that is larger than the base image '
        '(default: accepted)',
    )
    group.add_argument(
        '--upload-rate',
        type=_rate,
        metavar='RATE',
        help='of each upload (default: unlimited)',
    )
    group.add_argument(
        '--total-upload-rate',
        type=_rate,
        metavar='RATE',
        help='of all uploads together (default: unlimited)',
    )
    group.add_argument(
        '--upload-limit',
        type=int,
        metavar='N',
        help='most uploads at a time; 0 for no limit (default: 0)',
    )
    group.add_argument(
        '--uploads-over-limit',
        choices=list(settings_module.OverLimit),
        help='an upload over the limit: refused with 503, or not read until '
        'another one ends (default: refused)',
    )


def _add_updates(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--concurrent-updates',
        choices=list(settings_module.ConcurrentUpdates),
        help='an update while another one runs: it waits for the other one '
        'of the same volume group, is refused with 412, or with HSCL3205 if '
        'the other one is of the same VIOS (default: queued)',
    )
    group.add_argument(
        '--if-match',
        choices=list(settings_module.IfMatch),
        help='refuse a stale If-Match with 412, when the update is carried '
        'out or when it arrives, or take the update as one without If-Match '
        '(default: enforced)',
    )
    group.add_argument(
        '--unconditional-update',
        choices=list(settings_module.UnconditionalUpdate),
        help='what a volume group POST without If-Match does: take the body '
        'as the whole truth, or only create (default: overwrite)',
    )


def _add_disks(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--labels',
        choices=list(settings_module.Labels),
        help='whether disks keep their labels, lose them, or keep only the '
        f'first {settings_module.LABEL_LENGTH} characters (default: kept)',
    )
    group.add_argument(
        '--granularity',
        type=_rate,
        metavar='SIZE',
        help='capacities of disks are rounded up to a multiple of it, in '
        'bytes (default: 1m)',
    )
    group.add_argument(
        '--fractions',
        choices=list(settings_module.Fractions),
        help='a capacity that is not a whole number of GiB; rounded: up to '
        'whole GiB (default: accepted)',
    )
    group.add_argument(
        '--file-formats',
        choices=list(settings_module.FileFormats),
        help='a new disk with a file format such as qcow2 (default: accepted)',
    )
    group.add_argument(
        '--new-disks',
        choices=list(settings_module.NewDisks),
        help='what a new disk has that nothing was written to: zeros, or the '
        'blocks of deleted disks (default: zeroed)',
    )
    group.add_argument(
        '--name-scope',
        choices=list(settings_module.NameScope),
        help='where the name of a disk must be unique: on its VIOS, or in '
        'its volume group (default: vios)',
    )
    group.add_argument(
        '--name-wording',
        metavar='WORDING',
        help='how the name of another disk is refused: '
        f'{", ".join((wordings.MIXED, *wordings.NAME))}, or a text with '
        '{name} and {group}; mixed: rest for a disk of the same volume '
        'group, else mklv (default: mixed)',
    )
    group.add_argument(
        '--space-wording',
        metavar='WORDING',
        help='how a disk is refused that does not fit: '
        f'{", ".join(wordings.SPACE)}, or a text with {{group}}, '
        '{wanted} and {free} (default: allocp)',
    )
    group.add_argument(
        '--logical-volume-limit',
        type=int,
        metavar='N',
        help='most logical volumes of a volume group; 0 for no limit '
        '(default: 0)',
    )


def _simulator(args: argparse.Namespace) -> simulator_module.Simulator:
    settings = {
        field.name: value
        for field in dataclasses.fields(settings_module.Settings)
        if (value := getattr(args, field.name, None)) is not None
    }
    return simulator_module.Simulator(
        args.state_dir,
        port=args.port,
        bind=args.bind,
        allow_remote=args.allow_remote,
        vioses=args.vios or simulator_module.DEFAULT_VIOSES,
        volume_groups=args.volume_group or simulator_module.DEFAULT_GROUPS,
        cluster=args.cluster,
        user=args.user,
        password=args.password,
        **settings,
    )


def main(argv: collections.abc.Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, or the end of what is watched."""
    args = _parser().parse_args(argv)
    done = threading.Event()

    def stop(number: int, frame: types.FrameType | None) -> None:
        done.set()

    try:
        simulator = _simulator(args)
    except (OSError, ValueError, errors.RestError, state.InUse) as exc:
        print(f'pvm-imagecache-simulator: {exc}', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with simulator:
        if args.ready_file:
            _write(args.ready_file, simulator.url)
        print(simulator.url, flush=True)
        if args.watch_stdin:
            threading.Thread(
                target=_wait_for_end, args=(done,), daemon=True
            ).start()
        done.wait()
    return 0


def _wait_for_end(done: threading.Event) -> None:
    """Nothing is read by the buffered stdin, which a thread may not hold."""
    while os.read(0, 1024):
        pass
    done.set()


def _write(path: str, url: str) -> None:
    """All at once: whoever waits for the file finds the whole URL."""
    temporary = f'{path}.{os.getpid()}'
    with open(temporary, 'w') as file:
        file.write(url + '\n')
    os.replace(temporary, path)


if __name__ == '__main__':
    sys.exit(main())
