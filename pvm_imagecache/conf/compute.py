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

"""Options of the compute driver, in the section of the cache."""

from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import cache
from pvm_imagecache.conf import registration
from pvm_imagecache.conf import types

OPTIONS: Final = [
    cfg.FloatOpt(
        'proc_units_factor',
        default=0.1,
        min=0.05,
        max=1.0,
        deprecated_opts=[
            cfg.DeprecatedOpt('proc_units_factor', group='powervm')
        ],
        help="""
Entitled processor capacity of an instance for each of its virtual
processors.

Unit: physical processors
""",
    ),
    cfg.BoolOpt(
        'send_notifications',
        default=False,
        help="""
Send a versioned notification when an image is cached, evicted from the
cache, or deployed without the cache.

The event types are pvm_imagecache.image.cached, .evicted and .bypassed.

Related options:

* [notifications] notification_format: must be versioned or both
""",
    ),
]


def register(conf: types.Conf) -> None:
    """Register these options and those of the cache; may be repeated.

    :param conf: the configuration of the process.
    """
    cache.register(conf)
    registration.register(conf, cache.GROUP, OPTIONS)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options for the generators of oslo.config.

    :returns: the group of the cache, and a new list of its options and
        these.
    """
    ((group, options),) = cache.list_opts()
    return [(group, [*options, *OPTIONS])]
