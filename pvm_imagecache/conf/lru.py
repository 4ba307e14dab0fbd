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

"""The options of the eviction policy ``lru``."""

import copy
from typing import Any
from typing import Final

from oslo_config import cfg
from oslo_utils import units

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_lru',
    title='Eviction policy lru',
    help='The policy limits how much is cached: what was used least '
    'recently goes first. Either limit works alone; without any the '
    'policy only makes room for deploys.',
)

OPTIONS: Final = [
    cfg.IntOpt(
        'max_images',
        min=1,
        mutable=True,
        help='How many images may be cached. By default any number.',
    ),
    cfg.FloatOpt(
        'max_gib',
        min=1,
        mutable=True,
        help='How many GiB the disks of cached images may take up. By '
        'default any number.',
    ),
]


def limits(conf: Any) -> tuple[int | None, int | None]:
    """The limits that are set: images, and bytes."""
    # A ConfigOpts keeps what is overridden in the group itself.
    conf.register_group(copy.deepcopy(GROUP))
    conf.register_opts(OPTIONS, group=GROUP.name)
    options = conf.pvm_imagecache_lru
    size = options.max_gib
    return options.max_images, None if size is None else int(size * units.Gi)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo.config's generator and documentation."""
    return [(GROUP, list(OPTIONS))]
