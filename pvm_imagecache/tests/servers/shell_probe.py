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

"""A command that prints the state of its process, to test ``shells``."""

import atexit
import json
import locale
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from typing import Any
import warnings


def state() -> dict[str, object]:
    """What must not depend on how this process was made."""
    return {
        'arguments': sys.argv,
        'original arguments': sys.orig_argv,
        'name': __name__,
        'main': sys.modules['__main__'].__dict__ is globals(),
        'directory': os.getcwd(),
        'environment': dict(os.environ),
        'umask': os.umask(0o022),
        'users': [*os.getresuid(), *os.getresgid(), *os.getgroups()],
        'group': os.getpgrp() == os.getpid() or os.getpgrp(),
        'session': os.getsid(0) == os.getpid() or os.getsid(0),
        'signals': {
            number.name: repr(signal.getsignal(number)).split(' at ')[0]
            for number in signal.valid_signals()
            if isinstance(number, signal.Signals)
        },
        'blocked': sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        'open files': resource.getrlimit(resource.RLIMIT_NOFILE),
        'descriptors': [
            each
            for each in os.listdir('/proc/self/fd')
            # That of the listing itself is closed by now.
            if os.path.exists(f'/proc/self/fd/{each}')
        ],
        'threads': threading.active_count(),
        'main thread': threading.main_thread() is threading.current_thread(),
        'path': sys.path,
        'flags': repr(sys.flags),
        'warnings': sys.warnoptions,
        'file names': sys.getfilesystemencoding(),
        'locale': locale.setlocale(locale.LC_ALL),
        'time zone': time.tzname,
        'temporary': tempfile.gettempdir(),
        'streams': [_stream(name) for name in ('stdin', 'stdout', 'stderr')],
    }


def _stream(name: str) -> list[object]:
    stream: Any = getattr(sys, name)
    return [
        type(stream.buffer).__name__,
        stream.name,
        stream.mode,
        stream.encoding,
        stream.errors,
        stream.line_buffering,
        stream.write_through,
        stream.isatty(),
        stream is getattr(sys, f'__{name}__'),
    ]


def main() -> int:
    """Do what the arguments say."""
    what, *arguments = sys.argv[1:]
    if what == 'state':
        json.dump(state(), sys.stdout)
    elif what == 'exit':
        atexit.register(print, 'the end')
        return int(arguments[0])
    elif what == 'die':
        os.kill(os.getpid(), int(arguments[0]))
    elif what == 'raise':
        raise ValueError(arguments[0])
    elif what == 'warn':
        warnings.warn(arguments[0], RuntimeWarning, stacklevel=1)
    elif what == 'random':
        print(random.random())
    elif what == 'copy':
        data = sys.stdin.buffer.read()
        sys.stdout.buffer.write(data)
        sys.stderr.buffer.write(data[::-1])
    elif what == 'wait':
        print('waits', flush=True)
        time.sleep(600)
    return 0


if __name__ == '__main__':
    sys.exit(main())
