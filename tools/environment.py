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

"""A virtual environment of this checkout, made and kept up to date.

Only the standard library is used: what runs here runs on a machine that has
nothing but Python and git.
"""

from collections.abc import Sequence
import hashlib
import os
import pathlib
import subprocess
import sys
import venv

LEAST_PYTHON = (3, 11)
ROOT = pathlib.Path(__file__).resolve().parent.parent


def check_python() -> None:
    """Leave with a message if this Python is too old."""
    if sys.version_info < LEAST_PYTHON:
        sys.exit(
            'Python {}.{} or newer is needed; this is {}.{}.'.format(
                *LEAST_PYTHON, *sys.version_info
            )
        )


def prepare(path: pathlib.Path, what: Sequence[str], note: str) -> str:
    """Make the environment, or renew it when what it needs has changed.

    :param path: of the environment.
    :param what: arguments of ``pip install``, relative to the checkout.
    :param note: what is being installed, for the user.
    :returns: the path of its Python.
    """
    python = path / 'bin' / 'python'
    stamp = path / 'installed'
    wanted = _fingerprint(what)
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    print(
        f'Installing {note} into {path.relative_to(ROOT)} '
        '(a minute or two, once) ...',
        flush=True,
    )
    try:
        venv.create(path, with_pip=True, clear=True)
    except subprocess.CalledProcessError as error:
        sys.exit(
            f'No virtual environment could be made ({error}). On '
            'Debian and Ubuntu: apt-get install python3-venv.'
        )
    done = subprocess.run(
        [
            python,
            '-m',
            'pip',
            'install',
            '--quiet',
            '--disable-pip-version-check',
            *what,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f'{done.stdout}\nThe installation failed: see above.')
    stamp.write_text(wanted)
    return str(python)


def replace_process(python: str, script: str) -> None:
    """Go on as the same script under another Python."""
    # Descriptors and the terminal stay, so that Ctrl-C reaches one process.
    sys.stdout.flush()
    os.execv(python, [python, script, *sys.argv[1:]])


def is_running_in(path: pathlib.Path) -> bool:
    """Whether this Python is that of the environment."""
    return pathlib.Path(sys.prefix).resolve() == path.resolve()


def _fingerprint(what: Sequence[str]) -> str:
    digest = hashlib.sha256(repr((sys.version, what)).encode())
    for name in ('pyproject.toml', 'requirements.txt'):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()
