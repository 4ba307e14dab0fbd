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

"""The command ``usage``: size and statistics of the cache."""

import argparse
from collections.abc import Sequence
import contextlib
import os
from typing import Any
from typing import Final

from pvm_imagecache import exceptions
from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting
from pvm_imagecache.policies import rules

_COUNTED: Final = (
    ('hit', 'hits'),
    ('miss', 'misses'),
    ('bypass', 'bypasses'),
    ('prefetch', 'prefetches'),
    ('evict', 'evictions'),
    ('purge', 'purges'),
)


class ShowUsage(base.ShowOne):
    """Show the size of the cache and its statistics.

    pool_disks is the number of virtual disks in the pool. pool_max_disks is
    the number of logical volumes that the volume group can have, which also
    counts those that are not virtual disks; empty if it is not known.
    The statistics start when the catalog is created. seconds_saved is an
    estimate: the time in which the images of all hits would have been
    downloaded at the average rate of this host, minus the time of the hits.
    It is negative if copies are slower than the network, and empty before the
    first download. last_run is the time of the last cleanup run of
    nova-compute, last_run_error what failed in it. other_catalogs shows
    which other catalogs have disks in the pool: of another host, of another
    state_path, or of a state directory that was deleted.
    platform_facts is empty before the first "platform check", and
    "out-of-date" if the platform was upgraded since.
    """

    rule = rules.USAGE
    columns = (
        'pool',
        'pool_size',
        'pool_used',
        'pool_free',
        'pool_disks',
        'pool_max_disks',
        'cached_images',
        'cache_size',
        *(key for _, key in _COUNTED),
        'bytes_from_glance',
        'bytes_saved',
        'seconds_saved',
        'last_run',
        'last_run_error',
        'catalog_id',
        'other_catalogs',
        'platform_facts',
    )
    examples = (
        ('usage', 'statistics'),
        ('usage -f json', 'machine-readable'),
        (
            'usage --textfile /var/lib/node_exporter/pvm_imagecache.prom',
            'metrics for Prometheus, see also the option metrics_textfile',
        ),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the command.

        :param prog_name: name of the command, with that of the program.
        :returns: the parser.
        """
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--textfile',
            metavar='FILE',
            help='also write metrics for the textfile collector of '
            'node_exporter: atomically, and world-readable; replaces only a '
            'file of metrics of this project',
        )
        return parser

    def check(self, parsed_args: argparse.Namespace) -> None:
        """Check the path of the metrics file.

        :param parsed_args: arguments of the command.
        :raises UsageError: if it is empty.
        """
        if parsed_args.textfile == '':
            raise exceptions.UsageError(
                reason='--textfile requires the path of a file.'
            )

    def rule_for(self, parsed_args: argparse.Namespace) -> rules.Rule:
        """Return the access policy rule for the arguments.

        :param parsed_args: arguments of the command.
        :returns: the rule of the command, or that of writing a file.
        """
        return rules.METRICS if parsed_args.textfile else self.rule

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        """Show the usage, and write the metrics if requested.

        :param parsed_args: arguments of the command.
        :returns: names and values of the fields.
        :raises PVMImageCacheError: if it fails.
        """
        usage = self.app.manager.usage()
        if parsed_args.textfile:
            from pvm_imagecache import metrics

            caller = self.app.caller
            metrics.write(
                os.path.abspath(parsed_args.textfile),
                usage,
                contextlib.nullcontext()
                if caller is None
                else caller.rights(),
            )
        caches = self.app.manager.caches_images
        times = {each: total.times for each, total in usage.totals.items()}
        saved, last = usage.seconds_saved, usage.last_run
        return self.columns, (
            usage.pool.name,
            formatting.Size(usage.pool.capacity),
            formatting.Size(usage.pool.used),
            formatting.Size(usage.pool.free),
            usage.pool.disks,
            usage.pool.max_disks,
            usage.images if caches else formatting.KeptElsewhere(None),
            formatting.Size(usage.cached if caches else None),
            *(times.get(action, 0) for action, _ in _COUNTED),
            formatting.Size(usage.bytes_fetched),
            formatting.Size(usage.bytes_saved),
            None if saved is None else round(saved, 1),
            formatting.Time(last.at if last else None),
            last.error or None if last else None,
            usage.catalog_id or None,
            formatting.OtherCatalogs(usage.other_catalogs),
            usage.platform.value if usage.platform else None,
        )
