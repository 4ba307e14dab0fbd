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

"""Run commands as processes that a prepared process forks.

The imports of a command take most of its processor time, and the functional
tests run a thousand commands. The server here has imported them once; it
forks for each command. The child gets the arguments, the environment, the
working directory, the umask and the standard streams of the command, and
runs the same module as ``python -m`` would.

Only commands that cannot see a difference are forked; all others are started
as real processes, see ``_can_be_forked``. The variable
PVM_IMAGECACHE_TEST_START, if set, makes all of them real ones.
"""

import atexit
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import gc
import importlib
import importlib.util
import io
import json
import os
import pathlib
import pkgutil
import re
import runpy
import select
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any
from typing import Final
from typing import IO
from typing import NoReturn

#: What is forked for; everything else is started.
MODULES: Final = (
    'pvm_imagecache.cmd.main',
    'pvm_imagecache.cmd.status',
    'pvm_imagecache.tests.servers.shell_probe',
)
#: Starts a real process for every command if it is set.
START: Final = 'PVM_IMAGECACHE_TEST_START'

_OPTIONS: Final = frozenset(
    ('stdin', 'stdout', 'stderr', 'env', 'cwd', 'text', 'start_new_session')
)
# Nothing reads them before the command runs, or the child makes up for it.
# oslo.config reads OS_GROUP__OPTION when libraries are imported.
_READ_LATE: Final = re.compile(
    r'OS_(?!.*__)[A-Z0-9_]+|HOME|TMPDIR|TZ|COLUMNS|LINES|CLIFF_[A-Z_]+'
    r'|XDG_CONFIG_HOME|XDG_CACHE_HOME|USER|LOGNAME|PWD'
)
_PRELOADED: Final = (
    'pvm_imagecache.catalog',
    'pvm_imagecache.cmd',
    'pvm_imagecache.conf',
    'pvm_imagecache.deploy',
    'pvm_imagecache.drivers',
    'pvm_imagecache.eviction',
    'pvm_imagecache.glance',
    'pvm_imagecache.policies',
    'pvm_imagecache.system',
)
_LIBRARIES: Final = (
    'glanceclient.v2.client',
    'keystoneauth1.loading',
    'keystoneauth1.identity.v3',
    'keystoneauth1.token_endpoint',
    'oslo_upgradecheck.upgradecheck',
    'pvm_imagecache.manager',
    'pypowervm.adapter',
)
#: What the server sends when it can fork.
_READY: Final = b'ready'
# Not all commands import them, and libraries look whether eventlet is there.
_LEFT_OUT: Final = ('eventlet', 'nova', 'openstack', 'taskflow')


# -- in the process of the tests


class Command:
    """A forked command, with the interface of ``subprocess.Popen``.

    :ivar pid: its process ID, which no other process has before its end was
        noticed here.
    :ivar returncode: exit status once it was noticed; negative for a signal.
    :ivar stdin: our end of its standard input, if it is a pipe; the same
        for ``stdout`` and ``stderr``.
    """

    def __init__(
        self,
        args: Sequence[str],
        reply: socket.socket,
        streams: Sequence[IO[Any] | None],
    ) -> None:
        self.args = args
        self._reply = reply
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = streams
        self.pid = self._number()

    def __enter__(self) -> 'Command':
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()

    def _number(self) -> int:
        line = b''
        while not line.endswith(b'\n'):
            piece = self._reply.recv(1)
            if not piece:
                raise RuntimeError('the server of the commands has ended')
            line += piece
        return int(line)

    def poll(self) -> int | None:
        """The exit status, None as long as the command runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit status.

        :raises subprocess.TimeoutExpired: if it still runs after ``timeout``
            seconds.
        """
        if self.returncode is None:
            if not select.select([self._reply], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._number()
            # From now on the process ID may be another process's.
            self._reply.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal unless the end was noticed."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(
        self, input: Any = None, timeout: float | None = None
    ) -> tuple[Any, Any]:
        """Write all input, read all output, wait for the end.

        :raises subprocess.TimeoutExpired: after ``timeout`` seconds; what
            was read until then is lost.
        """
        end = None if timeout is None else time.monotonic() + timeout
        found: dict[IO[Any], Any] = {}

        def read(stream: IO[Any]) -> None:
            with stream:
                found[stream] = stream.read()

        def write(stream: IO[Any]) -> None:
            with contextlib.suppress(BrokenPipeError), stream:
                if input:
                    stream.write(input)

        threads = [
            threading.Thread(target=read, args=[stream], daemon=True)
            for stream in (self.stdout, self.stderr)
            if stream is not None
        ]
        if self.stdin is not None:
            threads.append(
                threading.Thread(target=write, args=[self.stdin], daemon=True)
            )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_left(end))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(_left(end))
        return (
            found[self.stdout] if self.stdout else None,
            found[self.stderr] if self.stderr else None,
        )


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def start(
    command: Sequence[str], **options: Any
) -> 'Command | subprocess.Popen[Any]':
    """Start a command, forked if it can be.

    :param command: as for ``subprocess.Popen``.
    :param options: of ``subprocess.Popen``.
    """
    if not _can_be_forked(command, options):
        return subprocess.Popen(command, **options)
    return _fork(list(command), **options)


