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

"""Every request of a deploy meets every fault: the matrix of what comes of it.

Each cell is one deploy (or prefetch, or purge) on a PowerVM of its own, with
one fault at one of its requests: once, twice, or always. It ends with the
right bytes on the disk or with a clear error of ours, in a bounded time; it
never leaves a wrong image in the cache; and when the fault is over, one
reconciliation leaves nothing behind, and the next deploy works::

    python -m pvm_imagecache.tests.stress.fault_matrix
    python -m pvm_imagecache.tests.stress.fault_matrix \\
        --only 'File.upload/base:401@mid.once:cold' --verbose

A good cell says how it ended: ``miss``, ``hit``, ``bypass``, ``fetch`` (a
prefetch), ``purge``, ``stay`` (a purge that took nothing away) or ``error``;
``-`` where the fault met no request. The words of bad cells are in capitals:

``WRONG``  a disk or a cached image holds something else than it should
``LOST``   a disk that was whole, or somebody else's, is gone
``RAW``    an error that is none of ours
``HANG``   no end within a minute
``LEAK``   a disk, a File entry, a record or a thread is left
``FAIL``   it failed though a retry, or doing without the cache, would do
``VAGUE``  the error does not tell its cause
``STUCK``  the fault is over, but the manager does not recover
"""

import argparse
import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import errno
import fcntl
import fnmatch
import functools
import http.client
import http.server
import json
import logging
import os
import pathlib
import queue
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any
from typing import Final
import unittest
from unittest import mock
import urllib.parse

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
from pvm_imagecache.drivers import base as driver_base
from pvm_imagecache.drivers import powervm
from pvm_imagecache.drivers import rest_session
from pvm_imagecache.glance import client
from pvm_imagecache.glance import source as image_source
from pvm_imagecache.tests import functional_base as base
from pvm_imagecache.tests import images
from pvm_imagecache.tests import platforms
from pvm_imagecache.tests import seams
from pvm_imagecache.tests.servers import process as process_module
from pvm_imagecache.tests.stress import database

LOG = logging.getLogger(__name__)

#: Seconds in which a cell's operation must have ended.
BOUND: Final = 60.0
SIZE: Final = 3 * units.Mi + 17
#: Larger than what sockets and queues take in without anybody reading.
BIG_SIZE: Final = 40 * units.Mi + 17
#: The middle of documents.
_SMALL_BODY: Final = 100
#: Seconds: the time-outs in the configuration, a pause below them, and
#: one above.
_TIMEOUT: Final = 1
_SLOW: Final = 0.3
_SILENT: Final = 1.6
_CATALOG_TIMEOUT: Final = 0.4
_OTHERS_DISK: Final = 'b_other_disk'
_EVER: Final = 1_000_000

COUNTS: Final = {'once': 1, 'twice': 2, 'always': None}
#: What is done in a cell.
DEPLOYS: Final = ('cold', 'warm', 'dead', 'deadvm', 'bare')
IMAGES: Final = (*DEPLOYS, 'prefetch', 'purge')


@dataclasses.dataclass(frozen=True, eq=False)
class Fault:
    """A column: what happens to a request.

    :ivar fields: of the simulator's fault rule; ``bytes`` may be a word.
    :ivar transient: whether the same request may succeed when made again.
    :ivar cause: what an error of it must mention.
    :ivar kinds: the only requests that it makes sense for.
    """

    name: str
    action: str
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    transient: bool = True
    cause: str = ''
    kinds: tuple[str, ...] = ()


