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

"""Write ``constraints/RELEASE.txt``: what a release was tested with.

Each environment ``release-RELEASE`` of tox installs these versions. To
make the file, install the environment with the upper constraints that
OpenStack publishes for the release, test it, and run this program in it::

  TOX_CONSTRAINTS_FILE=upper-constraints.txt tox -e release-2025.1
  .tox/release-2025.1/bin/python tools/release_constraints.py 2025.1

Only the standard library is used.
"""

import argparse
from collections.abc import Iterable
from importlib import metadata
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
_HEAD = """\
# What pvm_imagecache was tested with for OpenStack {release}.
# Written by tools/release_constraints.py: do not edit.
"""
#: What is installed, but is not what the tests need.
_LEFT_OUT = frozenset({'pvm-imagecache', 'pip', 'wheel'})


def main(arguments: list[str] | None = None, root: pathlib.Path = ROOT) -> int:
    """Write the file; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('release', metavar='RELEASE', type=_release)
    options = parser.parse_args(arguments)
    path = root / 'constraints' / f'{options.release}.txt'
    path.write_text(
        constraints(options.release, metadata.distributions(path=sys.path))
    )
    print(path)
    return 0


def constraints(
    release: str, installed: Iterable[metadata.Distribution]
) -> str:
    """Return the content of the file.

    :param release: the release, such as ``2025.1``.
    :param installed: the distributions that were tested.
    :returns: a line for each, sorted by name.
    """
    pins = {
        each.name: each.version
        for each in installed
        if re.sub(r'[-_.]+', '-', each.name).lower() not in _LEFT_OUT
    }
    return _HEAD.format(release=release) + ''.join(
        f'{name}=={pins[name]}\n' for name in sorted(pins, key=str.lower)
    )


def _release(text: str) -> str:
    if not re.fullmatch(r'20[0-9]{2}\.[12]', text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a release such as 2025.1'
        )
    return text


if __name__ == '__main__':
    sys.exit(main())
