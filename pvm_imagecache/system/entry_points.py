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

"""Installed plugins, and which of several with one name can be used.

* A plugin of another package with the name of a built-in one is refused, and
  the built-in one stays in use.
* If several other packages install a plugin of one name, all of them are
  refused: which one is meant is not known.

The rules are applied to the entry points themselves: the libraries that load
entry points differ, between their releases, in which one of several they use.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import functools
from importlib import metadata
import os
import re
import sys
from typing import Any
from typing import Final

from pvm_imagecache import text

#: Name of the distribution whose plugins are built in.
DISTRIBUTION: Final = 'pvm_imagecache'
#: Namespace of the entry points of commands.
COMMANDS: Final = 'pvm_imagecache.cli'

_UNKNOWN: Final = 'unknown package'


@dataclasses.dataclass(frozen=True)
class Plugin:
    """An installed entry point.

    :ivar namespace: group of the entry point.
    :ivar name: of the entry point.
    :ivar value: module and class, as ``module:Class``.
    :ivar package: name of the distribution that installs it.
    :ivar version: version of the distribution; '' if unknown.
    :ivar built_in: whether it is a plugin of this project.
    :ivar conflict: why it is refused because of other plugins; '' if it is
        not.
    :ivar entry_point: the entry point itself.
    """

    namespace: str
    name: str
    value: str
    package: str
    version: str
    built_in: bool
    entry_point: Any
    conflict: str = ''

    @property
    def distribution(self) -> str:
        """Name and version of the distribution that installs it."""
        return f'{self.package} {self.version}'.strip()

    def load(self) -> Any:
        """Import the plugin.

        :returns: what the entry point names.
        :raises ImportFailed: if the import raised any error, or would end
            the process.
        """
        try:
            return self.entry_point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise ImportFailed(
                f'importing it raised {text.foreign_error(error)}'
            ) from error


class ImportFailed(Exception):
    """A plugin cannot be imported; the text says why."""


def find(
    namespace: str,
    reserved: Iterable[str] = (),
    key: Callable[[str], str] = str,
) -> list[Plugin]:
    """Return all plugins of a namespace, with their conflicts.

    :param namespace: group of the entry points.
    :param reserved: names that only this project may use.
    :param key: two plugins are of one name if it returns the same for both.
    :returns: the plugins, sorted by name and package.
    """
    found = sorted(
        (_plugin(each) for each in _scan(namespace, _path())),
        key=lambda each: (each.name, each.package, each.version, each.value),
    )
    taken = {key(each.name) for each in found if each.built_in}
    taken |= {key(each) for each in reserved}
    return [
        dataclasses.replace(each, conflict=_conflict(each, found, taken, key))
        for each in found
    ]


def refused(plugin: Plugin, reason: str) -> Plugin:
    """Return a plugin that is refused because of its name.

    :param plugin: the plugin.
    :param reason: why it is refused, without a final stop.
    :returns: the plugin with this conflict.
    """
    return dataclasses.replace(plugin, conflict=reason)


def of_this_project(namespace: str) -> list[Plugin]:
    """Return the built-in plugins, without a search of other packages.

    :param namespace: group of the entry points.
    :returns: the plugins; empty if this project is not installed.
    """
    try:
        own = metadata.distribution(DISTRIBUTION).entry_points
    except metadata.PackageNotFoundError:
        return []
    return [_plugin(each) for each in own.select(group=namespace)]


def _conflict(
    plugin: Plugin,
    found: list[Plugin],
    taken: set[str],
    key: Callable[[str], str],
) -> str:
    """Return why a plugin is refused; '' if it is not."""
    if plugin.built_in:
        return ''
    if key(plugin.name) in taken:
        return (
            f'"{plugin.name}" is the name of a built-in plugin, which stays '
            'in use. Rename its entry point'
        )
    packages = [
        each.distribution
        for each in found
        if key(each.name) == key(plugin.name)
    ]
    if len(packages) > 1:
        return (
            f'{" and ".join(packages)} install a plugin of this name. '
            'Uninstall all but one of them'
        )
    return ''


def _plugin(entry_point: Any) -> Plugin:
    origin = getattr(entry_point, 'dist', None)
    package = getattr(origin, 'name', None) or _UNKNOWN
    return Plugin(
        entry_point.group,
        entry_point.name,
        entry_point.value,
        package,
        str(getattr(origin, 'version', None) or ''),
        re.sub(r'[-_.]+', '_', package).lower() == DISTRIBUTION,
        entry_point,
    )


def _path() -> tuple[tuple[str, int], ...]:
    return tuple(_changed_at(each) for each in sys.path)


@functools.lru_cache(maxsize=8)
def _scan(
    namespace: str, path: tuple[tuple[str, int], ...]
) -> tuple[Any, ...]:
    """Return the entry points that are on a path.

    This reads a file of each distribution, and a manager needs the answer
    ten times.
    """
    return tuple(metadata.entry_points(group=namespace))


def _changed_at(directory: str) -> tuple[str, int]:
    """Return a value that differs after a plugin was installed there."""
    try:
        return directory, os.stat(directory or '.').st_mtime_ns
    except OSError:
        return directory, 0