_BODIES: Final = (
    'VolumeGroup.update',
    'File.create',
    'File.upload',
    'Logon.create',
)
_NO_ANSWER: Final = 'reset|abort|broke|closed|BrokenPipe|Broken pipe'
POWERVM_FAULTS: Final = (
    Fault('reset', 'reset_before', cause=_NO_ANSWER),
    Fault(
        'reset@0',
        'reset_after_bytes',
        {'bytes': 0},
        cause=_NO_ANSWER,
        kinds=_BODIES,
    ),
    Fault(
        'reset@mid',
        'reset_after_bytes',
        {'bytes': 'mid'},
        cause=_NO_ANSWER,
        kinds=_BODIES,
    ),
    Fault(
        'reset@end',
        'reset_after_bytes',
        {'bytes': 'end'},
        cause=_NO_ANSWER,
        kinds=('File.upload',),
    ),
    Fault('401', 'expire_session', cause='401|session|logon|log on'),
    Fault(
        '401@mid',
        'expire_after_bytes',
        {'bytes': 'mid'},
        cause='401|session|logon|log on',
        kinds=('File.upload', 'VolumeGroup.update'),
    ),
    Fault(
        '412',
        'precondition',
        transient=False,
        cause='entity tag|changed by others',
    ),
    Fault(
        '500',
        'status',
        {'status': 500},
        transient=False,
        cause='Unexpected error',
    ),
    Fault('503', 'status', {'status': 503}, cause='busy|unavailable'),
    Fault('busy', 'vios_busy', cause='busy'),
    Fault('lost', 'lose_answer', cause=_NO_ANSWER),
    Fault('slow', 'latency', {'seconds': _SLOW}),
    # A time-out was the time to wait: nobody waits for another one.
    Fault(
        'hang',
        'hang',
        {'seconds': _SILENT},
        transient=False,
        cause='timed out|no progress|' + _NO_ANSWER,
    ),
    Fault(
        'stall',
        'stall_after_bytes',
        {'bytes': 'mid', 'seconds': _SILENT},
        transient=False,
        cause='timed out|no progress',
        kinds=('File.upload',),
    ),
    Fault(
        'nospace',
        'no_space',
        transient=False,
        cause='space|free',
        kinds=('VolumeGroup.update', 'File.create', 'File.upload'),
    ),
    Fault(
        'limit',
        'status',
        {
            'status': 400,
            'message': 'The maximum number of files, 100, exists already.',
        },
        transient=False,
        cause='maximum number of files',
        kinds=('File.create',),
    ),
)
GLANCE_FAULTS: Final = (
    Fault('reset', 'reset_after', {'bytes': 0}, cause=_NO_ANSWER + '|broke'),
    Fault(
        'reset@mid',
        'reset_after',
        {'bytes': 'mid'},
        cause=_NO_ANSWER + '|broke',
    ),
    Fault(
        'reset@end',
        'reset_after',
        {'bytes': 'last'},
        cause=_NO_ANSWER + '|broke',
    ),
    Fault(
        '401',
        'status',
        {'status': 401},
        transient=False,
        cause='credentials|401',
    ),
    Fault(
        '403', 'status', {'status': 403}, transient=False, cause='credentials'
    ),
    Fault(
        '404',
        'status',
        {'status': 404},
        transient=False,
        cause='No image|no data',
    ),
    Fault('500', 'status', {'status': 500}, cause='500|Glance'),
    Fault('503', 'status', {'status': 503}, cause='503|Glance'),
    Fault('slow', 'stall_after', {'bytes': 'mid', 'seconds': _SLOW}),
    Fault(
        'hang',
        'stall_after',
        {'bytes': 0, 'seconds': _SILENT},
        cause='timed out|[Tt]imeout',
    ),
    Fault(
        'stall',
        'stall_after',
        {'bytes': 'mid', 'seconds': _SILENT},
        cause='timed out|[Tt]imeout|broke',
    ),
)
METADATA_FAULTS: Final = (
    Fault('reset', 'reset', cause='Glance'),
    Fault('cut', 'cut', cause='Glance'),
    Fault(
        '401', 'status', {'status': 401}, transient=False, cause='credentials'
    ),
    Fault('404', 'status', {'status': 404}, transient=False, cause='No image'),
    Fault('500', 'status', {'status': 500}, cause='Glance'),
    Fault('503', 'status', {'status': 503}, cause='Glance'),
    Fault('slow', 'slow'),
    Fault('hang', 'hang', cause='Glance'),
    Fault('junk', 'junk', transient=False, cause='Glance'),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A request that faults happen to.

    :ivar kind: as the simulator calls it; or ``Glance.…``, ``Catalog``.
    :ivar leg: whose request it is: the ``base`` image's or the
        ``instance`` disk's; of either where it is ''.
    :ivar skip: how many such requests are let through before.
    :ivar before: faults that lead to the request: leg, kind, rule.
    :ivar cache_only: whether a deploy without cache never makes it.
    :ivar fatal: whether ``before`` alone makes the deploy fail.
    """

    name: str
    kind: str
    images: tuple[str, ...]
    leg: str = ''
    skip: int = 0
    before: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    cache_only: bool = False
    fatal: bool = False
    relogon: bool = False


_COLD: Final = ('cold', 'bare')
_FEW: Final = ('cold', 'warm')
_DEAD: Final = ('dead', 'deadvm')
_BASE_FAILS: Final = (('base', 'File.upload', {'action': 'status'}),)
_BOTH_FAIL: Final = (
    *_BASE_FAILS,
    ('instance', 'File.upload', {'action': 'status'}),
)
_CREATE_LOST: Final = (('base', 'File.create', {'action': 'lose_answer'}),)
POWERVM_ROWS: Final = (
    Row('Logon.create', 'Logon.create', _FEW),
    Row('Logon.create/again', 'Logon.create', _FEW, relogon=True),
    Row('VirtualIOServer.feed', 'VirtualIOServer.feed', _FEW),
    Row('VolumeGroup.feed', 'VolumeGroup.feed', _FEW),
    Row('VirtualIOServer.get', 'VirtualIOServer.get', ('deadvm',)),
    Row('VolumeGroup.get', 'VolumeGroup.get', IMAGES),
    Row('VolumeGroup.get+1', 'VolumeGroup.get', (*_DEAD, 'purge'), skip=1),
    Row('VolumeGroup.update', 'VolumeGroup.update', IMAGES),
    Row('VolumeGroup.update+1', 'VolumeGroup.update', _DEAD, skip=1),
    Row(
        'File.create/base',
        'File.create',
        ('cold', 'prefetch'),
        'base',
        cache_only=True,
    ),
    Row('File.create/instance', 'File.create', _COLD, 'instance'),
    Row('File.create', 'File.create', ('cold',)),
    Row(
        'File.upload/base',
        'File.upload',
        ('cold', 'prefetch'),
        'base',
        cache_only=True,
    ),
    Row('File.upload/instance', 'File.upload', _COLD, 'instance'),
    Row('File.upload', 'File.upload', ('cold',)),
    Row(
        'File.delete/base',
        'File.delete',
        ('cold', 'prefetch'),
        'base',
        cache_only=True,
    ),
    Row('File.delete/instance', 'File.delete', _COLD, 'instance'),
    Row('File.delete', 'File.delete', _DEAD),
    Row('File.feed', 'File.feed', _DEAD, cache_only=True),
    Row(
        'File.feed/lost',
        'File.feed',
        ('cold',),
        before=_CREATE_LOST,
        cache_only=True,
    ),
    Row('Logon.delete', 'Logon.delete', _FEW, cache_only=True),
    # In what is done after a failed upload: the clean-up of the clean-up.
    Row(
        'VolumeGroup.get/base-failed',
        'VolumeGroup.get',
        ('cold',),
        skip=1,
        before=_BASE_FAILS,
        cache_only=True,
    ),
    Row(
        'VolumeGroup.update/base-failed',
        'VolumeGroup.update',
        ('cold',),
        skip=1,
        before=_BASE_FAILS,
        cache_only=True,
    ),
    Row(
        'VolumeGroup.get/both-failed',
        'VolumeGroup.get',
        ('cold',),
        skip=1,
        before=_BOTH_FAIL,
        fatal=True,
    ),
    Row(
        'VolumeGroup.update/both-failed',
        'VolumeGroup.update',
        ('cold',),
        skip=1,
        before=_BOTH_FAIL,
        fatal=True,
    ),
)
GLANCE_ROW: Final = Row(
    'Glance.data', 'Glance.data', ('cold', 'bare', 'prefetch')
)
METADATA_ROW: Final = Row('Glance.get', 'Glance.get', ('cold', 'warm'))
CATALOG_ROW: Final = Row(
    'Catalog', 'Catalog', ('cold', 'warm'), cache_only=True
)
LOCKS_ROW: Final = Row('Locks', 'Locks', ('cold', 'warm'), cache_only=True)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place of the matrix."""

    row: Row
    fault: Fault
    count: str
    image: str

    @property
    def name(self) -> str:
        """What ``--only`` knows it by."""
        return f'{self.row.name}:{self.column}:{self.image}'

    @property
    def column(self) -> str:
        return f'{self.fault.name}.{self.count}'

    @property
    def size(self) -> int:
        """Of the image, in bytes."""
        return BIG_SIZE if self.fault.name == 'stall' else SIZE

    @property
    def must_work(self) -> bool:
        """Whether no error is good enough."""
        if self.image not in DEPLOYS or self.row.fatal:
            return False
        if self.fault.name == 'slow' or (
            # Who wants the name that a dead one's disk has needs it
            # gone.
            self.row.cache_only and self.image != 'deadvm'
        ):
            return True
        if self.count != 'once':
            return False
        if (
            self.image == 'dead'
            and not self.row.skip
            and (
                self.row.kind
                in ('VolumeGroup.get', 'VolumeGroup.update', 'File.delete')
            )
        ):
            # It meets the tidying up, which is the cache's own affair.
            return True
        if self.row.kind == 'Logon.create' and self.fault.name == '401':
            # A wrong password, for all that can be known.
            return False
        return self.fault.transient or (
            self.fault.name == '412' and self.row.kind == 'VolumeGroup.update'
        )


@dataclasses.dataclass
class Verdict:
    """What became of a cell."""

    word: str
    seconds: float
    hits: int
    detail: str = ''
    problems: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    @property
    def shown(self) -> str:
        """The word in the matrix."""
        if self.problems:
            return min(
                (word for word, _ in self.problems), key=_SEVERITY.index
            )
        return self.word if self.hits else '-'


_SEVERITY: Final = [
    'WRONG',
    'LOST',
    'HANG',
    'RAW',
    'LEAK',
    'FAIL',
    'STUCK',
    'VAGUE',
]


# -- the cells


def cells() -> list[Cell]:
    """All of them, in the order in which they are printed."""
    found = [
        Cell(row, fault, count, image)
        for row in POWERVM_ROWS
        for fault in POWERVM_FAULTS
        for count in COUNTS
        for image in row.images
        if not fault.kinds or row.kind in fault.kinds
    ]
    found += [
        Cell(GLANCE_ROW, fault, count, image)
        for fault in GLANCE_FAULTS
        for count in COUNTS
        for image in GLANCE_ROW.images
    ]
    found += [
        Cell(METADATA_ROW, fault, count, image)
        for fault in METADATA_FAULTS
        for count in COUNTS
        for image in METADATA_ROW.images
    ]
    for row, faults in (
        (CATALOG_ROW, CATALOG_FAULTS),
        (LOCKS_ROW, LOCK_FAULTS),
    ):
        found += [
            Cell(row, Fault(name, '', cause=''), when, image)
            for name in faults
            for when in ('start', 'midway')
            for image in row.images
        ]
    return found


def selected(patterns: Sequence[str]) -> list[Cell]:
    """The cells that a pattern ``ROW:COLUMN:IMAGE`` names."""
    return [
        cell
        for cell in cells()
        if not patterns or any(_matches(cell, pattern) for pattern in patterns)
    ]


def _matches(cell: Cell, pattern: str) -> bool:
    wanted = [*pattern.split(':'), '*', '*'][:3]
    return all(
        fnmatch.fnmatchcase(text, part or '*')
        for text, part in zip(
            (cell.row.name, cell.column, cell.image), wanted, strict=True
        )
    )


# -- what the tests of a process share


@functools.cache
def _image_id(size: int) -> str:
    return base.glance().create_image(
        f'matrix-{size}', images.raw_bytes(size, size)
    )


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Make every pause and time-out of ours short."""
    with (
        # No request is at work any more when a fault is over.
        seams.short_waits(_CATALOG_TIMEOUT, float(_TIMEOUT)),
        mock.patch.object(vios_busy, 'SLEEP', lambda _: time.sleep(0.01)),
    ):
        yield


# -- a database that cannot be written


class DatabaseWrites:
    """Lets every statement fail that writes to a database of SQLite.

    :ivar refused: what SQLite says of it; '' while writes succeed.
    """

    def __init__(self) -> None:
        self.refused = ''

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Watch the connections that are opened within the block."""

        @contextlib.contextmanager
        def around(statement: str) -> Iterator[None]:
            if self.refused and not statement.startswith(
                ('SELECT', 'PRAGMA', 'ROLLBACK')
            ):
                raise sqlite3.OperationalError(self.refused)
            yield

        connect = database.watched_connect(around)
        with mock.patch.object(sqlite3, 'connect', connect):
            yield


# -- one cell at work


class UnreadableCatalog(Exception):
    """Another process would not find the catalog."""


class Bench:
    """A PowerVM, a state directory and a manager for one cell."""

    def __init__(self, cell: Cell, platform: str) -> None:
        self.cell = cell
        self.platform = platform
        self.image_id = _image_id(cell.size)
        self.base_name = naming.base_image_name(self.image_id)
        self.stack = contextlib.ExitStack()
        self.hits = 0
        self.writes = DatabaseWrites()
        self._rules: list[int] = []

    def __enter__(self) -> 'Bench':
        try:
            self._enter()
        except BaseException:
            self.stack.close()
            raise
        return self

    def _enter(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='pvm-'))
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.state = self.directory / 'state'
        self.glance = base.glance()
        self.glance.clear_faults()
        self.stack.callback(self.glance.clear_faults)
        self.powervm = self.stack.enter_context(
            simulator.Simulator(
                str(self.directory / 'powervm'),
                **platforms.PLATFORMS[self.platform],
            )
        )
        self.control = self.powervm.control
        self.proxy: _Proxy | None = None
        if self.cell.row is METADATA_ROW:
            self.proxy = _Proxy(self.glance.url)
            self.stack.callback(self.proxy.stop)
        self.tap = Tap(self)
        self.stack.enter_context(self.tap.installed())
        self._others = self.control.plant_disk(
            'cachevg',
            _OTHERS_DISK,
            units.Gi,
            content=str(self.glance.data_path(_image_id(SIZE))),
        )
        self._prepare()
        self.manager, self.source = self._make_manager()
        self.stack.callback(self.manager.close)
        self.image = None
        if self.proxy is None:
            self.image = self.source.get(self.image_id)

    def __exit__(self, *_: Any) -> None:
        self.stack.close()

    def _make_manager(
        self,
    ) -> tuple[manager_module.ImageManager, image_source.ImageSource]:
        conf = self._conf()
        source = image_source.ImageSource(client.factory(conf))
        return manager_module.ImageManager.from_conf(conf, source), source

    def _conf(self) -> Any:
        path = self.directory / 'test.conf'
        endpoint = self.proxy.url if self.proxy else self.glance.url
        path.write_text(f"""[pvm_imagecache]
state_path = {self.state}
enabled = {self.cell.image != 'bare'}
host = {self.powervm.host}
port = {self.powervm.port}
protocol = http
volume_group_name = cachevg
request_timeout = {_TIMEOUT}
stall_timeout = {_TIMEOUT}
fetch_timeout = {_TIMEOUT}

[glance]
auth_type = admin_token
endpoint = {endpoint}
token = {self.glance.token()}
timeout = {_TIMEOUT}
""")
        conf = shell.read_configuration([str(path)], [])
        glance_conf.register(conf)
        return conf

    # -- how it begins

    def _prepare(self) -> None:
        cell = self.cell
        place = _place(cell)
        if place:
            place.prepare(self)
        if cell.image in ('warm', 'purge'):
            manager, source = self._make_manager()
            with contextlib.closing(manager):
                manager.prefetch(source.get(self.image_id))
        elif cell.image in ('dead', 'deadvm'):
            self._know_labels()
            self._leave_for_dead()
        elif place:
            manager, _ = self._make_manager()
            with contextlib.closing(manager):
                # This makes the catalog and its directory.
                manager.reconcile()
        elif cell.row in POWERVM_ROWS:
            self._know_labels()

    def _know_labels(self) -> None:
        """Record whether labels are kept, as it is after the first disk.

        Before it, and where they are not, a deploy reads the pool once more.
        """
        kept = 'labels' not in platforms.PLATFORMS[self.platform]
        driver = plugins.load_driver(self._conf())
        with (
            contextlib.closing(driver),
            seams.open_catalog(self.state) as catalog,
        ):
            catalog.pools.record_labels(driver.pool_id(), kept)

    def _leave_for_dead(self) -> None:
        """What a process leaves that is killed in the midst of an upload."""
        conf = self._conf()
        driver = plugins.load_driver(conf)
        with (
            contextlib.closing(driver),
            seams.open_catalog(self.state) as catalog,
        ):
            image = image_source.ImageSource(client.factory(conf)).get(
                self.image_id
            )
            name = self.base_name if self.cell.image == 'dead' else 'vm1'
            disk = seams.leave_incomplete(driver, catalog, name, image)
            with open(self.disks()[name], 'r+b') as file:
                file.write(b'\xff' * units.Mi)
            self._make_file_entry(disk)

    def _make_file_entry(self, disk: driver_base.Disk) -> None:
        with self._adapter() as adapter:
            server = pvm_file.File.bld(
                adapter,
                disk.name,
                pvm_file.FileType.DISK_IMAGE,
                self._vios_uuid(adapter),
                f_size=SIZE,
                tdev_udid=disk.udid,
            )
            server.create()

    def _vios_uuid(self, adapter: Any) -> str:
        response = adapter.read('VirtualIOServer')
        return str(response.feed.entries[0].uuid)

    @contextlib.contextmanager
    def _adapter(self) -> Iterator[Any]:
        source = powervm.AdapterSource(
            powervm.Connection(
                host=self.powervm.host, port=self.powervm.port, protocol='http'
            )
        )
        try:
            yield source()
        finally:
            source.close()

    # -- the fault

    def arm(self) -> None:
        """From now on the fault waits for its request."""
        row, fault = self.cell.row, self.cell.fault
        place = _place(self.cell)
        if place:
            self._place = place(self)
            if self.cell.count == 'midway':
                self.tap.at_change = self._strike
            else:
                self._strike()
            return
        count = COUNTS[self.cell.count]
        if self.proxy:
            self.proxy.inject(fault, _EVER if count is None else count)
        elif row is GLANCE_ROW:
            self.glance.inject(
                self.image_id, count=count or _EVER, **self._glance_rule()
            )
        else:
            self._arm_powervm(count)

    def _strike(self) -> None:
        self.hits += 1
        self._place.strike()

    def _glance_rule(self) -> dict[str, Any]:
        fault = self.cell.fault
        fields = dict(fault.fields)
        if fault.action == 'status':
            return fields
        place = {'mid': self.cell.size // 2, 'last': self.cell.size - 1}.get(
            fields['bytes'], fields['bytes']
        )
        return {fault.action: place} | (
            {'seconds': fields['seconds']} if 'seconds' in fields else {}
        )

    def _arm_powervm(self, count: int | None) -> None:
        row, fault = self.cell.row, self.cell.fault
        for leg, kind, rule in row.before:
            self.tap.await_(leg, kind, rule, 1)
        if row.relogon:
            self.manager.usage()
            self.control.expire_sessions()
        rule = {'action': fault.action} | fault.fields
        place = {
            'mid': (
                self.cell.size // 2
                if row.kind == 'File.upload'
                else _SMALL_BODY
            ),
            'end': self.cell.size,
        }
        if 'bytes' in rule:
            rule['bytes'] = place.get(rule['bytes'], rule['bytes'])
        if row.leg:
            self.tap.await_(
                row.leg,
                row.kind,
                rule,
                _EVER if count is None else count,
                main=True,
            )
            return
        wanted = dict(rule) | ({} if count is None else {'count': count})
        self._rules.append(
            self.control.add_fault(
                wanted.pop('action'), kind=row.kind, skip=row.skip, **wanted
            )
        )

    def disarm(self) -> None:
        """The fault is over."""
        self.tap.at_change = None
        if _place(self.cell):
            self._place.clear()
            return
        if self.cell.row is GLANCE_ROW:
            self.hits = len(
                [
                    each
                    for each in self.glance.downloads()
                    if each.image_id == self.image_id
                ]
            )
        elif self.proxy:
            self.hits = self.proxy.hits
        else:
            self.hits = self.tap.stop() + sum(
                rule['hits']
                for rule in self.control.faults()
                if rule['id'] in self._rules
            )
        if self.proxy:
            self.proxy.inject(None, 0)
        self.glance.clear_faults()
        self.control.clear_faults()

    # -- the operation

    def operate(self) -> str:
        """Do what the cell is about; returns its word."""
        if self.cell.image == 'purge':
            (result,) = self.manager.purge(self.manager.list())
            self.purge_reason = result.reason
            return 'purge' if result.removed else 'stay'
        image = self.image or self.source.get(self.image_id)
        if self.cell.image == 'prefetch':
            self.manager.prefetch(image)
            return 'fetch'
        done = self.manager.create_disk(image, 'vm1')
        if self.cell.row.kind == 'Logon.delete':
            self.manager.close()
        return done.outcome.value

    # -- looking

    def disks(self) -> dict[str, pathlib.Path]:
        """The files of all virtual disks, by name."""
        return {
            each['name']: pathlib.Path(each['path'])
            for each in self.control.disks()
        }

    def file_entries(self) -> int:
        """How many web/File entries PowerVM has."""
        with self._adapter() as adapter:
            return len(pvm_file.File.get(adapter, service='web'))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What the catalog holds, read as another process does."""
        path = self.state / seams.CATALOG_FILE
        try:
            with contextlib.closing(
                sqlite3.connect(
                    f'file:{urllib.parse.quote(str(path))}?mode=ro',
                    uri=True,
                    timeout=_CATALOG_TIMEOUT,
                )
            ) as connection:
                connection.row_factory = sqlite3.Row
                return [
                    dict(row)
                    for row in connection.execute(f'SELECT * FROM {table}')
                ]
        except sqlite3.Error as error:
            raise UnreadableCatalog(str(error)) from error

    def others_disk_is_there(self) -> bool:
        """Whether the disk that somebody else made is as it was."""
        return any(
            each['udid'] == self._others['udid']
            and _same(_image_id(SIZE), pathlib.Path(each['path'])) is None
            for each in self.control.disks()
        )


class Tap:
    """Stands in every request's way to PowerVM, and knows whose it is.

    Faults of the simulator hit kinds of requests; which disk an upload is
    for can be known only here.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._guard = threading.Lock()
        self._creating = threading.RLock()
        self._legs: dict[str, str] = {}
        self._waiting: list[dict[str, Any]] = []
        self._hits = 0
        #: Called once, before the first request that changes disks' bytes.
        self.at_change: Callable[[], None] | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """See the requests of all sessions of this process."""
        tap, request = self, rest_session.Session.request

        def tapped(
            session: Any, method: str, path: str, *args: Any, **kwargs: Any
        ) -> Any:
            return tap._request(
                lambda: request(session, method, path, *args, **kwargs),
                method,
                path,
                kwargs.get('body') or (args[1] if len(args) > 1 else ''),
            )

        with mock.patch.object(rest_session.Session, 'request', tapped):
            yield

    def await_(
        self,
        leg: str,
        kind: str,
        rule: dict[str, Any],
        count: int,
        main: bool = False,
    ) -> None:
        """Let the next requests of a leg meet a fault."""
        self._waiting.append(
            {
                'leg': leg,
                'kind': kind,
                'rule': dict(rule),
                'count': count,
                'main': main,
            }
        )

    def stop(self) -> int:
        """No more faults; how many hit."""
        with self._guard:
            self._waiting.clear()
            return self._hits

    def _request(
        self, call: Callable[[], Any], method: str, path: str, body: Any
    ) -> Any:
        plain = path.partition('?')[0]
        kind, uuid = _kind_of(method, plain)
        changes = kind == 'File.upload' or (
            kind == 'VolumeGroup.update' and self._bench.cell.image == 'warm'
        )
        if self.at_change and changes:
            with self._guard:
                strikes, self.at_change = [self.at_change], None
            for strike in filter(None, strikes):
                strike()
        if kind == 'File.create':
            text = body.decode() if isinstance(body, bytes) else str(body)
            leg = 'base' if self._bench.base_name in text else 'instance'
            # One at a time: a rule can't tell them apart.
            with self._creating:
                return self._learn(leg, self._armed(call, leg, kind, ''))
        if uuid:
            return self._armed(call, self._legs.get(uuid, ''), kind, uuid)
        return call()

    def _learn(self, leg: str, response: Any) -> Any:
        found = re.search(
            r'<(?:\w+:)?FileUUID[^>]*>([-0-9A-Fa-f]+)<',
            getattr(response, 'body', '') or '',
        )
        if found:
            self._legs[found[1]] = leg
        return response

    def _armed(
        self, call: Callable[[], Any], leg: str, kind: str, uuid: str
    ) -> Any:
        with self._guard:
            wanted = next(
                (
                    each
                    for each in self._waiting
                    if (each['leg'], each['kind']) == (leg, kind)
                    and each['count']
                ),
                None,
            )
            if wanted is None:
                rule = None
            else:
                wanted['count'] -= 1
                self._hits += wanted['main']
                fields = dict(wanted['rule'])
                if uuid:
                    fields['path_regex'] = uuid
                rule = self._bench.control.add_fault(
                    fields.pop('action'), kind=kind, count=1, **fields
                )
        if rule is None:
            return call()
        try:
            return call()
        finally:
            # The simulator may be gone by now.
            with contextlib.suppress(OSError):
                self._bench.control.remove_fault(rule)


