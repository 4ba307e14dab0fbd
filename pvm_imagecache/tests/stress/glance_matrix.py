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

"""Every request to Glance gets every wrong answer: the matrix of the results.

A proxy between the product and a real Glance answers one kind of request
wrongly, once or always, while an image is deployed or prefetched. For each
cell this module computes what has to happen, by rules that know HTTP and
nothing of the product: success or which error, how many requests, and what
the message says. It also compares each byte of the disks::

    python -m pvm_imagecache.tests.stress.glance_matrix
    python -m pvm_imagecache.tests.stress.glance_matrix \\
        --only 'range:503.*:resumed' --verbose

A good cell says how it ended: ``miss``, ``hit``, ``fetch`` (a prefetch), or
the status or the word of an error. The words of bad cells are in capitals:

``WRONG``  a disk or a base image has other bytes than the image
``RAW``    an error that is not of this project, or a message with text of
            Python or HTML
``FAIL``   an error where success is expected
``PASS``   success where an error is expected
``KIND``   another error than expected
``VAGUE``  the message does not name what was answered, or where
``COUNT``  more or fewer requests than expected
``LEFT``   a disk, a File entry, a record or a thread is left
"""

import argparse
import collections
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import fnmatch
import functools
import itertools
import json
import logging
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
from typing import Any
from typing import Final
import uuid

from keystoneauth1 import token_endpoint
from oslo_utils import units

from pvm_imagecache import exceptions
from pvm_imagecache import manager as manager_module
from pvm_imagecache import naming
from pvm_imagecache import simulator
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import glance as glance_conf
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import powervm as powervm_server
from pvm_imagecache.tests.servers import process as process_module
from pvm_imagecache.tests.servers import proxy

LOG = logging.getLogger(__name__)
Kind = proxy.Kind

SIZE: Final = units.Mi + 17
#: Where a download breaks that is to be resumed.
_MIDDLE: Final = SIZE // 2
#: Where another one breaks, or one of all data that replaces a range.
_RESET_AT: Final = SIZE * 6 // 10
#: Seconds: the limit of requests in the configuration, a pause below it,
#: and one above.
_TIMEOUT: Final = 2
_SLOW: Final = 0.4
_SILENT: Final = 3.0
#: How often a request is repeated, and how often a download is resumed
#: without progress: as documented.
_REPEATED: Final = 4
#: Seconds in which a cell must end.
_BOUND: Final = 60.0

SCENARIOS: Final = ('cold', 'warm', 'precache', 'resumed')
COUNTS: Final = {'once': 1, 'ever': None}
_JSON: Final = (Kind.METADATA, Kind.LIST)
#: Requests that a product can do without.
_OPTIONAL: Final = (Kind.RANGE, Kind.CHECK)
_TRANSIENT: Final = (408, 429, 500, 502, 503, 504)
_STATUSES: Final = (
    400,
    401,
    403,
    404,
    405,
    408,
    410,
    416,
    429,
    500,
    501,
    502,
    503,
    504,
)
_LOGIN: Final = 'http://login.invalid/sso'
#: What no message may contain.
_RAW: Final = re.compile(
    r'<\w+|Traceback|Exception\b|[a-z]Error\b|IncompleteRead|object at|None'
    r'|HTTPConnectionPool|\(\''
)


