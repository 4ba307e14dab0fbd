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

"""The options of ``[pvm_imagecache]`` that only nova-compute has a use for."""

from typing import Any
from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import cache

OPTIONS: Final = [
    cfg.FloatOpt(
        'proc_units_factor',
        default=0.1,
        min=0.05,
        max=1.0,
        deprecated_opts=[
            cfg.DeprecatedOpt('proc_units_factor', group='powervm')
        ],
        help='How much of a real processor each virtual processor of a '
        'server is entitled to.',
    ),
    cfg.BoolOpt(
        'send_notifications',
        default=False,
        help='Whether a versioned notification is sent when an image was '
        'cached, evicted from the cache or deployed past it: '
        'pvm_imagecache.image.cached, evicted and bypassed. It takes '
        'notification_format in [notifications] to be "versioned" or '
        '"both" as well.',
    ),
]


def register(conf: Any) -> None:
    """Register the options with a ConfigOpts; may be done repeatedly."""
    cache.register(conf)
    conf.register_opts(OPTIONS, group=cache.GROUP)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """The whole group, for oslo.config's generator and documentation."""
    ((group, options),) = cache.list_opts()
    return [(group, [*options, *OPTIONS])]