def _kind_of(method: str, path: str) -> tuple[str, str]:
    """The kind of a request to web/File, or of an update, and its UUID."""
    if path == '/rest/api/web/File' and method == 'PUT':
        return 'File.create', ''
    if path.startswith('/rest/api/web/File/contents/'):
        return 'File.upload', path.rpartition('/')[2]
    if path.startswith('/rest/api/web/File/') and method == 'DELETE':
        return 'File.delete', path.rpartition('/')[2]
    if '/VolumeGroup/' in path and method == 'POST':
        return 'VolumeGroup.update', ''
    return '', ''


class _Proxy:
    """Stands before Glance, and spoils look-ups of images."""

    def __init__(self, target: str) -> None:
        self.hits = 0
        self._fault: Fault | None = None
        self._count = 0
        parsed = urllib.parse.urlsplit(target)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """Nobody wants to know."""

            def do_GET(self) -> None:
                fault = None
                if re.fullmatch(r'/v2/images/[-0-9a-f]{36}', self.path):
                    fault = proxy._next()
                if fault and not self._spoil(fault):
                    return
                self._forward()

            def _spoil(self, fault: Fault) -> bool:
                if fault.action == 'slow':
                    time.sleep(_SLOW)
                    return True
                if fault.action == 'hang':
                    time.sleep(_SILENT)
                if fault.action == 'status':
                    self.send_error(fault.fields['status'])
                elif fault.action == 'junk':
                    self._answer(
                        200,
                        [('Content-Type', 'text/html')],
                        b'<html>Welcome to the portal</html>',
                    )
                else:
                    self._reset(fault.action == 'cut')
                return False

            def _reset(self, in_answer: bool) -> None:
                if in_answer:
                    self.wfile.write(
                        b'HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n'
                        b'Content-Type: application/json\r\n\r\n{"id": '
                    )
                    time.sleep(0.01)
                self.connection.setsockopt(
                    socket.SOL_SOCKET,
                    socket.SO_LINGER,
                    struct.pack('ii', 1, 0),
                )

            def _forward(self) -> None:
                connection = http.client.HTTPConnection(
                    parsed.hostname or '', parsed.port, timeout=30
                )
                with contextlib.closing(connection):
                    headers = dict(self.headers)
                    connection.request('GET', self.path, headers=headers)
                    answer = connection.getresponse()
                    self._answer(
                        answer.status,
                        [
                            (name, value)
                            for name, value in answer.getheaders()
                            if name.lower()
                            not in (
                                'content-length',
                                'date',
                                'transfer-encoding',
                                'connection',
                            )
                        ],
                        answer.read(),
                    )

            def _answer(
                self, status: int, headers: list[tuple[str, str]], body: bytes
            ) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Broken connections are what this is for."""

        self._server = Server(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def inject(self, fault: Fault | None, count: int) -> None:
        self._fault, self._count = fault, count

    def _next(self) -> Fault | None:
        if not self._fault or not self._count:
            return None
        self._count -= 1
        self.hits += 1
        return self._fault

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


# -- faults of the cache's own files


class Place:
    """Something about the state directory that is not as it should be.

    :cvar forgets: whether what was cached may be forgotten by it.
    :cvar refused_with: the error that a deploy must end in that meets it at
        the start.
    """

    forgets = False
    refused_with: type[Exception] | None = None

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.state = bench.state
        self.path = bench.state / seams.CATALOG_FILE

    @classmethod
    def prepare(cls, bench: Bench) -> None:
        """Before anything is in the state directory."""

    def strike(self) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        """Take the fault back."""


_LOCKER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
if sys.argv[2] == 'alone':
    connection.execute('PRAGMA locking_mode = EXCLUSIVE')
connection.execute('BEGIN EXCLUSIVE')
connection.execute('PRAGMA user_version = 1')
print('locked', flush=True)
sys.stdin.read()
"""
_FLOCKER: Final = """
import fcntl, sys
files = [open(path, 'a') for path in sys.argv[1:]]
for file in files:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print('locked', flush=True)
sys.stdin.read()
"""


