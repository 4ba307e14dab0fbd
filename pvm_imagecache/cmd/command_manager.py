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

"""Discovery of the commands of this project and of other packages.

cliff searches all installed packages before it runs a command, which is
slow. Here the commands of this project are read from its own distribution.
Other packages are searched only if the command is not one of these, or if
all commands are listed.
"""

from collections.abc import Callable
from collections.abc import Iterator
import logging
import re
from typing import Any
from typing import Final

from cliff import commandmanager

from pvm_imagecache import exceptions
from pvm_imagecache import text
from pvm_imagecache.system import entry_points

LOG = logging.getLogger(__name__)

DISTRIBUTION: Final = entry_points.DISTRIBUTION
#: Commands of this project that are not entry points.
OWN_COMMANDS: Final = ('help', 'complete')
#: Of an entry point; others could look like another command.
_NAME: Final = re.compile('[a-z0-9]+(?:[-_][a-z0-9]+)*')


class OtherCommand:
    """A command of another package, checked when it is loaded.

    cliff handles it like an entry point.

    :param plugin: the entry point.
    :param check: raises PluginInvalid if the command cannot be used.
    """

    def __init__(
        self,
        plugin: entry_points.Plugin,
        check: Callable[[entry_points.Plugin], type],
    ) -> None:
        self.name = plugin.name
        self.value = plugin.value
        self.plugin = plugin
        self._check = check
        self._loaded: type | None = None

    def load(self) -> type:
        """Return the class of the command.

        :returns: the class, which follows the contract of commands.
        :raises PluginInvalid: if the command cannot be used.
        """
        if self._loaded is None:
            self._loaded = self._check(self.plugin)
        return self._loaded


class Commands(commandmanager.CommandManager):
    """The commands of an entry point group.

    :param namespace: the entry point group.
    :param check: imports a command of another package, and raises
        PluginInvalid if it cannot be used.
    """

    def __init__(
        self,
        namespace: str,
        check: Callable[[entry_points.Plugin], type],
    ) -> None:
        self._all_loaded = False
        self._ours = namespace
        self._check = check
        super().__init__(namespace)

    def load_commands(self, namespace: str) -> None:
        """Find the commands of this project, without importing them.

        Called by cliff.

        :param namespace: the entry point group.
        """
        self.group_list.append(namespace)
        for each in entry_points.of_this_project(namespace):
            self.commands[words_of(each.name)] = each.entry_point

    def find_command(self, argv: list[str]) -> tuple[type, str, list[str]]:
        """Return the command that arguments start with.

        :param argv: arguments of the command line, without global options.
        :returns: class of the command, its name, and the other arguments.
        :raises ValueError: if there is no such command.
        :raises PluginInvalid: if the command cannot be imported.
        """
        words = argv[: self._get_last_possible_command_index(argv)]
        if not any(
            ' '.join(words[:count]) in self.commands
            for count in range(1, len(words) + 1)
        ):
            self._load_all()
        try:
            return super().find_command(argv)
        except (ValueError, exceptions.PVMImageCacheError):
            raise
        except (Exception, SystemExit) as error:
            # Of this project: what others raise is an error of their plugin.
            raise exceptions.PluginInvalid(
                name=' '.join(words),
                namespace=self.namespace,
                distribution=DISTRIBUTION,
                reason=f'loading it raised {text.foreign_error(error)}',
            ) from error

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        self._load_all()
        return super().__iter__()

    def plugin_of(self, command: type) -> entry_points.Plugin | None:
        """Return where a command comes from.

        :param command: a class that :meth:`find_command` returned.
        :returns: the entry point; None for a command of this project.
        """
        for each in self.commands.values():
            if isinstance(each, OtherCommand) and each._loaded is command:
                return each.plugin
        return None

    def drop_broken(self) -> None:
        """Drop the commands that cannot be used, with a warning."""
        for name, entry_point in list(self):
            try:
                entry_point.load()
            except exceptions.PluginInvalid as error:
                LOG.warning(str(error))
                del self.commands[name]
            except (Exception, SystemExit) as error:
                LOG.warning(
                    'The command "%s" cannot be used: %s',
                    name,
                    text.foreign_error(error),
                )
                del self.commands[name]

    def get_command_names(self, group: str | None = None) -> list[str]:
        """Return the names of all commands. Called by cliff.

        :param group: ignored; the commands are of one group.
        :returns: the names.
        """
        self._load_all()
        return list(self.commands)

    def _load_all(self) -> None:
        """Find the commands of other packages; they cannot replace ours."""
        if self._all_loaded:
            return
        self._all_loaded = True
        ours = {*self.commands, *OWN_COMMANDS}
        for plugin in find_others(self._ours):
            name = words_of(plugin.name)
            if name in ours or not _NAME.fullmatch(plugin.name):
                LOG.warning(
                    'Ignoring the command "%s" of %s: %s.',
                    text.printable(name),
                    plugin.distribution,
                    plugin.conflict,
                )
            else:
                # A refused command reports the reason when it is run.
                self.commands[name] = OtherCommand(  # type: ignore[assignment]
                    plugin, self._check
                )


def find_others(namespace: str) -> list[entry_points.Plugin]:
    """Return the installed commands of other packages, with conflicts.

    :param namespace: the entry point group.
    :returns: the entry points, sorted by name and package.
    """
    found = entry_points.find(namespace, OWN_COMMANDS, words_of)
    ours = {words_of(each.name) for each in found if each.built_in}
    return [
        _unless_hidden(each, ours | set(OWN_COMMANDS))
        for each in found
        if not each.built_in
    ]


def words_of(name: str) -> str:
    """Return what a user types for a command.

    :param name: name of its entry point.
    :returns: the words of the command.
    """
    return name.replace('_', ' ')


def _unless_hidden(
    plugin: entry_points.Plugin, ours: set[str]
) -> entry_points.Plugin:
    """Refuse a command whose first words are a command of this project."""
    words = words_of(plugin.name).split()
    hiding = [
        each
        for each in (' '.join(words[:count]) for count in range(1, len(words)))
        if each in ours
    ]
    if plugin.conflict:
        return plugin
    if not _NAME.fullmatch(plugin.name):
        return entry_points.refused(
            plugin,
            f'{plugin.name!r} is not lowercase words with underscores or '
            'hyphens between them',
        )
    if not hiding:
        return plugin
    return entry_points.refused(
        plugin,
        f'it begins with the built-in command "{hiding[0]}", which is run '
        'instead. Rename its entry point',
    )
