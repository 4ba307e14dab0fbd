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

"""Random damage to the catalog: no traceback, no hang, nothing outside.

The schema, the values and the bytes of a catalog are changed at random, and
files are put beside it. Then the operations that read and write it are run
in a child process. The status must be one that is documented, what is
printed no traceback, a file beside the state directory unchanged, and the
memory of the child bounded.

    python -m pvm_imagecache.tests.stress.fuzz_catalog --seconds 1800
"""

import argparse
import collections
from collections.abc import Sequence
import contextlib
import os
import pathlib
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback

from pvm_imagecache import exceptions
from pvm_imagecache import image as image_module
from pvm_imagecache.catalog import facade
from pvm_imagecache.catalog import models
from pvm_imagecache.catalog import reader
from pvm_imagecache.cmd import main as command
from pvm_imagecache.system import locks

#: KiB of memory, and seconds, that one run may take.
MEMORY = 300 << 10
PATIENCE = 120
TABLES = (
    'base_images',
    'instance_disks',
    'history',
    'totals',
    'clock',
    'pins',
    'in_use',
    'pools',
    'pool_names',
    'failed_downloads',
    'platform_facts',
    'identity',
    'former_catalogs',
    'other_catalogs',
)
VALUES = (
    'NULL',
    "''",
    "'../../victim'",
    "x'ff00'",
    "CAST(x'ff' AS TEXT)",
    '-1',
    '9223372036854775807',
    '9e999',
    '-1e300',
    "char(10, 27, 0, 0x202e) || 'x'",
    "printf('%.*c', 900000, 'x')",
    'zeroblob(20000000)',
    "'ready'",
)
#: Bytes of a file that is read here; a truncated one can have many more.
_MOST_CHANGED = 1 << 26
#: What SQLite raises here; a message of it that is no text, too.
_OF_SQLITE = (sqlite3.Error, OSError, UnicodeDecodeError)
#: What the file beside the state directory holds.
_VICTIM = b'kept'
SCHEMAS = (
    'CREATE TRIGGER t AFTER UPDATE ON {0} BEGIN DELETE FROM {1}; END',
    'CREATE TRIGGER t AFTER DELETE ON {0} BEGIN DELETE FROM {1}; END',
    'CREATE VIEW v AS SELECT * FROM {0}, {1}',
    'CREATE TABLE more AS SELECT * FROM {0}',
    'CREATE INDEX more ON {0} (rowid)',
    'DROP TABLE {0}',
    'ALTER TABLE {0} ADD COLUMN more',
    'ALTER TABLE {0} RENAME TO more',
    'PRAGMA user_version = 99',
    'PRAGMA user_version = -1',
    'PRAGMA user_version = 0',
    'PRAGMA user_version = 3',
    'PRAGMA journal_mode = DELETE',
    'INSERT INTO history (at, pool, action, who) WITH RECURSIVE n(i) AS'
    ' (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)'
    " SELECT 1, 'pool', 'hit', 'w' FROM n",
)


