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

"""Operations that are interrupted at each of their requests to PowerVM.

At each request of each operation, in turn, the session expires, the REST
service is restarted, or, in updates with copies, the Virtual I/O Server is
rebooted. Nothing wrong is served or cached, a foreign disk is untouched, the
next cleanup run leaves nothing behind, and the next deploy works::

    python -m pvm_imagecache.tests.stress.restarts
    python -m pvm_imagecache.tests.stress.restarts hit,miss expire

``expire``    the session expires at the request
``before``    the service is restarted instead of carrying out the request
``after``     the service is restarted after the request is carried out, and
              it loses the File entries
``down``      the service stops instead of carrying out the request, and runs
              again after the operation has ended
``rejected``  the request is carried out, but answered with an error
``reboot``    the server is rebooted in the middle of a copy: see
              :data:`REBOOTS`
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import logging
import pathlib
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from typing import Any
from typing import Final
from unittest import mock

from oslo_utils import units
from pypowervm.helpers import vios_busy
from pypowervm.wrappers import vios_file as pvm_file

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache import manager as manager_module
from pvm_imagecache import naming
from pvm_imagecache import plugins
from pvm_imagecache import simulator
from pvm_imagecache.cmd import shell
from pvm_imagecache.conf import glance as glance_conf
from pvm_imagecache.deploy import instance_disk
from pvm_imagecache.drivers import powervm
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import process as process_module

SIZE: Final = 3 * units.Mi + 17
#: Seconds in which an operation must have ended.
BOUND: Final = 60.0
#: A request that waits for the end of its server.
_LONG: Final = 10 * BOUND
_FOREIGN: Final = 'b_foreign'
#: Operations whose success makes the disk vm1.
DEPLOYS: Final = ('hit', 'miss', 'bypass')
OPERATIONS: Final = (
    *DEPLOYS,
    'prefetch',
    'purge',
    'adopt',
    'cleanup',
    'delete',
)


class RestService:
    """A PowerVM whose REST service can be restarted on the same port."""

    def __init__(
        self, directory: pathlib.Path, bind: str, settings: dict[str, Any]
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._bind = bind
        self._running: simulator.Simulator | None = None
        self.start()

    @property
    def now(self) -> simulator.Simulator:
        """The service that runs."""
        assert self._running is not None
        return self._running

    def start(self, port: int = 0) -> None:
        """Start the service, if it does not run."""
        if self._running is None:
            started = simulator.Simulator(
                str(self._directory),
                port=port,
                bind=self._bind,
                **self._settings,
            )
            started.start()
            self._running = started
            self.port = started.port
            self.control = started.control

    def stop(self) -> None:
        """Stop the service: sessions and requests in progress end."""
        if self._running is not None:
            running, self._running = self._running, None
            running.stop()

    def forget_files(self) -> None:
        """Remove all File entries; the service must be stopped."""
        path = self._directory / 'state.sqlite'
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("DELETE FROM record WHERE kind = 'file'")


class Bench:
    """What one interrupted operation runs on.

    :param operation: one of :data:`OPERATIONS`.
    :param options: more lines of the configuration.
    :param settings: of the simulator.
    """

    def __init__(
        self,
        operation: str,
        *,
        options: str = '',
        bind: str = '127.0.0.1',
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._operation = operation
        self._options = options
        self._settings = settings or {}
        self._bind = bind
        self._stack = contextlib.ExitStack()
        self.problems: list[str] = []
        self.error: Exception | None = None

    def __enter__(self) -> 'Bench':
        try:
            self._enter()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _enter(self) -> None:
        self._stack.enter_context(seams.short_retries())
        self._stack.enter_context(seams.no_late_requests())
        self._stack.enter_context(
            mock.patch.object(vios_busy, 'SLEEP', lambda _: None)
        )
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix='pvm-'))
        self._stack.callback(shutil.rmtree, self._directory, True)
        self.glance = base.glance()
        self.glance.clear_faults()
        self.image_id = image_of(SIZE)
        self.base_name = naming.base_image_name(self.image_id)
        self.powervm = RestService(
            self._directory / 'powervm', self._bind, self._settings
        )
        self._stack.callback(self.powervm.stop)
        self._foreign = self.plant(_FOREIGN)
        self._conf = self._make_conf()
        self._prepare()
        self.manager, source = self._make_manager()
        self._stack.callback(self.manager.close)
        self.image = source.get(self.image_id)
        self.powervm.control.clear_requests()

    def plant(self, name: str) -> dict[str, Any]:
        """Create a disk with the data of the image, as another client."""
        return self.powervm.control.plant_disk(
            'cachevg',
            name,
            units.Gi,
            content=str(self.glance.data_path(self.image_id)),
        )

    def _make_conf(self) -> Any:
        path = self._directory / 'test.conf'
        path.write_text(f"""[pvm_imagecache]
