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

"""The entry point of ``pvm-imagecache``.

Slow imports happen after the signal handlers are installed. Ctrl-C, a broken
pipe and a full disk never cause a traceback.
"""

from collections.abc import Sequence
import io
import os
import sys
from typing import TextIO

from pvm_imagecache.cmd import exit_codes
from pvm_imagecache.system import environment
from pvm_imagecache.system import interrupts
from pvm_imagecache.system import terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    :param arguments: the arguments; None for those of the process.
    :returns: the exit code.
    """
    # Outside the allowed block a late signal must not raise: nothing would
    # catch the error of one that arrives in the last line.
    interrupts.install(deferred=True)
    environment.restrict()
    try:
        with interrupts.allowed():
            _prepare_streams()
            code = _flushed(
                _run(sys.argv[1:] if arguments is None else arguments)
            )
    except KeyboardInterrupt:
        code = exit_codes.INTERRUPTED
    finally:
        interrupts.ignore()
    if code == exit_codes.INTERRUPTED:
        terminal.write('Interrupted.')
    return code


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) == ['--version']:
        # Answered without the imports of the application.
        from pvm_imagecache import version

        print(f'pvm-imagecache {version.version_string()}')
        return 0
    from pvm_imagecache.cmd import shell

    return shell.main(arguments)


def _prepare_streams() -> None:
    """Replace closed streams, and escape characters that cannot be encoded."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _null_device())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def _flushed(code: int) -> int:
    """Return the exit code after the output was written completely."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = _null_device()
        return exit_codes.BROKEN_PIPE
    except OSError as error:
        terminal.write(f'Could not write the output: {error.strerror}.')
        sys.stdout = _null_device()
        return exit_codes.FAILURE
    return code


def _null_device() -> TextIO:
    return open(os.devnull, 'w', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())
