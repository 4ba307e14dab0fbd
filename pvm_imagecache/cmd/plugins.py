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

"""The command ``plugin list``: installed plugins, and whether they work."""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import enum
import sys
from typing import Any
from typing import Final
from typing import TYPE_CHECKING

from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import command_manager
from pvm_imagecache.policies import rules
from pvm_imagecache.system import entry_points

if TYPE_CHECKING:
    from pvm_imagecache import plugins as plugins_module


#: What a namespace contains, as a code.
KINDS: Final = {
    'pvm_imagecache.drivers': 'driver',
    'pvm_imagecache.eviction': 'eviction',
    'pvm_imagecache.listeners': 'listener',
    entry_points.COMMANDS: 'command',
}


class State(enum.Enum):
    """Whether a plugin is used. The value is the code that is shown."""

    ENABLED = 'enabled'
    """It can be used, and is configured. Commands always are."""

    AVAILABLE = 'available'
    """It can be used, but is not configured."""

    REFUSED = 'refused'
    """Its name is that of another plugin."""

    MISCONFIGURED = 'misconfigured'
    """It is configured, but one of its options has an invalid value."""

    BROKEN = 'broken'
    """It cannot be imported, or does not follow its contract."""

    MISSING = 'missing'
    """It is configured, but not installed."""


class ListPlugins(base.Lister):
    """List installed plugins and their state.

    Plugins that are configured but not installed are listed, too. Commands of
    pvm_imagecache itself are not.
    """

    rule = rules.PLUGINS
    machine_oriented = ('Namespace', 'Enabled', 'Class', 'Version')
    columns = (
        'Kind',
        'Namespace',
        'Name',
        'Enabled',
        'State',
        'Package',
        'Version',
        'Class',
        'Error',
    )
    examples = (
        ('plugin list', 'valid values of disk_driver and other options'),
        ('plugin list --long', 'also show their classes'),
        (
            'plugin list -c Name -c State -c Error',
            'check the configured plugins',
        ),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--long', action='store_true', help='show all columns in a table'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """List the plugins.

        :param parsed_args: arguments of the command.
        :returns: columns and rows.
        :raises PVMImageCacheError: if it fails.
        """
        from pvm_imagecache import plugins

        options = self.app.conf.pvm_imagecache
        enabled: dict[str, Sequence[str]] = {
            plugins.DRIVERS: [options.disk_driver],
            plugins.EVICTION: options.eviction_policies,
            plugins.LISTENERS: options.listeners,
        }
        # What a plugin prints when it is imported is not part of the output.
        with contextlib.redirect_stdout(sys.stderr):
            found = [*plugins.installed(self.app.conf), *self._commands()]
        there = {(each.namespace, each.name) for each in found}
        return self.columns, [
            _row(
                each,
                each.namespace == entry_points.COMMANDS
                or (
                    each.name in enabled[each.namespace] and not each.conflict
                ),
            )
            for each in found
        ] + [
            (
                KINDS[namespace],
                namespace,
                name,
                True,
                State.MISSING.value,
                '',
                '',
                '',
                'not installed',
            )
            for namespace, names in enabled.items()
            for name in dict.fromkeys(names)
            if (namespace, name) not in there
        ]

    def _commands(self) -> 'Iterable[plugins_module.Installed]':
        """Yield the commands of other packages."""
        from pvm_imagecache import plugins

        for each in command_manager.find_others(entry_points.COMMANDS):
            yield plugins.Installed(
                each.namespace,
                command_manager.words_of(each.name),
                each.value,
                each.package,
                each.version,
                plugins.error_of(each, self.app.checked_command),
                bool(each.conflict),
            )


def _row(plugin: 'plugins_module.Installed', enabled: bool) -> tuple[Any, ...]:
    if plugin.misconfigured:
        state = State.MISCONFIGURED
    elif plugin.error:
        state = State.REFUSED if plugin.conflict else State.BROKEN
    else:
        state = State.ENABLED if enabled else State.AVAILABLE
    return (
        KINDS[plugin.namespace],
        plugin.namespace,
        plugin.name,
        enabled,
        state.value,
        plugin.distribution,
        plugin.version,
        plugin.module,
        plugin.error or '',
    )
