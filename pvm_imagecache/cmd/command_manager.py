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

from collections.abc import Iterator
from importlib import metadata
import logging
from typing import Any
from typing import Final

from cliff import commandmanager

from pvm_imagecache import exceptions

LOG = logging.getLogger(__name__)

DISTRIBUTION: Final = 'pvm_imagecache'


class Commands(commandmanager.CommandManager):
    """The commands of an entry point group.

    :param namespace: the entry point group.
    """

    def __init__(self, namespace: str) -> None:
        self._all_loaded = False
        self._ours = namespace
        super().__init__(namespace)

    def load_commands(self, namespace: str) -> None:
        """Find the commands of this project, without importing them.

        Called by cliff.

        :param namespace: the entry point group.
        """
        self.group_list.append(namespace)
        try:
            ours = metadata.distribution(DISTRIBUTION).entry_points
        except metadata.PackageNotFoundError:
            return
        for entry_point in ours.select(group=namespace):
            self.commands[_words(entry_point)] = entry_point

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
            raise exceptions.PluginInvalid(
                name=' '.join(words),
                namespace=self.namespace,
                distribution='an installed package',
                reason=f'loading it raised {type(error).__name__}: {error}',
            ) from error

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        self._load_all()
        return super().__iter__()

    def drop_broken(self) -> None:
        """Drop the commands that cannot be imported, with a warning."""
        for name, entry_point in list(self):
            try:
                entry_point.load()
            except (Exception, SystemExit) as error:
                LOG.warning(
                    'The command "%s" cannot be loaded: %s', name, error
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
        for entry_point in metadata.entry_points(group=self._ours):
            name = _words(entry_point)
            known = self.commands.get(name)
            if known is None:
                self.commands[name] = entry_point
            elif known.value != entry_point.value:
                LOG.warning(
                    'Ignoring the command "%s" of %s: this name is already '
                    'in use.',
                    name,
                    entry_point.value,
                )


def _words(entry_point: metadata.EntryPoint) -> str:
    return entry_point.name.replace('_', ' ')