class Fuzz:
    """A state directory that is damaged again and again.

    :param directory: where everything is.
    :param random: chooses.
    """

    def __init__(
        self, directory: pathlib.Path, chooser: random.Random
    ) -> None:
        self.random = chooser
        self.directory = directory
        self.state = directory / 'state'
        self.path = self.state / 'catalog.sqlite'
        self.victim = directory / 'victim'
        self.victim.write_bytes(_VICTIM)
        self.conf = directory / 'fuzz.conf'
        self.conf.write_text(
            f'[pvm_imagecache]\nstate_path = {self.state}\n'
            'host = localhost\nport = 1\nvolume_group_name = vg\n'
        )
        _fill(self.path)
        self.original = self.path.read_bytes()
        self.outcomes: collections.Counter[str] = collections.Counter()

    def damage(self) -> str:
        """Damage a new copy; return what was done."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(0o750)
        self.path.write_bytes(self.original)
        kinds = (
            self._change_value,
            self._change_schema,
            self._change_bytes,
            self._truncate,
            self._put_beside,
            self._write_log,
        )
        chosen = self.random.choices(kinds, k=self.random.randint(1, 3))
        # Last what would lead the other kinds to files outside, or let them
        # wait.
        chosen.sort(key=lambda kind: kind == self._put_beside)
        return ', '.join(kind() for kind in chosen)

    def _run_sql(self, statement: str) -> str:
        with (
            contextlib.suppress(*_OF_SQLITE),
            contextlib.closing(sqlite3.connect(self.path)) as file,
            file,
        ):
            file.execute(statement)
        return statement

    def _change_value(self) -> str:
        table = self.random.choice(TABLES)
        with contextlib.suppress(*_OF_SQLITE):
            with contextlib.closing(sqlite3.connect(self.path)) as file:
                columns = [
                    each[1]
                    for each in file.execute(f'PRAGMA table_info({table})')
                ]
            if columns:
                return self._run_sql(
                    f'UPDATE {table} SET {self.random.choice(columns)} ='
                    f' {self.random.choice(VALUES)}'
                )
        return 'nothing'

    def _change_schema(self) -> str:
        return self._run_sql(
            self.random.choice(SCHEMAS).format(*self.random.sample(TABLES, 2))
        )

    def _change_bytes(self) -> str:
        if not self.path.is_file() or (
            not 0 < self.path.stat().st_size <= _MOST_CHANGED
        ):
            return 'nothing'
        content = bytearray(self.path.read_bytes())
        end = self.random.choice((100, 4096, len(content)))
        changed = [
            self.random.randrange(min(end, len(content)))
            for _ in range(self.random.choice((1, 3, 100)))
        ]
        for at in changed:
            content[at] = self.random.randrange(256)
        self.path.write_bytes(content)
        return f'bytes {changed[:5]}'

    def _truncate(self) -> str:
        size = self.random.choice((0, 1, 100, 4096, 5000, 1 << 34))
        if self.path.is_file():
            os.truncate(self.path, size)
        return f'size {size}'

    def _put_beside(self) -> str:
        name = self.random.choice(
            (
                'catalog.sqlite',
                'catalog.sqlite-wal',
                'catalog.sqlite-shm',
                'catalog.sqlite-journal',
                'locks',
                'finished',
            )
        )
        path = self.state / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        kind = self.random.randrange(7)
        if kind == 0:
            path.symlink_to(self.victim)
        elif kind == 1:
            path.symlink_to(self.directory / 'new')
        elif kind == 2:
            path.hardlink_to(self.victim)
        elif kind == 3:
            os.mkfifo(path)
        elif kind == 4:
            path.mkdir()
        elif kind == 5:
            path.write_bytes(self.random.randbytes(5000))
        else:
            path.write_bytes(_journal(str(self.victim)))
        return f'{name}: kind {kind}'

    def _write_log(self) -> str:
        """Leave a log of a crashed process, and change a byte of it."""
        log = self.state / 'catalog.sqlite-wal'
        with contextlib.suppress(*_OF_SQLITE):
            copy = self.directory / 'copy'
            copy.write_bytes(self.original)
            with contextlib.closing(sqlite3.connect(copy)) as file:
                file.execute('PRAGMA journal_mode = WAL')
                file.execute("UPDATE pins SET note = 'changed'")
                file.commit()
                content = bytearray(copy.with_name('copy-wal').read_bytes())
            content[self.random.randrange(len(content))] ^= 1
            log.write_bytes(content)
        return 'log'

    def use(self) -> str:
        """Run everything once in a child; return the outcome."""
        output = self.directory / 'output'
        pid = os.fork()
        if not pid:
            _child(self.conf, self.path, output)
        end = time.monotonic() + PATIENCE
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return 'a hang'
            time.sleep(0.005)
        text = output.read_text(errors='replace')
        if 'Traceback' in text or 'should not have happened' in text:
            return f'a traceback: {text[-3000:]}'
        if os.waitstatus_to_exitcode(status) not in (0, 1):
            return f'status {status}: {text[-1000:]}'
        # A new process begins with the figure of the one that starts it.
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if usage.ru_maxrss > max(MEMORY, ours):
            return f'{usage.ru_maxrss >> 10} MiB'
        if (
            self.victim.read_bytes() != _VICTIM
            or (self.directory / 'new').exists()
        ):
            return 'a file outside was changed'
        return ''


def _journal(victim: str) -> bytes:
    name = victim.encode()
    magic = bytes.fromhex('d9d505f920a163d7')
    return (
        magic
        + bytes(504)
        + (1).to_bytes(4)
        + name
        + len(name).to_bytes(4)
        + sum(name).to_bytes(4)
        + magic
    )


def _fill(path: pathlib.Path) -> None:
    image = image_module.Image(
        '3e865d14-8c1e-4615-b73f-f78eaecabfbd',
        'name',
        5,
        'raw',
        checksum='ab',
    )
    with contextlib.closing(facade.Catalog(str(path))) as catalog:
        _write(catalog, image)
        catalog.pools.record_name('localdisk/localhost/1//vg', 'pool')


def _write(catalog: facade.Catalog, image: image_module.Image) -> None:
    catalog.pins.pin('pool', image.id, 'note', 5)
    catalog.pins.set_in_use('pool', [image.id])
    catalog.history.add('pool', 'hit', image_id=image.id)
    catalog.failed_downloads.record('pool', 'd', 'data', 'error')
    catalog.platform_facts.record(
        'pool', {'granularity': 1 << 30}, {'keeps_labels': 'failed'}, 'level'
    )
    catalog.identity.take_over('0a1b2c3d')
    catalog.identity.record_others(
        'pool', [models.OtherCatalog('5e1f0c2a', 1)]
    )
    catalog.pools.record_run('pool')
    with contextlib.suppress(exceptions.CatalogConflict):
        catalog.base_images.start_fill('pool', 'i_1', image)
    with contextlib.suppress(exceptions.CatalogConflict):
        catalog.instance_disks.start('pool', 'vm', 1)


def _child(
    conf: pathlib.Path, path: pathlib.Path, output: pathlib.Path
) -> None:
    """Run commands and operations; never return."""
    code = 3
    try:
        descriptor = os.open(output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = 0
        for arguments in (('list',), ('history',), ('show', '3e8')):
            sys.argv = ['pvm-imagecache', f'--config-file={conf}', *arguments]
            try:
                found = command.main()
            except SystemExit as error:
                found = error.code if isinstance(error.code, int) else 3
            code = max(code, found or 0)
        for read_only in (True, False):
            _operate(path, read_only)
    except BaseException:
        traceback.print_exc()
        code = 3
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _operate(path: pathlib.Path, read_only: bool) -> None:
    image = image_module.Image('3e865d14', 'name', 5, 'raw', checksum='ab')
    held = locks.LockDirectory(str(path.parent / 'locks'))
    with contextlib.closing(
        facade.Catalog(str(path), read_only=read_only)
    ) as catalog:
        seen = reader.CatalogReader(catalog, 'pool')
        for call in (
            seen.list,
            seen.pins,
            seen.names,
            seen.in_use,
            seen.history,
            lambda: [seen.age(each) for each in seen.list()],
            lambda: catalog.history.totals('pool'),
            lambda: catalog.base_images.states('pool'),
            lambda: catalog.pools.last_run('pool'),
            lambda: catalog.failed_downloads.get('pool', 'd'),
            lambda: catalog.platform_facts.read('pool'),
            lambda: catalog.catalog_id,
            catalog.identity.own,
            lambda: catalog.identity.others('pool'),
            lambda: catalog.identity.take_over('ffffffff'),
            lambda: catalog.identity.record_others('pool', []),
            lambda: catalog.instance_disks.list('pool'),
            lambda: [
                catalog.instance_disks.finish(each)
                for each in catalog.instance_disks.list('pool')
            ],
            lambda: _write(catalog, image),
            lambda: held.is_free('x'),
        ):
            with contextlib.suppress(exceptions.PVMImageCacheError):
                call()


def main(arguments: Sequence[str]) -> int:
    """Damage and use the catalog; return whether something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--seed', type=int, default=None)
    options = parser.parse_args(arguments)
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    # Files of 16 GiB are sparse; what is written must not fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    chooser = random.Random(seed)
    runs, failures = 0, 0
    with tempfile.TemporaryDirectory(prefix='fuzz-') as directory:
        os.chmod(directory, 0o755)
        fuzz = Fuzz(pathlib.Path(directory), chooser)
        end = time.monotonic() + options.seconds
        while time.monotonic() < end or not runs:
            done = fuzz.damage()
            outcome = fuzz.use()
            runs += 1
            if outcome:
                failures += 1
                print(f'{done}: {outcome}', flush=True)
    print(f'seed {seed}: {runs} catalogs, {failures} failures')
    return int(bool(failures))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
