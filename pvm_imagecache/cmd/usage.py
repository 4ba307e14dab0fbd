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
from typing import Any

from pvm_imagecache.cmd import base
from pvm_imagecache.cmd import formatting


class ShowUsage(base.ShowOne):
    """Show the pool, the cache's part of it, and what the cache has done."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        usage = self.app.manager.usage()
        fields: dict[str, Any] = {
            'pool': usage.pool.name,
            'pool_size': formatting.Size(usage.pool.capacity),
            'pool_used': formatting.Size(usage.pool.used),
            'pool_free': formatting.Size(usage.pool.free),
        }
        if self.app.manager.caches_images:
            fields |= {
                'cached_images': usage.images,
                'cache_size': formatting.Size(usage.cached),
            }
        else:
            fields['cached_images'] = 'kept by the pool itself'
        for action, key in (('hit', 'hits'), ('miss', 'misses'),
                            ('bypass', 'bypasses')):
            total = usage.totals.get(action)
            fields[key] = total.times if total else 0
        fields['bytes_from_glance'] = formatting.Size(sum(
            each.bytes_fetched for each in usage.totals.values()))
        fields['bytes_saved'] = formatting.Size(sum(
            each.bytes_saved for each in usage.totals.values()))
        return tuple(fields), tuple(fields.values())
