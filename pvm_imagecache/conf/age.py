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

"""The options of the eviction policy ``age``."""

import copy
from typing import Any
from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import nova

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_age',
    title='Eviction policy age',
    help='The policy removes cached images that have not been used for long.',
)

OPTIONS: Final = [
    cfg.IntOpt(
        'max_age',
        min=0,
        mutable=True,
        help='After how many seconds without use a cached image goes. By '
        'default what nova has in '
        'remove_unused_original_minimum_age_seconds of [image_cache]: '
        '86400, a day.',
    ),
]


def max_age(conf: Any) -> float:
    """The age at which an image goes, in seconds."""
    # A ConfigOpts keeps what is overridden in the group itself.
    conf.register_group(copy.deepcopy(GROUP))
    conf.register_opts(OPTIONS, group=GROUP.name)
    nova.register(conf)
    own = conf.pvm_imagecache_age.max_age
    if own is not None:
        return float(own)
    return float(conf.image_cache.remove_unused_original_minimum_age_seconds)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo.config's generator and documentation."""
    return [(GROUP, list(OPTIONS))]