state_path = {self._directory / 'state'}
enabled = {self._operation != 'bypass'}
host = {self.powervm.now.host}
port = {self.powervm.port}
protocol = http
volume_group_name = cachevg
minimum_age = 0
{'max_gib = 1' if self._operation == 'cleanup' else ''}
{self._options}

[glance]
auth_type = admin_token
endpoint = {self.glance.url}
token = {self.glance.token()}
""")
        conf = shell.read_configuration([str(path)], [])
        glance_conf.register(conf)
        return conf

    def _make_manager(
        self,
    ) -> tuple[manager_module.ImageManager, image_source.ImageSource]:
        source = image_source.ImageSource(client.factory(self._conf))
        return (
            manager_module.ImageManager.from_conf(self._conf, source),
            source,
        )

    # -- before the operation

    def _prepare(self) -> None:
        if self._operation == 'adopt':
            self.plant(self.base_name)
            return
        manager, source = self._make_manager()
        with contextlib.closing(manager):
            image = source.get(self.image_id)
            if self._operation in ('hit', 'purge', 'cleanup'):
                manager.prefetch(image)
            if self._operation == 'delete':
                manager.create_disk(image, 'vm1')
            if self._operation == 'cleanup':
                other = source.get(image_of(units.Mi))
                manager.prefetch(other)
                self._leave(source.get(image_of(2 * units.Mi)))

    def _leave(self, image: image_module.Image) -> None:
        """Leave what processes leave that are killed in uploads."""
        with (
            contextlib.closing(plugins.load_driver(self._conf)) as driver,
            seams.open_catalog(self._directory / 'state') as catalog,
            self.adapter() as adapter,
        ):
            for name in (naming.base_image_name(image.id), 'vm9'):
                disk = seams.leave_incomplete(driver, catalog, name, image)
                pvm_file.File.bld(
                    adapter,
                    name,
                    pvm_file.FileType.DISK_IMAGE,
                    str(adapter.read('VirtualIOServer').feed.entries[0].uuid),
                    tdev_udid=disk.udid,
                ).create()

    # -- the operation

    def run(self) -> None:
        """Run the operation; an error of it is kept."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        thread.join(BOUND)
        if thread.is_alive():
            raise AssertionError(f'{self._operation} does not end')
        if self.error is not None and not isinstance(
            self.error, exceptions.PVMImageCacheError
        ):
            self.problems.append(f'raw error: {self.error!r}')

    def _run(self) -> None:
        try:
            self._operate()
        except Exception as error:
            self.error = error

    def _operate(self) -> None:
        if self._operation in DEPLOYS:
            self.manager.create_disk(self.image, 'vm1')
        elif self._operation == 'prefetch':
            self.manager.prefetch(self.image)
        elif self._operation == 'purge':
            self.manager.purge(self.manager.list())
        elif self._operation == 'adopt':
            self.manager.adopt(self.image)
        elif self._operation == 'cleanup':
            self.manager.run_cleanup()
        elif self._operation == 'delete':
            self.manager.delete_disk('vm1')
        else:
            raise ValueError(f'unknown operation {self._operation}')

    # -- interruptions

    def restart_at(
        self,
        number: int,
        *,
        action: str,
        back: bool,
        forget_files: bool = False,
        **rule: Any,
    ) -> contextlib.AbstractContextManager[None]:
        """Restart the service while a request is in progress.

        :param number: of the request, from 0.
        :param action: of the fault that keeps the request in progress.
        :param back: whether the service runs again at once, and not only
            when the block has ended.
        :param forget_files: whether the service loses the File entries.
        """
        control = self.powervm.control
        port = self.powervm.port
        fault = control.add_fault(
            action, skip=number, count=1, seconds=_LONG, **rule
        )

        def restart() -> None:
            if not self._await_hit(control, fault, over):
                return
            self.hit = True
            self.powervm.stop()
            if forget_files:
                self.powervm.forget_files()
            if back:
                self.powervm.start(port)

        over = threading.Event()
        self.hit = False

        @contextlib.contextmanager
        def block() -> Iterator[None]:
            thread = threading.Thread(target=restart, daemon=True)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()
                self.powervm.start(port)
                self.powervm.control.clear_faults()

        return block()

    @staticmethod
    def _await_hit(
        control: simulator.Control, fault: int, over: threading.Event
    ) -> bool:
        while not over.wait(0.005):
            if any(
                rule['hits']
                for rule in control.faults()
                if rule['id'] == fault
            ):
                return True
        return False

    # -- afterwards

    def check(self) -> None:
        """Check that nothing is wrong, and that all recovers."""
        self._check_disks('after the operation')
        for what, step in (
            ('reconcile', self._check_reconciled),
            ('the next deploy', self._check_next),
        ):
            try:
                step()
            except exceptions.PVMImageCacheError as error:
                self.problems.append(f'{what}: {error!r}')
        end = time.monotonic() + BOUND
        while threads := seams.our_threads():
            if time.monotonic() > end:
                self.problems.append(f'threads are left: {threads}')
                break
            time.sleep(0.02)

    def _check_disks(self, when: str) -> None:
        disks = self.powervm.control.disks()
        paths = {each['name']: pathlib.Path(each['path']) for each in disks}
        if not any(each['udid'] == self._foreign['udid'] for each in disks):
            self.problems.append(f'the foreign disk is gone {when}')
        else:
            self._compare(paths[_FOREIGN], self.image_id, when)
        if self.error is None and self._operation in DEPLOYS:
            self._compare(paths.get('vm1'), self.image_id, when)
        with seams.open_catalog(self._directory / 'state') as catalog:
            for record in catalog.base_images.list(
                self.manager.driver.pool_id()
            ):
                if record.state.value != seams.READY:
                    continue
                for disk in disks:
                    if disk['udid'] == record.udid:
                        self._compare(
                            pathlib.Path(disk['path']), record.image.id, when
                        )

    def _compare(
        self, path: pathlib.Path | None, image_id: str, when: str
    ) -> None:
        if path is None:
            self.problems.append(f'the disk is gone {when}')
            return
        wanted = self.glance.data_path(image_id).read_bytes()
        with open(path, 'rb') as disk:
            if disk.read(len(wanted)) != wanted:
                self.problems.append(f'{path.name} has wrong bytes {when}')

    def _check_reconciled(self) -> None:
        found = self.manager.reconcile()
        if found.failed:
            self.problems.append(f'reconcile: {found.failed}')
        self._check_disks('after reconcile')
        pool = self.manager.driver.pool_id()
        expected = {_FOREIGN}
        with seams.open_catalog(self._directory / 'state') as catalog:
            for record in catalog.base_images.list(pool):
                expected.add(record.disk_name)
                if record.state.value != seams.READY:
                    self.problems.append(f'left: {record}')
            for entry in seams.instance_disks(catalog, pool):
                self.problems.append(f'left: {entry}')
        if self._operation in DEPLOYS and self.error is None:
            expected.add('vm1')
        if self._operation == 'adopt':
            # Without a record it is a disk of another client.
            expected.add(self.base_name)
        disks = {each['name'] for each in self.powervm.control.disks()}
        if self._operation == 'delete':
            expected |= {'vm1'} & disks if self.error else set()
        if disks - expected:
            self.problems.append(f'left: {sorted(disks - expected)}')
        with self.adapter() as adapter:
            files = len(pvm_file.File.get(adapter, service='web'))
        if files:
            self.problems.append(f'left: {files} File entries')

    def _check_next(self) -> None:
        done = self.manager.create_disk(self.image, 'vm2')
        disks = {
            each['name']: pathlib.Path(each['path'])
            for each in self.powervm.control.disks()
        }
        self._compare(disks.get('vm2'), self.image_id, 'at the next deploy')
        if (
            done.outcome is instance_disk.Outcome.BYPASS
            and self._operation != 'bypass'
        ):
            self.problems.append(f'bypass at the next deploy: {done.reason}')

    @contextlib.contextmanager
    def adapter(self) -> Iterator[Any]:
        """A session beside that of the manager."""
        source = powervm.AdapterSource(
            powervm.Connection(
                host=self.powervm.now.host,
                port=self.powervm.port,
                protocol='http',
            )
        )
        try:
            yield source()
        finally:
            source.close()


