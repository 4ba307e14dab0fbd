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

"""Processes: started, waited for, and all of them ended.

A service runs until it is stopped; a command is run to its end. Both write
to a log of their own in the directory of the run. Everything is started from
the main thread, and ends with it: even when this process is killed, the
kernel sends its children SIGTERM.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import time

#: How long a service or a command may take, seconds: a guard against those
#: that hang, far above what a slow machine needs.
START_TIMEOUT = 300.0
COMMAND_TIMEOUT = 600.0
STOP_TIMEOUT = 30.0
_TAIL = 25
_PARALLEL = 2
_POLL = 0.1


class ProcessError(Exception):
    """A process did not start, or ended when it should not have."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A program, and what it is started with.

    :ivar name: of its log
    :ivar arguments: the program and its arguments
    :ivar environment: variables besides those that all get
    """

    name: str
    arguments: Sequence[str | os.PathLike[str]]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Service(Command):
    """A program that serves until it is told to stop.

    :ivar port: a TCP port of the loopback interface that it listens on when
        it is ready; None if that is not how it is known
    """

    port: int | None = None


@dataclasses.dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    wave: int


class Supervisor:
    """Starts, watches and ends the processes of one run."""

    def __init__(self, logs: pathlib.Path) -> None:
        self.logs = logs
        self._services: dict[str, _Running] = {}
        self._waves = 0
        self._commands: list[subprocess.Popen[bytes]] = []

    def start(self, *services: Service) -> None:
        """Start services that may end together; waits for none of them."""
        self._waves += 1
        for service in services:
            self._services[service.name] = _Running(
                service, self._spawn(service), self._waves
            )

    def wait_for(self, *services: Service) -> None:
        """Wait until services are ready.

        :raises ProcessError: if one ends, or is not ready in time.
        """
        for service in services:
            assert service.port is not None
            self.wait_until(
                lambda port=service.port: is_listening(port),
                f'{service.name} to listen',
            )

    def wait_until(
        self,
        condition: Callable[[], bool],
        what: str,
        timeout: float = START_TIMEOUT,
        interval: float = _POLL,
    ) -> None:
        """Wait for something that the services bring about.

        :raises ProcessError: if a service ends, or the time is over.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f'Waited {timeout:.0f} seconds for {what} in vain. The '
                    f'logs are in {self.logs}.'
                )
            time.sleep(interval)

    def check(self) -> None:
        """See that every service is running.

        :raises ProcessError: if one has ended, with the end of its log.
        """
        for running in self._services.values():
            code = running.process.poll()
            if code is not None:
                raise ProcessError(
                    f'{running.service.name} ended with {code}:\n'
                    + self._tail(running.service.name)
                )

    def run(self, *chains: Sequence[Command]) -> None:
        """Run commands to their ends: those of a chain one after another.

        :raises ProcessError: if one fails, with the end of its output.
        """
        waiting = [list(chain) for chain in chains if chain]
        running: list[
            tuple[Command, subprocess.Popen[bytes], float, list[Command]]
        ] = []
        while waiting or running:
            while waiting and len(running) < _PARALLEL:
                chain = waiting.pop(0)
                command = chain.pop(0)
                process = self._spawn(command)
                self._commands.append(process)
                running.append(
                    (
                        command,
                        process,
                        time.monotonic() + COMMAND_TIMEOUT,
                        chain,
                    )
                )
            time.sleep(_POLL)
            for entry in list(running):
                command, process, deadline, chain = entry
                if process.poll() is None:
                    if time.monotonic() > deadline:
                        raise ProcessError(
                            f'{command.name} does not end:\n'
                            + self._tail(command.name)
                        )
                    continue
                running.remove(entry)
                self._commands.remove(process)
                if process.returncode:
                    raise ProcessError(
                        f'{command.name} failed with {process.returncode}:\n'
                        + self._tail(command.name)
                    )
                if chain:
                    waiting.insert(0, chain)

    def stop(self, service: Service) -> None:
        """Stop one service as an administrator would."""
        running = self._services.pop(service.name)
        _end([running.process])

    def hang_up(self, service: Service) -> None:
        """Have one service read its configuration again."""
        self._services[service.name].process.send_signal(signal.SIGHUP)

    def stop_all(self) -> None:
        """End everything, what was started last first; raises nothing."""
        # Somebody who is impatient would stop the stopping.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _end(self._commands)
        self._commands.clear()
        # What uses a service is ended before it: else it would only log
        # that it has lost it.
        for wave in range(self._waves, 0, -1):
            _end(
                [
                    running.process
                    for running in self._services.values()
                    if running.wave == wave
                ]
            )
        self._services.clear()

    def _spawn(self, command: Command) -> subprocess.Popen[bytes]:
        with self.log(command.name).open('ab') as log:
            return subprocess.Popen(
                ['setpriv', '--pdeathsig', 'TERM', *command.arguments],
                env=clean_environment() | command.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.logs,
                umask=0o077,
                # Ctrl-C is for us alone, and a group is ended as a whole.
                start_new_session=True,
            )

    def log(self, name: str) -> pathlib.Path:
        """The log of a service or command."""
        return self.logs / f'{name}.log'

    def _tail(self, name: str) -> str:
        path = self.log(name)
        lines = path.read_text(errors='replace').splitlines()
        return '\n'.join([*lines[-_TAIL:], f'(all of it: {path})'])


def clean_environment() -> dict[str, str]:
    """Our environment without what would change how services behave."""
    kept = {
        name: value
        for name, value in os.environ.items()
        # OS_GROUP__OPTION overrides options of any service, and the client
        # takes its credentials from there.
        if not name.startswith(('OS_', 'RABBITMQ_', 'ERL_', 'PYTHON'))
        and not name.lower().endswith('_proxy')
    }
    return kept | {'LC_ALL': 'C.UTF-8'}


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on that port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(('127.0.0.1', port)) == 0


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        # Whatever is left of its group goes as well.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
