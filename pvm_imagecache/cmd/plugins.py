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
from typing import Any

from pvm_imagecache.cmd import base
from pvm_imagecache.policies import rules


class ListPlugins(base.Lister):
    """List installed disk drivers and eviction policies.

    Plugins that are configured but not installed are listed, too.
    """

    rule = rules.PLUGINS
    machine_oriented = ('Class',)
    columns = ('Namespace', 'Name', 'Enabled', 'Package', 'Class', 'Error')
    examples = (
        ('plugin list', 'valid values of disk_driver and eviction_policies'),
        ('plugin list --long', 'also show their classes'),
        (
            'plugin list -c Name -c Enabled -c Error',
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
        enabled = {
            plugins.DRIVERS: [options.disk_driver],
            plugins.EVICTION: options.eviction_policies,
        }
        found = plugins.installed()
        there = {(each.namespace, each.name) for each in found}
        return self.columns, [
            (
                each.namespace,
                each.name,
                each.name in enabled[each.namespace],
                each.distribution,
                each.module,
                each.error or '',
            )
            for each in found
        ] + [
            (namespace, name, True, '', '', 'not installed')
            for namespace, names in enabled.items()
            for name in dict.fromkeys(names)
            if (namespace, name) not in there
        ]