def run(
    command: Sequence[str],
    *,
    capture_output: bool = False,
    check: bool = False,
    input: Any = None,
    timeout: float | None = None,
    **options: Any,
) -> 'subprocess.CompletedProcess[Any]':
    """Run a command like ``subprocess.run``, forked if it can be.

    :raises subprocess.CalledProcessError: with ``check``, if the exit status
        is not 0.
    :raises subprocess.TimeoutExpired: if it still runs after ``timeout``
        seconds; it is killed.
    """
    if capture_output:
        options |= {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    if input is not None:
        options['stdin'] = subprocess.PIPE
    with start(command, **options) as process:
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(
        process.args, process.wait(), output, errors
    )
    if check:
        done.check_returncode()
    return done


def _can_be_forked(command: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Whether a forked process is like one that was started.

    It is not if the start of the interpreter or the imports depend on
    something that the server has not met.
    """
    environment = options.get('env') or os.environ
    return (
        list(command[:2]) == [sys.executable, '-m']
        and command[2] in MODULES
        and options.keys() <= _OPTIONS
        and not any(
            name == START or name.startswith('COVERAGE_')
            for name in (*environment, *os.environ)
        )
        and _server().fits(environment, _directory(options.get('cwd')))
    )


def _directory(chosen: os.PathLike[str] | str | None) -> pathlib.Path:
    return pathlib.Path(os.path.abspath(chosen or os.getcwd()))


def _user_ids() -> tuple[Any, ...]:
    return (*os.getresuid(), *os.getresgid(), *os.getgroups())


class _Server:
    """The process that forks, as its parent knows it."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._users = _user_ids()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        with theirs:
            # In our session and group: Ctrl-C is for the commands too.
            self.process = subprocess.Popen(
                [sys.executable, '-m', __name__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )
        self._guard = threading.Lock()
        self._is_ready: bool | None = None

    def is_ready(self) -> bool:
        """Whether it could prepare itself; it waits for that.

        It ends otherwise, and says why: some releases of the libraries
        import eventlet, for instance.
        """
        with self._guard:
            if self._is_ready is None:
                self._is_ready = self._control.recv(len(_READY)) == _READY
            return self._is_ready

    def fits(
        self, environment: Mapping[str, str], directory: pathlib.Path
    ) -> bool:
        """Whether commands with that environment and directory are forked."""
        names = {*environment, *self._environment}
        different = {
            name
            for name in names
            if environment.get(name) != self._environment.get(name)
        }
        return (
            self.is_ready()
            and all(map(_READ_LATE.fullmatch, different))
            and self._users == _user_ids()
            and directory.is_dir()
            # "python -m" imports from there, and from the user's own.
            and (
                directory == pathlib.Path.cwd()
                or not any(directory.glob('*.py'))
            )
            and not (
                site.ENABLE_USER_SITE
                and 'HOME' in different
                and pathlib.Path(
                    environment.get('HOME', '/nonexistent'), '.local/lib'
                ).exists()
            )
        )

    def fork(
        self, descriptors: Sequence[int], request: Mapping[str, Any]
    ) -> socket.socket:
        """Have a child forked; returns where it can be heard of."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(
                self._control, [b'.'], [*descriptors, theirs.fileno()]
            )
        ours.sendall(json.dumps(request).encode() + b'\n')
        return ours

    def stop(self) -> None:
        """End the server; commands that it has forked go on."""
        self._control.close()
        self.process.wait()

    def forget(self) -> None:
        """In a child of ours: the server is the parent's alone."""
        self._control.close()
        self.process.returncode = 0


_SERVERS: Final[list[_Server]] = []
_LOCK: Final = threading.Lock()


def _server() -> _Server:
    """The server of this process, started when first asked for."""
    with _LOCK:
        if not _SERVERS:
            _SERVERS.append(_Server())
        return _SERVERS[0]


def _stop() -> None:
    for each in _SERVERS:
        each.stop()
    _SERVERS.clear()


atexit.register(_stop)


def _forget_in_child() -> None:
    for each in _SERVERS:
        each.forget()
    _SERVERS.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def _fork(
    command: list[str],
    *,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    env: Mapping[str, str] | None = None,
    cwd: os.PathLike[str] | str | None = None,
    text: bool = False,
    start_new_session: bool = False,
) -> Command:
    request = {
        'command': command,
        'environment': dict(os.environ if env is None else env),
        'directory': str(_directory(cwd)),
        'umask': _umask(),
        'session': start_new_session,
    }
    ours: list[IO[Any] | None] = []
    theirs: list[int] = []
    with contextlib.ExitStack() as held:
        for number, chosen in enumerate((stdin, stdout, stderr)):
            pipe = None
            if chosen is None:
                theirs.append(number)
            elif chosen == subprocess.DEVNULL:
                null = held.enter_context(open(os.devnull, 'r+b', 0))
                theirs.append(null.fileno())
            elif chosen == subprocess.PIPE:
                ends = os.pipe()
                theirs.append(ends[bool(number)])
                held.callback(os.close, theirs[-1])
                mode = 'r' if number else 'w'
                pipe = os.fdopen(
                    ends[not number], mode if text else mode + 'b'
                )
            elif chosen == subprocess.STDOUT:
                theirs.append(theirs[1])
            else:
                theirs.append(
                    chosen if isinstance(chosen, int) else chosen.fileno()
                )
            ours.append(pipe)
        reply = _server().fork(theirs, request)
    return Command(command, reply, ours)


def _umask() -> int:
    """The umask of this process, without setting another one."""
    with open('/proc/self/status') as status:
        for line in status:
            if line.startswith('Umask:'):
                return int(line.split()[1], 8)
    raise RuntimeError('no Umask in /proc/self/status')


# -- in the process that forks


def preload() -> None:
    """Import what commands import."""
    # cliff looks at it when it is imported.
    spec = importlib.util.find_spec(MODULES[0])
    assert spec
    assert spec.origin
    sys.argv[0] = spec.origin
    for name in _PRELOADED:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f'{name}.'):
            # A command is run, not imported; the driver of SSP needs
            # taskflow.
            if module.name not in MODULES and '.ssp' not in module.name:
                importlib.import_module(module.name)
    for name in _LIBRARIES:
        importlib.import_module(name)
    _find_plugins()
    found = [name for name in _LEFT_OUT if name in sys.modules]
    tasks = len(os.listdir('/proc/self/task'))
    if found or tasks != 1:
        raise RuntimeError(f'imported {found}, {tasks} threads')


def _find_plugins() -> None:
    from stevedore import named

    # Those of all packages are found at once.
    named.NamedExtensionManager('pvm_imagecache.cli', [])


class _Forks:
    """What the server has forked."""

    def __init__(self) -> None:
        self._control = socket.socket(fileno=os.dup(0))
        self._woken, self._wake = socket.socketpair()
        for each in (self._woken, self._wake):
            each.setblocking(False)
        self._running: dict[int, socket.socket] = {}
        self._ended: dict[socket.socket, int] = {}
        # Ignored if the parent process ignored it, as shells do.
        self._on_interrupt = signal.getsignal(signal.SIGINT)

    def serve(self) -> None:
        """Fork for each request until the parent is gone.

        In a child this does not return.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select(
                [self._control, self._woken, *self._ended], [], []
            )
            if self._woken in ready:
                self._woken.recv(4096)
                self._tell_ends()
            for reply in set(ready).intersection(self._ended):
                # Its process ID is no longer used there.
                os.waitpid(self._ended.pop(reply), 0)
                reply.close()
            if self._control in ready:
                message, descriptors, _, _ = socket.recv_fds(
                    self._control, 1, 4
                )
                if not message:
                    return
                self._fork(descriptors)

    def _fork(self, descriptors: list[int]) -> None:
        reply = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if not pid:
            self._close()
            _become_command(reply, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _tell(reply, pid)
        self._running[pid] = reply

    def _close(self) -> None:
        """In a child: leave nothing open, and no object that closes later."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, self._on_interrupt)
        for each in (
            self._control,
            self._woken,
            self._wake,
            *self._running.values(),
            *self._ended,
        ):
            each.close()

    def _tell_ends(self) -> None:
        for pid in list(self._running):
            # It stays a zombie, so that no other process gets its ID.
            done = os.waitid(
                os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
            )
            if done is not None:
                reply = self._running.pop(pid)
                killed = done.si_code != os.CLD_EXITED
                _tell(reply, -done.si_status if killed else done.si_status)
                self._ended[reply] = pid


def _tell(reply: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        reply.sendall(b'%d\n' % number)


def _become_command(
    reply: socket.socket, descriptors: Sequence[int]
) -> NoReturn:
    """Make this process what a new one would be, and run its command."""
    with reply, reply.makefile('rb') as stream:
        request = json.loads(stream.readline())
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    if request['session']:
        os.setsid()
    os.umask(request['umask'])
    os.chdir(request['directory'])
    os.environ.clear()
    os.environ.update(request['environment'])
    time.tzset()
    tempfile.tempdir = None
    _forget_home()
    # As "python -m" begins.
    sys.path[0] = request['directory']
    sys.orig_argv[:] = request['command']
    _, _, module, *arguments = request['command']
    sys.argv[:] = [module, *arguments]
    _open_streams()
    runpy.run_module(module, run_name='__main__', alter_sys=True)
    sys.exit()


def _forget_home() -> None:
    """What was derived from the server's home directory."""
    site.USER_BASE = site.USER_SITE = None
    site.getusersitepackages()
    cache: Any = importlib.import_module('stevedore._cache')
    if hasattr(cache, '_c'):
        known = cache._c._internal
        cache._c = cache.Cache()
        # The plugins by search path: those need not be looked for again.
        cache._c._internal = known


def _open_streams() -> None:
    """Make the standard streams as the interpreter does."""
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        # It has what the environment asks for: encoding, no buffering.
        old: Any = getattr(sys, name)
        raw: Any = io.FileIO(number, 'wb' if number else 'rb', closefd=False)
        raw.name = f'<{name}>'
        binary = raw
        buffered = not old.write_through
        if not number:
            binary = io.BufferedReader(raw)
        elif buffered:
            binary = io.BufferedWriter(raw)
        stream: Any = io.TextIOWrapper(
            binary,
            encoding=old.encoding,
            errors=old.errors,
            newline='\n',
            line_buffering=buffered and (number == 2 or raw.isatty()),
            write_through=not buffered,
        )
        stream.mode = 'w' if number else 'r'
        setattr(sys, name, stream)
        setattr(sys, f'__{name}__', stream)


def main() -> None:
    """Serve the parent process."""
    preload()
    # The collector of a child need not touch, and so copy, what is there.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as control:
        control.send(_READY)
    _Forks().serve()


if __name__ == '__main__':
    main()
