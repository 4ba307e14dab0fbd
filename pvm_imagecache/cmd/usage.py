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

"""The command that tells how full the pool is, and what the cache saved."""

import argparse
from collections.abc import Sequence
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
    """Show how full the pool is, and what the cache has saved.

    The counts begin with the catalogue. seconds_saved is an estimate: what
    hits would have taken if their images had come as fast as all that was
    fetched, less what they took; it is negative where copies are slower than
    the network, and empty before anything was fetched. last_pass is when
    nova-compute last tidied the cache up, pass_trouble what went wrong then.
    """

    rule = rules.USAGE
    columns = (
        'pool',
        'pool_size',
        'pool_used',
        'pool_free',
        'cached_images',
        'cache_size',
        *(key for _, key in _COUNTED),
        'bytes_from_glance',
        'bytes_saved',
        'seconds_saved',
        'last_pass',
        'pass_trouble',
    )
    examples = (
        ('usage', 'what the cache is good for'),
        ('usage -f json', 'for a program'),
        (
            'usage --textfile /var/lib/node_exporter/pvm_imagecache.prom',
            'for Prometheus, see also metrics_textfile in the configuration',
        ),
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--textfile',
            metavar='FILE',
            help='write metrics for the textfile collector of node_exporter, '
            'too: in one step, and for everybody to read',
        )
        return parser

    def check(self, parsed_args: argparse.Namespace) -> None:
        if parsed_args.textfile == '':
            raise exceptions.UsageError(reason='--textfile needs a name.')

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        usage = self.app.manager.usage()
        if parsed_args.textfile:
            from pvm_imagecache import metrics

            metrics.write(os.path.abspath(parsed_args.textfile), usage)
        caches = self.app.manager.caches_images
        times = {each: total.times for each, total in usage.totals.items()}
        saved, last = usage.seconds_saved, usage.last_pass
        return self.columns, (
            usage.pool.name,
            formatting.Size(usage.pool.capacity),
            formatting.Size(usage.pool.used),
            formatting.Size(usage.pool.free),
            usage.images if caches else formatting.KeptElsewhere(None),
            formatting.Size(usage.cached if caches else None),
            *(times.get(action, 0) for action, _ in _COUNTED),
            formatting.Size(usage.bytes_fetched),
            formatting.Size(usage.bytes_saved),
            None if saved is None else round(saved, 1),
            formatting.Time(last.at if last else None),
            last.trouble or None if last else None,
        )
