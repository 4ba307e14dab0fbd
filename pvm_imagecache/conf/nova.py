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

"""Options of nova that also apply to the cache.

nova-compute registers them itself. The pvm-imagecache command, which does
not import nova, reads them from the same nova.conf.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from oslo_config import cfg

from pvm_imagecache.conf import types

_OPTIONS: Final[Mapping[str, Sequence[cfg.Opt]]] = {
    'image_cache': [
        cfg.BoolOpt('remove_unused_base_images', default=True, mutable=True),
        cfg.IntOpt(
            'remove_unused_original_minimum_age_seconds',
            default=24 * 3600,
            mutable=True,
        ),
    ],
    'glance': [
        cfg.BoolOpt('verify_glance_signatures', default=False),
        cfg.BoolOpt('enable_certificate_validation', default=False),
        cfg.ListOpt('default_trusted_certificate_ids', default=[]),
    ],
    'workarounds': [
        cfg.BoolOpt('disable_deep_image_inspection', default=False),
    ],
}


def register(conf: types.Conf) -> None:
    """Register the options that are not registered yet.

    :param conf: the configuration of the process.
    """
    for group, options in _OPTIONS.items():
        for option in options:
            if group not in conf or option.name not in conf[group]:
                conf.register_opt(option, group=group)
