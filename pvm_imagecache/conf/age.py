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

"""Options of the eviction policy age."""

from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import nova
from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types

GROUP: Final = cfg.OptGroup(
    'pvm_imagecache_age',
    title='Eviction policy age',
    help='The policy age evicts cached images that were not used for a given '
    'time.',
)

OPTIONS: Final = [
    cfg.IntOpt(
        'max_age',
        min=0,
        mutable=True,
        help="""
Time without use after which a cached image is evicted.

If this option is not set, remove_unused_original_minimum_age_seconds in
the [image_cache] section is used, which is 86400 (one day) by default.

Unit: seconds

Related options:

* [image_cache] remove_unused_original_minimum_age_seconds
* [pvm_imagecache] eviction_policies
""",
    ),
]


def max_age(conf: types.Conf) -> float:
    """Return the time without use after which an image is evicted.

    :param conf: the configuration of the process.
    :returns: seconds.
    """
    registration.register(conf, GROUP, OPTIONS)
    nova.register(conf)
    own = conf.pvm_imagecache_age.max_age
    if own is not None:
        return float(own)
    return float(conf.image_cache.remove_unused_original_minimum_age_seconds)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config.

    :returns: the group, and a new list of its options.
    """
    return [(GROUP, list(OPTIONS))]
