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

"""Options of the eviction policy lru."""

from typing import Final

from oslo_config import cfg
from oslo_utils import units

from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_lru',
    title='Eviction policy lru',
    help='The policy lru limits the number and the total size of cached '
    'images, and evicts the least recently used ones. Without limits it '
    'evicts images only if a deploy needs space.',
)

OPTIONS: Final = [
    cfg.IntOpt(
        'max_images',
        min=1,
        mutable=True,
        help="""
Maximum number of cached images.

If this option is not set, the number is not limited.

Unit: images

Related options:

* max_gib
* [pvm_imagecache] eviction_policies
""",
    ),
    cfg.FloatOpt(
        'max_gib',
        min=1,
        mutable=True,
        help="""
Maximum total size of the disks of cached images.

If this option is not set, the size is not limited.

Unit: GiB

Related options:

* max_images
* [pvm_imagecache] eviction_policies
""",
    ),
]


def limits(conf: types.Conf) -> tuple[int | None, int | None]:
    """Return the limits of the policy.

    :param conf: the configuration of the process.
    :returns: the maximum number of images, and of bytes; None for no limit.
    """
    registration.register(conf, GROUP, OPTIONS)
    options = conf.pvm_imagecache_lru
    size = options.max_gib
    return options.max_images, None if size is None else int(size * units.Gi)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config.

    :returns: the group, and a new list of its options.
    """
    return [(GROUP, list(OPTIONS))]