def image_of(size: int) -> str:
    """An image of this size, the same one at each call."""
    if size not in _IMAGES:
        _IMAGES[size] = base.glance().create_image(
            f'interrupted-{size}', images.raw_bytes(size, size)
        )
    return _IMAGES[size]


_IMAGES: Final[dict[int, str]] = {}


def kinds(operation: str, options: str = '') -> list[str]:
    """The requests of an operation that nothing interrupts."""
    with Bench(operation, options=options) as bench:
        bench.run()
        if bench.error:
            raise bench.error
        return [row['type'] for row in bench.powervm.control.requests()]


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of an interrupted operation."""

    name: str
    error: Exception | None
    problems: list[str]


#: How much of a copy there is after a reboot, and what the client gets:
#: fault rules of the update.
REBOOTS: Final[dict[str, list[dict[str, Any]]]] = {
    f'{copied}-{answer}': [*rules, answer_rule]
    for copied, rules in {
        'none': [],
        'partly': [{'action': 'break_copies', 'bytes': SIZE // 2}],
        'wholly': [{'action': 'break_copies', 'bytes': units.Gi}],
    }.items()
    for answer, answer_rule in {
        'lost': {
            'action': 'reset_before' if copied == 'none' else 'lose_answer'
        },
        'silent': {
            'action': 'hang' if copied == 'none' else 'lose_answer',
            'seconds': _LONG,
        },
        'failed': {
            'action': 'status' if copied == 'none' else 'fail_after',
            'status': 500,
            'message': 'The Virtual I/O Server is not available.',
        },
    }.items()
}


@contextlib.contextmanager
def _fault(
    bench: Bench, *rules: dict[str, Any], number: int
) -> Iterator[None]:
    """Let faults hit a request, and no other one."""
    for rule in rules:
        fields = dict(rule)
        bench.powervm.control.add_fault(
            fields.pop('action'), skip=number, count=1, **fields
        )
    try:
        yield
    finally:
        bench.powervm.control.clear_faults()


INTERRUPTIONS: Final[
    dict[str, Callable[[Bench, int], contextlib.AbstractContextManager[None]]]
] = {
    'expire': lambda bench, number: _fault(
        bench, {'action': 'expire_session'}, number=number
    ),
    'before': lambda bench, number: bench.restart_at(
        number, action='hang', back=True
    ),
    'after': lambda bench, number: bench.restart_at(
        number, action='lose_answer', back=True, forget_files=True
    ),
    'down': lambda bench, number: bench.restart_at(
        number, action='hang', back=False
    ),
    'rejected': lambda bench, number: _fault(
        bench, {'action': 'fail_after'}, number=number
    ),
}


def interrupted(
    operation: str,
    name: str,
    number: int,
    options: str = '',
    **settings: Any,
) -> Result:
    """Run an operation, interrupted at one of its requests.

    :param name: of an interruption, see :data:`INTERRUPTIONS`.
    :param number: of the request, from 0.
    :param settings: of the simulator.
    """
    with Bench(operation, options=options, settings=settings) as bench:
        with INTERRUPTIONS[name](bench, number):
            bench.run()
        bench.check()
        return Result(
            f'{operation} {name} {number}', bench.error, bench.problems
        )


def rebooted(
    operation: str, name: str, options: str = '', **settings: Any
) -> Result:
    """Run an operation whose copy a reboot of the server breaks.

    :param name: see :data:`REBOOTS`.
    :param settings: of the simulator.
    """
    number = kinds(operation).index('VolumeGroup.update')
    options += 'request_timeout = 1\n'
    with (
        seams.short_copies(1),
        Bench(operation, options=options, settings=settings) as bench,
    ):
        with _fault(bench, *REBOOTS[name], number=number):
            bench.run()
        bench.check()
        return Result(
            f'{operation} reboot {name}', bench.error, bench.problems
        )


def _all(operations: list[str], names: list[str]) -> Iterator[Result]:
    for operation in operations:
        number_of_requests = len(kinds(operation))
        for name in names:
            if name != 'reboot':
                for number in range(number_of_requests):
                    yield interrupted(operation, name, number)
            elif operation == 'hit':
                for reboot in REBOOTS:
                    yield rebooted(operation, reboot)


def main() -> int:
    """Run the interruptions that were asked for."""
    logging.disable(logging.CRITICAL)
    process_module.exit_on_sigterm()
    chosen = [each.split(',') for each in sys.argv[1:]]
    operations, names = (
        [*chosen, [*INTERRUPTIONS, 'reboot']]
        if chosen
        else [list(OPERATIONS), [*INTERRUPTIONS, 'reboot']]
    )[:2]
    bad = number = 0
    for result in _all(operations, names):
        number += 1
        bad += bool(result.problems)
        error = result.error
        print(
            f'{result.name}: '
            f'{f"{type(error).__name__}: {error}" if error else "ok"}',
            flush=True,
        )
        for problem in result.problems:
            print(f'    BAD {problem}', flush=True)
    print(f'{number} interruptions, {bad} bad')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
