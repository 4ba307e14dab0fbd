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

"""The releases of nova and pypowervm that this release supports.

Neither is imported: commands run on hosts without nova, and only the
installed version counts.
"""

from collections.abc import Iterator
import dataclasses
import enum
from importlib import metadata
import logging
from typing import Final

from packaging import requirements
from packaging import specifiers
from packaging import version as versions

from pvm_imagecache import text

LOG = logging.getLogger(__name__)

#: In place of a version that cannot be read.
_UNKNOWN: Final = 'unknown'
#: The extras for production.
_EXTRAS: Final = ('nova', 'prometheus')


class State(enum.Enum):
    """What this release knows of an installed one."""

    TESTED = 'tested'
    NEWER = 'newer'
    """Newer than all that were tested; it may work."""

    TOO_OLD = 'too old'
    UNKNOWN = 'unknown'
    """Its version is not one that can be compared."""


@dataclasses.dataclass(frozen=True)
class Supported:
    """The releases of a distribution that are tested.

    :ivar distribution: name of the distribution.
    :ivar oldest: the oldest one that is supported.
    :ivar newest: the newest series that was tested; only as many numbers are
        compared.
    :ivar names: what users call a series, by its first number.
    """

    distribution: str
    oldest: tuple[int, ...]
    newest: tuple[int, ...]
    names: dict[int, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """Return what is supported, for a message."""
        newest = _shown(self.newest)
        if len(self.newest) < len(self.oldest):
            newest += '.x'
        return (
            f'{self.distribution} {_shown(self.oldest)}'
            f'{self._named(self.oldest)} to {newest}'
            f'{self._named(self.newest)}'
        )

    def _named(self, numbers: tuple[int, ...]) -> str:
        name = self.names.get(numbers[0])
        return f' (OpenStack {name})' if name else ''


@dataclasses.dataclass(frozen=True)
class Installed:
    """A distribution that is installed.

    :ivar supported: the releases of it that are supported.
    :ivar version: its version.
    :ivar state: what is known of that version.
    """

    supported: Supported
    version: str
    state: State

    def __str__(self) -> str:
        """Return name and version, for a message."""
        return f'{self.supported.distribution} {self.version}'


NOVA: Final = Supported(
    'nova',
    (31,),
    (34,),
    {31: '2025.1', 32: '2025.2', 33: '2026.1', 34: '2026.2'},
)
PYPOWERVM: Final = Supported('pypowervm', (1, 1, 27), (1, 1))


def find(supported: Supported) -> Installed | None:
    """Return what is installed of a distribution.

    :param supported: the distribution, and what is supported of it.
    :returns: version and state; None if it is not installed.
    """
    found = _version(supported.distribution)
    if found is None:
        return None
    return Installed(supported, found, _state(supported, found))


def below_bounds(distribution: str = 'pvm_imagecache') -> list[str]:
    """Return the libraries that are older than a distribution requires.

    A distribution's packages are often installed without pip, which would
    refuse that.

    :param distribution: whose requirements are compared. Those of the extras
        for production count if the library is installed.
    :returns: one text for each library, sorted.
    """
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    except Exception as error:
        # Whatever a damaged file causes.
        return [
            f'The metadata of {distribution} cannot be read: '
            f'{text.foreign_error(error)}'
        ]
    return sorted(set(_unsatisfied(lines)))


def _unsatisfied(lines: list[str]) -> Iterator[str]:
    for line in lines:
        try:
            required = requirements.Requirement(line)
        except requirements.InvalidRequirement:
            yield f'"{text.printable(line)}" is not a requirement'
            continue
        marker = required.marker
        always = marker is None or marker.evaluate({'extra': ''})
        if not always and not any(
            marker and marker.evaluate({'extra': extra}) for extra in _EXTRAS
        ):
            continue
        found = _version(required.name)
        if found is None:
            if always:
                yield f'{required.name} is not installed'
        elif not _contains(required.specifier, found):
            yield f'{required.name} {found} is not {required.specifier}'


def _contains(bounds: specifiers.SpecifierSet, found: str) -> bool:
    """Return whether a version is within bounds; an invalid one is not."""
    try:
        return bounds.contains(found, prereleases=True)
    except ValueError:
        return False


def _version(distribution: str) -> str | None:
    """Return the installed version of a distribution.

    :returns: None if it is not installed. If its metadata is damaged, a text
        that is no version.
    """
    try:
        found = list(metadata.distributions(name=distribution))
        if not found:
            return None
        # An upgrade that failed leaves two of them in one directory.
        versions_there = {
            str(each.version or _UNKNOWN)
            for each in found
            if each.locate_file('') == found[0].locate_file('')
        }
    except Exception as error:
        LOG.debug(
            'The metadata of %(name)s cannot be read: %(error)s',
            {'name': distribution, 'error': text.foreign_error(error)},
        )
        return _UNKNOWN
    return text.printable(' or '.join(sorted(versions_there)))


def _state(supported: Supported, found: str) -> State:
    try:
        numbers = versions.Version(found).release
    except ValueError:
        return State.UNKNOWN
    if numbers[0] == 0:
        # Of a checkout without tags.
        return State.UNKNOWN
    if numbers < supported.oldest:
        return State.TOO_OLD
    if numbers[: len(supported.newest)] > supported.newest:
        return State.NEWER
    return State.TESTED


def _shown(numbers: tuple[int, ...]) -> str:
    return '.'.join(map(str, numbers))
