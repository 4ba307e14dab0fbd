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

"""Options of the eviction policy watermark."""

from typing import Final

from oslo_config import cfg

from pvm_imagecache import exceptions
from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_watermark',
    title='Eviction policy watermark',
    help='The policy watermark evicts the least recently used images if the '
    'usage of the pool exceeds a limit, or if a deploy needs space.',
)

OPTIONS: Final = [
    cfg.FloatOpt(
        'high',
        default=90.0,
        min=0,
        max=100,
        mutable=True,
        help="""
Usage of the pool, by disks of all kinds, above which cached images are
evicted. If the volume group has a limit for the number of its logical volumes,
such as 255, the same percentage applies to the number of its virtual disks.

Unit: percent

Related options:

* low
* [pvm_imagecache] eviction_policies
""",
    ),
    cfg.FloatOpt(
        'low',
        default=80.0,
        min=0,
        max=100,
        mutable=True,
        help="""
Usage of the pool down to which cached images are evicted, once the usage
exceeds the high mark.

Unit: percent

Possible values:

* A value that is not greater than high. A value a few percent below it
  avoids evictions in every cleanup run.

Related options:

* high
""",
    ),
]


def marks(conf: types.Conf) -> tuple[float, float]:
    """Return the high mark and the low mark.

    :param conf: the configuration of the process.
    :returns: both in percent of the pool's capacity.
    :raises ConfigurationError: if the low mark is above the high mark.
    """
    registration.register(conf, GROUP, OPTIONS)
    options = conf.pvm_imagecache_watermark
    if options.low > options.high:
        raise exceptions.ConfigurationError(
            reason=f'low ({options.low:g}) is above high '
            f'({options.high:g}) in [{GROUP.name}]. Set low to the value of '
            'high, or below.'
        )
    return options.high, options.low


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config.

    :returns: the group, and a new list of its options.
    """
    return [(GROUP, list(OPTIONS))]
