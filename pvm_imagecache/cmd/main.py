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

Nothing that takes time is imported before signals are handled: Ctrl-C is
never answered with a traceback, and no broken pipe or full disk is.
"""

from collections.abc import Sequence
import contextlib
import io
import os
import sys
from typing import Final
from typing import TextIO

from pvm_imagecache.system import interrupts

_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        interrupts.install()
        _have_streams()
        code = _run(sys.argv[1:] if arguments is None else arguments)
        if code == _INTERRUPTED:
            _tell('Interrupted.')
        return _flushed(code)
    except KeyboardInterrupt:
        _tell('Interrupted.')
        return _INTERRUPTED
    finally:
        interrupts.ignore()


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) == ['--version']:
        # Nobody needs an application to be told that.
        from pvm_imagecache import version

        print(f'pvm-imagecache {version.version_string()}')
        return 0
    from pvm_imagecache.cmd import shell

    return shell.main(arguments)


def _have_streams() -> None:
    """Whoever started us may have closed them, or speak ASCII only.

    What a terminal can't show, in a name say, is shown in another way.
    """
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _nothing())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def _flushed(code: int) -> int:
    """The status, once all that was printed has got through."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = _nothing()
        return _BROKEN_PIPE
    except OSError as error:
        _tell(f'The output could not be written: {error.strerror}.')
        sys.stdout = _nothing()
        return 1
    return code


def _nothing() -> TextIO:
    return open(os.devnull, 'w', encoding='utf-8')


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


if __name__ == '__main__':
    sys.exit(main())
