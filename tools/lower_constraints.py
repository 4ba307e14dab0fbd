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

"""Keep ``constraints/lower.txt`` in step with the declared requirements.

The file has two parts. The first pins each requirement of
``requirements.txt`` and of the extras in ``EXTRAS`` to the lowest version
that it allows. The second pins what these need in turn to the versions that
an OpenStack release was tested with.

Without arguments the first part is compared with the requirements, and the
exit code is 1 if they differ. ``--write`` writes it. ``--release FILE``
writes the second part too, from the upper constraints of a release, for all
that is installed beside this Python: run it in the environment of
``tox -e lower``. Only the standard library is used.
"""

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
from importlib import metadata
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOWER = pathlib.Path('constraints', 'lower.txt')
#: The extras that ``tox -e lower`` installs. Those for nova are not among
#: them: its own requirements exclude the lowest versions of ours.
EXTRAS = ('functional', 'prometheus', 'test')
_HEAD = """\
# The lowest versions that requirements.txt and the extras
# {extras} allow, for "tox -e lower".
# Written by tools/lower_constraints.py: do not edit.
"""
_REST = """
# What they need in turn, as OpenStack {release} was tested with it.
"""
#: What the constraints of a release leave open. pbr and others still import
#: pkg_resources, which later releases of setuptools do not have.
_MORE = {'setuptools': '79.0.1'}
_REQUIREMENT = re.compile(r'([A-Za-z0-9][\w.-]*)\s*(?:\[.*?\])?\s*([^;#]*)')
_LOWEST = re.compile(r'[>~=]=\s*([\w.]+)')
_PIN = re.compile(r'([A-Za-z0-9][\w.-]*)={2,3}([^;\s]+)\s*(;.*)?$')


class RequirementError(Exception):
    """A requirement has no lowest version, or two."""


def main(arguments: list[str] | None = None, root: pathlib.Path = ROOT) -> int:
    """Compare or write the file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--release', type=pathlib.Path, metavar='FILE')
    options = parser.parse_args(arguments)
    path = root / LOWER
    old = path.read_text() if path.exists() else ''
    try:
        lowest = lowest_versions(root)
    except RequirementError as error:
        print(error, file=sys.stderr)
        return 1
    if options.release:
        rest = transitive(
            options.release, lowest, metadata.distributions(path=sys.path)
        )
    else:
        rest = old.partition('\n\n')[2]
        # What has become a requirement is pinned once.
        rest = ''.join(
            line
            for line in rest.splitlines(keepends=True)
            if normalized(line.partition('==')[0]) not in lowest
        )
        rest = f'\n{rest}' if rest else ''
    new = first_part(lowest) + rest
    if options.write or options.release:
        path.parent.mkdir(exist_ok=True)
        path.write_text(new)
        return 0
    if new != old:
        print(
            f'{LOWER} does not have the lowest versions of the requirements: '
            'run "python tools/lower_constraints.py --write"',
            file=sys.stderr,
        )
        return 1
    return 0


def normalized(name: str) -> str:
    """The name of a distribution as all its spellings have it."""
    return re.sub(r'[-_.]+', '-', name).lower()


def lowest_versions(root: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Return name and lowest version of each requirement.

    :param root: the checkout.
    :returns: by normalized name.
    :raises RequirementError: if a requirement has no lowest version, or is
        declared twice with different ones.
    """
    found: dict[str, tuple[str, str]] = {}
    for requirement in _declared(root):
        match = _REQUIREMENT.match(requirement)
        lowest = _LOWEST.search(match[2]) if match else None
        if match is None or lowest is None:
            raise RequirementError(
                f'The requirement "{requirement}" has no lowest version.'
            )
        key, version = normalized(match[1]), lowest[1]
        if found.setdefault(key, (match[1], version))[1] != version:
            raise RequirementError(
                f'{match[1]} is required from {found[key][1]} and from '
                f'{version} on.'
            )
    return found


def _declared(root: pathlib.Path) -> Iterator[str]:
    for line in (root / 'requirements.txt').read_text().splitlines():
        requirement = line.partition('#')[0].strip()
        if requirement:
            yield requirement
    project = tomllib.loads((root / 'pyproject.toml').read_text())['project']
    for extra in EXTRAS:
        yield from project['optional-dependencies'][extra]


def first_part(lowest: dict[str, tuple[str, str]]) -> str:
    """The pins of the requirements, with what the file is about."""
    pins = sorted((f'{n}=={v}' for n, v in lowest.values()), key=str.lower)
    return _HEAD.format(extras=', '.join(EXTRAS)) + ''.join(
        f'{pin}\n' for pin in pins
    )


def transitive(
    release: pathlib.Path,
    lowest: dict[str, tuple[str, str]],
    installed: Iterable[metadata.Distribution],
) -> str:
    """The pins of all else that is installed.

    :param release: upper constraints of an OpenStack release, called as it.
    :param lowest: the requirements, which are pinned already.
    :param installed: the distributions that count.
    """
    wanted = {normalized(each.name) for each in installed} - set(lowest)
    pins = {f'{name}=={version}' for name, version in _MORE.items()}
    for line in release.read_text().splitlines():
        match = _PIN.match(line.strip())
        # A line for one version of Python is for one that is too old for us.
        if (
            match
            and normalized(match[1]) in wanted
            and '==' not in (match[3] or '')
        ):
            pins.add(f'{match[1]}=={match[2]}')
    return _REST.format(release=release.stem) + ''.join(
        f'{pin}\n' for pin in sorted(pins, key=str.lower)
    )


if __name__ == '__main__':
    sys.exit(main())