def _faults() -> dict[str, proxy.Fault]:
    """Return the columns of the matrix, by name."""
    by_status = {
        str(code): proxy.status(
            code, **({'Retry_After': '0'} if code == 429 else {})
        )
        for code in _STATUSES
    }
    return by_status | {
        'html': proxy.page(),
        'login': proxy.redirection(_LOGIN),
        'no-type': proxy.Fault(headers=(('Content-Type', None),)),
        'wrong-type': proxy.Fault(headers=(('Content-Type', 'text/plain'),)),
        'no-length': proxy.Fault(headers=(('Content-Length', None),)),
        'short': proxy.Fault(cut_at=0.75),
        'long': proxy.Fault(extra=b'and more}'),
        'slow': proxy.Fault(pause=_SLOW),
        'silent': proxy.Fault(pause=_SILENT),
        'stall': proxy.Fault(pause_at=1000, seconds=_SILENT),
        'reset': proxy.Fault(reset_at=-1),
        'reset@mid': proxy.Fault(reset_at=_RESET_AT),
        'no-range': proxy.Fault(ignore_range=True),
        'fake-206': proxy.Fault(ignore_range=True, status=206),
        'other-206': proxy.Fault(headers=(('Content-Range', 'bytes 7-9/10'),)),
    }


FAULTS: Final = _faults()


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place of the matrix."""

    kind: Kind
    fault: str
    count: str
    scenario: str

    @property
    def name(self) -> str:
        """What ``--only`` selects."""
        return f'{self.kind.value}:{self.fault}.{self.count}:{self.scenario}'

    @property
    def ever(self) -> bool:
        return self.count == 'ever'


def cells() -> list[Cell]:
    """Return all cells, in the order in which they are printed."""
    return [
        Cell(kind, fault, count, scenario)
        for scenario, kind, fault, count in itertools.product(
            SCENARIOS, Kind, FAULTS, COUNTS
        )
        if _makes_sense(kind, fault, scenario)
    ]


def _makes_sense(kind: Kind, fault: str, scenario: str) -> bool:
    if kind is Kind.OTHER:
        return False
    if (kind is Kind.RANGE and scenario != 'resumed') or (
        kind is Kind.CHECK and scenario != 'warm'
    ):
        return False
    if fault in ('no-range', 'fake-206', 'other-206'):
        return kind in _OPTIONAL
    # The documents in JSON are too short for these.
    return fault not in ('stall', 'reset@mid') or kind not in _JSON


def selected(patterns: Sequence[str]) -> list[Cell]:
    """Return the cells that a pattern ``KIND:FAULT.COUNT:SCENARIO`` names."""
    return [
        cell
        for cell in cells()
        if not patterns
        or any(fnmatch.fnmatchcase(cell.name, each) for each in patterns)
    ]


# -- the rules


@dataclasses.dataclass(frozen=True)
class Expected:
    """What has to come of a cell.

    :ivar errors: names of the errors that are right; none for success.
    :ivar says: what the message must contain, each one.
    :ivar requests: how many requests of the kind there are, or None.
    """

    errors: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    requests: int | None = None


def expected(cell: Cell) -> Expected:
    """Return what has to come of a cell."""
    # A download that is resumed without ranges begins with a good request
    # for all data.
    before = int(cell.kind is Kind.DATA and cell.scenario == 'resumed')
    found = (
        _expected_of_status(cell, int(cell.fault))
        if cell.fault.isdecimal()
        else _expected_of_content(cell)
    )
    if found.requests is None:
        return found
    # A look-up by name asks for the hidden images too.
    after = int(cell.kind is Kind.LIST and not found.errors)
    return dataclasses.replace(found, requests=before + found.requests + after)


def _success(requests: int | None = 1) -> Expected:
    return Expected(requests=requests)


def _failure(
    *errors: str, says: tuple[str, ...] = (), requests: int | None = 1
) -> Expected:
    return Expected(errors, says, requests)


def _expected_of_status(cell: Cell, status: int) -> Expected:
    says = (f'HTTP {status}',)
    if status in _TRANSIENT:
        return _transient(cell, 'GlanceBusy', says)
    if cell.kind in _OPTIONAL and status in (400, 405, 416, 501):
        return _success()
    if status == 401:
        return _failure('TokenRefused', says=says)
    if status in (400, 403, 404) and cell.kind is Kind.LIST:
        return _failure('GlanceListFailed', says=says)
    if status == 403:
        return _failure('ImageForbidden', says=says)
    if status == 404:
        return _failure('ImageNotFound', says=says)
    return _failure('GlanceFailed', says=says)


def _transient(cell: Cell, error: str, says: tuple[str, ...]) -> Expected:
    if not cell.ever:
        return _success(2)
    if cell.scenario == 'resumed' and cell.kind not in _JSON:
        # The interruption is the first failure.
        return _failure('ImageInterrupted', says=says, requests=_REPEATED - 1)
    return _failure(error, says=says, requests=_REPEATED)


def _expected_of_content(cell: Cell) -> Expected:
    fault, kind = cell.fault, cell.kind
    if fault in ('no-type', 'no-length', 'slow', 'no-range'):
        return _success()
    if fault in ('fake-206', 'other-206'):
        return _success()
    if fault == 'html':
        return _failure('GlanceFailed', says=('HTTP 200', 'a web page'))
    if fault == 'login':
        return _failure('GlanceFailed', says=('HTTP 302', _LOGIN))
    if fault == 'wrong-type':
        if kind in _OPTIONAL:
            # A part that is none, as multipart/byteranges.
            return _success()
        return _failure('GlanceFailed', says=('HTTP 200', 'text/plain'))
    if fault == 'reset':
        return _transient(cell, 'GlanceUnreachable', ('connection',))
    if fault == 'silent':
        return _transient(cell, 'GlanceUnreachable', ('timed out',))
    if kind in _JSON:
        if fault == 'short':
            return _transient(cell, 'GlanceUnreachable', ('closed before',))
        return _failure('GlanceFailed', says=('HTTP 200', 'invalid JSON'))
    return _expected_of_data(cell)


def _expected_of_data(cell: Cell) -> Expected:
    """Return what comes of data that are too long, or break."""
    if cell.scenario == 'warm':
        # They are not read.
        return _success()
    if cell.fault == 'long':
        # Wrong data are fetched once more, as a whole.
        if cell.kind is Kind.RANGE:
            return _success()
        if not cell.ever:
            return _success(2)
        return _failure(
            'ImageTruncated', says=('more than it has',), requests=2
        )
    if cell.kind is Kind.DATA and cell.scenario != 'resumed':
        # It is resumed with a range.
        return _success()
    if not cell.ever:
        return _success(2)
    if cell.kind is Kind.RANGE and cell.fault == 'reset@mid':
        # The second range is shorter than what comes before a reset.
        return _success(2)
    if cell.kind is Kind.RANGE:
        # Wrong data are fetched once more, as a whole.
        return _success(None)
    # It never comes to the end of the image.
    if cell.fault == 'short':
        return _failure('ImageIncomplete', requests=None)
    return _failure('ImageTruncated', requests=None)


# -- running cells


@functools.cache
def _image() -> tuple[str, str]:
    """ID and name of the image."""
    name = f'matrix-{uuid.uuid4().hex[:8]}'
    return base.glance().create_image(name, images.raw_bytes(SIZE)), name


@dataclasses.dataclass
class Verdict:
    """What came of a cell."""

    word: str
    seconds: float
    detail: str = ''
    problems: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    @property
    def shown(self) -> str:
        """The word in the matrix."""
        return self.problems[0][0] if self.problems else self.word


class Bench:
    """A PowerVM, a proxy and a configuration for cells, one after another."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> 'Bench':
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(tempfile.mkdtemp(prefix='pvm-'))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            self.glance = base.glance()
            self.image_id, self.image_name = _image()
            self.base_name = naming.base_image_name(self.image_id)
            self.proxy = stack.enter_context(proxy.Proxy(self.glance.url))
            self.powervm = stack.enter_context(
                simulator.Simulator(str(directory / 'powervm'))
            )
            stack.enter_context(seams.short_retries())
            self._conf_path = directory / 'test.conf'
            self._conf_path.write_text(f"""[pvm_imagecache]
state_path = {directory / 'state'}
host = {self.powervm.host}
port = {self.powervm.port}
protocol = http
volume_group_name = cachevg
first_byte_timeout = {_TIMEOUT}

[glance]
auth_type = admin_token
endpoint = {self.proxy.url}
token = {self.glance.token()}
timeout = {_TIMEOUT}
""")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    @property
    def context(self) -> Any:
        """The request context of a user."""
        auth = token_endpoint.Token(
            self.proxy.url,
            self.glance.token('user', 'demo', ('member', 'reader')),
        )
        return types.SimpleNamespace(
            global_id=None,
            user_id='user',
            project_id='demo',
            get_auth_plugin=lambda: auth,
        )

    @contextlib.contextmanager
    def manager(
        self,
    ) -> Iterator[
        tuple[manager_module.ImageManager, image_source.ImageSource]
    ]:
        """A manager that has made no request yet."""
        conf = shell.read_configuration([str(self._conf_path)], [])
        glance_conf.register(conf)
        source = image_source.ImageSource(client.factory(conf))
        manager = manager_module.ImageManager.from_conf(conf, source)
        with contextlib.closing(manager):
            yield manager, source

    def disks(self) -> dict[str, pathlib.Path]:
        """The files of all disks, by name."""
        return {
            each['name']: pathlib.Path(each['path'])
            for each in self.powervm.control.disks()
        }

    def run(self, cell: Cell) -> Verdict:
        """Run a cell, and judge it."""
        self.proxy.clear()
        with self.manager() as (manager, source):
            if cell.scenario == 'warm':
                manager.prefetch(source.get(self.image_id))
            self.proxy.clear()
            self._arm(cell)
            verdict = _Trial(self, cell, manager, source).run()
            self.proxy.clear()
            self._clean(manager, verdict)
        return verdict

    def _arm(self, cell: Cell) -> None:
        """Prepare the fault, and what leads to the request."""
        data_again = cell.kind is Kind.DATA and cell.scenario in (
            'warm',
            'resumed',
        )
        if data_again:
            for kind in _OPTIONAL:
                self.proxy.inject(kind, proxy.status(400), count=None)
        if cell.scenario == 'resumed':
            self.proxy.inject(Kind.DATA, proxy.Fault(reset_at=_MIDDLE))
        fault = FAULTS[cell.fault]
        if cell.kind is Kind.RANGE and fault.reset_at == _RESET_AT:
            fault = dataclasses.replace(fault, reset_at=SIZE * 3 // 10)
        self.proxy.inject(cell.kind, fault, count=COUNTS[cell.count])

    def _clean(
        self, manager: manager_module.ImageManager, verdict: Verdict
    ) -> None:
        if 'vm1' in self.disks():
            manager.delete_disk('vm1')
        manager.purge(manager.list())
        left = sorted(self.disks())
        entries = powervm_server.file_entries(self.powervm.control)
        if left or entries:
            verdict.problems.append(
                ('LEFT', f'after a purge: {left}, {entries} File entries')
            )


class _Trial:
    """One cell while it runs."""

    def __init__(
        self,
        bench: Bench,
        cell: Cell,
        manager: manager_module.ImageManager,
        source: image_source.ImageSource,
    ) -> None:
        self._bench = bench
        self._cell = cell
        self._manager = manager
        self._source = source
        self._expected = expected(cell)
        self._problems: list[tuple[str, str]] = []
        self._word = ''
        self._error: Exception | None = None

    def run(self) -> Verdict:
        started = time.monotonic()
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        thread.join(_BOUND)
        seconds = time.monotonic() - started
        if thread.is_alive():
            self._bad('FAIL', f'no end within {_BOUND:.0f} s')
        elif self._error is not None:
            self._judge_error(self._error)
        else:
            self._judge_success()
        self._judge_requests()
        self._judge_rest()
        return Verdict(
            self._word, seconds, str(self._error or ''), self._problems
        )

    def _bad(self, word: str, detail: str) -> None:
        self._problems.append((word, detail))

    def _work(self) -> None:
        try:
            self._word = self._operate()
        except Exception as error:
            self._error = error
            self._word = (
                self._cell.fault
                if self._cell.fault.isdecimal()
                else type(error).__name__.removeprefix('Glance')[:9]
            )
            LOG.info('ended with', exc_info=True)

    def _operate(self) -> str:
        context = self._bench.context
        if self._cell.kind is Kind.LIST:
            image = self._source.find(self._bench.image_name, context)
        else:
            image = self._source.get(self._bench.image_id, context)
        if self._cell.scenario == 'precache':
            done = self._manager.prefetch(image, context=context)
            return 'fetch' if done.fetched else 'nothing'
        made = self._manager.create_disk(image, 'vm1', context=context)
        return str(made.outcome.value)

    def _judge_success(self) -> None:
        if self._expected.errors:
            self._bad('PASS', f'{self._word}, not {self._expected.errors}')
            return
        word = {'warm': 'hit', 'precache': 'fetch'}.get(
            self._cell.scenario, 'miss'
        )
        if self._word != word:
            self._bad('FAIL', f'{self._word}, not {word}')
        wanted = {self._bench.base_name}
        if self._cell.scenario != 'precache':
            wanted.add('vm1')
        self._judge_disks(wanted)

    def _judge_disks(self, wanted: set[str]) -> None:
        found = self._bench.disks()
        if set(found) != wanted:
            self._bad('LEFT', f'disks {sorted(found)}, not {sorted(wanted)}')
        content = self._bench.glance.data_path(
            self._bench.image_id
        ).read_bytes()
        for name, path in found.items():
            with path.open('rb') as disk:
                if disk.read(SIZE) != content or disk.read(units.Mi).strip(
                    b'\0'
                ):
                    self._bad('WRONG', f'{name} has other bytes')

    def _judge_error(self, error: Exception) -> None:
        message = str(error)
        if not isinstance(error, exceptions.PVMImageCacheError):
            self._bad('RAW', f'{type(error).__name__}: {message}')
            return
        if not self._expected.errors:
            self._bad('FAIL', f'{type(error).__name__}: {message}')
            return
        if type(error).__name__ not in self._expected.errors:
            self._bad('KIND', f'{type(error).__name__}: {message}')
        if _RAW.search(message):
            self._bad('RAW', message)
        says = [*self._expected.says]
        if self._cell.fault != 'long':
            says.append(f'{self._bench.proxy.url}/v2/')
        missing = [each for each in says if each not in message]
        if missing:
            self._bad('VAGUE', f'without {missing}: {message}')
        self._judge_disks(
            {self._bench.base_name} if self._cell.scenario == 'warm' else set()
        )

    def _judge_requests(self) -> None:
        wanted = self._expected.requests
        found = self._bench.proxy.requests(self._cell.kind)
        if not any(each.faulty for each in found):
            self._bad('COUNT', 'the fault met no request')
        if wanted is not None and len(found) != wanted:
            self._bad('COUNT', f'{len(found)} requests, not {wanted}')

    def _judge_rest(self) -> None:
        self._bench.proxy.clear()
        found = self._manager.reconcile()
        if seams.cleanup_work(found):
            self._bad('LEFT', f'a cleanup run found {found}')
        deadline = time.monotonic() + 10
        while left := [each.name for each in seams.our_threads()]:
            if time.monotonic() > deadline:
                self._bad('LEFT', f'threads: {left}')
                return
            time.sleep(0.02)


def run_all(chosen: Sequence[Cell]) -> Iterator[tuple[Cell, Verdict]]:
    """Run cells one after another, on one bench.

    :param chosen: the cells.
    :returns: an iterator over the cells and what came of them.
    """
    with Bench() as bench:
        for cell in chosen:
            yield cell, bench.run(cell)


# -- printing


def matrix(verdicts: dict[Cell, Verdict]) -> str:
    """Return a table for each scenario: faults down, requests across."""
    lines = []
    for scenario in SCENARIOS:
        kinds = [
            kind
            for kind in Kind
            if any(
                each.kind is kind and each.scenario == scenario
                for each in verdicts
            )
        ]
        if not kinds:
            continue
        heads = [f'{kind.value}.{count}' for kind in kinds for count in COUNTS]
        lines.append(_line(scenario, heads))
        for fault in FAULTS:
            words = []
            for kind, count in itertools.product(kinds, COUNTS):
                cell = Cell(kind, fault, count, scenario)
                found = verdicts.get(cell)
                words.append(found.shown if found else '')
            if any(words):
                lines.append(_line(fault, words))
        lines.append('')
    return '\n'.join(lines)


def _line(name: str, words: Sequence[str]) -> str:
    return (f'{name:11}' + ''.join(f'{each:14}' for each in words)).rstrip()


def _run_in_processes(
    chosen: Sequence[Cell], arguments: argparse.Namespace
) -> Iterator[tuple[Cell, Verdict]]:
    """Share cells among processes, each with its own Glance."""
    by_name = {cell.name: cell for cell in chosen}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                '-m',
                __spec__.name,
                '--part',
                f'{number}/{arguments.jobs}',
                *(f'--only={pattern}' for pattern in arguments.only),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(arguments.jobs)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            for line in process.stdout:
                found = json.loads(line)
                yield by_name.pop(found.pop('cell')), Verdict(**found)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    for cell in by_name.values():
        yield cell, Verdict('error', 0, problems=[('FAIL', 'it was not run')])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument(
        '--only',
        action='append',
        default=[],
        metavar='KIND:FAULT.COUNT:SCENARIO',
        help='run these cells only; shell patterns, repeatable',
    )
    parser.add_argument(
        '--list', action='store_true', help='print the names of the cells'
    )
    parser.add_argument(
        '--verbose', action='store_true', help='show logs and messages'
    )
    parser.add_argument(
        '--jobs', type=int, default=2, help='processes to run side by side'
    )
    # For these processes.
    parser.add_argument('--part', help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(cell: Cell, verdict: Verdict, verbose: bool) -> None:
    for word, detail in verdict.problems:
        print(f'{word} {cell.name}: {detail}', flush=True)
    if verbose:
        print(
            f'{cell.name}: {verdict.shown} ({verdict.seconds:.1f} s) '
            f'{verdict.detail}',
            flush=True,
        )


def main() -> int:
    """Run the selected cells, and print the matrix."""
    arguments = _arguments()
    chosen = selected(arguments.only)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.CRITICAL + 1,
        format='%(threadName)s %(name)s: %(message)s',
    )
    if arguments.list:
        print('\n'.join(cell.name for cell in chosen))
        return 0
    process_module.exit_on_sigterm()
    if arguments.part:
        number, jobs = map(int, arguments.part.split('/'))
        for cell, verdict in run_all(chosen[number::jobs]):
            print(
                json.dumps({'cell': cell.name} | dataclasses.asdict(verdict)),
                flush=True,
            )
        return 0
    if not chosen:
        print('No cell has this name; --list shows all names.')
        return 2
    started = time.monotonic()
    alone = arguments.jobs < 2 or len(chosen) < 20
    verdicts: dict[Cell, Verdict] = {}
    for cell, verdict in (
        run_all(chosen) if alone else _run_in_processes(chosen, arguments)
    ):
        verdicts[cell] = verdict
        _report(cell, verdict, arguments.verbose)
    print(f'\n{matrix(verdicts)}')
    words = collections.Counter(each.shown for each in verdicts.values())
    bad = sum(bool(each.problems) for each in verdicts.values())
    print(
        f'{len(verdicts)} cells, {bad} bad, '
        f'{time.monotonic() - started:.0f} s: '
        + ', '.join(f'{count} {word}' for word, count in words.most_common())
    )
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
