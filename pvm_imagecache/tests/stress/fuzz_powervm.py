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
"""Malformed answers of PowerVM: no traceback, no memory, no end of patience.

Commands run against a server that answers at random: bombs of XML, endless
and truncated documents, other types and IDs, links to other servers, files
of the host in place of tokens. The server also damages the answers of the
simulator, so that commands get as far as they can.

    python -m pvm_imagecache.tests.stress.fuzz_powervm --seconds 60
"""

import argparse
from collections.abc import Sequence
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from pvm_imagecache import simulator
from pvm_imagecache.tests.servers import hostile_powervm as hostile

SECRET = 'host-secret-' + 'q' * 20
MOST_MEMORY = 300 << 20
#: Seconds; the requests of the commands end after two.
LONGEST_CALL = 120
COMMANDS = (
    ('usage',),
    ('verify',),
    ('evict', '--dry-run'),
    ('adopt', '--dry-run'),
    ('purge', '--all', '--yes'),
    ('disk', 'delete', 'vm1', '--yes'),
)
TRACES = ('Traceback (most recent', 'File "', 'Error: <', 'object at 0x')
_UOM = 'http://www.ibm.com/xmlns/systems/power/firmware/uom/mc/2012_10/'


class Fuzz:
    """The server, the commands, and what went wrong.

    :param directory: for all files.
    :param seed: of the random numbers.
    """

    def __init__(self, directory: pathlib.Path, seed: int) -> None:
        self._directory = directory
        self._random = random.Random(seed)
        self.secret = directory / 'secret'
        self.secret.write_text(SECRET)
        # Older than any logon.
        os.utime(self.secret)
        self._tokens = hostile.TokenDirectory()
        self._link = directory / 'link'
        self._link.symlink_to(self.secret)
        self._token = ''
        self.faults: list[str] = []
        self.memory = 0
        self.calls = 0
        self.damaged = False
        self.other: hostile.HostilePowerVM | None = None
        self.real: simulator.Simulator | None = None

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with (
            simulator.Simulator(str(self._directory / 'real')) as self.real,
            hostile.HostilePowerVM(
                lambda request: hostile.answer(b'<a/>')
            ) as self.other,
            hostile.HostilePowerVM(self._answer) as server,
        ):
            self._log_on()
            conf = self._conf(server)
            while not self.calls or time.monotonic() < end:
                self._call(conf, server)
            if SECRET in server.received() + self.other.received():
                self.faults.append('a file of the host was sent')
            if self.other.requests:
                self.faults.append('another server was reached')

    def _conf(self, server: hostile.HostilePowerVM) -> pathlib.Path:
        path = self._directory / 'fuzz.conf'
        path.write_text(f"""[pvm_imagecache]
state_path = {self._directory / 'state'}
host = {server.host}
port = {server.port}
protocol = http
volume_group_name = cachevg
request_timeout = 2
auth_strategy = local
""")
        return path

    def _call(
        self, conf: pathlib.Path, server: hostile.HostilePowerVM
    ) -> None:
        self.calls += 1
        command = self._random.choice(COMMANDS)
        began = time.monotonic()
        with tempfile.TemporaryFile('w+') as shown:
            process = subprocess.Popen(
                [
                    sys.executable,
                    '-m',
                    'pvm_imagecache.cmd.main',
                    '--config-file',
                    str(conf),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=shown,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONFAULTHANDLER': '1'},
            )
            ended, memory = _end(process)
            shown.seek(0)
            output = shown.read()
        if not ended:
            self.faults.append(f'{command} did not end: {output[-3000:]}')
        self.memory = max(self.memory, memory)
        if memory > MOST_MEMORY:
            self.faults.append(f'{command} took {memory >> 20} MiB')
        if process.returncode not in (0, 1, 2):
            self.faults.append(f'{command} ended with {process.returncode}')
        if any(each in output for each in TRACES) or SECRET in output:
            self.faults.append(
                f'{command}, {time.monotonic() - began:.0f} s: '
                f'{output[-2000:]}'
            )

    # -- answers

    def _answer(self, request: hostile.Request) -> hostile.Answer:
        if request.is_logon:
            if self._random.random() < 0.7:
                return hostile.logon(self._tokens.new())
            return self._nonsense(self._logons())
        found = self._of_simulator(request)
        if self._random.random() < 0.6:
            return found
        self.damaged = True
        return self._nonsense(self._damages(found))

    def _nonsense(self, more: Sequence[bytes]) -> hostile.Answer:
        return self._random.choice([*more, *self._documents()])

    def _logons(self) -> list[bytes]:
        return [
            hostile.logon(path)
            for path in (
                str(self.secret),
                str(self._link),
                '/etc/shadow',
                '/dev/zero',
                '/proc/self/mem',
                'relative',
                '/' * 5000,
                '',
                self._tokens.new('not a token: ' + SECRET[:4]),
                self._tokens.new('t' * 5000),
            )
        ]

    def _documents(self) -> list[hostile.Answer]:
        assert self.other is not None
        url = f'{self.other.url}/rest/api/uom/ManagedSystem'
        feed = f'<feed xmlns="{hostile.ATOM}">'

        def wrap(content: str) -> bytes:
            return hostile.answer(f'{feed}{content}</feed>')

        def entry(content: str) -> bytes:
            return wrap(
                '<entry><id>x</id><link rel="SELF" '
                f'href="@{url.removeprefix("http://")}"/>'
                f'<content>{content}</content></entry>'
            )

        def endless() -> Sequence[bytes]:
            return [hostile.answer(b'', Content_Length='99999999999')] + [
                b'<a>' * 30000
            ] * 1000

        bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + ''.join(
            f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9)
        )
        file = f'<!DOCTYPE a [<!ENTITY a SYSTEM "file://{self.secret}">]>'
        kind = self._random.choice(
            ('VirtualIOServer', 'VolumeGroup', 'ManagedSystem', 'Other')
        )
        return [
            hostile.answer(b''),
            hostile.answer(b'\xff\xfe\x00<'),
            hostile.answer('{"a": 1}'),
            hostile.answer('[' * 100000),
            hostile.answer('<html>no</html>', 500),
            hostile.answer(f'{bomb}]>{feed}&a8;</feed>'),
            hostile.answer(f'{file}{feed}&a;</feed>'),
            hostile.answer(f'{feed}', Content_Length='1000'),
            hostile.redirection(url, self._random.choice((301, 302, 307))),
            wrap('<a/>' * 3000000),
            wrap('<a b="1" c="2"/>' * 300000),
            wrap('<a>' * 300),
            wrap('x' * (20 << 20)),
            wrap(''),
            wrap('<entry/>'),
            wrap('<entry><content/></entry>'),
            entry(f'<{kind} xmlns="{_UOM}"/>'),
            entry(
                f'<{kind} xmlns="{_UOM}"><GroupCapacity>many</GroupCapacity>'
                '<FreeSpace>NaN</FreeSpace><AvailableSize>1e999'
                f'</AvailableSize></{kind}>'
            ),
            endless(),
            [b'HTTP/1.1 100 Continue\r\n\r\n'] * 100000,
            b'nonsense\r\n\r\n',
            b'',
            hostile.answer(b'', 200, X='y' * 60000),
            hostile.answer(b'\x1f\x8b' * 1000, Content_Encoding='gzip'),
        ]

    def _damages(self, found: bytes) -> list[bytes]:
        head, _, body = found.partition(b'\r\n\r\n')
        del head
        numbers = re.sub(rb'>\d+(\.\d+)?<', b'>-1e999<', body)
        at = self._random.randrange(len(body) + 1)
        return [
            hostile.answer(body[:at]),
            hostile.answer(body[:at] + b'<x>' + body[at:]),
            hostile.answer(numbers),
            hostile.answer(body.replace(b'UniqueDeviceID', b'Other')),
            hostile.answer(body.replace(b'DiskName', b'Other')),
            hostile.answer(re.sub(rb'href="[^"]*"', b'href="@a/b"', body)),
            hostile.answer(re.sub(rb'<id>[^<]*</id>', b'', body)),
            hostile.answer(re.sub(rb'[0-9a-fA-F]{8}-', b'../../../', body)),
        ]

    def _log_on(self) -> None:
        assert self.real is not None
        body = (
            f'<LogonRequest xmlns="{hostile.WEB}"><UserID>pvmadmin</UserID>'
            '<Password>pvmadmin</Password></LogonRequest>'
        )
        with urllib.request.urlopen(
            urllib.request.Request(
                f'{self.real.url}/rest/api/web/Logon',
                body.encode(),
                method='PUT',
            )
        ) as answer:
            found = re.search(rb'X-API-Session [^>]*>([^<]+)', answer.read())
        assert found is not None
        self._token = found[1].decode()

    def _of_simulator(self, request: hostile.Request) -> bytes:
        assert self.real is not None
        kept = {
            name: value
            for name, value in request.headers.items()
            if name in ('accept', 'content-type', 'if-match')
        }
        try:
            with urllib.request.urlopen(
                urllib.request.Request(
                    self.real.url + request.path,
                    request.body or None,
                    {**kept, 'X-API-Session': self._token},
                    method=request.method,
                )
            ) as answer:
                return hostile.answer(
                    answer.read(),
                    answer.status,
                    ETag=answer.headers.get('ETag') or 'none',
                )
        except urllib.error.HTTPError as error:
            with error:
                return hostile.answer(error.read(), error.code)
        except ValueError:
            return hostile.answer(b'', 400)


def _end(process: subprocess.Popen[bytes]) -> tuple[bool, int]:
    """Wait for a process; return whether it ended, and its memory in bytes.

    The system counts the memory of all children together otherwise.
    """
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        # Shows where it waits.
        process.send_signal(signal.SIGABRT)

    timer = threading.Timer(LONGEST_CALL, kill)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        timer.cancel()
        timer.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    # A new process begins with the figure of the one that starts it.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = usage.ru_maxrss if usage.ru_maxrss > ours else 0
    return not killed.is_set(), memory << 10


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--seed', type=int, default=None)
    options = parser.parse_args(arguments)
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    with tempfile.TemporaryDirectory(prefix='fuzz-powervm-') as directory:
        fuzz = Fuzz(pathlib.Path(directory), seed)
        fuzz.run(options.seconds)
    print(
        f'seed {seed}: {fuzz.calls} commands, at most '
        f'{fuzz.memory >> 20} MiB, {len(fuzz.faults)} faults'
    )
    for each in fuzz.faults:
        print(f'* {each}')
    return 1 if fuzz.faults else 0


if __name__ == '__main__':
    sys.exit(main())
