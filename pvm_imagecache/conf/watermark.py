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

"""The options of the eviction policy ``watermark``."""

import copy
from typing import Any
from typing import Final

from oslo_config import cfg

from pvm_imagecache import exceptions

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_watermark',
    title='Eviction policy watermark',
    help='The policy removes cached images when the pool fills up, and '
    'makes room for deploys: what was used least recently goes first.',
)

OPTIONS: Final = [
    cfg.FloatOpt(
        'high',
        default=90.0,
        min=0,
        max=100,
        mutable=True,
        help='Above how many percent of use of the pool, by disks of all '
        'kinds, cached images go.',
    ),
    cfg.FloatOpt(
        'low',
        default=80.0,
        min=0,
        max=100,
        mutable=True,
        help='Down to how many percent they go. Not above "high".',
    ),
]


def marks(conf: Any) -> tuple[float, float]:
    """The high and the low mark, in percent.

    :raises ConfigurationError: if low is above high.
    """
    # A ConfigOpts keeps what is overridden in the group itself.
    conf.register_group(copy.deepcopy(GROUP))
    conf.register_opts(OPTIONS, group=GROUP.name)
    options = conf.pvm_imagecache_watermark
    if options.low > options.high:
        raise exceptions.ConfigurationError(
            reason=f'low ({options.low:g}) is above high '
            f'({options.high:g}) in [{GROUP.name}]: set it to the '
            'same, or below.'
        )
    return options.high, options.low


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo.config's generator and documentation."""
    return [(GROUP, list(OPTIONS))]