class _OtherProcess(Place):
    """Another process holds a lock until it is told, or for a while."""

    seconds: float | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def strike(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, '-c', *self.command()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.bench.stack.callback(self.clear)
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            # Those who hold it don't let go of it: no fault.
            self.bench.hits = 0
        if self.seconds is not None:
            timer = threading.Timer(self.seconds, self.process.kill)
            timer.daemon = True
            timer.start()

    def clear(self) -> None:
        with contextlib.suppress(AttributeError):
            self.process.kill()
            self.process.communicate()


class Locked(_OtherProcess):
    def command(self) -> list[str]:
        return [_LOCKER, str(self.path), 'beside']


class LockedForAWhile(Locked):
    seconds = 0.2


class LockedAlone(_OtherProcess):
    """Not even readers are let in."""

    def command(self) -> list[str]:
        return [_LOCKER, str(self.path), 'alone']


class Corrupt(Place):
    """Everything in the file is overwritten."""

    forgets = True

    def strike(self) -> None:
        for path in self.state.glob(f'{seams.CATALOG_FILE}*'):
            if not path.name.endswith('-shm'):
                path.write_bytes(b'this is no database ' * 5000)

    def clear(self) -> None:
        # Whoever has it open may never look at it again; the next one who
        # opens it sets it aside.
        with seams.open_catalog(self.state) as catalog:
            seams.base_images(catalog, '')


class CorruptPages(Place):
    """The header is whole, the pages after it are not."""

    forgets = True

    def strike(self) -> None:
        with (
            contextlib.closing(sqlite3.connect(self.path)) as connection,
            contextlib.suppress(sqlite3.Error),
        ):
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        size = self.path.stat().st_size
        with self.path.open('r+b') as file:
            file.seek(4096)
            file.write(b'\xa5' * max(size - 4096, 4096))


class Newer(Place):
    """A later release has been here."""

    def strike(self) -> None:
        self._set(99)

    def clear(self) -> None:
        self._set(seams.CATALOG_VERSION)

    def _set(self, version: int) -> None:
        with contextlib.closing(
            sqlite3.connect(self.path, timeout=5)
        ) as connection:
            connection.execute(f'PRAGMA user_version = {version}')


class Missing(Place):
    """The state directory is removed, and nobody puts it back."""

    forgets = True

    def strike(self) -> None:
        shutil.rmtree(self.state)


class MissingFile(Place):
    """The catalog is removed."""

    forgets = True

    def strike(self) -> None:
        for path in self.state.glob(f'{seams.CATALOG_FILE}*'):
            path.unlink()


class IsAFile(Place):
    """A file is where the state directory should be."""

    forgets = True

    def strike(self) -> None:
        self.state.rename(self.state.with_suffix('.away'))
        self.state.write_text('')

    def clear(self) -> None:
        self.state.unlink()
        self.state.with_suffix('.away').rename(self.state)


class Away(IsAFile):
    """The same, with what was in it lost."""

    def clear(self) -> None:
        self.state.unlink()


class _OwnMount(Place):
    """The state directory is a small file system of its own."""

    size = '1m'

    @classmethod
    def prepare(cls, bench: Bench) -> None:
        bench.stack.enter_context(bench.writes.installed())
        if not can_mount():
            return
        bench.state.mkdir(mode=0o750)
        subprocess.run(
            [
                'mount',
                '-t',
                'tmpfs',
                '-o',
                f'size={cls.size},mode=0750',
                'tmpfs',
                str(bench.state),
            ],
            check=True,
        )
        bench.stack.callback(
            subprocess.run, ['umount', '--lazy', str(bench.state)], check=True
        )


class ReadOnly(_OwnMount):
    """The state directory is on a file system that is read-only now."""

    def strike(self) -> None:
        self._patches = self.bench.stack.enter_context(contextlib.ExitStack())
        if not can_mount() or not self._remount('ro'):
            # While a file is open for writing it can't be done.
            self._patches.enter_context(_read_only(self.state))
            self.bench.writes.refused = 'attempt to write a readonly database'

    def clear(self) -> None:
        self.bench.writes.refused = ''
        self._patches.close()
        if can_mount():
            self._remount('rw')

    def _remount(self, how: str) -> bool:
        return not subprocess.run(
            ['mount', '-o', f'remount,{how}', str(self.state)],
            check=False,
            capture_output=True,
        ).returncode


class Full(_OwnMount):
    """No byte is left on the file system of the state directory."""

    def strike(self) -> None:
        if not can_mount():
            self.bench.writes.refused = 'database or disk is full'
            return
        with (
            (self.state / 'filler').open('wb', buffering=0) as file,
            contextlib.suppress(OSError),
        ):
            while file.write(b'x' * 4096):
                pass

    def clear(self) -> None:
        self.bench.writes.refused = ''
        (self.state / 'filler').unlink(missing_ok=True)


@functools.cache
def can_mount() -> bool:
    """Whether a small file system may be mounted."""
    if os.geteuid():
        return False
    with tempfile.TemporaryDirectory() as directory:
        tried = subprocess.run(
            ['mount', '-t', 'tmpfs', 'tmpfs', directory],
            check=False,
            capture_output=True,
        )
        if tried.returncode:
            return False
        subprocess.run(['umount', directory], check=True)
    return True


def _refusing(number: int) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


@contextlib.contextmanager
def _read_only(directory: pathlib.Path) -> Iterator[None]:
    """Let no file in a directory be opened for writing (EROFS)."""
    real = os.open

    def refusing(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and os.fspath(path).startswith(
            f'{directory}/'
        ):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *args, **kwargs)

    with mock.patch.object(os, 'open', refusing):
        yield


class _HeldLock(_OtherProcess):
    """Another process holds a lock of ours, and lives on."""

    def name(self, pool: str) -> str:
        """Return the name of the lock."""
        raise NotImplementedError

    def command(self) -> list[str]:
        name = self.name(self.bench.manager.driver.pool_id())
        directory = seams.lock_directory(self.state)
        directory.mkdir(exist_ok=True, parents=True)
        return [_FLOCKER, str(directory / f'{name}.lock')]


class ImageLock(_HeldLock):
    def name(self, pool: str) -> str:
        return seams.image_lock(pool, self.bench.base_name)


class ImageLockForAWhile(ImageLock):
    seconds = 0.3


class GroupLock(_HeldLock):
    def name(self, pool: str) -> str:
        return seams.group_lock(pool)


class GroupLockForAWhile(GroupLock):
    seconds = 0.3


class DiskLock(_HeldLock):
    """Somebody else is at a disk of that name, as far as one can tell."""

    refused_with = exceptions.DiskBeingCreated

    def name(self, pool: str) -> str:
        return seams.disk_lock(pool, 'vm1')


class CatalogLock(_OtherProcess):
    """Another process was stopped while it opened the catalog."""

    def command(self) -> list[str]:
        return [_FLOCKER, str(seams.catalog_lock(self.state))]


class LocksAreAFile(Place):
    """A file is where the directory of the locks should be."""

    def strike(self) -> None:
        locks = seams.lock_directory(self.state)
        shutil.rmtree(locks, ignore_errors=True)
        locks.write_text('')

    def clear(self) -> None:
        seams.lock_directory(self.state).unlink()


class LocksMissing(Place):
    """The directory of the locks is removed."""

    def strike(self) -> None:
        shutil.rmtree(seams.lock_directory(self.state), ignore_errors=True)


class LocksFail(Place):
    """The file system knows no locks (ENOLCK), as an NFS server may."""

    def strike(self) -> None:
        self._patch = mock.patch.object(
            fcntl, 'flock', _refusing(errno.ENOLCK)
        )
        self._patch.start()

    def clear(self) -> None:
        self._patch.stop()


CATALOG_FAULTS: Final[dict[str, type[Place]]] = {
    'locked-while': LockedForAWhile,
    'locked-ever': Locked,
    'locked-alone': LockedAlone,
    'read-only': ReadOnly,
    'full': Full,
    'corrupt': Corrupt,
    'corrupt-pages': CorruptPages,
    'newer': Newer,
    'missing': Missing,
    'missing-file': MissingFile,
    'is-a-file': IsAFile,
    'away': Away,
}
LOCK_FAULTS: Final[dict[str, type[Place]]] = {
    'image-while': ImageLockForAWhile,
    'image-ever': ImageLock,
    'group-while': GroupLockForAWhile,
    'group-ever': GroupLock,
    'disk-ever': DiskLock,
    'catalog-ever': CatalogLock,
    'is-a-file': LocksAreAFile,
    'missing': LocksMissing,
    'no-locks': LocksFail,
}


def _place(cell: Cell) -> type[Place] | None:
    """What is broken in a cell of the cache's own files."""
    found = {CATALOG_ROW: CATALOG_FAULTS, LOCKS_ROW: LOCK_FAULTS}.get(cell.row)
    return found[cell.fault.name] if found else None


# -- judging


def _same(image_id: str, path: pathlib.Path) -> str | None:
    """Why a disk does not hold exactly an image; None if it does."""
    try:
        base.assert_same_bytes(
            unittest.TestCase(),  # type: ignore[arg-type]
            base.glance().data_path(image_id),
            path,
        )
    except (AssertionError, OSError) as error:
        return str(error)
    return None


def run(cell: Cell, platform: str = 'default') -> Verdict:
    """Run a cell on a platform and judge what became of it."""
    with quick(), Bench(cell, platform) as bench:
        return _Judge(bench).judge()


def _works_bare(cell: Cell, platform: str) -> bool:
    """Whether a deploy without cache survives a fault at such requests."""
    key = (cell.row.kind, cell.row.leg, cell.column, platform)
    if key not in _BARE:
        row = (
            dataclasses.replace(cell.row, skip=0)
            if cell.row.skip
            else cell.row
        )
        _BARE[key] = (
            run(
                dataclasses.replace(cell, image='bare', row=row), platform
            ).word
            == 'bypass'
        )
    return _BARE[key]


_BARE: Final[dict[tuple[str, str, str, str], bool]] = {}


class _Judge:
    """What is expected of a cell, step by step."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._cell = bench.cell
        self._problems: list[tuple[str, str]] = []
        self._error: BaseException | None = None
        self._word = ''
        place = _place(self._cell)
        self._forgets = place is not None and place.forgets
        # Midway it is our own.
        self._refused_with = (
            place.refused_with
            if place and self._cell.count != 'midway'
            else None
        )

    def judge(self) -> Verdict:
        bench = self._bench
        bench.arm()
        seconds = self._operate()
        if self._word != 'HANG':
            self._judge_result()
        self._judge_cached('the fault still there')
        bench.disarm()
        verdict = Verdict(
            self._word,
            seconds,
            bench.hits,
            str(self._error or ''),
            self._problems,
        )
        if self._word == 'HANG':
            return verdict
        self._judge_error()
        with self._noting('STUCK', 'reconcile'):
            self._judge_reconciled()
        with self._noting('STUCK', 'the next deploy'):
            self._judge_next()
        self._judge_threads()
        return verdict

    def _bad(self, word: str, detail: str) -> None:
        self._problems.append((word, detail))

    @contextlib.contextmanager
    def _noting(self, word: str, what: str) -> Iterator[None]:
        try:
            yield
        except exceptions.PVMImageCacheError as error:
            self._bad(word, f'{what}: {type(error).__name__}: {error}')
        except UnreadableCatalog as error:
            self._bad(
                word, f'{what}: other processes find no catalog: {error}'
            )
        except Exception as error:
            LOG.exception('raw')
            self._bad('RAW', f'{what}: {type(error).__name__}: {error}')

    def _operate(self) -> float:
        started = time.monotonic()
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        thread.join(BOUND)
        if thread.is_alive():
            self._word = 'HANG'
            self._bad('HANG', f'no end within {BOUND:.0f} s')
        return time.monotonic() - started

    def _work(self) -> None:
        try:
            self._word = self._bench.operate()
        except Exception as error:
            self._error, self._word = error, 'error'
            LOG.info('ended in', exc_info=True)

    def _judge_result(self) -> None:
        if self._refused_with:
            if not isinstance(self._error, self._refused_with):
                self._bad(
                    'WRONG',
                    f'not {self._refused_with.__name__}, but '
                    f'{self._word}: {self._error}',
                )
        elif self._error is not None:
            if not isinstance(self._error, exceptions.PVMImageCacheError):
                self._bad(
                    'RAW', f'{type(self._error).__name__}: {self._error}'
                )
            elif self._cell.must_work:
                self._bad(
                    'FAIL', f'{type(self._error).__name__}: {self._error}'
                )
        elif self._cell.image in DEPLOYS:
            self._judge_disk('vm1', 'right after the deploy')
        elif self._word == 'purge' and (
            self._bench.base_name in self._bench.disks()
        ):
            self._bad('WRONG', 'said to be purged, but the disk is there')

    def _judge_error(self) -> None:
        cell = self._cell
        if self._error is None or self._problems or not self._bench.hits:
            return
        if self._refused_with:
            return
        if (
            cell.fault.cause
            and not cell.row.fatal
            and not re.search(cell.fault.cause, str(self._error))
        ):
            self._bad('VAGUE', f'{type(self._error).__name__}: {self._error}')
        if (
            cell.image in ('cold', 'warm', 'dead')
            and not cell.row.fatal
            and cell.row is not METADATA_ROW
            and _works_bare(cell, self._bench.platform)
        ):
            self._bad(
                'FAIL',
                'works without the cache: '
                f'{type(self._error).__name__}: {self._error}',
            )

    def _judge_disk(self, name: str, when: str) -> None:
        path = self._bench.disks().get(name)
        if path is None:
            self._bad('LOST', f'{name} is gone {when}')
            return
        different = _same(self._bench.image_id, path)
        if different:
            self._bad('WRONG', f'{name} {when}: {different}')

    def _judge_cached(self, when: str) -> None:
        """Compare every image that deploys would be served from."""
        disks = {each['udid']: each for each in self._bench.control.disks()}
        with contextlib.suppress(UnreadableCatalog):
            for record in self._bench.rows('base_images'):
                if record['state'] != seams.READY:
                    continue
                disk = disks.get(record['udid'])
                if disk is None:
                    # Served to nobody: each copy looks for it first.
                    continue
                different = _same(
                    record['image_id'], pathlib.Path(disk['path'])
                )
                if different:
                    self._bad('WRONG', f'cached, {when}: {different}')
        if not self._bench.others_disk_is_there():
            self._bad('LOST', f'the disk of somebody else, {when}')

    def _judge_reconciled(self) -> None:
        bench = self._bench
        result = bench.manager.reconcile()
        if result.failed:
            self._bad('STUCK', f'reconcile failed: {result.failed}')
        records = bench.rows('base_images')
        self._judge_cached('after reconcile')
        expected = {_OTHERS_DISK}
        if self._error is None and self._cell.image in DEPLOYS:
            expected.add('vm1')
            self._judge_disk('vm1', 'after reconcile')
        expected |= {record['disk_name'] for record in records}
        if self._forgets:
            expected.add(bench.base_name)
        left = set(bench.disks()) - expected
        if left:
            self._bad('LEAK', f'disks: {sorted(left)}')
        unfinished = [
            (record['disk_name'], record['state'])
            for record in records
            if record['state'] != seams.READY
        ]
        unfinished += [
            (entry['disk_name'], 'unfinished')
            for entry in bench.rows('instance_disks')
        ]
        if unfinished:
            self._bad('LEAK', f'records: {unfinished}')
        entries = bench.file_entries()
        if entries:
            self._bad('LEAK', f'{entries} web/File entries')

    def _judge_next(self) -> None:
        bench = self._bench
        image = bench.source.get(bench.image_id)
        done = bench.manager.create_disk(image, 'vm2')
        self._judge_disk('vm2', 'after the next deploy')
        if self._error is None and self._cell.image in DEPLOYS:
            self._judge_disk('vm1', 'after the next deploy')
        self._judge_cached('after the next deploy')
        if self._cell.image == 'bare' or self._forgets:
            return
        if done.outcome is instance_disk.Outcome.BYPASS:
            self._bad('STUCK', f'the next deploy: bypass: {done.reason}')
            return
        if done.outcome is instance_disk.Outcome.MISS:
            done = bench.manager.create_disk(image, 'vm3')
            if done.outcome is not instance_disk.Outcome.HIT:
                self._bad('STUCK', f'no hit after a miss: {done.outcome}')
            self._judge_disk('vm3', 'after the last deploy')
        self._purge_and_compare(image)

    def _purge_and_compare(self, image: image_module.Image) -> None:
        """What is cached can be taken away, and nothing with it."""
        (result,) = self._bench.manager.purge(self._bench.manager.list())
        if not result.removed or self._bench.base_name in self._bench.disks():
            self._bad('STUCK', f'can not be purged: {result.reason}')
        self._judge_disk('vm2', 'after a purge')

    def _judge_threads(self) -> None:
        """Whoever was left behind must come to an end."""
        deadline = time.monotonic() + 10
        while left := [thread.name for thread in seams.our_threads()]:
            if time.monotonic() > deadline:
                self._bad('LEAK', f'threads: {left}')
                return
            time.sleep(0.02)


# -- printing


def matrix(verdicts: dict[Cell, Verdict]) -> str:
    """One table for each image and family of rows."""
    lines: list[str] = []
    families = (
        (POWERVM_ROWS, POWERVM_FAULTS),
        ((GLANCE_ROW,), GLANCE_FAULTS),
        ((METADATA_ROW,), METADATA_FAULTS),
    )
    for image in IMAGES:
        for rows, faults in families:
            lines += _table(verdicts, image, rows, faults)
    for row in (CATALOG_ROW, LOCKS_ROW):
        lines += _list(verdicts, row)
    return '\n'.join(lines)


def _table(
    verdicts: dict[Cell, Verdict],
    image: str,
    rows: Sequence[Row],
    faults: Sequence[Fault],
) -> list[str]:
    found = {
        (cell.row, cell.count, cell.fault.name): verdict.shown
        for cell, verdict in verdicts.items()
        if cell.image == image and cell.row in rows
    }
    names = [
        fault.name
        for fault in faults
        if any(key[2] == fault.name for key in found)
    ]
    lines = [_line(f'{image}', 'count', names)] if found else []
    for row in rows:
        for count in COUNTS:
            words = [found.get((row, count, name), '') for name in names]
            if any(words):
                lines.append(_line(row.name, count, words))
    return [*lines, ''] if lines else []


def _line(name: str, count: str, words: Sequence[str]) -> str:
    return (
        f'{name:32}{count:8}' + ''.join(f'{word:10}' for word in words)
    ).rstrip()


def _list(verdicts: dict[Cell, Verdict], row: Row) -> list[str]:
    found = {
        (cell.fault.name, cell.count, cell.image): verdict.shown
        for cell, verdict in verdicts.items()
        if cell.row is row
    }
    heads = [
        (when, image) for when in ('start', 'midway') for image in row.images
    ]
    lines = [
        _line(
            row.name, '', [f'{image[:4]}/{when[:3]}' for when, image in heads]
        )
    ]
    for name in dict.fromkeys(key[0] for key in found):
        lines.append(
            _line(name, '', [found.get((name, *head), '') for head in heads])
        )
    return [*lines, ''] if found else []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument(
        '--only',
        action='append',
        default=[],
        metavar='ROW:COLUMN:IMAGE',
        help='run these cells alone; patterns as of a shell, repeatable',
    )
    parser.add_argument(
        '--verbose', action='store_true', help='show what is logged'
    )
    parser.add_argument(
        '--list',
        action='store_true',
        help='print the names of the cells, run none',
    )
    parser.add_argument(
        '--jobs', type=int, default=2, help='processes to run at the same time'
    )
    platforms.add_argument(parser)
    # What those processes are told.
    parser.add_argument('--part', help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_all(
    chosen: Sequence[Cell], platform: str
) -> Iterator[tuple[Cell, Verdict]]:
    """Run cells one after another."""
    for cell in chosen:
        try:
            yield cell, run(cell, platform)
        except Exception as error:
            LOG.exception(cell.name)
            yield (
                cell,
                Verdict(
                    'error',
                    0,
                    1,
                    problems=[('RAW', f'outside the operation: {error!r}')],
                ),
            )


def _run_in_processes(
    chosen: Sequence[Cell], arguments: argparse.Namespace
) -> Iterator[tuple[Cell, Verdict]]:
    """Share cells among processes, each with a Glance of its own."""
    by_name = {cell.name: cell for cell in chosen}
    told: queue.Queue[str | None] = queue.Queue()
    patterns = [f'--only={pattern}' for pattern in arguments.only]
    verbose = ['--verbose'] if arguments.verbose else []
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                '-m',
                f'{__spec__.name}',
                '--part',
                f'{number}/{arguments.jobs}',
                '--platform',
                arguments.platform,
                *patterns,
                *verbose,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(arguments.jobs)
    ]

    def listen(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told.put(line)
        told.put(None)

    try:
        for process in processes:
            threading.Thread(
                target=listen, args=(process,), daemon=True
            ).start()
        running = len(processes)
        while running:
            line = told.get()
            if line is None:
                running -= 1
                continue
            told_of = json.loads(line)
            yield by_name.pop(told_of.pop('cell')), Verdict(**told_of)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    for cell in by_name.values():
        yield (
            cell,
            Verdict(
                'error',
                0,
                1,
                problems=[('RAW', 'the process that should have run it died')],
            ),
        )


def _run_part(chosen: Sequence[Cell], part: str, platform: str) -> None:
    """Run every so-manieth cell, and tell the process that asked."""
    number, jobs = map(int, part.split('/'))
    for cell, verdict in _run_all(chosen[number::jobs], platform):
        print(
            json.dumps({'cell': cell.name} | dataclasses.asdict(verdict)),
            flush=True,
        )


def _report(cell: Cell, verdict: Verdict, verbose: bool) -> None:
    for word, detail in verdict.problems:
        print(
            f'{word} {cell.name} ({verdict.seconds:.1f} s): {detail}',
            flush=True,
        )
    if verbose:
        print(
            f'{cell.name}: {verdict.shown} ({verdict.seconds:.1f} s) '
            f'{verdict.detail}',
            flush=True,
        )


def _print_summary(verdicts: dict[Cell, Verdict], seconds: float) -> None:
    print(f'\n{matrix(verdicts)}')
    slowest = sorted(verdicts.items(), key=lambda item: -item[1].seconds)
    print(
        'Slowest: '
        + ', '.join(
            f'{cell.name} {verdict.seconds:.0f} s'
            for cell, verdict in slowest[:5]
        )
    )
    words = collections.Counter(verdict.shown for verdict in verdicts.values())
    bad = sum(bool(verdict.problems) for verdict in verdicts.values())
    print(
        f'{len(verdicts)} cells, {bad} bad, {seconds:.0f} s: '
        + ', '.join(f'{count} {word}' for word, count in words.most_common())
    )


def main() -> int:
    """Run the cells that were asked for, and print the matrix."""
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
        _run_part(chosen, arguments.part, arguments.platform)
        return 0
    if not chosen:
        print('No cell is called so; --list tells their names.')
        return 2
    started = time.monotonic()
    alone = arguments.jobs < 2 or len(chosen) < 10
    verdicts: dict[Cell, Verdict] = {}
    for cell, verdict in (
        _run_all(chosen, arguments.platform)
        if alone
        else _run_in_processes(chosen, arguments)
    ):
        verdicts[cell] = verdict
        _report(cell, verdict, arguments.verbose)
    _print_summary(verdicts, time.monotonic() - started)
    return 1 if any(each.problems for each in verdicts.values()) else 0


if __name__ == '__main__':
    sys.exit(main())
