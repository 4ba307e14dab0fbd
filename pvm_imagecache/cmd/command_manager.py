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

"""Which commands there are: ours, and those of plugins, found when needed.

cliff imports every command of every package before it runs one. Here a
command of ours is found in our own distribution, and others are looked for
only when it is none of ours, or when all of them are listed.
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
    """The commands of a namespace of entry points."""

    def __init__(self, namespace: str) -> None:
        self._all_loaded = False
        self._ours = namespace
        super().__init__(namespace)

    def load_commands(self, namespace: str) -> None:
        """Called by cliff; ours alone are found now, and none imported."""
        self.group_list.append(namespace)
        try:
            ours = metadata.distribution(DISTRIBUTION).entry_points
        except metadata.PackageNotFoundError:
            return
        for entry_point in ours.select(group=namespace):
            self.commands[_words(entry_point)] = entry_point

    def find_command(self, argv: list[str]) -> Any:
        """The command that arguments begin with, as cliff wants it.

        :raises ValueError: if there is none.
        :raises PluginInvalid: if it can't be imported.
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

    def __iter__(self) -> Iterator[Any]:
        self._load_all()
        return super().__iter__()

    def forget_broken(self) -> None:
        """Have only those that can be imported."""
        for name, entry_point in list(self):
            try:
                entry_point.load()
            except (Exception, SystemExit) as error:
                LOG.warning(
                    'The command "%s" can not be loaded: %s', name, error
                )
                del self.commands[name]

    def get_command_names(self, group: str | None = None) -> list[str]:
        """The names of all commands."""
        self._load_all()
        return list(self.commands)

    def _load_all(self) -> None:
        """Find the commands of other packages; ours can't be replaced."""
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
                    'The command "%s" of %s is not used: there is '
                    'one of that name.',
                    name,
                    entry_point.value,
                )


def _words(entry_point: metadata.EntryPoint) -> str:
    return entry_point.name.replace('_', ' ')
